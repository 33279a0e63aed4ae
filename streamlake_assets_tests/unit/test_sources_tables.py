import csv
import datetime as dt
import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import decode_bar, encode_bar
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, Instrument, Interval
from streamlake_assets.sources.adjusted import actions_of
from streamlake_assets.sources.file_report import validate_file
from streamlake_assets.sources.mapping import ColumnMapping, column_overrides
from streamlake_assets.sources.rejects import Reject, RejectsFile
from streamlake_assets.sources.tables import read_bars, read_table

NOW = dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC)
HEADER = "Date,Open,High,Low,Close,Volume"
GOOD = "2013-03-01,10.5,11.25,10.00,11,1000"
DAILY = ColumnMapping(
    time="Date", open="Open", high="High", low="Low", close="Close", volume="Volume", symbol="AAA", exchange="XNYS"
)
MINUTES = replace(DAILY, interval=Interval.M5)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, mapping: ColumnMapping = DAILY, **options: Any) -> tuple[list[Bar], list[Reject]]:
    rejects: list[Reject] = []
    bars = list(read_bars(path, mapping, now=lambda: NOW, on_reject=rejects.append, **options))
    return bars, rejects


def test_row_becomes_a_settled_bar_with_exact_prices(tmp_path: Path) -> None:
    (bar,), rejects = read(write(tmp_path / "a.csv", HEADER, GOOD))
    assert not rejects
    assert (str(bar.open), str(bar.high), str(bar.low), str(bar.close)) == ("10.5", "11.25", "10.00", "11")
    assert bar.volume == 1000
    assert bar.bar_time == dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)
    assert bar.as_of == bar.bar_time
    assert bar.event_time == NOW
    assert bar.instrument == Instrument("AAA", "XNYS")


def test_intraday_times_without_an_offset_are_those_of_the_exchange(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEADER, GOOD.replace("2013-03-01", "2013-07-01 09:30"))
    (bar,), _ = read(path, MINUTES)
    assert bar.bar_time == dt.datetime(2013, 7, 1, 13, 30, tzinfo=dt.UTC)
    (bar,), _ = read(path, replace(MINUTES, zone="UTC"))
    assert bar.bar_time == dt.datetime(2013, 7, 1, 9, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2013-03-04,x,11,10,11,5", "bad_price"),
        ("2013-03-04,nan,11,10,11,5", "bad_price"),
        ("2013-03-04,10,11,10,-11,5", "bad_price"),
        ("2013-03-04,10.1234567890123456,11,10,11,5", "bad_price"),
        ("2013-03-04,10,9,10,11,5", "price_order"),
        ("2013-03-04,,11,10,11,5", "missing_value"),
        ("2013-03-04,10,11,10,11,-5", "bad_volume"),
        ("2013-03-04,10,11,10,11,many", "bad_volume"),
        ("04/03/2013,10,11,10,11,5", "bad_time"),
        (",10,11,10,11,5", "missing_value"),
        ("2013-03-04,10,11,10,11", "bad_row"),
        ("2013-03-04,10,11,10,11,5,6", "bad_row"),
        ('2013-03-04,"10,11,10,11,5', "bad_row"),
        ("", "blank_line"),
        (GOOD, "duplicate_key"),
    ],
)
def test_bad_row_is_rejected_with_its_line_and_the_others_go_on(tmp_path: Path, row: str, reason: str) -> None:
    bars, rejects = read(write(tmp_path / "a.csv", HEADER, GOOD, row, GOOD.replace("03-01", "03-05")))
    assert [bar.bar_time.day for bar in bars] == [1, 5]
    assert [(reject.line, reject.reason, reject.raw) for reject in rejects] == [(3, reason, row)]


@pytest.mark.parametrize("row", ["2013-03-04,10,9,10,11,5", "", "2013-03-04,10"])
def test_strict_stops_at_the_first_bad_row_and_names_it(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "a.csv", HEADER, GOOD, row, GOOD)
    with pytest.raises(UsageError, match=r"a\.csv, line 3: (price_order|blank_line|bad_row)"):
        read(path, strict=True)


