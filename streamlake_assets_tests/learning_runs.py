"""Training runs for tests: a pooled frame, version 0 and the linear models on it, in this process."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from streamlake_assets.learning.manifest import Manifest
from streamlake_assets.learning.snapshot import content_hash, write_snapshot
from streamlake_assets.learning.spec import Algorithm, ModelSpec, default_specs
from streamlake_assets.learning.train import TrainedModel, train
from streamlake_assets.learning.walk_forward import too_few_dates
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import SessionSeries
from streamlake_assets_tests.series_data import NOW

LINEAR_SPECS: tuple[ModelSpec, ...] = tuple(
    spec for spec in default_specs() if spec.algorithm in (Algorithm.BASELINE, Algorithm.LINEAR)
)
"""Version 0 and a linear regression on each target: what trains in no time."""


class TrainingRun(NamedTuple):
    """All models of one run on one set of data, and why specs were left out."""

    models: tuple[TrainedModel, ...]
    frame: TrainingFrame
    data_hash: str
    not_trained: tuple[str, ...]

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        return tuple(model.manifest for model in self.models)


def train_all(
    series: Sequence[SessionSeries],
    *,
    until: dt.date | None = None,
    offsets: Mapping[str, int] | None = None,
    specs: Sequence[ModelSpec] = LINEAR_SPECS,
    snapshot: Path | None = None,
) -> TrainingRun:
    """Train what can be judged on the series up to a date."""
    frame = training_frame(series, until, 63)
    data_hash = write_snapshot(frame, snapshot) if snapshot else content_hash(frame)
    reasons = [too_few_dates(spec, frame) for spec in specs]
    judged = [spec for spec, reason in zip(specs, reasons, strict=True) if not reason]
    models = train(frame, data_hash, judged, offsets=offsets or {}, trained_at=NOW)
    return TrainingRun(tuple(models), frame, data_hash, tuple(reason for reason in reasons if reason))
