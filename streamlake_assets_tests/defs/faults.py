"""Faults planted into the good state of tables and documents, each undone at its end: what asset checks must find.

Stays out: what is learned and said from them (``learned_faults``).
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import sqlalchemy as sa
from bson import Decimal128
from pymongo import MongoClient

from streamlake_assets.market import quality
from streamlake_assets.settings import DATABASE
from streamlake_assets.stores import schema
from streamlake_assets.stores.documents import PERIODS
from streamlake_assets_tests.defs.conftest import (
    INGEST,
    Market,
    ingest,
    tables_restored,
    utc_now,
)

Fault = Callable[[Market], AbstractContextManager[None]]


@contextmanager
def collection(market: Market, name: str, key: str | None = None) -> Iterator[Any]:
    """Give a collection of the document store, and put one document of it back: that key's, or any."""
    client: MongoClient[dict[str, Any]] = MongoClient(market.settings.mongo)
    found = client[DATABASE][name]
    chosen = {} if key is None else {"_id": key}
    victim = found.find(chosen).sort("_id", 1).skip(100 if name == "session_bars" else 0).limit(1).next()
    try:
        yield (found, victim)
    finally:
        found.replace_one({"_id": victim["_id"]}, victim, upsert=True)
        client.close()


def remove_documents(market: Market, name: str, query: dict[str, Any]) -> None:
    with MongoClient[dict[str, Any]](market.settings.mongo) as client:
        client[DATABASE][name].delete_many(query)


def one_removed(name: str) -> Fault:
    """Return a fault that removes one document of a collection."""

    @contextmanager
    def fault(market: Market) -> Iterator[None]:
        with collection(market, name) as (found, victim):
            found.delete_one({"_id": victim["_id"]})
            yield

    return fault


@contextmanager
def document_changed(market: Market) -> Iterator[None]:
    with collection(market, "session_bars") as (found, victim):
        found.update_one({"_id": victim["_id"]}, {"$set": {"close": Decimal128("0.01")}})
        yield


@contextmanager
def volatility_changed(market: Market) -> Iterator[None]:
    """Change what no daily bar has."""
    with collection(market, "session_bars") as (found, victim):
        found.update_one({"_id": victim["_id"]}, {"$set": {"realised_volatility": 0.5}})
        yield


@contextmanager
def line_changed(market: Market) -> Iterator[None]:
    line = f"class|year|{market.plan.live[-1].session.year}|0"
    with collection(market, PERIODS, line) as (found, victim):
        found.update_one({"_id": victim["_id"]}, {"$set": {"lines.0.period_return": 9.0}})
        yield


@contextmanager
def high_below_low(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, schema.bars) as connection:
        one = connection.execute(sa.select(schema.bars).limit(1)).one()
        key = (schema.bars.c[name] == getattr(one, name) for name in ("instrument_id", "interval_id", "bar_time"))
        connection.execute(sa.update(schema.bars).where(*key).values(high=one.low / 2))
        connection.commit()
        yield


@contextmanager
def bar_removed(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, schema.bars) as connection:
        remove_one(connection, schema.bars)
        yield


def newest_changed(change: Callable[[Sequence[dict[str, Any]]], None]) -> Fault:
    """Return a fault that rewrites the last ten daily bars of one instrument; a bar without a volume is left out."""

    @contextmanager
    def fault(market: Market) -> Iterator[None]:
        with tables_restored(market.settings, schema.bars) as connection:
            table, daily = schema.bars, sa.select(schema.bar_intervals.c.id).where(schema.bar_intervals.c.name == "1d")
            one = sa.select(sa.func.min(table.c.instrument_id)).scalar_subquery()
            query = sa.select(table).where(table.c.instrument_id == one, table.c.interval_id == daily.scalar_subquery())
            rows = [dict(row._mapping) for row in connection.execute(query.order_by(table.c.bar_time.desc()).limit(10))]
            rows.reverse()
            for row in rows:
                key = (table.c[name] == row[name] for name in ("instrument_id", "interval_id", "bar_time"))
                connection.execute(sa.delete(table).where(*key))
            change(rows)
            connection.execute(sa.insert(table), [row for row in rows if row["volume"] is not None])
            connection.commit()
            yield

    return fault


def drop_one(rows: Sequence[dict[str, Any]]) -> None:
    rows[5]["volume"] = None


def halve(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows[5:]:
        row.update({name: row[name] / 2 for name in ("open", "high", "low", "close")})


def hang(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows[5:8]:
        row.update({name: rows[4][name] for name in ("open", "high", "low", "close", "volume")})


def store_twice(rows: Sequence[dict[str, Any]]) -> None:
    rows[6].update(session_date=rows[5]["session_date"])


def leave_behind(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows[1:]:
        row["volume"] = None


def swap(rows: Sequence[dict[str, Any]]) -> None:
    for name in ("batch_id", "kafka_offset"):
        rows[5][name], rows[6][name] = rows[6][name], rows[5][name]


def remove_one(connection: sa.Connection, table: sa.Table) -> sa.Row[Any]:
    """Remove one row by hand and return it."""
    key = list(table.primary_key.columns)
    row = connection.execute(sa.select(table).order_by(*(column.desc() for column in key)).limit(1)).one()
    connection.execute(sa.delete(table).where(*(column == row._mapping[column.name] for column in key)))
    connection.commit()
    return row


@contextmanager
def factor_zero(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, schema.corporate_actions) as connection:
        connection.execute(sa.update(schema.corporate_actions).values(factor=0))
        connection.commit()
        yield


@contextmanager
def silent_instrument(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, schema.instruments) as connection:
        exchange = connection.execute(sa.select(schema.instruments.c.exchange_id).limit(1)).scalar_one()
        connection.execute(
            sa.insert(schema.instruments).values(symbol="MUTE", exchange_id=exchange, asset_class="stock")
        )
        connection.commit()
        yield


@contextmanager
def many_dead_letters(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, *INGEST):
        ingest(market, [("IBM", b"no bar")] * 300)
        yield


@contextmanager
def old_heartbeat(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, schema.heartbeats) as connection:
        connection.execute(sa.update(schema.heartbeats).values(beat_at=utc_now() - dt.timedelta(minutes=5)))
        connection.commit()
        yield


def set_back(topic: str) -> Fault:
    """Let the tables be further behind a topic than the consumer may be."""

    @contextmanager
    def fault(market: Market) -> Iterator[None]:
        offsets, streams = schema.stream_offsets, schema.streams
        with tables_restored(market.settings, offsets) as connection:
            ids = sa.select(streams.c.id).where(streams.c.topic == topic).scalar_subquery()
            behind = offsets.c.next_offset - quality.LAG_LIMIT - 1
            connection.execute(sa.update(offsets).where(offsets.c.stream_id.in_(ids)).values(next_offset=behind))
            connection.commit()
            yield

    return fault
