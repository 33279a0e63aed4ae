"""Evaluation of out-of-fold forecasts: everything that is said of a model's accuracy, from one place.

Belongs here: the record of an evaluation, how it is filled, its mean and deviation over seeds. Stays out: making the
forecasts (``learning.walk_forward``), the single measures (``skill``, ``inference``, ``intervals``), the naive methods
(``baselines``), whether a model may speak (``gate``).
"""

import datetime as dt
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.baselines import baseline_forecasts, tested_by
from streamlake_assets.market.forecasts import COVERAGE
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.inference import (
    InformationCoefficient,
    MeanTest,
    clark_west,
    diebold_mariano,
    information_coefficient,
)
from streamlake_assets.market.intervals import Coverage, measure_coverage
from streamlake_assets.market.series import FloatArray, IntArray, from_ordinal
from streamlake_assets.market.skill import Fold, measure_skill
from streamlake_assets.market.targets import Target


@dataclass(frozen=True)
class FoldScore:
    """One fold: ``first`` and ``last`` are the sessions after which its first and last forecast were made.

    ``train_rows`` were fitted on, ``rows`` are scored. Errors are in the target's own unit; ``skill`` is over the
    target's baseline, None where that made no error.
    """

    number: int
    first: dt.date
    last: dt.date
    train_rows: int
    rows: int
    rmse: float
    mae: float
    skill: float | None


@dataclass(frozen=True)
class BaselineScore:
    """One naive method and the skill of the evaluated forecasts over it, with its 95 % interval.

    ``diebold_mariano`` asks whether the two are equally accurate; None where they are the same. It is for methods that
    the model does not nest.
    """

    name: str
    rmse: float
    mae: float
    skill: float
    low: float
    high: float
    diebold_mariano: MeanTest | None


@dataclass(frozen=True)
class Evaluation:
    """What out-of-fold forecasts of one target were worth; errors in the target's own unit.

    ``skill`` is over the target's own baseline with its 95 % interval ``low`` to ``high``; ``baselines`` holds the same
    over every naive method, strongest first. Directions as in ``skill.Skill``. ``clark_west`` is against the target's
    baseline, None where the forecasts are that baseline. ``coverage`` is None where no intervals were given.
    """

    target: Target
    seed: int
    rows: int
    dates: int
    rmse: float
    mae: float
    baseline_rmse: float
    skill: float
    low: float
    high: float
    direction_accuracy: float | None
    direction_base_rate: float | None
    folds: tuple[FoldScore, ...]
    baselines: tuple[BaselineScore, ...]
    ic: InformationCoefficient
    clark_west: MeanTest | None
    coverage: Coverage | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that any JSON encoder takes; dates as ISO 8601 texts."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def headline(self) -> dict[str, float]:
        """Return the figures that are compared between seeds and models, by name; those that are None left out."""
        found = {
            "rmse": self.rmse,
            "mae": self.mae,
            "skill": self.skill,
            "direction_accuracy": self.direction_accuracy,
            "ic": self.ic.mean,
            "clark_west": self.clark_west.statistic if self.clark_west else None,
            "coverage": self.coverage.share if self.coverage else None,
            "quarters_in_goal": self.coverage.in_goal if self.coverage else None,
            **{f"skill_over_{baseline.name}": baseline.skill for baseline in self.baselines},
        }
        return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def evaluate(
    frame: TrainingFrame,
    target: Target,
    rows: IntArray,
    forecast: FloatArray,
    folds: Sequence[Fold],
    low: FloatArray | None = None,
    high: FloatArray | None = None,
    *,
    seed: int,
) -> Evaluation:
    """Evaluate forecasts that no scored row took part in.

    Args:
        frame: the frame that ``rows`` index.
        target: what was forecast.
        rows: n different indices, each tested by one of the folds; the order changes nothing.
        forecast: n values in the target's own unit.
        folds: the walk-forward that made them; folds that test none of the rows are left out of the table.
        low: n lower ends of ``COVERAGE`` intervals, NaN where a row has none; None without intervals.
        high: n upper ends, given together with ``low``.
        seed: seed of the bootstraps, and of the model where it has one.

    Raises:
        UsageError: rows that repeat or that no fold tests, arrays of different length, values that are not finite, one
            end of the intervals only, fewer than 8 dates, or a fold too short for the baselines.
    """
    values = [values for values in (forecast, low, high) if values is not None]
    if any(one.shape != rows.shape for one in values) or (low is None) != (high is None):
        raise UsageError("an evaluation needs one forecast a row, and both ends of the intervals or none")
    order = np.argsort(rows)
    rows, forecast = rows[order], forecast[order]
    fold_of = tested_by(len(frame), folds)[rows]
    if np.any(np.diff(rows) == 0) or np.any(fold_of < 0):
        raise UsageError("an evaluation needs every row once, and tested by a fold: others may have been fitted on")

    sessions, truth = frame.sessions[rows], frame.y[target][rows]
    baseline = frame.baseline[target][rows]
    overall = measure_skill(sessions, truth, forecast, baseline, directional=target.has_direction, seed=seed)
    coverage = None
    if low is not None and high is not None:
        coverage = measure_coverage(frame.target_sessions[rows], truth, low[order], high[order], COVERAGE)
    return Evaluation(
        target=target,
        seed=seed,
        rows=overall.rows,
        dates=overall.dates,
        rmse=overall.rmse,
        mae=_mae(truth, forecast),
        baseline_rmse=overall.baseline_rmse,
        skill=overall.skill,
        low=overall.low,
        high=overall.high,
        direction_accuracy=overall.direction_accuracy,
        direction_base_rate=overall.direction_base_rate,
        folds=tuple(
            _fold_score(number, folds[number], sessions, truth, forecast, baseline, fold_of == number)
            for number in np.unique(fold_of).tolist()
        ),
        baselines=tuple(
            sorted(
                (
                    _baseline_score(name, sessions, truth, forecast, made[rows], seed)
                    for name, made in baseline_forecasts(frame, folds, target).items()
                ),
                key=lambda score: (score.rmse, score.name),
            )
        ),
        ic=information_coefficient(
            frame.instruments, frame.instrument[rows], sessions, truth, forecast, baseline, seed=seed
        ),
        clark_west=clark_west(sessions, truth, baseline, forecast),
        coverage=coverage,
    )


