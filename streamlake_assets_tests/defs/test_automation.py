"""Jobs and sensors on real stores: what is reported, when a refresh is asked for, that both jobs are green."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

from streamlake_assets.definitions import defs
from streamlake_assets.defs import documents
from streamlake_assets.defs.jobs import RETRY_AFTER_S, raw_watermark, refresh_needed
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows import champions, observations
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.flows.forecasting import issue_forecasts
from streamlake_assets.flows.skill import skill_report
from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Bar
from streamlake_assets.sidecar.consumer import PROCESS
from streamlake_assets.stores import ledger, model_register, schema
from streamlake_assets.stores.operations import beat
from streamlake_assets_tests.defs.conftest import (
    INGEST,
    Market,
    ingest,
    made,
    run_job,
    tables_restored,
    utc_now,
    whole_number,
)

pytestmark = pytest.mark.servers

RAW_KEYS = ["raw/bars", "raw/corporate_actions", "raw/dead_letters", "raw/instruments"]
FACTS = (schema.bars, schema.bar_revisions, *INGEST)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def tick(
    sensor: dg.SensorDefinition, market: Market, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"stores": market.access})
    result = sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def reported(result: dg.SensorResult | dg.SkipReason) -> dict[str, dg.AssetMaterialization]:
    assert isinstance(result, dg.SensorResult)
    events = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
    return {event.asset_key.to_user_string(): event for event in events}


def jobs_of(result: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    assert isinstance(result, dg.SensorResult)
    return [request.job_name for request in result.run_requests or []]


def next_session(market: Market) -> dt.date:
    """Return the session that the newest forecasts are for."""
    return ledger.rows(market.access.reader, last=1)[0].forecast.session


def message(bar: Bar, **changes: object) -> tuple[str, bytes]:
    changed = msgspec.structs.replace(bar, **changes)
    return changed.symbol, encode_bar(changed, utc_now())


def test_the_raw_tables_are_reported_with_their_offset_ranges_and_rows(
    market: Market, instance: dg.DagsterInstance
) -> None:
    events = reported(tick(raw_watermark, market, instance))
    assert sorted(events) == RAW_KEYS
    mark = observations.read_watermark(market.access.reader)
    published = {place: f"0..{offset - 1}" for place, offset in mark.next_offsets.items() if offset}
    assert len(published) >= 2
    for key, event in events.items():
        assert event.metadata["offset_ranges"].value == published, key
        assert event.metadata["dagster/row_count"].value == mark.rows[key.removeprefix("raw/")]
    assert whole_number(events["raw/bars"].metadata["dagster/row_count"]) > 1000
    assert events["raw/bars"].metadata["market_session"].value == str(market.plan.live[-1].session)


def test_nothing_is_reported_twice_and_then_only_what_came_since(market: Market, instance: dg.DagsterInstance) -> None:
    first = tick(raw_watermark, market, instance)
    assert isinstance(first, dg.SensorResult)
    assert isinstance(tick(raw_watermark, market, instance, first.cursor), dg.SkipReason)
    bar = market.plan.daily[-1]
    with tables_restored(market.settings, *FACTS):
        new = message(bar, bar_time=daily_bar_time(next_session(market), bar.exchange))
        ingest(market, [new, ("IBM", b"no bar")])
        second = tick(raw_watermark, market, instance, first.cursor)
        places = observations.read_watermark(market.access.reader).next_offsets.keys()
    ranges = reported(second)["raw/dead_letters"].metadata["offset_ranges"].value
    assert isinstance(ranges, dict)
    assert set(ranges) == places - json.loads(str(first.cursor)).keys(), "only the stream that moved"
    assert set(ranges.values()) <= {"0..0", "0..1"}


def test_no_refresh_is_asked_for_before_the_first_message(market: Market, instance: dg.DagsterInstance) -> None:
    with tables_restored(market.settings, schema.stream_offsets) as connection:
        connection.execute(sa.delete(schema.stream_offsets))
        connection.commit()
        result = tick(refresh_needed, market, instance)
    assert isinstance(result, dg.SkipReason)
    assert "no message" in str(result.skip_message)


def test_without_a_champion_documents_are_refreshed_and_what_is_stored_is_checked(
    market: Market, instance: dg.DagsterInstance
) -> None:
    with tables_restored(market.settings, schema.champions) as connection:
        connection.execute(sa.delete(schema.champions))
        connection.commit()
        beat(market.access.writer, PROCESS, {})
        result = tick(refresh_needed, market, instance)
        assert jobs_of(result) == ["refresh_documents"]
        done = run_job("refresh_documents", market, instance)
    assert done.success
    assert made(done) == {"documents/session_bars", "documents/feature_buckets", "documents/periods"}
    checked = {one.check_name for one in done.get_asset_check_evaluations()}
    assert {"ledger_balances", "bars_keep_the_contract", "consumer_is_alive", "documents_equal_their_bars"} <= checked


def test_with_a_champion_everything_but_training_is_refreshed_once(
    market: Market, instance: dg.DagsterInstance
) -> None:
    result = tick(refresh_needed, market, instance)
    assert jobs_of(result) == ["refresh"]
    again = tick(refresh_needed, market, instance, str(result.cursor))
    assert isinstance(again, dg.SkipReason)
    assert "no new messages" in str(again.skip_message)


def test_new_messages_move_the_cursor_on(market: Market, instance: dg.DagsterInstance) -> None:
    first = tick(refresh_needed, market, instance)
    assert isinstance(first, dg.SensorResult)
    with tables_restored(market.settings, *INGEST):
        ingest(market, [("IBM", b"no bar")])
        second = tick(refresh_needed, market, instance, first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert second.cursor != first.cursor
    assert len(second.run_requests or []) == 1


@pytest.mark.parametrize("job", ["refresh", "refresh_documents"])
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_while_a_refresh_is_in_progress_no_second_one_is_asked_for(
    job: str, status: dg.DagsterRunStatus, market: Market, instance: dg.DagsterInstance
) -> None:
    run = instance.create_run_for_job(defs().resolve_job_def(job), status=status)
    result = tick(refresh_needed, market, instance)
    assert isinstance(result, dg.SkipReason)
    assert "in progress" in str(result.skip_message)
    instance.report_run_canceled(run)
    assert isinstance(tick(refresh_needed, market, instance), dg.SensorResult), "what was put off is asked for later"


def test_a_refresh_that_failed_is_asked_for_again_after_a_while_without_new_messages(
    market: Market, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tick(refresh_needed, market, instance)
    assert isinstance(asked, dg.SensorResult)
    run = instance.create_run_for_job(defs().resolve_job_def("refresh"), status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(run, "the document store was away")
    soon = tick(refresh_needed, market, instance, asked.cursor)
    assert isinstance(soon, dg.SkipReason)
    assert "asked for again" in str(soon.skip_message)
    later = utc_now() + dt.timedelta(seconds=RETRY_AFTER_S + 1)
    monkeypatch.setattr(market.access, "now", lambda: later)
    assert isinstance(tick(refresh_needed, market, instance, asked.cursor), dg.SensorResult)


def test_the_register_and_not_the_folder_names_the_champion(market: Market) -> None:
    access, target = market.access, Target.LOG_RANGE
    named = champions.champion_of(access.reader, access.models, target).model.version
    other = next(m["version"] for m in skill_report(access.models) if m["version"] != named and m["target"] == target)
    with tables_restored(market.settings, schema.champions):
        assert model_register.set_champion(access.writer, target, other, "a test")
        assert champions.champion_of(access.reader, access.models, target).model.version == other


def test_an_instrument_that_cannot_be_forecast_is_passed_over_and_the_others_are_forecast(market: Market) -> None:
    access = market.access
    speaking = [champions.champion_of(access.reader, access.models, target).model for target in Target]
    good, *_ = access.documents.series()
    level = np.full(len(good), 10.0)
    flat = replace(good, symbol="FLAT", open=level, high=level, low=level, close=level, factor=np.ones(len(good)))
    with tables_restored(market.settings, schema.forecasts):
        made, issued, passed_over = issue_forecasts(access.writer, speaking, [flat, good])
    assert {forecast.symbol for forecast in made} == {good.symbol}
    assert issued.new + issued.existing == len(Target)
    assert len(passed_over) == 1 and "FLAT" in passed_over[0]


def test_both_jobs_are_green_and_every_check_passes(market: Market) -> None:
    assert [state for state in market.driver.checks() if not state.passed] == []
    made = market.driver.materialized()
    assert {name for name in made if name.startswith("raw/")} == set(RAW_KEYS)
    assert len(made) == 16, "all but the three that are observed and the four made on demand"
    scored = [row for row in ledger.rows(market.access.reader) if row.realised is not None]
    assert len(scored) == 2 * 3 * len(market.plan.live)


def test_training_again_on_the_same_data_makes_no_new_version_and_no_new_forecast(
    market: Market, instance: dg.DagsterInstance
) -> None:
    # the good state was trained before the live sessions: the first run learns from them, the second from nothing new
    assert run_job("daily", market, instance).success
    versions, rows = market.access.models.versions(), len(ledger.rows(market.access.reader))
    assert run_job("daily", market, instance).success
    assert market.access.models.versions() == versions
    assert len(ledger.rows(market.access.reader)) == rows


def test_bars_that_came_before_their_forecasts_give_no_signal_and_no_failed_run(
    market: Market, instance: dg.DagsterInstance
) -> None:
    session, step = next_session(market), market.plan.bridged[-1]
    later = daily_bar_time(session, "XNYS") - daily_bar_time(step.session, "XNYS")
    early = [message(bar, bar_time=bar.bar_time + later) for bar in step.intraday()[:3]]
    ledger_tables = (schema.forecasts, schema.forecast_scores, schema.signals)
    with tables_restored(market.settings, *FACTS, *ledger_tables) as connection:
        for table in ledger_tables:
            connection.exec_driver_sql(f"TRUNCATE TABLE `{table.name}`")
        ingest(market, early)
        beat(market.access.writer, PROCESS, {})
        result = run_job("refresh", market, instance)
        rows = ledger.rows(market.access.reader)
    market.access.documents.clear()
    refresh_documents(market.access.reader, market.access.documents, utc_now(), full=True)
    assert result.success
    assert {(row.forecast.session, row.late) for row in rows} == {(session, True)}
    (signals,) = result.asset_materializations_for_node("signals__daily")
    assert signals.metadata["dagster/row_count"].value == 0
    assert "no forecast is open" in str(signals.metadata["reason"].value)
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["forecasts_are_on_time"], "said, and blocking nothing"


def test_each_month_that_was_made_again_is_reported_and_a_month_can_be_chosen(
    market: Market, instance: dg.DagsterInstance
) -> None:
    key = documents.SESSION_BARS
    newest = market.plan.live[-1].session.replace(day=1).isoformat()
    market.access.documents.clear()
    assert run_job("refresh", market, instance).success
    months = instance.get_materialized_partitions(key)
    assert newest in months and len(months) == len(instance.get_materialized_partitions(documents.FEATURE_BUCKETS))
    sessions = {document.session.replace(day=1).isoformat() for document in market.access.documents.sessions()}
    assert sessions <= months, "all that was stored was touched"
    wanted = {"dagster/asset_partition_range_start": newest, "dagster/asset_partition_range_end": newest}
    before = market.access.documents.state()
    market.access.documents.remove_sessions(
        [one.key for one in market.access.documents.sessions() if one.session.replace(day=1).isoformat() == newest]
    )
    result = run_job("refresh", market, instance, wanted)
    assert result.success
    events = result.asset_materializations_for_node("documents")
    assert {(event.asset_key, event.partition) for event in events} == {
        (one, newest) for one in documents.MADE_TOGETHER
    }
    assert market.access.documents.state() == before
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())


def test_a_failing_step_is_told_in_one_line_with_step_and_cause(market: Market) -> None:
    (path,) = market.access.training_sets.glob("*.offsets.json")
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(StreamlakeError, match=r"models__champion: .*no training set") as failure:
            market.driver.run("refresh")
    finally:
        path.write_bytes(kept)
    assert "\n" not in str(failure.value)
