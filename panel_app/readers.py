"""The threads that answer pages' questions out of the stores, and how each question is answered.

Belongs here: which store answers what. Stays out: when a question is due (``shelf``), the live series (``feeds``),
Panel.
"""

import datetime as dt
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
import structlog

from panel_app import questions as q
from panel_app.shelf import Question, Shelf
from panel_app.watch_list import glance_of
from streamlake_assets.broker.range_reader import RangeReader
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.errors import IntegrityError, StreamlakeError, TryLaterError
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.messages import Message
from streamlake_assets.market.period_lines import Market
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import (
    commands,
    count_ledger,
    dead_letters,
    model_register,
    page_ledger,
    page_measures,
    replays,
)
from streamlake_assets.stores import page_quality as quality
from streamlake_assets.stores import page_queries as ask
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.page_documents import PageDocuments
from streamlake_assets.stores.page_reader import PageReader
from streamlake_assets.stores.period_documents import period_lines, period_names

TimesBetween = Callable[[str, Mapping[int, int], Mapping[int, int]], Sequence[dt.datetime]]
"""When the batches of a topic between two vectors of offsets were written."""
THREADS: Final = 3
"""A slow question leaves two for the others."""
SILENT_MS: Final = 5_000
"""A document store that says nothing for so long is away: it must not keep all threads."""
MOST_LETTERS: Final = 200
MOST_COMMANDS: Final = 200
MOST_GLANCES: Final = 24
_TAKE_S: Final = 1.0
_MESSAGE_WAIT_S: Final = 3.0


