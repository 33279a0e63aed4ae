"""How far each market is stored, read from the tables, and the refresh that follows from it."""

import datetime as dt

import pytest

from streamlake_assets.flows.daily_refresh import plan_daily_refresh
from streamlake_assets.market.refresh_plan import RefreshRun, RunState
from streamlake_assets.market.types import AssetClass, Interval, Status
from streamlake_assets.stores import bar_reader
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.bars import OPENS, SESSION, bar, slice_of
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
STOCK, CRYPTO = AssetClass.STOCK, AssetClass.CRYPTO
COIN = {"symbol": "BTC", "exchange": "XXXX", "asset_class": CRYPTO}
DAY = dt.timedelta(days=1)


def fill(database: Database) -> None:
    store = BarStore(database.writer, "test")
    bars = [
        bar(SESSION),
        bar(SESSION - DAY * 3),
        bar(SESSION + DAY, status=Status.PROVISIONAL),
        bar(SESSION - DAY * 3, symbol="MSFT"),
        bar(SESSION, symbol="VOD", exchange="XLON"),
        bar(SESSION - DAY, **COIN),
        # no daily bar yet: it has no session
        bar(SESSION, symbol="ETH", exchange="XXXX", asset_class=CRYPTO, interval=Interval.M5, bar_time=OPENS),
    ]
    store.ingest([slice_of(bars)])
    store.close()


def test_market_time_is_known_of_each_exchange_and_of_crypto(database: Database) -> None:
    with bar_reader.snapshot(database.writer) as connection:
        assert bar_reader.market_sessions(connection) == []
    fill(database)
    with bar_reader.snapshot(database.writer) as connection:
        found = bar_reader.market_sessions(connection)
        assert bar_reader.market_session(connection) == SESSION
    assert found == [("XLON", STOCK, SESSION), ("XNYS", STOCK, SESSION), ("XXXX", CRYPTO, SESSION - DAY)]


def test_the_refresh_is_for_what_the_tables_hold(database: Database) -> None:
    now = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    settings = database.settings
    assert plan_daily_refresh(database.writer, settings, [], now).reason == "no settled session is stored yet"
    fill(database)
    found = plan_daily_refresh(database.writer, settings, [], now)
    assert found.run_key == f"XLON {SESSION}, XNYS {SESSION}, crypto {SESSION - DAY}"
    again = plan_daily_refresh(database.writer, settings, [RefreshRun(found.name, RunState.DONE)], now)
    assert again.run_key is None
    assert f"XNYS: already refreshed to {SESSION}; no new data since" in again.reason
