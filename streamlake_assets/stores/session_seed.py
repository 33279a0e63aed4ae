"""Where the state of a process that follows the stream begins: the newest daily bars with the offsets they stand for.

Belongs here: one snapshot of versions, actions, ranks and stream offsets. Stays out: the state itself
(``market.feature_state``), reading the topics from those offsets on (``sidecar``).

Bars and offsets are written in one transaction, so a snapshot of both has every message before the offsets and none
after them: from there on nothing is missed and nothing counted twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.feature_state import MARGIN, ActionVersion, SessionVersion, Values
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import ActionKind, AssetClass, Instrument, Interval
from streamlake_assets.market.versions import Version
from streamlake_assets.stores import bar_reader, schema
from streamlake_assets.stores.bar_reader import KnownInstrument
from streamlake_assets.stores.dimensions import DEFAULT_RANK

Place = tuple[str, int]
"""(topic, partition)."""
StreamPlace = tuple[str, str, int]
"""(cluster id, topic id, partition)."""
_ROOM: Final = 2
"""Rows read for each session that is kept: some may be provisional."""


class InstrumentSeed(NamedTuple):
    """What the tables hold of one instrument's newest sessions."""

    instrument: Instrument
    asset_class: AssetClass
    bars: Sequence[SessionVersion]
    actions: Sequence[ActionVersion]


class Seed(NamedTuple):
    """All instruments, how each source ranks, and the next offset of each place of every stream ever stored."""

    instruments: Sequence[InstrumentSeed]
    ranks: Mapping[str, int]
    ends: Mapping[StreamPlace, int]

    def rank(self, source: str) -> int:
        """Return the rank of a source; one that nobody ranked has the default."""
        return self.ranks.get(source, DEFAULT_RANK)

    def offsets(self, stream: StreamIdentity) -> dict[int, int]:
        """Return the next offset of each partition of a stream that has one."""
        return {
            partition: offset
            for (cluster_id, topic_id, partition), offset in self.ends.items()
            if (cluster_id, topic_id) == (stream.cluster_id, stream.topic_id)
        }


def read_seed(engine: sa.Engine, keep: int) -> Seed:
    """Read where to begin, in one snapshot.

    Args:
        engine: of a user that may read the raw tables.
        keep: settled sessions that each instrument's state keeps.

    Raises:
        TryLaterError: the database is not available.
    """
    d = schema.data_sources
    with bar_reader.snapshot(engine) as connection:
        ends = _ends(connection)
        ranks = {row.name: row.source_rank for row in connection.execute(sa.select(d.c.name, d.c.source_rank))}
        daily = bar_reader.interval_ids(connection)[Interval.D1]
        found = [
            InstrumentSeed(
                of.instrument, of.asset_class, _bars(connection, of, daily, keep), _actions(connection, of.id)
            )
            for of in bar_reader.instruments(connection).values()
        ]
    return Seed(found, ranks, ends)


def stream_places(engine: sa.Engine) -> dict[StreamPlace, int]:
    """Return how far every place of every stream is in the tables.

    Raises:
        TryLaterError: the database is not available.
    """
    with bar_reader.snapshot(engine) as connection:
        return _ends(connection)


def stored_instruments(engine: sa.Engine) -> set[Instrument]:
    """Return the instruments that the tables know.

    Raises:
        TryLaterError: the database is not available.
    """
    with bar_reader.snapshot(engine) as connection:
        return {of.instrument for of in bar_reader.instruments(connection).values()}


def _ends(connection: sa.Connection) -> dict[StreamPlace, int]:
    return {
        (end.cluster_id, end.topic_id, end.partition): end.next_offset for end in bar_reader.stream_ends(connection)
    }


def _bars(connection: sa.Connection, of: KnownInstrument, daily: int, keep: int) -> list[SessionVersion]:
    b, d = schema.bars, schema.data_sources
    query = (
        sa.select(
            *(b.c.session_date, b.c.open, b.c.high, b.c.low, b.c.close, b.c.volume),
            *(b.c.status, b.c.as_of, b.c.version_hash, d.c.source_rank),
        )
        .prefix_with("STRAIGHT_JOIN")
        .select_from(b)
        .join(d, d.c.id == b.c.source_id)
        .where(b.c.instrument_id == of.id, b.c.interval_id == daily)
        .order_by(b.c.bar_time.desc())
        .limit(_ROOM * (keep + MARGIN + 1))
    )
    return [_session(row) for row in reversed(connection.execute(query).all())]


def _session(row: sa.Row[Any]) -> SessionVersion:
    volume = None if row.volume is None else float(row.volume)
    return SessionVersion(
        row.session_date,
        Version(row.source_rank, row.status == "settled", row.as_of.replace(tzinfo=UTC), bytes(row.version_hash)),
        Values(float(row.open), float(row.high), float(row.low), float(row.close), volume),
    )


def _actions(connection: sa.Connection, instrument_id: int) -> list[ActionVersion]:
    c, d = schema.corporate_actions, schema.data_sources
    query = (
        sa.select(c.c.ex_date, c.c.kind, c.c.factor, c.c.as_of, c.c.version_hash, d.c.source_rank)
        .join(d, d.c.id == c.c.source_id)
        .where(c.c.instrument_id == instrument_id)
        .order_by(c.c.ex_date, c.c.kind)
    )
    return [
        ActionVersion(
            row.ex_date,
            ActionKind(row.kind),
            Version(row.source_rank, True, row.as_of.replace(tzinfo=UTC), bytes(row.version_hash)),
            row.factor,
        )
        for row in connection.execute(query)
    ]