def test_local_times_that_are_not_one_moment_are_rejected(tmp_path: Path) -> None:
    skipped, twice = (GOOD.replace("2013-03-01", day) for day in ("2013-03-10T02:30", "2013-11-03T01:30"))
    bars, rejects = read(write(tmp_path / "a.csv", HEADER, skipped, twice), MINUTES)
    assert not bars
    assert [reject.reason for reject in rejects] == ["nonexistent_time", "ambiguous_time"]


def test_blank_lines_at_the_end_are_no_fault(tmp_path: Path) -> None:
    bars, rejects = read(write(tmp_path / "a.csv", HEADER, GOOD, "", "  ", ""))
    assert (len(bars), rejects) == (1, [])


def test_undecodable_bytes_spoil_their_own_row_only(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"{HEADER}\n2013-03-04,1\xff,2,1,1,1\n{GOOD}\n".encode("latin-1"))
    bars, rejects = read(path)
    assert len(bars) == 1
    assert [reject.reason for reject in rejects] == ["bad_encoding"]


def test_line_of_a_duplicate_names_the_first_in_any_order_of_the_file(tmp_path: Path) -> None:
    days = ["05", "04", "01", "03", "04", "03", "06", "01"]
    path = write(tmp_path / "a.csv", HEADER, *(GOOD.replace("03-01", f"03-{day}") for day in days))
    bars, rejects = read(path)
    assert [bar.bar_time.day for bar in bars] == [5, 4, 1, 3, 6]
    assert [(reject.line, int(reject.detail.split()[-1])) for reject in rejects] == [(6, 3), (7, 5), (9, 4)]


@given(st.lists(st.integers(1, 28)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_each_key_is_taken_exactly_once(tmp_path: Path, days: list[int]) -> None:
    path = write(tmp_path / "a.csv", HEADER, *(GOOD.replace("03-01", f"03-{day:02}") for day in days))
    bars, rejects = read(path)
    assert [bar.bar_time.day for bar in bars] == list(dict.fromkeys(days))
    assert len(bars) + len(rejects) == len(days)


def test_same_time_of_two_symbols_is_no_duplicate(tmp_path: Path) -> None:
    mapping = replace(DAILY, symbol=None, symbol_column="Ticker")
    path = write(tmp_path / "a.csv", f"Ticker,{HEADER}", f"AAA,{GOOD}", f"BBB,{GOOD}", f"bbb,{GOOD}", f",{GOOD}")
    bars, rejects = read(path, mapping)
    assert [bar.symbol for bar in bars] == ["AAA", "BBB"]
    assert [reject.reason for reject in rejects] == ["bad_symbol", "missing_value"]


def test_enrichment_comes_from_columns_or_constants(tmp_path: Path) -> None:
    mapping = replace(DAILY, name_column="Name", name="unnamed", currency_column="Money", sector="Tools")
    path = write(
        tmp_path / "a.csv", f"{HEADER},Name,Money", f"{GOOD},Triple A,USD", f"{GOOD.replace('03-01', '03-04')},,usd"
    )
    (bar,), (reject,) = read(path, mapping)
    assert (bar.name, bar.currency, bar.sector) == ("Triple A", "USD", "Tools")
    assert reject.reason == "bad_field"


def test_adjusted_close_is_handed_on_beside_the_bar(tmp_path: Path) -> None:
    mapping = replace(DAILY, adjusted_close="Adj Close")
    path = write(tmp_path / "a.csv", f"{HEADER},Adj Close", f"{GOOD},5.5", f"{GOOD.replace('03-01', '03-04')},")
    rejects: list[Reject] = []
    rows = list(read_table(path, mapping, now=lambda: NOW, on_reject=rejects.append))
    assert not rejects
    assert [row.adjusted_close for row in rows] == [Decimal("5.5"), None]


def test_actions_of_a_table_come_from_its_adjusted_closes_whatever_their_order(tmp_path: Path) -> None:
    mapping = replace(DAILY, adjusted_close="Adj Close", symbol=None, symbol_column="Ticker")
    prices = [("03", "40", "20"), ("01", "41", "10.25"), ("02", "42", "10.5"), ("04", "10", ""), ("05", "9", "0.00")]
    lines = [f"2013-03-{day},{p},{p},{p},{p},1,{adjusted},AAA" for day, p, adjusted in prices]
    path = write(tmp_path / "a.csv", f"{HEADER},Adj Close,Ticker", *lines, f"{GOOD},11,BBB")
    rejects: list[Reject] = []
    rows = read_table(path, mapping, now=lambda: NOW, on_reject=rejects.append)
    (action,) = actions_of(rows, source="made")
    assert not rejects
    assert (action.symbol, action.kind, action.factor) == ("AAA", ActionKind.SPLIT, Decimal("0.5"))
    assert action.ex_date == dt.date(2013, 3, 3)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_the_one_of_the_header(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", HEADER.replace(",", delimiter), GOOD.replace(",", delimiter))
    assert len(read(path)[0]) == 1


@pytest.mark.parametrize(
    "store",
    [
        lambda folder, text: (folder / "a.csv.gz").write_bytes(gzip.compress(text.encode())),
        lambda folder, text: (folder / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode()),
        lambda folder, text: (folder / "a.csv").write_bytes(text.replace("\n", "\r\n").encode()),
    ],
    ids=["gzip", "byte order mark", "carriage returns"],
)
def test_usual_disguises_of_a_csv_file_are_read(tmp_path: Path, store: Callable[[Path, str], int]) -> None:
    store(tmp_path, f"{HEADER}\n{GOOD}\n")
    (path,) = tmp_path.iterdir()
    bars, rejects = read(path)
    assert (len(bars), rejects) == (1, [])


def test_missing_column_is_named_with_those_found_and_the_way_to_map_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Date,Open,High,Low,Last,Volume", GOOD)
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    assert "'Close'" in message
    assert "Date, Open, High, Low, Last, Volume" in message
    assert "--column close=NAME" in message


def test_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 times"):
        read(write(tmp_path / "a.csv", f"{HEADER},Close", f"{GOOD},12"))


def test_damaged_or_unknown_files_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode())[:-12])
    (tmp_path / "not.csv.gz").write_bytes(b"plain text")
    (tmp_path / "not.parquet").write_bytes(b"plain text")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "empty.csv").write_bytes(b"")
    for name in ("cut.csv.gz", "not.csv.gz", "not.parquet", "a.xlsx", "empty.csv", "missing.csv", "."):
        with pytest.raises(UsageError):
            read(tmp_path / name)


