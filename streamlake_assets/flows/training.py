"""Documents to models: the training snapshot, fitted and judged models, published and registered.

Belongs here: the joins between documents, ``learning``, folders and the register. Stays out: how a model is fitted
or judged (``learning``), where its files and rows lie (``stores``), which model speaks (``champions``).
"""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import IntegrityError, ModelRefusedError, ServerError, UsageError
from streamlake_assets.flows import retraining
from streamlake_assets.learning import child
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.learning.snapshot import read_snapshot, write_snapshot
from streamlake_assets.learning.spec import (
    ModelSpec,
    baseline_spec,
    default_specs,
    linear_spec,
    model_version,
    reference_specs,
    selected_specs,
)
from streamlake_assets.learning.train import train
from streamlake_assets.learning.walk_forward import folds_of, too_few_dates
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.leaks import inspect
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.retraining import RetrainDecision
from streamlake_assets.market.targets import Target
from streamlake_assets.servers.tools import java_home
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets.stores import model_register
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.model_folder import ModelFolder

_NO_TRAINING_SET: Final = "no training set in {}: make features/training_set first"


class Snapshot(NamedTuple):
    """A training set on disk: its content hash, its rows, and the offsets its documents were made from."""

    path: Path
    data_hash: str
    frame: TrainingFrame
    offsets: dict[str, int]


class Published(NamedTuple):
    """Models of one training run: all that were judged, which versions are new, and why specs were left out.

    ``seconds`` are by step, ``peak_memory_mb`` is of the engine's process and all below it (PSS).
    """

    manifests: tuple[Manifest, ...]
    new_versions: tuple[str, ...]
    reasons: tuple[str, ...]
    seconds: Mapping[str, float] = MappingProxyType({})
    peak_memory_mb: float = 0.0
    decisions: Mapping[str, RetrainDecision] = MappingProxyType({})
    """Why each spec was trained or not, by name; a version that exists needs no decision."""


Launch = Callable[[Sequence[str]], int]
NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})
_ERRORS: Final = {"UsageError": UsageError, "IntegrityError": IntegrityError, "ServerError": ServerError}


def make_snapshot(documents: DocumentStore, folder: Path, until: dt.date | None, min_history: int) -> Snapshot:
    """Write the training set of all instruments to a Parquet file named by its content.

    Args:
        documents: whose feature buckets are read.
        folder: of training sets.
        until: newest session to learn from; None for all.
        min_history: sessions an instrument needs.

    Raises:
        UsageError: no instrument has enough history.
    """
    state = documents.state()
    series = documents.series()
    if state is None or not series:
        raise UsageError("no documents yet: publish bars, then refresh the documents (`streamlake cache`)")
    frame = training_frame(series, until, min_history)
    folder.mkdir(parents=True, exist_ok=True)
    path = snapshot_path(folder)
    data_hash = write_snapshot(frame, path)
    offsets = dict(state["next_offsets"])
    partial = _offsets_path(folder).with_suffix(".partial")
    partial.write_text(json.dumps(offsets, sort_keys=True))
    partial.replace(_offsets_path(folder))
    return Snapshot(path, data_hash, frame, offsets)


def inspect_snapshot(documents: DocumentStore, folder: Path) -> Verdict:
    """Judge whether anything leaks in the training set: see ``market.leaks``; the text names what does.

    Raises:
        UsageError: no training set was made yet.
    """
    frame, _ = read_training_set(folder)
    series = [one.until(frame.last_session) for one in documents.series()]
    folds = folds_of(linear_spec(Target.LOG_RANGE, "sklearn"), frame)
    verdicts = inspect([one for one in series if str(one.instrument) in frame.instruments], frame, folds)
    failed = {name: verdict.text for name, verdict in verdicts.items() if not verdict.passed}
    text = (
        "; ".join(f"{name}: {said}" for name, said in failed.items()) or f"{len(verdicts)} inspections, nothing leaks"
    )
    facts = {name: verdict.text for name, verdict in verdicts.items()}
    return Verdict(not failed, text, {**facts, "rows": len(frame), "failed": sorted(failed), "limit": 0})


