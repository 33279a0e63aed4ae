"""Commands of pages on a real database: asked once, taken by one, finished once, carried out, and by whom asked."""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.alerts import Kind, Observation
from streamlake_assets.market.alerts import State as AlertState
from streamlake_assets.market.messages import DeadLetter, Slice
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.sidecar.command_runner import ACTS, CommandRunner
from streamlake_assets.stores import alert_states, commands, dead_letters, page_quality, page_queries, replays, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.commands import MOST_ATTEMPTS, Command, State, Verb
from streamlake_assets.stores.dead_letters import Wanted
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.bars import BARS_STREAM, NOW, bar, wire
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
DENIED = {1142, 1143}
"""A command or a column that is not granted."""


@pytest.fixture
def page(database: Database) -> Iterator[sa.Engine]:
    """The database as the page's actions see it."""
    engine = make_engine(database.settings, DatabaseRole.ACTIONS)
    yield engine
    engine.dispose()


def put_letter(database: Database, value: bytes, offset: int = 0) -> int:
    letter = DeadLetter(offset, NOW, "bad_field", "as it was then", b"AAPL", value)
    BarStore(database.writer, "test").ingest([Slice(BARS_STREAM, 0, offset, offset + 1, [], [letter])])
    return int(database.rows(schema.dead_letters)[-1].id)


def put_alert(database: Database, state: AlertState = AlertState.ERROR, order: int = 1) -> int:
    seen = Observation(Kind.CHECK, "raw/bars:ok", state, order, "it is so", dt.datetime(2024, 1, 2, tzinfo=dt.UTC))
    assert alert_states.record(database.writer, [seen])
    return int(database.rows(schema.alert_outbox)[-1].id)


def stored(database: Database) -> list[Command]:
    with database.writer.connect() as connection:
        return commands.newest(connection, 100)[::-1]


def ran(database: Database, page: sa.Engine, verb: str, arguments: dict[str, Any], request: str = "one") -> Command:
    """Ask as the page does, let the runner turn once, and return what became of it."""
    commands.ask(page, request, verb, arguments, "anna")
    CommandRunner(database.writer).turn()
    return next(one for one in stored(database) if one.request == request)


# the table


def test_what_is_asked_twice_is_asked_once(database: Database, page: sa.Engine) -> None:
    assert commands.ask(page, "one", Verb.REPLAY, {"letter": 7}, "anna" * 100)
    assert not commands.ask(page, "one", Verb.REPLAY, {"letter": 8}, "ben")
    (one,) = stored(database)
    assert (one.verb, one.arguments, one.requested_by) == (Verb.REPLAY, {"letter": 7}, ("anna" * 100)[:128])
    assert (one.state, one.result, one.done_at, one.attempts) == (State.ASKED, None, None, 0)
    assert abs((dt.datetime.now(dt.UTC) - one.requested_at).total_seconds()) < 60


def test_commands_are_taken_in_order_each_by_one_and_finished_once(database: Database, page: sa.Engine) -> None:
    for number in range(6):
        commands.ask(page, f"request-{number}", Verb.REPLAY, {"letter": number}, "anna")
    first = commands.take(database.writer)
    assert first is not None and first.request == "request-0" and first.attempts == 1
    with ThreadPoolExecutor(4) as pool:
        others = [one for one in pool.map(lambda _: commands.take(database.writer), range(6)) if one]
    # who looked while rows were locked may have found none
    while (another := commands.take(database.writer)) is not None:
        others.append(another)
    assert sorted(one.request for one in others) == [f"request-{number}" for number in range(1, 6)]
    assert commands.finish(database.writer, first, State.DONE, "x" * 600)
    assert not commands.finish(database.writer, first, State.FAILED, "again")
    done = stored(database)[0]
    assert (done.state, done.result) == (State.DONE, "x" * 512) and done.done_at is not None


def test_what_nobody_finished_is_taken_again_and_given_up_in_the_end(database: Database, page: sa.Engine) -> None:
    commands.ask(page, "one", Verb.REPLAY, {"letter": 1}, "anna")
    for attempt in range(1, MOST_ATTEMPTS + 1):
        taken = commands.take(database.writer, claim_s=0)
        assert taken is not None and taken.attempts == attempt
        # as long as it is claimed nobody else takes it
        assert commands.take(database.writer) is None
    assert commands.take(database.writer, claim_s=0) is None
    (one,) = stored(database)
    assert one.state is State.FAILED and one.result == f"given up: begun {MOST_ATTEMPTS} times and never finished"