def test_error_of_whoever_takes_the_rejects_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    def full_disk(reject: Reject) -> None:
        raise OSError("no space left")

    path = write(tmp_path / "a.csv", HEADER, "x")
    with pytest.raises(OSError, match="no space left"):
        list(read_bars(path, DAILY, now=lambda: NOW, on_reject=full_disk))


def test_parquet_rows_keep_exact_values_and_times(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = [dt.datetime(2013, 7, 1, 9, 30), dt.datetime(2013, 7, 1, 9, 35), dt.datetime(2013, 7, 1, 9, 40)]  # noqa: DTZ001
    table = pa.table(
        {
            "Date": pa.array(times, pa.timestamp("ns")),
            "Open": pa.array([10.1, 10.2, 10.3]),
            "High": pa.array([100.1, 100.2, 1.0], pa.float32()),
            "Low": pa.array([Decimal("1.2300"), Decimal("1.25"), Decimal("1.25")], pa.decimal128(12, 4)),
            "Close": pa.array([10, 11, 12], pa.int32()),
            "Volume": pa.array([5.5, None, 7.0]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    bars, rejects = read(tmp_path / "a.parquet", MINUTES)
    assert [bar.bar_time.minute for bar in bars] == [30, 35]
    assert bars[0].bar_time.hour == 13
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close) == (
        Decimal("10.1"),
        Decimal("100.1"),
        Decimal("1.23"),
        Decimal(10),
    )
    assert [bar.volume for bar in bars] == [Decimal("5.5"), None]
    assert [(reject.line, reject.reason) for reject in rejects] == [(3, "price_order")]


def test_parquet_dates_and_aware_times_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    prices = {name: [10.0] for name in ("Open", "High", "Low", "Close")} | {"Volume": [1]}
    midnight = dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)
    for cells in (
        pa.array([dt.date(2013, 3, 1)]),
        pa.array([midnight], pa.timestamp("us", tz="America/New_York")),
        pa.array(["2013-03-01"]).dictionary_encode(),
    ):
        pq.write_table(pa.table({"Date": cells, **prices}), tmp_path / "a.parquet")
        (bar,), _ = read(tmp_path / "a.parquet")
        assert bar.bar_time == midnight


def test_rejects_file_lists_the_rows_and_is_not_made_without_any(tmp_path: Path) -> None:
    path, bad = tmp_path / "out" / "rejects.csv", '2013-03-04,"x",11,10,11,5'
    source = write(tmp_path / "a.csv", HEADER, GOOD, bad)
    with RejectsFile(path, source) as rejects:
        list(read_bars(source, DAILY, now=lambda: NOW, on_reject=rejects.write))
    with path.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert rejects.count == 1
    assert rejects.reasons == {"bad_price": 1}
    assert (row["line"], row["reason"], row["raw"]) == ("3", "bad_price", bad)
    with RejectsFile(path, source) as none:
        pass
    assert none.count == 0
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.csv", "link.csv", "twin.csv", "notes.txt", "empty.csv", "folder"])
def test_rejects_never_overwrite_the_input_or_another_file(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "line,reason,detail,raw", GOOD)
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "twin.csv").hardlink_to(source)
    write(tmp_path / "notes.txt", "line,reason,details of my thesis")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir()) if path.is_file()]
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / name))), RejectsFile(tmp_path / name, source):
        pass
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir()) if path.is_file()] == before


