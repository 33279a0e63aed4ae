"""The newest sessions of an instrument, kept up message by message: what a process beside the stream forecasts from.

Belongs here: which version of a session's bar and of an action is in force, which sessions are kept, the series they
make, the newest feature rows of many instruments at once. Stays out: the features (``features``: there is one code for
training and serving), where messages come from (``sidecar``), where a state begins (``stores``).

The state holds the same versions that the tables hold, by the same total order, so it does not matter in which order
messages come, or that some come again. It keeps ``keep`` settled sessions; what is older can change no feature.
"""

import datetime as dt
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.features import LOOKBACK, FeatureMatrix, feature_matrix
from streamlake_assets.market.series import SessionSeries, from_ordinal, ordinal
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, CorporateAction, Instrument
from streamlake_assets.market.versions import Version, action_version, bar_version

MARGIN: Final = 8
"""Sessions kept beyond what is needed: a settled bar may be replaced by a provisional one of a higher source."""
_BLOCK: Final = 7 * 100_000
"""Days between the made-up calendars of two instruments in one series; weeks, so that weekdays stay what they are."""
_KINDS: Final = {kind: number for number, kind in enumerate(ActionKind)}


class Values(NamedTuple):
    """Raw prices and volume of a session; a volume that is absent is None."""

    open: float
    high: float
    low: float
    close: float
    volume: float | None


class SessionVersion(NamedTuple):
    """One version of a session's daily bar."""

    session: dt.date
    version: Version
    values: Values


class ActionVersion(NamedTuple):
    """One version of a split or dividend."""

    ex_date: dt.date
    kind: ActionKind
    version: Version
    factor: Decimal


def session_version(bar: Bar, rank: int) -> SessionVersion:
    """Return a daily bar as a version of its session; ``rank`` is its source's."""
    volume = None if bar.volume is None else float(bar.volume)
    values = Values(float(bar.open), float(bar.high), float(bar.low), float(bar.close), volume)
    return SessionVersion(session_date(bar.bar_time, bar.exchange), bar_version(bar, rank), values)


def action_of(action: CorporateAction, rank: int) -> ActionVersion:
    """Return a corporate action as a version; ``rank`` is its source's."""
    return ActionVersion(action.ex_date, action.kind, action_version(action, rank), action.factor)


