"""What pages ask to be done, in MySQL: asked once however often, taken by one process, finished once.

Belongs here: the rows of ``commands``. Stays out: carrying them out (``sidecar.command_runner``), who may ask (the
page). The user that asks may add rows and read them; only the writer says what became of them.

A command is claimed by the time it was begun. A process that dies in between leaves it asked, and it is begun again
when the claim has run out; what commands do may be done twice. One that ended its process each time is given up.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import insert_unless_there, outages_as_try_later

CLAIM_S: Final = 30.0
"""A command whose process died is begun again after so many seconds."""
MOST_ATTEMPTS: Final = 5
_MOST_RESULT: Final = 512
_MOST_NAME: Final = 128
_T = schema.commands.c


class Verb(StrEnum):
    """What can be asked for."""

    REPLAY = "dead_letter_replay"
    ACKNOWLEDGE = "alert_ack"
    PAUSE = "replay_pause"
    START = "replay_start"
    PACE = "replay_pace"


SUBJECT: Final = {
    Verb.REPLAY: "letter",
    Verb.ACKNOWLEDGE: "alert",
    Verb.PAUSE: "replay",
    Verb.START: "replay",
    Verb.PACE: "per_minute",
}
"""Verb -> name of its one argument, a number."""


class State(StrEnum):
    """Where a command is; in the order of the ENUM."""

    ASKED = "asked"
    DONE = "done"
    FAILED = "failed"


class Command(NamedTuple):
    """A command as stored; ``verb`` and ``arguments`` are whatever was asked for."""

    id: int
    request: str
    verb: str
    arguments: dict[str, Any]
    requested_by: str
    requested_at: dt.datetime
    state: State
    result: str | None
    done_at: dt.datetime | None
    attempts: int


_COLUMNS = (
    *(_T.id, _T.request, _T.verb, _T.arguments, _T.requested_by, _T.requested_at),
    *(_T.state, _T.result, _T.done_at, _T.attempts),
)


def ask(engine: sa.Engine, request: str, verb: str, arguments: Mapping[str, Any], by: str) -> bool:
    """Ask for something; the same ``request`` again changes nothing.

    Args:
        engine: of the user of actions, or the writer.
        request: made by who asks, at most 64 ASCII characters.
        verb: what, one of ``Verb`` if it is to succeed.
        arguments: with what.
        by: who.

    Returns:
        Whether it was new.

    Raises:
        TryLaterError: the database is not available; it may or may not have been written, so ask the same again.
    """
    row = {"request": request, "verb": verb, "arguments": dict(arguments), "requested_by": by[:_MOST_NAME]}
    with outages_as_try_later("asking for a command"), engine.begin() as connection:
        return insert_unless_there(connection, schema.commands, [row])


def take(engine: sa.Engine, claim_s: float = CLAIM_S) -> Command | None:
    """Claim the oldest command that waits, or None when there is none; of two processes each takes another one.

    Args:
        engine: of the writer.
        claim_s: how long one that was begun is left to who began it.

    Raises:
        TryLaterError: the database is not available.
    """
    while True:
        with outages_as_try_later("taking a command"), engine.begin() as connection:
            now = connection.execute(sa.select(schema.NOW)).scalar_one()
            free = sa.or_(_T.taken_at.is_(None), _T.taken_at <= now - dt.timedelta(seconds=claim_s))
            query = sa.select(*_COLUMNS).where(_T.state == State.ASKED.value, free).order_by(_T.id).limit(1)
            row = connection.execute(query.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            found = _command(row)
            if found.attempts < MOST_ATTEMPTS:
                claimed = {"taken_at": now, "attempts": found.attempts + 1}
                connection.execute(sa.update(schema.commands).where(_T.id == found.id).values(claimed))
                return found._replace(attempts=found.attempts + 1)
            _put(connection, found.id, State.FAILED, f"given up: begun {found.attempts} times and never finished")


def finish(engine: sa.Engine, command: Command, state: State, result: str) -> bool:
    """Say what became of a command; return whether it was not said before.

    Raises:
        TryLaterError: the database is not available.
    """
    with outages_as_try_later("finishing a command"), engine.begin() as connection:
        return _put(connection, command.id, state, result)


def newest(connection: sa.Connection, most: int) -> list[Command]:
    """Return commands, the newest first."""
    return [_command(row) for row in connection.execute(sa.select(*_COLUMNS).order_by(_T.id.desc()).limit(most))]


def _put(connection: sa.Connection, number: int, state: State, result: str) -> bool:
    values = {"state": state.value, "result": result[:_MOST_RESULT], "done_at": schema.NOW}
    still = sa.and_(_T.id == number, _T.state == State.ASKED.value)
    return connection.execute(sa.update(schema.commands).where(still).values(values)).rowcount == 1


def _command(row: Sequence[Any]) -> Command:
    found = Command._make(row)
    return found._replace(
        requested_at=found.requested_at.replace(tzinfo=UTC),
        state=State(found.state),
        done_at=found.done_at and found.done_at.replace(tzinfo=UTC),
    )
