"""Corporate actions read out of a pair of raw and adjusted closes.

Belongs here: which sessions hold an action, how sure the rounding of the numbers lets us be, split or dividend, the
factor. Stays out: where closes come from (``sources``), how factors become returns (``features``).

With a_t = adjusted_t / close_t the factor of session t is f_t = a_{t-1} / a_t. Adjusted closes are rounded, so each a_t
is only known to lie in an interval. Four steps:

1. An action exists only where the interval of f, which follows from those of the two sessions, stays ``LEAST_MOVE``
   away from 1. A smaller action cannot be told from rounding and is left out.
2. An action is a split when a simple ratio lies both within the interval that the two sessions allow and within
   ``RATIO_TOLERANCE`` of the estimate; its factor is then exactly that ratio. The rest is a dividend (or a spin-off),
   and a factor above 1, which no dividend has, is a split of an unusual ratio.
3. Between two actions that are not exact splits a is constant, so it lies in the intersection of all its sessions'
   intervals (scaled across exact splits). The middle of that intersection is about ten times as sharp as a median; the
   median is the estimate where rounding has left the intersection empty.
4. The factor is the ratio of the two levels, kept inside the interval of the two sessions, so that the rebuilt return
   always agrees with the adjusted one as far as its rounding goes.
"""

import datetime as dt
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import MAX_DECIMALS, Reason
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import ActionKind, CorporateAction, Instrument

LEAST_MOVE: Final = 1e-6
"""Least distance of a factor from 1: adjusted closes kept as 32-bit floats move by 1e-7 without an action."""
RATIO_TOLERANCE: Final = 0.005
"""Largest relative distance between an estimated factor and the split ratio it is taken for."""
_SMALL: Final = 5
_MOST_FOR_ONE: Final = 100
SPLIT_RATIOS: Final = tuple(
    sorted(
        {p / q for p in range(1, _SMALL + 1) for q in range(1, _SMALL + 1) if p != q}
        | {float(n) for n in range(2, _MOST_FOR_ONE + 1)}
        | {1 / n for n in range(2, _MOST_FOR_ONE + 1)}
    )
)
"""Ratios p/q with both up to 5, and n for one or one for n up to 100."""


@dataclass(frozen=True, slots=True)
class _Span:
    """What is known of one a_t: its bounds and the plain ratio."""

    low: float
    high: float
    ratio: float


@dataclass(frozen=True, slots=True)
class _Step:
    """An action between sessions ``index - 1`` and ``index``: bounds of its factor, and its ratio if it is a split."""

    index: int
    low: float
    high: float
    split: float | None


def derive_actions(
    sessions: Sequence[dt.date],
    closes: Sequence[Decimal],
    adjusted_closes: Sequence[Decimal],
    *,
    instrument: Instrument,
    source: str,
    event_time: dt.datetime | None = None,
) -> list[CorporateAction]:
    """Derive the corporate actions of one instrument from its raw and adjusted closes.

    Args:
        sessions: n session dates, strictly increasing.
        closes: n raw closes, same unit as ``adjusted_closes``.
        adjusted_closes: n closes adjusted backwards for splits and dividends.
        instrument: whose closes these are.
        source: name of the data set.
        event_time: wire time, a placeholder for the publisher; by default the action's ``as_of``.

    Returns:
        At most one action per session, in order of ex-date; ``as_of`` is the local midnight of the ex-date.

    Raises:
        BadRecordError: a close is not a finite number above zero.
        ValueError: lengths differ or sessions are not strictly increasing.
    """
    if not len(sessions) == len(closes) == len(adjusted_closes):
        raise ValueError(f"{len(sessions)} sessions, {len(closes)} closes, {len(adjusted_closes)} adjusted closes")
    if any(later <= earlier for earlier, later in pairwise(sessions)):
        raise ValueError("sessions are not strictly increasing")
    for value in (*closes, *adjusted_closes):
        if not value.is_finite() or value <= 0:
            raise BadRecordError(Reason.BAD_PRICE, f"{instrument}: close {value} is not a finite number above zero")
    spans = _spans(closes, adjusted_closes)
    steps = _steps(spans)
    actions = []
    for step, factor in zip(steps, _factors(spans, steps), strict=True):
        as_of = daily_bar_time(sessions[step.index], instrument.exchange)
        actions.append(
            CorporateAction(
                symbol=instrument.symbol,
                exchange=instrument.exchange,
                kind=ActionKind.SPLIT if step.split is not None or factor > 1 else ActionKind.DIVIDEND,
                ex_date=sessions[step.index],
                factor=Decimal(repr(round(factor, MAX_DECIMALS))),
                source=source,
                event_time=event_time or as_of,
                as_of=as_of,
            )
        )
    return actions


def rounding_units(values: Sequence[Decimal]) -> list[float]:
    """Return half a unit in the last place of each value.

    Trailing zeros are often not written, so a value counts with at least the median number of decimals of its column
    ("31.5" in a column of cents is 31.50).
    """
    decimals = [_decimals(value) for value in values]
    usual = statistics.median_high(decimals) if decimals else 0
    return [0.5 * 10.0 ** -max(own, usual) for own in decimals]


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _spans(closes: Sequence[Decimal], adjusted: Sequence[Decimal]) -> list[_Span]:
    spans = []
    for close, value, half in zip(map(float, closes), adjusted, rounding_units(adjusted), strict=True):
        middle = float(value)
        spans.append(_Span(max(0.0, middle - half) / close, (middle + half) / close, middle / close))
    return spans


def _steps(spans: Sequence[_Span]) -> list[_Step]:
    steps = []
    for index in range(1, len(spans)):
        before, after = spans[index - 1], spans[index]
        low = before.low / after.high
        high = before.high / after.low if after.low > 0 else math.inf
        if low <= 1 + LEAST_MOVE and high >= 1 - LEAST_MOVE:
            continue
        estimate = before.ratio / after.ratio
        nearest = min(SPLIT_RATIOS, key=lambda ratio: abs(ratio / estimate - 1))
        is_split = low <= nearest <= high and abs(nearest / estimate - 1) <= RATIO_TOLERANCE
        steps.append(_Step(index, low, high, nearest if is_split else None))
    return steps


def _factors(spans: Sequence[_Span], steps: Sequence[_Step]) -> list[float]:
    """Return the factor of each step: its split ratio, else the ratio of the levels on both sides."""
    # scale of a session: product of the exact splits so far, so that a level runs on across them
    scaled: list[list[_Span]] = [[]]
    by_index = {step.index: step for step in steps}
    scale = 1.0
    for index, span in enumerate(spans):
        step = by_index.get(index)
        if step is not None:
            if step.split is None:
                scaled.append([])
            else:
                scale *= step.split
        scaled[-1].append(_Span(span.low * scale, span.high * scale, span.ratio * scale))
    levels = iter([_level(segment) for segment in scaled if segment])
    level = next(levels, 0.0)
    factors = []
    for step in steps:
        if step.split is not None:
            factors.append(step.split)
            continue
        following = next(levels)
        factors.append(min(max(level / following, step.low), step.high))
        level = following
    return factors


def _level(segment: Sequence[_Span]) -> float:
    low, high = max(span.low for span in segment), min(span.high for span in segment)
    return (low + high) / 2 if low <= high else statistics.median(span.ratio for span in segment)
