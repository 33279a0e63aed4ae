"""Frames built by hand, row by row, and a quick least-squares walk-forward over the real bars."""

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np

from streamlake_assets.learning.spec import FEATURES, WalkForwardPlan
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.skill import Fold, walk_forward_folds
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import bokeh_series

DEFAULT_PLAN = WalkForwardPlan()
RANGES = ("range_1", "range_5", "range_22")


def made_frame(
    sessions: Sequence[int],
    instrument: Sequence[int],
    y: Sequence[float],
    *,
    targets: Sequence[int] | None = None,
    scale: float | FloatArray = 1.0,
    x: FloatArray | None = None,
) -> TrainingFrame:
    """Build a frame from its columns; both targets have the same truth, a target session is the next day."""
    count = len(sessions)
    scales = np.full(count, scale) if np.isscalar(scale) else np.asarray(scale, dtype=np.float64)
    known = np.asarray(sessions, dtype=np.int64)
    return TrainingFrame(
        instruments=tuple(f"S{number}|XNYS" for number in range(max(instrument) + 1)),
        names=RANGES,
        instrument=np.asarray(instrument, dtype=np.int64),
        sessions=known,
        target_sessions=known + 1 if targets is None else np.asarray(targets, dtype=np.int64),
        x=np.ones((count, 3)) if x is None else x,
        y={target: np.asarray(y, dtype=np.float64) for target in Target},
        scale=dict.fromkeys(Target, scales),
        baseline={target: target.baseline_units * scales for target in Target},
    )


def noise_frame(dates: int, instruments: int, seed: int, scale: float = 1.0) -> TrainingFrame:
    """Build truths that are independent normal draws times the scale, plus one; features are draws too."""
    rng = np.random.default_rng(seed)
    sessions = np.repeat(np.arange(dates) + 11_000, instruments)
    return made_frame(
        sessions.tolist(),
        np.tile(np.arange(instruments), dates).tolist(),
        (1.0 + scale * rng.normal(size=len(sessions))).tolist(),
        scale=scale,
        x=rng.uniform(0.5, 1.5, (len(sessions), 3)),
    )


def with_truth(frame: TrainingFrame, y: FloatArray) -> TrainingFrame:
    return dataclasses.replace(frame, y=dict.fromkeys(Target, y))


def folds_over(frame: TrainingFrame, plan: WalkForwardPlan = DEFAULT_PLAN) -> list[Fold]:
    return list(
        walk_forward_folds(
            frame.sessions,
            frame.target_sessions,
            first_train=plan.first_train,
            step=plan.step,
            embargo=plan.embargo,
        )
    )


@cache
def real_frame() -> TrainingFrame:
    return training_frame(bokeh_series(), None, 63)


def least_squares(frame: TrainingFrame, folds: Sequence[Fold], target: Target) -> tuple[IntArray, FloatArray]:
    """Return the tested rows and their forecasts by least squares on the default features, in units of the scale."""
    x = np.column_stack([np.ones(len(frame)), frame.columns(FEATURES[target])])
    scale = frame.scale[target]
    made = np.full(len(frame), np.nan)
    for fold in folds:
        weights = np.linalg.lstsq(x[fold.train], frame.y[target][fold.train] / scale[fold.train], rcond=None)[0]
        made[fold.test] = x[fold.test] @ weights * scale[fold.test]
    rows = np.flatnonzero(np.isfinite(made))
    return rows, made[rows] if target.has_direction else np.maximum(made[rows], 0.0)
