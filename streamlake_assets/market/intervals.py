"""Conformal intervals of out-of-fold forecasts: each from errors that were known when it was issued.

Belongs here: the half width date by date, the one serving uses, how often intervals held. Stays out: the forecasts
themselves, other scores (``evaluation``), the rank of one fixed set of residuals (``skill.conformal_quantile``).
"""

from dataclasses import dataclass

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.forecasts import COVERAGE
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.targets import Target

ADAPT_RATE = 0.01
"""Step of the adaptive level. On the default data five times as much keeps more quarters on the goal while the quantile
moves every session, but fewer once it is frozen for a quarter, as a served model's may be, and its score is worse."""
WARM_UP_DATES = 63
"""Dates of known errors before the first interval."""
GOAL_MARGIN = 0.05
"""A quarter is as it should be when its coverage is within so much of the nominal one."""
FULL_QUARTER_DATES = 42
"""Dates a calendar quarter needs to be judged: two months. Shorter ones, at the ends, are listed only."""


def rolling_intervals(
    frame: TrainingFrame,
    target: Target,
    rows: IntArray,
    forecast: FloatArray,
    coverage: float = COVERAGE,
    window_dates: int | None = None,
    warm_up: int = WARM_UP_DATES,
    *,
    adapt: float = ADAPT_RATE,
) -> tuple[FloatArray, FloatArray]:
    """Return low and high of every row's interval in the target's own unit; NaN in the warm-up.

    Half a width is a quantile times the row's trailing scale. The quantile is the conformal rank (Vovk et al., 2005) of
    absolute errors divided by their scales, pooled over instruments: of rows whose target session had settled when the
    row was forecast, never of the row itself or a later one.

    Args:
        frame: the frame that ``rows`` index.
        target: what was forecast.
        rows: n different indices of rows forecast out of fold, any order.
        forecast: n values in the target's own unit.
        coverage: share of truths that should fall inside, between 0 and 1.
        window_dates: number of newest target sessions whose errors count; None for all there are.
        warm_up: target sessions with known errors before the first interval.
        adapt: step of adaptive conformal inference (Gibbs and Candès, 2021): after each session the level moves by it
            times (share of misses - nominal share). Zero leaves the level alone. Where the level asks for more than
            the window holds, the largest error in it stands in for infinity.

    Raises:
        UsageError: an index twice, a forecast that is not finite, or a parameter out of range.
    """
    order, ordered, _ = _ordered_half_widths(frame, target, rows, forecast, coverage, window_dates, warm_up, adapt)
    half = np.empty(len(rows))
    half[order] = ordered
    reach = half * frame.scale[target][rows]
    low = forecast - reach
    return (low if target.has_direction else np.maximum(low, 0.0)), forecast + reach


def serving_quantile(
    frame: TrainingFrame,
    target: Target,
    rows: IntArray,
    forecast: FloatArray,
    coverage: float = COVERAGE,
    window_dates: int | None = None,
    warm_up: int = WARM_UP_DATES,
    *,
    adapt: float = ADAPT_RATE,
) -> float:
    """Return half the width, in units of scale, of an interval issued after the newest target session of ``rows``.

    Same arguments as ``rolling_intervals``; a forecast of the next session is bounded by exactly its rule.

    Raises:
        UsageError: as there, or too few dates or errors for an interval.
    """
    _, _, newest = _ordered_half_widths(frame, target, rows, forecast, coverage, window_dates, warm_up, adapt)
    if not np.isfinite(newest):
        raise UsageError(f"{len(rows)} errors out of fold are too few for an interval of {coverage:.0%}")
    return newest


def _ordered_half_widths(
    frame: TrainingFrame,
    target: Target,
    rows: IntArray,
    forecast: FloatArray,
    coverage: float,
    window_dates: int | None,
    warm_up: int,
    adapt: float,
) -> tuple[IntArray, FloatArray, float]:
    """Return the order that sorts ``rows``, the half width of each in that order, and that after the last of them."""
    if not 0 < coverage < 1 or adapt < 0 or warm_up < 1 or (window_dates is not None and window_dates < 1):
        raise UsageError("intervals need 0 < coverage < 1, window_dates >= 1, warm_up >= 1 and adapt >= 0")
    if len(rows) == 0 or len(np.unique(rows)) != len(rows) or forecast.shape != rows.shape:
        raise UsageError("intervals need rows, each once, and one forecast a row")
    order = np.argsort(rows)
    ordered = rows[order]
    errors = np.abs(frame.y[target][ordered] - forecast[order]) / frame.scale[target][ordered]
    if not np.isfinite(errors).all():
        raise UsageError("intervals need finite forecasts")
    half, newest = _half_widths(
        frame.sessions[ordered], frame.target_sessions[ordered], errors, coverage, window_dates, warm_up, adapt
    )
    return order, half, newest


