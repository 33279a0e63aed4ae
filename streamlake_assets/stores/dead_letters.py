"""Messages that broke the contract, after they are stored: listed, shown, replayed, dropped.

Belongs here: what an operator does with dead letters. Stays out: storing them (``bad_messages``, with the slice they
came in), judging them (``market.contract``), the partitions that too many of them stop (``stopped_partitions``).

A letter stays for ever: it is one of the messages that the ledger counts. It is open until it is replayed or dropped,
and both only mark it.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import BadRecordError, OffsetFencedError
from streamlake_assets.market.contract import ACTIONS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.messages import Arrival, Counts, Slice, StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Bar, CorporateAction
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import outages_as_try_later

REPLAYS: Final = StreamIdentity("streamlake", "dead-letter-replays", "dead-letter-replays")
"""The stream of replays: what is replayed comes from a place of its own, so offsets and ledger hold for it too."""
REPLAY_PARTITION: Final = 0
STATES: Final = ("open", *schema.RESOLUTIONS)
KEY_BYTES: Final = 512
"""What is stored of a key; a longer one was cut, and no symbol is that long."""
_CHUNK_LETTERS: Final = 1_000
_CHUNK_BYTES: Final = 8 << 20


class Wanted(NamedTuple):
    """Which letters: all that fit everything that is given."""

    ids: Sequence[int] | None = None
    reason: str | None = None
    topic: str | None = None
    state: str | None = "open"
    """One of ``STATES``; None: whatever became of them."""


class Letter(NamedTuple):
    """A dead letter without its payload."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    key: bytes | None
    payload_bytes: int | None
    broker_time: dt.datetime
    state: str
    resolved_at: dt.datetime | None
    resolved_by: str | None
    replay_offset: int | None


class StillBad(NamedTuple):
    """A letter that the contract refuses today too, with today's reason."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str


class Replayed(NamedTuple):
    """What became of letters that were replayed, and which were not."""

    counts: Counts
    still_bad: list[StillBad]


def letters(connection: sa.Connection, wanted: Wanted, limit: int | None = None) -> list[Letter]:
    """Return dead letters, the newest first."""
    d = schema.dead_letters
    columns = [
        *(d.c.id, schema.streams.c.topic, d.c.partition_no, d.c.kafka_offset, d.c.reason, d.c.detail, d.c.message_key),
        *(sa.func.length(d.c.payload), d.c.broker_time, d.c.resolution, d.c.resolved_at),
        *(d.c.resolved_by, d.c.replay_offset),
    ]
    rows = connection.execute(_select(columns, wanted).order_by(d.c.id.desc()).limit(limit))
    return [
        Letter._make(
            (*row[:8], row[8].replace(tzinfo=UTC), row[9] or "open", row[10] and row[10].replace(tzinfo=UTC), *row[11:])
        )
        for row in rows
    ]


def count(connection: sa.Connection, wanted: Wanted) -> int:
    """Return how many letters there are."""
    return int(connection.execute(_select([sa.func.count()], wanted)).scalar_one())


def payload(connection: sa.Connection, letter_id: int) -> bytes | None:
    """Return the message's value, whole; None where it had none."""
    d = schema.dead_letters
    found = connection.execute(sa.select(d.c.payload).where(d.c.id == letter_id)).scalar()
    return None if found is None else bytes(found)


def replay(
    engine: sa.Engine, wanted: Wanted, by: str, on_progress: Callable[[int], None] = lambda done: None
) -> Replayed:
    """Judge open letters again and store those that keep the contract now, each once, however often this is called.

    A letter goes the way of a message: its topic chooses the decoder; key, value and broker's time are those it came
    with; the versions it brings are known from that time. Rows and marks are one transaction.

    Args:
        engine: of the writer.
        wanted: which; letters that are not open are left alone.
        by: who asks, for ``resolved_by``.
        on_progress: takes the number of letters looked at so far.

    Raises:
        TryLaterError: the database was not available; what was replayed until then stays so, the rest is still open.
    """
    store = BarStore(engine, f"replay:{by}"[:128])
    total, still_bad, done = Counts(), list[StillBad](), 0
    try:
        for ids in _chunks(engine, wanted._replace(state="open")):
            counts, refused = _replay_chunk(engine, store, ids, by)
            total.add(counts)
            still_bad += refused
            done += len(ids)
            on_progress(done)
    finally:
        store.close()
    return Replayed(total, still_bad)


