"""What pages read of quality and operations: dead letters by reason, latency by hop, checks and alerts recorded.

Belongs here: short bounded SELECTs of the ``reader`` user, and percentiles of what they give. Stays out: the letters
themselves (``dead_letters``), the count ledger (``count_ledger``), heartbeats (``operations``), judging.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema

MOST_TIMED: Final = 5_000
"""Newest rows whose times are looked at."""
_BATCHES: Final = 500


class Percentiles(msgspec.Struct, frozen=True):
    """Of ``count`` latencies, in seconds; None where there are none."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class RowTimes(msgspec.Struct, frozen=True):
    """Latencies of the newest rows: from the source's wire to the broker, and from there into the table."""

    to_broker: Percentiles
    to_table: Percentiles
    newest: dt.datetime | None


class CheckLine(msgspec.Struct, frozen=True, kw_only=True):
    """The last evaluation of a check, and how many of those recorded failed."""

    asset: str
    check: str
    passed: bool
    severity: str
    evaluated_at: dt.datetime
    recorded: int
    failed: int


class AlertLine(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that was raised, and who has seen it."""

    id: int
    state: str
    severity: str
    subject: str
    body: str
    created_at: dt.datetime
    sent_at: dt.datetime | None
    acked_by: str | None


class OpenAlert(msgspec.Struct, frozen=True, kw_only=True):
    """The last alert about a subject that is not well now: how it is, since when, who has seen it."""

    id: int
    state: str
    since: dt.datetime
    subject: str
    body: str
    acked_by: str | None


def percentiles(values: Iterable[float]) -> Percentiles:
    """Return the nearest-rank percentiles of latencies in seconds; what is below zero counts as zero.

    A clock that is behind the other's would make a latency negative.
    """
    ordered = sorted(max(0.0, value) for value in values)
    if not ordered:
        return Percentiles()
    count = len(ordered)
    p50, p95, p99 = (ordered[max(0, math.ceil(share * count) - 1)] for share in (0.5, 0.95, 0.99))
    return Percentiles(count, p50, p95, p99)


def row_times(connection: sa.Connection) -> RowTimes:
    """Return the latencies of the newest rows, by their own times.

    The table's time is that of the statement that wrote the batch's record, a moment before its commit.
    """
    b, batch = schema.bars.c, schema.ingest_batches.c
    newest = connection.execute(sa.select(sa.func.max(batch.id))).scalar()
    if newest is None:
        return RowTimes(Percentiles(), Percentiles(), None)
    rows = connection.execute(
        sa.select(b.event_time, b.known_from, batch.created_at)
        .join_from(schema.bars, schema.ingest_batches, batch.id == b.batch_id)
        .where(b.batch_id > newest - _BATCHES)
        .order_by(b.batch_id.desc())
        .limit(MOST_TIMED)
    ).all()
    return RowTimes(
        percentiles((row.known_from - row.event_time).total_seconds() for row in rows),
        percentiles((row.created_at - row.known_from).total_seconds() for row in rows),
        max((row.created_at.replace(tzinfo=UTC) for row in rows), default=None),
    )


def batch_times(
    connection: sa.Connection, stream_id: int | None, after: Mapping[int, int], until: Mapping[int, int]
) -> Sequence[dt.datetime]:
    """Return when the batches between two vectors of offsets were written, at most as many as are looked at."""
    batch = schema.ingest_batches.c
    between = [
        sa.and_(batch.partition_no == number, batch.next_offset > after.get(number, 0), batch.next_offset <= end)
        for number, end in sorted(until.items())
    ]
    query = (
        sa.select(batch.created_at)
        .where(batch.stream_id == stream_id, sa.or_(sa.false(), *between))
        .order_by(batch.id.desc())
        .limit(MOST_TIMED)
    )
    return [moment.replace(tzinfo=UTC) for moment in connection.execute(query).scalars()]


def reasons(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    """Return how many dead letters there are by reason: open, and in all."""
    d = schema.dead_letters.c
    still_open = sa.func.sum(sa.case((d.resolution.is_(None), 1), else_=0))
    query = sa.select(d.reason, still_open, sa.func.count()).group_by(d.reason).order_by(sa.func.count().desc())
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}


def messages(connection: sa.Connection) -> int:
    """Return how many messages were stored or refused in all."""
    return int(connection.execute(sa.select(sa.func.sum(schema.ingest_batches.c.messages))).scalar() or 0)


def checks(connection: sa.Connection, most: int = 200) -> list[CheckLine]:
    """Return the last evaluation of every check that was recorded, failed ones first."""
    h = schema.check_history.c
    last = (
        sa.select(
            sa.func.max(h.id).label("id"),
            sa.func.count().label("recorded"),
            sa.func.sum(sa.case((h.passed, 0), else_=1)).label("failed"),
        )
        .group_by(h.asset, h.check_name)
        .subquery()
    )
    query = (
        sa.select(schema.check_history, last.c.recorded, last.c.failed)
        .join(last, last.c.id == h.id)
        .order_by(h.passed, h.asset, h.check_name)
        .limit(most)
    )
    return [
        CheckLine(
            asset=row.asset,
            check=row.check_name,
            passed=bool(row.passed),
            severity=row.severity,
            evaluated_at=row.evaluated_at.replace(tzinfo=UTC),
            recorded=int(row.recorded),
            failed=int(row.failed),
        )
        for row in connection.execute(query)
    ]


def alerts(connection: sa.Connection, most: int = 50) -> list[AlertLine]:
    """Return the newest alerts, the newest first."""
    o, a = schema.alert_outbox.c, schema.alert_acks.c
    query = (
        sa.select(o.id, o.state, o.severity, o.subject, o.body, o.created_at, o.sent_at, a.acked_by)
        .join_from(schema.alert_outbox, schema.alert_acks, a.alert_id == o.id, isouter=True)
        .order_by(o.id.desc())
        .limit(most)
    )
    return [
        AlertLine(
            **{
                **row._mapping,
                "created_at": row.created_at.replace(tzinfo=UTC),
                "sent_at": row.sent_at and row.sent_at.replace(tzinfo=UTC),
            }
        )
        for row in connection.execute(query)
    ]


def open_alerts(connection: sa.Connection, most: int = 100) -> list[OpenAlert]:
    """Return what is not well now: what nobody has seen first, then the newest first."""
    o, a, s = schema.alert_outbox.c, schema.alert_acks.c, schema.alert_states.c
    query = (
        sa.select(o.id, s.state, s.since, o.subject, o.body, a.acked_by)
        .join_from(schema.alert_states, schema.alert_outbox, o.id == s.alert_id)
        .outerjoin(schema.alert_acks, a.alert_id == o.id)
        .where(s.state != "pass")
        .order_by(a.acked_by.is_not(None), o.id.desc())
        .limit(most)
    )
    return [OpenAlert(**{**row._mapping, "since": row.since.replace(tzinfo=UTC)}) for row in connection.execute(query)]
