"""A made market whose truth is known: seeded prices on real exchange calendars, with a signal of chosen strength.

Belongs here: the model and the bars of each session as columns. Stays out: planted faults (``planted_faults``), files
and messages (``simulated_records``).

The model, for each instrument by itself (sessions t, times within a session by bars of several points):

- log volatility is an AR(1): h_t = P h_{t-1} + S e_t. So volatility clusters, as it does on exchanges.
- the standardised return is an AR(1) too: z_t = ic z_{t-1} + sqrt(1 - ic^2) e_t. ``ic`` is the correlation of a
  session's standardised return with the next one's: what a forecast of the adjusted return can reach at most.
- the volume is exp(0.5 v_t) times its usual one, with v_t independent and standard normal; it moves the volatility of
  the next session by a v_{t-1}, where a is such that ``range_ic`` is the correlation of v_{t-1} with the part of the
  next session's ln(ln(high / low)) that volatility so far does not tell.
- the adjusted log return is r_t = exp(h_t + a v_{t-1}) vol z_t. Its path is a Brownian motion that ends at z_t: a share
  of the variance lies before the open.

Prices are whole cents; raw prices hold splits (2 for 1, 1 for 5) and dividends (half a percent every 63 sessions), so
that r_t = ln(close_t / (close_{t-1} f_t)). One spec and seed give the same bars on the same version of numpy.
"""

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlake_assets.errors import UsageError
from streamlake_assets.market.calendars import next_session, session_open_close, sessions_between
from streamlake_assets.market.contract import MAX_DECIMALS
from streamlake_assets.market.sessions import daily_bar_time, to_microseconds
from streamlake_assets.market.types import ActionKind, AssetClass, Interval

SOURCE: Final = "simulated"
CENTS: Final = 100
PERSISTENCE: Final = 0.97
VOLATILITY_STEP: Final = 0.1
"""P and S of the log volatility: a half-life of 23 sessions, a standard deviation of 0.41."""
LOG_RANGE_NOISE: Final = 0.29
"""Standard deviation of the log range of a Brownian motion of known volatility (Alizadeh, Brandt, Diebold 2002)."""
_OVERNIGHT: Final = 0.2
"""Share of a session's variance that lies before its open."""
_POINTS: Final = 4
_DAILY_POINTS: Final = 78
_DIVIDEND_EVERY: Final = 63
_DIVIDEND: Final = 0.005
_SPLIT_CHANCE: Final = 1 / 250
_SPLIT_ABOVE, _SPLIT_ALWAYS, _REVERSE_BELOW = 40 * CENTS, 500 * CENTS, 5 * CENTS
_SECTORS: Final = ("Energy", "Financials", "Health Care", "Industrials", "Technology")
_MOST_INSTRUMENTS: Final = 100_000
_LEAST_VARIED: Final = 1e-12

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """What to simulate.

    ``volatility`` is the standard deviation of a session's log return; ``ic`` and ``range_ic`` as in the module's
    docstring, each above -1 and below 1; ``first``: no session is before it.

    Raises:
        UsageError: a value is out of its range; the message says which.
    """

    instruments: int = 50
    interval: Interval = Interval.M1
    sessions: int = 20
    first: dt.date = dt.date(2024, 1, 2)
    exchange: str = "XNYS"
    asset_class: AssetClass = AssetClass.STOCK
    volatility: float = 0.016
    ic: float = 0.0
    range_ic: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.instruments <= _MOST_INSTRUMENTS:
            raise UsageError(f"instruments {self.instruments}: 1 to {_MOST_INSTRUMENTS:,}")
        if self.sessions < 1:
            raise UsageError(f"sessions {self.sessions}: at least 1")
        if not 0 < self.volatility <= 0.2:
            raise UsageError(f"volatility {self.volatility:g}: above 0 and at most 0.2 a session")
        for name in ("ic", "range_ic"):
            if not -1 < getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name):g}: above -1 and below 1")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: a whole number, 0 or more")

    @property
    def symbols(self) -> list[str]:
        """Names of the instruments in order."""
        width = len(str(self.instruments - 1))
        return [f"SIM{number:0{width}d}" for number in range(self.instruments)]

    def label(self, number: int) -> tuple[str, str, str]:
        """Return name, sector and currency of an instrument."""
        return f"Simulated {number}", _SECTORS[number % len(_SECTORS)], "USD"

    def days(self) -> list[dt.date]:
        """Return the sessions.

        Raises:
            UsageError: the calendar does not hold so many.
        """
        found = sessions_between(self.exchange, self.asset_class, self.first, self.first)
        while len(found) < self.sessions:
            found.append(next_session(self.exchange, self.asset_class, found[-1] if found else self.first))
        return found


