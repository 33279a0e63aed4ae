"""The row of a replay and the pace it gives, on a real database: paused, started, made quicker while it waits."""

import datetime as dt
import threading
import time

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.clock import REPLAY_PROCESS
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.sidecar.replay_pace import ControlledPace, NoPause, ReplayBeats
from streamlake_assets.stores import replays
from streamlake_assets.stores.operations import heartbeats
from streamlake_assets.stores.replays import Replay, Wished
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
SESSION = dt.date(2013, 1, 2)


class Waiting:
    """A replay that waits in a thread; ``passed`` counts the sessions it was let reveal."""

    def __init__(self, pace: ControlledPace, sessions: int) -> None:
        self.passed = 0
        self._pace, self._sessions = pace, sessions
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for _ in range(self._sessions):
            self._pace.wait()
            self.passed += 1

    def has_passed(self, sessions: int) -> bool:
        return wait_until(lambda: self.passed >= sessions, 20)

    def end(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def newest(database: Database) -> Replay:
    with database.writer.connect() as connection:
        found = replays.newest(connection)
    assert found is not None
    return found


def test_a_replay_says_how_far_it_is_and_that_it_ended(database: Database) -> None:
    with database.writer.connect() as connection:
        assert replays.newest(connection) is None
    number = replays.begin(database.writer, 60, 30.0, paused=True)
    begun = newest(database)
    assert begun[:6] == (number, True, 30.0, 0, 60, None) and begun.ended_at is None
    replays.advance(database.writer, number, SESSION, 1)
    replays.end(database.writer, number)
    ended = newest(database)
    assert (ended.session, ended.revealed) == (SESSION, 1) and ended.ended_at is not None
    assert ended.paused and ended.per_minute == 30.0, "its progress leaves alone how it is to go on"
    with pytest.raises(UsageError, match="there is no replay 77"):
        replays.look(database.writer, 77)


def test_a_new_pace_is_that_of_the_newest_replay(database: Database) -> None:
    old, new = (replays.begin(database.writer, 60, 30.0) for _ in range(2))
    assert replays.set_pace(database.writer, 300)
    assert replays.look(database.writer, old).per_minute == 30.0
    assert replays.look(database.writer, new).per_minute == 300.0


def test_a_paused_replay_waits_until_it_is_started(database: Database) -> None:
    number = replays.begin(database.writer, 2, None, paused=True)
    looks: list[Wished] = []
    waiting = Waiting(ControlledPace(database.writer, number, looks.append), 2)
    assert wait_until(lambda: len(looks) > 2, 20)
    assert waiting.passed == 0 and all(one.paused for one in looks)
    replays.set_paused(database.writer, number, False)
    assert waiting.has_passed(2), "without a pace nothing else is waited for"
    waiting.end()


def test_a_slow_replay_that_is_made_quicker_goes_on_at_once(database: Database) -> None:
    number = replays.begin(database.writer, 3, 0.01)
    waiting = Waiting(ControlledPace(database.writer, number), 3)
    assert waiting.has_passed(1), "the first session comes at once"
    before = newest(database).beat_at
    assert wait_until(lambda: newest(database).beat_at > before, 20), "it is heard of while it waits"
    assert waiting.passed == 1, "the second in 100 minutes"
    replays.set_pace(database.writer, 6_000)
    assert waiting.has_passed(3)
    waiting.end()


def test_sessions_are_a_pace_apart(database: Database) -> None:
    pace = ControlledPace(database.writer, replays.begin(database.writer, 4, 600.0))
    begun = time.monotonic()
    for _ in range(4):
        pace.wait()
    assert time.monotonic() - begun >= 3 * 60 / 600.0
    NoPause().wait()


def test_the_heartbeat_says_running_paused_and_finished(database: Database) -> None:
    beats = ReplayBeats(database.writer)
    for wished, said in (
        (Wished(False, 120.0), {"state": "running", "sessions_per_second": 2.0}),
        (Wished(True, 120.0), {"state": "paused", "sessions_per_second": 2.0}),
        (Wished(False, None), {"state": "running", "sessions_per_second": None}),
    ):
        beats.take(wished)
        assert heartbeats(database.writer)[REPLAY_PROCESS][1] == said
    at, _ = heartbeats(database.writer)[REPLAY_PROCESS]
    beats.take(Wished(False, None))
    assert heartbeats(database.writer)[REPLAY_PROCESS][0] == at, "the same is not said again at once"
    beats.finished()
    assert heartbeats(database.writer)[REPLAY_PROCESS][1]["state"] == "finished"
