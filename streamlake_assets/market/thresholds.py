"""Limits on what the market does: a price, a volatility or a forecast that crosses one is an alert.

Belongs here: the type of a limit, what is compared with it, when it is crossed and when that is over. Stays out:
reading bars and keeping states (``stores.threshold_watch``), who is told (``alert_rules``).

A limit has two edges. ``above: 100`` with ``hysteresis: 0.01`` is crossed beyond 100 and over again below 99, so that a
price that trembles around 100 is one message and not a hundred.
"""

import datetime as dt
import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, cast

import msgspec

from streamlake_assets.market.alerts import Kind, Known, Name, Observation, State, Text, order_of, subject_key
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval

_PARKINSON: Final = 4.0 * math.log(2.0)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all limits say. Exactly one of ``above`` and ``below`` is given.

    ``instruments`` are shell patterns on ``IBM|XNYS``, symbol and market; a pattern without ``|`` is one on the symbol.
    ``hysteresis`` is a share of the limit.
    """

    name: Name
    instruments: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)] = ("*",)
    above: float | None = None
    below: float | None = None
    hysteresis: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.01
    severity: Literal["warning", "error"] = "warning"

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("a threshold has one limit: above or below")

    def watches(self, instrument: Instrument) -> bool:
        """Tell whether an instrument is meant."""
        names = (instrument.symbol, str(instrument))
        return any(fnmatchcase(names["|" in pattern], pattern) for pattern in self.instruments)

    def subject(self, instrument: Instrument) -> str:
        """Return the name of the alert's subject."""
        return f"{self.name}:{instrument}"

    def subject_key(self, instrument: Instrument) -> str:
        """Return the identity of the alert's subject."""
        return subject_key(Kind.THRESHOLD, self.subject(instrument))

    def is_crossed(self, value: float, was_crossed: bool) -> bool:
        """Tell whether the limit is crossed by a value, given whether it was before."""
        side, limit = self._limit()
        sign = 1.0 if side == "above" else -1.0
        edge = limit - sign * self.hysteresis * abs(limit) if was_crossed else limit
        return sign * value > sign * edge

    def _limit(self) -> tuple[str, float]:
        return ("below", cast(float, self.below)) if self.above is None else ("above", self.above)

    def observe(self, instrument: Instrument, value: float, known: Known, at: dt.datetime, what: str) -> Observation:
        """Return how the limit stands.

        Args:
            instrument: of which.
            value: what is compared with the limit.
            known: what was judged of it before.
            at: when this is judged, aware.
            what: words for the value, and when it was so.
        """
        crossed = self.is_crossed(value, known.state not in {State.PASS, State.SKIPPED})
        bad = State.WARN if self.severity == "warning" else State.ERROR
        side, limit = self._limit()
        stands = f"{side} {limit:g}" if crossed else f"not {side} {limit:g} any more"
        # two looks within a millisecond are two looks
        order = max(order_of(at), known.order + 1)
        text = f"{instrument}: {what}, {stands}."
        return Observation(Kind.THRESHOLD, self.subject(instrument), bad if crossed else State.PASS, order, text, at)


class PriceLimit(Limit, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="of", tag="price"):
    """On the close of the newest bar, as it was traded: a split is a jump."""

    interval: Interval = Interval.D1
    provisional: bool = False
    """Whether a bar that its source may still change counts."""

    @property
    def bars(self) -> int:
        """Number of newest bars that are looked at."""
        return 1


class VolatilityLimit(Limit, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="of", tag="volatility"):
    """On the volatility of the newest bars, see ``range_volatility``."""

    interval: Interval = Interval.D1
    provisional: bool = False
    bars: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 20


class ForecastLimit(Limit, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="of", tag="forecast"):
    """On the forecast of the next session, as the champion says it; of the baseline, only when it is asked for."""

    target: Target
    with_skill: bool = True
    """Whether only champions that passed the gate count."""


Threshold = PriceLimit | VolatilityLimit | ForecastLimit
BarLimit = PriceLimit | VolatilityLimit


class NewestBar(msgspec.Struct, frozen=True):
    """What a limit looks at of a bar in force."""

    bar_time: dt.datetime
    close: float
    high: float
    low: float


def range_volatility(bars: Sequence[NewestBar]) -> float:
    """Return the volatility of a bar, as a share of the price: sqrt(mean(ln(high / low)^2) / (4 ln 2)).

    Parkinson (1980), The extreme value method for estimating the variance of the rate of return. Within one bar prices
    are comparable, so that a split between two is no volatility.
    """
    squares = [math.log(bar.high / bar.low) ** 2 for bar in bars]
    return math.sqrt(sum(squares) / len(squares) / _PARKINSON)


def value_of(limit: BarLimit, newest: Sequence[NewestBar]) -> tuple[float, str] | None:
    """Return what a limit on bars compares, and words for it; None when there are too few bars.

    Args:
        limit: on the close or on the volatility.
        newest: bars of the limit's interval, the newest first.
    """
    if len(newest) < limit.bars or any(bar.low <= 0.0 for bar in newest[: limit.bars]):
        return None
    last = newest[0]
    when = f"{last.bar_time:%Y-%m-%d %H:%M} UTC"
    if isinstance(limit, PriceLimit):
        return last.close, f"the {limit.interval.value} bar of {when} closed at {last.close:g}"
    found = range_volatility(newest[: limit.bars])
    return found, f"volatility of the last {limit.bars} {limit.interval.value} bars up to {when} is {found:.4g} a bar"
