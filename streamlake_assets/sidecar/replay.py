"""Replay: records of a file or data set onto the topics, at once or session by session.

Belongs here: publishing with ``event_time`` set to now, waiting until the tables hold what was published, the session
mode, which reveals a session only after its forecasts are in the ledger. Stays out: what is published, in which order
(``sources.replay_plan``), who forecasts it (``replay_forecasts``).
"""

import datetime as dt
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, encode_action, encode_bar
from streamlake_assets.market.series import FloatArray, SessionSeries, ordinal
from streamlake_assets.market.types import Bar, CorporateAction, Instrument
from streamlake_assets.sidecar.replay_forecasts import Forecasts
from streamlake_assets.sidecar.replay_pace import Pace
from streamlake_assets.sources.replay_plan import SessionStep
from streamlake_assets.stores import bar_reader

_POLL_S = 0.02


def now() -> dt.datetime:
    """Return the time of this moment, aware."""
    return dt.datetime.now(dt.UTC)


def publish(publisher: Publisher, records: Iterable[Bar | CorporateAction]) -> int:
    """Put records on their topics in order, each stamped with the time of its sending; return how many.

    Raises:
        TryLaterError: a message could not be delivered.
    """
    sent = 0
    for record in records:
        if isinstance(record, Bar):
            publisher.send(BARS_TOPIC, record.symbol, encode_bar(record, now()))
        else:
            publisher.send(ACTIONS_TOPIC, record.symbol, encode_action(record, now()))
        sent += 1
    publisher.flush()
    return sent


class StoredPlaces:
    """Waits until the tables hold what was published to the streams of one cluster."""

    def __init__(self, engine: sa.Engine, bootstrap: str) -> None:
        self._engine = engine
        self._topic_ids = {
            stream.topic_id: topic for topic, stream in describe_streams(bootstrap, (BARS_TOPIC, ACTIONS_TOPIC)).items()
        }

    def wait(self, places: dict[tuple[str, int], int], timeout_s: float = 120.0) -> None:
        """Return when every partition is stored up to its place.

        Args:
            places: next offset by (topic, partition), as ``Publisher.places`` gives it.
            timeout_s: longest time without any progress.

        Raises:
            TryLaterError: nothing moved for that long; is the consumer running?
        """
        deadline = time.monotonic() + timeout_s
        before: dict[tuple[str, int], int] = {}
        while True:
            stored = self._stored()
            if all(stored.get(place, 0) >= offset for place, offset in places.items()):
                return
            if stored != before:
                before, deadline = stored, time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                raise TryLaterError(f"nothing was stored for {timeout_s:g} s: see `streamlake logs consumer`")
            time.sleep(_POLL_S)

    def total(self, topic: str) -> int:
        """Return how many messages of a topic the tables hold."""
        return sum(offset for place, offset in self._stored().items() if place[0] == topic)

    def _stored(self) -> dict[tuple[str, int], int]:
        with bar_reader.snapshot(self._engine) as connection:
            ends = bar_reader.stream_ends(connection)
        return {
            (self._topic_ids[end.topic_id], end.partition): end.next_offset
            for end in ends
            if end.topic_id in self._topic_ids
        }


class Outlet(Protocol):
    """The way of a session onto the topics and into the tables."""

    def reveal(self, step: SessionStep) -> int:
        """Send everything of a session, return when the tables hold it; return the number of messages.

        Raises:
            TryLaterError: a server is not available, or nothing is stored.
        """


class PublisherOutlet:
    """``Outlet`` of this process's own publisher."""

    def __init__(self, publisher: Publisher, stored: StoredPlaces) -> None:
        self._publisher = publisher
        self._stored = stored

    def reveal(self, step: SessionStep) -> int:
        """Publish, and wait."""
        # two topics have no common order: the broker has the actions before the first bar that they count for
        sent = publish(self._publisher, step.actions)
        sent += publish(self._publisher, (record for record in step.records() if isinstance(record, Bar)))
        self._stored.wait(self._publisher.places)
        return sent


class Revealed(NamedTuple):
    """What the revelation of one session did."""

    session: dt.date
    issued: int
    late: int
    scored: int
    messages: int


class SessionReplay:
    """Forecast, freeze, reveal: each session's forecasts are committed before its first message is sent."""

    def __init__(
        self,
        engine: sa.Engine,
        outlet: Outlet,
        forecasts: Forecasts,
        series: Sequence[SessionSeries],
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._forecasts = forecasts
        self._series = {Instrument(one.symbol, one.exchange): one for one in series}

    def run(self, steps: Iterable[SessionStep], pace: Pace, on_revealed: Callable[[Revealed], None]) -> None:
        """Reveal sessions one after the other, each when the pace lets it.

        Raises:
            TryLaterError: a server was not available, or the consumer stores nothing.
        """
        for step in steps:
            pace.wait()
            on_revealed(self.reveal(step))

    def reveal(self, step: SessionStep) -> Revealed:
        """See the forecasts of one session into the ledger, publish it, wait until it is stored and judged."""
        known = [one for one in self._series.values() if one.last_session < step.session]
        said = self._forecasts.before(step.session, known)
        sent = self._outlet.reveal(step)
        self._read_back(step.session)
        scored = self._forecasts.after(list(self._series.values()))
        return Revealed(step.session, said.new, said.late, scored, sent)

    def _read_back(self, session: dt.date) -> None:
        # what was stored, not what was sent: the series is what the tables say
        with bar_reader.snapshot(self._engine) as connection:
            for of in bar_reader.instruments(connection).values():
                series = self._series.get(of.instrument)
                if series is None or series.last_session >= session:
                    continue
                bar = bar_reader.daily_bars(connection, of.id, session, session).get(session)
                if bar is not None:
                    # an action on a day without a bar belongs to the next session
                    due = [
                        f
                        for day, f in bar_reader.factors(connection, of.id).items()
                        if series.last_session < day <= session
                    ]
                    self._series[of.instrument] = _extended(series, session, bar, float(math.prod(due)))


def _extended(series: SessionSeries, session: dt.date, bar: dict[str, Any], factor: float) -> SessionSeries:
    def plus(values: FloatArray, value: Any) -> FloatArray:
        return np.append(values, np.nan if value is None else float(value))

    return SessionSeries(
        symbol=series.symbol,
        exchange=series.exchange,
        asset_class=series.asset_class,
        sessions=np.append(series.sessions, np.int64(ordinal(session))),
        open=plus(series.open, bar["open"]),
        high=plus(series.high, bar["high"]),
        low=plus(series.low, bar["low"]),
        close=plus(series.close, bar["close"]),
        volume=plus(series.volume, bar["volume"]),
        factor=plus(series.factor, factor),
    )
