"""Training: from a frame to models with manifests, judged before they are fitted for good.

Belongs here: the order of the steps, once for every engine. Stays out: publishing folders (``stores``), choosing which
model serves (``serve``).
"""

import datetime as dt
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import FittedModel, engine
from streamlake_assets.learning.manifest import Manifest
from streamlake_assets.learning.snapshot import content_hash, read_snapshot, write_snapshot
from streamlake_assets.learning.spec import ModelSpec, default_specs, model_version
from streamlake_assets.learning.walk_forward import too_few_dates, walk_forward
from streamlake_assets.market.forecasts import COVERAGE
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import SessionSeries


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model and what is known of it; ``save`` writes its files, the manifest is published beside them."""

    manifest: Manifest
    fitted: FittedModel

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing, empty folder."""
        self.fitted.save(folder)


@dataclass(frozen=True)
class TrainingRun:
    """All models of one run on one set of data."""

    models: tuple[TrainedModel, ...]
    frame: TrainingFrame
    data_hash: str
    not_trained: tuple[str, ...] = ()
    """Why a spec was left out: without enough dates to judge it, a model is not made. Version 0 always is."""

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The manifests, in the order of the specs."""
        return tuple(model.manifest for model in self.models)


def train(
    frame: TrainingFrame,
    data_hash: str,
    specs: Sequence[ModelSpec],
    *,
    offsets: Mapping[str, int],
    trained_at: dt.datetime,
) -> list[TrainedModel]:
    """Judge every spec by walk-forward, then fit it on all rows.

    The same frame, spec and seed give the same version, skill and coefficients. ``training_seconds`` covers
    walk-forward, bootstrap and final fit, not the import of the engine.

    Args:
        frame: complete rows.
        data_hash: content hash of the frame.
        specs: what to train.
        offsets: where in the stream the data end, for the manifest.
        trained_at: aware time of the run.

    Raises:
        UsageError: too few dates to judge a spec, an unknown engine or feature, or a wrong hyper-parameter.
    """
    if trained_at.tzinfo is None:
        raise UsageError("trained_at needs a zone")
    return [_train_one(frame, data_hash, spec, dict(offsets), trained_at) for spec in specs]


def _train_one(
    frame: TrainingFrame, data_hash: str, spec: ModelSpec, offsets: dict[str, int], trained_at: dt.datetime
) -> TrainedModel:
    worker = engine(spec.engine)
    started = time.monotonic()
    judged = walk_forward(spec, worker, frame)
    fitted = worker.fit(spec, frame.columns(spec.features), frame.y[spec.target] / frame.scale[spec.target])
    seconds = time.monotonic() - started
    skill = judged.skill
    manifest = Manifest(
        version=model_version(data_hash, spec),
        name=spec.name,
        engine=spec.engine,
        target=spec.target,
        spec=spec,
        spec_hash=spec.digest(),
        data_hash=data_hash,
        seed=spec.seed,
        rows=len(frame),
        instruments=frame.instruments,
        first_session=frame.first_session,
        last_session=frame.last_session,
        offsets=offsets,
        skill=skill.skill,
        skill_low=skill.low,
        skill_high=skill.high,
        has_skill=skill.has_skill and not spec.is_version_zero,
        rmse=skill.rmse,
        baseline_rmse=skill.baseline_rmse,
        direction_accuracy=skill.direction_accuracy,
        direction_base_rate=skill.direction_base_rate,
        test_rows=skill.rows,
        test_dates=skill.dates,
        folds=judged.folds,
        quantile=judged.quantile,
        coverage=COVERAGE,
        library_versions={"python": platform.python_version(), **worker.library_versions()},
        trained_at=trained_at,
        training_seconds=seconds,
    )
    return TrainedModel(manifest, fitted)


def train_all(
    series: Sequence[SessionSeries],
    *,
    until: dt.date | None,
    min_history: int,
    offsets: Mapping[str, int],
    trained_at: dt.datetime,
    specs: Sequence[ModelSpec] | None = None,
    snapshot: Path | None = None,
) -> TrainingRun:
    """Pool the series, keep a snapshot if a path is given, and train version 0 and the default specs.

    Args:
        series: settled sessions, one series per instrument.
        until: newest session to learn from; None for all.
        min_history: sessions an instrument needs.
        offsets: where in the stream the data end.
        trained_at: aware time of the run.
        specs: instead of the default specs.
        snapshot: Parquet file to write the frame to.

    Raises:
        UsageError: nothing to train on.
    """
    frame = training_frame(series, until, min_history)
    data_hash = write_snapshot(frame, snapshot) if snapshot else content_hash(frame)
    chosen = default_specs(min_history=min_history) if specs is None else specs
    return _run(frame, data_hash, chosen, offsets, trained_at)


def train_from_snapshot(
    snapshot: Path, specs: Sequence[ModelSpec], *, offsets: Mapping[str, int], trained_at: dt.datetime
) -> TrainingRun:
    """Train from a snapshot that was written before, as ``train_all`` would have.

    Raises:
        IntegrityError: the file is not the snapshot that was written.
    """
    frame, data_hash = read_snapshot(snapshot)
    return _run(frame, data_hash, specs, offsets, trained_at)


def _run(
    frame: TrainingFrame,
    data_hash: str,
    specs: Sequence[ModelSpec],
    offsets: Mapping[str, int],
    trained_at: dt.datetime,
) -> TrainingRun:
    reasons = [too_few_dates(spec, frame) for spec in specs]
    judged = [spec for spec, reason in zip(specs, reasons, strict=True) if not reason]
    models = train(frame, data_hash, judged, offsets=offsets, trained_at=trained_at)
    return TrainingRun(tuple(models), frame, data_hash, tuple(reason for reason in reasons if reason))
