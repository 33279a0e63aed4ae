"""Search of hyper-parameters in time order, with the same budget for every engine.

Belongs here: the candidates of an algorithm, the inner folds, the choice. Stays out: judging the spec that was chosen,
which needs dates that the search has not seen: hand in the rows before them.

A candidate is judged by walk-forward inside the given rows: the older half of their dates is learned from, the newer
half is forecast in ``FOLDS`` steps, each step learning from all that was known before it. Each engine gets ``BUDGET``
candidates, so ``BUDGET`` times ``FOLDS`` fits; the first candidate is the spec itself, and only a smaller error takes
its place. Least squares has no hyper-parameter: it has one candidate, and no fit is spent on it.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import Engine
from streamlake_assets.learning.spec import Algorithm, ModelSpec, Params
from streamlake_assets.learning.walk_forward import fit_on
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.series import IntArray
from streamlake_assets.market.skill import Fold, walk_forward_folds

FOLDS: Final = 3
BUDGET: Final = 6
_FOREST: Final[tuple[Params, ...]] = (
    {"max_depth": 4, "min_leaf_rows": 100},
    {"max_depth": 4, "min_leaf_rows": 50},
    {"max_depth": 8, "min_leaf_rows": 100},
    {"max_depth": 8, "min_leaf_rows": 20},
    {"max_depth": 6, "min_leaf_rows": 50, "feature_share": 1.0},
)
CHANGES: Final[dict[Algorithm, tuple[Params, ...]]] = {
    Algorithm.LINEAR: (),
    Algorithm.FOREST: _FOREST,
    Algorithm.BLOCK_FOREST: _FOREST,
    Algorithm.BOOSTING: (
        {"learning_rate": 0.02, "max_leaves": 7},
        {"learning_rate": 0.02, "max_leaves": 15},
        {"learning_rate": 0.02, "min_leaf_rows": 200},
        {"learning_rate": 0.05, "max_leaves": 7},
        {"learning_rate": 0.1, "max_leaves": 7},
    ),
    Algorithm.XGBOOST: (
        {"learning_rate": 0.02, "max_depth": 2},
        {"learning_rate": 0.02, "max_depth": 4},
        {"learning_rate": 0.02, "min_leaf_rows": 200},
        {"learning_rate": 0.05, "max_depth": 2},
        {"learning_rate": 0.1, "max_depth": 2},
    ),
}
"""What the candidates beside the spec itself say instead of it: shallower and deeper, slower and quicker."""


@dataclass(frozen=True)
class Trial:
    """One candidate: what it changes, and its error on the inner folds in the target's own unit.

    ``skill`` is 1 - SSE / SSE of the baseline on the same rows. Both are None where the engine refused; ``reason`` says
    why, and such a candidate is never chosen.
    """

    changes: Params
    rmse: float | None
    skill: float | None
    fits: int
    reason: str = ""


@dataclass(frozen=True)
class Search:
    """The spec to train, and what every candidate was worth, in the order tried."""

    chosen: ModelSpec
    trials: tuple[Trial, ...]
    test_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values."""
        return {
            "chosen": msgspec.to_builtins(self.chosen),
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
            "test_rows": self.test_rows,
        }


def candidates(spec: ModelSpec) -> tuple[Params, ...]:
    """Return what each candidate changes in a spec; the first changes nothing.

    Raises:
        UsageError: an algorithm that cannot be searched.
    """
    if spec.algorithm not in CHANGES:
        raise UsageError(f"spec {spec.name}: there is nothing to search in a {spec.algorithm.value}")
    return ({}, *CHANGES[spec.algorithm])


def inner_folds(spec: ModelSpec, frame: TrainingFrame, rows: IntArray) -> list[Fold]:
    """Return the folds of a search as indices into the frame, all of them among ``rows``.

    Raises:
        UsageError: too few dates for two halves.
    """
    dates = len(np.unique(frame.sessions[rows]))
    first = dates // 2
    if first <= spec.plan.embargo + 1 or dates - first < FOLDS:
        raise UsageError(f"spec {spec.name}: {dates} dates are too few to search in")
    folds = walk_forward_folds(
        frame.sessions[rows],
        frame.target_sessions[rows],
        first_train=first,
        step=-(-(dates - first) // FOLDS),
        embargo=spec.plan.embargo,
    )
    return [Fold(train=rows[fold.train], test=rows[fold.test]) for fold in folds]


def search(
    spec: ModelSpec,
    engine: Engine,
    frame: TrainingFrame,
    *,
    rows: IntArray | None = None,
    changes: Sequence[Params] | None = None,
) -> Search:
    """Choose the hyper-parameters of a spec by inner walk-forward; equal arguments give an equal choice.

    Args:
        spec: where the search starts.
        engine: that fits it; it may be open already.
        frame: complete rows.
        rows: the rows it may look at (indices); default all. Whoever judges the chosen spec on the same dates finds it
            better than it is.
        changes: candidates instead of ``candidates(spec)``.

    Raises:
        UsageError: too few dates, an algorithm that cannot be searched, or every candidate refused.
        ServerError: the engine died.
    """
    allowed = np.arange(len(frame), dtype=np.int64) if rows is None else np.sort(rows)
    tried = tuple(candidates(spec) if changes is None else changes)
    if len(tried) == 1:
        return Search(_with(spec, tried[0]), (Trial(tried[0], None, None, 0, "the only candidate"),), 0)
    folds = inner_folds(spec, frame, allowed)
    trials = tuple(_try(_with(spec, change), change, engine, frame, folds) for change in tried)
    judged = [trial for trial in trials if trial.rmse is not None]
    if not judged:
        raise UsageError(f"spec {spec.name}: no candidate can be fitted: {trials[0].reason}")
    # of equal errors the earlier candidate
    best = min(judged, key=lambda trial: trial.rmse or 0.0)
    return Search(_with(spec, best.changes), trials, sum(len(fold.test) for fold in folds))


def _with(spec: ModelSpec, change: Params) -> ModelSpec:
    return msgspec.structs.replace(spec, params={**spec.params, **change})


def _try(spec: ModelSpec, change: Params, engine: Engine, frame: TrainingFrame, folds: Sequence[Fold]) -> Trial:
    target = spec.target
    squares = baseline = 0.0
    count = 0
    for number, fold in enumerate(folds):
        try:
            fitted = fit_on(spec, engine, frame, fold.train)
        except UsageError as error:
            return Trial(change, None, None, number, str(error))
        forecast = fitted.model.predict(frame.columns(fitted.features)[fold.test]) * frame.scale[target][fold.test]
        if not target.has_direction:
            forecast = np.maximum(forecast, 0.0)  # as walk_forward: what would be issued is what is judged
        truth = frame.y[target][fold.test]
        squares += float(((truth - forecast) ** 2).sum())
        baseline += float(((truth - frame.baseline[target][fold.test]) ** 2).sum())
        count += len(truth)
    if baseline == 0.0:
        raise UsageError(f"spec {spec.name}: the baseline makes no error: skill over it has no meaning")
    return Trial(change, float(np.sqrt(squares / count)), 1.0 - squares / baseline, len(folds))
