"""The two threads of a server process that fill the data store: a poller of the stores, a follower of the stream.

Belongs here: when what is asked of which server. Stays out: what the answers mean (``data_store``, ``series``), Panel.
"""

import threading
import time
from typing import Final

import structlog

from panel_app.actions import start_actions
from panel_app.board import DOCUMENTS, KAFKA, MYSQL
from panel_app.data_store import DataStore
from panel_app.readers import Readers
from panel_app.series import MOST_BARS, SeriesKey
from streamlake_assets.broker.tail import MOST_BEHIND, TailReader
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.clock import REPLAY_PROCESS
from streamlake_assets.market.contract import BARS_TOPIC, decode_bar
from streamlake_assets.market.messages import Message, StreamIdentity
from streamlake_assets.market.types import AssetClass, Bar, Interval
from streamlake_assets.settings import Settings
from streamlake_assets.stores.page_documents import PageDocuments
from streamlake_assets.stores.page_reader import PageReader
from streamlake_assets.stores.page_rows import DailyDocuments, Listed, Snapshot, Watermark

POLL_S: Final = 1.0
PROBE_S: Final = 1.0
_TAKE: Final = 2_000
_TAKE_WAIT_S: Final = 0.05
_RETRY_S: Final = 0.5
_FIRST_OVERVIEW_S: Final = 3.0
_MOST_DOUBTFUL: Final = 500
"""Beyond this many sessions that only rows can tell of, reading all rows is the lesser work."""