# rights


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM bars",
        "SELECT * FROM dead_letters",
        "SELECT * FROM alert_outbox",
        "UPDATE commands SET state = 'done'",
        "DELETE FROM commands",
        "INSERT INTO commands (request, verb, arguments, requested_by, state) VALUES ('a', 'b', '{}', 'c', 'done')",
        "INSERT INTO commands (request, verb, arguments, requested_by, result) VALUES ('a', 'b', '{}', 'c', 'd')",
        "INSERT INTO alert_acks (alert_id, acked_by) VALUES (1, 'a')",
        "UPDATE dead_letters SET resolution = 'dropped'",
    ],
)
def test_who_asks_for_the_page_sees_no_bars_and_cannot_say_that_something_was_done(
    database: Database, page: sa.Engine, statement: str
) -> None:
    commands.ask(page, "one", Verb.REPLAY, {"letter": 1}, "anna")
    with page.connect() as connection, pytest.raises(DBAPIError) as refused:
        connection.exec_driver_sql(statement)
    assert refused.value.orig is not None and refused.value.orig.args[0] in DENIED
    assert [one.state for one in stored(database)] == [State.ASKED]


# carried out


def test_a_letter_is_replayed_as_the_command_line_does_and_once(database: Database, page: sa.Engine) -> None:
    letter = put_letter(database, wire(bar()))
    done = ran(database, page, Verb.REPLAY, {"letter": letter})
    assert (done.state, done.result) == (State.DONE, "replayed, its row is new")
    assert database.count(schema.bars) == 1
    (row,) = database.rows(schema.dead_letters)
    assert (row.resolution, row.resolved_by) == ("replayed", "page:anna")
    again = ran(database, page, Verb.REPLAY, {"letter": letter}, "two")
    assert (again.state, again.result) == (State.DONE, "it was replayed by page:anna")


def test_a_runner_that_dies_after_the_replay_finishes_it_the_next_time(database: Database, page: sa.Engine) -> None:
    letter = put_letter(database, wire(bar()))
    commands.ask(page, "one", Verb.REPLAY, {"letter": letter}, "anna")
    taken = commands.take(database.writer)
    assert taken is not None
    assert ACTS[Verb.REPLAY](database.writer, letter, "page:anna").state is State.DONE
    assert CommandRunner(database.writer).turn() == {State.DONE: 0, State.FAILED: 0}
    assert CommandRunner(database.writer, claim_s=0).turn() == {State.DONE: 1, State.FAILED: 0}
    assert stored(database)[0].state is State.DONE and database.count(schema.bars) == 1


def test_a_letter_that_cannot_be_replayed_says_why(database: Database, page: sa.Engine) -> None:
    bad, dropped = put_letter(database, b"{}"), put_letter(database, wire(bar()), 1)
    found = ran(database, page, Verb.REPLAY, {"letter": bad}, "bad")
    assert found.state is State.FAILED and "the contract refuses it today too: " in (found.result or "")
    dead_letters.drop(database.writer, Wanted([dropped]), "ben@desk")
    found = ran(database, page, Verb.REPLAY, {"letter": dropped}, "dropped")
    assert (found.state, found.result) == (State.FAILED, "it was dropped by ben@desk")
    found = ran(database, page, Verb.REPLAY, {"letter": 10**9}, "none")
    assert (found.state, found.result) == (State.FAILED, f"there is no dead letter {10**9}")
    assert database.count(schema.bars) == 0


