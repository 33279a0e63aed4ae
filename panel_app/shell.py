"""The page of one session: navigation, header, address, and the one view that is shown; bound to the session's life.

Belongs here: what all views share. Stays out: what a view shows (``views``, ``forecast_view`` and the others), what may
be chosen (``selection``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlencode

import panel
import panel_material_ui
import param

from panel_app import markup, tables
from panel_app.answers import WIDE, address, column
from panel_app.board import MYSQL, header_badges
from panel_app.data_store import DataStore
from panel_app.forecast_view import ForecastView
from panel_app.indicator_view import IndicatorView
from panel_app.model_view import ModelView
from panel_app.page_template import TEMPLATE
from panel_app.quality_view import QualityView
from panel_app.selection import Selection, ViewName, choose, from_address, ignored, view_named
from panel_app.series import SeriesKey
from panel_app.views import LiveView

# the types that these libraries state do not hold for their own constructors
pn: Any = panel
pmui: Any = panel_material_ui

TITLE: Final = "streamlake"
TICK_MS: Final = 500
"""How often texts, ages and answers are looked at; a change of the series that is shown wakes its pages (``news``)."""
MOST_VIEWERS: Final = 100
TITLES: Final = {
    ViewName.LIVE: "Live",
    ViewName.FORECASTS: "Forecasts",
    ViewName.MODELS: "Models",
    ViewName.QUALITY: "Quality & operations",
    ViewName.INDICATORS: "Indicators",
}


class View(Protocol):
    """What the shell needs of a view."""

    body: Any
    controls: Sequence[Any]

    def show(self, selection: Selection | None) -> None:
        """Come into sight with this selection; None: there is no instrument yet."""

    def tick(self) -> None:
        """Show what is new; called twice a second while in sight."""

    def rest(self) -> None:
        """Another view is shown now: let go of what only sight needs."""

    def close(self) -> None:
        """The session is over: let go of everything."""


_MADE: Final[Mapping[ViewName, Callable[[DataStore], View]]] = {
    ViewName.FORECASTS: ForecastView,
    ViewName.MODELS: ModelView,
    ViewName.QUALITY: QualityView,
    ViewName.INDICATORS: IndicatorView,
}
"""Views that are made when they are looked at for the first time."""
_BY_INSTRUMENT: Final = (ViewName.LIVE, ViewName.FORECASTS)
"""Views of one instrument: they show the choice of it."""
_MOST_WORDS: Final = 20
_IN_LINES: Final = ":host { flex-wrap: wrap; align-items: center; gap: 4px; }"
_ROOMY: Final = """
:host { padding: 8px; gap: 8px; }
@media (min-width: 900px) { :host { padding: 12px 20px; } }
"""

Arguments = Mapping[str, Sequence[bytes]]


class Shell:
    """One viewer's page."""

    def __init__(self, store: DataStore, arguments: Arguments) -> None:
        self._store = store
        self._arguments = arguments
        self._selection: Selection | None = None
        self._name = view_named(arguments)
        self._settling = False
        self._closed = False
        # from the start, in sight or not: its figures must not come into a page that is open already, where they would
        # be measured before they are drawn
        self._live = LiveView(store, self.select)
        self._views: dict[ViewName, View] = {ViewName.LIVE: self._live}
        self._badges = pn.pane.HTML("", stylesheets=[markup.STYLE], **WIDE)
        self._notice = pn.pane.HTML("", stylesheets=[markup.STYLE], visible=False, **WIDE)
        self._instrument = pmui.Select(label="Instrument", options=[], size="small", width=260, margin=(5, 10, 5, 0))
        self._tabs = pmui.Tabs(
            *((title, pn.Spacer(height=0)) for title in TITLES.values()),
            active=list(TITLES).index(self._name),
            sx={"& .MuiTab-root": {"textTransform": "none", "minHeight": "42px"}},
            **WIDE,
        )
        self._address = address()
        self._controls = pn.Row(self._instrument, *self._live.controls, stylesheets=[_IN_LINES], **WIDE)
        self._body = column(self._live.body)
        self.page = self._layout()
        self._instrument.param.watch(self._chosen, "value")
        self._tabs.param.watch(self._turned, "active")
        self._address.param.watch(lambda event: self.follow(event.new), "seen")
        self._put_view()

    def tick(self) -> None:
        """Show what is new; does nothing when nothing is."""
        if self._closed:
            return
        if self._selection is None:
            self._offer()
        self._views[self._name].tick()
        self._refresh_badges()

    def look(self) -> bool:
        """Show what is new in the series, if it is in sight; return whether something was shown."""
        return self.looks_at() is not None and self._live.look()

    def looks_at(self) -> SeriesKey | None:
        """Return the series that is in sight."""
        if self._closed or self._name is not ViewName.LIVE or self._selection is None:
            return None
        return self._selection.key

    def close(self) -> None:
        """Let go of everything; the session is over."""
        self._closed = True
        for view in self._views.values():
            view.close()
        self._selection = None

    def select(self, selection: Selection) -> None:
        """Show this selection in the view that is in sight; the live series follows wherever it is."""
        self._selection = selection
        self._announce(selection)
        self._views[self._name].show(selection)

    def _announce(self, selection: Selection) -> None:
        """Let choice, live series and address follow."""
        self._fill_instruments(selection)
        self._live.follow(selection)
        query = {"view": self._name.value, **selection.query(self._store.listed())}
        self._address.wanted = f"?{urlencode(query)}"

    def go(self, name: ViewName) -> None:
        """Show another view."""
        if name is self._name:
            return
        self._views[self._name].rest()
        self._name = name
        if self._selection is not None:
            self._announce(self._selection)
        # last: what changes in a new view before the browser has it would not find its place
        self._put_view()

    def follow(self, search: str) -> None:
        """Follow the address after the viewer went back or forward in it; what it does not name stays as it is."""
        try:
            words = parse_qs(search.removeprefix("?"), max_num_fields=_MOST_WORDS)
        except ValueError:
            # more words than any address of this page has
            return
        arguments = {name: [value.encode() for value in values] for name, values in words.items()}
        selection = from_address(self._store.listed(), arguments)
        if self._closed or self._selection is None or selection is None or ignored(self._store.listed(), arguments):
            return
        if (name := view_named(arguments)) is not self._name:
            self._settling = True
            try:
                self._tabs.active = list(TITLES).index(name)
            finally:
                self._settling = False
            self._selection = selection
            self.go(name)
        elif selection != self._selection:
            self.select(selection)

    def _offer(self) -> None:
        """Wait for the instruments, then begin with what the address names."""
        listed = self._store.listed()
        selection = from_address(listed, self._arguments)
        if selection is None:
            return
        if refused := ignored(listed, self._arguments):
            said = f"The address asks for something that is not here ({', '.join(refused)}): shown is what there is."
            self._notice.param.update(object=tables.paragraph(said, "notice"), visible=True)
        self.select(selection)

    def _chosen(self, event: Any) -> None:
        """Take the chosen instrument if it is one there is; anything else leaves the page as it is."""
        if self._settling or self._selection is None:
            return
        listed = self._store.listed()
        named = next((one.instrument for one in listed if str(one.instrument) == event.new), None)
        if named is not None:
            self._notice.visible = False
            before = self._selection
            wanted = choose(listed, named.symbol, named.exchange, before.interval.value, before.range)
            self.select(wanted or before)

    def _turned(self, event: Any) -> None:
        if not self._settling and isinstance(event.new, int) and 0 <= event.new < len(TITLES):
            self._notice.visible = False
            self.go(list(TITLES)[event.new])

    def _put_view(self) -> None:
        """Bring the view into sight, made when it is looked at for the first time: most viewers look at one or two."""
        fresh = self._name not in self._views
        if fresh:
            self._views[self._name] = _MADE[self._name](self._store)
        for name, view in self._views.items():
            for part in (view.body, *view.controls):
                part.visible = name is self._name
        self._instrument.visible = self._name in _BY_INSTRUMENT
        shown = self._views[self._name]
        shown.show(self._selection)
        if fresh:
            self._controls.extend(shown.controls)
            self._body.append(shown.body)

    def _fill_instruments(self, selection: Selection) -> None:
        self._settling = True
        try:
            options = {_option(one.instrument.symbol, one.name): str(one.instrument) for one in self._store.listed()}
            self._instrument.param.update(options=options, value=str(selection.instrument))
        finally:
            self._settling = False

    def _refresh_badges(self) -> None:
        status = self._store.status()
        shown = markup.badges(header_badges(status, self._store.now()))
        if self._selection is None and MYSQL not in status.down:
            shown += tables.paragraph("waiting for the first bars", "quiet")
        if self._badges.object != shown:
            self._badges.object = shown

    def _layout(self) -> Any:
        main = pn.Column(
            self._badges,
            self._tabs,
            self._notice,
            self._controls,
            self._body,
            self._address,
            stylesheets=[markup.UNCAPPED, _ROOMY],
            **WIDE,
        )
        return _page(main, main_width=1400)


