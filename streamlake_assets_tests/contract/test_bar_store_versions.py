"""Which version of a bar is in force, in whatever order its versions arrive, looked up or not."""

import datetime as dt
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.messages import Counts
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, CorporateAction, Status
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.operations import put_alert
from streamlake_assets_tests.bars import (
    ACTIONS_STREAM,
    BARS_STREAM,
    NOW,
    SESSION,
    action,
    bar,
    slice_of,
)
from streamlake_assets_tests.stored_bars import AS_OF, SECOND, assert_batches_count_their_rows, current, days, put
from streamlake_assets_tests.tables import Database, statements

pytestmark = pytest.mark.servers


# versions


def test_settled_replaces_provisional_and_the_other_way_round_never(store: BarStore, database: Database) -> None:
    settled, provisional = bar(price="11"), bar(price="10", status=Status.PROVISIONAL, as_of=AS_OF + SECOND)
    assert put(store, provisional) == Counts(new=1)
    assert put(store, settled, first=1) == Counts(changed=1)
    assert put(store, provisional, bar(price="12", status=Status.PROVISIONAL), first=2) == Counts(older=2)
    assert current(database) == [(11, "settled")]
    assert sorted(row.close for row in database.rows(schema.bar_revisions)) == [10, 12]


def test_a_source_of_higher_rank_replaces_even_a_settled_bar(store: BarStore, database: Database) -> None:
    put(store, bar(price="10", source="bokeh_sampledata", status=Status.PROVISIONAL))
    assert put(store, bar(price="11", source="unranked", as_of=NOW), first=1) == Counts(older=1)
    assert put(store, bar(price="12", source="bridge", as_of=NOW), first=2) == Counts(older=1)
    assert current(database) == [(10, "provisional")]


def test_each_version_is_a_revision_once_with_its_first_arrival(store: BarStore, database: Database) -> None:
    versions = [bar(price=str(10 + n), as_of=AS_OF + n * SECOND) for n in range(3)]
    order = [1, 0, 1, 2, 1, 0, 0, 2]
    for offset, number in enumerate(order):
        put(store, versions[number], first=offset, time=NOW + offset * SECOND)
    assert current(database) == [(12, "settled")]
    seen = {int(row.close): (row.kafka_offset, row.known_from) for row in database.rows(schema.bar_revisions)}
    assert seen == {10: (1, (NOW + SECOND).replace(tzinfo=None)), 11: (0, NOW.replace(tzinfo=None))}
    (kept,) = database.rows(schema.bars)
    assert (kept.kafka_offset, kept.known_from) == (3, (NOW + 3 * SECOND).replace(tzinfo=None))


def test_versions_within_one_batch_end_like_batches_of_one(store: BarStore, database: Database) -> None:
    versions = [bar(price=str(10 + n % 3), as_of=AS_OF + (n % 3) * SECOND) for n in (1, 0, 2, 1, 0, 2)]
    assert put(store, *versions) == Counts(new=1, changed=1, same=1, older=3)
    assert current(database) == [(12, "settled")]
    assert database.count(schema.bar_revisions) == 2


def test_the_same_values_with_trailing_zeros_are_the_same(store: BarStore, database: Database) -> None:
    put(store, bar(open="10", volume=Decimal("1E+3")))
    assert put(store, bar(open="10.0000", volume=Decimal("1000.0")), first=1) == Counts(same=1)
    assert database.count(schema.bar_revisions) == 0


def test_corporate_actions_have_versions_too(store: BarStore, database: Database) -> None:
    def put_action(offset: int, **changes: Any) -> Counts:
        return put(store, action(**changes), first=offset, stream=ACTIONS_STREAM)

    assert put_action(0) == Counts(new=1)
    assert put_action(1) == Counts(same=1)
    assert put_action(2, factor=Decimal("0.25"), as_of=AS_OF + SECOND) == Counts(changed=1)
    assert put_action(3, factor=Decimal("0.75"), as_of=AS_OF - SECOND) == Counts(older=1)
    assert put_action(4, kind=ActionKind.DIVIDEND, factor=Decimal("0.9876543219")) == Counts(new=1)
    assert [row.factor for row in database.rows(schema.corporate_actions)] == [Decimal("0.25"), Decimal("0.9876543219")]
    assert sorted(row.factor for row in database.rows(schema.corporate_action_revisions)) == [
        Decimal("0.5"), Decimal("0.75"),
    ]  # fmt: skip


# any order of arrival


def a_history() -> list[Bar | CorporateAction]:
    """Facts of four instruments: several versions of each key, descriptions that disagree, repeats."""
    facts: list[Bar | CorporateAction] = []
    for symbol, kind in (("AAPL", AssetClass.STOCK), ("BTC", AssetClass.CRYPTO), ("SPX", AssetClass.INDEX)):
        for day in range(4):
            session = SESSION + dt.timedelta(days=day)
            moment = daily_bar_time(session, "XNYS")
            for version in range(3):
                volume = None if kind is AssetClass.INDEX else Decimal(100 + version)
                made = bar(
                    session, symbol=symbol, asset_class=kind, price=str(10 + version), volume=volume,
                    source=["made", "bridge", "bokeh_sampledata"][version], as_of=moment + version * SECOND,
                )  # fmt: skip
                facts += [made, replace(made, status=Status.PROVISIONAL)]
    moment = AS_OF + 10 * SECOND
    facts += [bar(symbol="AAPL", name="Apple", as_of=moment), bar(symbol="AAPL", name="Apple Inc.", as_of=moment)]
    facts += [bar(symbol="AAPL", sector=" Technology ", currency="USD", as_of=moment - SECOND)]
    facts += [bar(symbol="IBM", sector="technology"), bar(symbol="IBM", sector="Technology", as_of=moment)]
    facts += [bar(symbol="BTC", asset_class=AssetClass.FX, volume=None, source="other"), action(symbol="SPX")]
    facts += [action(), action(factor=Decimal("0.25"), as_of=moment), action(symbol="ONLY")]
    return facts * 2


