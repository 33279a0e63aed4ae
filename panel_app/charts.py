"""Pictures of the views beside the live one, as HTML and SVG: numbers in, markup out; every text is escaped here.

Belongs here: forecasts against what happened, lines from 100, costs over size, bars by name. Stays out: candles
(``plots``), words and tables. Shapes stretch with the page, strokes and texts do not; texts take the page's colour, so
that light and dark need no care. A figure of the plotting library costs a session some 30 ms and many models; these
cost next to nothing.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from panel_app.plots import FORECAST_COLOUR

INSIDE: Final = "#14a38b"
OUTSIDE: Final = "#e5534b"
LINES: Final = ("#5b8def", "#d98032", "#a86bd6", "#14a38b", "#e5534b", "#8a8f98")
_FIXED: Final = 'vector-effect="non-scaling-stroke"'
_MOST_TICKS: Final = 6
STYLE: Final = """
.plot { position: relative; margin: 14px 16px 30px 56px; }
.plot.named { margin-right: 150px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.plot span { position: absolute; font-size: 12px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.plot .y { right: calc(100% + 8px); transform: translateY(-50%); opacity: .8; }
.plot .x { top: calc(100% + 6px); transform: translateX(-50%); opacity: .8; }
.plot .end { left: calc(100% + 10px); transform: translateY(-50%); }
.bars { display: grid; grid-template-columns: minmax(90px, max-content) 1fr max-content; gap: 6px 12px;
  align-items: center; font-size: 13px; font-variant-numeric: tabular-nums; margin: 6px 0; }
.bars .track { position: relative; height: 16px; }
.bars .track i { position: absolute; top: 0; bottom: 0; border-radius: 2px; min-width: 1px; }
.bars .track .spread { top: 7px; bottom: auto; height: 2px; background: currentColor; opacity: .55; }
.bars .track .mark { width: 3px; top: -2px; bottom: -2px; }
.bars .track .zero { width: 1px; background: currentColor; opacity: .4; }
@media (max-width: 600px) { .plot.named { margin-right: 96px; } .bars { grid-template-columns: 1fr max-content; }
  .bars .track { grid-column: 1 / -1; grid-row: auto; } }
"""


class Said(NamedTuple):
    """One session: what was said with its interval, what happened (None: not yet), and a sentence about it."""

    session: str
    point: float
    low: float
    high: float
    realised: float | None
    inside: bool
    note: str


class NamedBar(NamedTuple):
    """One bar: name, value, the text beside it, colour, the ends of its spread, a mark to compare with."""

    name: str
    value: float
    text: str
    colour: str = LINES[0]
    spread: tuple[float, float] | None = None
    mark: float | None = None


def said_and_happened(sessions: Sequence[Said]) -> str:
    """Return intervals, points and outcomes by session, oldest first, values as shares; empty without a session."""
    if not sessions:
        return ""
    ends = [value for one in sessions for value in (one.low, one.high, one.realised) if value is not None]
    low, high = _padded([0.0, *ends])

    def y(value: float) -> float:
        return 100 * (high - value) / (high - low)

    step = 100 / max(10, len(sessions))
    shapes = []
    for number, one in enumerate(sessions):
        middle = step * (number + 0.5)
        shapes.append(
            f'<rect x="{middle - 0.36 * step:.2f}" width="{0.72 * step:.2f}" y="{y(one.high):.2f}" '
            f'height="{y(one.low) - y(one.high):.2f}" fill="{FORECAST_COLOUR}" fill-opacity=".28">'
            f"<title>{escape(f'{one.session}: {one.note}')}</title></rect>"
        )
        shapes.append(_line(middle - 0.3 * step, y(one.point), middle + 0.3 * step, y(one.point), FORECAST_COLOUR, 3))
        if one.realised is not None:
            shapes.append(_dot(middle, y(one.realised), INSIDE if one.inside else OUTSIDE))
    every = math.ceil(len(sessions) / 4)
    labels = [(step * (number + 0.5), one.session) for number, one in enumerate(sessions) if number % every == 0]
    ticks = [(y(value), f"{value:.1%}") for value in round_values(low, high)]
    return _plot(300, shapes, ticks, labels)


def indexed(lines: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Return lines that end together at the right, each with its name and last value; empty below two lines."""
    drawn = [(name, values) for name, values in lines if len(values) > 1]
    if len(drawn) < 2:
        return ""
    low, high = _padded([100.0, *(value for _, values in drawn for value in values)])
    longest = max(len(values) for _, values in drawn)

    def y(value: float) -> float:
        return 100 * (high - value) / (high - low)

    shapes, names = [], []
    for number, (name, values) in enumerate(drawn):
        first = longest - len(values)
        points = " ".join(
            f"{100 * (first + place) / (longest - 1):.2f},{y(value):.2f}" for place, value in enumerate(values)
        )
        shapes.append(_path(points, LINES[number % len(LINES)]))
        names.append((y(values[-1]), f"{name} {values[-1]:.1f}", LINES[number % len(LINES)]))
    ticks = [(y(value), f"{value:g}") for value in round_values(low, high)]
    return _plot(240, shapes, ticks, [], names)


def scaling(curves: Mapping[str, Mapping[int, float]], unit: str, colours: Mapping[str, str]) -> str:
    """Return costs over sizes on two logarithmic axes, a line with its name for each; empty without a curve.

    Sizes and costs are above zero; ``colours`` has one for each curve.
    """
    drawn = {name: points for name, points in curves.items() if points}
    if not drawn:
        return ""
    sizes = sorted({size for points in drawn.values() for size in points})
    costs = [cost for points in drawn.values() for cost in points.values()]
    left, right = math.log(sizes[0] / 1.2), math.log(sizes[-1] * 1.05)
    bottom, top = math.log(min(costs) / 1.3), math.log(max(costs) * 1.3)

    def x(size: float) -> float:
        return 100 * (math.log(size) - left) / (right - left)

    def y(cost: float) -> float:
        return 100 * (top - math.log(cost)) / (top - bottom)

    shapes, names = [], []
    for name, points in drawn.items():
        colour = colours[name]
        places = [(x(size), y(points[size])) for size in sorted(points)]
        shapes.append(_path(" ".join(f"{a:.2f},{b:.2f}" for a, b in places), colour))
        shapes += [_dot(a, b, colour) for a, b in places]
        names.append((places[-1][1], f"{name} {points[max(points)]:.3g} {unit}", colour))
    ticks = [(y(value), f"{value:g} {unit}") for value in log_values(math.exp(bottom), math.exp(top))]
    return _plot(300, shapes, ticks, [(x(size), f"{size:,}") for size in sizes], names)


def bars_by_name(bars: Sequence[NamedBar]) -> str:
    """Return horizontal bars from zero with their values, the first at the top; empty without a bar."""
    if not bars:
        return ""
    ends: list[float] = [end for bar in bars for end in (bar.value, *(bar.spread or ()), bar.mark) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    width: float = (high - low) or 1.0

    def x(value: float) -> float:
        return 100 * (value - low) / width

    rows = []
    for bar in bars:
        start, end = sorted((x(0.0), x(bar.value)))
        parts = [f'<i style="left:{start:.2f}%;width:{end - start:.2f}%;background:{bar.colour}"></i>']
        if bar.spread is not None:
            first, last = x(bar.spread[0]), x(bar.spread[1])
            parts.append(f'<i class="spread" style="left:{first:.2f}%;width:{last - first:.2f}%"></i>')
        if bar.mark is not None:
            parts.append(f'<i class="mark" style="left:{x(bar.mark):.2f}%;background:{FORECAST_COLOUR}"></i>')
        parts.append(f'<i class="zero" style="left:{x(0.0):.2f}%"></i>')
        rows.append(f'<div>{escape(bar.name)}</div><div class="track">{"".join(parts)}</div>')
        rows.append(f"<div>{escape(bar.text)}</div>")
    return f'<div class="bars">{"".join(rows)}</div>'


def round_values(low: float, high: float) -> list[float]:
    """Return at most six round values (1, 2 or 5 times a power of ten apart) between two bounds."""
    rough = (high - low) / _MOST_TICKS
    power: float = 10.0 ** math.floor(math.log10(rough))
    step: float = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    # far from zero the product is rounded to a float that can lie outside: 1e-9 keeps a bound that is itself round
    slack = 1e-9 * (high - low)
    found = (number * step for number in range(first, last + 1))
    return [value for value in found if low - slack <= value <= high + slack]


def log_values(low: float, high: float) -> list[float]:
    """Return round values for a logarithmic axis between two bounds above zero: powers of ten, if few 1, 2, 5 too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        # a product of floats may lie beside the bound that it is
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(found) > 2:
            break
    return found


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    space = 0.06 * (high - low) or 1.0
    return low - space, high + space


def _plot(
    height: int,
    shapes: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    labels: Sequence[tuple[float, str]],
    names: Sequence[tuple[float, str, str]] = (),
) -> str:
    grid = "".join(
        f'<line x1="0" x2="100" y1="{y:.2f}" y2="{y:.2f}" stroke="currentColor" stroke-opacity=".15" {_FIXED}/>'
        for y, _ in ticks
    )
    texts = [f'<span class="y" style="top:{y:.2f}%">{escape(text)}</span>' for y, text in ticks]
    texts += [f'<span class="x" style="left:{x:.2f}%">{escape(text)}</span>' for x, text in labels]
    places = spread([y for y, _, _ in names], 1600 / height)
    texts += [
        f'<span class="end" style="top:{place:.2f}%;color:{colour}">{escape(text)}</span>'
        for place, (_, text, colour) in zip(places, names, strict=True)
    ]
    picture = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{grid}{"".join(shapes)}</svg>'
    return f'<div class="plot{" named" if names else ""}" style="height:{height}px">{picture}{"".join(texts)}</div>'


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places moved apart so that names do not lie on one another, in the order given."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + gap)
    return moved


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> str:
    ends = f'x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}" {_FIXED}/>'


def _dot(x: float, y: float, colour: str) -> str:
    # a line of no length with round ends stays a circle however the picture is stretched
    place = f'd="M{x:.2f} {y:.2f}h.001"'
    return f'<path {place} stroke="{colour}" stroke-width="8" stroke-linecap="round" {_FIXED}/>'


def _path(points: str, colour: str) -> str:
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" {_FIXED}/>'
