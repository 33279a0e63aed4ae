"""Pictures of a series: bars to columns, columns to figures; plain functions, no widgets and no stores.

Belongs here: what a candle, a volume bar and a forecast look like; the page paints paper and text, light or
dark. Stays out: sessions, updates.

The horizontal axis counts bars, so that nights and weekends leave no holes; labels come from the bars themselves.
"""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure

from panel_app.signal_marks import draw_signals
from streamlake_assets.market.sessions import exchange_zone, session_date
from streamlake_assets.market.signals import Action
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Interval, Status
from streamlake_assets.stores.page_rows import NextForecast, PageBar

PRICE_HEIGHT: Final = 380
VOLUME_HEIGHT: Final = 110
COLOURS: Final = {
    (False, True): "#14a38b",
    (False, False): "#e5534b",
    (True, True): "#5b8def",
    (True, False): "#a86bd6",
}
"""By (synthetic, close is not below open)."""
FORECAST_COLOUR: Final = "#e8a317"
MEANS: Final = {"short": (20, "#c98a00"), "long": (50, "#8a6fae")}
"""Moving averages: bars in the window, colour."""
_HOLLOW: Final = 0.12
_BODY: Final = 0.72
COLUMNS: Final = (
    "n",
    "label",
    "open",
    "high",
    "low",
    "close",
    "middle",
    "size",
    "volume",
    "half",
    "colour",
    "alpha",
    "note",
)

_FIT_HEIGHTS: Final = """
const d = source.data, f = forecast.data, count = d.n.length;
if (count == 0) { return; }
const from = Math.max(0, Math.ceil(x.start - d.n[0] - 0.5));
const to = Math.min(count - 1, Math.floor(x.end - d.n[0] + 0.5));
let low = Infinity, high = -Infinity, most = 0;
for (let i = from; i <= to; i++) {
  if (d.low[i] < low) { low = d.low[i]; }
  if (d.high[i] > high) { high = d.high[i]; }
  if (d.volume[i] > most) { most = d.volume[i]; }
}
for (let i = 0; i < f.n.length; i++) {
  if (f.n[i] >= x.start && f.n[i] <= x.end) {
    low = Math.min(low, f.least[i]);
    high = Math.max(high, f.most[i]);
  }
}
if (!(high >= low)) { return; }
const space = 0.06 * (high - low) || 0.01 * Math.abs(high) || 1;
y.setv({start: low - space, end: high + space});
v.setv({start: 0, end: 1.1 * most || 1});
"""
_LABEL: Final = """
const labels = source.data.label, count = labels.length;
const at = tick - (count ? source.data.n[0] : 0);
if (!(Number.isInteger(at) && at >= 0 && at < count)) { return ""; }
// a label is a date or a date and a time: near, the year says nothing; far, the day
const near = x.end - x.start < 140, label = labels[at];
if (label.length > 10) { return near ? label.slice(11) : label.slice(5, 10); }
return near ? label.slice(5) : label.slice(0, 7);
"""


_MEANS: Final = """
// what the page shows is computed where it is shown; emitting alone sends nothing back to the server
const close = source.data.close, count = close.length;
for (const [name, window] of windows) {
  const found = new Array(count);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += close[i] - (i >= window ? close[i - window] : 0);
    found[i] = i >= window - 1 ? sum / window : NaN;
  }
  means.data[name] = found;
}
means.data.n = Array.from(source.data.n);
means.change.emit();
"""


class Chart(msgspec.Struct, frozen=True):
    """The figures of one series and what feeds them."""

    price: figure
    volume: figure
    bars: ColumnDataSource
    means: ColumnDataSource
    forecast: ColumnDataSource
    x: Range1d
    signals: dict[Action, ColumnDataSource]


def columns(bars: Sequence[PageBar], first: int, interval: Interval, exchange: str) -> dict[str, list[Any]]:
    """Return bars as columns of equal length; ``first`` is the number of the first one on the axis."""
    made: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for number, bar in enumerate(bars, first):
        for name, value in row(bar, number, interval, exchange).items():
            made[name].append(value)
    return made


def row(bar: PageBar, number: int, interval: Interval, exchange: str) -> dict[str, Any]:
    """Return one bar as one value for each column."""
    provisional = bar.status is Status.PROVISIONAL
    volume = math.nan if bar.volume is None else bar.volume
    notes = [text for text, holds in (("provisional", provisional), ("synthetic", bar.synthetic)) if holds]
    return {
        "n": number,
        "label": bar_label(bar.bar_time, interval, exchange),
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "middle": (bar.open + bar.close) / 2,
        "size": abs(bar.close - bar.open),
        "volume": volume,
        "half": volume / 2,
        "colour": COLOURS[bar.synthetic, bar.close >= bar.open],
        "alpha": _HOLLOW if provisional else 1.0,
        "note": ", ".join(notes) or "settled",
    }


