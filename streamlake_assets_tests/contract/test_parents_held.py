"""Many new bars go in with their foreign keys not checked, because what they point to is held until the end."""

import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.messages import Counts
from streamlake_assets.market.types import Bar
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import MANY_ROWS, BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.bars import SESSION, bar, slice_of
from streamlake_assets_tests.tables import Database, statements

pytestmark = pytest.mark.servers
HINT = "SET_VAR(foreign_key_checks=OFF)"
LOCK_TIMEOUT, PARENT_MISSING = 1205, 1452


def days(number: int) -> list[Bar]:
    return [bar(SESSION + dt.timedelta(days=n)) for n in range(number)]


def put(store: BarStore, facts: list[Bar], first: int = 0) -> Counts:
    return store.ingest([slice_of(facts, first)])


@pytest.mark.parametrize("bulk", [False, True], ids=["literals", "LOAD DATA"])
def test_only_many_new_bars_go_in_unchecked(database: Database, bulk: bool) -> None:
    engine = make_engine(database.settings, DatabaseRole.WRITER, local_infile=True)
    store = BarStore(engine, "test", bulk=bulk)
    facts = days(2 * MANY_ROWS)
    try:
        with statements(engine) as few:
            put(store, facts[: MANY_ROWS - 1])
        with statements(engine) as many:
            put(store, facts[MANY_ROWS - 1 :], MANY_ROWS - 1)
        with statements(engine) as again:
            assert put(store, facts, len(facts)) == Counts(same=len(facts))
    finally:
        store.close()
        engine.dispose()
    assert not [one for one in few if HINT in one]
    # the bars and their touches
    assert len([one for one in many if HINT in one]) == 2
    assert not [one for one in again if HINT in one], "what is known is looked up, and checked"


def test_until_the_end_nobody_deletes_what_the_bars_point_to(database: Database) -> None:
    tried: list[int] = []

    def delete(point: str) -> None:
        if point != "rows" or tried:
            return
        for table in (schema.instruments, schema.data_sources, schema.bar_intervals):
            with database.admin.connect() as connection, pytest.raises(DBAPIError) as refused:
                connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout=1")
                # even who switches the keys off must wait
                connection.exec_driver_sql("SET SESSION foreign_key_checks=0")
                connection.execute(sa.delete(table))
            tried.append(refused.value.orig.args[0])  # type: ignore[union-attr]

    put(BarStore(database.writer, "test", at=delete), days(MANY_ROWS))
    assert tried == [LOCK_TIMEOUT] * 3
    assert database.count(schema.bars) == MANY_ROWS


def test_a_parent_that_is_gone_is_found_and_nothing_is_stored(database: Database) -> None:
    store = BarStore(database.writer, "test")
    put(store, days(1))
    with database.admin.begin() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks=0")
        connection.execute(sa.delete(schema.instruments))
        connection.exec_driver_sql("SET SESSION foreign_key_checks=1")
    facts = days(MANY_ROWS + 1)[1:]
    with pytest.raises(IntegrityError, match=str(PARENT_MISSING)):
        put(store, facts, 1)
    assert database.count(schema.bars) == 1
    # the store has forgotten the id: the next try makes the instrument anew
    assert put(store, facts, 1) == Counts(new=MANY_ROWS)


def test_the_keys_of_the_session_stay_on(database: Database) -> None:
    store = BarStore(database.writer, "test")
    put(store, days(MANY_ROWS))
    assert store._connection is not None
    assert store._connection.exec_driver_sql("SELECT @@foreign_key_checks").scalar_one() == 1
