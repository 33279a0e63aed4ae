"""Signals on the chart: below a low to buy, above a high to sell, at the session they are for, and nowhere else."""

import datetime as dt

from panel_app import plots
from panel_app.signal_marks import signal_columns
from streamlake_assets.market.signals import Action
from streamlake_assets.market.types import Status
from streamlake_assets.stores.page_rows import PageBar, PageSignal

FIRST = dt.date(2013, 1, 2)
DAYS = [FIRST + dt.timedelta(days=n) for n in range(3)]
NUMBERS = {day: 7 + n for n, day in enumerate(DAYS)}


def bars() -> dict[dt.date, PageBar]:
    def of(day: dt.date, n: int) -> PageBar:
        moment = dt.datetime(day.year, day.month, day.day, 5, tzinfo=dt.UTC)
        return PageBar(moment, 10.0, 12.0 + n, 9.0 - n, 11.0, 100.0, Status.SETTLED, False, None)

    return {day: of(day, n) for n, day in enumerate(DAYS)}


def test_a_signal_stands_at_its_session_beyond_the_bar_and_hold_is_no_mark() -> None:
    shown = bars()
    signals = [
        PageSignal(DAYS[2], Action.SELL, "m2"),
        PageSignal(DAYS[0], Action.BUY, "m1"),
        PageSignal(DAYS[1], Action.HOLD, "m1"),
        PageSignal(FIRST - dt.timedelta(days=9), Action.BUY, "m1"),
    ]
    made = signal_columns(signals, NUMBERS, shown)
    assert made[Action.BUY] == {
        "n": [7],
        "price": [shown[DAYS[0]].low],
        "side": ["buy"],
        "session": [DAYS[0].isoformat()],
        "model": ["m1"],
    }
    assert (made[Action.SELL]["n"], made[Action.SELL]["price"]) == ([9], [shown[DAYS[2]].high])


def test_a_chart_of_other_bars_has_no_marks() -> None:
    made = signal_columns([PageSignal(FIRST, Action.BUY, "m1")], {}, {})
    assert all(column == [] for columns in made.values() for column in columns.values())
    chart = plots.make_chart()
    assert {side: dict(source.data) for side, source in chart.signals.items()} == made