def means(bars: Sequence[PageBar], first: int) -> dict[str, list[Any]]:
    """Return the moving averages of raw closes as columns, NaN until a window is full; numbers begin at ``first``."""
    made: dict[str, list[Any]] = {"n": list(range(first, first + len(bars)))}
    for name, (window, _) in MEANS.items():
        total, values = 0.0, []
        for place, bar in enumerate(bars):
            total += bar.close - (bars[place - window].close if place >= window else 0.0)
            values.append(total / window if place >= window - 1 else math.nan)
        made[name] = values
    return made


def bar_label(bar_time: dt.datetime, interval: Interval, exchange: str) -> str:
    """Return a bar's date, or date and time, at its exchange."""
    local = bar_time.astimezone(exchange_zone(exchange))
    return local.date().isoformat() if interval is Interval.D1 else f"{local:%Y-%m-%d %H:%M}"


def forecast_columns(
    forecasts: Sequence[NextForecast], last_close: float | None, session: dt.date | None, number: float
) -> dict[str, list[Any]]:
    """Return what the next session is expected to look like, in prices; no row when it cannot be said.

    The return forecast is a point with a whisker around the last close; the range forecast a band around that point,
    exp(-R/2) to exp(R/2), whose outer part uses the upper end of its interval.

    Args:
        forecasts: of both targets.
        last_close: close of the session they know.
        session: the session they are of.
        number: its place on the axis.
    """
    empty: dict[str, list[Any]] = {name: [] for name in _FORECAST_COLUMNS}
    values = {one.target: one.values for one in forecasts if one.values is not None and one.values.session == session}
    change, spread = values.get(Target.ADJUSTED_RETURN), values.get(Target.LOG_RANGE)
    if last_close is None or session is None or (change is None and spread is None):
        return empty
    point, low, high = (change.point, change.low, change.high) if change else (0.0, 0.0, 0.0)
    centre = last_close * math.exp(point)
    inner, outer = (spread.point, spread.high) if spread else (0.0, 0.0)
    made = {
        "n": number,
        "point": centre if change else math.nan,
        "low": last_close * math.exp(low),
        "high": last_close * math.exp(high),
        "band_low": centre * math.exp(-inner / 2),
        "band_high": centre * math.exp(inner / 2),
        "outer_low": centre * math.exp(-outer / 2),
        "outer_high": centre * math.exp(outer / 2),
    }
    ends = [made[name] for name in ("low", "high", "band_low", "band_high", "outer_low", "outer_high")]
    return {name: [value] for name, value in {**made, "least": min(ends), "most": max(ends)}.items()} | {
        "label": [session.isoformat()]
    }


_FORECAST_COLUMNS: Final = (
    "n",
    "point",
    "low",
    "high",
    "band_low",
    "band_high",
    "outer_low",
    "outer_high",
    "least",
    "most",
    "label",
)


def make_chart() -> Chart:
    """Return an empty chart: candles above, volume below, one horizontal axis."""
    bars = ColumnDataSource({name: [] for name in COLUMNS}, name="bars")
    averages = ColumnDataSource(dict(means([], 0)), name="means")
    forecast = ColumnDataSource({name: [] for name in _FORECAST_COLUMNS}, name="forecast")
    x = Range1d(start=0, end=1, min_interval=5)
    price = _figure(x, PRICE_HEIGHT, "xpan,xwheel_zoom,reset")
    volume = _figure(x, VOLUME_HEIGHT, "")
    price.toolbar.autohide = True
    price.toolbar.logo = None
    volume.toolbar_location = None
    _draw_forecast(price, forecast)
    wick = price.segment("n", "low", "n", "high", source=bars, color="colour", line_width=1)
    # rect and not vbar: bars left of the window would be squeezed into a line at its edge
    looks: dict[str, Any] = {"source": bars, "fill_color": "colour", "line_color": "colour", "fill_alpha": "alpha"}
    price.rect("n", "middle", _BODY, "size", **looks)
    volume.rect("n", "half", _BODY, "volume", **looks)
    for name, (_, colour) in MEANS.items():
        price.line("n", name, source=averages, color=colour, line_width=1.4, alpha=0.9)
    signals = draw_signals(price)
    tips = [("", "@label"), ("open", "@open{0,0.00[00]}"), ("high", "@high{0,0.00[00]}"), ("low", "@low{0,0.00[00]}")]
    tips += [("close", "@close{0,0.00[00]}"), ("volume", "@volume{0,0.[00]}"), ("", "@note")]
    # the wick answers for its whole column, a rect only where it is
    price.add_tools(HoverTool(renderers=[wick], tooltips=tips, mode="vline", point_policy="follow_mouse"))
    price.xaxis.visible = False
    volume.xaxis.formatter = CustomJSTickFormatter(args={"source": bars, "x": x}, code=_LABEL)
    volume.yaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    volume.yaxis.ticker = BasicTicker(desired_num_ticks=3)
    refit = CustomJS(
        args={"source": bars, "forecast": forecast, "x": x, "y": price.y_range, "v": volume.y_range}, code=_FIT_HEIGHTS
    )
    windows = [[name, window] for name, (window, _) in MEANS.items()]
    average = CustomJS(args={"source": bars, "means": averages, "windows": windows}, code=_MEANS)
    for event in ("data", "streaming", "patching"):
        bars.js_on_change(event, average)
    x.js_on_change("start", refit)
    x.js_on_change("end", refit)
    for source in (bars, forecast):
        for event in ("data", "streaming", "patching"):
            source.js_on_change(event, refit)
    return Chart(price, volume, bars, averages, forecast, x, signals)


