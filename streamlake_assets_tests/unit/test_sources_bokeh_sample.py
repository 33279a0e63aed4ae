import datetime as dt
import importlib.util
import math
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from streamlake_assets.errors import ArtifactError, MissingToolError
from streamlake_assets.market.contract import validate_action
from streamlake_assets.market.corporate import rounding_units
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import ActionKind, CorporateAction, Interval, Status
from streamlake_assets.sources.bokeh_sample import LISTINGS, ROWS, SampleData, data_folder, load


@pytest.fixture(scope="module")
def sample() -> SampleData:
    return load()


def action(sample: SampleData, symbol: str, ex_date: str) -> CorporateAction:
    (found,) = (a for a in sample.actions if (a.symbol, a.ex_date.isoformat()) == (symbol, ex_date))
    return found


def test_all_bars_are_there_in_order(sample: SampleData) -> None:
    keys = [(session_date(bar.bar_time, bar.exchange), bar.symbol) for bar in sample.bars]
    assert len(keys) == len(set(keys)) == ROWS == sum(listing.rows for listing in LISTINGS)
    assert keys == sorted(keys)
    assert (keys[0][0], keys[-1][0]) == (dt.date(2000, 3, 1), dt.date(2013, 3, 1))
    assert Counter(symbol for _, symbol in keys) == {"AAPL": 3270, "IBM": 3270, "MSFT": 3270, "GOOG": 2148, "FB": 196}
    assert sample.adjusted_closes.keys() == {(symbol, session) for session, symbol in keys}


def test_bars_are_settled_real_daily_bars(sample: SampleData) -> None:
    assert {(bar.interval, bar.status, bar.synthetic, bar.source) for bar in sample.bars} == {
        (Interval.D1, Status.SETTLED, False, "bokeh_sampledata")
    }
    last = sample.bars[-5]
    assert (last.symbol, last.close, last.volume) == ("AAPL", Decimal("430.47"), Decimal(19730300))
    assert (last.name, last.sector, last.currency) == ("Apple Inc.", "Information Technology", "USD")
    assert last.bar_time == last.as_of == dt.datetime(2013, 3, 1, 5, tzinfo=dt.UTC)


def test_splits_are_those_that_happened(sample: SampleData) -> None:
    splits = {(a.symbol, a.ex_date.isoformat(), a.factor) for a in sample.actions if a.kind is ActionKind.SPLIT}
    half = Decimal("0.5")
    assert splits == {("AAPL", "2000-06-21", half), ("AAPL", "2005-02-28", half), ("MSFT", "2003-02-18", half)}


def test_dividends_are_those_that_were_paid(sample: SampleData) -> None:
    dividends = Counter(a.symbol for a in sample.actions if a.kind is ActionKind.DIVIDEND)
    assert dividends == {"AAPL": 3, "IBM": 52, "MSFT": 37}
    closes = {(bar.symbol, session_date(bar.bar_time, bar.exchange)): bar.close for bar in sample.bars}
    for symbol, ex_date, before, paid in (
        ("AAPL", "2012-08-09", dt.date(2012, 8, 8), 2.65),
        ("AAPL", "2013-02-07", dt.date(2013, 2, 6), 2.65),
        ("MSFT", "2003-02-19", dt.date(2003, 2, 18), 0.08),
        ("MSFT", "2004-11-15", dt.date(2004, 11, 12), 3.08),
    ):
        expected = 1 - paid / float(closes[symbol, before])
        assert float(action(sample, symbol, ex_date).factor) == pytest.approx(expected, abs=2e-5)


def test_actions_keep_the_contract(sample: SampleData) -> None:
    for found in sample.actions:
        validate_action(found)
        assert found.source == "bokeh_sampledata"


def test_returns_from_raw_closes_and_factors_are_the_adjusted_ones(sample: SampleData) -> None:
    factors = {(a.symbol, a.ex_date): float(a.factor) for a in sample.actions}
    for listing in LISTINGS:
        rows = [
            (session_date(bar.bar_time, bar.exchange), bar.close) for bar in sample.bars if bar.symbol == listing.symbol
        ]
        adjusted = [sample.adjusted_closes[listing.symbol, session] for session, _ in rows]
        half = rounding_units(adjusted)
        for index in range(1, len(rows)):
            factor = factors.get((listing.symbol, rows[index][0]), 1.0)
            rebuilt = math.log(float(rows[index][1]) / (float(rows[index - 1][1]) * factor))
            given = math.log(adjusted[index] / adjusted[index - 1])
            bound = half[index] / float(adjusted[index]) + half[index - 1] / float(adjusted[index - 1])
            assert abs(rebuilt - given) <= bound * 1.001 + 1e-9, rows[index]


def test_changed_or_missing_file_is_an_artifact_error(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(ArtifactError, match=r"AAPL\.csv is missing"):
        load(folder)
    for listing in LISTINGS:
        shutil.copy(data_folder() / f"{listing.symbol}.csv", folder)
    with (folder / "IBM.csv").open("a") as stream:
        stream.write("2013-03-04,1,1,1,1,1,1\n")
    with pytest.raises(ArtifactError, match=r"IBM\.csv is not the pinned file"):
        load(folder)


def test_missing_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="pip install bokeh-sampledata"):
        data_folder()
