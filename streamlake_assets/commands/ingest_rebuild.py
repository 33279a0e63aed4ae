"""`rebuild`: all raw tables anew from the topics, in a schema beside the live one, and the two compared.

Belongs here: the schema beside, what is read, what is compared. Stays out: the digests (``stores.digests``), the load
(``ingest_load``), options and tables (``ingest_app``).

The live tables are read in one view: their digests, and the offsets up to which they hold the topics. The rebuild reads
exactly so far, so nothing needs to stand still. What an operator decided is not on the topics: the ranks of sources are
taken over, and a dead letter that was replayed counts as what it became (``stores.digests`` says how). The limit of
dead letters does not hold here: the live tables hold what they hold.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from streamlake_assets.broker.range_reader import Place, Range
from streamlake_assets.broker.topics import describe_streams, watermarks
from streamlake_assets.commands.data import require_servers
from streamlake_assets.commands.ingest_load import load
from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import bar_reader, dead_letters, migrate, schema
from streamlake_assets.stores.dead_letters import REPLAYS, Wanted
from streamlake_assets.stores.digests import TableDigest, digests
from streamlake_assets.stores.dimensions import DEFAULT_RANK
from streamlake_assets.stores.mysql import make_engine, outages_as_try_later

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_NO_RIGHT = frozenset({1044, 1142, 1227})


class _Live(NamedTuple):
    """The live tables at one moment."""

    ends: list[bar_reader.StreamEnd]
    digests: dict[str, TableDigest]
    replayed: int
    ranks: dict[str, int]


def rebuild(settings: Settings, from_offset: int, name: str, keep: bool, say: Say) -> dict[str, Any]:
    """Build the raw tables in a schema of their own, and compare them with the live ones.

    Args:
        settings: where the servers are.
        from_offset: first offset of each partition that is read; above 0 nothing is compared.
        name: of the schema; made when it is missing.
        keep: leave the schema; else it is dropped, whatever happens.
        say: takes progress.

    Raises:
        UsageError: the schema holds something, has no good name, or the migrating user may not make it.
        SettingError: a configured server does not answer.
        TryLaterError: a local one is not up.
    """
    require_servers(settings, "kafka", "mysql")
    streams = describe_streams(settings.kafka, (BARS_TOPIC, ACTIONS_TOPIC))
    with _schema_beside(settings, name, keep) as beside:
        say(f"reading the live tables: offsets and digests (beside: {name})")
        live = _read_live(settings)
        ranges, notes = _ranges(settings, streams, live.ends, from_offset)
        migrate.upgrade(beside)
        _take_over_ranks(beside, live.ranks)
        say(f"reading {sum(end - first for first, end in ranges.values()):,} messages")
        loaded = load(settings.kafka, beside, streams, ranges, say)
        say("comparing")
        with bar_reader.snapshot(beside) as connection:
            built = digests(connection)
    if live.replayed:
        notes.append(f"{live.replayed:,} dead letters that were replayed count as what they became")
    tables = [
        {
            "table": table,
            "live_rows": was.rows,
            "rebuilt_rows": built[table].rows,
            "equal": None if from_offset else was == built[table],
        }
        for table, was in live.digests.items()
    ]
    return {
        **loaded.as_record(),
        "schema": name,
        "kept": keep,
        "from_offset": from_offset,
        "tables": tables,
        "equal": None if from_offset else all(one["equal"] for one in tables),
        "notes": notes,
    }


def _read_live(settings: Settings) -> _Live:
    engine = make_engine(settings, DatabaseRole.READER)
    d = schema.data_sources
    try:
        with bar_reader.snapshot(engine) as connection:
            ranks = connection.execute(sa.select(d.c.name, d.c.source_rank).where(d.c.source_rank != DEFAULT_RANK))
            return _Live(
                ends=[end for end in bar_reader.stream_ends(connection) if end.topic_id != REPLAYS.topic_id],
                ranks={row.name: row.source_rank for row in ranks},
                replayed=dead_letters.count(connection, Wanted(state="replayed")),
                digests=digests(connection),
            )
    finally:
        engine.dispose()


def _ranges(
    settings: Settings, streams: Mapping[str, StreamIdentity], ends: list[bar_reader.StreamEnd], from_offset: int
) -> tuple[dict[Place, Range], list[str]]:
    topics = {stream.topic_id: topic for topic, stream in streams.items()}
    marks = {topic: watermarks(settings.kafka, topic) for topic in streams}
    ranges: dict[Place, Range] = {}
    gone: dict[str, int] = {}
    notes = []
    for end in ends:
        topic = topics.get(end.topic_id)
        if topic is None:
            gone[end.topic] = gone.get(end.topic, 0) + 1
            continue
        low, _ = marks[topic].get(end.partition, (0, 0))
        if low > from_offset:
            notes.append(
                f"{topic}[{end.partition}] begins at offset {low}: what was before is not on the topic any more"
            )
        first = max(low, from_offset)
        ranges[topic, end.partition] = (first, max(first, end.next_offset))
    for topic, partitions in gone.items():
        notes.append(f"the live tables also hold {topic} as it was made before or elsewhere ({partitions} partitions)")
    return ranges, notes


@contextmanager
def _schema_beside(settings: Settings, name: str, keep: bool) -> Iterator[sa.Engine]:
    """Give an engine of the migrating user on an empty schema; it is dropped afterwards unless it is kept."""
    if not _NAME.match(name):
        raise UsageError(f"--schema {name}: say a name of a-z, 0-9 and _, at most 64 signs")
    url = sa.make_url(settings.mysql(DatabaseRole.MIGRATE))
    if url.database == name:
        raise UsageError(f"--schema {name} is the live schema")
    admin = make_engine(settings, DatabaseRole.MIGRATE)
    there = SecretStr(url.set(database=name).render_as_string(hide_password=False))
    beside = make_engine(
        settings.model_copy(update={"mysql_url": there}), DatabaseRole.MIGRATE, pool_size=4, local_infile=True
    )
    try:
        _make_empty(admin, name, url.username or "")
        try:
            yield beside
        finally:
            beside.dispose()
            if not keep:
                with outages_as_try_later(f"dropping schema {name}"), admin.begin() as connection:
                    connection.execute(sa.schema.DropSchema(name, if_exists=True))
    finally:
        beside.dispose()
        admin.dispose()


def _make_empty(admin: sa.Engine, name: str, user: str) -> None:
    with outages_as_try_later(f"making schema {name}"), admin.connect() as connection:
        inspector = sa.inspect(connection)
        if name in inspector.get_schema_names():
            found = inspector.get_table_names(schema=name) + inspector.get_view_names(schema=name)
            if found:
                raise UsageError(
                    f"schema {name} holds {len(found)} tables, such as {found[0]}: a rebuild begins in an empty one. "
                    "Drop it, or say --schema with another name"
                )
            return
        try:
            connection.execute(sa.schema.CreateSchema(name))
        except DBAPIError as error:
            code = error.orig.args[0] if error.orig is not None and error.orig.args else None
            if code not in _NO_RIGHT:
                raise
            raise UsageError(
                f"{user} may not make schema {name} ({error.orig}). The local server gives the right when `streamlake "
                f"up` starts it; on your own: GRANT ALL PRIVILEGES ON `{name}`.* TO the user of STREAMLAKE_MYSQL_URL"
            ) from error


def _take_over_ranks(beside: sa.Engine, ranks: Mapping[str, int]) -> None:
    d = schema.data_sources
    with outages_as_try_later("taking over ranks"), beside.begin() as connection:
        known = set(connection.execute(sa.select(d.c.name)).scalars())
        for name, rank in sorted(ranks.items()):
            if name in known:
                connection.execute(sa.update(d).where(d.c.name == name).values(source_rank=rank))
            else:
                connection.execute(sa.insert(d).values(name=name, source_rank=rank))
