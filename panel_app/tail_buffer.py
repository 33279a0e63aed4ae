"""The newest bars of the stream that the tables may not have yet, one per key, bounded.

Belongs here: what is kept, what is let go, and from which offset on it is complete. Stays out: Kafka, threads.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from panel_app.series import SeriesKey, newer
from streamlake_assets.stores.page_rows import PageBar

MOST_KEPT: Final = 50_000


class Kept(msgspec.Struct):
    """The greatest version of one bar, and the place of the last message about it."""

    bar: PageBar
    partition: int
    offset: int


class TailBuffer:
    """Bars by series and bar time; complete from ``floor`` on."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[SeriesKey, dict[object, Kept]] = {}
        self._size = 0
        self.floor: dict[int, int] = {}
        """First offset of each partition from which nothing is missing."""

    def __len__(self) -> int:
        return self._size

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Forget everything: the tail begins at these offsets."""
        self._kept.clear()
        self._size = 0
        self.floor = dict(offsets)

    def add(self, key: SeriesKey, bar: PageBar, partition: int, offset: int) -> None:
        """Keep an arrival, or the greater version that is here already."""
        bars = self._kept.setdefault(key, {})
        kept = bars.get(bar.bar_time)
        if kept is None:
            bars[bar.bar_time] = Kept(bar, partition, offset)
            self._size += 1
            return
        if newer(kept.bar, bar):
            kept.bar = bar
        kept.offset = max(kept.offset, offset)

    def of(self, key: SeriesKey) -> Iterable[PageBar]:
        """Return what is kept of one series."""
        return [kept.bar for kept in self._kept.get(key, {}).values()]

    def release(self, stored: Mapping[int, int]) -> None:
        """Let go of what the tables have; when still too much is kept, also of the oldest, which raises the floor.

        Nobody may be between reading rows and merging this buffer meanwhile.
        """
        self._drop(dict(stored))
        if self._size <= self._most:
            return
        places = sorted((kept.offset, kept.partition) for bars in self._kept.values() for kept in bars.values())
        limits = dict(self.floor)
        for offset, partition in places[: self._size - self._most // 2]:
            limits[partition] = max(limits.get(partition, 0), offset + 1)
        self.floor.update(limits)
        self._drop(limits)

    def complete_from(self, offsets: Mapping[int, int]) -> bool:
        """Tell whether rows read together with these next offsets and this buffer leave no gap."""
        return all(offsets.get(partition, 0) >= floor for partition, floor in self.floor.items())

    def _drop(self, below: Mapping[int, int]) -> None:
        for key in list(self._kept):
            bars = self._kept[key]
            left = {moment: kept for moment, kept in bars.items() if kept.offset >= below.get(kept.partition, 0)}
            self._size -= len(bars) - len(left)
            if left:
                self._kept[key] = left
            else:
                del self._kept[key]
