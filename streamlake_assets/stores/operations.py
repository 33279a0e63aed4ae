"""Signs of life, alerts and turns: what processes beside each other say about themselves.

Belongs here: heartbeats, the alert outbox, locks by name. Stays out: delivery of alerts, and everything about bars.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import ANSWER_TIMEOUT_S, outages_as_try_later


def beat(engine: sa.Engine, process: str, state: dict[str, Any]) -> None:
    """Write that a process is alive and what it is doing.

    Raises:
        TryLaterError: the database is not available.
    """
    statement = mysql.insert(schema.heartbeats).values(process=process, state=state, beat_at=schema.NOW)
    with outages_as_try_later("writing a heartbeat"), engine.begin() as connection:
        connection.execute(
            statement.on_duplicate_key_update(state=statement.inserted.state, beat_at=statement.inserted.beat_at)
        )


def heartbeats(engine: sa.Engine) -> dict[str, tuple[dt.datetime, dict[str, Any]]]:
    """Return the last sign of life of each process: when, and its state."""
    table = schema.heartbeats
    with outages_as_try_later("reading heartbeats"), engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.process, table.c.beat_at, table.c.state)).all()
    return {row.process: (row.beat_at.replace(tzinfo=UTC), row.state) for row in rows}


def raise_alert(engine: sa.Engine, dedupe_key: str, severity: str, subject: str, body: str) -> None:
    """Put an alert into the outbox; the same ``dedupe_key`` twice is one alert."""
    with outages_as_try_later("raising an alert"), engine.begin() as connection:
        put_alert(connection, dedupe_key, severity, subject, body)


def put_alert(
    connection: sa.Connection, dedupe_key: str, severity: str, subject: str, body: str, state: str = "raised"
) -> None:
    """Put an alert into the outbox within the caller's transaction; the same ``dedupe_key`` twice is one alert."""
    statement = mysql.insert(schema.alert_outbox).values(
        dedupe_key=dedupe_key[:190],
        state=state,
        severity=severity,
        subject=subject[:255],
        body=body,
        name=dedupe_key[:190],
        # who was told of the worst is told that it is over
        worst="error" if state == "recovered" else severity,
    )
    connection.execute(statement.on_duplicate_key_update(id=schema.alert_outbox.c.id))


_TURN_PART_S = ANSWER_TIMEOUT_S // 2


@contextmanager
def exclusive(engine: sa.Engine, name: str, wait_s: int) -> Iterator[None]:
    """Hold a name that one process of this database may hold at a time; the server frees it when the process dies.

    Raises:
        TryLaterError: another process held it for all of ``wait_s`` seconds, or the database is not available.
    """
    lock = sa.func.concat(sa.func.database(), ".", name)
    with outages_as_try_later(f"taking turns for {name}"), engine.connect() as connection:
        left = wait_s
        # in parts: one long wait would look like a server that is gone
        while connection.execute(sa.select(sa.func.get_lock(lock, min(left, _TURN_PART_S)))).scalar() != 1:
            left -= _TURN_PART_S
            if left <= 0:
                raise TryLaterError(f"another process was busy with {name} for {wait_s} s")
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.release_lock(lock)))
