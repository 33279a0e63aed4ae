"""Faults planted in a made market, each written down: what a system that checks its data must find.

Belongs here: the plan (a YAML file), what each class of fault does to the bars and to their order of arrival, the
manifest. Stays out: the market itself (``simulated_market``), how a bad field looks on a wire (``simulated_records``),
finding faults (``market.anomalies``).

A share of all bars is drawn for each class, at most one class for a bar. Everything depends on the seed alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamlake_assets.errors import UsageError
from streamlake_assets.sources.simulated_market import Ints, SessionBars

Share = Annotated[float, msgspec.Meta(ge=0, le=0.5)]
_MINUTE: Final = 60_000_000
_DELAYS: Final = {
    "minutes": (2 * _MINUTE, 30 * _MINUTE),
    "hours": (60 * _MINUTE, 6 * 60 * _MINUTE),
    "days": (24 * 60 * _MINUTE, 3 * 24 * 60 * _MINUTE),
}
BAD_FIELDS: Final = ("negative_price", "high_below_low", "price_is_text", "price_is_missing", "bad_symbol", "bad_time")
"""How a field can be bad; all of them break the contract."""


class Fault(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A class of fault without more to say: share of all bars."""

    share: Share = 0.0


class Late(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Bars that arrive late: by minutes (2 to 30), hours (1 to 6) or days (1 to 3)."""

    share: Share = 0.0
    by: tuple[Literal["minutes", "hours", "days"], ...] = ("minutes", "hours", "days")


class Stale(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A feed that hangs: so many bars repeat the one before them, number for number."""

    share: Share = 0.0
    bars: Annotated[int, msgspec.Meta(ge=3, le=1_000)] = 5


class Jumps(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Bars whose four prices are too large by this share (negative: too small)."""

    share: Share = 0.0
    size: Annotated[float, msgspec.Meta(gt=-0.95, le=10)] = 0.5


class Skew(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Messages whose ``event_time`` is ahead by so many seconds; on a topic only."""

    share: Share = 0.0
    seconds: Annotated[int, msgspec.Meta(ge=61, le=10**8)] = 3_600


class FaultPlan(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How much of what is planted."""

    gaps: Fault = Fault()
    duplicates: Fault = Fault()
    late: Late = Late()
    out_of_order: Fault = Fault()
    stale: Stale = Stale()
    jumps: Jumps = Jumps()
    bad_fields: Fault = Fault()
    clock_skew: Skew = Skew()


CLASSES: Final = FaultPlan.__struct_fields__
NONE: Final = len(CLASSES)
"""Class of a bar that is as it should be."""
_GAPS, _DUPLICATES, _LATE, _OUT_OF_ORDER, _STALE, _JUMPS, _BAD_FIELDS, _CLOCK_SKEW = range(NONE)


def read_plan(path: Path) -> FaultPlan:
    """Read a plan from a YAML file.

    Raises:
        UsageError: the file cannot be read, or says something that is not understood; the message says where.
    """
    try:
        plan = msgspec.yaml.decode(path.read_bytes(), type=FaultPlan, strict=False)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}; classes of faults are {', '.join(CLASSES)}, each with a share") from error
    total = sum(getattr(plan, name).share for name in CLASSES)
    if total > 1:
        raise UsageError(f"{path}: the shares add up to {total:g}, which is more than all bars")
    return plan


class Planted(NamedTuple):
    """One fault: its class, the bar, and what exactly."""

    fault: str
    instrument: int
    start: int
    """Of the bar, in microseconds since 1970 UTC."""
    detail: str


class FaultyBars(NamedTuple):
    """Bars in the order of their arrival; arrays as in ``SessionBars``.

    ``bad_field`` is the index of ``BAD_FIELDS`` or -1, ``skew`` the seconds that ``event_time`` is ahead.
    """

    instrument: Ints
    start: Ints
    end: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    bad_field: Ints
    skew: Ints

    def take(self, places: Ints | NDArray[np.bool_]) -> "FaultyBars":
        """Return some of the bars, in this order."""
        return FaultyBars(*(column[places] for column in self))


class FaultPlanter:
    """Plants faults in the sessions of one market; bars that come later than their session are kept until then."""

    def __init__(self, plan: FaultPlan, seed: int, instruments: int) -> None:
        """Make a planter for a number of instruments."""
        self._plan = plan
        # a stream of its own: the market is the same with and without faults
        self._rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self._instruments = instruments
        shares = {name: getattr(plan, name).share for name in CLASSES}
        # a share is one of all bars, and each start of a hanging feed makes several
        shares["stale"] /= plan.stale.bars
        self._shares = np.cumsum(list(shares.values()))
        self._frozen = np.zeros((5, instruments), dtype=np.int64)
        self._left = np.zeros(instruments, dtype=np.int64)
        self._last: Ints | None = None
        self._as_they_were = np.zeros(instruments, dtype=bool)
        self._waiting: list[tuple[Ints, FaultyBars]] = []
        self.manifest: list[Planted] = []
        """What was planted so far, in the order of the bars."""

    def plant(self, bars: SessionBars) -> FaultyBars:
        """Return what arrives while a session is on, with its faults and with what is late from earlier ones."""
        count = len(bars.start)
        drawn = np.searchsorted(self._shares, self._rng.random(count), side="right")
        values = np.stack([bars.open, bars.high, bars.low, bars.close, bars.volume])
        if self._plan.stale.share:
            self._hang(bars, values, drawn)
        self._jump(bars, values, drawn)
        bad_field, skew = np.full(count, -1), np.zeros(count, dtype=np.int64)
        due = bars.end.copy()
        self._break_fields(bars, drawn, bad_field)
        self._skew(bars, drawn, skew)
        self._make_late(bars, drawn, due)
        self._put_behind(bars, drawn, due)
        opens, highs, lows, closes, volumes = values
        made = FaultyBars(bars.instrument, bars.start, bars.end, opens, highs, lows, closes, volumes, bad_field, skew)
        self._note(bars, np.flatnonzero(drawn == _GAPS), "gaps", "left out")
        again = np.flatnonzero(drawn == _DUPLICATES)
        self._note(bars, again, "duplicates", "sent twice")
        step = bars.end[0] - bars.start[0]
        later = due[again] + self._rng.integers(1, 6, len(again)) * step
        kept = np.flatnonzero(drawn != _GAPS)
        return self._arriving([(due[kept], made.take(kept)), (later, made.take(again))], int(bars.end[-1]))

    def rest(self) -> FaultyBars | None:
        """Return what still waits after the last session, in the order of its arrival."""
        if not self._waiting:
            return None
        return self._arriving([], None)

    def _arriving(self, added: list[tuple[Ints, FaultyBars]], until: int | None) -> FaultyBars:
        parts = [*self._waiting, *added]
        due = np.concatenate([moments for moments, _ in parts])
        bars = FaultyBars(*(np.concatenate(columns) for columns in zip(*(one for _, one in parts), strict=True)))
        order = np.lexsort((bars.instrument, bars.start, due))
        now = order if until is None else order[due[order] <= until]
        later = order[len(now) :]
        self._waiting = [(due[later], bars.take(later))] if len(later) else []
        return bars.take(now)

    def _hang(self, bars: SessionBars, values: Ints, drawn: Ints) -> None:
        """Let feeds hang: what a hanging one sends has no other fault."""
        width = self._instruments
        for first in range(0, len(bars.start), width):
            row = slice(first, first + width)
            starting = (drawn[row] == _STALE) & (self._left == 0)
            if self._last is None:
                # there is nothing to repeat yet
                starting[:] = False
            else:
                # what a feed repeats must have arrived as it was
                starting &= self._as_they_were
                self._frozen[:, starting] = self._last[:, starting]
            self._left[starting] = self._plan.stale.bars
            hanging = self._left > 0
            drawn[row] = np.where(hanging, _STALE, np.where(drawn[row] == _STALE, NONE, drawn[row]))
            if hanging.any():
                values[:, row][:, hanging] = self._frozen[:, hanging]
                self._note(bars, first + np.flatnonzero(hanging), "stale", "repeats the bar before")
                self._left[hanging] -= 1
            self._last = values[:, row].copy()
            self._as_they_were = np.isin(drawn[row], (NONE, _DUPLICATES, _STALE))

    def _jump(self, bars: SessionBars, values: Ints, drawn: Ints) -> None:
        places = np.flatnonzero(drawn == _JUMPS)
        factor = 1 + self._plan.jumps.size
        values[:4, places] = np.maximum(1, np.rint(values[:4, places] * factor)).astype(np.int64)
        self._note(bars, places, "jumps", f"prices times {factor:g}")

    def _break_fields(self, bars: SessionBars, drawn: Ints, bad_field: Ints) -> None:
        places = np.flatnonzero(drawn == _BAD_FIELDS)
        bad_field[places] = self._rng.integers(0, len(BAD_FIELDS), len(places))
        self._note(bars, places, "bad_fields", lambda place: BAD_FIELDS[bad_field[place]])

    def _skew(self, bars: SessionBars, drawn: Ints, skew: Ints) -> None:
        places = np.flatnonzero(drawn == _CLOCK_SKEW)
        skew[places] = self._plan.clock_skew.seconds
        self._note(bars, places, "clock_skew", lambda place: f"event_time ahead by {skew[place]} s")

    def _make_late(self, bars: SessionBars, drawn: Ints, due: Ints) -> None:
        places = np.flatnonzero(drawn == _LATE)
        kinds = self._rng.integers(0, len(self._plan.late.by), len(places))
        for number, kind in enumerate(self._plan.late.by):
            some = places[kinds == number]
            due[some] += self._rng.integers(*_DELAYS[kind], len(some))
            self._note(bars, some, "late", kind)

    def _put_behind(self, bars: SessionBars, drawn: Ints, due: Ints) -> None:
        """Let a bar arrive just after the next one of its instrument in the session, which must be there."""
        width, count = self._instruments, len(drawn)
        places = np.flatnonzero(drawn == _OUT_OF_ORDER)
        there = places + width < count
        there[there] = np.isin(drawn[places[there] + width], (NONE, _DUPLICATES, _STALE, _JUMPS))
        drawn[places[~there]] = NONE
        places = places[there]
        due[places] = due[places + width] + 1
        self._note(bars, places, "out_of_order", "after the next bar")

    def _note(self, bars: SessionBars, places: Ints, fault: str, detail: str | Callable[[int], str]) -> None:
        self.manifest += [
            Planted(
                fault,
                int(bars.instrument[place]),
                int(bars.start[place]),
                detail if isinstance(detail, str) else detail(int(place)),
            )
            for place in places
        ]


def faultless(bars: SessionBars) -> FaultyBars:
    """Return a session as it is."""
    none = np.full(len(bars.start), -1), np.zeros(len(bars.start), dtype=np.int64)
    columns = (bars.instrument, bars.start, bars.end, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return FaultyBars(*columns, *none)


def in_order(manifest: list[Planted]) -> Iterator[Planted]:
    """Yield faults by bar."""
    return iter(sorted(manifest, key=lambda one: (one.start, one.instrument, one.fault)))