def window(bars: Sequence[PageBar], first: int, shown: int, interval: Interval, exchange: str) -> tuple[float, float]:
    """Return the part of the axis that a range shows, with room for a forecast at the right.

    Args:
        bars: all bars, oldest first.
        first: number of the first one on the axis.
        shown: bars of a daily series, sessions of an intraday one; 0: all.
        interval: length of the bars.
        exchange: says which session a bar belongs to.
    """
    count = len(bars)
    if interval is Interval.D1 or shown == 0:
        visible = min(count, shown or count)
    else:
        sessions = [session_date(bar.bar_time, exchange) for bar in bars]
        wanted = set(sorted(set(sessions))[-shown:])
        visible = sum(session in wanted for session in sessions)
    end = first + count - 1
    room = 1.75 if interval is Interval.D1 else max(1.5, 0.03 * visible)
    return end - max(visible, 5) + 0.45, end + room


def fit(chart: Chart, bars: Sequence[PageBar], start: float, end: float) -> None:
    """Show the window from ``start`` to ``end`` of these bars, whose numbers end with the newest one's.

    The browser fits the heights again whenever the window or the bars change; it does not when a page is new.
    """
    numbers = chart.bars.data["n"]
    first = int(numbers[0]) if len(numbers) else 0
    seen = [bar for number, bar in enumerate(bars, first) if start <= number <= end]
    if seen:
        data = chart.forecast.data
        spans = [
            (least, most) for n, least, most in zip(data["n"], data["least"], data["most"], strict=True) if n <= end
        ]
        low = min([bar.low for bar in seen] + [least for least, _ in spans])
        high = max([bar.high for bar in seen] + [most for _, most in spans])
        space = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
        chart.price.y_range.update(start=low - space, end=high + space)
        most = max((bar.volume or 0.0) for bar in seen)
        chart.volume.y_range.update(start=0, end=1.1 * most or 1.0)
    chart.x.update(start=start, end=end)


def _figure(x: Range1d, height: int, tools: str) -> figure:
    drawn = figure(
        x_range=x,
        y_range=Range1d(start=0, end=1),
        height=height,
        sizing_mode="stretch_width",
        tools=tools,
        active_drag="xpan" if tools else None,
        active_scroll="xwheel_zoom" if tools else None,
        y_axis_location="right",
        min_border_left=8,
        min_border_right=64,
        min_border_top=8,
        output_backend="canvas",
    )
    drawn.xaxis.ticker = BasicTicker(desired_num_ticks=5, min_interval=1)
    drawn.yaxis.major_label_text_font_size = "12px"
    drawn.xaxis.major_label_text_font_size = "12px"
    drawn.outline_line_color = None
    for axis in (*drawn.xaxis, *drawn.yaxis):
        axis.axis_line_color = None
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
    return drawn


def _draw_forecast(price: figure, source: ColumnDataSource) -> None:
    band: dict[str, Any] = {"source": source, "fill_color": FORECAST_COLOUR, "line_color": None}
    price.vbar("n", 0.9, "outer_high", "outer_low", fill_alpha=0.16, **band)
    price.vbar("n", 0.9, "band_high", "band_low", fill_alpha=0.3, **band)
    price.segment("n", "low", "n", "high", source=source, color=FORECAST_COLOUR, line_width=2)
    for end in ("low", "high"):
        price.scatter("n", end, source=source, marker="dash", size=10, color=FORECAST_COLOUR, line_width=2)
    price.scatter("n", "point", source=source, marker="diamond", size=9, color=FORECAST_COLOUR)
