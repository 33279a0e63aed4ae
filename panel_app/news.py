"""Tells the open pages of a server process at once that a series has changed, each ten times a second at most.

Belongs here: when a page looks at what is new. Stays out: what it shows then (``shell``), who has news
(``data_store``).

A page that looks ten times a second by itself shows a change 50 ms late on average, and looks in vain where nothing
happens. Here the first change after a pause is shown at once; what follows too soon waits and is shown together.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final

from tornado.ioloop import IOLoop

EVERY_S: Final = 0.1
"""Seconds between two patches of one page on average, at least."""
EARLY_S: Final = 0.09
"""How much sooner one may come when the one before came late: without it, changes that come ten times a second would
all wait for as long as the latest of them ever did."""


class News:
    """Wakes pages; every method but ``spread`` is called by the thread of the server's loop."""

    def __init__(self) -> None:
        self._pages: dict[Any, _Page] = {}
        self._loop: IOLoop | None = None
        self._lock = threading.Lock()
        self._changed: set[Hashable] = set()

    def join(self, document: Any, looks_at: Callable[[], Hashable], look: Callable[[], bool]) -> None:
        """Wake a page from now on.

        Args:
            document: the page's.
            looks_at: tells which series the page shows now; it is woken by news of that one alone.
            look: called under the document's lock; tells whether something was shown.
        """
        self._loop = IOLoop.current()
        self._pages[document] = _Page(document, looks_at, look, self._loop)

    def leave(self, document: Any) -> None:
        """Wake this page no more."""
        page = self._pages.pop(document, None)
        if page is not None:
            page.left = True

    def spread(self, *changed: Hashable) -> None:
        """Say which series have changed; from any thread."""
        if self._loop is None or not changed:
            return
        with self._lock:
            # once for all that came until the loop gets to it
            asked = bool(self._changed)
            self._changed.update(changed)
        if not asked:
            self._loop.add_callback(self._wake)

    def _wake(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, set()
        for page in self._pages.values():
            if page.looks_at() in changed:
                page.wake()


class _Page:
    def __init__(self, document: Any, looks_at: Callable[[], Hashable], look: Callable[[], bool], loop: IOLoop) -> None:
        self.looks_at = looks_at
        self._document = document
        self._look = look
        self._loop = loop
        self._due = 0.0
        self._waits = False
        self.left = False

    def wake(self) -> None:
        if not self._waits:
            self._waits = True
            self._loop.call_at(max(self._loop.time(), self._due - EARLY_S), self._next)

    def _next(self) -> None:
        if not self.left:
            self._document.add_next_tick_callback(self._now)

    def _now(self) -> None:
        # before it looks: what comes while it does is news again
        self._waits = False
        began = self._loop.time()
        # a look in vain, as while the browser is busy, is not made up for
        self._due = max(began, self._due) + EVERY_S if self._look() else began + EVERY_S + EARLY_S
