"""How far a page may be ahead of what its browser has drawn.

Belongs here: the count of what was sent and what was drawn. Stays out: what is sent (``views``), when (``news``).

A websocket takes whatever is sent. A browser that draws more slowly than changes come would show ever older ones, and
work off a queue for as long as it was kept busy. So the browser says after some frames that they were drawn, and a page
that is too far ahead waits; what it sends then is the newest. A tab that is not seen draws nothing and is sent little.
"""

import time
from collections.abc import Callable
from typing import Final

from bokeh.models import CustomJS, Range1d

MOST_AHEAD: Final = 4
"""Frames that were sent and not drawn yet."""
_ASK_EVERY: Final = 2
PATIENCE_S: Final = 10.0
"""After so long without a word the page goes on: a lost answer must not stop it for ever."""
_ANSWER: Final = "requestAnimationFrame(() => { probe.end = probe.start; });"


class Pace:
    """Counts the frames of one page.

    Args:
        drawn: called when the browser has drawn something and the page had to wait for it.
        clock: seconds of a monotonic clock.
    """

    def __init__(self, drawn: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.probe = Range1d(start=0, end=0, name="probe")
        """To be in the page: ``start`` is how many frames were sent, ``end`` how many were drawn."""
        self.probe.js_on_change("start", CustomJS(args={"probe": self.probe}, code=_ANSWER))
        self.probe.on_change("end", self._answered)
        self._drawn = drawn
        self._clock = clock
        self._sent = 0
        self._seen = 0
        self._waits_since: float | None = None

    def may_send(self) -> bool:
        """Tell whether a frame may be sent now; if not, ``drawn`` will be called."""
        if self._sent - self._seen < MOST_AHEAD:
            return True
        now = self._clock()
        if self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since >= PATIENCE_S:
            self._seen, self._waits_since = self._sent, None
            return True
        return False

    def sent(self) -> None:
        """Count a frame that was sent."""
        self._sent += 1
        if self._sent % _ASK_EVERY == 0:
            self.probe.start = self._sent

    def _answered(self, _attribute: str, _old: object, new: object) -> None:
        # a browser may say anything: it can only slow down its own page
        if isinstance(new, int | float) and self._seen < new <= self._sent:
            self._seen = int(new)
            waited, self._waits_since = self._waits_since is not None, None
            if waited:
                self._drawn()