class InstrumentState:
    """The newest ``keep`` settled sessions of one instrument, and its corporate actions."""

    def __init__(self, instrument: Instrument, asset_class: AssetClass, keep: int) -> None:
        self.instrument = instrument
        self.asset_class = asset_class
        self._keep = max(keep, LOOKBACK) + MARGIN
        self._bars: dict[int, SessionVersion] = {}
        self._settled: list[int] = []
        self._before = ordinal(dt.date.min)
        """Newest settled session that is not kept any more."""
        self._actions: dict[tuple[int, int], ActionVersion] = {}
        self._series: SessionSeries | None = None

    @property
    def newest(self) -> dt.date | None:
        """Newest settled session, or None."""
        return from_ordinal(self._settled[-1]) if self._settled else None

    @property
    def is_short(self) -> bool:
        """Whether sessions are missing that were dropped earlier: the state must be made anew from the tables."""
        return self._before > ordinal(dt.date.min) and len(self._settled) < self._keep - MARGIN

    def put_bar(self, found: SessionVersion) -> bool:
        """Take a version of a session; return whether it is now in force and changed something that is kept."""
        day = ordinal(found.session)
        held = self._bars.get(day)
        if day <= self._before or (held is not None and found.version <= held.version):
            return False
        if held is not None and held.version.settled:
            del self._settled[bisect_left(self._settled, day)]
        self._bars[day] = found
        if found.version.settled:
            insort(self._settled, day)
        while len(self._settled) > self._keep:
            self._before = self._settled.pop(0)
        if self._bars and min(self._bars) <= self._before:
            self._bars = {day: bar for day, bar in self._bars.items() if day > self._before}
        self._series = None
        return day > self._before

    def put_action(self, found: ActionVersion) -> bool:
        """Take a version of an action; return whether it is now in force."""
        key = (ordinal(found.ex_date), _KINDS[found.kind])
        held = self._actions.get(key)
        if held is not None and found.version <= held.version:
            return False
        self._actions[key] = found
        self._series = None
        return True

    def series(self) -> SessionSeries:
        """Return the kept sessions; the last of them are those of the whole history, to the bit."""
        if self._series is None:
            self._series = self._made()
        return self._series

    def _made(self) -> SessionSeries:
        values = [self._bars[day].values for day in self._settled]

        def column(numbers: Iterable[float | None]) -> Any:
            return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)

        return SessionSeries(
            symbol=self.instrument.symbol,
            exchange=self.instrument.exchange,
            asset_class=self.asset_class,
            sessions=np.array(self._settled, dtype=np.int64),
            open=column(one.open for one in values),
            high=column(one.high for one in values),
            low=column(one.low for one in values),
            close=column(one.close for one in values),
            volume=column(one.volume for one in values),
            factor=column(self._factors()),
        )

    def _factors(self) -> list[float]:
        """Give each action to the first settled session on or after its ex-date: that day may have no bar."""
        by_date: dict[int, Decimal] = {}
        for (day, _), action in sorted(self._actions.items()):
            by_date[day] = by_date.get(day, Decimal(1)) * action.factor
        carried: dict[int, Decimal] = {}
        for day, factor in by_date.items():
            place = bisect_left(self._settled, day)
            if day > self._before and place < len(self._settled):
                session = self._settled[place]
                carried[session] = carried.get(session, Decimal(1)) * factor
        return [float(carried.get(session, Decimal(1))) for session in self._settled]


def newest_features(series: Sequence[SessionSeries]) -> FeatureMatrix:
    """Return the features of the newest session of several instruments: row i is that of ``series[i]``.

    Equal to the last row of ``feature_matrix`` of each, to the bit, at about the cost of one: no feature looks further
    back than ``LOOKBACK`` sessions, so the windows of all instruments stand behind each other in one series.

    Args:
        series: at least one, each of ``LOOKBACK`` sessions or more.

    Raises:
        UsageError: a series is too short, or there is none.
    """
    short = [str(one.instrument) for one in series if len(one) < LOOKBACK]
    if short or not series:
        raise UsageError(f"features need {LOOKBACK} sessions: {', '.join(short) or 'no instrument given'}")
    tails = [one.tail(LOOKBACK) for one in series]
    days = [tail.sessions + _BLOCK * number for number, tail in enumerate(tails)]
    columns: dict[str, Any] = {name: np.concatenate([getattr(tail, name) for tail in tails]) for name in _COLUMNS}
    joined = replace(tails[0], sessions=np.concatenate(days), **columns)
    matrix = feature_matrix(joined)
    newest = matrix_rows(matrix, range(LOOKBACK - 1, len(joined), LOOKBACK))
    return replace(
        newest,
        sessions=np.array([tail.sessions[-1] for tail in tails], dtype=np.int64),
        target_sessions=np.full(len(tails), -1, dtype=np.int64),
        y={target: np.full(len(tails), np.nan) for target in newest.y},
    )


def matrix_rows(matrix: FeatureMatrix, rows: Sequence[int]) -> FeatureMatrix:
    """Return some rows of a feature matrix."""
    places = list(rows)
    cut: dict[str, Any] = {}
    for field in fields(matrix):
        value = getattr(matrix, field.name)
        if isinstance(value, np.ndarray):
            cut[field.name] = value[places]
        elif isinstance(value, dict):
            cut[field.name] = {key: column[places] for key, column in value.items()}
    return replace(matrix, **cut)


_COLUMNS: Final = ("open", "high", "low", "close", "volume", "factor")
