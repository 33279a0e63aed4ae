"""What pages read of forecasts: the ledger with its scores, who spoke since when, and what stands behind one number.

Belongs here: short bounded SELECTs of the ``reader`` user. Stays out: writing the ledger (``ledger``), the register's
own reads (``model_register``), judging (``market``), documents and messages.
"""

import datetime as dt
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval, Status
from streamlake_assets.stores import page_queries as ask
from streamlake_assets.stores import schema
from streamlake_assets.stores.ledger import forecast_query

MOST_LINES: Final = 1_000
"""Rows of the ledger that a page looks at, the newest."""


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a session and, once scored, what happened; values in the target's natural unit."""

    id: int
    instrument: Instrument
    session: dt.date
    known_session: dt.date
    issued_at: dt.datetime
    version: str
    engine: str
    has_skill: bool
    point: float
    low: float
    high: float
    baseline: float
    coverage: float
    late: bool
    realised: float | None = None
    baseline_error: float | None = None
    covered: bool | None = None
    direction_hit: bool | None = None


class SpokeFrom(msgspec.Struct, frozen=True, kw_only=True):
    """A model that spoke for a target from then on, why, and what the gate says of it."""

    version: str
    engine: str
    reason: str
    since: dt.datetime
    has_skill: bool
    skill: float | None
    skill_low: float | None
    skill_high: float | None


class BarBehind(msgspec.Struct, frozen=True, kw_only=True):
    """A bar with the message that brought it, down to its place in the stream."""

    session: dt.date
    close: float
    source: str
    status: str
    known_from: dt.datetime
    version_hash: str
    topic: str
    topic_id: str
    partition: int
    offset: int


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind one row of the ledger.

    ``manifest`` was published with the model; ``bars`` are the sessions its features look back on, the newest first;
    ``outcome`` is the bar that scored it, None before.
    """

    line: LedgerLine
    target: Target
    data_hash: str
    registered_at: dt.datetime
    manifest: dict[str, Any]
    bars: tuple[BarBehind, ...]
    outcome: BarBehind | None


def lines(
    connection: sa.Connection, target: Target, instrument: Instrument | None = None, most: int = MOST_LINES
) -> tuple[LedgerLine, ...]:
    """Return the newest rows of the ledger for a target, newest session first, of one instrument or all."""
    f, i, e = schema.forecasts, schema.instruments, schema.exchanges
    query = _scored().where(f.c.target == target.value)
    if instrument is not None:
        query = query.where(i.c.symbol == instrument.symbol, e.c.mic == instrument.exchange)
    query = query.order_by(f.c.target_session.desc(), f.c.id.desc()).limit(most)
    return tuple(_line(row) for row in connection.execute(query))


def spoke(connection: sa.Connection, target: Target, most: int = 50) -> tuple[SpokeFrom, ...]:
    """Return who spoke for a target, the newest first: the first one is in force."""
    c, m = schema.champions.c, schema.model_versions.c
    query = (
        sa.select(c.version, c.reason, c.since, m.engine, m.has_skill, m.skill, m.skill_low, m.skill_high)
        .join_from(schema.champions, schema.model_versions, m.version == c.version)
        .where(c.target == target.value)
        .order_by(c.id.desc())
        .limit(most)
    )
    return tuple(
        SpokeFrom(**{**row._mapping, "since": row.since.replace(tzinfo=UTC), "has_skill": bool(row.has_skill)})
        for row in connection.execute(query)
    )


def behind(connection: sa.Connection, forecast_id: int, lookback: int) -> Behind | None:
    """Return what stands behind a row of the ledger; None when there is no such row.

    Args:
        connection: a snapshot.
        forecast_id: of the row.
        lookback: sessions that the features of a forecast look back on.
    """
    f, m = schema.forecasts.c, schema.model_versions.c
    row = connection.execute(_scored().where(f.id == forecast_id)).first()
    if row is None:
        return None
    line = _line(row)
    model = connection.execute(sa.select(m.data_hash, m.created_at, m.manifest).where(m.version == line.version)).one()
    known = schema.bars.c.session_date <= line.known_session
    scored = schema.bars.c.session_date == line.session
    outcome = _bars(connection, line.instrument, scored, 1) if line.realised is not None else ()
    return Behind(
        line=line,
        target=Target(row.target),
        data_hash=model.data_hash,
        registered_at=model.created_at.replace(tzinfo=UTC),
        manifest=dict(model.manifest),
        bars=_bars(connection, line.instrument, known, lookback),
        outcome=outcome[0] if outcome else None,
    )


def _scored() -> sa.Select[Any]:
    f, s = schema.forecasts, schema.forecast_scores
    scores = (s.c.realised, s.c.baseline_error, s.c.covered, s.c.direction_hit)
    return forecast_query(*scores).outerjoin(s, s.c.forecast_id == f.c.id)


def _line(row: sa.Row[Any]) -> LedgerLine:
    return LedgerLine(
        id=row.id,
        instrument=Instrument(row.symbol, row.mic),
        session=row.target_session,
        known_session=row.known_session,
        issued_at=row.issued_at.replace(tzinfo=UTC),
        version=row.model_version,
        engine=row.engine,
        has_skill=bool(row.has_skill),
        point=row.point,
        low=row.low,
        high=row.high,
        baseline=row.baseline,
        coverage=row.coverage,
        late=bool(row.late),
        realised=row.realised,
        baseline_error=row.baseline_error,
        covered=None if row.covered is None else bool(row.covered),
        direction_hit=None if row.direction_hit is None else bool(row.direction_hit),
    )


def _bars(
    connection: sa.Connection, instrument: Instrument, which: sa.ColumnElement[bool], most: int
) -> tuple[BarBehind, ...]:
    b, batch, s, d = schema.bars.c, schema.ingest_batches.c, schema.streams.c, schema.data_sources.c
    query = (
        sa.select(
            *(b.session_date, b.close, b.status, b.known_from, b.version_hash, b.kafka_offset),
            *(batch.partition_no, s.topic, s.topic_id, d.name),
        )
        .join_from(schema.bars, schema.ingest_batches, batch.id == b.batch_id)
        .join(schema.streams, s.id == batch.stream_id)
        .join(schema.data_sources, d.id == b.source_id)
        .where(
            b.instrument_id == ask.instrument_id(instrument),
            b.interval_id == ask.interval_id(Interval.D1),
            b.status == Status.SETTLED.value,
            which,
        )
        .order_by(b.bar_time.desc())
        .limit(most)
    )
    return tuple(
        BarBehind(
            session=row.session_date,
            close=float(row.close),
            source=row.name,
            status=row.status,
            known_from=row.known_from.replace(tzinfo=UTC),
            version_hash=bytes(row.version_hash).hex(),
            topic=row.topic,
            topic_id=row.topic_id,
            partition=row.partition_no,
            offset=row.kafka_offset,
        )
        for row in connection.execute(query)
    )
