"""One series as it is shown: documents, rows and the tail of the stream, merged without a seam.

Belongs here: the merge by version order, the bound on what is held, and what changed since somebody last looked. Stays
out: where bars come from (``data_store``), pictures (``plots``). Nothing here is thread-safe; ``data_store`` locks.

Merging the same bar twice changes nothing, and the order of arrival does not matter. So a tail may begin anywhere at or
before the offsets of the rows: what overlaps is harmless, and there is no moment at which a bar could be missed.
"""

import datetime as dt
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from streamlake_assets.market.types import Bar, Instrument, Interval, Status
from streamlake_assets.market.versions import bar_version
from streamlake_assets.stores.page_rows import PageBar

MOST_BARS: Final = 2_000
"""Bars held and drawn of one series: the newest ones."""
_MOST_CHANGES: Final = 1_000
"""Changes remembered; who fell further behind draws everything again."""


class SeriesKey(msgspec.Struct, frozen=True, order=True):
    """Which series: an instrument at an interval."""

    instrument: Instrument
    interval: Interval


class Delta(msgspec.Struct, frozen=True):
    """What a viewer has not seen yet; ``cursor`` is what to ask with next time.

    ``whole``: draw everything again from ``bars``. Else ``bars`` are the ones that changed or came, oldest first.
    """

    cursor: tuple[int, int]
    whole: bool
    bars: tuple[PageBar, ...]


def tail_bar(bar: Bar, rank: int) -> PageBar:
    """Return an arrived bar as pages show it, given the rank of its source."""
    return PageBar(
        bar.bar_time,
        float(bar.open),
        float(bar.high),
        float(bar.low),
        float(bar.close),
        None if bar.volume is None else float(bar.volume),
        bar.status,
        bar.synthetic,
        bar_version(bar, rank),
    )


def newer(shown: PageBar | None, arrival: PageBar) -> bool | None:
    """Tell whether an arrival replaces what is shown; None when only the tables can tell.

    A document holds settled values without their version: a provisional bar never replaces them, equal values need not.
    """
    if shown is None:
        return True
    if shown.version is not None and arrival.version is not None:
        return arrival.version > shown.version
    if arrival.status is Status.PROVISIONAL or _values(arrival) == _values(shown):
        return False
    return None


def join_history(documents: Iterable[PageBar], rows: Iterable[PageBar]) -> list[PageBar]:
    """Join settled documents and the rows that complete them, oldest first.

    A settled row past the documents' watermark knows more than the document; a provisional row only fills a hole.
    """
    joined = {bar.bar_time: bar for bar in documents}
    for row in rows:
        if row.status is Status.SETTLED or row.bar_time not in joined:
            joined[row.bar_time] = row
    return [joined[moment] for moment in sorted(joined)]


class Series:
    """The newest bars of one series and a log of what changed."""

    def __init__(self, most: int = MOST_BARS) -> None:
        self._most = most
        self._bars: dict[dt.datetime, PageBar] = {}
        self._floor: dt.datetime | None = None
        self._generation = 0
        self._changes: deque[tuple[int, dt.datetime]] = deque(maxlen=_MOST_CHANGES)
        self._count = 0
        self.unsure = False
        """Whether a bar arrived that only the tables can place."""

    def __len__(self) -> int:
        return len(self._bars)

    @property
    def generation(self) -> int:
        """How often the whole was replaced; 0: never loaded."""
        return self._generation

    def bars(self) -> tuple[PageBar, ...]:
        """Return all bars, oldest first."""
        return tuple(self._bars[moment] for moment in sorted(self._bars))

    def replace(self, history: Iterable[PageBar]) -> None:
        """Begin again with these bars, oldest first; the tail must be merged again after it."""
        kept = list(history)[-self._most :]
        self._bars = {bar.bar_time: bar for bar in kept}
        self._floor = kept[0].bar_time if len(kept) == self._most else None
        self._generation += 1
        self._changes.clear()
        self.unsure = False

    def merge(self, arrival: PageBar) -> bool:
        """Merge one bar; return whether what is shown changed."""
        if self._floor is not None and arrival.bar_time < self._floor:
            return False
        verdict = newer(self._bars.get(arrival.bar_time), arrival)
        if verdict is None:
            self.unsure = True
        if not verdict:
            return False
        self._bars[arrival.bar_time] = arrival
        self._count += 1
        self._changes.append((self._count, arrival.bar_time))
        if len(self._bars) > self._most:
            oldest = min(self._bars)
            del self._bars[oldest]
            self._floor = min(self._bars)
        return True

    def since(self, cursor: tuple[int, int] | None) -> Delta | None:
        """Return what changed since a cursor; None when nothing did. ``cursor`` None: everything."""
        here = (self._generation, self._count)
        if cursor == here:
            return None
        forgotten = (
            len(self._changes) == self._changes.maxlen and cursor is not None and self._changes[0][0] > cursor[1] + 1
        )
        if cursor is None or cursor[0] != self._generation or forgotten:
            return Delta(here, True, self.bars())
        moments = {moment for count, moment in self._changes if count > cursor[1]}
        return Delta(here, False, tuple(self._bars[moment] for moment in sorted(moments & self._bars.keys())))


def _values(bar: PageBar) -> tuple[float | None, ...]:
    return (bar.open, bar.high, bar.low, bar.close, bar.volume)
