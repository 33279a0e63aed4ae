"""The live view of one session: chart, cards, and the small update that runs when its series has changed.

Belongs here: Panel objects and what binds them to the data store. Stays out: reading servers (``data_store``), drawing
(``plots``), HTML (``markup``), what may be chosen (``selection``), everything around a view (``shell``).
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import panel
import panel_material_ui

from panel_app import markup, plots
from panel_app.answers import WIDE, column
from panel_app.board import KAFKA, MYSQL
from panel_app.data_store import DataStore
from panel_app.pace import Pace
from panel_app.selection import Selection, choose, ranges_of, valid_range
from panel_app.series import MOST_BARS, Delta
from panel_app.signal_marks import signal_columns
from panel_app.watch_list import WatchList
from streamlake_assets.market.sessions import exchange_zone
from streamlake_assets.market.types import Instrument
from streamlake_assets.market.types import Status as BarStatus
from streamlake_assets.stores.page_rows import PageBar

# the types that these libraries state do not hold for their own constructors
pn: Any = panel
pmui: Any = panel_material_ui


class LiveView:
    """One viewer's chart of one series."""

    def __init__(self, store: DataStore, select: Callable[[Selection], None]) -> None:
        self._store = store
        self._select = select
        self._selection: Selection | None = None
        self._cursor: tuple[int, int] | None = None
        self._numbers: dict[dt.datetime, int] = {}
        self._bars: dict[dt.datetime, PageBar] = {}
        self._end = 0.0
        self._settling = False
        # capitals would make "5m" five months
        plain = {"& .MuiToggleButton-root": {"textTransform": "none", "whiteSpace": "nowrap"}}
        self._heading = pn.pane.HTML("", stylesheets=[markup.STYLE], **WIDE)
        self._counter = pn.pane.HTML("", stylesheets=[markup.STYLE], width=1, height=1, margin=0)
        self._cards = pn.pane.HTML("", stylesheets=[markup.STYLE], **WIDE)
        self._interval = pmui.RadioButtonGroup(options=[], size="small", margin=(5, 10, 5, 0), sx=plain)
        self._range = pmui.RadioButtonGroup(options=[], size="small", margin=(5, 0), sx=plain)
        self.chart = plots.make_chart()
        self._pace = Pace(self.look)
        # no picture shows it: it is there to be in the page
        self.chart.price.tags = [self._pace.probe]
        self._watch_list = WatchList(store, self._choose_instrument)
        self.controls: Sequence[Any] = (self._interval, self._range)
        self.body = self._layout()
        for widget in self.controls:
            widget.param.watch(self._chosen, "value")

    def tick(self) -> None:
        """Show what is new; does nothing when nothing is."""
        if self._selection is not None:
            self.look()
            self._refresh_texts()
            self._watch_list.tick()

    def look(self) -> bool:
        """Show what is new in the series, unless the browser is busy with what came before; return whether it did."""
        # first whether it may: what a busy browser has missed is not gathered again and again
        if self._selection is None or not self._pace.may_send():
            return False
        delta = self._store.delta(self._selection.key, self._cursor)
        if delta is None:
            return False
        self._show(delta)
        self._pace.sent()
        return True

    def rest(self) -> None:
        """Stay as it is while another view is shown; its series is kept, so coming back is quick."""
        self._watch_list.rest()

    def close(self) -> None:
        """Let go of the series; the session is over."""
        self._watch_list.close()
        if self._selection is not None:
            self._store.unwatch(self._selection.key)
            self._selection = None

    def show(self, selection: Selection | None) -> None:
        """Come into sight with this series and range."""
        if selection is not None:
            self.follow(selection)
        self._watch_list.show(selection)

    def follow(self, selection: Selection) -> None:
        """Take this series and range, in sight or not: coming back to it is quick."""
        before = self._selection
        if before == selection:
            return
        self._selection = selection
        if before is None or before.key != selection.key:
            self._store.watch(selection.key)
            if before is not None:
                self._store.unwatch(before.key)
            self._cursor = None
            self._numbers, self._bars = {}, {}
            self.chart.means.data = dict(plots.means([], 0))
            self.chart.bars.data = {name: [] for name in plots.COLUMNS}
        self._fill_widgets(selection)
        self._fit_window()
        self._refresh_texts()

    def _choose_instrument(self, instrument: Instrument) -> None:
        before = self._selection
        if before is not None:
            words = (before.interval.value, before.range)
            self._select(choose(self._store.listed(), instrument.symbol, instrument.exchange, *words) or before)

    def _chosen(self, event: Any) -> None:
        """Take a widget's value if it is one of its options; anything else leaves the view as it is."""
        if self._settling or self._selection is None:
            return
        instrument = self._selection.instrument
        words = (str(self._interval.value), str(self._range.value))
        wanted = choose(self._store.listed(), instrument.symbol, instrument.exchange, *words)
        self._select(wanted or self._selection)

    def _fill_widgets(self, selection: Selection) -> None:
        one = next((one for one in self._store.listed() if one.instrument == selection.instrument), None)
        self._settling = True
        try:
            intervals = [interval.value for interval in one.intervals] if one else [selection.interval.value]
            self._interval.param.update(options=intervals, value=selection.interval.value)
            shown = valid_range(selection.interval, selection.range)
            self._range.param.update(options=list(ranges_of(selection.interval)), value=shown)
        finally:
            self._settling = False

    # showing

    def _show(self, delta: Delta) -> None:
        assert self._selection is not None  # noqa: S101  # only a selected series has a delta
        newest = max(self._bars, default=None)
        first_time = not self._bars
        follows = self._follows()
        self._cursor = delta.cursor
        changed = [bar for bar in delta.bars if bar.bar_time in self._numbers]
        fresh = [bar for bar in delta.bars if bar.bar_time not in self._numbers]
        if delta.whole or newest is None or any(bar.bar_time < newest for bar in fresh):
            whole = delta if delta.whole else self._store.delta(self._selection.key, None)
            if whole is not None:
                self._cursor = whole.cursor
                self._draw_all(whole.bars)
        else:
            self._patch(changed)
            self._append(fresh)
        # texts wait for the next tick: to write them costs the server and the browser as much as the candle does
        if first_time:
            self._refresh_texts()
        if first_time or follows:
            self._fit_window()

    def _draw_all(self, bars: tuple[PageBar, ...]) -> None:
        assert self._selection is not None  # noqa: S101
        self._bars = {bar.bar_time: bar for bar in bars}
        self._numbers = {bar.bar_time: number for number, bar in enumerate(bars)}
        self.chart.means.data = dict(plots.means(bars, 0))
        self.chart.bars.data = plots.columns(bars, 0, self._selection.interval, self._selection.instrument.exchange)

    def _patch(self, changed: list[PageBar]) -> None:
        assert self._selection is not None  # noqa: S101
        if not changed:
            return
        first = min(self._numbers.values())
        patches: dict[str, list[tuple[int, Any]]] = {name: [] for name in plots.COLUMNS}
        for bar in changed:
            self._bars[bar.bar_time] = bar
            number = self._numbers[bar.bar_time]
            made = plots.row(bar, number, self._selection.interval, self._selection.instrument.exchange)
            for name, value in made.items():
                patches[name].append((number - first, value))
        # the browser makes the moving averages of them
        self.chart.bars.patch(patches)

    def _append(self, fresh: list[PageBar]) -> None:
        assert self._selection is not None  # noqa: S101
        if not fresh:
            return
        first = max(self._numbers.values()) + 1
        for number, bar in enumerate(fresh, first):
            self._numbers[bar.bar_time] = number
            self._bars[bar.bar_time] = bar
        made: dict[str, Any] = dict(
            plots.columns(fresh, first, self._selection.interval, self._selection.instrument.exchange)
        )
        self.chart.bars.stream(made, rollover=MOST_BARS)
        bars = self._ordered()
        for bar in bars[: max(0, len(bars) - MOST_BARS)]:
            del self._numbers[bar.bar_time], self._bars[bar.bar_time]

    def _ordered(self) -> list[PageBar]:
        return [self._bars[moment] for moment in sorted(self._bars)]

    def _follows(self) -> bool:
        """Tell whether the viewer still looks at the newest bars."""
        end = self.chart.x.end
        return isinstance(end, int | float) and abs(float(end) - self._end) < 1

    def _fit_window(self) -> None:
        if self._selection is None or not self._bars:
            return
        bars = self._ordered()
        shown = ranges_of(self._selection.interval)[self._selection.range]
        exchange = self._selection.instrument.exchange
        start, self._end = plots.window(bars, min(self._numbers.values()), shown, self._selection.interval, exchange)
        plots.fit(self.chart, bars, start, self._end)

    def _refresh_texts(self) -> None:
        if self._selection is None:
            return
        status = self._store.status()
        bars = self._ordered()
        last = bars[-1] if bars else None
        before = bars[-2].close if len(bars) > 1 else None
        _set(self._heading, self._heading_text(last, before, status.down))
        label = self._label(last) if last else "none"
        _set(self._counter, markup.counter(len(bars), label))
        forecasts = self._store.forecasts(self._selection.instrument)
        _set(self._cards, markup.forecast_cards(forecasts))
        self._place_forecast(list(forecasts or ()))
        self._place_signals()

    def _heading_text(self, last: PageBar | None, before: float | None, down: tuple[str, ...]) -> str:
        assert self._selection is not None  # noqa: S101
        notice = ""
        if self._cursor is None:
            notice = "loading"
        elif not self._store.is_whole(self._selection.key):
            notice = f"history incomplete while {MYSQL} is away" if MYSQL in down else "history incomplete"
        elif KAFKA in down:
            notice = "live bars pause"
        notes = ""
        if last is not None:
            kind = ["provisional"] if last.status is BarStatus.PROVISIONAL else []
            notes = ", ".join([self._label(last), *kind, *(["synthetic"] if last.synthetic else [])])
        return markup.heading(self._selection.instrument.symbol, last.close if last else None, before, notes, notice)

    def _label(self, bar: PageBar) -> str:
        assert self._selection is not None  # noqa: S101
        return plots.bar_label(bar.bar_time, self._selection.interval, self._selection.instrument.exchange)

    def _place_forecast(self, forecasts: list[Any]) -> None:
        """Draw the next session's forecast at its place, on daily charts only."""
        assert self._selection is not None  # noqa: S101
        spoken = [one.values for one in forecasts if one.values is not None]
        session = max((values.session for values in spoken), default=None)
        made: dict[str, list[Any]] = plots.forecast_columns([], None, None, 0)
        if session is not None and self._selection.interval.value == "1d" and self._bars:
            dates = self._moments()
            known = max(values.known_session for values in spoken)
            close = self._bars[dates[known]].close if known in dates else None
            number = self._numbers[dates[session]] if session in dates else max(self._numbers.values()) + 1
            made = plots.forecast_columns(forecasts, close, session, number)
        if made != dict(self.chart.forecast.data):
            self.chart.forecast.data = made

    def _moments(self) -> dict[dt.date, dt.datetime]:
        """Return the bar time of each session of a daily series that is shown."""
        assert self._selection is not None  # noqa: S101
        zone = exchange_zone(self._selection.instrument.exchange)
        return {moment.astimezone(zone).date(): moment for moment in self._bars}

    def _place_signals(self) -> None:
        """Mark the sessions that there are signals for, on daily charts only."""
        assert self._selection is not None  # noqa: S101
        signals = self._store.signals(self._selection.instrument)
        if not signals and not any(source.data["n"] for source in self.chart.signals.values()):
            return
        moments = self._moments() if self._selection.interval.value == "1d" else {}
        numbers = {session: self._numbers[moment] for session, moment in moments.items()}
        bars = {session: self._bars[moment] for session, moment in moments.items()}
        for side, made in signal_columns(signals, numbers, bars).items():
            if made != dict(self.chart.signals[side].data):
                self.chart.signals[side].data = made

    def _layout(self) -> Any:
        footer = pn.pane.HTML(
            f"{markup.legend()}<p class='small quiet'>Not investment advice. Times are those of the exchange.</p>",
            stylesheets=[markup.STYLE],
            sizing_mode="stretch_width",
        )
        return column(
            self._heading,
            pn.pane.Bokeh(self.chart.price, **WIDE),
            pn.pane.Bokeh(self.chart.volume, **WIDE),
            self._cards,
            self._watch_list.body,
            footer,
            self._counter,
            gap="8px",
        )


def _set(pane: Any, text: str) -> None:
    if pane.object != text:
        pane.object = text
