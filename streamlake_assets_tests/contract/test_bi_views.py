"""What BI tools see: views, Power BI model, dictionary and frame contracts agree, and their numbers are right."""

import csv
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.errors
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from streamlake_assets.catalog.dictionary import described_columns
from streamlake_assets.catalog.frames import frame_contract
from streamlake_assets.catalog.model import Kind, Relationship, Table
from streamlake_assets.catalog.model_reader import SQL_TYPES, read_model, view_problems
from streamlake_assets.catalog.project import DICTIONARY, FOLDER, MODEL
from streamlake_assets.catalog.star import STAR
from streamlake_assets.commands import bi as commands
from streamlake_assets.flows.calendar_sessions import refresh_calendar_sessions
from streamlake_assets.market import measures
from streamlake_assets.market.contract import Reason
from streamlake_assets.market.messages import DeadLetter, Slice
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.session_documents import SessionBar, session_document
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Interval, Status
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.stores import bar_reader, ledger, model_register, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.view_reader import view_columns, view_rows
from streamlake_assets_tests.bars import ACTIONS_STREAM, BARS_STREAM, NOW, bar, minutes, slice_of
from streamlake_assets_tests.ledger_rows import a_score, forecast, model
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
LAST = dt.date(2013, 3, 1)
NEXT = dt.date(2013, 3, 4)
DAY = dt.timedelta(days=1)


