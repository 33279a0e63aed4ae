"""Signals on a daily chart: a triangle at the session a signal is for.

Belongs here: what a signal looks like and where it stands. Stays out: what makes a signal (``market.signals``), reading
them (``page_reader``), all else on the chart (``plots``).

A signal stands at the session whose forecast it came from; it trades at that session's open. Hold is no mark.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.models.renderers import DataRenderer
from bokeh.plotting import figure

from streamlake_assets.market.signals import Action
from streamlake_assets.stores.page_rows import PageBar, PageSignal

BUY_COLOUR: Final = "#14a38b"
SELL_COLOUR: Final = "#e5534b"
_COLUMNS: Final = ("n", "price", "side", "session", "model")
_LOOKS: Final = ((Action.BUY, "\u25b2", BUY_COLOUR, "top", 3), (Action.SELL, "\u25bc", SELL_COLOUR, "bottom", -3))


def signal_columns(
    signals: Sequence[PageSignal], numbers: Mapping[dt.date, int], bars: Mapping[dt.date, PageBar]
) -> dict[Action, dict[str, list[Any]]]:
    """Return the marks of each side as columns of equal length.

    Args:
        signals: any, in any order.
        numbers: place on the axis of each session that is shown.
        bars: bar of each session that is shown.
    """
    made: dict[Action, dict[str, list[Any]]] = {side: {name: [] for name in _COLUMNS} for side, *_ in _LOOKS}
    for one in sorted(signals, key=lambda one: one.session):
        if one.side not in made or one.session not in numbers:
            continue
        bar = bars[one.session]
        price = bar.low if one.side is Action.BUY else bar.high
        row = (numbers[one.session], price, one.side.value, one.session.isoformat(), one.model_version)
        for name, cell in zip(_COLUMNS, row, strict=True):
            made[one.side][name].append(cell)
    return made


def draw_signals(price: figure) -> dict[Action, ColumnDataSource]:
    """Add empty marks to a figure of prices and return what feeds them."""
    sources = {}
    drawn: list[DataRenderer] = []
    for side, mark, colour, baseline, away in _LOOKS:
        sources[side] = ColumnDataSource({name: [] for name in _COLUMNS}, name=f"signals_{side.value}")
        # text and not a marker: it stands below the low or above the high by as many pixels at every zoom
        looks: dict[str, Any] = {"text_color": colour, "text_align": "center", "text_baseline": baseline}
        drawn.append(price.text("n", "price", text=value(mark), y_offset=away, source=sources[side], **looks))
    tips = [("", "signal: @side"), ("session", "@session"), ("model", "@model")]
    price.add_tools(HoverTool(renderers=drawn, tooltips=tips))
    return sources