def test_all_rows_of_a_corrected_file_are_stated_at_the_given_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEADER, GOOD, GOOD.replace("03-01", "03-04"))
    rows = list(read_table(path, DAILY, now=lambda: NOW, on_reject=lambda _: None, as_of=NOW))
    assert [row.bar.as_of for row in rows] == [NOW, NOW]


def test_dry_run_counts_what_a_replay_would_do(tmp_path: Path) -> None:
    rows = [GOOD, GOOD, "x,1,1,1,1,1", GOOD.replace("03-01", "02-01"), GOOD]
    report = validate_file(write(tmp_path / "a.csv", HEADER, *rows), DAILY, examples=2)
    assert (report.rows, report.good, report.rejected) == (5, 2, 3)
    assert report.rejects_by_reason == {"duplicate_key": 2, "bad_time": 1}
    assert report.instruments == (Instrument("AAA", "XNYS"),)
    assert report.first_bar_time == dt.datetime(2013, 2, 1, 5, tzinfo=dt.UTC)
    assert report.last_bar_time == dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)
    assert [reject.line for reject in report.first_rejects] == [3, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": None},
        {"symbol_column": "Ticker"},
        {"symbol": "aapl"},
        {"zone": "Mars/Olympus"},
        {"exchange": "NYSE!"},
        {"source": "My File"},
        {"currency": "usd"},
        {"asset_class": AssetClass.INDEX},
        {"encoding": "latin-99"},
        {"delimiter": "::"},
    ],
)
def test_mapping_that_cannot_work_is_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(DAILY, **change)


def test_column_options_become_overrides() -> None:
    assert column_overrides(["close=Last Price", "symbol=Kürzel"]) == {"close": "Last Price", "symbol_column": "Kürzel"}
    for bad in ("close", "close=", "price=Last"):
        with pytest.raises(UsageError, match="FIELD=NAME"):
            column_overrides([bad])


CELL = st.one_of(
    st.sampled_from(["10", "10.5", "0.00000001", "-1", "1e3", "", "nan", "9999999999", "x", '"', "\ufffd", "A" * 200]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8),
)


@given(st.lists(st.lists(CELL, min_size=8, max_size=8), max_size=6), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_every_bar_that_is_taken_passes_the_wire_contract(tmp_path: Path, rows: list[list[str]], dated: bool) -> None:
    mapping = replace(DAILY, symbol=None, symbol_column="Ticker", name_column="Name")
    lines = [",".join(["2013-03-01" if dated else row[0], *row[1:]]) for row in rows]
    bars, rejects = read(write(tmp_path / "a.csv", f"{HEADER},Ticker,Name", *lines), mapping)
    assert len(bars) + len(rejects) == len(rows)
    for bar in bars:
        decoded = decode_bar(encode_bar(bar, NOW), bar.symbol.encode(), NOW)
        assert decoded == bar