@pytest.fixture
def loading(database: Database) -> Iterator[sa.Engine]:
    engine = make_engine(database.settings, DatabaseRole.WRITER, local_infile=True)
    yield engine
    engine.dispose()


def test_any_order_of_arrival_leaves_equal_tables(database: Database, loading: sa.Engine) -> None:
    facts = a_history()
    found = []
    for seed in range(6):
        database.empty()
        order = random.Random(seed)
        order.shuffle(facts)
        # by typed literals and by LOAD DATA: one result
        store = BarStore(loading if seed % 2 else database.writer, f"order {seed}", bulk=bool(seed % 2))
        offsets = {BARS_STREAM: 0, ACTIONS_STREAM: 0}
        todo = list(facts)
        while todo:
            size = order.randint(1, 25)
            batch, todo = todo[:size], todo[size:]
            slices = []
            for stream, kind in ((BARS_STREAM, Bar), (ACTIONS_STREAM, CorporateAction)):
                own = [fact for fact in batch if isinstance(fact, kind)]
                if own:
                    slices.append(slice_of(own, offsets[stream], stream=stream, time=NOW + seed * SECOND))
                    offsets[stream] += len(own)
            store.ingest(slices)
        found.append(database.meaning())
        assert_batches_count_their_rows(database)
    assert all(one == found[0] for one in found)
    assert {name: len(rows) for name, rows in found[0].items()} == {
        "instruments": 5,
        "bars": 13,
        "bar_revisions": len({(f.symbol, f.bar_time, repr(replace(f, name=None, sector=None, currency=None)))
                              for f in facts if isinstance(f, Bar)}) - 13,
        "corporate_actions": 3,
        "corporate_action_revisions": 1,
    }  # fmt: skip


# new bars without a look-up


def test_bars_later_than_all_that_is_stored_are_not_looked_up(store: BarStore, database: Database) -> None:
    put(store, *days(3))
    with statements(database.writer) as seen:
        assert put(store, *[bar(SESSION + dt.timedelta(days=n)) for n in range(3, 9)], first=3) == Counts(new=6)
    assert [one.split("`")[0].strip() for one in seen] == ["UPDATE", "INSERT INTO", "INSERT INTO", "INSERT INTO"]
    assert_batches_count_their_rows(database)


def test_a_bar_that_somebody_else_stored_meanwhile_is_looked_up_after_all(store: BarStore, database: Database) -> None:
    put(store, *days(3))
    other = BarStore(database.writer, "other")
    later = [bar(SESSION + dt.timedelta(days=n)) for n in range(3, 6)]
    put(other, later[1], replace(later[2], close=later[2].high, as_of=NOW), partition=1)
    assert put(store, *later, first=3) == Counts(new=1, same=1, older=1)
    assert database.count(schema.bars) == 6
    assert_batches_count_their_rows(database)


def test_late_bars_between_new_ones_are_put_in_their_place(store: BarStore, database: Database) -> None:
    all_days = days(8)
    put(store, all_days[0], all_days[5])
    assert put(store, all_days[6], all_days[2], all_days[7], all_days[5], first=2) == Counts(new=3, same=1)
    assert put(store, all_days[1], all_days[3], first=6) == Counts(new=2)
    assert [row.session_date for row in database.rows(schema.bars)] == [
        SESSION + dt.timedelta(days=n) for n in (0, 1, 2, 3, 5, 6, 7)
    ]
    assert_batches_count_their_rows(database)


def test_two_sources_of_one_series_in_one_batch_are_merged(store: BarStore, database: Database) -> None:
    first, second = days(2)
    better = replace(first, source="bokeh_sampledata", close=first.high)
    assert put(store, first, better, second) == Counts(new=2, changed=1)
    assert [row.close for row in database.rows(schema.bars)] == [12, 11]
    assert [row.close for row in database.rows(schema.bar_revisions)] == [11]
    assert_batches_count_their_rows(database)


def test_slices_that_follow_each_other_are_one_batch(store: BarStore, database: Database) -> None:
    facts = days(6)
    slices = [
        slice_of(facts[:2]),
        slice_of(facts[2:5], 2),
        slice_of(days(1, symbol="MSFT"), 9, 1),
        slice_of(facts[5:], 5),
    ]
    assert store.ingest(slices) == Counts(new=7)
    found = [(b.partition_no, b.first_offset, b.next_offset, b.new) for b in database.rows(schema.ingest_batches)]
    assert found == [(0, 0, 6, 6), (1, 9, 10, 1)]
    with pytest.raises(IntegrityError, match="does not follow"):
        store.ingest([slice_of(facts[:1], 6), slice_of(facts[:1], 8)])


def test_what_must_be_true_together_is_written_together_or_not_at_all(store: BarStore, database: Database) -> None:
    def alert(connection: sa.Connection) -> None:
        put_alert(connection, "key", "info", "subject", "body")

    def fail(connection: sa.Connection) -> None:
        alert(connection)
        raise IntegrityError("refused")

    with pytest.raises(IntegrityError, match="refused"):
        store.ingest([slice_of(days(2))], within=fail)
    assert database.count(schema.bars) == database.count(schema.alert_outbox) == 0
    store.ingest([slice_of(days(2))], within=alert)
    assert (database.count(schema.bars), database.count(schema.alert_outbox)) == (2, 1)
