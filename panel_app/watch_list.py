"""All instruments at a glance, below the live chart: small multiples to choose from, and all of them indexed to 100.

Belongs here: the part of the live view that compares instruments, its sums and its markup. Stays out: the chart of the
one instrument (``views``), reading (``readers``).
"""

import datetime as dt
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Final

from panel_app import charts, tables
from panel_app.answers import AnswerView, column, html, pick_table, put
from panel_app.data_store import DataStore
from panel_app.questions import Glance, GlanceLine
from panel_app.shelf import Question
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.types import Instrument

SESSIONS: Final = 63
"""About a quarter."""
MOST_LINES: Final = 12
"""Lines in one chart; all instruments read have their small one."""
_WIDTH, _HEIGHT = 132, 34
GLANCE: Final = Glance()


class WatchList(AnswerView):
    """One viewer's list; choosing an instrument calls ``choose``."""

    def __init__(self, store: DataStore, choose: Callable[[Instrument], None]) -> None:
        super().__init__(store)
        self._choose = choose
        self._shown: tuple[GlanceLine, ...] = ()
        self._list = pick_table()
        self._list.param.watch(self._picked, "picked")
        self._age = html()
        self._chart = html()
        title = f"All instruments, last {SESSIONS} sessions"
        self.body = column(
            html(tables.section(title, note="adjusted for splits and dividends, 100 at the first of them")),
            self._list,
            self._chart,
            self._age,
        )

    def questions(self) -> Sequence[Question]:
        """Return what is asked."""
        return (GLANCE,)

    def draw(self) -> None:
        """Draw the list and the chart."""
        found: tuple[GlanceLine, ...] | None = self._watching.answer(GLANCE).value
        if found is not None and found is not self._shown:
            self._shown = found
            put(self._chart, charts.indexed([(one.instrument.symbol, one.index) for one in found[:MOST_LINES]]))
        put(self._list, glance_list(self._shown, self._selection.instrument if self._selection else None))

    def draw_ages(self, now: dt.datetime) -> None:
        """Say how old the list is."""
        put(self._age, tables.age_line("comparison", self._watching.answer(GLANCE), now))

    def _picked(self, event: Any) -> None:
        named = next((one.instrument for one in self._shown if str(one.instrument) == event.new), None)
        if named is not None and self._in_sight:
            self._choose(named)
            # the same one may be chosen again later
            self._list.picked = ""


def glance_of(series: SessionSeries) -> GlanceLine | None:
    """Return the newest sessions of a series indexed to 100, adjusted; None where there are fewer than two.

    A price that is not positive has no return: the index ends before it and begins anew after.
    """
    recent = series.tail(SESSIONS)
    index = [100.0]
    for row in range(1, len(recent)):
        before, now = float(recent.close[row - 1]) * float(recent.factor[row]), float(recent.close[row])
        index.append(index[-1] * now / before if before > 0 and now > 0 else 100.0)
    if len(index) < 2:
        return None
    return GlanceLine(series.instrument, from_ordinal(recent.sessions[-1]), float(recent.close[-1]), tuple(index))


def glance_list(lines: Sequence[GlanceLine], current: Instrument | None) -> str:
    """Return the list as buttons with a small chart each."""
    if not lines:
        return '<p class="quiet">no settled history yet</p>'
    return f'<div class="glances">{"".join(_glance(one, one.instrument == current) for one in lines)}</div>'


def _glance(one: GlanceLine, current: bool) -> str:
    change = one.index[-1] / one.index[0] - 1
    day = one.index[-1] / one.index[-2] - 1
    tone = "up" if change >= 0 else "down"
    pressed = "true" if current else "false"
    return (
        f'<button type="button" class="pick glance{" on" if current else ""}" aria-pressed="{pressed}" '
        f'data-pick="{escape(str(one.instrument))}"><b>{escape(one.instrument.symbol)}</b>'
        f'<span class="price">{one.close:,.2f}</span>{sparkline(one.index, tone)}'
        f'<span class="small {tone}">{change:+.1%}</span><span class="small quiet">last {day:+.1%}</span></button>'
    )


def sparkline(values: Sequence[float], tone: str) -> str:
    """Return a line as SVG; it takes the colour of its tone."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = _WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{number * step:.1f},{_HEIGHT - 2 - (value - low) / span * (_HEIGHT - 4):.1f}"
        for number, value in enumerate(values)
    )
    return (
        f'<svg class="{tone}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" aria-hidden="true">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )
