"""Forecasts of naive methods: what a model has to beat before it may speak of skill.

Belongs here: the methods, each from what was known after the row's session. Stays out: how forecasts are scored
(``evaluation``), the one baseline each target is gated by (``targets``), models (``learning``).
"""

from collections.abc import Callable, Sequence

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.skill import Fold
from streamlake_assets.market.targets import Target

ZERO = "zero"
DRIFT = "drift"
POOLED_MEAN = "pooled_mean"
SEASONAL = "seasonal"
PERSISTENCE = "persistence"
EWMA = "ewma"
HAR = "har"
HAR_SCALED = "har_scaled"

_HAR_TERMS = ("range_1", "range_5", "range_22")


def baseline_forecasts(frame: TrainingFrame, folds: Sequence[Fold], target: Target) -> dict[str, FloatArray]:
    """Return the forecasts of every naive method of a target, n values each in the target's own unit.

    A value is NaN where no fold tests the row. Methods that fit use the training rows of the row's fold; the others
    use what the row's own instrument had shown up to its session. Of the return:

    - ``zero``: no move, the target's baseline;
    - ``drift``: the mean of the instrument's earlier targets in the frame, zero while there is none;
    - ``pooled_mean``: the mean of the fold's training rows, all instruments alike;
    - ``seasonal``: as ``drift``, over the targets that followed sessions of the same weekday as the row's. The weekday
      is that of the session that has settled, for the next one's date would need a calendar: what follows a Friday.

    Of the log range:

    - ``persistence``: the range of the session that has settled;
    - ``ewma``: its exponentially weighted average, the target's baseline;
    - ``har``: least squares on the mean range of one session, 5 and 22 (Corsi, 2009), fitted on the fold's training
      rows of all instruments, never below zero. The terms are those of the features, cut at ``FEATURE_LIMIT`` averages;
    - ``har_scaled``: the same with truth and terms divided by the row's scale before the fit, so that calm and stormy
      years weigh alike.

    Raises:
        UsageError: a row tested by two folds, or a fold with too few training rows to fit on.
    """
    methods = _RETURN if target.has_direction else _RANGE
    tested = tested_by(len(frame), folds) >= 0
    return {name: np.where(tested, method(frame, folds, target), np.nan) for name, method in methods.items()}


def tested_by(rows: int, folds: Sequence[Fold]) -> IntArray:
    """Return the number of the fold that tests each of ``rows`` rows, -1 where none does.

    Raises:
        UsageError: a row tested by two folds.
    """
    found = np.full(rows, -1, dtype=np.int64)
    for number, fold in enumerate(folds):
        if np.any(found[fold.test] >= 0):
            raise UsageError(f"fold {number} tests rows that an earlier fold tests: their errors would count twice")
        found[fold.test] = number
    return found


def _target_baseline(frame: TrainingFrame, _folds: Sequence[Fold], target: Target) -> FloatArray:
    return frame.baseline[target]


def _drift(frame: TrainingFrame, _folds: Sequence[Fold], target: Target) -> FloatArray:
    return _mean_of_earlier(frame.y[target], frame.instrument)


def _seasonal(frame: TrainingFrame, _folds: Sequence[Fold], target: Target) -> FloatArray:
    weekday = (frame.sessions + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    return _mean_of_earlier(frame.y[target], frame.instrument * 7 + weekday)


def _mean_of_earlier(values: FloatArray, group: IntArray) -> FloatArray:
    """Return for every row the mean of its group's earlier rows, zero for the first.

    An instrument's row comes true in its next session, so whatever its earlier rows forecast is known by then. Each
    group has its own sum: a late value of one cannot move even the last bit of another.
    """
    order = np.argsort(group, kind="stable")
    means = np.zeros(len(values))
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        means[rows[1:]] = np.cumsum(values[rows])[:-1] / np.arange(1, len(rows))
    return means


def _pooled_mean(frame: TrainingFrame, folds: Sequence[Fold], target: Target) -> FloatArray:
    made = np.full(len(frame), np.nan)
    for number, fold in enumerate(folds):
        _enough(fold, number, 1, POOLED_MEAN)
        made[fold.test] = frame.y[target][fold.train].mean()
    return made


def _persistence(frame: TrainingFrame, _folds: Sequence[Fold], target: Target) -> FloatArray:
    last: FloatArray = frame.columns(("range_1",))[:, 0] * frame.scale[target]
    return last


def _har(frame: TrainingFrame, folds: Sequence[Fold], target: Target) -> FloatArray:
    terms = frame.columns(_HAR_TERMS) * frame.scale[target][:, None]
    made = _least_squares(np.column_stack([np.ones(len(frame)), terms]), frame.y[target], folds, HAR)
    return np.maximum(made, 0.0)  # NaN stays NaN


def _har_scaled(frame: TrainingFrame, folds: Sequence[Fold], target: Target) -> FloatArray:
    scale = frame.scale[target]
    design = np.column_stack([np.ones(len(frame)), frame.columns(_HAR_TERMS)])
    return np.maximum(_least_squares(design, frame.y[target] / scale, folds, HAR_SCALED) * scale, 0.0)


def _least_squares(design: FloatArray, truth: FloatArray, folds: Sequence[Fold], name: str) -> FloatArray:
    made = np.full(len(truth), np.nan)
    for number, fold in enumerate(folds):
        _enough(fold, number, design.shape[1], name)
        weights = np.linalg.lstsq(design[fold.train], truth[fold.train], rcond=None)[0]
        made[fold.test] = design[fold.test] @ weights
    return made


def _enough(fold: Fold, number: int, least: int, name: str) -> None:
    if len(fold.train) < least:
        raise UsageError(f"baseline {name}: fold {number} has {len(fold.train)} training rows, it needs {least}")


_Method = Callable[[TrainingFrame, Sequence[Fold], Target], FloatArray]
_RETURN: dict[str, _Method] = {
    ZERO: _target_baseline,
    DRIFT: _drift,
    POOLED_MEAN: _pooled_mean,
    SEASONAL: _seasonal,
}
_RANGE: dict[str, _Method] = {
    PERSISTENCE: _persistence,
    EWMA: _target_baseline,
    HAR: _har,
    HAR_SCALED: _har_scaled,
}
