"""What pages read from MySQL: a series in one snapshot with the stream's offsets, an overview, the next forecasts.

Belongs here: short bounded reads of the ``reader`` user. Stays out: writing, documents (``page_documents``), the tail
of the stream (``broker.tail``), and how the three become one series (``panel_app``).
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Instrument, Interval, Status
from streamlake_assets.market.versions import Version
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import make_engine, outages_as_try_later
from streamlake_assets.stores.operations import heartbeats
from streamlake_assets.stores.page_rows import (
    ForecastValues,
    Listed,
    NextForecast,
    Overview,
    PageBar,
    Snapshot,
    Watermark,
)

CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 10
"""A page that waits longer had better say that the server is down."""


class PageReader:
    """Reads for pages; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._engine = make_engine(settings, DatabaseRole.READER)
        sa.event.listen(self._engine, "do_connect", _short_timeouts)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def overview(self, topic: str, stream: StreamIdentity | None) -> Overview:
        """Return what all pages need.

        Args:
            topic: name of the topic of bars.
            stream: its identity where the broker has told it; None: the one that was stored to last.

        Raises:
            TryLaterError: the database is not available.
        """
        with self._snapshot("reading the overview") as connection:
            stream_id = _stream_id(connection, topic, stream)
            sources = schema.data_sources.c
            return Overview(
                stream=_identity(connection, stream_id),
                listed=_listed(connection),
                ranks={
                    row.name: row.source_rank
                    for row in connection.execute(sa.select(sources.name, sources.source_rank))
                },
                next_offsets=_next_offsets(connection, stream_id),
                session=_newest_session(connection),
                last_batch_at=_aware(
                    connection.execute(
                        sa.select(schema.ingest_batches.c.created_at)
                        .order_by(schema.ingest_batches.c.id.desc())
                        .limit(1)
                    ).scalar()
                ),
            )

    def series(
        self,
        instrument: Instrument,
        interval: Interval,
        *,
        topic: str,
        stream: StreamIdentity | None,
        watermark: Watermark | None,
        also: Collection[dt.datetime] = (),
        most: int,
    ) -> Snapshot:
        """Return the newest bars of one series, at most ``most``, oldest first.

        Args:
            instrument: what is traded.
            interval: length of the bars.
            topic: name of the topic of bars.
            stream: its identity, None when the broker has not told it.
            watermark: how far documents stand for this series; rows below it are left out, provisional ones (which no
                document holds) excepted. None, or a watermark of another stream: all rows.
            also: bar times whose rows are wanted even below the watermark.
            most: upper bound of the rows.

        Raises:
            TryLaterError: the database is not available.
        """
        bars, batches, sources = schema.bars.c, schema.ingest_batches.c, schema.data_sources.c
        with self._snapshot(f"reading {instrument} {interval}") as connection:
            stream_id = _stream_id(connection, topic, stream)
            identity = _identity(connection, stream_id)
            covers = watermark is not None and identity is not None and watermark.is_of(identity)
            covered = watermark if covers else None
            rows = (
                sa.select(
                    bars.bar_time,
                    bars.open,
                    bars.high,
                    bars.low,
                    bars.close,
                    bars.volume,
                    bars.status,
                    bars.synthetic,
                    bars.as_of,
                    bars.version_hash,
                    sources.source_rank,
                )
                .join_from(schema.bars, schema.data_sources, sources.id == bars.source_id)
                .where(bars.instrument_id == _instrument_id(instrument), bars.interval_id == _interval_id(interval))
                .order_by(bars.bar_time.desc())
                .limit(most)
            )
            if covered is not None:
                rows = rows.join(schema.ingest_batches, batches.id == bars.batch_id).where(
                    sa.or_(
                        bars.status == Status.PROVISIONAL.value,
                        _past(stream_id, covered.next_offsets),
                        bars.bar_time.in_([moment.replace(tzinfo=None) for moment in also]),
                    )
                )
            found = tuple(_page_bar(row) for row in reversed(connection.execute(rows).all()))
            return Snapshot(found, _next_offsets(connection, stream_id), covered is not None)

    def forecasts(self, instrument: Instrument) -> tuple[NextForecast, ...]:
        """Return what the champion of each target says of the session after the newest settled one.

        Raises:
            TryLaterError: the database is not available.
        """
        champions, models = schema.champions.c, schema.model_versions.c
        last = sa.select(sa.func.max(champions.id)).group_by(champions.target).scalar_subquery()
        in_force = (
            sa.select(champions.target, models.version, models.engine, models.has_skill)
            .join_from(schema.champions, schema.model_versions, models.version == champions.version)
            .where(champions.id.in_(last))
        )
        with self._snapshot(f"reading forecasts of {instrument}") as connection:
            newest = _newest_session(connection, instrument)
            return tuple(
                NextForecast(
                    target=Target(row.target),
                    model_version=row.version,
                    engine=row.engine,
                    has_skill=bool(row.has_skill),
                    values=_values(connection, instrument, row.target, row.version, newest),
                )
                for row in sorted(connection.execute(in_force), key=lambda row: str(row.target))
            )

    def heartbeats(self) -> dict[str, tuple[dt.datetime, dict[str, Any]]]:
        """Return the last sign of life of each process: when, and its state.

        Raises:
            TryLaterError: the database is not available.
        """
        return heartbeats(self._engine)

    @contextmanager
    def _snapshot(self, what: str) -> Iterator[sa.Connection]:
        """One read-only transaction that sees one moment, whatever is committed meanwhile."""
        with outages_as_try_later(what), self._engine.connect() as plain:
            connection = plain.execution_options(isolation_level="REPEATABLE READ")
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            yield connection


