"""The page's readers on real servers: each question gets its answer out of what is stored, and an outage is said."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from panel_app import questions as q
from panel_app.indicator_table import differences
from panel_app.readers import Readers
from panel_app.shelf import Answer, Question, Shelf
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.forecasts import score
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import ALL, Grouping
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import ledger
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.operations import beat, raise_alert
from streamlake_assets_tests.conftest import free_port
from streamlake_assets_tests.panel.page_data import daily, day, migrate, publish, put_forecasts, store_topic

pytestmark = pytest.mark.servers
# symbols of this module's own: the broker is shared
SYMBOLS = ("ANSA", "ANSB")
ONE = Instrument("ANSA", "XNYS")
DAYS = 40


@pytest.fixture(scope="module")
def filled(kafka_server: LocalKafka, document_server: LocalDocumentStore, fresh_database: Settings) -> Settings:
    """40 sessions of two stocks in tables and documents, two forecasts that came true, a dead letter, an alert."""
    migrate(fresh_database)
    publish(fresh_database, (daily(symbol, number) for number in range(DAYS - 1) for symbol in SYMBOLS))
    store_topic(fresh_database)
    put_forecasts(fresh_database, ONE.symbol, known=DAYS - 2)
    publish(fresh_database, (daily(symbol, DAYS - 1) for symbol in SYMBOLS))
    with Publisher(fresh_database.kafka) as publisher:
        publisher.send(BARS_TOPIC, ONE.symbol, b'{"v": 1, "answers": true}')
    store_topic(fresh_database)
    engine, documents = make_engine(fresh_database, DatabaseRole.WRITER), DocumentStore(fresh_database)
    documents.clear()
    refresh_documents(engine, documents, dt.datetime.now(dt.UTC))
    documents.put_report("benchmark", {"run_id": "made"})
    documents.close()
    ledger.put_scores(engine, [(one.id, score(one.forecast, 0.015)) for one in ledger.due(engine)])
    beat(engine, "consumer", {"lag": 0})
    raise_alert(engine, "answers", "warning", "something happened", "body")
    engine.dispose()
    return fresh_database


@pytest.fixture
def shelf(filled: Settings) -> Iterator[Shelf]:
    kept = Shelf()
    readers = Readers(filled, kept)
    readers.start()
    yield kept
    readers.close()


def answered(shelf: Shelf, question: Question) -> Answer:
    shelf.watch(question)
    answer: list[Answer] = []

    def is_there() -> bool:
        answer[:] = [shelf.answer(question)]
        return answer[0].at is not None or bool(answer[0].problem)

    assert wait_until(is_there, 15), question
    shelf.unwatch(question)
    return answer[0]


def value(shelf: Shelf, question: Question) -> Any:
    answer = answered(shelf, question)
    assert answer.problem == ""
    return answer.value


def test_the_ledger_has_what_was_said_and_what_happened(shelf: Shelf) -> None:
    found: q.LedgerAnswer = value(shelf, q.LedgerOf(Target.LOG_RANGE, ONE))
    (line,) = found.own
    assert (line.session, line.known_session) == (day(DAYS - 1), day(DAYS - 2))
    assert line.realised == 0.015 and line.covered and line.version == "range-v1" and not line.late
    assert found.all == found.own and found.spoke[0].version == "range-v1" and found.spoke[0].has_skill
    assert value(shelf, q.LedgerOf(Target.LOG_RANGE, Instrument("NONE", "XNYS"))).own == ()


def test_a_forecast_leads_to_the_message_that_its_newest_bar_came_in(shelf: Shelf) -> None:
    (line,) = value(shelf, q.LedgerOf(Target.ADJUSTED_RETURN, ONE)).own
    found: q.WhyAnswer = value(shelf, q.WhyForecast(line.id))
    assert found.missing == () and found.behind.data_hash == "hash"
    newest = found.behind.bars[0]
    assert newest.session == day(DAYS - 2) and len(found.behind.bars) == DAYS - 1
    assert found.behind.outcome is not None and found.behind.outcome.session == day(DAYS - 1)
    assert found.message is not None and found.message.key == b"ANSA"
    assert (found.message.partition, found.message.offset) == (newest.partition, newest.offset)
    assert found.document is not None and found.document["_id"] == f"{ONE}|{day(DAYS - 2)}"
    assert found.document["watermark"][f"{BARS_TOPIC}:{newest.partition}"] == newest.offset
    assert value(shelf, q.WhyForecast(10**9)) is None


def test_documents_and_tables_give_the_same_indicators(shelf: Shelf) -> None:
    asked = (Grouping.INSTRUMENT, PeriodKind.MONTH)
    documents = value(shelf, q.Indicators(q.Source.DOCUMENTS, *asked))
    sql = value(shelf, q.Indicators(q.Source.SQL, *asked))
    assert documents.period == sql.period and documents.lines[-1].subject == ALL
    assert differences(documents.lines, sql.lines) == []
    assert {"ANSA · XNYS", "ANSB · XNYS"} <= {line.subject for line in documents.lines}
    older = value(shelf, q.Indicators(q.Source.SQL, *asked, documents.periods[-1]))
    assert older.period == f"{day(0):%Y-%m}" and older.lines
    by_sector = value(shelf, q.Indicators(q.Source.DOCUMENTS, Grouping.SECTOR, PeriodKind.YEAR))
    assert "no sector named" in {line.subject for line in by_sector.lines}


def test_operations_counts_and_dead_letters_are_what_is_stored(shelf: Shelf) -> None:
    found: q.OperationsAnswer = value(shelf, q.Operations())
    assert "consumer" in found.heartbeats and found.rows.to_table.count > 0 and found.rows.to_broker.p50 is not None
    assert found.refreshed_at is not None and found.alerts[0].subject == "something happened"
    counts: q.CountsAnswer = value(shelf, q.Counts())
    assert counts.imbalances == [] and sum(one.dead for one in counts.partitions) >= 1
    dead: q.DeadAnswer = value(shelf, q.DeadLetters("open"))
    payloads = {letter.id: value(shelf, q.LetterPayload(letter.id)) for letter in dead.letters}
    assert b'{"v": 1, "answers": true}' in payloads.values()
    assert sum(number for _, number in dead.reasons.values()) == sum(one.dead for one in counts.partitions)
    assert value(shelf, q.DeadLetters("replayed")).letters == []
    assert value(shelf, q.Asked()) == [] == value(shelf, q.Inbox())


def test_reports_register_and_glance(shelf: Shelf) -> None:
    assert value(shelf, q.ReportOf("benchmark"))["run_id"] == "made"
    assert value(shelf, q.ReportOf("never")) is None
    assert {model.version for model in value(shelf, q.Register())} == {"return-v0", "range-v1"}
    glance = {line.instrument: line for line in value(shelf, q.Glance())}
    assert glance[ONE].session == day(DAYS - 1) and glance[ONE].index[0] == 100.0


def test_a_server_that_is_away_is_said_and_others_answer(filled: Settings) -> None:
    kept = Shelf()
    readers = Readers(filled.model_copy(update={"mysql_port": free_port()}), kept)
    readers.start()
    try:
        assert answered(kept, q.Counts()).problem
        assert value(kept, q.ReportOf("benchmark"))["run_id"] == "made"
        assert value(kept, q.Indicators(q.Source.DOCUMENTS, Grouping.CLASS, PeriodKind.YEAR)).lines
    finally:
        readers.close()
