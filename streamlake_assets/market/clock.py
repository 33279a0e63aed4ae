"""Market time: which session the stored data have reached, what the replay is doing, and whether data are late.

Belongs here: the one object that pages, checks, forecasts and mail ask. Stays out: reading it from a store, calendars.
A page is never stale because its market dates are old: only the time since the last arrival counts, and a finished
replay owes nothing.
"""

import datetime as dt
from enum import StrEnum
from typing import Final

import msgspec

from streamlake_assets.errors import UsageError

REPLAY_PROCESS: Final = "replay"
"""Name of the heartbeat that a replay writes: ``state`` (a ``ReplayState``) and ``sessions_per_second``."""


class ReplayState(StrEnum):
    """What the replay is doing; ``live`` is no replay at all."""

    LIVE = "live"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"


class Staleness(msgspec.Struct, frozen=True):
    """Whether data are late, since when the last arrived (seconds, None before the first), and the sentence."""

    is_stale: bool
    age_seconds: float | None
    text: str


class MarketTime(msgspec.Struct, frozen=True, kw_only=True):
    """How far the stored data have come.

    ``session`` is the newest settled session stored; ``last_arrival`` when the newest message arrived (its broker time,
    UTC), whatever session it was about; ``sessions_per_second`` is the pace of a running replay, None when unpaced.
    """

    session: dt.date | None = None
    last_arrival: dt.datetime | None = None
    replay: ReplayState = ReplayState.LIVE
    sessions_per_second: float | None = None

    @property
    def text(self) -> str:
        """One line for page headers and mail."""
        if self.session is None:
            return "no data yet"
        state = {
            ReplayState.LIVE: "live",
            ReplayState.RUNNING: self._pace,
            ReplayState.PAUSED: "replay paused",
            ReplayState.FINISHED: "replay finished",
        }[self.replay]
        return f"{self.date_text}, {state}"

    @property
    def date_text(self) -> str:
        """The newest session alone."""
        return "no data yet" if self.session is None else f"market {self.session.isoformat()}"

    @property
    def _pace(self) -> str:
        if self.sessions_per_second is None:
            return "replay at full speed"
        unit = "session" if self.sessions_per_second == 1 else "sessions"
        return f"replay {self.sessions_per_second:g} {unit}/s"

    def staleness(self, now: dt.datetime, max_age: dt.timedelta, due: dt.datetime | None = None) -> Staleness:
        """Judge lateness by arrival.

        Args:
            now: aware current time.
            max_age: how long nothing may arrive while something should.
            due: with live data, when the newest bar should have been here by the calendar (last close plus grace);
                data that arrived since are fresh however long the weekend. None: ``max_age`` alone decides.

        Raises:
            UsageError: a time without zone.
        """
        if any(t is not None and t.tzinfo is None for t in (now, self.last_arrival, due)):
            raise UsageError("staleness needs times with a zone")
        if self.last_arrival is None:
            return Staleness(False, None, "no data yet")
        age = max((now - self.last_arrival).total_seconds(), 0.0)
        if self.replay in (ReplayState.FINISHED, ReplayState.PAUSED):
            return Staleness(False, age, f"replay {self.replay.value}")
        met = self.replay is ReplayState.LIVE and due is not None and (self.last_arrival >= due or now < due)
        if met or age <= max_age.total_seconds():
            return Staleness(False, age, f"last arrival {age:.0f} s ago")
        return Staleness(True, age, f"stale: nothing arrived for {age:.0f} s, limit {max_age.total_seconds():.0f} s")