class Bi:
    """The database as the user of BI tools sees it; frames are read once and hold to their contract."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.engine = make_engine(database.settings, DatabaseRole.BI)
        self._frames: dict[str, pd.DataFrame] = {}

    def frame(self, view: str) -> pd.DataFrame:
        if view not in self._frames:
            found = view_rows(self.engine, view)
            frame = pd.DataFrame(found.rows, columns=list(found.columns))
            self._frames[view] = frame_contract(STAR.table(view)).validate(frame)
        return self._frames[view]

    def series(self) -> dict[str, SessionSeries]:
        """The real instruments out of the views alone, by symbol."""
        joined = self.frame("bi_session_bars").merge(self.frame("bi_instruments"), on="instrument_id")
        made = {}
        for symbol in SYMBOLS:
            own = joined[joined.symbol == symbol].sort_values("session_date")
            made[symbol] = SessionSeries(
                symbol=symbol,
                exchange="XNYS",
                sessions=np.array([ordinal(day.date()) for day in own.session_date], dtype=np.int64),
                **{name: own[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")},
                factor=own.factor.to_numpy(np.float64),
            )
        return made


@pytest.fixture(scope="module")
def bi(migrated: Database) -> Iterator[Bi]:
    """Real bars of five instruments, coins that trade every day, five-minute bars, forecasts, dead letters."""
    migrated.empty()
    fill(migrated)
    found = Bi(migrated)
    yield found
    found.engine.dispose()


def fill(database: Database) -> None:
    sample = bokeh_sample.load()
    coins = [
        bar(day, symbol="BTC", exchange="XXXX", asset_class=AssetClass.CRYPTO)
        for day in (dt.date(2013, 1, 11), dt.date(2013, 1, 12), dt.date(2013, 1, 14))
    ]
    quick = [
        *minutes(3, symbol="QUICK", synthetic=True),
        *minutes(2, session=dt.date(2013, 1, 15), symbol="QUICK"),
        bar(dt.date(2013, 1, 15), symbol="QUICK", status=Status.PROVISIONAL),
    ]
    # twice: what was said before is repeated, not counted again
    bars = [*sample.bars, *coins, *quick, *coins]
    store = BarStore(database.writer, "test", bulk=False)
    for first in range(0, len(bars), 4_000):
        store.ingest([slice_of(bars[first : first + 4_000], first=first)])
    dead = [
        DeadLetter(len(bars) + n, NOW, reason.value, "made", b"A", b"{}")
        for n, reason in enumerate((Reason.BAD_JSON, Reason.BAD_JSON, Reason.NULL_VALUE))
    ]
    store.ingest([Slice(BARS_STREAM, 0, len(bars), len(bars) + len(dead), [], dead)])
    store.ingest([slice_of(sample.actions, stream=ACTIONS_STREAM)])
    store.close()
    refresh_calendar_sessions(database.writer)
    model_register.register_models(
        database.writer, [model(), model("m2", target=Target.LOG_RANGE.value, has_skill=True)]
    )
    said = {"session": NEXT, "after_session": LAST}
    issued = [
        forecast(exchange="XNAS", **said),
        forecast(symbol="IBM", **said),
        forecast(symbol="MSFT", exchange="XNAS", point=-0.001, **said),
        forecast(
            symbol="IBM", target=Target.LOG_RANGE, model_version="m2", point=0.03, low=0.01, high=0.05, baseline=0.02,
            has_skill=True, **said,
        ),
    ]  # fmt: skip
    ledger.issue(database.writer, issued)
    # two say up, one says down: one of each is right and one says up in vain
    of = [row for row in database.rows(schema.forecasts) if row.target == Target.ADJUSTED_RETURN.value]
    scores = [
        a_score(
            realised=truth,
            error=truth - row.point,
            baseline_error=truth - row.baseline,
            covered=row.low <= truth <= row.high,
            direction_hit=(truth > 0) == (row.point > 0),
        )
        for row, truth in zip(sorted(of, key=lambda row: -row.point), (0.01, -0.02, -0.03), strict=True)
    ]
    ids = [row.id for row in sorted(of, key=lambda row: -row.point)]
    ledger.put_scores(database.writer, zip(ids, scores, strict=True))


def test_views_model_dictionary_and_contracts_agree(bi: Bi) -> None:
    views = view_columns(bi.engine)
    assert four_say(views) == []


def test_the_command_asks_the_server_for_its_views(bi: Bi) -> None:
    found = commands.validate(ROOT, None, bi.database.settings)
    assert found["problems"] == []
    assert found["views"] == {"views": len(STAR.tables), "columns": sum(len(table.columns) for table in STAR.tables)}


def four_say(views: dict[str, dict[str, str]]) -> list[str]:
    """Where one of the four says something else than the views; model and dictionary as they lie in the repository."""
    folder = ROOT / FOLDER / MODEL / "definition"
    model_files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.tmdl")}
    found = list(view_problems(read_model(model_files), views))
    told = described_columns((ROOT / DICTIONARY).read_text())
    if set(told) != set(views):
        found.append(f"the dictionary tells of {sorted(told)}")
    for view, columns in views.items():
        of_page = told.get(view, {})
        if list(of_page) != list(columns):
            found.append(f"the dictionary says {view} has {list(of_page)}")
        found += [
            f"the dictionary says {view}.{name} is {kind}"
            for name, (kind, _) in of_page.items()
            if columns.get(name) not in SQL_TYPES[Kind(kind)]
        ]
        contract = frame_contract(STAR.table(view))
        if list(contract.columns) != list(columns):
            found.append(f"the contract of {view} has {list(contract.columns)}")
    return found


def test_a_column_renamed_in_the_database_is_found_by_all(bi: Bi) -> None:
    with bi.database.admin.begin() as connection:
        definition = connection.exec_driver_sql("SHOW CREATE VIEW bi_sectors").one()[1]
        connection.exec_driver_sql("ALTER VIEW bi_sectors AS SELECT id AS sector_id, name AS label FROM sectors")
    try:
        found = four_say(view_columns(bi.engine))
        rows = view_rows(bi.engine, "bi_sectors")
    finally:
        with bi.database.admin.begin() as connection:
            connection.exec_driver_sql("DROP VIEW bi_sectors")
            connection.exec_driver_sql(definition)
    assert any("Sectors[Sector] comes from bi_sectors.sector" in one for one in found)
    assert any("the dictionary says bi_sectors has" in one for one in found)
    assert any("the contract of bi_sectors has" in one for one in found)
    with pytest.raises(pandera.errors.SchemaErrors):
        frame_contract(STAR.table("bi_sectors")).validate(pd.DataFrame(rows.rows, columns=list(rows.columns)))


@pytest.mark.parametrize("table", STAR.tables, ids=lambda table: table.view)
def test_rows_of_every_view_keep_their_contract(bi: Bi, table: Table) -> None:
    assert len(bi.frame(table.view)) > 0


@pytest.mark.parametrize("one", STAR.relationships, ids=lambda one: f"{one.table}.{one.column}")
def test_every_row_has_its_dimension(bi: Bi, one: Relationship) -> None:
    assert set(bi.frame(one.table)[one.column]) <= set(bi.frame(one.to_table)[one.to_column])


@pytest.mark.parametrize("table", ["bars", "dead_letters", "model_versions", "calendar_sessions"])
def test_the_user_of_bi_tools_sees_views_only(bi: Bi, table: str) -> None:
    assert set(view_columns(bi.engine)) == {one.view for one in STAR.tables}
    with bi.engine.connect() as connection:
        with pytest.raises(DBAPIError, match="denied"):
            connection.execute(sa.select(sa.text("*")).select_from(sa.table(table))).all()
        with pytest.raises(DBAPIError, match="denied"):
            connection.exec_driver_sql("DELETE FROM bi_sources")


def test_dates_are_the_calendar_without_a_hole(bi: Bi) -> None:
    dates = bi.frame("bi_dates").sort_values("calendar_date")
    days = [day.date() for day in dates.calendar_date]
    assert (days[0], days[-1]) == (dt.date(2000, 3, 1), NEXT)
    assert len(days) == (NEXT - days[0]).days + 1
    for row, day in zip(dates.itertuples(), days, strict=True):
        iso = day.isocalendar()
        assert (row.year, row.quarter, row.month) == (day.year, (day.month + 2) // 3, day.month)
        assert (row.iso_year, row.iso_week, row.weekday) == (iso.year, iso.week, iso.weekday)
        assert (row.year_month, row.weekday_name) == (f"{day:%Y-%m}", f"{day:%a}")
        assert row.year_quarter == f"{day.year}-Q{row.quarter}"
    assert set(dates.is_always_session) == {1}


def test_sessions_are_those_of_the_exchange(bi: Bi) -> None:
    dates = bi.frame("bi_dates").set_index("calendar_date").is_xnys_session
    traded = bi.frame("bi_session_bars").merge(bi.frame("bi_instruments"), on="instrument_id")
    real = traded[traded.symbol == "IBM"].session_date
    assert dates.notna().all()
    # every day but NEXT, on which IBM has no bar yet
    assert set(dates[dates == 1].index) - set(real) == {pd.Timestamp(NEXT)}
    assert set(real) <= set(dates[dates == 1].index)
    closed = ("2001-09-11", "2004-06-11", "2012-10-29", "2012-12-25", "2013-01-13")
    assert [int(dates[day]) for day in closed] == [0] * 5


def test_session_bars_are_the_session_documents(bi: Bi) -> None:
    rows = {(row.instrument_id, row.session_date.date()): row for row in bi.frame("bi_session_bars").itertuples()}
    compared = 0
    with bi.database.writer.connect() as connection:
        known = bar_reader.instruments(connection)
        intervals = {number: interval for interval, number in bar_reader.interval_ids(connection).items()}
        for number, one in known.items():
            if one.instrument.symbol not in ("QUICK", "BTC", "FB"):
                continue
            found: dict[dt.date, dict[Interval, list[SessionBar]]] = {}
            for day, interval, stored in bar_reader.settled_bars(connection, number, dt.date(2012, 1, 1), LAST):
                found.setdefault(day, {}).setdefault(intervals[interval], []).append(stored)
            for day, by_interval in found.items():
                finest = min(by_interval, key=lambda interval: interval.seconds)
                document = session_document(one.instrument, day, finest, by_interval[finest], True)
                if Interval.D1 not in by_interval and day == max(found):
                    assert (number, day) not in rows, "a session that may go on is not shown"
                    continue
                row = rows[number, day]
                assert (row.bars, row.bar_interval) == (document.bars, document.interval.value)
                assert {name: getattr(row, name) for name in document.values()} == {
                    name: float(value) for name, value in document.values().items() if value is not None
                }
                assert row.is_synthetic == document.synthetic
                compared += 1
    assert compared == 196 + 3 + 1


def golden() -> pd.DataFrame:
    """Key indicators by symbol out of the CSV files with pandas: adjusted closes for returns, raw ones for values."""
    files = {}
    for symbol in SYMBOLS:
        with (bokeh_sample.data_folder() / f"{symbol}.csv").open() as file:
            files[symbol] = pd.DataFrame(list(csv.DictReader(file))).set_index("Date").astype(float)
    returns = pd.DataFrame({symbol: own["Adj Close"].pct_change() for symbol, own in files.items()})
    index = returns.mean(axis=1)
    table = {}
    for symbol, own in files.items():
        level = own["Adj Close"] / own["Adj Close"].iloc[0]
        both = pd.DataFrame({"own": returns[symbol], "index": index}).dropna()
        typical = (own.High + own.Low + own.Close) / 3
        table[symbol] = {
            "sessions": len(own),
            "period_return": level.iloc[-1] - 1,
            "annualised_volatility": np.log1p(returns[symbol]).std() * np.sqrt(252),
            "max_drawdown": (level / level.cummax() - 1).min(),
            "dollar_volume": (own.Close * own.Volume).sum(),
            "vwap": (typical * own.Volume).sum() / own.Volume.sum(),
            "beta": both.cov().loc["own", "index"] / both["index"].var(),
            "correlation": both.corr().loc["own", "index"],
        }
    return pd.DataFrame(table).T


EXACT = ("sessions", "dollar_volume", "vwap")


def test_key_indicators_out_of_the_views_are_those_of_the_files(bi: Bi) -> None:
    series = bi.series()
    index = measures.equal_weight_index(list(series.values()))
    expected = golden()
    for symbol, own in series.items():
        found = measures.key_indicators([own], index, dt.date.min, dt.date.max)
        for name in expected.columns:
            # adjusted closes are rounded to cents, of prices down to a few dollars
            tolerance = 1e-12 if name in EXACT else 2e-3
            assert getattr(found, name) == pytest.approx(expected.loc[symbol, name], rel=tolerance), (symbol, name)


def test_returns_of_the_view_are_those_of_the_measures(bi: Bi) -> None:
    joined = bi.frame("bi_session_bars").merge(bi.frame("bi_instruments"), on="instrument_id")
    for symbol, own in bi.series().items():
        rows = joined[joined.symbol == symbol].sort_values("session_date").session_return
        np.testing.assert_allclose(rows.to_numpy(np.float64), measures.session_returns(own), atol=1e-13)


def test_completeness_counts_what_the_calendar_says(bi: Bi) -> None:
    instruments = bi.frame("bi_instruments").set_index("instrument_id").symbol
    due = bi.frame("bi_expected_sessions").groupby("instrument_id").size()
    there = bi.frame("bi_session_bars").groupby("instrument_id").in_calendar.sum()
    found = {instruments[number]: measures.completeness(int(there[number]), int(due[number])) for number in due.index}
    # QUICK stopped in January; the day between the coins' Saturday and Monday is missing
    assert found["BTC"] == 0.75
    assert found["QUICK"] == pytest.approx(1 / 33)
    assert {found[symbol] for symbol in SYMBOLS} == {1.0}


def test_forecast_measures_out_of_the_view(bi: Bi) -> None:
    rows = bi.frame("bi_forecasts")
    of = rows[(rows.target == Target.ADJUSTED_RETURN.value) & rows.realised.notna()]
    assert (len(rows), len(of), rows.is_late.sum(), rows.passed_gate.sum()) == (4, 3, 0, 1)
    hits = measures.hit_rate(of.realised.to_numpy(), of.point.to_numpy())
    assert hits is not None
    assert hits.hits == of.direction_hit.sum() == 2
    up = of.realised_up.mean()
    assert hits.base_rate == pytest.approx(max(up, 1 - up)) == pytest.approx(2 / 3)
    skill = measures.live_skill(of.error.to_numpy(), of.realised.to_numpy() - of.baseline.to_numpy())
    assert skill == pytest.approx(1 - of.squared_error.sum() / of.baseline_squared_error.sum())
    assert measures.interval_coverage(of.is_covered.to_numpy(bool)) == pytest.approx(2 / 3)


def test_ingest_quality_counts_every_message_once(bi: Bi) -> None:
    rows = bi.frame("bi_ingest_quality")
    outcomes = rows[["new_facts", "changed_facts", "repeated", "older", "dead"]].sum(axis=1)
    assert (outcomes == rows.messages).all()
    bars = rows[rows.topic == BARS_STREAM.topic].sum(numeric_only=True)
    assert (bars.repeated, bars.dead, bars.messages) == (3, 3, 12_154 + 3 + 6 + 3 + 3)
    assert measures.dead_letter_rate(int(bars.messages), int(bars.dead)) == pytest.approx(3 / 12_169)
    letters = bi.frame("bi_dead_letters").set_index("reason").letters
    assert letters.to_dict() == {"bad_json": 2, "null_value": 1}


def stored_sessions(database: Database) -> dict[str, tuple[dt.date, dt.date]]:
    table = schema.calendar_sessions
    query = sa.select(table.c.calendar, sa.func.min(table.c.session_date), sa.func.max(table.c.session_date))
    with database.writer.connect() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(query.group_by(table.c.calendar))}


def test_the_calendar_is_brought_once_and_ahead_of_the_bars(bi: Bi) -> None:
    whole = (dt.date(2000, 1, 3), dt.date(2014, 12, 31))
    assert stored_sessions(bi.database) == {"XNAS": whole, "XNYS": whole}
    assert refresh_calendar_sessions(bi.database.writer) == {}
    store = BarStore(bi.database.writer, "test")
    store.ingest([slice_of([bar(dt.date(2014, 12, 15), symbol="LATER", exchange="XLON")], first=100_000, partition=1)])
    store.close()
    # the bars have come within a month of the end: each calendar gets the next year, and the new market its own
    assert set(refresh_calendar_sessions(bi.database.writer)) == {"XLON", "XNAS", "XNYS"}
    assert {days[1] for days in stored_sessions(bi.database).values()} == {dt.date(2015, 12, 31)}
    assert refresh_calendar_sessions(bi.database.writer) == {}
