"""A plug-in of the page's server process that notes when updates arrive and when each session takes them up.

``panel serve ... --plugins benchmarks.peers.page_probe``. It wraps three methods of the page from outside; what they do
stays the same. An update is known by the whole volume of its bar, from ``FIRST`` on; a session by the word ``viewer``
of its address. ``/probe`` answers what was noted, by the clock of the machine in seconds, and how many sessions are
open. Importing it wraps: that is what a plug-in of ``panel serve`` can do.
"""

import time
from collections.abc import Iterable
from typing import Any

from tornado.web import RequestHandler

from benchmarks.probe_names import FIRST, PROBE_PATH
from panel_app.data_store import DataStore
from panel_app.shell import Shell
from panel_app.views import LiveView

arrived: list[tuple[int, float]] = []
taken: dict[str, list[tuple[int, float]]] = {}
_viewers: dict[int, str] = {}
"""Live view, by its place in memory, to the word of its session; empty where it has none."""

_init, _arrived, _show, _close = Shell.__init__, DataStore.arrived, LiveView._show, LiveView.close


def _newest(bars: Iterable[Any]) -> int:
    return max((int(bar.volume or 0) for bar in bars), default=0) - FIRST


def _note_viewer(shell: Shell, store: DataStore, arguments: Any) -> None:
    _init(shell, store, arguments)
    word = (arguments.get("viewer") or [b""])[0].decode()
    _viewers[id(shell._live)] = word


def _note_arrival(store: DataStore, decoded: Any) -> None:
    known = list(decoded)
    _arrived(store, known)
    number = _newest(bar for _, bar in known if bar is not None)
    if number >= 0:
        arrived.append((number, time.time()))


def _note_taken(view: LiveView, delta: Any) -> None:
    number, word = _newest(delta.bars), _viewers.get(id(view))
    if number >= 0 and word:
        taken.setdefault(word, []).append((number, time.time()))
    _show(view, delta)


def _forget(view: LiveView) -> None:
    # the place in memory is free for another view then
    _viewers.pop(id(view), None)
    _close(view)


class Probe(RequestHandler):
    """Answers what was noted."""

    def get(self) -> None:
        """Answer."""
        self.write({"arrived": arrived, "taken": taken, "open": len(_viewers)})


def _wrap() -> None:
    for owner, name, wrapper in (
        (Shell, "__init__", _note_viewer),
        (DataStore, "arrived", _note_arrival),
        (LiveView, "_show", _note_taken),
        (LiveView, "close", _forget),
    ):
        setattr(owner, name, wrapper)


_wrap()
ROUTES: list[tuple[str, type[RequestHandler], dict[str, str]]] = [(PROBE_PATH, Probe, {})]
