"""What pages read from MySQL: a series in one snapshot with the stream's offsets, an overview, the next forecasts.

Belongs here: short bounded reads of the ``reader`` user. Stays out: writing, documents (``page_documents``), the tail
of the stream (``broker.tail``), and how the three become one series (``panel_app``).
"""

import datetime as dt
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval, Status
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import page_queries as ask
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import make_engine, outages_as_try_later
from streamlake_assets.stores.operations import heartbeats
from streamlake_assets.stores.page_rows import (
    NextForecast,
    Overview,
    PageSignal,
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
        with self.snapshot("reading the overview") as connection:
            stream_id = ask.stream_id(connection, topic, stream)
            sources = schema.data_sources.c
            return Overview(
                stream=ask.identity(connection, stream_id),
                listed=ask.listed(connection),
                ranks={
                    row.name: row.source_rank
                    for row in connection.execute(sa.select(sources.name, sources.source_rank))
                },
                next_offsets=ask.next_offsets(connection, stream_id),
                session=ask.newest_session(connection),
                last_batch_at=ask.aware(
                    connection.execute(
                        sa.select(schema.ingest_batches.c.created_at)
                        .order_by(schema.ingest_batches.c.id.desc())
                        .limit(1)
                    ).scalar()
                ),
                unseen_alerts=ask.unseen_alerts(connection),
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
        with self.snapshot(f"reading {instrument} {interval}") as connection:
            stream_id = ask.stream_id(connection, topic, stream)
            identity = ask.identity(connection, stream_id)
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
                .where(
                    bars.instrument_id == ask.instrument_id(instrument), bars.interval_id == ask.interval_id(interval)
                )
                .order_by(bars.bar_time.desc())
                .limit(most)
            )
            if covered is not None:
                rows = rows.join(schema.ingest_batches, batches.id == bars.batch_id).where(
                    sa.or_(
                        bars.status == Status.PROVISIONAL.value,
                        ask.past(stream_id, covered.next_offsets),
                        bars.bar_time.in_([moment.replace(tzinfo=None) for moment in also]),
                    )
                )
            found = tuple(ask.page_bar(row) for row in reversed(connection.execute(rows).all()))
            return Snapshot(found, ask.next_offsets(connection, stream_id), covered is not None)

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
        with self.snapshot(f"reading forecasts of {instrument}") as connection:
            newest = ask.newest_session(connection, instrument)
            return tuple(
                NextForecast(
                    target=Target(row.target),
                    model_version=row.version,
                    engine=row.engine,
                    has_skill=bool(row.has_skill),
                    values=ask.forecast_values(connection, instrument, row.target, row.version, newest),
                )
                for row in sorted(connection.execute(in_force), key=lambda row: str(row.target))
            )

    def signals(self, instrument: Instrument, most: int) -> tuple[PageSignal, ...]:
        """Return the newest signals of an instrument, the newest first.

        Raises:
            TryLaterError: the database is not available.
        """
        with self.snapshot(f"reading signals of {instrument}") as connection:
            return ask.signals(connection, instrument, most)

    def heartbeats(self) -> dict[str, tuple[dt.datetime, dict[str, Any]]]:
        """Return the last sign of life of each process: when, and its state.

        Raises:
            TryLaterError: the database is not available.
        """
        return heartbeats(self._engine)

    @contextmanager
    def snapshot(self, what: str) -> Iterator[sa.Connection]:
        """One read-only transaction that sees one moment, whatever is committed meanwhile.

        Raises:
            TryLaterError: the database is not available.
        """
        with outages_as_try_later(what), self._engine.connect() as plain:
            connection = plain.execution_options(isolation_level="REPEATABLE READ")
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            yield connection


def _short_timeouts(_dialect: Any, _record: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
    keywords.update(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, write_timeout=READ_TIMEOUT_S)
