"""The leak sentinel: whether a training set knows anything that nobody knew at the time.

Belongs here: the checks on the rows of a training set and on its folds, each a pure function that returns a
``Verdict``, and ``inspect``, which makes these and those of ``feature_leaks`` at a bounded cost. Stays out: features
(``features``), frames (``frames``), splits (``skill``), when it is run and what follows from it (``flows``).

What is computed again is computed 13 times per instrument, for ``feature_leaks.INSTRUMENTS`` of them at most. All other
checks look at every row.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.feature_leaks import (
    CUTS,
    Compute,
    Found,
    drawn,
    known_columns,
    moved,
    no_level_shows,
    some,
    the_future_moves_no_feature,
    verdict_on,
)
from streamlake_assets.market.features import feature_matrix
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries, from_ordinal
from streamlake_assets.market.skill import Fold
from streamlake_assets.market.targets import Target

COPY_LIMIT: Final = 0.9
"""Size of the correlation of one feature with a target from which it is the target: no honest one comes near."""
COPY_LEAST: Final = 60
"""Rows of an instrument below which a correlation of its own says little."""
AHEAD: Final = 2
"""Further targets, beyond the row's own, of which no feature may be a copy."""


def inspect(
    series: Sequence[SessionSeries],
    frame: TrainingFrame,
    folds: Iterable[Fold],
    compute: Compute = feature_matrix,
    *,
    seed: int = 0,
) -> dict[str, Verdict]:
    """Make every check on a training set; it is fit to learn from when all of them passed.

    Args:
        series: of every instrument of the frame, what the frame was made from.
        frame: what a model would learn from.
        folds: of its walk-forward.
        compute: the code that made the features of the frame.
        seed: of the cuts and of the changes.

    Returns:
        The verdicts by the name of the check.

    Raises:
        UsageError: an instrument of the frame has no series.
    """
    parts = list(folds)
    return {
        "the_future_moves_no_feature": the_future_moves_no_feature(series, compute, seed=seed),
        "rows_are_known_in_time": rows_are_known_in_time(series, frame, compute, seed=seed),
        "targets_are_of_the_next_session": targets_are_of_the_next_session(series, frame),
        "no_feature_is_a_copy_of_a_target": no_feature_is_a_copy_of_a_target(frame),
        "no_level_shows": no_level_shows(series, compute, seed=seed),
        "no_key_is_on_both_sides": no_key_is_on_both_sides(frame, parts),
        "labels_are_known_before_the_test": labels_are_known_before_the_test(frame, parts),
    }


def rows_are_known_in_time(
    series: Sequence[SessionSeries],
    frame: TrainingFrame,
    compute: Compute = feature_matrix,
    *,
    cuts: int = CUTS,
    seed: int = 0,
) -> Verdict:
    """Judge that every row comes before its target, and equals, bit by bit, what is computed when its session is last.

    The series of each instrument drawn is cut off at its newest row and at random ones, and all rows up to there are
    compared. That a row comes before its target is seen of every row.

    Args:
        series: of every instrument of the frame.
        frame: what a model would learn from.
        compute: the code that made its features.
        cuts: per series, the newest row included.
        seed: of the others.
    """
    late = np.flatnonzero(frame.target_sessions <= frame.sessions).tolist()
    found: Found = [f"{_row(frame, row)} has a target of {_target_date(frame, row)}" for row in late]
    tried = 0
    held = known_columns(frame)
    for one, rng in drawn(_of_frame(series, frame), seed):
        rows = np.flatnonzero(frame.instrument == frame.instruments.index(str(one.instrument)))
        ends = {frame.sessions[rows].max(), *some(rng, frame.sessions[rows], cuts - 1)} if len(rows) else set()
        for end in sorted(ends):
            tried += 1
            cut = one.until(from_ordinal(end))
            place, compared = _places(cut, rows[frame.sessions[rows] <= end], frame, found)
            computed = known_columns(compute(cut))
            found += [f"{name} of the frame is not computed" for name in held.keys() - computed.keys()]
            found += moved(
                one,
                frame.sessions[compared],
                {name: values[compared] for name, values in held.items() if name in computed},
                {name: values[place] for name, values in computed.items()},
                f"against the history that ends on {from_ordinal(end)}",
            )
    return verdict_on(found, f"features differ from {tried} histories cut off at a row", cuts=tried, rows=len(frame))


def targets_are_of_the_next_session(series: Sequence[SessionSeries], frame: TrainingFrame) -> Verdict:
    """Judge that every row's targets are those of the session after it, computed here from the bars once more.

    Args:
        series: of every instrument of the frame.
        frame: what a model would learn from.
    """
    found: Found = []
    for one in _of_frame(series, frame):
        rows = np.flatnonzero(frame.instrument == frame.instruments.index(str(one.instrument)))
        place, rows = _places(one, rows, frame, found)
        last = place == len(one) - 1
        found += [f"{_row(frame, row)} is of the newest session, whose next one is not known" for row in rows[last]]
        rows, following = rows[~last], place[~last] + 1
        apart = rows[frame.target_sessions[rows] != one.sessions[following]]
        found += [f"{_row(frame, row)} is not next to {_target_date(frame, row)}" for row in apart]
        positive = {c: np.where(getattr(one, c) > 0, getattr(one, c), np.nan) for c in ("high", "low", "close")}
        truth = {
            Target.ADJUSTED_RETURN: np.log(
                positive["close"][following] / (positive["close"][following - 1] * one.factor[following])
            ),
            Target.LOG_RANGE: np.log(positive["high"][following] / positive["low"][following]),
        }
        for target, expected in truth.items():
            wrong = ~np.isclose(frame.y[target][rows], expected, rtol=1e-9, atol=1e-12)
            found += [
                f"{target} of {_row(frame, row)} is not that of {_target_date(frame, row)}" for row in rows[wrong]
            ]
    return verdict_on(found, f"targets of {len(frame)} rows are not those of the next session", rows=len(frame))