def read_training_set(folder: Path) -> tuple[TrainingFrame, str]:
    """Return the training set that lies in a folder, and its content hash.

    Raises:
        UsageError: no training set was made yet.
        IntegrityError: it is not whole.
    """
    path = snapshot_path(folder)
    if not path.is_file():
        raise UsageError(_NO_TRAINING_SET.format(folder))
    return read_snapshot(path)


def snapshot_path(folder: Path) -> Path:
    """Return where the training set lies in a folder."""
    return folder / "training_set.parquet"


def snapshot_offsets(folder: Path) -> dict[str, int]:
    """Return the offsets that the training set's documents were made from.

    Raises:
        UsageError: no training set was made yet.
    """
    try:
        offsets: dict[str, int] = json.loads(_offsets_path(folder).read_text())
    except FileNotFoundError:
        raise UsageError(_NO_TRAINING_SET.format(folder)) from None
    return offsets


def train_engine(
    engine: sa.Engine,
    models: ModelFolder,
    settings: Settings,
    name: str,
    launch: Launch,
    now: dt.datetime,
    always: bool = False,
) -> Published:
    """Train one engine's specs from the snapshot in a process of its own; publish and register what came.

    A version that exists is not made again: equal data, spec and seed are the same model. On new data a spec is
    trained when that pays (``market.retraining``), or ``always``.

    Args:
        engine: of the writing user.
        models: where models are published.
        settings: of engines, cores and clusters.
        name: of the engine.
        launch: runs a command to its end and returns its exit code.
        now: aware time of the run.
        always: train on new data whether it pays or not.

    Raises:
        UsageError: there is no snapshot, or the specs cannot be fitted.
        ServerError: the engine could not be started, died, or took too long; the reason is in the message.
        IntegrityError: the snapshot is not whole.
    """
    if name not in settings.training_engines:
        return Published((), (), (f"{name} is not among STREAMLAKE_ENGINES={settings.engines}",))
    folder = settings.data_dir / "training"
    offsets = snapshot_offsets(folder)
    frame, data_hash = read_snapshot(snapshot_path(folder))
    specs = specs_of(name, settings.min_history)
    known = [version for spec in specs if _is_whole(models, version := model_version(data_hash, spec))]
    missing = [spec for spec in specs if model_version(data_hash, spec) not in known]
    decisions = retraining.decide_all(models, frame, missing)
    asked = tuple(spec for spec in missing if always or decisions[spec.name].retrain)
    done = child.TrainingResult()
    if asked:
        request = child.TrainingRequest(
            snapshot=str(snapshot_path(folder)),
            data_hash=data_hash,
            specs=asked,
            resources=resources(settings),
            offsets=offsets,
            trained_at=now.isoformat(),
            timeout_s=float(settings.training_timeout_s),
        )
        done = _train_in_child(models, folder, name, request, launch)
    new = tuple(made.manifest["version"] for made in done.models)
    plain = [models.manifest(version) for version in (*known, *new)]
    model_register.register_models(engine, plain)
    return Published(
        tuple(read_manifest(one) for one in plain),
        new,
        done.not_trained,
        done.seconds,
        done.peak_memory_mb,
        decisions,
    )


def specs_of(name: str, min_history: int) -> list[ModelSpec]:
    """Return what an engine's asset trains; scikit-learn's has the reference models too."""
    specs = [spec for spec in default_specs((name,), min_history=min_history) if not spec.is_version_zero]
    if name == "sklearn":
        specs += [*selected_specs(min_history=min_history), *reference_specs(min_history=min_history)]
    return specs


