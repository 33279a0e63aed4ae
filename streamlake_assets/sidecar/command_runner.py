"""Carries out what pages asked for: each command by the same code as the command line, its outcome written beside it.

Belongs here: which verb does what, and what is told of it. Stays out: the rows of commands (``stores.commands``), the
loop around a turn (``alert_delivery``), who may ask (the page).

Everything here may be done twice: a process that dies before it can finish a command leaves it to be begun again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from streamlake_assets.errors import StreamlakeError, TryLaterError, UsageError
from streamlake_assets.stores import alert_list, commands, dead_letters, replays
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.commands import CLAIM_S, SUBJECT, Command, State, Verb
from streamlake_assets.stores.dead_letters import Letter, Wanted

MOST_A_TURN: Final = 20


class Outcome(NamedTuple):
    """What became of a command."""

    state: State
    text: str


Act = Callable[[sa.Engine, int, str], Outcome]
"""(engine of the writer, the command's number, who asks) -> outcome."""


def replay(engine: sa.Engine, letter: int, by: str) -> Outcome:
    """Judge a dead letter again by the contract of today, as ``streamlake dead-letters replay`` does.

    Raises:
        TryLaterError: the database is not available.
    """
    wanted = Wanted([letter])
    done = dead_letters.replay(engine, wanted, by)
    if done.still_bad:
        found = done.still_bad[0]
        return Outcome(State.FAILED, f"the contract refuses it today too: {found.reason}, {found.detail}")
    if done.counts.messages:
        kinds = [name for name in ("new", "changed", "same", "older") if getattr(done.counts, name)]
        return Outcome(State.DONE, f"replayed, its row is {' and '.join(kinds)}")
    with snapshot(engine) as connection:
        letters = dead_letters.letters(connection, wanted._replace(state=None), 1)
    return _not_open(letter, letters[0] if letters else None)


def _not_open(number: int, letter: Letter | None) -> Outcome:
    if letter is None:
        return Outcome(State.FAILED, f"there is no dead letter {number}")
    if letter.state == "replayed":
        return Outcome(State.DONE, f"it was replayed by {letter.resolved_by}")
    return Outcome(State.FAILED, f"it was {letter.state} by {letter.resolved_by}")


def acknowledge(engine: sa.Engine, alert: int, by: str) -> Outcome:
    """Note who has seen an alert, as ``streamlake alerts ack`` does.

    Raises:
        UsageError: there is no such alert.
        TryLaterError: the database is not available.
    """
    seen = alert_list.acknowledge(engine, alert, by)
    return Outcome(State.DONE, f"{by} has seen it" if seen else "somebody had seen it before")


def pause(engine: sa.Engine, number: int, by: str) -> Outcome:
    """Let a replay of sessions wait before its next one.

    Raises:
        UsageError: there is no such replay, or it has ended.
        TryLaterError: the database is not available.
    """
    return Outcome(State.DONE, "paused" if replays.set_paused(engine, number, True) else "it was paused before")


def start(engine: sa.Engine, number: int, by: str) -> Outcome:
    """Let a replay of sessions go on; raises as ``pause``."""
    return Outcome(State.DONE, "started" if replays.set_paused(engine, number, False) else "it was going before")


def pace(engine: sa.Engine, per_minute: int, by: str) -> Outcome:
    """Give the replay that runs another pace.

    Raises:
        UsageError: none runs, or the pace is out of bounds.
        TryLaterError: the database is not available.
    """
    changed = replays.set_pace(engine, per_minute)
    return Outcome(State.DONE, f"{per_minute} sessions a minute{'' if changed else ', as before'}")


ACTS: Final[Mapping[str, Act]] = {
    Verb.REPLAY: replay,
    Verb.ACKNOWLEDGE: acknowledge,
    Verb.PAUSE: pause,
    Verb.START: start,
    Verb.PACE: pace,
}


class CommandRunner:
    """Takes commands and finishes them; a second one takes others."""

    def __init__(self, engine: sa.Engine, acts: Mapping[str, Act] = ACTS, claim_s: float = CLAIM_S) -> None:
        self._engine = engine
        self._acts = acts
        self._claim_s = claim_s
        self._log = structlog.get_logger(component="commands")

    def turn(self) -> dict[State, int]:
        """Carry out what waits; return how many ended how.

        Raises:
            TryLaterError: the database is not available; what was begun is begun again.
        """
        ended = dict.fromkeys((State.DONE, State.FAILED), 0)
        for _ in range(MOST_A_TURN):
            command = commands.take(self._engine, self._claim_s)
            if command is None:
                break
            try:
                outcome = self._outcome(command)
            except TryLaterError as error:
                # it stays asked, and is begun again when the claim has run out
                self._log.warning("put_off", command=command.id, error=str(error))
                continue
            commands.finish(self._engine, command, *outcome)
            self._log.info("ended", command=command.id, verb=command.verb, state=outcome.state.value)
            ended[outcome.state] += 1
        return ended

    def _outcome(self, command: Command) -> Outcome:
        try:
            act = self._acts.get(command.verb)
            if act is None:
                raise UsageError(f"there is no command {command.verb}; there are {', '.join(sorted(self._acts))}")
            return act(self._engine, number_of(command), f"page:{command.requested_by}")
        except TryLaterError:
            raise
        except StreamlakeError as error:
            return Outcome(State.FAILED, str(error))
        except Exception as error:  # who delivers alerts must outlive whatever a command does
            self._log.exception("command_failed", command=command.id)
            return Outcome(State.FAILED, f"{type(error).__name__}: see the log of alerts")


def number_of(command: Command) -> int:
    """Return the number of what a command is about.

    Raises:
        UsageError: the arguments are not this one number.
    """
    name = SUBJECT[Verb(command.verb)]
    given: Any = command.arguments
    number = given.get(name) if isinstance(given, dict) and set(given) == {name} else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 63:
        raise UsageError(f"{command.verb} takes one argument, {name}: a number above 0")
    return number
