import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.types import AssetClass, Bar, Interval
from streamlake_assets.sources.guess import guess_mapping
from streamlake_assets.sources.mapping import column_overrides
from streamlake_assets.sources.rejects import Reject
from streamlake_assets.sources.tables import read_bars

PRICES = "10,12,9,11"


def no_reject(reject: Reject) -> None:
    pytest.fail(str(reject))


def write(tmp_path: Path, header: str, *rows: str) -> Path:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def bars_of(path: Path, **overrides: Any) -> list[Bar]:
    mapping = guess_mapping(path, overrides)
    return list(read_bars(path, mapping, now=lambda: dt.datetime(2024, 1, 1, tzinfo=dt.UTC), on_reject=no_reject))


def test_usual_daily_file_needs_only_its_symbol(tmp_path: Path) -> None:
    path = write(tmp_path, "Date,Open,High,Low,Close,Adj Close,Volume", f"2013-03-01,{PRICES},5.5,100")
    (bar,) = bars_of(path, symbol="AAPL", interval="1d", zone="America/New_York", exchange="XNYS")
    assert bar.bar_time == dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)
    assert bar.volume == 100
    assert guess_mapping(path, {"symbol": "AAPL"}).adjusted_close == "Adj Close"


@pytest.mark.parametrize(
    "header", ["TIMESTAMP,OPEN,HIGH,LOW,CLOSE,TICKER", "datetime;open;high;low;close;Symbol", "Bar_Time,o,h,l,c,symbol"]
)
def test_names_are_recognised_whatever_their_case(tmp_path: Path, header: str) -> None:
    row = f"2013-03-01,{PRICES},AAA".replace(",", ";" if ";" in header else ",")
    (bar,) = bars_of(write(tmp_path, header, row))
    assert (bar.symbol, bar.interval, bar.volume) == ("AAA", Interval.D1, None)


def test_date_beside_time_is_a_date_with_its_time_of_day(tmp_path: Path) -> None:
    path = write(tmp_path, "Date,Time,Open,High,Low,Close,Symbol", f"2013-07-01,09:30,{PRICES},AAA")
    (bar,) = bars_of(path, interval="5m", exchange="XNYS")
    assert bar.bar_time == dt.datetime(2013, 7, 1, 13, 30, tzinfo=dt.UTC)


def test_user_may_name_columns_himself(tmp_path: Path) -> None:
    path = write(tmp_path, "Tag,Open,High,Low,Last,Close,Kürzel", f"01.03.2013,{PRICES},99,AAA")
    overrides = column_overrides(["time=Tag", "close=Last", "symbol=Kürzel"])
    (bar,) = bars_of(path, date_format="%d.%m.%Y", **overrides)
    assert bar.close == 11


def test_index_bars_leave_their_column_of_zero_volumes(tmp_path: Path) -> None:
    path = write(tmp_path, "Date,Open,High,Low,Close,Volume", f"2013-03-01,{PRICES},0")
    (bar,) = bars_of(path, symbol="GSPC", asset_class="index")
    assert bar.asset_class is AssetClass.INDEX
    assert bar.volume is None


@pytest.mark.parametrize(
    ("header", "overrides", "message"),
    [
        (
            "Date,Open,High,Low,Last",
            {"symbol": "AAA"},
            "no column for close: the columns are Date, Open, High, Low",
        ),
        ("Date,Open,High,Low,Close", {}, "--symbol"),
        ("Date,Timestamp,Open,High,Low,Close", {"symbol": "AAA"}, "could each be the time: choose with --column time="),
        ("Date,Open,High,Low,Close,close", {"symbol": "AAA"}, "could each be the close"),
        ("Ticker,Open,High,Low,Close,Date", {"symbol": "AAA"}, "has a symbol column 'Ticker'"),
        ("Date,Open,High,Low,Close", {"symbol": "AAA", "close": "Last"}, "no column 'Last' for close"),
        ("Date,Open,High,Low,Close", {"symbol": "AAA", "interval": "7m"}, "one of 1m, 5m"),
        ("Date,Open,High,Low,Close", {"symbol": "AAA", "colour": "red"}, "no 'colour'"),
        ("Date,Time,Open,High,Low,Close", {"symbol": "AAA"}, "--interval"),
        ("x,Date,Open,High,Low,Close", {"symbol": "AAA"}, "--interval"),
    ],
)
def test_impossible_guess_says_what_to_do(tmp_path: Path, header: str, overrides: dict[str, Any], message: str) -> None:
    row = ",".join(["2013-03-01", "09:30", *["10"] * 4][: header.count(",") + 1])
    with pytest.raises(UsageError) as caught:
        guess_mapping(write(tmp_path, header, row), overrides)
    assert message in str(caught.value)


def test_interval_of_a_file_without_rows_must_be_said(tmp_path: Path) -> None:
    path = write(tmp_path, "Date,Open,High,Low,Close")
    with pytest.raises(UsageError, match="--interval"):
        guess_mapping(path, {"symbol": "AAA"})
    assert guess_mapping(path, {"symbol": "AAA", "interval": "1m"}).interval is Interval.M1


def test_intraday_interval_is_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path, "Date,Open,High,Low,Close", f"2013-03-01 09:30,{PRICES}")
    with pytest.raises(UsageError, match="--interval"):
        guess_mapping(path, {"symbol": "AAA"})
