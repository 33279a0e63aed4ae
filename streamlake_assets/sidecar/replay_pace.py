"""The pace of a replay: when its next session may be revealed.

Belongs here: waiting, asking while it waits how it is to go on, the replay's heartbeat. Stays out: revealing
(``replay``), the rows (``stores.replays``), what a page may ask for (``command_runner``).
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

import sqlalchemy as sa

from streamlake_assets.market.clock import REPLAY_PROCESS
from streamlake_assets.stores import replays
from streamlake_assets.stores.operations import beat
from streamlake_assets.stores.replays import Wished

LOOK_S: Final = 0.25
"""Between two looks at how a waiting replay is to go on: a press takes effect within it."""
BEAT_S: Final = 2.0
"""Between two heartbeats that say the same."""


class ReplayBeats:
    """The heartbeat of a replay, by which a page tells a running one from one that is paused, done or dead."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._said: tuple[str, float | None] = ("", None)
        self._said_at = 0.0

    def take(self, wished: Wished) -> None:
        """Say how the replay goes on, if that is news or was not said for a while.

        Raises:
            TryLaterError: the database is not available.
        """
        self._say("paused" if wished.paused else "running", wished.per_minute)

    def finished(self) -> None:
        """Say that it is done; raises as ``take``."""
        self._say("finished", self._said[1])

    def _say(self, state: str, per_minute: float | None) -> None:
        now = time.monotonic()
        if self._said == (state, per_minute) and now - self._said_at < BEAT_S:
            return
        pace = None if per_minute is None else per_minute / 60.0
        beat(self._engine, REPLAY_PROCESS, {"state": state, "sessions_per_second": pace})
        self._said, self._said_at = (state, per_minute), now


class Pace(Protocol):
    """Says when the next session may come."""

    def wait(self) -> None:
        """Return when the next session may be revealed; the first one at once."""


class NoPause:
    """Every session as soon as the one before it is done."""

    def wait(self) -> None:
        """Return at once."""


class ControlledPace:
    """A pace that is kept in the row of a replay, where others may change it at any time.

    Args:
        engine: of the writer.
        replay: number of the replay.
        on_look: told at every look how the replay is to go on.
    """

    def __init__(self, engine: sa.Engine, replay: int, on_look: Callable[[Wished], None] = lambda wished: None) -> None:
        self._engine = engine
        self._replay = replay
        self._on_look = on_look
        self._last: float | None = None

    def wait(self) -> None:
        """Return once the replay is not paused and a session's time has passed since this last returned.

        The pace in force is the one of now: a slow replay that is made quicker goes on at once.

        Raises:
            TryLaterError: the database is not available.
            UsageError: the row of the replay is gone.
        """
        while True:
            wished = replays.look(self._engine, self._replay)
            self._on_look(wished)
            now = time.monotonic()
            if wished.paused:
                rest = LOOK_S
            elif self._last is None or wished.per_minute is None:
                rest = 0.0
            else:
                rest = self._last + 60.0 / wished.per_minute - now
            if rest <= 0.0:
                self._last = now
                return
            time.sleep(min(rest, LOOK_S))
