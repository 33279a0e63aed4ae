"""Replays in MySQL: how far each has come, and how it is to go on: paused, at which pace.

Belongs here: the rows of ``replays``. Stays out: revealing sessions (``sidecar.replay``), keeping the pace
(``sidecar.replay_pace``), who may change it (commands of the page).

Two write a row: the replay itself its progress, whoever controls it ``paused`` and the pace. Neither writes the other's
columns.
"""

import datetime as dt
from typing import Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import UsageError
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later

MOST_PER_MINUTE: Final = 6_000
"""Fastest pace that can be asked for; a replay without a pace goes as fast as it can."""
_T = schema.replays.c


class Replay(NamedTuple):
    """A replay as stored. ``per_minute``: sessions a minute, None without pauses; ``session``: the newest revealed."""

    id: int
    paused: bool
    per_minute: float | None
    revealed: int
    total: int
    session: dt.date | None
    started_at: dt.datetime
    beat_at: dt.datetime
    ended_at: dt.datetime | None


class Wished(NamedTuple):
    """How a replay is to go on."""

    paused: bool
    per_minute: float | None


_COLUMNS: Final = tuple(_T[name] for name in Replay._fields)


def begin(engine: sa.Engine, total: int, per_minute: float | None, paused: bool = False) -> int:
    """Write down a new replay and return its number.

    Args:
        engine: of the writer.
        total: sessions it will reveal.
        per_minute: sessions a minute; None: without pauses.
        paused: whether it waits to be started.

    Raises:
        TryLaterError: the database is not available.
    """
    row = {"paused": paused, "per_minute": per_minute, "total": total}
    with outages_as_try_later("beginning a replay"), engine.begin() as connection:
        return int(connection.execute(sa.insert(schema.replays).values(row)).lastrowid)


def look(engine: sa.Engine, replay: int) -> Wished:
    """Say that a replay is alive, and return how it is to go on.

    Raises:
        UsageError: there is no such replay.
        TryLaterError: the database is not available.
    """
    mine = _T.id == replay
    with outages_as_try_later("looking after a replay"), engine.begin() as connection:
        connection.execute(sa.update(schema.replays).where(mine).values(beat_at=schema.NOW))
        row = connection.execute(sa.select(_T.paused, _T.per_minute).where(mine)).first()
    if row is None:
        raise UsageError(f"there is no replay {replay}")
    return Wished(bool(row.paused), row.per_minute)


def advance(engine: sa.Engine, replay: int, session: dt.date, revealed: int) -> None:
    """Write how far a replay has come.

    Raises:
        TryLaterError: the database is not available.
    """
    _write(engine, replay, {"session": session, "revealed": revealed, "beat_at": schema.NOW})


def end(engine: sa.Engine, replay: int) -> None:
    """Write that a replay has ended, by itself or by an error.

    Raises:
        TryLaterError: the database is not available.
    """
    _write(engine, replay, {"ended_at": schema.NOW, "beat_at": schema.NOW})


def set_paused(engine: sa.Engine, replay: int, paused: bool) -> bool:
    """Let a replay wait or go on; return whether that changed anything.

    Raises:
        UsageError: there is no such replay, or it has ended.
        TryLaterError: the database is not available.
    """
    return _control(engine, replay, {"paused": paused})


def set_pace(engine: sa.Engine, per_minute: int) -> bool:
    """Give the newest replay another pace, in sessions a minute; return whether that changed anything.

    Raises:
        UsageError: none runs, or the pace is out of bounds.
        TryLaterError: the database is not available.
    """
    if not 0 < per_minute <= MOST_PER_MINUTE:
        raise UsageError(f"a replay reveals 1 to {MOST_PER_MINUTE:,} sessions a minute, not {per_minute:,}")
    with outages_as_try_later("looking for a replay"), engine.connect() as connection:
        found = newest(connection)
    if found is None:
        raise UsageError("there is no replay: `streamlake demo` begins one")
    return _control(engine, found.id, {"per_minute": float(per_minute)})


def newest(connection: sa.Connection) -> Replay | None:
    """Return the replay that began last; None: there never was one."""
    row = connection.execute(sa.select(*_COLUMNS).order_by(_T.id.desc()).limit(1)).first()
    if row is None:
        return None
    found = Replay._make(row)
    return found._replace(
        paused=bool(found.paused),
        started_at=found.started_at.replace(tzinfo=UTC),
        beat_at=found.beat_at.replace(tzinfo=UTC),
        ended_at=found.ended_at and found.ended_at.replace(tzinfo=UTC),
    )


def _write(engine: sa.Engine, replay: int, values: dict[str, object]) -> None:
    with outages_as_try_later("writing a replay"), engine.begin() as connection:
        connection.execute(sa.update(schema.replays).where(_T.id == replay).values(values))


def _control(engine: sa.Engine, replay: int, values: dict[str, object]) -> bool:
    with outages_as_try_later("controlling a replay"), engine.begin() as connection:
        query = sa.select(*_COLUMNS).where(_T.id == replay).with_for_update()
        row = connection.execute(query).mappings().first()
        if row is None:
            raise UsageError(f"there is no replay {replay}")
        if row["ended_at"] is not None:
            raise UsageError(f"replay {replay} has ended")
        if all(row[name] == value for name, value in values.items()):
            return False
        connection.execute(sa.update(schema.replays).where(_T.id == replay).values(values))
        return True
