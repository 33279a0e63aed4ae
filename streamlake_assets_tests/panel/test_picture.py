"""The picture of a table: a PNG that holds every name and number, whatever they are made of."""

import io
from typing import Any

import pytest
from PIL import Image, ImageDraw

from panel_app import picture
from panel_app.charts import INSIDE, OUTSIDE, NamedBar
from panel_app.data_store import DataStore
from panel_app.indicator_table import cells
from panel_app.indicator_view import IndicatorView
from panel_app.picture import MOST_ROWS, MOST_SIGNS, as_png, plain
from panel_app.questions import Indicators, IndicatorsAnswer, Source
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import Grouping
from streamlake_assets_tests.panel.indicators import indicator_lines
from streamlake_assets_tests.panel.test_indicator_table import KNOWN, SERIES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD = ["", "value"]
BARS = [NamedBar("up", 0.5, "+50.0%", INSIDE), NamedBar("down", -0.25, "-25.0%", OUTSIDE)]


def opened(made: bytes) -> Image.Image:
    assert made.startswith(SIGNATURE)
    with Image.open(io.BytesIO(made)) as checked:
        checked.verify()
    return Image.open(io.BytesIO(made))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, str]]:
    """Every text that is drawn, with its place."""
    texts: list[tuple[float, float, str]] = []
    draw = ImageDraw.ImageDraw.text

    def noted(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *more: Any) -> None:
        texts.append((*xy, text))
        draw(self, xy, text, *more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return texts


def test_the_picture_holds_every_text_inside_its_bounds(drawn: list[tuple[float, float, str]]) -> None:
    rows = [[f"name {number}", f"{number}.5%"] for number in range(5)]
    image = opened(as_png("A title", f"a note {'of many words ' * 5}ends", HEAD, rows, "bars", BARS))
    said = {text for _, _, text in drawn}
    assert {
        "A title",
        f"a note {'of many words ' * 5}ends",
        "value",
        "bars",
        "up",
        "+50.0%",
        *(cell for row in rows for cell in row),
    } <= said
    for left, top, text in drawn:
        assert left >= 0 and left + picture._font(20).getlength(text) <= image.width, text
        assert 0 <= top <= image.height - 20, text
    # dark on white, with both colours of bars
    assert image.getpixel((1, 1)) == (255, 255, 255)
    colours = {colour for _, colour in image.getcolors(1 << 20) or ()}
    assert {(0x14, 0xA3, 0x8B), (0xE5, 0x53, 0x4B), (0x1B, 0x1F, 0x24)} <= colours


def test_bars_go_both_ways_from_zero_in_proportion() -> None:
    image = opened(as_png("t", "n", HEAD, [], "bars", BARS))

    def extent(colour: tuple[int, int, int]) -> tuple[int, int]:
        found = [x for x in range(image.width) for y in range(image.height) if image.getpixel((x, y)) == colour]
        return min(found), max(found)

    up, down = extent((0x14, 0xA3, 0x8B)), extent((0xE5, 0x53, 0x4B))
    assert down[0] < down[1] <= up[0] + 1 < up[1]
    assert (up[1] - up[0]) == pytest.approx(2 * (down[1] - down[0]), abs=4)


def test_the_same_table_is_the_same_file_and_an_empty_one_is_a_picture_too() -> None:
    assert as_png("t", "n", HEAD, [["a", "1"]]) == as_png("t", "n", HEAD, [["a", "1"]])
    assert opened(as_png("t", "n", HEAD, [])).width > 0
    assert opened(as_png("t", "n", HEAD, [["a", "0"]], "bars", [NamedBar("flat", 0.0, "0")])).width > 0


def test_a_long_table_is_cut_and_says_so(drawn: list[tuple[float, float, str]]) -> None:
    rows = [[f"r{number}", "1"] for number in range(5_000)] + [["all instruments", "2"]]
    image = opened(as_png("t", "note", HEAD, rows))
    said = [text for _, _, text in drawn]
    assert f"{MOST_ROWS} of 5,001 lines" in said[1] and said.count("1") == MOST_ROWS - 1
    assert "all instruments" in said and "r98" in said and "r99" not in said
    assert image.width * image.height < 20_000_000


def test_signs_that_the_font_lacks_are_written_in_signs_that_it_has() -> None:
    assert plain("ACME · XNYS") == "ACME · XNYS"
    assert plain("Santé – 5\N{MINUS SIGN}1") == "Sante - 5-1"
    assert plain("日本") == "\\u65e5\\u672c" and plain("日本") != plain("日光")
    assert plain("a\x00b\nc\u202ed") == "a b c d" and plain("e\u0301") == "e"
    assert len(plain("x" * 500)) == MOST_SIGNS and plain("x" * 500).endswith("…")


def test_the_view_gives_what_it_shows_as_a_picture(drawn: list[tuple[float, float, str]]) -> None:
    store = DataStore()
    view = IndicatorView(store)
    button = view.controls[-1]
    assert (button.label, button.filename) == ("PNG", "streamlake-indicators.png")
    opened(button.callback().getvalue())
    assert "not read yet" in {text for _, _, text in drawn}
    view.show(None)
    found = indicator_lines(SERIES, KNOWN, Grouping.INSTRUMENT, PeriodKind.YEAR, "2012")
    answer = IndicatorsAnswer("2012", ("2012",), found, 0.01, 0.0, "made, here")
    store.shelf.put(Indicators(Source.DOCUMENTS, Grouping.INSTRUMENT, PeriodKind.YEAR), answer, 0.0)
    view.ask()
    drawn.clear()
    opened(button.callback().getvalue())
    said = {text for _, _, text in drawn}
    assert {plain(cell) for line in found for cell in cells(line)} <= said
    assert {"Key indicators, 2012", "Adjusted return, 2012", "completeness"} <= said
    view.close()