def _half_widths(
    issued: IntArray,
    known: IntArray,
    errors: FloatArray,
    coverage: float,
    window_dates: int | None,
    warm_up: int,
    adapt: float,
) -> tuple[FloatArray, float]:
    """Walk over the dates: learn the errors settled by then, move the level, give the date's rows their half width.

    ``issued`` ascends. The last date walked is the one on which everything is known: its half width is for serving.
    """
    by_known = np.argsort(known, kind="stable")
    settled, pool = known[by_known], errors[by_known]
    settled_dates, first_of_date = np.unique(settled, return_index=True)
    half = np.full(len(errors), np.nan)
    level, learned, newest = coverage, 0, np.nan
    for date in np.append(np.unique(issued), settled_dates[-1]):
        stop = int(np.searchsorted(settled, date, side="right"))
        fresh = by_known[learned:stop]
        learned = stop
        judged = fresh[np.isfinite(half[fresh])]
        if len(judged):
            level += adapt * (float(np.mean(errors[judged] > half[judged])) - (1 - coverage))
        dates = int(np.searchsorted(settled_dates, date, side="right"))
        newest = np.nan
        if dates >= warm_up:
            start = 0 if window_dates is None else first_of_date[max(dates - window_dates, 0)]
            newest = _ranked(pool[start:stop], level, cut=adapt > 0)
        half[np.searchsorted(issued, date) : np.searchsorted(issued, date, side="right")] = newest
    return half, newest


def _ranked(errors: FloatArray, level: float, *, cut: bool) -> float:
    """Return the error of rank ceil((n + 1) * level); beyond the largest: that one if ``cut``, else NaN."""
    rank = max(int(np.ceil((len(errors) + 1) * level)), 1)
    if rank > len(errors):
        return float(errors.max()) if cut else float("nan")
    return float(np.partition(errors, rank - 1)[rank - 1])


@dataclass(frozen=True)
class QuarterCoverage:
    """Intervals whose target session fell in one calendar quarter ("2008Q4"), and the share that held the truth."""

    quarter: str
    dates: int
    rows: int
    covered: int
    share: float
    is_full: bool


@dataclass(frozen=True)
class Coverage:
    """How often intervals of nominal coverage ``nominal`` held the truth, over all and by calendar quarter.

    ``rows`` had an interval, ``without_interval`` had none (the warm-up). ``in_goal`` of ``full_quarters`` quarters
    came within ``GOAL_MARGIN`` of the nominal coverage; None without a full quarter. ``mean_width`` and
    ``interval_score`` are in the target's own unit: the score is the width plus 2 / (1 - nominal) times the distance of
    a truth outside, averaged; less is better (Gneiting and Raftery, 2007). It keeps width honest: coverage alone can
    be had by intervals that swing wildly.
    """

    nominal: float
    rows: int
    without_interval: int
    covered: int
    share: float
    mean_width: float
    interval_score: float
    full_quarters: int
    in_goal: float | None
    quarters: tuple[QuarterCoverage, ...]


def measure_coverage(
    target_sessions: IntArray, truth: FloatArray, low: FloatArray, high: FloatArray, nominal: float = COVERAGE
) -> Coverage:
    """Count the truths inside their intervals; rows without an interval (both ends NaN) are counted apart.

    Raises:
        UsageError: an interval with one end, or upside down, or no interval at all.
    """
    with_interval = np.isfinite(low) & np.isfinite(high)
    if np.any(with_interval != (np.isfinite(low) | np.isfinite(high))) or np.any((low > high)[with_interval]):
        raise UsageError("an interval has both ends, the low one first, or none")
    if not with_interval.any():
        raise UsageError("no row has an interval: there is no coverage to measure")
    y, bottom, top = truth[with_interval], low[with_interval], high[with_interval]
    sessions = target_sessions[with_interval]
    held = (y >= bottom) & (y <= top)
    outside = np.maximum(bottom - y, 0.0) + np.maximum(y - top, 0.0)
    quarters = _quarters(sessions, held)
    judged = [abs(q.share - nominal) <= GOAL_MARGIN + 1e-12 for q in quarters if q.is_full]
    return Coverage(
        nominal=nominal,
        rows=len(y),
        without_interval=int(len(truth) - len(y)),
        covered=int(held.sum()),
        share=float(held.mean()),
        mean_width=float(np.mean(top - bottom)),
        interval_score=float(np.mean(top - bottom + 2 / (1 - nominal) * outside)),
        full_quarters=len(judged),
        in_goal=sum(judged) / len(judged) if judged else None,
        quarters=quarters,
    )


def _quarters(sessions: IntArray, held: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[QuarterCoverage, ...]:
    months = sessions.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    number = months // 3
    found = []
    for quarter in np.unique(number):
        own = number == quarter
        dates, rows, covered = len(np.unique(sessions[own])), int(own.sum()), int(held[own].sum())
        found.append(
            QuarterCoverage(
                quarter=f"{1970 + quarter // 4}Q{quarter % 4 + 1}",
                dates=dates,
                rows=rows,
                covered=covered,
                share=covered / rows,
                is_full=dates >= FULL_QUARTER_DATES,
            )
        )
    return tuple(found)
