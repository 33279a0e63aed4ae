"""Limits on bars, judged where bars are written; an edge goes into the outbox with them.

Belongs here: which limits are in force (the delivery process keeps them in ``alert_rules``), the bars they are about,
writing edges. Stays out: what a limit means (``market.thresholds``), forecasts (``forecast_watch``), who is told
(``alert_outbox``).

Limits on bars are judged at the end of the transaction that stores bars, against the newest bars in force: a late bar
or a correction counts for what it is, and a batch is judged once, not bar by bar. Without limits on an instrument its
bars cost nothing more.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from streamlake_assets.market.alerts import Edge, Kind, Known, Observation, State, judge, order_of
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.thresholds import BarLimit, ForecastLimit, NewestBar, Threshold, value_of
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores import alert_states, schema
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.prepared import ReadySlice

LOOK_S: Final = 5.0
"""How often it is asked which limits are in force."""
Series = tuple[Instrument, str]
"""Instrument and name of an interval."""


def utc_now() -> dt.datetime:
    """Return the time, aware."""
    return dt.datetime.now(UTC)


class Limits:
    """The limits in force, looked at now and then, and how they stood."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._look_at = -1e9
        self._all: list[Threshold] = []
        self._known: dict[str, Known] | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to read them anew."""
        return self._monotonic() >= self._look_at

    def look(self, connection: sa.Connection) -> bool:
        """Read them anew when it is time to; return whether they are others than before."""
        if not self.is_due:
            return False
        self._look_at = self._monotonic() + LOOK_S
        found = read_limits(connection)
        changed, self._all = found != self._all, found
        return changed

    @property
    def of_bars(self) -> list[BarLimit]:
        """Those on prices and volatility."""
        return [limit for limit in self._all if not isinstance(limit, ForecastLimit)]

    @property
    def of_forecasts(self) -> list[ForecastLimit]:
        """Those on forecasts."""
        return [limit for limit in self._all if isinstance(limit, ForecastLimit)]

    def known(self, connection: sa.Connection) -> dict[str, Known]:
        """Return how each stood, by subject."""
        if self._known is None:
            self._known = alert_states.known_within(connection, (Kind.THRESHOLD,))
        return self._known

    def record(self, connection: sa.Connection, seen: Iterable[Observation]) -> list[Edge]:
        """Write what changed in the caller's transaction."""
        known = self.known(connection)
        news = [one for one in seen if judge(known.get(one.subject, Known()), one) is not None]
        if not news:
            return []
        # whether they are committed is not known here: the next look reads the table
        self._known = None
        return alert_states.record_within(connection, news)


class BarWatch:
    """Judges the limits on bars in a transaction that has stored bars; one for each consumer."""

    def __init__(
        self, now: Callable[[], dt.datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._limits = Limits(monotonic)
        self._watched: dict[Series, list[BarLimit]] = {}

    def __call__(self, connection: sa.Connection, slices: Sequence[ReadySlice]) -> list[Edge]:
        """Judge the instruments whose bars are in these slices; return the edges."""
        if self._limits.look(connection):
            self._watched.clear()
        limits = self._limits.of_bars
        if not limits:
            return []
        touched = {(run.instrument, run.interval) for one in slices for run in one.series}
        seen = [
            observation
            for series in sorted(touched)
            for limit in self._of(series, limits)
            if (observation := self._observe(connection, series[0], limit)) is not None
        ]
        return self._limits.record(connection, seen)

    def _of(self, series: Series, limits: Sequence[BarLimit]) -> list[BarLimit]:
        if series not in self._watched:
            instrument, interval = series
            self._watched[series] = [
                limit for limit in limits if limit.interval.value == interval and limit.watches(instrument)
            ]
        return self._watched[series]

    def _observe(self, connection: sa.Connection, instrument: Instrument, limit: BarLimit) -> Observation | None:
        found = value_of(limit, newest_bars(connection, instrument, limit))
        if found is None:
            return None
        known = self._limits.known(connection).get(limit.subject_key(instrument), Known())
        return limit.observe(instrument, found[0], known, self._now(), found[1])


def read_limits(connection: sa.Connection) -> list[Threshold]:
    """Return the limits in force, by name."""
    table = schema.alert_rules
    definitions = connection.execute(sa.select(table.c.definition).order_by(table.c.name)).scalars()
    kinds: Any = Threshold
    # rules of who is told stand in the same table
    return [msgspec.convert(definition, kinds) for definition in definitions if "of" in definition]


def newest_bars(connection: sa.Connection, instrument: Instrument, limit: BarLimit) -> list[NewestBar]:
    """Return the newest bars in force that a limit looks at, the newest first."""
    b, i, e, v = schema.bars, schema.instruments, schema.exchanges, schema.bar_intervals
    ids = sa.select(i.c.id).join(e, e.c.id == i.c.exchange_id)
    ids = ids.where(i.c.symbol == instrument.symbol, e.c.mic == instrument.exchange)
    query = (
        sa.select(b.c.bar_time, b.c.close, b.c.high, b.c.low)
        .where(
            b.c.instrument_id == ids.scalar_subquery(),
            b.c.interval_id == sa.select(v.c.id).where(v.c.name == limit.interval.value).scalar_subquery(),
        )
        .order_by(b.c.bar_time.desc())
        .limit(limit.bars)
    )
    if not limit.provisional:
        query = query.where(b.c.status == "settled")
    return [
        NewestBar(row.bar_time.replace(tzinfo=UTC), float(row.close), float(row.high), float(row.low))
        for row in connection.execute(query)
    ]


def end_gone(engine: sa.Engine, names: Collection[str], now: dt.datetime) -> list[Edge]:
    """End the alerts of limits that are in no rule file any more.

    Args:
        engine: of the writer.
        names: of the limits in force.
        now: aware.

    Raises:
        TryLaterError: the database is not available.
    """
    t = schema.alert_states.c
    query = sa.select(t.name, t.seen).where(t.kind == Kind.THRESHOLD.value, t.state != State.PASS.value)
    with outages_as_try_later("ending alerts of limits that are gone"), engine.begin() as connection:
        gone = [
            Observation(
                Kind.THRESHOLD,
                row.name,
                State.PASS,
                max(order_of(now), row.seen + 1),
                "This limit is in the rule file no more.",
                now,
            )
            for row in connection.execute(query)
            if row.name.partition(":")[0] not in names
        ]
        return alert_states.record_within(connection, gone)