def _train_in_child(
    models: ModelFolder, folder: Path, name: str, request: child.TrainingRequest, launch: Launch
) -> child.TrainingResult:
    with tempfile.TemporaryDirectory(prefix=f"run-{name}-", dir=folder) as run:
        code = launch(child.write_request(Path(run), request))
        result = child.read_result(Path(run))
        if result is None:
            raise ServerError(f"training by {name} ended without a result (exit code {code}): its log has the reason")
        raise_told("training", name, result.error, result.error_kind)
        for made in result.models:
            with models.staging() as staged:
                shutil.copytree(Path(run) / made.folder, staged, dirs_exist_ok=True)
                models.publish(staged, made.manifest)
    return result


def raise_told(doing: str, name: str, error: str, kind: str) -> None:
    """Raise the error that a child told, as the kind it was; nothing happens when it told none.

    Raises:
        UsageError: what was asked cannot be done.
        IntegrityError: the snapshot is not whole.
        ServerError: anything else: the engine died, or its library failed.
    """
    if error:
        raise _ERRORS.get(kind, ServerError)(f"{doing} by {name}: {error}")


def _is_whole(models: ModelFolder, version: str) -> bool:
    try:
        models.open(version)
    except ModelRefusedError:
        # missing or damaged: it is made again
        return False
    return True


def train_version_zero(engine: sa.Engine, models: ModelFolder, settings: Settings, now: dt.datetime) -> None:
    """Make and register version 0 of each target for the present training set.

    It needs no engine and no process of its own, so that something honest can speak when every engine fails.

    Raises:
        UsageError: there is no training set.
    """
    path = snapshot_path(settings.data_dir / "training")
    offsets = snapshot_offsets(settings.data_dir / "training")
    frame, data_hash = read_snapshot(path)
    specs = [baseline_spec(target, min_history=settings.min_history) for target in Target]
    zero = train(frame, data_hash, specs, offsets=offsets, trained_at=now)
    for model in zero:
        with models.staging() as folder:
            model.save(folder)
            models.publish(folder, model.manifest.to_dict())
    model_register.register_models(engine, (models.manifest(model.manifest.version) for model in zero))


def run_child(command: Sequence[str], variables: Mapping[str, str] = NO_VARIABLES) -> int:
    """Run a training child to its end and return its exit code; its lines go to standard error.

    Args:
        command: of the child.
        variables: added to its environment, such as those of Dagster Pipes, beside what engines need.
    """
    environment = {**os.environ, **engine_environment(), **variables}
    # killed when this is interrupted, and by the kernel when this process dies
    return subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode


def resources(settings: Settings) -> Resources:
    """Return what engines may use by these settings."""
    return Resources(
        cores=settings.training_cores,
        jvm_memory_mb=settings.spark_memory_mb,
        spark_master=settings.spark_master,
        dask_scheduler=settings.dask_scheduler,
    )


def engine_environment() -> dict[str, str]:
    """Return the variables a training child needs: a JDK of the release that Spark runs on, this very Python.

    Raises:
        MissingToolError: there is no such JDK.
    """
    python = sys.executable
    return {
        "JAVA_HOME": str(java_home()),
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
        "SPARK_LOCAL_IP": LOOPBACK,
        # threads that wait by spinning take the cores from servers beside them, and then from each other
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def engine_is_trained(settings: Settings, models: ModelFolder, name: str) -> Verdict:
    """Judge whether every spec of an engine has a model, or too few dates to be judged."""
    if name not in settings.training_engines:
        return Verdict(True, f"{name} is not among STREAMLAKE_ENGINES", {"missing": [], "limit": 0})
    frame, _ = read_snapshot(snapshot_path(settings.data_dir / "training"))
    specs = specs_of(name, settings.min_history)
    made = {plain["spec_hash"] for plain in models.catalogue().manifests}
    wanted = [spec for spec in specs if not too_few_dates(spec, frame)]
    missing = [spec.name for spec in wanted if spec.digest() not in made]
    text = f"{len(wanted) - len(missing)} of {len(specs)} specs trained; missing: {', '.join(missing) or 'none'}"
    return Verdict(not missing, text, {"missing": missing, "too_few_dates": len(specs) - len(wanted), "limit": 0})


def _offsets_path(folder: Path) -> Path:
    return folder / "training_set.offsets.json"
