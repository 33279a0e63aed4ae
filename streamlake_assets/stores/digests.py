"""What the raw tables say, as one SHA-256 for each: two schemas fed by the same topics have the same digests.

Belongs here: which columns a table's digest covers, and how it is read, row by row in key order with bounded memory.
Stays out: what is done with a difference (``commands``).

Rows are named by natural keys, never by surrogate ids, so a digest does not depend on which consumer wrote, in what
batches, or by which way. ``known_from``, ``event_time`` and ``kafka_offset`` of a fact come from the topic and are
covered: of each version they are those of the first message that brought it, and a symbol stays on one partition. A
dead letter that was replayed counts as what it became: its row is left out, and the version it brought is covered at
the place its message has on the topic. So the tables are equal to those of a consumer that accepted the message from
the start, unless the same version had come by another message before the replay: then that one was the first.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import IntegrityError
from streamlake_assets.stores import schema
from streamlake_assets.stores.dead_letters import REPLAYS

_ID = "surrogate id: names stand for it"
_OPERATOR = "what an operator decided, not what the topic says"
_FACT: Final = {
    "instrument_id": _ID,
    "source_id": _ID,
    "batch_id": "depends on how messages were cut into batches",
}
_BAR: Final = {**_FACT, "interval_id": _ID}
VOLATILE: Final[Mapping[str, Mapping[str, str]]] = {
    "instruments": {"id": _ID, "exchange_id": _ID, "sector_id": _ID},
    "exchanges": {"id": _ID},
    "sectors": {"id": _ID},
    "data_sources": {"id": _ID},
    "bars": _BAR,
    "bar_revisions": _BAR,
    "corporate_actions": _FACT,
    "corporate_action_revisions": _FACT,
    "dead_letters": {
        "id": _ID,
        "stream_id": _ID,
        "batch_id": _FACT["batch_id"],
        "detail": "wording of the program, which may change between versions; the reason's code does not",
        "resolution": _OPERATOR,
        "resolved_at": _OPERATOR,
        "resolved_by": _OPERATOR,
        "replay_offset": _OPERATOR,
    },
    "stream_offsets": {"stream_id": _ID, "updated_at": "when it was written"},
}
"""By table: the columns that its digest leaves out, and why. Rows are left out of three: sectors that no instrument is
in any more (what stays behind depends on batches), dead letters that were replayed, the stream of their replays."""

_FETCH: Final = 5_000


class TableDigest(NamedTuple):
    """Number of rows that a digest covers, and their SHA-256 in hexadecimal."""

    rows: int
    sha256: str


class _Replays(NamedTuple):
    """Where replayed letters lie on their topics: by batch of the stream of replays, and by offset in it."""

    batches: frozenset[int]
    offsets: Mapping[int, int]

    def place(self, batch_id: int, offset: int) -> int:
        """Return the offset that a fact's message has on its topic."""
        return self.offsets.get(offset, -1) if batch_id in self.batches else offset


def table_digests(connection: sa.Connection) -> dict[str, str]:
    """Return the SHA-256 of each raw table by name; give it a snapshot, so that all see the same moment.

    Raises:
        IntegrityError: the server could not hash a row.
    """
    return {name: found.sha256 for name, found in digests(connection).items()}


def digests(connection: sa.Connection, leave_out: Collection[str] = ()) -> dict[str, TableDigest]:
    """Return rows and SHA-256 of each raw table by name.

    Args:
        connection: in a snapshot.
        leave_out: columns of facts that do not count either, such as times of a sending when two sendings are compared.

    Raises:
        IntegrityError: the server could not hash a row.
    """
    replays = _read_replays(connection)
    found = {
        "instruments": _plain(connection, _instruments()),
        "exchanges": _plain(connection, _named(schema.exchanges, schema.exchanges.c.mic)),
        "sectors": _plain(connection, _sectors()),
        "data_sources": _plain(connection, _named(schema.data_sources, schema.data_sources.c.name)),
    }
    for table in (schema.bars, schema.bar_revisions, schema.corporate_actions, schema.corporate_action_revisions):
        found[table.name] = _facts(connection, table, replays, leave_out)
    found["dead_letters"] = _plain(connection, *_dead_letters(connection))
    found["stream_offsets"] = _plain(connection, _stream_offsets())
    return found


class _Hasher:
    def __init__(self) -> None:
        self.rows = 0
        self._sha = sha256()

    def head(self, text: str) -> None:
        self._sha.update(text.encode())

    def row(self, digest: str | None, place: object = "") -> None:
        if digest is None:
            raise IntegrityError("the server could not hash a row: is max_allowed_packet smaller than the row?")
        self.rows += 1
        self._sha.update(f"\n{digest}{place}".encode())

    def result(self) -> TableDigest:
        return TableDigest(self.rows, self._sha.hexdigest())


def _plain(connection: sa.Connection, *queries: sa.Select[Any]) -> TableDigest:
    hasher = _Hasher()
    for query in queries:
        for row in _stream(connection, query):
            hasher.row(row[0])
    return hasher.result()


