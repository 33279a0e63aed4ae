"""The page on a real chain: broker, MySQL, document store, consumer, the page's server process, a stream of updates.

Belongs here: starting it with made daily history, sending updates of one instrument's open session, reading back when
the broker and the tables had them. Stays out: the browser (``viewing``), what is timed (``cases.page``, ``cases.age``).
"""

import datetime as dt
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import httpx
import sqlalchemy as sa

from benchmarks.ports import free_ports
from benchmarks.probe_names import FIRST, PROBE, PROBE_PATH
from benchmarks.stack import Stack, fresh_stack
from panel_app.serving import PATH
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.range_reader import RangeReader
from streamlake_assets.commands.services import panel_page
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market import calendars
from streamlake_assets.market.contract import BARS_TOPIC, decode_bar, encode_bar
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import AssetClass, Bar, Interval, Status
from streamlake_assets.servers.waiting import Say, wait_until
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.stores import schema
from streamlake_assets.stores.documents import DocumentStore

EXCHANGE = "XNYS"
SYMBOLS = tuple(f"P{number}" for number in range(8))
UPDATED = SYMBOLS[0]
HISTORY = 1_500
"""Daily bars of each instrument before the first update."""
PER_SESSION = 10
"""Updates of a session: all but the last provisional, the last one settled."""
FIRST_DAY = dt.date(2010, 1, 4)
PATIENCE_S = 120.0


