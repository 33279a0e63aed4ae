"""Documents to models: the training snapshot, fitted and judged models, published and registered.

Belongs here: the joins between documents, ``learning``, folders and the register. Stays out: how a model is fitted
or judged (``learning``), where its files and rows lie (``stores``).
"""

import datetime as dt
import json
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.learning.serve import Champion, load_champion, load_model
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.learning.spec import default_specs
from streamlake_assets.learning.train import TrainedModel, train_from_snapshot
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.targets import Target
from streamlake_assets.stores import ledger
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.model_folder import ModelFolder


class Snapshot(NamedTuple):
    """A training set on disk: its content hash, its rows, and the offsets its documents were made from."""

    path: Path
    data_hash: str
    frame: TrainingFrame
    offsets: dict[str, int]


class Published(NamedTuple):
    """Models of one training run: all that were judged, which versions are new, and why specs were left out."""

    manifests: tuple[Manifest, ...]
    new_versions: tuple[str, ...]
    reasons: tuple[str, ...]


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
        raise UsageError(f"no training set in {folder}: make features/training_set first") from None
    return offsets


def train_models(
    engine: sa.Engine, models: ModelFolder, snapshot: Path, offsets: dict[str, int], now: dt.datetime, min_history: int
) -> Published:
    """Train the default specs from a snapshot, publish their folders, register them, and name the champions.

    A version that exists is left as it is: equal data, spec and seed are the same model.

    Raises:
        IntegrityError: the snapshot is not whole.
    """
    run = train_from_snapshot(snapshot, default_specs(min_history=min_history), offsets=offsets, trained_at=now)
    before = set(models.versions())
    for model in run.models:
        _publish(models, model)
    manifests = tuple(model.manifest for model in run.models)
    ledger.register_models(engine, (models.manifest(manifest.version) for manifest in manifests))
    for target in Target:
        champion = load_champion(target, models.catalogue().manifests, models.open)
        ledger.set_champion(engine, target, champion.model.version, _why(champion))
    return Published(manifests, tuple(m.version for m in manifests if m.version not in before), run.not_trained)


def champion_of(engine: sa.Engine, models: ModelFolder, target: Target) -> Champion:
    """Load the model that speaks for a target: the one the register names, not whatever lies in the folder.

    If its files are refused, the best other registered model serves and says why.

    Raises:
        UsageError: nothing has been trained.
        ModelRefusedError: no registered model of the target can be opened.
    """
    version = ledger.champions(engine).get(target)
    if version is None:
        raise UsageError(f"no model of {target} has been named champion: train first")
    try:
        return Champion(load_model(models.manifest(version), models.open(version)))
    except ModelRefusedError as error:
        registered = ledger.registered(engine)
        others = [m for m in models.catalogue().manifests if m["version"] in registered and m["version"] != version]
        try:
            successor = load_champion(target, others, models.open)
        except UsageError:
            raise error from None
        return Champion(successor.model, (str(error), *successor.refused))


def skill_report(models: ModelFolder, data_hash: str | None = None) -> list[dict[str, Any]]:
    """Return what the models of one training set are worth, best first within each target; default: the newest set."""
    manifests = [read_manifest(plain) for plain in models.catalogue().manifests]
    if not manifests:
        return []
    newest = max((manifest.last_session, manifest.trained_at) for manifest in manifests)
    wanted = data_hash or next(m.data_hash for m in manifests if (m.last_session, m.trained_at) == newest)
    report = [
        {
            "target": manifest.target.value,
            "name": manifest.name,
            "engine": manifest.engine,
            "version": manifest.version,
            "skill": manifest.skill,
            "skill_low": manifest.skill_low,
            "skill_high": manifest.skill_high,
            "has_skill": manifest.has_skill,
            "rmse": manifest.rmse,
            "baseline_rmse": manifest.baseline_rmse,
            "direction_accuracy": manifest.direction_accuracy,
            "direction_base_rate": manifest.direction_base_rate,
            "test_rows": manifest.test_rows,
            "last_session": manifest.last_session.isoformat(),
        }
        for manifest in manifests
        if manifest.data_hash == wanted
    ]
    return sorted(report, key=lambda record: (record["target"], -record["skill"], record["version"]))


def _offsets_path(folder: Path) -> Path:
    return folder / "training_set.offsets.json"


def _publish(models: ModelFolder, model: TrainedModel) -> None:
    with models.staging() as folder:
        model.save(folder)
        models.publish(folder, model.manifest.to_dict())


def _why(champion: Champion) -> str:
    manifest = champion.model.manifest
    interval = f"skill {manifest.skill:.4f}, 95 % interval {manifest.skill_low:.4f} to {manifest.skill_high:.4f}"
    verdict = f"passed the gate: {interval}" if manifest.has_skill else "nothing passed the gate: the baseline speaks"
    return "; ".join((verdict, *champion.refused))
