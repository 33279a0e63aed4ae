"""Walk-forward of a spec: out-of-fold forecasts, skill with its interval, the conformal quantile.

Belongs here: running an engine over the folds. Stays out: the folds and the scores themselves (``market.skill``), which
every engine shares.
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import Engine, FittedModel
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.forecasts import COVERAGE
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.gate import DateLosses, date_losses
from streamlake_assets.market.intervals import WARM_UP_DATES, rolling_intervals, serving_quantile
from streamlake_assets.market.selection import select_features
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.skill import Fold, Skill, measure_skill, walk_forward_folds


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Forecasts that no row took part in: ``rows`` index the frame, ``forecast`` is in the target's own unit.

    ``losses`` are the same forecasts' errors by date, in model units. ``low`` and ``high`` bound each forecast as it
    would have been served, NaN in the warm-up; ``quantile`` is the half width after the last date, in units of scale.
    """

    rows: IntArray
    forecast: FloatArray
    low: FloatArray
    high: FloatArray
    folds: list[Fold]
    skill: Skill
    quantile: float
    losses: DateLosses


def folds_of(spec: ModelSpec, frame: TrainingFrame) -> list[Fold]:
    """Return the folds of a spec's plan; none when the frame has too few dates.

    Version 0 fits nothing, so every row is out of its sample: with too few dates it is judged on all of them at once.
    """
    plan = spec.plan
    folds = list(
        walk_forward_folds(
            frame.sessions,
            frame.target_sessions,
            first_train=plan.first_train,
            step=plan.step,
            embargo=plan.embargo,
        )
    )
    if not folds and spec.is_version_zero:
        return [Fold(train=np.empty(0, dtype=np.int64), test=np.arange(len(frame), dtype=np.int64))]
    return folds


def too_few_dates(spec: ModelSpec, frame: TrainingFrame) -> str:
    """Return why a spec cannot be judged on a frame; an empty text when it can."""
    if folds_of(spec, frame):
        return ""
    dates = len(np.unique(frame.sessions))
    return f"spec {spec.name}: {dates} dates with complete rows; judging it needs more than {spec.plan.first_train}"


class FittedOn(NamedTuple):
    """A model, and the features it takes, in order: all of its spec, or those that the spec's rule chose."""

    model: FittedModel
    features: tuple[str, ...]


def fit_on(spec: ModelSpec, engine: Engine, frame: TrainingFrame, rows: IntArray) -> FittedOn:
    """Choose features, if the spec says so, and fit, both on some rows of a frame and on nothing else.

    Raises:
        UsageError: a hyper-parameter the engine refuses, or rows that cannot be learned from.
    """
    y = frame.y[spec.target][rows] / frame.scale[spec.target][rows]
    x = frame.columns(spec.features)[rows]
    if spec.selection is None:
        return FittedOn(engine.fit(spec, x, y), spec.features)
    chosen = select_features(x, y, spec.features, frame.sessions[rows], spec.selection)
    features = tuple(spec.features[i] for i in chosen)
    narrowed = msgspec.structs.replace(spec, features=features)
    return FittedOn(engine.fit(narrowed, np.ascontiguousarray(x[:, list(chosen)]), y), features)


def walk_forward(spec: ModelSpec, engine: Engine, frame: TrainingFrame) -> OutOfFold:
    """Fit on the past and predict the next dates, fold by fold; version 0 goes through the same folds.

    Raises:
        UsageError: too few dates, or a hyper-parameter the engine refuses.
    """
    target = spec.target
    scale = frame.scale[target]
    forecast = np.full(len(frame), np.nan)
    folds = folds_of(spec, frame)
    if not folds:
        raise UsageError(too_few_dates(spec, frame))
    for fold in folds:
        fitted = fit_on(spec, engine, frame, fold.train)
        x = frame.columns(fitted.features)
        forecast[fold.test] = fitted.model.predict(x[fold.test]) * scale[fold.test]
    if not target.has_direction:
        forecast = np.maximum(forecast, 0.0)  # as market.targets: what is issued is what is judged; NaN stays NaN
    rows = np.sort(np.concatenate([fold.test for fold in folds]))
    truth, made = frame.y[target][rows], forecast[rows]
    # of a short history half the dates have to do
    warm_up = min(WARM_UP_DATES, max(1, len(np.unique(frame.target_sessions[rows])) // 2))
    low, high = rolling_intervals(frame, target, rows, made, COVERAGE, warm_up=warm_up)
    return OutOfFold(
        rows=rows,
        forecast=made,
        low=low,
        high=high,
        folds=folds,
        skill=measure_skill(
            frame.sessions[rows],
            truth,
            made,
            frame.baseline[target][rows],
            directional=target.has_direction,
            seed=spec.seed,
        ),
        quantile=serving_quantile(frame, target, rows, made, COVERAGE, warm_up=warm_up),
        losses=date_losses(frame.sessions[rows], truth, made, frame.baseline[target][rows], scale[rows]),
    )
