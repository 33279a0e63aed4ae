"""Small bar charts as SVG text, for pages that may show images but run no script.

Belongs here: drawing, names beside lines moved apart, and an image inside a Markdown page. Stays out: what is drawn.
Every value is written beside its bar, so that a chart reads without its colours.
"""

import base64
import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

COLOURS = ("#7d8590", "#d98032", "#b3541e", "#5a9bd5", "#1f5f9e")
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 720, 190, 170, 40, 28
_FONT = "font-family='sans-serif' font-size='13'"


class Bar(NamedTuple):
    """One row: a name, the text beside it, a value (None: no bar), the ends of its spread, a number of ``COLOURS``."""

    name: str
    text: str
    value: float | None
    low: float | None = None
    high: float | None = None
    colour: int = 0


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Return a chart of horizontal bars from zero, to the left for what is below it, each with its spread as a line."""
    known = [number for bar in bars for number in (bar.value, bar.low, bar.high) if number is not None]
    least, most = min([0.0, *known]), max([0.0, *known])
    width = (most - least) or 1.0

    def x(number: float) -> float:
        return _LEFT + (number - least) / width * (_WIDTH - _LEFT - _RIGHT)

    height = _TOP + _ROW * len(bars) + 8
    lines = [
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        f"<text x='12' y='24' {_FONT} font-weight='bold'>{escape(title)}</text>",
    ]
    for number, bar in enumerate(bars):
        y = _TOP + _ROW * number
        lines.append(f"<text x='{_LEFT - 10}' y='{y + 15}' {_FONT} text-anchor='end'>{escape(bar.name)}</text>")
        lines.append(f"<text x='{_WIDTH - _RIGHT + 10}' y='{y + 15}' {_FONT}>{escape(bar.text)}</text>")
        if bar.value is not None:
            start, end = sorted((x(0.0), x(bar.value)))
            fill = COLOURS[bar.colour % len(COLOURS)]
            wide = max(end - start, 1.0)
            lines.append(f"<rect x='{start:.1f}' y='{y + 2}' width='{wide:.1f}' height='{_ROW - 10}' fill='{fill}'/>")
        if bar.low is not None and bar.high is not None:
            middle = y + 2 + (_ROW - 10) / 2
            ends = f"x1='{x(bar.low):.1f}' x2='{x(bar.high):.1f}'"
            lines.append(f"<line {ends} y1='{middle}' y2='{middle}' stroke='black' stroke-width='1.5'/>")
    lines.append(f"<line x1='{x(0.0):.1f}' x2='{x(0.0):.1f}' y1='{_TOP - 4}' y2='{height - 6}' stroke='black'/>")
    size = f"width='{_WIDTH}' height='{height}' viewBox='0 0 {_WIDTH} {height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{''.join(lines)}</svg>"


def spread(heights: Sequence[float], gap: float, bottom: float = math.inf) -> list[float]:
    """Return heights moved apart just enough that names do not lie on one another, in the order given.

    Args:
        heights: of the names, growing downwards.
        gap: least distance of two.
        bottom: none may lie below it.
    """
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    moved = list(heights)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + gap)
    if max(moved, default=0.0) > bottom:
        # from below upwards, each just as far as the next one needs
        limit = bottom
        for place in reversed(order):
            moved[place] = min(moved[place], limit)
            limit = moved[place] - gap
    return moved


def markdown_image(text: str, svg: str) -> str:
    """Return an image for a Markdown page, the drawing inside it; ``text`` stands where images are not shown."""
    plain = text.replace("[", "(").replace("]", ")")
    return f"![{plain}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