def drop(engine: sa.Engine, wanted: Wanted, by: str) -> int:
    """Mark open letters as dropped: they stay, nobody needs to look at them again. Return how many.

    Raises:
        TryLaterError: the database is not available.
    """
    d = schema.dead_letters
    dropped = 0
    for ids in _chunks(engine, wanted._replace(state="open")):
        with outages_as_try_later("dropping dead letters"), engine.begin() as connection:
            dropped += connection.execute(
                sa.update(d)
                .where(d.c.id.in_(ids), d.c.resolution.is_(None))
                .values(resolution="dropped", resolved_at=schema.NOW, resolved_by=by[:128])
            ).rowcount
    return dropped


def _select(columns: Sequence[Any], wanted: Wanted) -> sa.Select[Any]:
    d, s = schema.dead_letters, schema.streams
    query = sa.select(*columns).select_from(d).join(s, s.c.id == d.c.stream_id)
    if wanted.ids is not None:
        query = query.where(d.c.id.in_(wanted.ids))
    if wanted.reason is not None:
        query = query.where(d.c.reason == wanted.reason)
    if wanted.topic is not None:
        query = query.where(s.c.topic == wanted.topic)
    if wanted.state == "open":
        query = query.where(d.c.resolution.is_(None))
    elif wanted.state is not None:
        query = query.where(d.c.resolution == wanted.state)
    return query


def _chunks(engine: sa.Engine, wanted: Wanted) -> Iterator[list[int]]:
    """Yield ids in order of arrival, so many at a time that their payloads fit in a little memory."""
    d = schema.dead_letters
    with outages_as_try_later("reading dead letters"), engine.connect() as connection:
        found = connection.execute(
            _select([d.c.id, sa.func.coalesce(sa.func.length(d.c.payload), 0)], wanted).order_by(d.c.id)
        ).all()
    chunk: list[int] = []
    size = 0
    for letter_id, length in found:
        if chunk and (len(chunk) == _CHUNK_LETTERS or size + length > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter_id)
        size += length
    if chunk:
        yield chunk


def _replay_chunk(engine: sa.Engine, store: BarStore, ids: Sequence[int], by: str) -> tuple[Counts, list[StillBad]]:
    while True:
        try:
            return _replay_once(engine, store, ids, by)
        except OffsetFencedError:
            # another replay, or a drop, was first: what it took is not open any more
            continue


def _replay_once(engine: sa.Engine, store: BarStore, ids: Sequence[int], by: str) -> tuple[Counts, list[StillBad]]:
    d, s = schema.dead_letters, schema.streams
    first = store.next_offsets(REPLAYS).get(REPLAY_PARTITION, 0)
    columns = [d.c.id, s.c.topic, d.c.partition_no, d.c.kafka_offset, d.c.message_key, d.c.payload, d.c.broker_time]
    with outages_as_try_later("reading dead letters"), engine.connect() as connection:
        rows = connection.execute(_select(columns, Wanted(ids)).order_by(d.c.id)).all()
    arrivals: list[Arrival] = []
    taken: list[int] = []
    refused = []
    for row in rows:
        broker_time = row.broker_time.replace(tzinfo=UTC)
        try:
            fact = _decoder(row.topic)(row.payload, row.message_key, broker_time)
        except BadRecordError as error:
            place = (row.topic, row.partition_no, row.kafka_offset)
            refused.append(StillBad(row.id, *place, str(error.reason), error.detail))
        else:
            arrivals.append(Arrival(first + len(taken), broker_time, fact))
            taken.append(row.id)
    if not arrivals:
        return Counts(), refused
    part = Slice(REPLAYS, REPLAY_PARTITION, first, first + len(arrivals), arrivals, [])

    def mark(connection: sa.Connection) -> None:
        marked = connection.execute(
            sa.update(d)
            .where(d.c.id.in_(taken), d.c.resolution.is_(None))
            .values(
                resolution="replayed",
                resolved_at=schema.NOW,
                resolved_by=by[:128],
                # FIELD: the place in the list, from 1
                replay_offset=first - 1 + sa.func.field(d.c.id, *taken),
            )
        ).rowcount
        if marked != len(taken):
            raise OffsetFencedError("a dead letter was resolved by somebody else in the meantime")

    return store.ingest([part], within=mark), refused


def _decoder(topic: str) -> Callable[[bytes | None, bytes | None, dt.datetime], Bar | CorporateAction]:
    return decode_action if topic == ACTIONS_TOPIC else decode_bar


def as_record(letter: Letter) -> Mapping[str, Any]:
    """Return a letter as plain data: the key as text where it is text, else in hexadecimal."""
    key = None if letter.key is None else readable(letter.key)
    return {**letter._asdict(), "key": key}


def readable(raw: bytes) -> str:
    """Return bytes as text where they are UTF-8, else in hexadecimal after ``0x``."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"