def _facts(connection: sa.Connection, table: sa.Table, replays: _Replays, leave_out: Collection[str]) -> TableDigest:
    # instrument by instrument, each in the order of the primary key: the server sorts nothing
    i, e = schema.instruments, schema.exchanges
    known = connection.execute(
        sa.select(i.c.id, i.c.symbol, e.c.mic).join(e, e.c.id == i.c.exchange_id).order_by(i.c.symbol, e.c.mic)
    ).all()
    query = _fact_query(table, leave_out)
    hasher = _Hasher()
    for instrument in known:
        before = hasher.rows
        for row in _stream(connection, query, {"instrument": instrument.id}):
            if hasher.rows == before:
                hasher.head(f"\n{instrument.symbol}|{instrument.mic}")
            hasher.row(row[0], replays.place(row.batch_id, row.kafka_offset))
    return hasher.result()


def _fact_query(table: sa.Table, leave_out: Collection[str]) -> sa.Select[Any]:
    d, v = schema.data_sources, schema.bar_intervals
    has_interval = "interval_id" in table.c
    columns = _covered(table, "kafka_offset", *leave_out) + [d.c.name] + ([v.c.name] if has_interval else [])
    key = [column for column in table.primary_key.columns if column.name != "instrument_id"]
    query = (
        sa.select(_hash(columns), table.c.batch_id, table.c.kafka_offset)
        .prefix_with("STRAIGHT_JOIN")
        .select_from(table)
        .join(d, d.c.id == table.c.source_id)
    )
    if has_interval:
        query = query.join(v, v.c.id == table.c.interval_id)
    return query.where(table.c.instrument_id == sa.bindparam("instrument")).order_by(*key)


def _instruments() -> sa.Select[Any]:
    i, e, s = schema.instruments, schema.exchanges, schema.sectors
    return (
        sa.select(_hash([*_covered(i), e.c.mic, s.c.name]))
        .select_from(i)
        .join(e, e.c.id == i.c.exchange_id)
        .outerjoin(s, s.c.id == i.c.sector_id)
        .order_by(i.c.symbol, e.c.mic)
    )


def _named(table: sa.Table, name: sa.Column[Any]) -> sa.Select[Any]:
    return sa.select(_hash(_covered(table))).order_by(name)


def _sectors() -> sa.Select[Any]:
    s, i = schema.sectors, schema.instruments
    used = sa.select(i.c.id).where(i.c.sector_id == s.c.id).exists()
    return sa.select(_hash(_covered(s))).where(used).order_by(s.c.name)


def _dead_letters(connection: sa.Connection) -> Iterator[sa.Select[Any]]:
    d = schema.dead_letters
    # the payload may be longer than what the server puts together in one value
    columns = [c for c in _covered(d) if c is not d.c.payload]
    for stream_id, topic in connection.execute(_streams()).all():
        hashed = _hash([sa.literal(topic), *columns, sa.func.sha2(d.c.payload, 256)])
        standing = sa.or_(d.c.resolution.is_(None), d.c.resolution != "replayed")
        yield (
            sa.select(hashed).where(d.c.stream_id == stream_id, standing).order_by(d.c.partition_no, d.c.kafka_offset)
        )


def _stream_offsets() -> sa.Select[Any]:
    o, s = schema.stream_offsets, schema.streams
    return (
        sa.select(_hash([s.c.topic, *_covered(o)]))
        .select_from(o)
        .join(s, s.c.id == o.c.stream_id)
        .where(s.c.topic_id != REPLAYS.topic_id)
        .order_by(s.c.topic, s.c.cluster_id, s.c.topic_id, o.c.partition_no)
    )


def _streams() -> sa.Select[Any]:
    s = schema.streams
    return sa.select(s.c.id, s.c.topic).order_by(s.c.topic, s.c.cluster_id, s.c.topic_id)


def _read_replays(connection: sa.Connection) -> _Replays:
    b, s, d = schema.ingest_batches, schema.streams, schema.dead_letters
    batches = (
        sa.select(b.c.id)
        .join(s, s.c.id == b.c.stream_id)
        .where(s.c.cluster_id == REPLAYS.cluster_id, s.c.topic_id == REPLAYS.topic_id)
    )
    ids = frozenset(connection.execute(batches).scalars())
    if not ids:
        return _Replays(ids, {})
    letters = sa.select(d.c.replay_offset, d.c.kafka_offset).where(d.c.replay_offset.is_not(None))
    return _Replays(ids, {row.replay_offset: row.kafka_offset for row in connection.execute(letters)})


def _covered(table: sa.Table, *but: str) -> list[sa.ColumnElement[Any]]:
    return [column for column in table.columns if column.name not in VOLATILE[table.name] and column.name not in but]


def _hash(columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    # on the server: one text for each row crosses the wire instead of twenty values
    return sa.func.sha2(sa.func.concat_ws(",", *map(_text, columns)), 256)


def _text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # text in hexadecimal: a separator in a name means nothing, and collations do not mix. QUOTE writes NULL as NULL
    if isinstance(column.type, sa.String | sa.LargeBinary | sa.types._Binary) and not isinstance(column.type, sa.Enum):
        return sa.func.quote(sa.func.hex(column))
    return sa.func.quote(column)


def _stream(connection: sa.Connection, query: sa.Select[Any], values: Any = None) -> Iterator[sa.Row[Any]]:
    options = {"stream_results": True, "yield_per": _FETCH}
    with connection.execute(query, values or {}, execution_options=options) as result:
        yield from result
