"""Lines of key indicators, the proof that two sources say the same, and the files people take away."""

import csv
import io
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from panel_app import export
from panel_app.indicator_table import cells, differences, records
from panel_app.indicator_view import proof
from panel_app.questions import IndicatorsAnswer, Source
from panel_app.shelf import Answer
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import ALL, Grouping
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.types import AssetClass, Instrument
from streamlake_assets.stores.page_measures import Described
from streamlake_assets_tests.panel.indicators import indicator_lines, period_names
from streamlake_assets_tests.panel.page_data import FIRST_DAY, day

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def series(symbol: str, closes: list[float], asset_class: AssetClass = AssetClass.STOCK) -> SessionSeries:
    close = np.array(closes)
    sessions = np.arange(len(closes), dtype=np.int64) + ordinal(FIRST_DAY)
    return SessionSeries(
        symbol=symbol,
        exchange="XNYS",
        sessions=sessions,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=np.full(len(closes), 10.0),
        factor=np.ones(len(closes)),
        asset_class=asset_class,
    )


SERIES = [series("IBM", [100.0, 110.0, 121.0]), series("ACME", [50.0, 40.0, 30.0], AssetClass.COMMODITY)]
KNOWN = [
    Described(Instrument("IBM", "XNYS"), AssetClass.STOCK, "Machines", None),
    Described(Instrument("ACME", "XNYS"), AssetClass.COMMODITY, None, None),
]


def lines(grouping: Grouping = Grouping.INSTRUMENT) -> dict[str, object]:
    found = indicator_lines(SERIES, KNOWN, grouping, PeriodKind.YEAR, "2012")
    return {line.subject: line.measures for line in found}


def test_each_instrument_has_a_line_and_all_together_have_one() -> None:
    found = indicator_lines(SERIES, KNOWN, Grouping.INSTRUMENT, PeriodKind.YEAR, "2012")
    assert [line.subject for line in found] == ["ACME · XNYS", "IBM · XNYS", ALL]
    assert found[1].measures.period_return == pytest.approx(0.21)
    assert found[1].measures.dollar_volume == pytest.approx(10 * 331)
    assert found[1].measures.best is not None and found[1].measures.best[0] in (day(1), day(2))
    assert found[2].members == 2 and found[2].measures.vwap is None
    assert cells(found[1])[:5] == ["IBM · XNYS", "1", "3", "100.00%", "+21.00%"]


def test_sectors_and_classes_are_groups_and_an_unnamed_sector_is_said() -> None:
    assert set(lines(Grouping.SECTOR)) == {"Machines", "no sector named", ALL}
    assert set(lines(Grouping.CLASS)) == {"stock", "commodity", ALL}


def test_periods_are_the_newest_first_and_an_unknown_one_has_no_lines() -> None:
    assert period_names(SERIES, PeriodKind.YEAR) == ("2012",)
    assert period_names([], PeriodKind.MONTH) == ()
    assert indicator_lines(SERIES, KNOWN, Grouping.INSTRUMENT, PeriodKind.YEAR, "1999") == ()


def test_two_sources_that_say_the_same_are_said_to_and_a_difference_is_named() -> None:
    one = indicator_lines(SERIES, KNOWN, Grouping.INSTRUMENT, PeriodKind.YEAR, "2012")
    other = indicator_lines([SERIES[0]], KNOWN, Grouping.INSTRUMENT, PeriodKind.YEAR, "2012")
    assert differences(one, one) == []
    found = differences(one, other)
    assert "ACME · XNYS: in one table only" in found and any(text.startswith(ALL) for text in found)

    def shown(right: tuple[object, ...]) -> str:
        def answer(source: Source, made: object) -> Answer:
            return Answer(IndicatorsAnswer("2012", ("2012",), made, 0.01, 0.0, source.value))  # type: ignore[arg-type]

        return proof({Source.DOCUMENTS: answer(Source.DOCUMENTS, one), Source.SQL: answer(Source.SQL, right)})

    assert "same table from both" in shown(one)
    assert "differences" in shown(other)
    assert "loading" in proof({source: Answer() for source in Source})


def test_a_csv_holds_numbers_and_no_cell_that_runs() -> None:
    head, rows = records(indicator_lines(SERIES, KNOWN, Grouping.INSTRUMENT, PeriodKind.YEAR, "2012"), "2012")
    rows.append(["=HYPERLINK(1)", None, *([1] * (len(head) - 2))])
    read = list(csv.reader(io.StringIO(export.as_csv(head, rows).decode("utf-8-sig"))))
    assert read[0] == head and read[2][:2] == ["IBM · XNYS", "2012"]
    assert float(read[2][head.index("return")]) == pytest.approx(0.21)
    assert float(read[2][head.index("completeness")]) == 1.0
    assert read[-1][0] == "'=HYPERLINK(1)" and read[-1][1] == ""


def test_a_workbook_is_readable_xml_with_numbers_as_numbers() -> None:
    made = export.as_xlsx(["name", "value"], [["=1+1 & <b>\x00", np.float64(0.5)], [None, 3]])
    assert made == export.as_xlsx(["name", "value"], [["=1+1 & <b>\x00", np.float64(0.5)], [None, 3]])
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            ElementTree.fromstring(archive.read(name))  # noqa: S314  # made here
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))  # noqa: S314
    found = {cell.get("r"): cell for cell in sheet.iter(f"{SHEET}c")}
    assert found["A2"].get("t") == "inlineStr" and "".join(found["A2"].itertext()) == "=1+1 & <b>"
    assert found["B2"].get("t") is None and "".join(found["B2"].itertext()) == "0.5"
    assert "A3" not in found and "".join(found["B3"].itertext()) == "3"
    assert export._letters(26) == "AA"