def test_an_alert_is_acknowledged_as_the_command_line_does(database: Database, page: sa.Engine) -> None:
    alert = put_alert(database)
    done = ran(database, page, Verb.ACKNOWLEDGE, {"alert": alert})
    assert (done.state, done.result) == (State.DONE, "page:anna has seen it")
    assert [(row.alert_id, row.acked_by) for row in database.rows(schema.alert_acks)] == [(alert, "page:anna")]
    again = ran(database, page, Verb.ACKNOWLEDGE, {"alert": alert}, "two")
    assert (again.state, again.result) == (State.DONE, "somebody had seen it before")
    none = ran(database, page, Verb.ACKNOWLEDGE, {"alert": 10**9}, "three")
    assert none.state is State.FAILED and f"there is no alert {10**9}" in (none.result or "")


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        (
            "drop_tables",
            {},
            "there is no command drop_tables; there are alert_ack, dead_letter_replay, replay_pace, replay_pause, "
            "replay_start",
        ),
        (Verb.REPLAY, {}, "dead_letter_replay takes one argument, letter: a number above 0"),
        (Verb.REPLAY, {"letter": "1 OR 1=1"}, "dead_letter_replay takes one argument, letter: a number above 0"),
        (Verb.REPLAY, {"letter": True}, "dead_letter_replay takes one argument, letter: a number above 0"),
        (Verb.REPLAY, {"letter": 1, "all": 1}, "dead_letter_replay takes one argument, letter: a number above 0"),
        (Verb.ACKNOWLEDGE, {"alert": -1}, "alert_ack takes one argument, alert: a number above 0"),
        (Verb.PAUSE, {"replay": 7}, "there is no replay 7"),
        (Verb.PACE, {"per_minute": 60}, "there is no replay: `streamlake demo` begins one"),
        (Verb.PACE, {"per_minute": 6001}, "a replay reveals 1 to 6,000 sessions a minute, not 6,001"),
    ],
)
def test_what_is_not_a_command_fails_and_says_so(
    database: Database, page: sa.Engine, verb: str, arguments: dict[str, Any], said: str
) -> None:
    found = ran(database, page, verb, arguments)
    assert (found.state, found.result) == (State.FAILED, said)


def test_an_outage_leaves_a_command_asked_and_a_fault_of_ours_ends_it(database: Database, page: sa.Engine) -> None:
    def away(*_: Any) -> Any:
        raise TryLaterError("locked")

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    commands.ask(page, "one", Verb.REPLAY, {"letter": 1}, "anna")
    assert CommandRunner(database.writer, {Verb.REPLAY: away}).turn() == {State.DONE: 0, State.FAILED: 0}
    assert stored(database)[0].state is State.ASKED
    assert CommandRunner(database.writer, {Verb.REPLAY: broken}, claim_s=0).turn()[State.FAILED] == 1
    assert stored(database)[0].result == "ZeroDivisionError: see the log of alerts"


def test_a_replay_is_paused_started_and_paced_until_it_has_ended(database: Database, page: sa.Engine) -> None:
    number = replays.begin(database.writer, 60, 30.0)
    for request, (verb, arguments, said) in enumerate(
        [
            (Verb.PAUSE, {"replay": number}, "paused"),
            (Verb.PAUSE, {"replay": number}, "it was paused before"),
            (Verb.PACE, {"per_minute": 120}, "120 sessions a minute"),
            (Verb.START, {"replay": number}, "started"),
            (Verb.PACE, {"per_minute": 120}, "120 sessions a minute, as before"),
        ]
    ):
        done = ran(database, page, verb, arguments, str(request))
        assert (done.state, done.result) == (State.DONE, said)
    assert replays.look(database.writer, number) == (False, 120.0)
    replays.end(database.writer, number)
    late = ran(database, page, Verb.PAUSE, {"replay": number}, "late")
    assert (late.state, late.result) == (State.FAILED, f"replay {number} has ended")


# what the page is shown


def test_the_inbox_holds_what_is_not_well_and_what_was_not_seen_first(database: Database, page: sa.Engine) -> None:
    alert = put_alert(database)
    (one,) = page_quality_inbox(database)
    assert (one.id, one.state, one.acked_by) == (alert, "error", None) and "raw/bars:ok" in one.subject
    assert unseen(database) == 1
    ran(database, page, Verb.ACKNOWLEDGE, {"alert": alert})
    assert [found.acked_by for found in page_quality_inbox(database)] == ["page:anna"]
    assert unseen(database) == 0, "seen, and still not well"
    put_alert(database, AlertState.PASS, 2)
    assert page_quality_inbox(database) == []
    put_alert(database, AlertState.ERROR, 3)
    assert unseen(database) == 1, "not well again, by another alert"


def unseen(database: Database) -> int:
    with database.writer.connect() as connection:
        return page_queries.unseen_alerts(connection)


def page_quality_inbox(database: Database) -> list[page_quality.OpenAlert]:
    with database.writer.connect() as connection:
        return page_quality.open_alerts(connection)