class Readers:
    """Starts and stops the threads; one for a server process."""

    def __init__(self, settings: Settings, shelf: Shelf) -> None:
        self._settings = settings
        self._shelf = shelf
        self._log = structlog.get_logger(component="pages")
        self._mysql = PageReader(settings)
        self._documents = DocumentStore(settings, SILENT_MS)
        self._page_documents = PageDocuments(settings)
        self._register = make_engine(settings, DatabaseRole.READER)
        self._refreshes = Refreshes()
        self._threads: list[threading.Thread] = []
        self._how: Mapping[type[Question], Callable[[Any], Any]] = {
            q.LedgerOf: self._ledger,
            q.WhyForecast: self._why,
            q.ReportOf: lambda asked: self._documents.report(asked.name),
            q.Register: lambda _: model_register.models(self._register),
            q.Counts: lambda _: self._counts(),
            q.DeadLetters: self._dead_letters,
            q.LetterPayload: self._payload,
            q.Operations: lambda _: self._operations(),
            q.Inbox: lambda _: self._inbox(),
            q.Asked: lambda _: self._asked(),
            q.ReplayNow: lambda _: self._replay(),
            q.Indicators: self._indicators,
            q.Glance: lambda _: self._glance(),
        }

    def start(self) -> None:
        """Start the threads; they end with the process, or with ``close``."""
        for number in range(THREADS):
            thread = threading.Thread(target=self._work, name=f"streamlake-reader-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop; a server that hangs may keep a thread longer than ``timeout_s``."""
        self._shelf.close()
        for thread in self._threads:
            thread.join(timeout_s)
        self._mysql.close()
        self._documents.close()
        self._page_documents.close()
        self._register.dispose()

    def _work(self) -> None:
        while not self._shelf.closed:
            question = self._shelf.take(_TAKE_S)
            if question is not None:
                self._answer(question)

    def _answer(self, question: Question) -> None:
        begun = time.monotonic()
        problem, value = "", None
        try:
            value = self._how[type(question)](question)
        except StreamlakeError as error:
            problem = str(error)[:300] or type(error).__name__
        except Exception as error:  # a reader must outlive whatever a server says; the page shows that it failed
            problem = f"{type(error).__name__}: not readable"
            self._log.exception("question_failed", question=type(question).__name__)
        if problem:
            self._log.warning("no_answer", question=type(question).__name__, error=problem)
        self._shelf.put(question, value, time.monotonic() - begun, problem)

    def _ledger(self, asked: q.LedgerOf) -> q.LedgerAnswer:
        with self._mysql.snapshot("reading the ledger") as connection:
            return q.LedgerAnswer(
                page_ledger.lines(connection, asked.target, asked.instrument),
                page_ledger.lines(connection, asked.target),
                page_ledger.spoke(connection, asked.target),
            )

    def _why(self, asked: q.WhyForecast) -> q.WhyAnswer | None:
        with self._mysql.snapshot("reading what is behind a forecast") as connection:
            behind = page_ledger.behind(connection, asked.forecast_id, LOOKBACK)
        if behind is None:
            return None
        missing = []
        document = message = None
        try:
            document = self._page_documents.session(behind.line.instrument, behind.line.known_session)
        except TryLaterError as error:
            missing.append(str(error))
        if behind.bars:
            try:
                message = read_message(self._settings.kafka, behind.bars[0])
            except (TryLaterError, IntegrityError) as error:
                missing.append(str(error))
        return q.WhyAnswer(behind, document, message, tuple(missing))

    def _counts(self) -> q.CountsAnswer:
        with self._mysql.snapshot("reading the count ledger") as connection:
            return q.CountsAnswer(*count_ledger.read_count_ledger(connection))

    def _dead_letters(self, asked: q.DeadLetters) -> q.DeadAnswer:
        with self._mysql.snapshot("reading dead letters") as connection:
            wanted = dead_letters.Wanted(state=asked.state)
            return q.DeadAnswer(
                dead_letters.letters(connection, wanted, MOST_LETTERS),
                quality.reasons(connection),
                quality.messages(connection),
            )

    def _payload(self, asked: q.LetterPayload) -> bytes | None:
        with self._mysql.snapshot("reading a dead letter") as connection:
            return dead_letters.payload(connection, asked.letter_id)

    def _operations(self) -> q.OperationsAnswer:
        beats = self._mysql.heartbeats()
        try:
            state = self._documents.state()
        except TryLaterError:
            # the header says that the document store is away; everything else is still worth showing
            state = None
        with self._mysql.snapshot("reading operations") as connection:
            self._refreshes.note(state, partial(_batch_times, connection))
            return q.OperationsAnswer(
                beats,
                quality.row_times(connection),
                self._refreshes.latencies(),
                self._refreshes.refreshed_at,
                quality.checks(connection),
                quality.alerts(connection),
            )

    def _inbox(self) -> list[quality.OpenAlert]:
        with self._mysql.snapshot("reading the inbox of alerts") as connection:
            return quality.open_alerts(connection)

    def _asked(self) -> list[commands.Command]:
        with self._mysql.snapshot("reading commands") as connection:
            return commands.newest(connection, MOST_COMMANDS)

    def _replay(self) -> replays.Replay | None:
        with self._mysql.snapshot("reading the replay") as connection:
            return replays.newest(connection)

    def _indicators(self, asked: q.Indicators) -> q.IndicatorsAnswer:
        return self._measured(asked) if asked.source is q.Source.SQL else self._kept(asked)

    def _kept(self, asked: q.Indicators) -> q.IndicatorsAnswer:
        """Read the lines as they were measured when their sessions changed last."""
        begun = time.monotonic()
        periods = period_names(self._documents, asked.kind)
        period = asked.period if asked.period in periods else (periods[0] if periods else "")
        lines = period_lines(self._documents, asked.grouping, asked.kind, period)
        return q.IndicatorsAnswer(period, periods, lines, time.monotonic() - begun, 0.0, "documents of periods")

    def _measured(self, asked: q.Indicators) -> q.IndicatorsAnswer:
        """Read the daily bars and measure them now."""
        begun = time.monotonic()
        with self._mysql.snapshot("reading sessions") as connection:
            known, series = page_measures.described(connection), page_measures.daily_series(connection)
        read_s = time.monotonic() - begun
        begun = time.monotonic()
        market = Market(series, {one.instrument: one.sector for one in known})
        periods = {period.name: period for period in market.periods(asked.kind)}
        period = periods.get(asked.period) or next(iter(periods.values()), None)
        lines = market.lines(asked.grouping, period) if period else ()
        how = "daily bars of MySQL, measured now"
        name = period.name if period else ""
        return q.IndicatorsAnswer(name, tuple(periods), lines, read_s, time.monotonic() - begun, how)

    def _glance(self) -> tuple[q.GlanceLine, ...]:
        named = self._page_documents.instruments()[:MOST_GLANCES]
        series = (one for instrument in named for one in self._documents.series(instrument))
        return tuple(found for one in series if (found := glance_of(one)) is not None)


class Refreshes:
    """How long rows waited for the documents, measured at every refresh that this process sees happen."""

    def __init__(self, most: int = 2_000) -> None:
        self._offsets: dict[str, int] | None = None
        self._waited: deque[float] = deque(maxlen=most)
        self.refreshed_at: dt.datetime | None = None

    def note(self, state: Mapping[str, Any] | None, times: TimesBetween) -> None:
        """Take the documents' state; ``times`` tells when the batches between two vectors of offsets were written."""
        if state is None or state["refreshed_at"] == self.refreshed_at:
            return
        offsets = {place: int(offset) for place, offset in state["next_offsets"].items()}
        if self._offsets is not None:
            for topic in {place.rpartition(":")[0] for place in offsets}:
                after, until = _of_topic(self._offsets, topic), _of_topic(offsets, topic)
                for moment in times(topic, after, until):
                    self._waited.append((state["refreshed_at"] - moment).total_seconds())
        self._offsets, self.refreshed_at = offsets, state["refreshed_at"]

    def latencies(self) -> quality.Percentiles:
        """Return what was measured."""
        return quality.percentiles(self._waited)


def _of_topic(offsets: Mapping[str, int], topic: str) -> dict[int, int]:
    parts = ((place.rpartition(":"), offset) for place, offset in offsets.items())
    return {int(part[2]): offset for part, offset in parts if part[0] == topic}


def _batch_times(
    connection: sa.Connection, topic: str, after: Mapping[int, int], until: Mapping[int, int]
) -> Sequence[dt.datetime]:
    return quality.batch_times(connection, ask.stream_id(connection, topic, None), after, until)


def read_message(bootstrap: str, bar: page_ledger.BarBehind) -> Message | None:
    """Read the one message that brought a bar.

    Raises:
        TryLaterError: the broker does not answer in time.
        IntegrityError: the topic was made anew since, or the offset is not on the broker any more.
    """
    if describe_streams(bootstrap, [bar.topic])[bar.topic].topic_id != bar.topic_id:
        raise IntegrityError(f"{bar.topic}: the topic was made anew since, its message is gone")
    place = (bar.topic, bar.partition)
    reader = RangeReader(bootstrap, {place: (bar.offset, bar.offset + 1)})
    try:
        limit = time.monotonic() + _MESSAGE_WAIT_S
        while not reader.done and time.monotonic() < limit:
            if found := reader.take(1, 0.5):
                return found[0]
        if not reader.done:
            raise TryLaterError(f"{bar.topic}[{bar.partition}] offset {bar.offset}: no answer from the broker")
        return None
    finally:
        reader.close()