def _mae(truth: FloatArray, forecast: FloatArray) -> float:
    return float(np.abs(truth - forecast).mean())


def _fold_score(
    number: int,
    fold: Fold,
    sessions: IntArray,
    truth: FloatArray,
    forecast: FloatArray,
    baseline: FloatArray,
    own: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> FoldScore:
    loss = float(((truth[own] - forecast[own]) ** 2).sum())
    baseline_loss = float(((truth[own] - baseline[own]) ** 2).sum())
    count = int(own.sum())
    return FoldScore(
        number=number,
        first=from_ordinal(sessions[own].min()),
        last=from_ordinal(sessions[own].max()),
        train_rows=len(fold.train),
        rows=count,
        rmse=math.sqrt(loss / count),
        mae=_mae(truth[own], forecast[own]),
        skill=1 - loss / baseline_loss if baseline_loss > 0 else None,
    )


def _baseline_score(
    name: str, sessions: IntArray, truth: FloatArray, forecast: FloatArray, made: FloatArray, seed: int
) -> BaselineScore:
    over = measure_skill(sessions, truth, forecast, made, directional=False, seed=seed)
    return BaselineScore(
        name=name,
        rmse=over.baseline_rmse,
        mae=_mae(truth, made),
        skill=over.skill,
        low=over.low,
        high=over.high,
        diebold_mariano=diebold_mariano(sessions, truth, made, forecast),
    )


@dataclass(frozen=True)
class OverSeeds:
    """Mean and standard deviation (n - 1) of one figure over ``seeds`` evaluations that differ by their seed only."""

    mean: float
    deviation: float
    seeds: int


def over_seeds(evaluations: Sequence[Evaluation]) -> dict[str, OverSeeds]:
    """Return mean and deviation of every headline figure that all evaluations have.

    Raises:
        UsageError: fewer than two evaluations, a seed twice, or evaluations of different targets or rows.
    """
    if len(evaluations) < 2 or len({e.seed for e in evaluations}) != len(evaluations):
        raise UsageError("a deviation over seeds needs at least two evaluations, each with its own seed")
    if len({(e.target, e.rows, e.dates) for e in evaluations}) != 1:
        raise UsageError("evaluations over seeds must be of the same target and rows")
    headlines = [evaluation.headline() for evaluation in evaluations]
    shared = [name for name in headlines[0] if all(name in headline for headline in headlines)]
    return {
        name: OverSeeds(
            mean=statistics.fmean(headline[name] for headline in headlines),
            deviation=statistics.stdev(headline[name] for headline in headlines),
            seeds=len(headlines),
        )
        for name in shared
    }
