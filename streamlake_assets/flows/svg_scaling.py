"""Charts of cost over size on two logarithmic axes, as SVG text.

Belongs here: drawing. Stays out: what is drawn. On such axes a cost proportional to rows is a line of slope one, and a
cost of start-up alone is flat. Every line has its name at its end, so that a chart reads without its colours.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.svg_charts import spread

WIDTH: Final = 760
HEIGHT: Final = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 250, 44, 48
_LEAST_GAP: Final = 16
_COLOURS: Final = ("#2c6fbb", "#d98032", "#b3541e", "#6a9f58", "#8a6fae", "#555555")
_DASHES: Final = ("", "7 3", "2 3", "8 3 2 3", "1 4", "12 4")
_HALO: Final = "fill='#b3261e' stroke='white' stroke-width='3' paint-order='stroke'"
_FONT: Final = "font-family='sans-serif' font-size='12'"


class Series(NamedTuple):
    """One line: its name, and its costs by size, all finite and above zero."""

    name: str
    points: Mapping[int, float]


class Mark(NamedTuple):
    """A point to show: where two lines meet."""

    size: float
    cost: float
    text: str


def scaling_chart(
    title: str, series: Sequence[Series], *, unit: str, sizes: str = "rows", marks: Sequence[Mark] = ()
) -> str:
    """Return a chart of costs over sizes.

    Args:
        title: above the chart.
        series: one to six lines.
        unit: of the costs, beside the vertical axis.
        sizes: what the horizontal axis counts.
        marks: points where lines meet.

    Raises:
        UsageError: no line, too many, or a value without a logarithm.
    """
    drawn = [one for one in series if one.points]
    if not 1 <= len(drawn) <= len(_COLOURS):
        raise UsageError(f"{title}: a chart has 1 to {len(_COLOURS)} lines, not {len(drawn)}")
    xs = [float(size) for one in drawn for size in one.points]
    ys = [cost for one in drawn for cost in one.points.values()]
    if not all(0 < value < math.inf for value in (*xs, *ys)):
        raise UsageError(f"{title}: logarithmic axes take finite values above zero")
    # room above and below, so that no point lies on the frame
    low_y, high_y = min(ys) / 1.3, max(ys) * 1.3
    span_x = math.log(max(xs) / min(xs)) or 1.0
    span_y = math.log(high_y / low_y)

    def x(size: float) -> float:
        return _LEFT + 12 + (WIDTH - _LEFT - _RIGHT - 24) * math.log(size / min(xs)) / span_x

    def y(cost: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * math.log(cost / low_y) / span_y

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' "
        f"viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        f"<title>{escape(title)}</title>",
        "<rect width='100%' height='100%' fill='white'/>",
        _text(10, 22, title, more="font-weight='bold'"),
        _text(10, _TOP - 4, unit),
        _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, sizes, anchor="middle"),
    ]
    for value in _ticks(low_y, high_y):
        parts.append(
            f"<line x1='{_LEFT}' x2='{WIDTH - _RIGHT}' y1='{y(value):.1f}' y2='{y(value):.1f}' stroke='#e3e3e3'/>"
        )
        parts.append(_text(_LEFT - 6, y(value) + 4, f"{value:g}", anchor="end"))
    for size in sorted({int(value) for value in xs}):
        parts.append(
            f"<line x1='{x(size):.1f}' x2='{x(size):.1f}' y1='{_TOP}' y2='{HEIGHT - _BOTTOM}' stroke='#e3e3e3'/>"
        )
        parts.append(_text(x(size), HEIGHT - _BOTTOM + 16, f"{size:,}", anchor="middle"))
    ends = [one.points[max(one.points)] for one in drawn]
    for one, end, name_y, colour, dash in zip(
        drawn, ends, spread([y(end) for end in ends], _LEAST_GAP, HEIGHT - _BOTTOM), _COLOURS, _DASHES, strict=False
    ):
        found = [(x(size), y(cost)) for size, cost in sorted(one.points.items())]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in found)
        dashes = f" stroke-dasharray='{dash}'" if dash else ""
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.8'{dashes}/>")
        parts += [f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3' fill='{colour}'/>" for a, b in found]
        # a thin line leads from the last point to a name that had to move
        edge = WIDTH - _RIGHT + 14
        parts.append(
            f"<line x1='{found[-1][0] + 4:.1f}' y1='{found[-1][1]:.1f}' x2='{edge - 2}' y2='{name_y:.1f}' "
            f"stroke='{colour}' stroke-width='0.6'/>"
        )
        parts.append(_text(edge, name_y + 4, f"{one.name} {_short(end)}", more=f"fill='{colour}'"))
    for mark in marks:
        parts.append(
            f"<circle cx='{x(mark.size):.1f}' cy='{y(mark.cost):.1f}' r='6' "
            "fill='none' stroke='#b3261e' stroke-width='1.8'/>"
        )
        parts.append(_text(x(mark.size), y(mark.cost) - 12, mark.text, anchor="middle", more=_HALO))
    return "\n".join((*parts, "</svg>")) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {_FONT} text-anchor='{anchor}' {more}>{escape(text)}</text>"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ticks(low: float, high: float) -> list[float]:
    """Return round values between two bounds: powers of ten, with 2 and 5 between where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high / low < 1_000 else (1,)
    return [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