def _short_timeouts(_dialect: Any, _record: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
    keywords.update(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, write_timeout=READ_TIMEOUT_S)


def _stream_id(connection: sa.Connection, topic: str, stream: StreamIdentity | None) -> int | None:
    streams, offsets = schema.streams.c, schema.stream_offsets.c
    wanted = (
        sa.select(streams.id)
        .join_from(schema.streams, schema.stream_offsets, offsets.stream_id == streams.id, isouter=True)
        .where(streams.topic == topic)
        .order_by(offsets.updated_at.desc())
        .limit(1)
    )
    if stream is not None:
        wanted = wanted.where(streams.cluster_id == stream.cluster_id, streams.topic_id == stream.topic_id)
    found = connection.execute(wanted).scalar()
    return None if found is None else int(found)


def _identity(connection: sa.Connection, stream_id: int | None) -> StreamIdentity | None:
    streams = schema.streams.c
    named = sa.select(streams.cluster_id, streams.topic_id, streams.topic).where(streams.id == stream_id)
    found = connection.execute(named).first()
    return None if found is None else StreamIdentity(*found)


def _past(stream_id: int | None, next_offsets: Mapping[int, int]) -> sa.ColumnElement[bool]:
    """Rows whose message is not below the watermark: also rows of an older stream, which no document vouches for."""
    bars, batches = schema.bars.c, schema.ingest_batches.c
    below = [
        sa.and_(batches.partition_no == partition, bars.kafka_offset < offset)
        for partition, offset in sorted(next_offsets.items())
    ]
    return sa.not_(sa.and_(batches.stream_id == stream_id, sa.or_(sa.false(), *below)))


def _next_offsets(connection: sa.Connection, stream_id: int | None) -> dict[int, int]:
    offsets = schema.stream_offsets.c
    rows = connection.execute(
        sa.select(offsets.partition_no, offsets.next_offset).where(offsets.stream_id == stream_id)
    )
    return {row.partition_no: row.next_offset for row in rows}


def _instrument_id(instrument: Instrument) -> sa.ScalarSelect[Any]:
    instruments, exchanges = schema.instruments.c, schema.exchanges.c
    return (
        sa.select(instruments.id)
        .join_from(schema.instruments, schema.exchanges, exchanges.id == instruments.exchange_id)
        .where(instruments.symbol == instrument.symbol, exchanges.mic == instrument.exchange)
        .scalar_subquery()
    )


def _interval_id(interval: Interval) -> sa.ScalarSelect[Any]:
    intervals = schema.bar_intervals.c
    return sa.select(intervals.id).where(intervals.name == interval.value).scalar_subquery()


def _listed(connection: sa.Connection) -> tuple[Listed, ...]:
    # DISTINCT over the first columns of the primary key: both servers jump from one pair to the next
    pairs = sa.select(schema.bars.c.instrument_id, schema.bars.c.interval_id).distinct().subquery()
    instruments, exchanges, intervals = schema.instruments.c, schema.exchanges.c, schema.bar_intervals.c
    rows = connection.execute(
        sa.select(
            instruments.symbol,
            exchanges.mic,
            instruments.asset_class,
            instruments.name,
            intervals.name.label("interval"),
        )
        .join_from(pairs, schema.instruments, instruments.id == pairs.c.instrument_id)
        .join(schema.exchanges, exchanges.id == instruments.exchange_id)
        .join(schema.bar_intervals, intervals.id == pairs.c.interval_id)
        .order_by(instruments.symbol, exchanges.mic, intervals.seconds)
    )
    by_instrument: dict[Instrument, list[Any]] = {}
    for row in rows:
        by_instrument.setdefault(Instrument(row.symbol, row.mic), []).append(row)
    return tuple(
        Listed(key, AssetClass(found[0].asset_class), found[0].name, tuple(Interval(row.interval) for row in found))
        for key, found in by_instrument.items()
    )


def _newest_session(connection: sa.Connection, instrument: Instrument | None = None) -> dt.date | None:
    bars = schema.bars.c
    newest = (
        sa.select(bars.session_date)
        .where(bars.interval_id == _interval_id(Interval.D1), bars.status == Status.SETTLED.value)
        .limit(1)
    )
    if instrument is None:
        newest = newest.order_by(bars.session_date.desc())
    else:
        newest = newest.where(bars.instrument_id == _instrument_id(instrument)).order_by(bars.bar_time.desc())
    found: dt.date | None = connection.execute(newest).scalar()
    return found


def _values(
    connection: sa.Connection, instrument: Instrument, target: str, version: str, newest: dt.date | None
) -> ForecastValues | None:
    ledger = schema.forecasts.c
    row = connection.execute(
        sa.select(schema.forecasts)
        .where(
            ledger.instrument_id == _instrument_id(instrument),
            ledger.target == target,
            ledger.model_version == version,
            ledger.late == sa.false(),
        )
        .order_by(ledger.target_session.desc())
        .limit(1)
    ).first()
    if row is None or (newest is not None and row.target_session <= newest):
        return None
    return ForecastValues(
        session=row.target_session,
        known_session=row.known_session,
        point=row.point,
        low=row.low,
        high=row.high,
        baseline=row.baseline,
        coverage=row.coverage,
    )


def _page_bar(row: sa.Row[Any]) -> PageBar:
    version = Version(
        row.source_rank, row.status == Status.SETTLED.value, row.as_of.replace(tzinfo=UTC), bytes(row.version_hash)
    )
    return PageBar(
        bar_time=row.bar_time.replace(tzinfo=UTC),
        open=float(row.open),
        high=float(row.high),
        low=float(row.low),
        close=float(row.close),
        volume=None if row.volume is None else float(row.volume),
        status=Status(row.status),
        synthetic=bool(row.synthetic),
        version=version,
    )


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)
