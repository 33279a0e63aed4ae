"""Series to ledger and back: what is scored and when, whose word a signal follows, what the live skill is."""

import datetime as dt
import math

import numpy as np
import pytest
from msgspec.structs import replace

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.forecasting import daily_risk, daily_signals, live_skill, newest_forecasts, score_due
from streamlake_assets.flows.observations import batch_totals, offset_ranges, read_watermark
from streamlake_assets.market.forecasts import Forecast
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.signals import DISCLAIMER
from streamlake_assets.market.targets import Target
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.settings import Settings
from streamlake_assets.stores import ledger, model_register, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets_tests.bars import SESSION, bar, slice_of
from streamlake_assets_tests.ledger_rows import NEXT, a_score, forecast, model
from streamlake_assets_tests.series_data import NOW
from streamlake_assets_tests.tables import Database
from streamlake_assets_tests.unit.test_risk_signals import WIDE

pytestmark = pytest.mark.servers


@pytest.fixture
def known(database: Database) -> Database:
    BarStore(database.writer, "test").ingest([slice_of([bar(price="10"), bar(NEXT, symbol="MSFT")])])
    model_register.register_models(
        database.writer, [model(), model("m2", has_skill=True), model("v0", engine="baseline")]
    )
    return database


def series(closes: list[float]) -> SessionSeries:
    """Sessions from the first on, each with the given close and a range of one per cent."""
    count = len(closes)
    close = np.array(closes, dtype=np.float64)
    return SessionSeries(
        symbol="AAPL", exchange="XNYS", sessions=np.arange(count, dtype=np.int64) + ordinal(SESSION),
        open=close, high=close * 1.01, low=close, close=close, volume=np.ones(count), factor=np.ones(count),
    )  # fmt: skip


def settle(database: Database) -> None:
    BarStore(database.writer, "test").ingest([slice_of([bar(NEXT, price="11")], first=2)])


def test_a_forecast_is_scored_once_table_and_series_both_have_its_session(known: Database) -> None:
    wanted = [forecast(), forecast(target=Target.LOG_RANGE, point=0.02, low=0.015, high=0.03, baseline=0.02)]
    ledger.issue(known.writer, wanted)
    assert score_due(known.writer, [series([10, 11])]) == 0
    settle(known)
    assert score_due(known.writer, []) == score_due(known.writer, [series([10])]) == 0
    assert score_due(known.writer, [series([10, 11])]) == 2
    assert score_due(known.writer, [series([10, 11])]) == 0
    rows = {row.forecast.target: row for row in ledger.rows(known.writer)}
    assert rows[Target.ADJUSTED_RETURN].realised == pytest.approx(math.log(1.1))
    assert rows[Target.ADJUSTED_RETURN].error == pytest.approx(math.log(1.1) - 0.001)
    assert rows[Target.LOG_RANGE].realised == pytest.approx(math.log(1.01))
    assert [rows[target].covered for target in Target] == [False, False]


def test_live_skill_compares_squared_errors_of_what_was_scored(known: Database) -> None:
    assert live_skill(ledger.rows(known.writer), Target.ADJUSTED_RETURN) is None
    ledger.issue(known.writer, [forecast(point=0.02)])
    settle(known)
    score_due(known.writer, [series([10, 11])])
    truth = math.log(1.1)
    skill = live_skill(ledger.rows(known.writer), Target.ADJUSTED_RETURN)
    assert skill == pytest.approx(1 - (truth - 0.02) ** 2 / truth**2)
    assert live_skill(ledger.rows(known.writer), Target.LOG_RANGE) is None


def said(database: Database, *forecasts: Forecast) -> list[tuple[str, str, dt.date]]:
    for one in forecasts:
        ledger.issue(database.writer, [one])
    return sorted((f.symbol, f.model_version, f.session) for f in newest_forecasts(database.writer))


def test_the_newest_open_forecasts_speak_and_late_ones_do_not(known: Database) -> None:
    later = NEXT + dt.timedelta(days=1)
    found = said(
        known, forecast(), forecast(session=later, after_session=NEXT), forecast(symbol="MSFT"),
    )  # fmt: skip
    assert found == [("AAPL", "m1", later)]


def test_of_two_champions_on_one_session_the_later_speaks(known: Database) -> None:
    assert said(known, forecast(), forecast(model_version="m2", has_skill=True)) == [("AAPL", "m2", NEXT)]


def test_an_old_session_that_never_took_place_speaks_no_more(known: Database) -> None:
    later = NEXT + dt.timedelta(days=1)
    said(known, forecast(), forecast(session=later, after_session=NEXT))
    newest = next(row for row in known.rows(schema.forecasts) if row.target_session == later)
    ledger.put_scores(known.writer, [(newest.id, a_score(session=later))])
    assert newest_forecasts(known.writer) == []


def test_only_a_model_with_skill_gives_signals(known: Database) -> None:
    rising = forecast(model_version="m2", point=0.02, low=0.01, high=0.03, has_skill=True)
    ledger.issue(known.writer, [rising, forecast()])
    assert daily_signals(known.writer, [forecast()]).signals == ()
    assert known.count(schema.signals) == 0
    (signal,) = daily_signals(known.writer, [rising]).signals
    assert (signal.action, signal.model_version) == ("buy", "m2")
    daily_signals(known.writer, [replace(rising, has_skill=True)])
    assert known.count(schema.signals) == 1
    assert ledger.signals_without_skill(known.writer) == 0
    with pytest.raises(UsageError, match="no forecasts"):
        daily_signals(known.writer, [])


@pytest.mark.parametrize("skilled", [True, False])
def test_the_sizes_of_a_model_with_skill_are_kept_for_the_pages_and_no_other(
    skilled: bool, document_server: LocalDocumentStore, test_settings: Settings
) -> None:
    documents = DocumentStore(test_settings)
    report = daily_risk(documents, [replace(WIDE, has_skill=skilled)], NOW)
    kept = documents.report("risk_signals")
    documents.close()
    assert kept is not None
    assert len(report.signals) == len(kept["signals"]) == int(skilled)
    assert kept["reason"] == report.reason
    assert kept["made_at"] == NOW
    assert [one["disclaimer"] for one in kept["signals"]] == [DISCLAIMER] * int(skilled)


def test_the_watermark_and_the_totals_are_read_back_from_the_tables(known: Database) -> None:
    mark = read_watermark(known.writer)
    assert mark.rows == {"bars": 2, "instruments": 2, "corporate_actions": 0, "dead_letters": 0}
    assert list(mark.next_offsets.values()) == [2]
    assert mark.market_session == NEXT
    settle(known)
    after = read_watermark(known.writer).next_offsets
    assert list(offset_ranges(mark.next_offsets, after).values()) == ["2..2"]
    assert list(offset_ranges({}, after).values()) == ["0..2"]
    assert offset_ranges(after, after) == {}
    assert batch_totals(known.writer)._asdict() == {
        "messages": 3, "new": 3, "changed": 0, "same": 0, "older": 0, "dead": 0,
    }  # fmt: skip
