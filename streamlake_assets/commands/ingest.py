"""The commands that look at ingestion and mend it, without their command line: ledger and dead letters.

Belongs here: what these commands do, as functions that return plain data. Stays out: options and tables
(``ingest_app``), loading (``ingest_load``), rebuilding (``ingest_rebuild``).
"""

import base64
import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from streamlake_assets.commands.data import require_servers
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import observations
from streamlake_assets.market.quality import PartitionCount, ledger_balances
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import dead_letters
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.dead_letters import Letter, Wanted
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.stopped_partitions import StoppedPartition, resume, stopped_partitions

_SAY_EVERY = 10_000


def who() -> str:
    """Return who runs this program, as user@host: it goes beside what an operator decides."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:128]


def read_ledger(settings: Settings, tables_only: bool, say: Say) -> dict[str, Any]:
    """Compare batch records, rows, dead letters and offsets with each other, and with the topics.

    Args:
        settings: where the servers are.
        tables_only: do not ask Kafka.
        say: takes progress.

    Raises:
        SettingError: a configured server does not answer.
        TryLaterError: a local one is not up.
    """
    require_servers(settings, "mysql", *([] if tables_only else ["kafka"]))
    say("counting" if tables_only else "counting, and comparing with the topics")
    with _engine(settings, DatabaseRole.READER) as engine:
        found = observations.count_ledger(engine, None if tables_only else settings.kafka)
    verdict = ledger_balances(found.partitions, found.imbalances)
    return {
        "balances": verdict.passed,
        "text": verdict.text,
        "partitions": [_count_record(count) for count in found.partitions],
        "imbalances": [
            {
                "topic": one.topic,
                "partition": one.partition,
                "first_offset": one.first_offset,
                "last_offset": one.next_offset - 1,
                "what": one.what,
            }
            for one in found.imbalances
        ],
    }


def list_letters(settings: Settings, wanted: Wanted, limit: int) -> dict[str, Any]:
    """Return the newest dead letters that are wanted, how many there are, and the stopped partitions.

    Raises:
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up.
    """
    require_servers(settings, "mysql")
    with _engine(settings, DatabaseRole.READER) as engine, snapshot(engine) as connection:
        found = dead_letters.letters(connection, wanted, limit)
        return {
            "found": dead_letters.count(connection, wanted),
            "letters": [dead_letters.as_record(letter) for letter in found],
            "stopped": [_stopped_record(one) for one in stopped_partitions(connection)],
        }


def show_letter(settings: Settings, letter_id: int) -> dict[str, Any]:
    """Return a dead letter whole; ``payload`` is text where it is UTF-8, and always there as Base64.

    Raises:
        UsageError: there is no such letter.
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up.
    """
    require_servers(settings, "mysql")
    with _engine(settings, DatabaseRole.READER) as engine, snapshot(engine) as connection:
        letter = _one(dead_letters.letters(connection, Wanted([letter_id], state=None), 1), letter_id)
        payload = dead_letters.payload(connection, letter_id)
    return {
        **dead_letters.as_record(letter),
        "payload": None if payload is None else dead_letters.readable(payload),
        "payload_base64": None if payload is None else base64.b64encode(payload).decode(),
    }


def replay_letters(settings: Settings, wanted: Wanted, say: Say) -> dict[str, Any]:
    """Judge open dead letters again and store those that keep the contract now.

    Raises:
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up, or went away; what was replayed stays so.
    """
    require_servers(settings, "mysql")
    said = 0

    def progress(done: int) -> None:
        nonlocal said
        if done - said >= _SAY_EVERY:
            said = done
            say(f"{done:,} letters judged again")

    with _engine(settings, DatabaseRole.WRITER) as engine:
        done = dead_letters.replay(engine, wanted, who(), progress)
    counts = {name: getattr(done.counts, name) for name in ("new", "changed", "same", "older")}
    return {
        "replayed": done.counts.messages,
        **counts,
        "still_bad": [one._asdict() for one in done.still_bad],
        "not_open": _not_open(wanted, done.counts.messages + len(done.still_bad)),
    }


def drop_letters(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Mark open dead letters as dropped.

    Raises:
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up.
    """
    require_servers(settings, "mysql")
    with _engine(settings, DatabaseRole.WRITER) as engine:
        dropped = dead_letters.drop(engine, wanted, who())
    return {"dropped": dropped, "not_open": _not_open(wanted, dropped)}


def resume_partitions(settings: Settings, topic: str | None, partition: int | None) -> list[dict[str, Any]]:
    """Let consumers read stopped partitions again.

    Raises:
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up.
    """
    require_servers(settings, "mysql")
    with _engine(settings, DatabaseRole.WRITER) as engine:
        return [_stopped_record(one) for one in resume(engine, who(), topic, partition)]


@contextmanager
def _engine(settings: Settings, role: DatabaseRole) -> Iterator[sa.Engine]:
    engine = make_engine(settings, role)
    try:
        yield engine
    finally:
        engine.dispose()


def _not_open(wanted: Wanted, open_letters: int) -> int:
    return len(set(wanted.ids)) - open_letters if wanted.ids and not (wanted.reason or wanted.topic) else 0


def _one(found: list[Letter], letter_id: int) -> Letter:
    if not found:
        raise UsageError(f"there is no dead letter {letter_id}: `streamlake dead-letters list` shows their ids")
    return found[0]


def _count_record(count: PartitionCount) -> dict[str, Any]:
    stored = ("first_offset", "stored_offset", "messages", "new", "changed", "same", "older", "dead", "versions")
    return {
        "topic": count.topic,
        "partition": count.partition,
        **{name: getattr(count, name) for name in stored},
        "no_messages": count.no_messages,
        "waiting": count.waiting,
        "low": count.low,
        "high": count.high,
    }


def _stopped_record(one: StoppedPartition) -> dict[str, Any]:
    return {
        "topic": one.topic,
        "partition": one.partition,
        "next_offset": one.next_offset,
        "reason": one.reason,
        "stopped_at": one.stopped_at.isoformat(),
    }