class Feeds:
    """Starts and stops both threads."""

    def __init__(self, settings: Settings, store: DataStore) -> None:
        self._settings = settings
        self._store = store
        self._stop = threading.Event()
        self._polled = threading.Event()
        self._restart_tail = threading.Event()
        self._watermark: Watermark | None = None
        self._threads: list[threading.Thread] = []
        self._log = structlog.get_logger(component="pages")

    def start(self) -> None:
        """Start the poller and the follower."""
        for name, target in (("poller", self._poll), ("follower", self._follow)):
            thread = threading.Thread(target=target, name=f"streamlake-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop both; a server that hangs may keep one of them longer than ``timeout_s``."""
        self._stop.set()
        self._store.wake.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _note(self, server: str, news: Exception | None) -> None:
        if news is not None:
            self._log.warning("no_answer", server=server, kind=type(news).__name__, error=str(news)[:500])

    # the poller

    def _poll(self) -> None:
        mysql, documents = PageReader(self._settings), PageDocuments(self._settings)
        store = self._store
        try:
            while not self._stop.is_set():
                store.wake.clear()
                self._note(MYSQL, store.check(MYSQL, lambda: self._read_overview(mysql)))
                self._polled.set()
                self._note(DOCUMENTS, store.check(DOCUMENTS, lambda: self._read_documents_state(documents)))
                for key in store.due():
                    self._load(key, mysql, documents)
                if store.is_up(MYSQL):
                    self._note(MYSQL, store.check(MYSQL, lambda: self._read_forecasts(mysql)))
                if store.has_gap() and store.lag_of() <= MOST_BEHIND:
                    # the tail had to begin without the stored offsets: now it can begin where they are
                    self._restart_tail.set()
                store.release()
                store.wake.wait(POLL_S)
        finally:
            mysql.close()
            documents.close()

    def _read_overview(self, mysql: PageReader) -> None:
        overview = mysql.overview(BARS_TOPIC, self._store.stream)
        self._store.note_overview(overview, mysql.heartbeats().get(REPLAY_PROCESS))

    def _read_documents_state(self, documents: PageDocuments) -> None:
        self._watermark = documents.watermark()
        if not self._store.listed() and not self._store.is_up(MYSQL):
            known = documents.instruments()
            self._store.note_listed(tuple(Listed(name, AssetClass.STOCK, None, (Interval.D1,)) for name in known))

    def _read_forecasts(self, mysql: PageReader) -> None:
        for instrument in self._store.instruments():
            self._store.note_forecasts(instrument, mysql.forecasts(instrument), mysql.signals(instrument, MOST_BARS))

    def _load(self, key: SeriesKey, mysql: PageReader, documents: PageDocuments) -> None:
        """Read a series in the order that leaves no gap: watermark, documents, rows with offsets; then the tail."""
        store = self._store
        watched = store.begin_load(key)
        if watched is None:
            return
        trust = watched.trust_documents and key.interval is Interval.D1 and store.is_up(DOCUMENTS)
        watermark = self._watermark if trust else None
        documents_read = DailyDocuments()
        found: list[Snapshot] = []

        def read_documents() -> None:
            nonlocal documents_read
            documents_read = documents.daily(key.instrument, MOST_BARS)

        def read_rows() -> None:
            found.append(
                mysql.series(
                    key.instrument,
                    key.interval,
                    topic=BARS_TOPIC,
                    stream=store.stream,
                    watermark=None if len(documents_read.doubtful) > _MOST_DOUBTFUL else watermark,
                    also=documents_read.doubtful,
                    most=MOST_BARS,
                )
            )

        try:
            if watermark is not None:
                self._note(DOCUMENTS, store.check(DOCUMENTS, read_documents))
            if not documents_read.bars:
                watermark = None
            if store.is_up(MYSQL):
                self._note(MYSQL, store.check(MYSQL, read_rows))
        finally:
            store.end_load(key, documents_read.bars, found[0] if found else None)

    # the follower

    def _follow(self) -> None:
        # the stored offsets say where the tail begins; when MySQL does not tell in time, it begins now
        self._polled.wait(_FIRST_OVERVIEW_S)
        while not self._stop.is_set():
            self._note(KAFKA, self._store.check(KAFKA, self._follow_once))
            self._stop.wait(_RETRY_S)

    def _follow_once(self) -> None:
        self._restart_tail.clear()
        reader = TailReader(self._settings.kafka, BARS_TOPIC)
        try:
            # the cheap question first: without a broker the next one would wait for long
            reader.find(timeout_s=2.0)
            identity = self._identity()
            self._begin(reader, identity)
            probed_at = -PROBE_S
            while not (self._stop.is_set() or self._restart_tail.is_set()):
                if time.monotonic() - probed_at > PROBE_S:
                    if not self._probe(reader) and not self._wait_for_broker(reader, identity):
                        return
                    probed_at = time.monotonic()
                self._take(reader)
        finally:
            reader.close()

    def _identity(self) -> StreamIdentity:
        return describe_streams(self._settings.kafka, [BARS_TOPIC])[BARS_TOPIC]

    def _begin(self, reader: TailReader, identity: StreamIdentity) -> None:
        self._store.note_stream(identity)
        wanted = None
        if self._store.is_up(MYSQL):
            # one message more than needed: it says when the last one came
            wanted = {partition: max(0, next_ - 1) for partition, next_ in self._store.stored_offsets().items()}
        self._store.begin_tail(reader.start(wanted))

    def _probe(self, reader: TailReader) -> bool:
        news = self._store.check(KAFKA, lambda: self._store.note_high(reader.high_watermarks(timeout_s=1.0)))
        self._note(KAFKA, news)
        return self._store.is_up(KAFKA)

    def _wait_for_broker(self, reader: TailReader, identity: StreamIdentity) -> bool:
        """Wait until the broker answers again; return whether it is still the same topic there."""
        while not self._stop.wait(_RETRY_S):
            if self._probe(reader):
                return self._identity() == identity
        return False

    def _take(self, reader: TailReader) -> None:
        if self._store.is_full() and not self._store.release():
            self._stop.wait(_TAKE_WAIT_S)
            return
        messages = reader.take(_TAKE, _TAKE_WAIT_S)
        if messages:
            self._store.arrived([(message, _decode(message)) for message in messages])


def _decode(message: Message) -> Bar | None:
    try:
        return decode_bar(message.value, message.key, message.broker_time)
    except BadRecordError:
        # the consumer keeps it as a dead letter; on the page it only shows that something arrived
        return None


def start_data_store(settings: Settings) -> DataStore:
    """Make the store of this process and start what fills it; the threads end with the process."""
    store = DataStore()
    store.actions = start_actions(settings)
    readers = Readers(settings, store.shelf)
    Feeds(settings, store).start()
    readers.start()
    return store
