"""Small charts as SVG text: bars and histograms, drawn by hand so that the benchmarks need no plotting library.

Belongs here: drawing. Stays out: what is drawn (``report``). Every figure is written beside its bar, so a chart can be
read without its colours.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 760
_ROW = 26
_LEFT = 170
_RIGHT = 130
_COLOURS = ("#2c6fbb", "#d98032", "#6a9f58", "#8a6fae")
_STYLE = "font-family='sans-serif' font-size='13'"


class Part(NamedTuple):
    """One part of a bar, in the unit of the chart."""

    name: str
    value: float


class Bar(NamedTuple):
    """One line of a bar chart; ``text`` stands beside it."""

    name: str
    parts: Sequence[Part]
    text: str


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Return a chart of horizontal bars, each made of parts."""
    most = max((sum(part.value for part in row.parts) for row in rows), default=1.0) or 1.0
    names = list(dict.fromkeys(part.name for row in rows for part in row.parts if part.name))
    scale = (WIDTH - _LEFT - _RIGHT) / most
    height = 40 + _ROW * len(rows) + (24 if names else 4)
    lines = [_text(10, 22, title, bold=True)]
    for number, row in enumerate(rows):
        y = 38 + _ROW * number
        lines.append(_text(_LEFT - 8, y + 14, row.name, anchor="end"))
        x = float(_LEFT)
        for part in row.parts:
            colour = _COLOURS[names.index(part.name) % len(_COLOURS) if part.name in names else 0]
            lines.append(_box(x, y, part.value * scale, _ROW - 8, colour))
            x += part.value * scale
        lines.append(_text(x + 6, y + 14, row.text))
    for number, name in enumerate(names):
        x = _LEFT + 120 * number
        lines.append(_box(x, height - 20, 12, 12, _COLOURS[number % len(_COLOURS)]))
        lines.append(_text(x + 18, height - 9, name))
    return _svg(height, lines)


def columns(title: str, labels: Sequence[str], values: Sequence[float], marks: Sequence[tuple[int, str]] = ()) -> str:
    """Return a chart of upright columns with a label under each; ``marks`` are (column, text) at its top."""
    height, floor, top = 240, 196, 52
    most = max(values, default=1.0) or 1.0
    step = (WIDTH - 60) / max(1, len(values))
    lines = [_text(10, 22, title, bold=True)]
    for number, (label, value) in enumerate(zip(labels, values, strict=True)):
        x, tall = 30 + step * number, value / most * (floor - top)
        lines.append(_box(x + 1, floor - tall, max(1.0, step - 2), tall, _COLOURS[0]))
        if len(values) <= 40 and (number % max(1, len(values) // 20) == 0 or number == len(values) - 1):
            lines.append(_text(x + step / 2, floor + 16, label, anchor="middle", size=10))
    for number, text in marks:
        x = 30 + step * (number + 0.5)
        lines.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top - 8}' y2='{floor}' stroke='#b3261e' stroke-dasharray='4 3'/>"
        )
        lines.append(_text(x + 4, top - 10, text, size=11))
    return _svg(height, lines)


def _svg(height: float, lines: Sequence[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' {_STYLE}>"
    return "\n".join([head, "<rect width='100%' height='100%' fill='white'/>", *lines, "</svg>"]) + "\n"


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' fill='{colour}'/>"


def _text(x: float, y: float, text: str, anchor: str = "start", bold: bool = False, size: int = 13) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}'{weight}>{escape(text)}</text>"
