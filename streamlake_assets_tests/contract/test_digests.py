"""Digests of the raw tables: the same for the same topic whoever wrote and however, another for any other content."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.market.messages import DeadLetter, Slice
from streamlake_assets.market.types import Bar, CorporateAction, Interval, Status
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.digests import VOLATILE, digests, table_digests
from streamlake_assets_tests.bars import ACTIONS_STREAM, BARS_STREAM, NOW, SESSION, action, arrivals, bar
from streamlake_assets_tests.tables import Database

DAY = dt.timedelta(days=1)
TABLES = {name: schema.metadata.tables[name] for name in VOLATILE}
FACTS = ("bars", "bar_revisions", "corporate_actions", "corporate_action_revisions")


def test_every_column_left_out_exists_and_has_a_reason_in_words() -> None:
    assert set(VOLATILE) == {
        *FACTS, "instruments", "exchanges", "sectors", "data_sources", "dead_letters", "stream_offsets"
    }  # fmt: skip
    for name, columns in VOLATILE.items():
        assert columns.keys() <= set(TABLES[name].c.keys())
        assert all(len(reason.split()) > 3 for reason in columns.values()), name


def history() -> list[Bar]:
    """One partition: two exchanges, versions in any order, repeats, descriptions that change."""
    days = [bar(SESSION + n * DAY, symbol=symbol) for n in range(20) for symbol in ("AAPL", "MSFT", "IBM")]
    corrected = [bar(SESSION + n * DAY, symbol="IBM", price="20", as_of=NOW - n * DAY, source="other") for n in (3, 1)]
    early = [bar(SESSION + n * DAY, status=Status.PROVISIONAL, price="5.5") for n in (1, 2)]
    described = [
        bar(SESSION + n * DAY, symbol="SAP", exchange="XETR", sector=sector, name=f"SAP, {n}", currency="EUR")
        for n, sector in enumerate(("Software", "Services", "Software, Services"))
    ]
    minute = bar(
        interval=Interval.M1, bar_time=NOW, volume=None, vwap=Decimal("1.25"), trades=7, symbol="MSFT", synthetic=True
    )
    return [*early, *days, *corrected, *described, minute, *days[::7], *corrected]


def ingest(
    database: Database, facts: Sequence[Bar | CorporateAction], cuts: Sequence[int], consumers: str = "a", **where: Any
) -> None:
    """Store messages of one partition in slices that end at the cuts; the last is a dead letter."""
    stream = where.get("stream", BARS_STREAM)
    ends = sorted({*cuts, len(facts)})
    for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
        store = BarStore(database.writer, consumers[number % len(consumers)])
        part = [
            one._replace(broker_time=NOW + one.offset * dt.timedelta(seconds=1))
            for one in arrivals(facts[first:end], first)
        ]
        is_last = end == len(facts)
        dead = [DeadLetter(end, NOW, "bad_json", "detail", b"K", b"{")] if is_last else []
        store.ingest([Slice(stream, 0, first, end + is_last, part, dead)])


def fill(database: Database, cuts: Sequence[int] = (), consumers: str = "a") -> None:
    actions = [action(), action(factor=Decimal("0.25"), as_of=NOW), action(ex_date=SESSION + DAY), action()]
    ingest(database, history(), cuts, consumers)
    ingest(database, actions, [cut for cut in cuts if cut < len(actions)], consumers, stream=ACTIONS_STREAM)


def read(database: Database) -> dict[str, str]:
    with snapshot(database.writer) as connection:
        return table_digests(connection)


@pytest.mark.servers
def test_digests_do_not_depend_on_batches_consumers_or_ids(database: Database) -> None:
    fill(database)
    with snapshot(database.writer) as connection:
        rows = {name: found.rows for name, found in digests(connection).items()}
    assert all(rows.values()), rows
    assert rows["bars"] == database.count(schema.bars)
    wanted = read(database)
    for cuts in (range(1, 60, 2), (2, 3, 50)):
        database.empty()
        with database.admin.begin() as connection:
            # other ids: names that the topic brings later are here first
            connection.execute(sa.insert(schema.exchanges).values(mic="XETR", zone="Europe/Berlin"))
        fill(database, cuts, "bc")
        assert read(database) == wanted


@pytest.mark.servers
def test_digests_are_the_same_on_every_server(database: Database) -> None:
    fill(database)
    found = {name: digest[:16] for name, digest in read(database).items()}
    assert (found["instruments"], found["bars"], found["corporate_actions"]) == (
        "ec8fb1fca668bf67", "0274f1104a451b4e", "2672a5184dde37f9"
    )  # fmt: skip


@pytest.mark.servers
def test_any_other_value_is_another_digest_of_that_table_alone(database: Database) -> None:
    fill(database)
    wanted = read(database)
    different = {
        "kind": sa.literal("dividend"), "mic": sa.literal("XXXX"), "version_hash": sa.literal(bytes(16)),
        "status": sa.case((sa.column("status") == "settled", "provisional"), else_="settled"),
        "synthetic": sa.not_(sa.column("synthetic")),
    }  # fmt: skip
    with database.admin.connect() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks=0")
        if connection.dialect.is_mariadb:
            connection.exec_driver_sql("SET SESSION check_constraint_checks=0")
        connection.commit()
        for table, column in [
            (covered, column)
            for name, covered in TABLES.items()
            for column in covered.columns
            # revisions have the columns of the versions in force
            if column.name not in VOLATILE[name] and ("revisions" not in name or column.name == "known_from")
        ]:
            if column.name in different:
                value: Any = different[column.name]
            elif isinstance(column.type, sa.String | sa.types._Binary):
                value = sa.func.concat(sa.func.coalesce(column, ""), "Z")
            elif isinstance(column.type, sa.Date | sa.DateTime):
                value = sa.func.date_add(sa.func.coalesce(column, "2000-01-01"), sa.text("INTERVAL 900 DAY"))
            else:
                value = sa.func.coalesce(column, 0) + 1
            row = connection.execute(sa.select(table).order_by(*table.primary_key.columns).limit(1)).one()
            here = [c == row._mapping[c.name] for c in table.primary_key.columns]
            try:
                connection.execute(sa.update(table).where(*here).values({column.name: value}))
            except sa.exc.OperationalError:
                # MySQL's constraints cannot be switched off: a price that breaks its order changes with the others
                connection.execute(sa.update(table).where(*here).values(open=9999, high=9999, low=9999, close=9999))
            found = table_digests(connection)
            connection.rollback()
            changed = {n for n in wanted if found[n] != wanted[n]}
            # names stand in other tables' rows too
            is_name = table.name in ("exchanges", "data_sources", "instruments", "sectors")
            assert changed >= {table.name} if is_name else changed == {table.name}, str(column)
        connection.invalidate()
    assert read(database) == wanted


@pytest.mark.servers
@pytest.mark.parametrize("name", [*FACTS, "dead_letters", "stream_offsets"])
def test_a_row_that_is_missing_is_another_digest(database: Database, name: str) -> None:
    fill(database)
    wanted = read(database)
    table = TABLES[name]
    with database.admin.begin() as connection:
        row = connection.execute(sa.select(table).order_by(*[c.desc() for c in table.primary_key.columns])).first()
        assert row is not None
        connection.execute(sa.delete(table).where(*[c == row._mapping[c.name] for c in table.primary_key.columns]))
    found = read(database)
    assert {n for n in wanted if found[n] != wanted[n]} == {name}


@pytest.mark.servers
def test_no_value_and_an_empty_one_and_a_separator_are_told_apart(database: Database) -> None:
    fill(database)
    seen = set()
    i = schema.instruments
    for values in ({"name": None, "currency": "A"}, {"name": "A", "currency": None}, {"name": "", "currency": "A"},
                   {"name": "NULL", "currency": "A"}, {"name": "A,'", "currency": ""}):  # fmt: skip
        with database.admin.connect() as connection:
            connection.execute(sa.update(i).values(**values))
            seen.add(table_digests(connection)["instruments"])
            connection.rollback()
    assert len(seen) == 5
