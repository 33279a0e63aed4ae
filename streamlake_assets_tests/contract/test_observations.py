"""What the raw tables look like from outside, on a real database."""

import datetime as dt

import pytest
import sqlalchemy as sa

from streamlake_assets.flows.observations import alive_if_started, sessions_behind, sessions_stored_twice
from streamlake_assets.market import quality
from streamlake_assets.market.types import AssetClass
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.operations import beat
from streamlake_assets_tests.bars import bar, minutes, slice_of
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
FRIDAY = dt.date(2024, 1, 5)


def put(database: Database, *bars: object) -> None:
    store = BarStore(database.writer, "test")
    store.ingest([slice_of(bars)])  # type: ignore[arg-type]
    store.close()


def test_instruments_are_behind_by_sessions_of_their_own_calendar(database: Database) -> None:
    monday = FRIDAY + dt.timedelta(days=3)
    coin = {"symbol": "BTC", "exchange": "XXXX", "asset_class": AssetClass.CRYPTO}
    put(
        database,
        *(bar(FRIDAY, symbol=symbol) for symbol in ("LATE", "NEW")),
        bar(FRIDAY, **coin),
        bar(monday, symbol="NEW"),
        # minutes say nothing of sessions
        *minutes(2, monday, symbol="LATE"),
    )
    behind = sessions_behind(database.writer)
    assert behind == {"LATE|XNYS": 1, "NEW|XNYS": 0, "BTC|XXXX": 3}
    assert quality.instruments_are_current(behind).passed
    late = quality.instruments_are_current({**behind, "LATE|XNYS": quality.SESSIONS_BEHIND + 1})
    assert not late.passed and "LATE|XNYS by 6" in late.text


def test_a_session_with_daily_bars_of_two_times_is_named(database: Database) -> None:
    one = bar(FRIDAY)
    put(database, one)
    assert sessions_stored_twice(database.writer) == []
    (row,) = database.rows(schema.bars)
    twin = {**row._mapping, "bar_time": row.bar_time + dt.timedelta(hours=1)}
    with database.admin.begin() as connection:
        connection.execute(sa.insert(schema.bars), [twin])
    assert sessions_stored_twice(database.writer) == [f"AAPL {FRIDAY}"]


def test_a_process_is_missed_only_when_it_gave_a_sign_of_life_before(database: Database) -> None:
    now = dt.datetime.now(dt.UTC)
    never = alive_if_started(database.writer, "scorer", now)
    assert never.passed and "never started" in never.text
    beat(database.writer, "scorer", {"lag": 3})
    alive = alive_if_started(database.writer, "scorer", now)
    assert alive.passed and alive.facts["said"] == {"lag": 3}
    silent = alive_if_started(database.writer, "scorer", now + dt.timedelta(seconds=quality.HEARTBEAT_LIMIT_S + 60))
    assert not silent.passed and "last heartbeat" in silent.text
