"""What the pages of one server process share, in memory: series, header facts, forecasts.

Belongs here: what sessions ask, and what the feeds put in; one lock around both. Stays out: Panel, threads and servers
(``feeds``), the merge itself (``series``).

Sessions never wait for a server: they watch a series and read what is here. A server that is down costs what it alone
can give; what is missing is marked, and mended when the server is back.
"""

import datetime as dt
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from panel_app.actions import nobody_may
from panel_app.board import KAFKA, MYSQL, SERVERS, Checks, Heartbeat, Status, replay_at
from panel_app.news import News
from panel_app.series import Delta, Series, SeriesKey, join_history, tail_bar
from panel_app.shelf import Shelf
from panel_app.tail_buffer import MOST_KEPT, TailBuffer
from streamlake_assets.market.clock import MarketTime
from streamlake_assets.market.messages import Message, StreamIdentity
from streamlake_assets.market.types import Bar, Instrument
from streamlake_assets.stores.dimensions import DEFAULT_RANK
from streamlake_assets.stores.page_rows import Listed, NextForecast, Overview, PageBar, PageSignal, Snapshot

MOST_TIMED: Final = 2_000
"""Arrivals whose way to this process is remembered."""
RATE_WINDOW_S: Final = 10.0


class PartitionLag(msgspec.Struct, frozen=True):
    """How far one partition is stored: next offset stored, next offset to be written (None: the broker is silent)."""

    partition: int
    stored: int
    high: int | None

    @property
    def lag(self) -> int | None:
        """Messages on the topic that the tables do not have."""
        return None if self.high is None else max(0, self.high - self.stored)


class Watched(msgspec.Struct):
    """A series that somebody looks at, and how it was loaded last.

    ``wanted``: it must be read; ``whole``: nothing was missing when it was; ``trust_documents``: no bar has arrived yet
    that only the tables can place.
    """

    series: Series
    wanted: bool = True
    whole: bool = False
    trust_documents: bool = True