class PlantedAction(NamedTuple):
    """A corporate action of one instrument, in force from the session that it comes with."""

    instrument: int
    kind: ActionKind
    factor: Decimal


class SessionBars(NamedTuple):
    """The bars of one session in the order of their ends, and of instruments within one end.

    All arrays have one entry for each bar: number of the instrument, start and end in microseconds since 1970 UTC,
    prices in cents, volume in units. ``returns`` is the true adjusted log return of each instrument.
    """

    session: dt.date
    instrument: Ints
    start: Ints
    end: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    actions: list[PlantedAction]
    returns: Floats


def simulate(spec: MarketSpec) -> Iterator[SessionBars]:
    """Yield the sessions of a made market, oldest first.

    Raises:
        UsageError: the calendar does not hold so many sessions, or a session is shorter than one bar.
    """
    market = _Market(spec)
    for number, session in enumerate(spec.days()):
        yield market.next(number, session)


class _Market:
    """The state between sessions: one entry for each instrument."""

    def __init__(self, spec: MarketSpec) -> None:
        self._spec = spec
        self._rng = rng = np.random.Generator(np.random.PCG64(spec.seed))
        count = spec.instruments
        stationary = VOLATILITY_STEP / math.sqrt(1 - PERSISTENCE**2)
        self._log_volatility = rng.standard_normal(count) * stationary
        noise = math.hypot(VOLATILITY_STEP, LOG_RANGE_NOISE)
        self._impact = spec.range_ic * noise / math.sqrt(1 - spec.range_ic**2)
        # so that the mean variance is the one asked for
        self._level = math.log(spec.volatility) - stationary**2 - self._impact**2
        self._z = rng.standard_normal(count)
        self._shock = rng.standard_normal(count)
        self._close = np.rint(rng.uniform(20, 300, count) * CENTS).astype(np.int64)
        self._usual_volume = np.exp(rng.normal(13.0, 1.0, count))

    def next(self, number: int, session: dt.date) -> SessionBars:
        spec, rng, count = self._spec, self._rng, self._spec.instruments
        starts, ends = _times(spec, session)
        points = _DAILY_POINTS if spec.interval is Interval.D1 else _POINTS
        self._log_volatility = PERSISTENCE * self._log_volatility + VOLATILITY_STEP * rng.standard_normal(count)
        volatility = np.exp(self._level + self._log_volatility + self._impact * self._shock)
        self._z = spec.ic * self._z + math.sqrt(1 - spec.ic**2) * rng.standard_normal(count)
        self._shock = rng.standard_normal(count)
        actions, factors = self._actions(number)
        base = self._close * factors
        path = self._path(len(starts) * points) * volatility[:, None]
        # never below a cent
        ticks = np.maximum(1, np.rint(base[:, None] * np.exp(path))).astype(np.int64)
        # each bar sees its own points and the last one of the bar before
        edges = ticks[:, ::points]
        inner = ticks[:, 1:].reshape(count, len(starts), points)
        opens, closes = edges[:, :-1], edges[:, 1:]
        highs = np.maximum(inner.max(axis=2), opens)
        lows = np.minimum(inner.min(axis=2), opens)
        returns = np.log(closes[:, -1] / base)
        self._close = closes[:, -1].copy()
        return SessionBars(
            session=session,
            instrument=np.tile(np.arange(count), len(starts)),
            start=np.repeat(starts, count),
            end=np.repeat(ends, count),
            open=opens.T.ravel(),
            high=highs.T.ravel(),
            low=lows.T.ravel(),
            close=closes.T.ravel(),
            volume=self._volumes(len(starts)).T.ravel(),
            actions=actions,
            returns=returns,
        )

    def _path(self, steps: int) -> Floats:
        """Return the path of each instrument from the open on, in standard deviations: it ends at z."""
        share = np.full(steps + 1, (1 - _OVERNIGHT) / steps)
        share[0] = _OVERNIGHT
        moves = self._rng.standard_normal((self._spec.instruments, steps + 1)) * np.sqrt(share)
        # given its end, a Brownian motion is a free one whose error is spread over its variance
        moves += share * (self._z - moves.sum(axis=1))[:, None]
        return np.cumsum(moves, axis=1)

    def _volumes(self, bars: int) -> Ints:
        place = np.linspace(-1.0, 1.0, bars) if bars > 1 else np.zeros(1)
        shares = (1.0 + 2.0 * place * place) * self._rng.uniform(0.5, 1.5, (self._spec.instruments, bars))
        shares /= shares.sum(axis=1, keepdims=True)
        if self._spec.asset_class in (AssetClass.INDEX, AssetClass.FX):
            return np.zeros_like(shares, dtype=np.int64)
        total = self._usual_volume * np.exp(0.5 * self._shock)
        whole: Ints = np.rint(shares * total[:, None]).astype(np.int64)
        return whole

    def _actions(self, number: int) -> tuple[list[PlantedAction], Floats]:
        """Return the actions before a session, and the factor of each instrument."""
        count = self._spec.instruments
        factors = np.ones(count)
        if number == 0 or self._spec.asset_class is not AssetClass.STOCK:
            return [], factors
        close, drawn = self._close, self._rng.random(count)
        two_for_one = (close > _SPLIT_ALWAYS) | ((drawn < _SPLIT_CHANCE) & (close > _SPLIT_ABOVE))
        one_for_five = close < _REVERSE_BELOW
        pays = (np.arange(count) % _DIVIDEND_EVERY == number % _DIVIDEND_EVERY) & ~two_for_one & ~one_for_five
        factors[two_for_one], factors[one_for_five] = 0.5, 5.0
        paid = np.rint(close * _DIVIDEND)
        factors = np.where(pays, np.round(1 - paid / close, MAX_DECIMALS), factors)
        changed = np.flatnonzero(np.abs(factors - 1) > _LEAST_VARIED)
        return [
            PlantedAction(
                int(place),
                ActionKind.DIVIDEND if pays[place] else ActionKind.SPLIT,
                Decimal(repr(round(float(factors[place]), MAX_DECIMALS))),
            )
            for place in changed
        ], factors


def _times(spec: MarketSpec, session: dt.date) -> tuple[Ints, Ints]:
    """Return starts and ends of a session's bars, in microseconds since 1970 UTC."""
    opens, closes = session_open_close(spec.exchange, session, spec.asset_class)
    if spec.interval is Interval.D1:
        start = daily_bar_time(session, spec.exchange)
        return np.array([to_microseconds(start)]), np.array([to_microseconds(closes)])
    step = spec.interval.seconds * 1_000_000
    count = (to_microseconds(closes) - to_microseconds(opens)) // step
    if count < 1:
        raise UsageError(f"the session {session} of {spec.exchange} is shorter than a bar of {spec.interval}")
    starts = to_microseconds(opens) + np.arange(count, dtype=np.int64) * step
    return starts, starts + step
