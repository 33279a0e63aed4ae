"""Bars for the claims audit: made ones that nobody can forecast, and the real ones as their adjusted history.

Belongs here: the random walk with a session's four prices, the adjusted bars that the flaws work on, which instruments
have enough of them. Stays out: what is done with the bars (``claims_flaws``, ``claims``). Adjusted levels are made here
only because the systems examined modelled levels; no model of this project sees one.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries, ordinal

MIN_SESSIONS: Final = 252
"""Sessions (about a year) below which an instrument takes no part."""
DAILY_SIGMA: Final = 0.015
OVERNIGHT_SHARE: Final = 0.3
"""Share of a session's variance that falls before its open."""
STEPS_A_SESSION: Final = 26
"""Quarters of an hour between 9:30 and 16:00."""
_FIRST = ordinal(dt.date(2001, 1, 1))


@dataclass(frozen=True, eq=False)
class Bars:
    """Adjusted daily bars of one instrument, oldest first; n values each, prices on the scale of the newest close."""

    name: str
    sessions: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.close)


def made_sessions(count: int, seed: int) -> SessionSeries:
    """Make a random walk of sessions: independent normal steps, volume that knows nothing of the price.

    Open, high, low and close are those of the walk's own quarter-hour steps, so they lie as in a market.

    Args:
        count: sessions.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    overnight = rng.normal(0, DAILY_SIGMA * np.sqrt(OVERNIGHT_SHARE), count)
    within = rng.normal(0, DAILY_SIGMA * np.sqrt((1 - OVERNIGHT_SHARE) / STEPS_A_SESSION), (count, STEPS_A_SESSION))
    steps = np.column_stack([overnight, within])
    prices = 150 * np.exp(np.cumsum(steps.ravel())).reshape(steps.shape)
    return SessionSeries(
        symbol=f"MADE{seed}",
        exchange="XNYS",
        sessions=np.arange(_FIRST, _FIRST + count, dtype=np.int64),
        open=prices[:, 0],
        high=prices.max(axis=1),
        low=prices.min(axis=1),
        close=prices[:, -1],
        volume=np.round(1e7 * np.exp(rng.normal(0, 0.4, count))),
        factor=np.ones(count),
    )


def adjusted_bars(series: SessionSeries, newest: int) -> Bars:
    """Return the newest bars with every price before a corporate action divided by its factor."""
    later = np.append(np.cumprod(series.factor[::-1])[::-1][1:], 1.0)  # the product of the factors after each session
    part = slice(max(len(series) - newest, 0), len(series))
    return Bars(
        name=str(series.instrument),
        sessions=series.sessions[part],
        open=(series.open * later)[part],
        high=(series.high * later)[part],
        low=(series.low * later)[part],
        close=(series.close * later)[part],
        volume=series.volume[part],
    )


def usable(series: Sequence[SessionSeries]) -> tuple[list[SessionSeries], dict[str, str]]:
    """Return the series that take part, by name, and why each of the others does not.

    Raises:
        UsageError: none can take part.
    """
    reasons = {str(one.instrument): _why_not(one) for one in series}
    kept = sorted((one for one in series if not reasons[str(one.instrument)]), key=lambda one: str(one.instrument))
    left_out = {name: reason for name, reason in sorted(reasons.items()) if reason}
    if not kept:
        said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "there are none"
        raise UsageError(f"no instrument can take part in the claims audit: {said}")
    return kept, left_out


def _why_not(series: SessionSeries) -> str:
    if len(series) < MIN_SESSIONS:
        return f"{len(series)} sessions, {MIN_SESSIONS} are needed"
    newest = series.tail(MIN_SESSIONS)
    prices = np.column_stack([series.open, series.high, series.low, series.close])
    if not np.isfinite(prices).all() or (prices <= 0).any():
        return "a price is missing or not above zero"
    if not np.isfinite(series.volume).all():
        return "a volume is missing"
    if np.ptp(newest.close) == 0 or np.ptp(newest.volume) == 0:
        return "its prices or volumes do not move"
    return ""