class _Busy(param.Parameterized):
    """Says whether one page works; nothing sets it."""

    busy = param.Boolean(default=False)


def _page(main: Any, **more: Any) -> Any:
    return _freed(pmui.Page(title=TITLE, main=[main], template=TEMPLATE, busy_indicator=None, **more))


def _freed(page: Any) -> Any:
    """Return a page that the process does not hold when its session is over.

    A ``Page`` watches the busy state of the whole process, which never lets go of a watcher: each page that was ever
    shown would stay, 3 MiB each. Watching a state of its own it goes with its session.
    """
    made: Any = _Busy
    own = made()
    with pn.util.edit_readonly(page):
        page.busy = own.param.busy
    return page


def _option(symbol: str, name: str | None) -> str:
    return f"{symbol} · {name}" if name else symbol


def make_page(store: DataStore, arguments: Arguments) -> Any:
    """Return the page of a new session, bound to its life: it is updated while it is open and freed when it ends."""
    if store.viewers() >= MOST_VIEWERS:
        busy = pmui.Alert("This server shows as many pages as it can. Please try again in a while.", severity="info")
        return _page(busy)
    # names the extensions that this page uses, none: else the browser gets those of every component there is
    pn.extension()
    shell = Shell(store, arguments)
    shell.tick()
    document = pn.state.curdoc

    # From when the browser has fetched the document until it says that it has drawn it, Panel drops changes of
    # components: it takes the document to be fetched later. So nothing changes before.
    # Not Panel's own periodic callback: it marks the page busy and idle at every tick, for every viewer of the process.
    def drawn() -> None:
        document.add_periodic_callback(shell.tick, TICK_MS)
        store.news.join(document, shell.looks_at, shell.look)
        # what came while it was drawn is shown by the next tick

    def over(_context: Any) -> None:
        store.news.leave(document)
        shell.close()

    pn.state.onload(drawn)
    pn.state.on_session_destroyed(over)
    return shell.page
