"""A table with its bars as a picture that people take away: a PNG out of texts, drawn on white whatever the theme.

Belongs here: laying texts and bars out. Stays out: what they say, other kinds of files (``export``). The picture
library's own font is used, so that a picture is the same on every machine; it has the signs of English. Others are
written without their accents, and where that is not enough, by their number.
"""

import io
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from panel_app.charts import NamedBar

MOST_ROWS: Final = 100
"""Of a longer table the first rows and the last one, which is of all together, are drawn, and the picture says so."""
MOST_SIGNS: Final = 48
_MOST_SIGNS_ALONE: Final = 120
_SIZE: Final = 20
_TITLE_SIZE: Final = 28
_ROW: Final = 34
_MARGIN: Final = 28
_GAP: Final = 30
_TRACK: Final = 700
_PAPER, _INK, _QUIET, _RULE, _BAND = "#ffffff", "#1b1f24", "#5c6670", "#c8ced4", "#f4f6f8"
_DASHES: Final = {"–": "-", "—": "-", "−": "-"}
_NO_SIGN: Final = "\uffff"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def as_png(
    title: str,
    note: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    bars_title: str = "",
    bars: Sequence[NamedBar] = (),
) -> bytes:
    """Return a table, and bars below it, as a PNG; the same texts are the same file.

    Args:
        title: over the table.
        note: below the title.
        head: titles of the columns; the first column is words, the others are numbers.
        rows: cells, as many in each as titles; more than ``MOST_ROWS`` are cut and the note says so.
        bars_title: over the bars.
        bars: each as wide as its value, from a common zero; spreads and marks are not drawn.
    """
    if len(rows) > MOST_ROWS:
        note = f"{note}; {MOST_ROWS:,} of {len(rows):,} lines, the other files hold all"
        rows = [*rows[: MOST_ROWS - 1], rows[-1]]
    title, note, bars_title = (plain(text, _MOST_SIGNS_ALONE) for text in (title, note, bars_title))
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    font, large = _font(_SIZE), _font(_TITLE_SIZE)
    widths = [max(font.getlength(row[place]) for row in cells) for place in range(len(head))]
    names = max((font.getlength(plain(bar.name)) for bar in bars), default=0)
    texts = max((font.getlength(plain(bar.text)) for bar in bars), default=0)
    lines = (large.getlength(title), font.getlength(note), names + _TRACK + texts + 2 * _GAP)
    width = 2 * _MARGIN + max(sum(widths) + _GAP * (len(widths) - 1), *(lines if bars else lines[:2]))
    height = 2 * _MARGIN + 3 * _ROW + _ROW * len(cells) + (_ROW * (len(bars) + 2) if bars else 0)
    image = Image.new("RGB", (round(width), height), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, _MARGIN), title, _INK, large)
    draw.text((_MARGIN, _MARGIN + 1.3 * _ROW), note, _QUIET, font)
    top = _MARGIN + int(2.5 * _ROW)
    _draw_table(draw, font, cells, widths, top)
    if bars:
        top += _ROW * (len(cells) + 1)
        draw.text((_MARGIN, top), bars_title, _INK, font)
        _draw_bars(draw, font, bars, names, top + _ROW)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def plain(text: str, most: int = MOST_SIGNS) -> str:
    """Return a text in signs that the font has, in one line of at most so many of them."""
    whole = "".join(_drawn(sign) for sign in text)
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"


@lru_cache(maxsize=2_000)
def _drawn(sign: str) -> str:
    if unicodedata.category(sign).startswith(("C", "Z")):
        return " "
    if unicodedata.combining(sign):
        return ""
    bare = "".join(one for one in unicodedata.normalize("NFKD", sign) if not unicodedata.combining(one))
    for candidate in (sign, _DASHES.get(sign, bare)):
        if candidate and all(_has(one) for one in candidate):
            return candidate
    return sign.encode("ascii", "backslashreplace").decode()


def _has(sign: str) -> bool:
    font = _font(_SIZE)
    return bytes(font.getmask(sign)) != bytes(font.getmask(_NO_SIGN))


@lru_cache(maxsize=4)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _draw_table(
    draw: ImageDraw.ImageDraw, font: Font, cells: Sequence[Sequence[str]], widths: Sequence[float], top: int
) -> None:
    right = _MARGIN + sum(widths) + _GAP * (len(widths) - 1)
    for number, row in enumerate(cells):
        above = top + number * _ROW
        if number and number % 2 == 0:
            draw.rectangle((_MARGIN - 8, above, right + 8, above + _ROW - 1), _BAND)
        left = float(_MARGIN)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            # words begin together, numbers end together
            at = left if place == 0 else left + width - font.getlength(cell)
            draw.text((at, above + 5), cell, _INK if number else _QUIET, font)
            left += width + _GAP
    draw.line((_MARGIN, top + _ROW - 1, right, top + _ROW - 1), _RULE, 2)


def _draw_bars(draw: ImageDraw.ImageDraw, font: Font, bars: Sequence[NamedBar], names: float, top: int) -> None:
    low, high = min(0.0, *(bar.value for bar in bars)), max(0.0, *(bar.value for bar in bars))
    per_unit = _TRACK / ((high - low) or 1.0)
    left = _MARGIN + names + _GAP
    zero = left - low * per_unit
    for number, bar in enumerate(bars):
        above = top + number * _ROW
        draw.text((_MARGIN, above + 5), plain(bar.name), _INK, font)
        ends = sorted((zero, zero + bar.value * per_unit))
        draw.rectangle((ends[0], above + 7, max(ends[1], ends[0] + 1), above + _ROW - 8), bar.colour)
        draw.text((left + _TRACK + _GAP, above + 5), plain(bar.text), _INK, font)
    draw.line((zero, top, zero, top + len(bars) * _ROW), _QUIET, 1)
