"""The questions that pages put to MySQL, each one short statement on an open connection.

Belongs here: statements and what their rows mean. Stays out: connections and snapshots (``page_reader``).
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.signals import Action
from streamlake_assets.market.types import AssetClass, Instrument, Interval, Status
from streamlake_assets.market.versions import Version
from streamlake_assets.stores import schema
from streamlake_assets.stores.page_rows import ForecastValues, Listed, PageBar, PageSignal


def stream_id(connection: sa.Connection, topic: str, stream: StreamIdentity | None) -> int | None:
    """Return the id of a stream; without an identity, of the topic's stream that was stored to last."""
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


def identity(connection: sa.Connection, stream_id: int | None) -> StreamIdentity | None:
    """Return the identity of a stream."""
    streams = schema.streams.c
    named = sa.select(streams.cluster_id, streams.topic_id, streams.topic).where(streams.id == stream_id)
    found = connection.execute(named).first()
    return None if found is None else StreamIdentity(*found)


def past(stream_id: int | None, next_offsets: Mapping[int, int]) -> sa.ColumnElement[bool]:
    """Rows whose message is not below the watermark: also rows of an older stream, which no document vouches for."""
    bars, batches = schema.bars.c, schema.ingest_batches.c
    below = [
        sa.and_(batches.partition_no == partition, bars.kafka_offset < offset)
        for partition, offset in sorted(next_offsets.items())
    ]
    return sa.not_(sa.and_(batches.stream_id == stream_id, sa.or_(sa.false(), *below)))


def next_offsets(connection: sa.Connection, stream_id: int | None) -> dict[int, int]:
    """Return the first offset that is not stored yet, by partition."""
    offsets = schema.stream_offsets.c
    rows = connection.execute(
        sa.select(offsets.partition_no, offsets.next_offset).where(offsets.stream_id == stream_id)
    )
    return {row.partition_no: row.next_offset for row in rows}


def instrument_id(instrument: Instrument) -> sa.ScalarSelect[Any]:
    """Return the sub-query of an instrument's id."""
    instruments, exchanges = schema.instruments.c, schema.exchanges.c
    return (
        sa.select(instruments.id)
        .join_from(schema.instruments, schema.exchanges, exchanges.id == instruments.exchange_id)
        .where(instruments.symbol == instrument.symbol, exchanges.mic == instrument.exchange)
        .scalar_subquery()
    )


def interval_id(interval: Interval) -> sa.ScalarSelect[Any]:
    """Return the sub-query of an interval's id."""
    intervals = schema.bar_intervals.c
    return sa.select(intervals.id).where(intervals.name == interval.value).scalar_subquery()


def listed(connection: sa.Connection) -> tuple[Listed, ...]:
    """Return the instruments that have bars, with their intervals."""
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


def unseen_alerts(connection: sa.Connection) -> int:
    """Return how many subjects are not well whose alert nobody has acknowledged."""
    a, s = schema.alert_acks.c, schema.alert_states.c
    query = (
        sa.select(sa.func.count())
        .select_from(schema.alert_states)
        .outerjoin(schema.alert_acks, a.alert_id == s.alert_id)
        .where(s.state != "pass", s.alert_id.is_not(None), a.alert_id.is_(None))
    )
    return int(connection.execute(query).scalar_one())


def newest_session(connection: sa.Connection, instrument: Instrument | None = None) -> dt.date | None:
    """Return the newest settled session of one instrument, or of all."""
    bars = schema.bars.c
    newest = (
        sa.select(bars.session_date)
        .where(bars.interval_id == interval_id(Interval.D1), bars.status == Status.SETTLED.value)
        .limit(1)
    )
    if instrument is None:
        newest = newest.order_by(bars.session_date.desc())
    else:
        newest = newest.where(bars.instrument_id == instrument_id(instrument)).order_by(bars.bar_time.desc())
    found: dt.date | None = connection.execute(newest).scalar()
    return found


def forecast_values(
    connection: sa.Connection, instrument: Instrument, target: str, version: str, newest: dt.date | None
) -> ForecastValues | None:
    """Return a model's forecast of the session after ``newest``; None when it has not spoken yet."""
    ledger = schema.forecasts.c
    row = connection.execute(
        sa.select(schema.forecasts)
        .where(
            ledger.instrument_id == instrument_id(instrument),
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


def signals(connection: sa.Connection, instrument: Instrument, most: int) -> tuple[PageSignal, ...]:
    """Return the newest signals of an instrument, the newest first; holds are none."""
    signal, forecast = schema.signals.c, schema.forecasts.c
    query = (
        sa.select(forecast.target_session, signal.side, forecast.model_version)
        .join_from(schema.signals, schema.forecasts, forecast.id == signal.forecast_id)
        .where(forecast.instrument_id == instrument_id(instrument), signal.side != Action.HOLD.value)
        .order_by(forecast.target_session.desc())
        .limit(most)
    )
    return tuple(PageSignal(session, Action(side), model) for session, side, model in connection.execute(query))


def page_bar(row: sa.Row[Any]) -> PageBar:
    """Return a row of ``bars`` as pages show it."""
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


def aware(value: dt.datetime | None) -> dt.datetime | None:
    """Return a stored time with its zone."""
    return None if value is None else value.replace(tzinfo=UTC)
