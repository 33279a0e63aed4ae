"""Small line charts as SVG text, drawn by hand so that a report needs no plotting library.

Belongs here: drawing. Stays out: what is drawn, the image inside a page (``svg_charts``). Every line
has its name and last value written at its end, so a chart can be read without its colours.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.svg_charts import spread

WIDTH: Final = 760
HEIGHT: Final = 320
MOST_POINTS: Final = 240
"""Points drawn per line: more than that cannot be seen at this width."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 210, 40, 30
_LEAST_GAP: Final = 15
_COLOURS: Final = ("#2c6fbb", "#d98032", "#6a9f58", "#8a6fae", "#555555")
_DASHES: Final = ("", "6 3", "2 3", "8 3 2 3", "1 4")
_FONT: Final = "font-family='sans-serif' font-size='12'"


class Line(NamedTuple):
    """One line: its name and its values, evenly spaced from the left edge to the right."""

    name: str
    values: Sequence[float]


def line_chart(title: str, lines: Sequence[Line], ends: tuple[str, str]) -> str:
    """Return a chart of positive values on a logarithmic scale: equal steps are equal factors.

    Args:
        title: above the chart.
        lines: at most five, of equal length, every value finite and above zero.
        ends: what stands below the left and the right edge.

    Raises:
        UsageError: no line, too many, lines of different length or under two values, or a value that has no logarithm.
    """
    lengths = {len(line.values) for line in lines}
    if not 1 <= len(lines) <= len(_COLOURS) or len(lengths) != 1 or min(lengths) < 2:
        raise UsageError(f"a chart has 1 to {len(_COLOURS)} lines of equal length")
    if not all(0 < value < math.inf for line in lines for value in line.values):
        raise UsageError(f"{title}: a logarithmic scale takes finite values above zero")
    low = min(min(line.values) for line in lines)
    high = max(max(line.values) for line in lines)
    span = math.log(high / low) or 1.0

    def height(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * math.log(value / low) / span

    (length,) = lengths
    rows = _thinned(length)
    step = (WIDTH - _LEFT - _RIGHT) / (length - 1)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' role='img'>",
        f"<title>{escape(title)}</title>",
        "<rect width='100%' height='100%' fill='white'/>",
        f"<text x='10' y='22' {_FONT} font-weight='bold'>{escape(title)}</text>",
    ]
    for value in _ticks(low, high):
        y = height(value)
        parts.append(f"<line x1='{_LEFT}' y1='{y:.1f}' x2='{WIDTH - _RIGHT}' y2='{y:.1f}' stroke='#dddddd'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' {_FONT} text-anchor='end'>{value:g}</text>")
    names = spread([height(line.values[-1]) for line in lines], _LEAST_GAP)
    for line, name_y, colour, dash in zip(lines, names, _COLOURS, _DASHES, strict=False):
        points = " ".join(f"{_LEFT + row * step:.1f},{height(line.values[row]):.1f}" for row in rows)
        dashes = f" stroke-dasharray='{dash}'" if dash else ""
        parts.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'{dashes}/>")
        said = escape(f"{line.name} {line.values[-1]:.2f}")
        parts.append(f"<text x='{WIDTH - _RIGHT + 8}' y='{name_y + 4:.1f}' {_FONT} fill='{colour}'>{said}</text>")
    for x, text, anchor in ((_LEFT, ends[0], "start"), (WIDTH - _RIGHT, ends[1], "end")):
        parts.append(f"<text x='{x}' y='{HEIGHT - 8}' {_FONT} text-anchor='{anchor}'>{escape(text)}</text>")
    return "".join((*parts, "</svg>"))


def _thinned(length: int) -> list[int]:
    """Return at most ``MOST_POINTS`` rows, evenly spread, the first and the last among them."""
    count = min(length, MOST_POINTS)
    return sorted({round(i * (length - 1) / (count - 1)) for i in range(count)})


def _ticks(low: float, high: float) -> list[float]:
    """Return the round values (1, 2, 5 times a power of ten) between two bounds."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