def no_feature_is_a_copy_of_a_target(frame: TrainingFrame, limit: float = COPY_LIMIT) -> Verdict:
    """Judge that no feature, nor any affine function of one, is a target: of its row, or of one of the next rows.

    Correlations are taken over all rows and over those of each instrument, with the target in its own unit and in
    model units. Targets of the past are none of its business: the newest return is a feature.

    Args:
        frame: what a model would learn from.
        limit: size of the correlation from which a feature is a copy.
    """
    order = np.lexsort((frame.sessions, frame.instrument))
    instrument = frame.instrument[order]
    whole = np.flatnonzero(instrument[: max(len(order) - AHEAD, 0)] == instrument[AHEAD:])
    columns = {
        (target, unit, ahead): values[order][whole + ahead]
        for target in Target
        for unit, values in (("own unit", frame.y[target]), ("model units", frame.y[target] / frame.scale[target]))
        for ahead in range(AHEAD + 1)
    }
    y, x = np.column_stack(list(columns.values())), frame.x[order][whole]
    found: Found = []
    highest = 0.0
    groups = [("all instruments", np.arange(len(whole)))]
    for code in np.unique(instrument[whole]):
        groups.append((frame.instruments[code], np.flatnonzero(instrument[whole] == code)))
    for name, rows in groups:
        if len(rows) < COPY_LEAST:
            continue
        alike = np.abs(_standard(x[rows]).T @ _standard(y[rows]))
        highest = max(highest, float(alike.max()))
        for feature, column in zip(*np.nonzero(alike >= limit), strict=True):
            target, unit, ahead = list(columns)[column]
            where = f"{target}, {unit}" + (f", {ahead} rows later" if ahead else "")
            found.append(f"{frame.names[feature]} is {where} ({name}: correlation {alike[feature, column]:.4f})")
    facts = {"highest": highest, "allowed": limit, "rows": len(whole)}
    return verdict_on(
        found, f"features are a target; the highest correlation is {highest:.3f}, allowed {limit}", **facts
    )


def no_key_is_on_both_sides(frame: TrainingFrame, folds: Iterable[Fold]) -> Verdict:
    """Judge that no key (instrument, session) stands in two rows, and that no date is both fit on and tested.

    Args:
        frame: what a model would learn from.
        folds: of its walk-forward.
    """
    keys = np.column_stack([frame.instrument, frame.sessions])
    _, first, count = np.unique(keys, axis=0, return_index=True, return_counts=True)
    found = [f"{_row(frame, row)} stands {n} times" for row, n in zip(first[count > 1], count[count > 1], strict=True)]
    number = 0
    for number, fold in enumerate(folds, start=1):
        both = np.intersect1d(frame.sessions[fold.train], frame.sessions[fold.test])
        found += [f"{from_ordinal(date)} is on both sides of fold {number}" for date in both]
    return verdict_on(found, f"keys or dates are shared in {len(frame)} rows and {number} folds", folds=number)


def labels_are_known_before_the_test(frame: TrainingFrame, folds: Iterable[Fold]) -> Verdict:
    """Judge the purge: every label that is fit on came true before the first session that is tested.

    Args:
        frame: what a model would learn from.
        folds: of its walk-forward.
    """
    found: Found = []
    number = 0
    for number, fold in enumerate(folds, start=1):
        start = frame.sessions[fold.test].min(initial=np.iinfo(np.int64).max)
        late = fold.train[frame.target_sessions[fold.train] >= start]
        tests = f"fold {number} tests from {from_ordinal(start)}" if len(late) else ""
        found += [f"{_row(frame, row)} came true on {_target_date(frame, row)}, {tests}" for row in late]
    return verdict_on(found, f"labels of {number} folds were not known when their test began", folds=number)


def _of_frame(series: Sequence[SessionSeries], frame: TrainingFrame) -> list[SessionSeries]:
    by_name = {str(one.instrument): one for one in series}
    missing = sorted(set(frame.instruments) - by_name.keys())
    if missing:
        raise UsageError(f"the training set has instruments without a series: {', '.join(missing)}")
    return [by_name[name] for name in frame.instruments]


def _places(one: SessionSeries, rows: IntArray, frame: TrainingFrame, found: Found) -> tuple[IntArray, IntArray]:
    """Return where in the series the sessions of the frame's rows are, and the rows that have one; name the others."""
    place = np.searchsorted(one.sessions, frame.sessions[rows])
    there = np.isin(frame.sessions[rows], one.sessions)
    found += [f"{_row(frame, row)} is of no session of its series" for row in rows[~there]]
    return place[there], rows[there]


def _standard(values: FloatArray) -> FloatArray:
    """Return each column less its mean, of length 1; zero where it does not vary."""
    away = values - values.mean(axis=0)
    size = np.sqrt((away * away).sum(axis=0))
    varies = size > 1e-10 * np.sqrt((values * values).sum(axis=0))
    standard: FloatArray = np.where(varies, away, 0.0) / np.where(varies, size, 1.0)
    return standard


def _row(frame: TrainingFrame, row: int) -> str:
    return f"{frame.instruments[frame.instrument[row]]} {from_ordinal(frame.sessions[row])}"


def _target_date(frame: TrainingFrame, row: int) -> str:
    return str(from_ordinal(frame.target_sessions[row]))