class DataStore:
    """Every method may be called from any thread and returns at once."""

    def __init__(self, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self.now = now
        self.wake = threading.Event()
        """Set when something must be read at once."""
        self.shelf = Shelf(now)
        """Answers to everything that is not a live series."""
        self.news = News()
        """Tells pages that a watched series has changed."""
        self.actions = nobody_may()
        """What viewers may ask for."""
        self._lock = threading.RLock()
        self._checks = Checks()
        self._overview = Overview()
        self._replay: Heartbeat | None = None
        self._stream: StreamIdentity | None = None
        self._high: dict[int, int] = {}
        self._last_broker_time: dt.datetime | None = None
        self._buffer = TailBuffer()
        self._loading = 0
        self._watched: dict[SeriesKey, Watched] = {}
        self._viewers: Counter[SeriesKey] = Counter()
        self._forecasts: dict[Instrument, tuple[NextForecast, ...]] = {}
        self._signals: dict[Instrument, tuple[PageSignal, ...]] = {}
        self._tail_since: dt.datetime | None = None
        self._reached: deque[float] = deque(maxlen=MOST_TIMED)
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=MOST_TIMED)

    # what sessions ask

    def watch(self, key: SeriesKey) -> None:
        """Ask for a series; balanced by ``unwatch``."""
        with self._lock:
            self._viewers[key] += 1
            self._watched.setdefault(key, Watched(Series()))
        self.wake.set()
        # it may be here already
        self.news.spread(key)

    def unwatch(self, key: SeriesKey) -> None:
        """Let go of a series; the last viewer frees it."""
        with self._lock:
            self._viewers[key] -= 1
            if self._viewers[key] <= 0:
                del self._viewers[key]
                self._watched.pop(key, None)
                if key.instrument not in self.instruments():
                    self._forecasts.pop(key.instrument, None)
                    self._signals.pop(key.instrument, None)

    def viewers(self) -> int:
        """Return how many views are open."""
        with self._lock:
            return self._viewers.total()

    def delta(self, key: SeriesKey, cursor: tuple[int, int] | None) -> Delta | None:
        """Return what changed in a watched series since ``cursor``; None when nothing did or it is not loaded yet."""
        with self._lock:
            watched = self._watched.get(key)
            if watched is None or watched.series.generation == 0:
                return None
            return watched.series.since(cursor)

    def is_whole(self, key: SeriesKey) -> bool:
        """Tell whether a watched series has all its history, or some server kept a part of it back."""
        with self._lock:
            watched = self._watched.get(key)
            return watched is not None and watched.whole

    def listed(self) -> tuple[Listed, ...]:
        """Return the instruments there are."""
        with self._lock:
            return self._overview.listed

    def forecasts(self, instrument: Instrument) -> tuple[NextForecast, ...] | None:
        """Return the next forecasts of a watched instrument; None: not known yet."""
        with self._lock:
            return self._forecasts.get(instrument)

    def signals(self, instrument: Instrument) -> tuple[PageSignal, ...]:
        """Return the newest signals of a watched instrument; none while they are not known."""
        with self._lock:
            return self._signals.get(instrument, ())

    def status(self) -> Status:
        """Return what the header shows."""
        with self._lock:
            stored = self.stored_offsets()
            lag = sum(max(0, high - stored.get(partition, 0)) for partition, high in self._high.items())
            arrivals = [moment for moment in (self._last_broker_time, self._overview.last_batch_at) if moment]
            # when a bar came, the broker knows; a consumer that was away stores it much later
            replay, pace = replay_at(self.now(), self._replay, self._last_broker_time or self._overview.last_batch_at)
            market = MarketTime(
                session=self._overview.session,
                last_arrival=max(arrivals, default=None),
                replay=replay,
                sessions_per_second=pace,
            )
            down = self._checks.down(time.monotonic())
            unknown = not self._high or KAFKA in down or MYSQL in down
            return Status(
                market=market,
                down=down,
                lag=None if unknown else lag,
                rate=self.rate(),
                unseen_alerts=self._overview.unseen_alerts,
            )

    def partitions(self) -> tuple[PartitionLag, ...]:
        """Return how far each partition of the topic of bars is stored."""
        with self._lock:
            stored = self.stored_offsets()
            silent = KAFKA in self._checks.down(time.monotonic())
            return tuple(
                PartitionLag(number, stored.get(number, 0), None if silent else self._high.get(number))
                for number in sorted(stored.keys() | self._high.keys())
            )

    def servers(self) -> tuple[tuple[str, bool | None], ...]:
        """Return for each server whether it answers; None: not asked yet."""
        with self._lock:
            down = self._checks.down(time.monotonic())
            return tuple((name, False if name in down else self._checks.is_up(name) or None) for name in SERVERS)

    def to_page(self) -> list[float]:
        """Return how long the newest messages took from the broker to this process, in seconds."""
        with self._lock:
            return list(self._reached)

    def rate(self) -> float:
        """Return the messages a second that arrived lately."""
        with self._lock:
            since = time.monotonic() - RATE_WINDOW_S
            return sum(count for at, count in self._arrivals if at >= since) / RATE_WINDOW_S

    # what both feeds put in

    def check(self, server: str, ask: Callable[[], None]) -> Exception | None:
        """Ask a server and note whether it answered; return why not, when that is news."""
        with self._lock:
            self._checks.asked(server, time.monotonic())
        failure: Exception | None = None
        try:
            ask()
        except Exception as error:  # a feed must outlive whatever a server says; the page shows the server as down
            failure = error
        with self._lock:
            changed = self._checks.answered(server, failure is None)
        return failure if changed else None

    def is_up(self, server: str) -> bool:
        """Tell whether the last check of a server succeeded."""
        with self._lock:
            return self._checks.is_up(server)

    @property
    def stream(self) -> StreamIdentity | None:
        """Identity of the followed topic; None until the broker has told it."""
        with self._lock:
            return self._stream

    def stored_offsets(self) -> dict[int, int]:
        """Return the stored offsets of the followed topic; none when those known are of an earlier one."""
        with self._lock:
            return dict(self._overview.next_offsets) if self._stream in (None, self._overview.stream) else {}

    # what the poller puts in

    def note_overview(self, overview: Overview, replay: Heartbeat | None) -> None:
        """Take what MySQL says of everything, and the last heartbeat of a replay."""
        with self._lock:
            self._overview = overview
            self._replay = replay

    def note_listed(self, listed: tuple[Listed, ...]) -> None:
        """Take the instruments from elsewhere: MySQL has not said them yet."""
        with self._lock:
            self._overview = msgspec.structs.replace(self._overview, listed=listed)

    def note_forecasts(
        self, instrument: Instrument, forecasts: tuple[NextForecast, ...], signals: tuple[PageSignal, ...] = ()
    ) -> None:
        """Take the forecasts and signals of an instrument, if it is still watched."""
        with self._lock:
            if instrument in self.instruments():
                self._forecasts[instrument] = forecasts
                self._signals[instrument] = signals

    def instruments(self) -> set[Instrument]:
        """Return the instruments that are watched."""
        with self._lock:
            return {key.instrument for key in self._watched}

    def due(self) -> list[SeriesKey]:
        """Return the series to read now: new ones, doubtful ones, and incomplete ones that can be whole now."""
        with self._lock:
            can_mend = self._checks.is_up(MYSQL) and self._buffer.complete_from(self.stored_offsets())
            keys = []
            for key, watched in self._watched.items():
                if watched.series.unsure:
                    watched.trust_documents, watched.wanted = False, True
                if watched.wanted or (can_mend and not watched.whole):
                    keys.append(key)
            return keys

    def has_gap(self) -> bool:
        """Tell whether messages between the tables and the tail are missing."""
        with self._lock:
            return not self._buffer.complete_from(self.stored_offsets())

    def lag_of(self) -> int:
        """Return the longest lag of a partition."""
        with self._lock:
            stored = self.stored_offsets()
            return max((high - stored.get(partition, 0) for partition, high in self._high.items()), default=0)

    def begin_load(self, key: SeriesKey) -> Watched | None:
        """Say that a series is going to be read; balanced by ``end_load``. None: nobody watches it any more.

        From now on the tail lets nothing go, so that what the rows do not have yet is still there when they are.
        """
        with self._lock:
            watched = self._watched.get(key)
            if watched is not None:
                # what is asked for from now on is asked for again
                watched.wanted = False
                self._loading += 1
            return watched

    def end_load(self, key: SeriesKey, settled: Iterable[PageBar], snapshot: Snapshot | None) -> None:
        """Show what was read, joined with the tail.

        Args:
            key: the series.
            settled: documents; empty when they were not asked.
            snapshot: rows with their offsets; None when MySQL did not answer.
        """
        with self._lock:
            self._loading -= 1
            watched = self._watched.get(key)
            if watched is None:
                return
            watched.whole = snapshot is not None and self._buffer.complete_from(snapshot.next_offsets)
            if snapshot is None and len(watched.series):
                # better what is shown already than less
                return
            rows = () if snapshot is None else snapshot.bars
            documents = settled if snapshot is None or snapshot.past_documents else ()
            watched.series.replace(join_history(documents, rows))
            for bar in self._buffer.of(key):
                watched.series.merge(bar)
        self.news.spread(key)

    def release(self) -> bool:
        """Let go of tail bars that the tables have, unless a series is being read; return whether it could be done."""
        with self._lock:
            if self._loading == 0:
                self._buffer.release(self.stored_offsets())
            return self._loading == 0

    # what the follower puts in

    def note_stream(self, stream: StreamIdentity) -> None:
        """Take the identity of the topic that will be followed."""
        with self._lock:
            self._stream = stream

    def begin_tail(self, begins: Mapping[int, int]) -> None:
        """Start the tail at these offsets; every series must be joined to it anew."""
        with self._lock:
            # what lies on the topic already says nothing of the way here
            self._tail_since = self.now()
            self._buffer.begin(begins)
            for watched in self._watched.values():
                watched.wanted = True
        self.wake.set()

    def note_high(self, high: dict[int, int]) -> None:
        """Take the topic's next offsets to be written."""
        with self._lock:
            self._high = high

    def is_full(self) -> bool:
        """Tell whether the tail holds all it may."""
        with self._lock:
            return len(self._buffer) > MOST_KEPT

    def arrived(self, decoded: Iterable[tuple[Message, Bar | None]]) -> None:
        """Merge arrivals; None stands for a message that is no bar, which only shows that something came."""
        now, live = self.now(), 0
        changed: set[SeriesKey] = set()
        with self._lock:
            for message, bar in decoded:
                last = self._last_broker_time
                self._last_broker_time = message.broker_time if last is None else max(last, message.broker_time)
                if self._tail_since is not None and message.broker_time >= self._tail_since:
                    live += 1
                    self._reached.append(max(0.0, (now - message.broker_time).total_seconds()))
                if bar is not None and (key := self._merge(bar, message)) is not None:
                    changed.add(key)
            if live:
                self._arrivals.append((time.monotonic(), live))
        self.news.spread(*changed)

    def _merge(self, bar: Bar, message: Message) -> SeriesKey | None:
        """Take a bar in; return the series that is shown and has changed by it, if one has."""
        key = SeriesKey(bar.instrument, bar.interval)
        kept = tail_bar(bar, self._overview.ranks.get(bar.source, DEFAULT_RANK))
        self._buffer.add(key, kept, message.partition, message.offset)
        watched = self._watched.get(key)
        if watched is None or not watched.series.generation:
            return None
        changed = watched.series.merge(kept)
        if watched.series.unsure:
            self.wake.set()
        return key if changed else None
