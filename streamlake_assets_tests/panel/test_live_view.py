"""The live chart after many small updates holds what it would hold if it were drawn at once."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from panel_app import plots
from panel_app.data_store import DataStore
from panel_app.selection import choose
from panel_app.series import MOST_BARS
from panel_app.views import LiveView
from streamlake_assets.market.types import AssetClass, Interval, Status
from streamlake_assets.stores.page_rows import Listed
from streamlake_assets_tests.panel.page_data import daily
from streamlake_assets_tests.panel.test_data_store import IBM, arrive, rows, store_at


def shown(view: LiveView) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in view.chart.bars.data.items()}


def draw(view: LiveView) -> None:
    """Say what a browser says when it has drawn what it was sent."""
    (probe,) = view.chart.price.tags
    probe.end = probe.start


def expected(store: DataStore, view: LiveView) -> dict[str, list[Any]]:
    delta = store.delta(IBM, None)
    assert delta is not None
    return plots.columns(delta.bars, shown(view)["n"][0], Interval.D1, "XNYS")


@pytest.mark.parametrize("length", [1, 30, 999, 1_001, 1_500, MOST_BARS - 1, MOST_BARS])
def test_bars_that_come_and_change_one_by_one_are_drawn_as_if_all_at_once(length: int) -> None:
    store = store_at(length)
    store.note_listed((Listed(IBM.instrument, AssetClass.STOCK, "IBM", (Interval.D1,)),))
    view = LiveView(store, lambda _: None)
    view.show(choose(store.listed(), "IBM", "XNYS", "1d", "all"))
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(*(daily("IBM", number) for number in range(length)), offset=length))
    view.tick()
    offset = length
    # two new sessions, each provisional first and changed twice; then one that was settled long ago is corrected
    later = [
        daily("IBM", number, close=close, status=status, as_of=dt.datetime(2030, 1, 1, hour, tzinfo=dt.UTC))
        for number in (length, length + 1)
        for close, status, hour in (
            ("90", Status.PROVISIONAL, 1),
            ("95", Status.PROVISIONAL, 2),
            ("97", Status.SETTLED, 3),
        )
    ]
    corrected = daily("IBM", max(0, length - 40), close="140", as_of=dt.datetime(2031, 1, 1, tzinfo=dt.UTC))
    for bar in (*later, corrected):
        arrive(store, bar, offset=offset)
        offset += 1
        view.tick()
        draw(view)
        assert shown(view) == expected(store, view), (bar.bar_time, bar.close)
        assert shown(view)["close"][-1] == float(bar.close if bar is not corrected else Decimal(97))
    view.close()
