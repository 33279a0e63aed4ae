"""Every asset check passes on the good state and fails on the fault it is there for; faults are real and undone."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import dagster as dg
import pytest
import sqlalchemy as sa

from streamlake_assets.definitions import defs
from streamlake_assets.defs import (
    benchmark,
    claims,
    documents,
    features,
    forecasts,
    models,
    processes,
    raw,
    reports,
    stream,
    value,
)
from streamlake_assets.market import quality
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.types import Interval
from streamlake_assets.sidecar.consumer import PROCESS
from streamlake_assets.stores import schema
from streamlake_assets.stores.documents import BUCKETS, SESSIONS
from streamlake_assets.stores.operations import beat
from streamlake_assets_tests.bars import NOW, bar, wire
from streamlake_assets_tests.defs.conftest import (
    INGEST,
    Market,
    ingest,
    run_job,
    tables_restored,
    whole_number,
)
from streamlake_assets_tests.defs.faults import (
    Fault,
    bar_removed,
    document_changed,
    drop_one,
    factor_zero,
    halve,
    hang,
    high_below_low,
    leave_behind,
    line_changed,
    many_dead_letters,
    newest_changed,
    old_heartbeat,
    one_removed,
    remove_one,
    set_back,
    silent_instrument,
    store_twice,
    swap,
    volatility_changed,
)
from streamlake_assets_tests.defs.learned_faults import (
    CLAIMS_MISSING,
    LEDGER,
    NOT_CERTIFIED,
    drill_that_lost_a_row,
    forecast_after_the_bar,
    judged,
    model_file_cut,
    models_gone,
    outcomes_outside,
    row_twice,
    sessions_from_elsewhere,
    signal_without_skill,
    skill_too_good,
    stored_report,
    value_overstated,
)

pytestmark = pytest.mark.servers


class OneOf(NamedTuple):
    """One check of a definition that makes several."""

    definition: dg.AssetChecksDefinition
    name: str


def only(name: str) -> OneOf:
    return OneOf(raw.anomalies, name)


Check = dg.AssetChecksDefinition | OneOf
FAULTS: list[tuple[Check, Fault]] = [
    (stream.bars_are_stored, set_back(BARS_TOPIC)),
    (stream.actions_are_stored, set_back(ACTIONS_TOPIC)),
    (stream.consumer_is_alive, old_heartbeat),
    (processes.scorer_is_alive, old_heartbeat),
    (processes.alerts_are_alive, old_heartbeat),
    (raw.bars_keep_the_contract, high_below_low),
    (raw.ledger_balances, bar_removed),
    (raw.sessions_are_stored_once, newest_changed(store_twice)),
    (raw.instruments_are_current, newest_changed(leave_behind)),
    (only("bars_have_no_gaps"), newest_changed(drop_one)),
    (only("prices_do_not_jump"), newest_changed(halve)),
    (only("feeds_do_not_hang"), newest_changed(hang)),
    (only("bars_arrive_in_order"), newest_changed(swap)),
    (raw.factors_are_positive, factor_zero),
    (raw.instruments_have_bars, silent_instrument),
    (raw.dead_letters_are_few, many_dead_letters),
    (documents.documents_equal_daily_bars, document_changed),
    (documents.documents_equal_their_bars, volatility_changed),
    (documents.documents_cover_sessions, one_removed(SESSIONS)),
    (documents.buckets_hold_every_session, one_removed(BUCKETS)),
    (documents.periods_are_measured, line_changed),
    (features.nothing_leaks, row_twice),
    (features.features_do_not_drift, sessions_from_elsewhere),
    (models.sklearn_trained, models_gone("sklearn")),
    (models.dask_trained, models_gone("dask")),
    (models.spark_trained, models_gone("spark")),
    (models.champions_open, model_file_cut),
    (models.skill_is_plausible, skill_too_good),
    (forecasts.forecasts_are_on_time, forecast_after_the_bar),
    (forecasts.intervals_cover, outcomes_outside),
    (forecasts.signals_need_skill, signal_without_skill),
    (reports.drill_lost_nothing, drill_that_lost_a_row),
    (value.value_is_honest, value_overstated),
    (claims.claims_are_reproduced, stored_report("claims_audit", CLAIMS_MISSING)),
    (benchmark.benchmark_is_valid, stored_report("benchmark", NOT_CERTIFIED)),
]


PROCESSES = {"consumer_is_alive": PROCESS, "scorer_is_alive": "scorer", "alerts_are_alive": "alerts"}


def name_of(check: Check) -> str:
    if isinstance(check, OneOf):
        return check.name
    (key,) = check.check_keys
    return key.name


def specs_of(check: Check) -> list[dg.AssetCheckSpec]:
    return list((check.definition if isinstance(check, OneOf) else check).check_specs)


@contextmanager
def beating(check: Check, market: Market) -> Iterator[None]:
    """Let the process that a check is about give a sign of life; one that does not run here is forgotten again."""
    process = PROCESSES.get(name_of(check))
    if process is None:
        yield
    elif process == PROCESS:
        beat(market.access.writer, process, {})
        yield
    else:
        with tables_restored(market.settings, schema.heartbeats):
            beat(market.access.writer, process, {})
            yield


def evaluate(check: Check, market: Market) -> dg.AssetCheckResult:
    if isinstance(check, OneOf):
        (result,) = (one for one in check.definition(stores=market.access) if one.check_name == check.name)  # type: ignore[union-attr]
    else:
        result = check(stores=market.access)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_every_check_of_the_location_has_its_fault_here() -> None:
    keys = defs().resolve_asset_graph().asset_check_keys
    assert {name_of(check) for check, _ in FAULTS} == {key.name for key in keys}
    assert len(FAULTS) == len(keys) == 35


@pytest.mark.parametrize(("check", "fault"), FAULTS, ids=[name_of(check) for check, _ in FAULTS])
def test_a_check_passes_on_the_good_state_and_fails_on_its_fault(check: Check, fault: Fault, market: Market) -> None:
    with beating(check, market):
        judge_both(check, fault, market)


def judge_both(check: Check, fault: Fault, market: Market) -> None:
    good = evaluate(check, market)
    assert good.passed, good.description
    with fault(market):
        bad = evaluate(check, market)
    assert not bad.passed, bad.description
    assert bad.description != good.description, "what was found is said"
    assert len(bad.metadata or {}) > 1, "value and limit are in the metadata"
    (spec,) = (one for one in specs_of(check) if one.name == name_of(check))
    # what the check says of itself is what its result says
    assert bad.severity.value == spec.metadata["severity"].value
    assert bad.metadata["what to do"].value == spec.metadata["remedy"].value
    assert evaluate(check, market).passed, "the fault is undone"


@pytest.mark.parametrize(
    "table", [schema.bars, schema.bar_revisions, schema.dead_letters, schema.ingest_batches], ids=str
)
def test_the_ledger_names_the_offsets_of_a_row_that_was_removed(table: sa.Table, market: Market) -> None:
    with tables_restored(market.settings, *INGEST, schema.bars, schema.bar_revisions) as connection:
        late = wire(bar(symbol="IBM", price="1", as_of=NOW - dt.timedelta(days=9000), event_time=NOW))
        ingest(market, [("IBM", late), ("IBM", b"no bar"), ("IBM", wire(bar(symbol="IBM", interval=Interval.M1)))])
        good = evaluate(raw.ledger_balances, market)
        assert good.passed, good.description
        row = remove_one(connection, table)
        bad = evaluate(raw.ledger_balances, market)
        batches = {batch.id: batch for batch in connection.execute(sa.select(schema.ingest_batches))}
    assert not bad.passed
    batch = row if table is schema.ingest_batches else batches[row.batch_id]
    assert f"[{batch.partition_no}] offsets {batch.first_offset}..{batch.next_offset - 1}: " in str(bad.description)
    assert whole_number(bad.metadata["imbalances"]) >= 1
    assert evaluate(raw.ledger_balances, market).passed


@pytest.mark.parametrize("check", [processes.scorer_is_alive, processes.alerts_are_alive], ids=name_of)
def test_a_process_that_was_never_started_is_not_missed(check: dg.AssetChecksDefinition, market: Market) -> None:
    """As after ``demo --once``, which starts no delivery of alerts."""
    result = evaluate(check, market)
    assert result.passed
    assert "never started" in str(result.description)


def test_intervals_that_hold_nine_of_ten_outcomes_pass(market: Market) -> None:
    with tables_restored(market.settings, *LEDGER):
        judged(market, covered=108, missed=12)
        result = evaluate(forecasts.intervals_cover, market)
    assert result.passed
    assert whole_number(result.metadata["scores"]) >= quality.COVERAGE_LEAST


def test_a_changed_document_blocks_everything_that_is_made_of_documents(market: Market) -> None:
    with document_changed(market), dg.DagsterInstance.ephemeral() as instance:
        result = run_job("daily", market, instance)
        made = {key for key in instance.all_asset_keys() if instance.get_latest_materialization_event(key)}
    assert not result.success
    assert {key.to_user_string() for key in made} == {
        f"documents/{name}" for name in ("session_bars", "feature_buckets", "periods")
    }


def test_the_check_of_champions_fails_when_no_model_opens_at_all(market: Market) -> None:
    found = market.settings.data_dir.glob("models/**/*")
    kept = {path: path.read_bytes() for path in found if path.is_file()}
    try:
        for path in kept:
            if path.name != "manifest.json":
                path.write_bytes(b"broken")
        result = evaluate(models.champions_open, market)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert not result.passed
    assert "0 of 2 champions open" in str(result.description)