class Market:
    """Made daily bars, the same for every run; the updates go on where the history of ``UPDATED`` ends."""

    def __init__(self) -> None:
        self._made = random.Random(20100104)  # noqa: S311
        until = FIRST_DAY + dt.timedelta(days=365 * 12)
        self._days = calendars.sessions_between(EXCHANGE, AssetClass.STOCK, FIRST_DAY, until)
        self._cents = {symbol: self._made.randrange(2_000, 50_000) for symbol in SYMBOLS}
        self._number = 0

    def history(self) -> Iterator[Bar]:
        """Yield all settled bars, session by session."""
        for day in self._days[:HISTORY]:
            for symbol in SYMBOLS:
                opened = self._cents[symbol]
                self._cents[symbol] = self._moved(opened)
                volume = self._made.randrange(1_000, 100_000)
                yield _bar(symbol, day, opened, self._cents[symbol], volume, Status.SETTLED, PER_SESSION)

    def updates(self) -> Iterator[Bar]:
        """Yield updates without end: number n moves the close of its session, its volume is ``FIRST`` + n."""
        while True:
            session, place = divmod(self._number, PER_SESSION)
            if place == 0:
                self._opened = self._cents[UPDATED]
            self._cents[UPDATED] = self._moved(self._cents[UPDATED])
            status = Status.SETTLED if place == PER_SESSION - 1 else Status.PROVISIONAL
            self._number += 1
            yield _bar(
                UPDATED,
                self._days[HISTORY + session],
                self._opened,
                self._cents[UPDATED],
                FIRST + self._number - 1,
                status,
                place,
            )

    @property
    def sent(self) -> int:
        """Updates that were yielded."""
        return self._number

    @property
    def candles(self) -> int:
        """Sessions of ``UPDATED`` that have a bar."""
        return HISTORY + -(-self._number // PER_SESSION)

    def _moved(self, cents: int) -> int:
        return max(100, cents + self._made.randrange(-30, 31))


def _bar(symbol: str, day: dt.date, opened: int, closed: int, volume: int, status: Status, place: int) -> Bar:
    start = daily_bar_time(day, EXCHANGE)
    return Bar(
        symbol=symbol,
        exchange=EXCHANGE,
        asset_class=AssetClass.STOCK,
        interval=Interval.D1,
        bar_time=start,
        open=_price(opened),
        high=_price(max(opened, closed) + 5),
        low=_price(min(opened, closed) - 5),
        close=_price(closed),
        volume=Decimal(volume),
        source="benchmark",
        synthetic=True,
        status=status,
        event_time=start,
        as_of=start + dt.timedelta(hours=24 if status is Status.SETTLED else 10, minutes=place),
    )


def _price(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


class Stream(threading.Thread):
    """Sends updates at a rate, each when it is due whether or not anybody keeps up; linger 5 ms."""

    def __init__(self, bootstrap: str, market: Market, rate: float, count: int | None = None) -> None:
        super().__init__(name="updates", daemon=True)
        self._kafka, self._market, self._rate, self._count = bootstrap, market, rate, count
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self.places: dict[tuple[str, int], int] = {}
        self.late_ms: list[float] = []
        self.newest: Bar | None = None

    def run(self) -> None:
        """Send until ``count`` were sent or ``end`` is called."""
        try:
            with Publisher(self._kafka) as publisher:
                started = time.perf_counter()
                for number, bar in enumerate(self._market.updates()):
                    due = started + number / self._rate
                    self._ended.wait(max(0.0, due - time.perf_counter()))
                    publisher.send(BARS_TOPIC, bar.symbol, encode_bar(bar, now()))
                    self.late_ms.append((time.perf_counter() - due) * 1000)
                    self.newest = bar
                    if self._ended.is_set() or (self._count is not None and number + 1 >= self._count):
                        break
            self.places = publisher.places
        except BaseException as error:  # handed to the thread that ends it
            self._error = error

    def end(self) -> Bar:
        """Wait until ``count`` were sent, or end a stream without one; return the newest update."""
        if self._count is None:
            self._ended.set()
        self.join()
        if self._error is not None:
            raise self._error
        if self.newest is None:
            raise StreamlakeError("no update was sent")
        return self.newest


class Sent(NamedTuple):
    """An update on its way: its number, and when it was handed to the producer, appended and recorded, in ms."""

    number: int
    event_ms: float
    broker_ms: float
    row_ms: float


class PageChain(NamedTuple):
    """What a case may use."""

    stack: Stack
    settings: Settings
    market: Market
    stored: StoredPlaces
    say: Say

    def serve(self, name: str, probed: bool) -> None:
        """Start the page's server process under a name; ``probed`` with the plug-in that notes times."""
        spec = panel_page(self.settings)
        argv = [*spec.argv, "--plugins", PROBE] if probed else spec.argv
        self.stack.supervisor.start(replace(spec, name=name, argv=argv))

    def pid(self, name: str) -> int:
        """Return the process of a server or service."""
        return self.stack.supervisor.child(name).pid or 0

    @property
    def address(self) -> str:
        """Where the page's server process listens."""
        return f"http://{LOOPBACK}:{self.settings.panel_port}"

    def query(self, viewer: int) -> str:
        """Return what asks for a page of ``UPDATED``."""
        return f"?symbol={UPDATED}&interval=1d&viewer={viewer}"

    def url(self, viewer: int) -> str:
        """Return the address of a page of ``UPDATED``."""
        return f"{self.address}{PATH}{self.query(viewer)}"

    def probe(self) -> dict[str, Any]:
        """Return what the plug-in noted."""
        answer = httpx.get(f"{self.address}{PROBE_PATH}", timeout=30)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def wait_open(self, count: int) -> None:
        """Wait until the process has so many sessions.

        Raises:
            StreamlakeError: it does not.
        """
        if not wait_until(lambda: self.probe()["open"] == count, PATIENCE_S):
            raise StreamlakeError(f"{self.probe()['open']} sessions are open, not {count}")

    def sent(self, stream: Stream, count: int) -> list[Sent]:
        """Return the newest ``count`` updates of a stream, read back from the topic and the batches of the tables."""
        self.stored.wait(stream.places)
        ((topic, partition), end), *others = stream.places.items()
        if others:
            raise StreamlakeError(f"updates of one symbol lie on several partitions: {stream.places}")
        reader = RangeReader(self.settings.kafka, {(topic, partition): (end - count, end)})
        messages = []
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not reader.done and time.monotonic() < deadline:
                messages += reader.take(1_000, 0.5)
        finally:
            reader.close()
        batches = self._batches(partition, end - count)
        found = []
        for message in messages:
            bar = decode_bar(message.value, message.key, message.broker_time)
            row = next(at for first, following, at in batches if first <= message.offset < following)
            moments = (bar.event_time, message.broker_time, row)
            found.append(Sent(int(bar.volume or 0) - FIRST, *(1000 * moment.timestamp() for moment in moments)))
        if len(found) != count:
            raise StreamlakeError(f"{len(found)} of {count} updates were found on the topic")
        return found

    def _batches(self, partition: int, start: int) -> Sequence[tuple[int, int, dt.datetime]]:
        b, s = schema.ingest_batches.c, schema.streams.c
        query = (
            sa.select(b.first_offset, b.next_offset, b.created_at)
            .join_from(schema.ingest_batches, schema.streams, s.id == b.stream_id)
            .where(s.topic == BARS_TOPIC, b.partition_no == partition, b.next_offset > start)
            .order_by(b.first_offset)
        )
        with self.stack.engine.connect() as connection:
            return [(first, end, at.replace(tzinfo=dt.UTC)) for first, end, at in connection.execute(query)]


@contextmanager
def page_chain(say: Say) -> Iterator[PageChain]:
    """Start a chain whose tables and documents hold the history; the page is not served yet."""
    with fresh_stack(say) as stack:
        (port,) = free_ports(1)
        chain = PageChain(
            stack,
            stack.settings.model_copy(update={"panel_port": port}),
            Market(),
            StoredPlaces(stack.engine, stack.settings.kafka),
            say,
        )
        say(f"storing {HISTORY * len(SYMBOLS):,} bars of history")
        with Publisher(stack.settings.kafka) as publisher:
            publish(publisher, chain.market.history())
        chain.stored.wait(publisher.places)
        documents = DocumentStore(stack.settings)
        refresh_documents(stack.engine, documents, now())
        documents.close()
        yield chain
