"""Training: from a frame to models with manifests, judged before they are fitted for good.

Belongs here: the order of the steps, once for every engine. Stays out: publishing folders (``stores``), choosing which
model serves (``serve``).
"""

import datetime as dt
import json
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import Engine, FittedModel, engine
from streamlake_assets.learning.losses import write_losses
from streamlake_assets.learning.manifest import Manifest
from streamlake_assets.learning.spec import ModelSpec, model_version
from streamlake_assets.learning.walk_forward import OutOfFold, fit_on, walk_forward
from streamlake_assets.market.evaluation import Evaluation, OverSeeds, evaluate, over_seeds
from streamlake_assets.market.forecasts import COVERAGE
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.gate import DateLosses, Evidence, update

EVALUATION: Final = "evaluation.json"
"""Beside each model: fold table, skill over every naive method, coverage by quarter, and what other seeds gave."""


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model and what is known of it; ``save`` writes its files, the manifest is published beside them."""

    manifest: Manifest
    fitted: FittedModel
    losses: DateLosses
    evaluation: Evaluation | None
    """None of a version 0 that could not be judged by folds."""
    over_seeds: dict[str, OverSeeds]
    """Mean and deviation of each headline figure; empty where one seed was tried."""

    def save(self, folder: Path) -> None:
        """Write the model's files, its evaluation and its losses out of fold, into an existing, empty folder."""
        self.fitted.save(folder)
        write_losses(folder, self.losses)
        plain = {
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
            "over_seeds": {name: asdict(figure) for name, figure in self.over_seeds.items()},
        }
        (folder / EVALUATION).write_text(json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n")

    def summary(self) -> str:
        """Return in one line what the model is worth and what it took."""
        m = self.manifest
        return (
            f"skill {m.skill:.4f} ({m.skill_low:.4f} to {m.skill_high:.4f}), "
            f"{m.test_rows} rows in {m.folds} folds, {m.training_seconds:.1f} s"
        )


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
    models = []
    for spec in specs:
        with closing(engine(spec.engine)) as worker:
            models.append(train_spec(frame, data_hash, spec, worker, offsets=offsets, trained_at=trained_at))
    return models


def train_spec(
    frame: TrainingFrame,
    data_hash: str,
    spec: ModelSpec,
    worker: Engine,
    *,
    offsets: Mapping[str, int],
    trained_at: dt.datetime,
) -> TrainedModel:
    """Judge one spec and fit it, by an engine that may be open already: see ``train``."""
    started = time.monotonic()
    judged = walk_forward(spec, worker, frame)
    evaluation, over = None, {}
    if all(len(fold.train) for fold in judged.folds):
        evaluation = _evaluated(frame, spec, judged)
        seeds = [msgspec.structs.replace(spec, seed=spec.seed + more) for more in range(1, spec.plan.seeds)]
        if seeds:
            others = [_evaluated(frame, one, walk_forward(one, worker, frame)) for one in seeds]
            over = over_seeds([evaluation, *others])
    fitted = fit_on(spec, worker, frame, np.arange(len(frame)))
    seconds = time.monotonic() - started
    skill, evidence = judged.skill, update(Evidence(), judged.losses)
    manifest = Manifest(
        version=model_version(data_hash, spec),
        name=spec.name,
        engine=spec.engine,
        target=spec.target,
        spec=spec,
        spec_hash=spec.digest(),
        data_hash=data_hash,
        features=fitted.features,
        seed=spec.seed,
        rows=len(frame),
        instruments=frame.instruments,
        first_session=frame.first_session,
        last_session=frame.last_session,
        offsets=dict(offsets),
        skill=skill.skill,
        skill_low=skill.low,
        skill_high=skill.high,
        has_skill=evidence.has_passed and not spec.is_version_zero,
        log_e=evidence.log_e,
        rmse=skill.rmse,
        baseline_rmse=skill.baseline_rmse,
        direction_accuracy=skill.direction_accuracy,
        direction_base_rate=skill.direction_base_rate,
        test_rows=skill.rows,
        test_dates=skill.dates,
        folds=len(judged.folds),
        quantile=judged.quantile,
        coverage=COVERAGE,
        library_versions={"python": platform.python_version(), **worker.library_versions()},
        trained_at=trained_at,
        training_seconds=seconds,
    )
    return TrainedModel(manifest, fitted.model, judged.losses, evaluation, over)


def _evaluated(frame: TrainingFrame, spec: ModelSpec, judged: OutOfFold) -> Evaluation:
    return evaluate(
        frame, spec.target, judged.rows, judged.forecast, judged.folds, judged.low, judged.high, seed=spec.seed
    )
