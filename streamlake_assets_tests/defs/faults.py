"""Faults planted into the good state of the stores, each undone at its end: what asset checks are there to find."""

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from bson import Decimal128
from pymongo import MongoClient

from streamlake_assets.defs import (
    value,
)
from streamlake_assets.flows import champions, training
from streamlake_assets.flows.value import value_report
from streamlake_assets.learning.snapshot import read_snapshot, write_snapshot
from streamlake_assets.market import quality
from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.forecasts import Forecast, score
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.signals import Action, Signal
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import DATABASE
from streamlake_assets.stores import ledger, schema
from streamlake_assets.stores.documents import PERIODS
from streamlake_assets.stores.reports import DRILLS, DrillHistory
from streamlake_assets_tests.defs.conftest import (
    INGEST,
    Market,
    ingest,
    tables_restored,
    utc_now,
)

Fault = Callable[[Market], AbstractContextManager[None]]
LEDGER = (schema.forecasts, schema.forecast_scores, schema.signals, schema.model_versions)


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


@contextmanager
def document_removed(market: Market) -> Iterator[None]:
    with collection(market, "session_bars") as (found, victim):
        found.delete_one({"_id": victim["_id"]})
        yield


@contextmanager
def document_changed(market: Market) -> Iterator[None]:
    with collection(market, "session_bars") as (found, victim):
        found.update_one({"_id": victim["_id"]}, {"$set": {"close": Decimal128("0.01")}})
        yield


@contextmanager
def bucket_removed(market: Market) -> Iterator[None]:
    with collection(market, "feature_buckets") as (found, victim):
        found.delete_one({"_id": victim["_id"]})
        yield


@contextmanager
def line_changed(market: Market) -> Iterator[None]:
    line = f"class|year|{market.plan.live[-1].session.year}|stock"
    with collection(market, PERIODS, line) as (found, victim):
        found.update_one({"_id": victim["_id"]}, {"$set": {"period_return": 9.0}})
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


@contextmanager
def row_twice(market: Market) -> Iterator[None]:
    path = training.snapshot_path(market.access.training_sets)
    kept = path.read_bytes()
    frame, _ = read_snapshot(path)
    rows = np.append(np.arange(len(frame)), 0)
    grown: dict[str, Any] = {
        field.name: value[rows] if isinstance(value, np.ndarray) else {name: each[rows] for name, each in value.items()}
        for field in fields(frame)
        if isinstance(value := getattr(frame, field.name), np.ndarray | dict)
    }
    write_snapshot(replace(frame, **grown), path)
    try:
        yield
    finally:
        path.write_bytes(kept)


@contextmanager
def sessions_from_elsewhere(market: Market) -> Iterator[None]:
    """Let eighty dates follow those that were learned from, whose features come from somewhere else."""
    path = training.snapshot_path(market.access.training_sets)
    kept = path.read_bytes()
    frame, _ = read_snapshot(path)
    newest = np.flatnonzero(frame.sessions >= np.unique(frame.sessions)[-80])
    ahead = frame.target_sessions.max() - frame.sessions[newest].min() + 1
    moves = {"sessions": ahead, "target_sessions": ahead, "x": 5.0}

    def grown(name: str, values: Any) -> Any:
        if isinstance(values, dict):
            return {target: grown(name, each) for target, each in values.items()}
        return (
            np.concatenate([values, values[newest] + moves.get(name, 0)]) if isinstance(values, np.ndarray) else values
        )

    write_snapshot(
        replace(frame, **{field.name: grown(field.name, getattr(frame, field.name)) for field in fields(frame)}), path
    )
    try:
        yield
    finally:
        path.write_bytes(kept)


@contextmanager
def model_file_cut(market: Market) -> Iterator[None]:
    champion = champions.champion_of(market.access.reader, market.access.models, Target.LOG_RANGE).model.version
    folder = market.access.models.open(champion)
    victim = next(path for path in sorted(folder.iterdir()) if path.name != "manifest.json")
    kept = victim.read_bytes()
    victim.write_bytes(kept[:-1])
    try:
        yield
    finally:
        victim.write_bytes(kept)


@contextmanager
def skill_too_good(market: Market) -> Iterator[None]:
    version = champions.champion_of(market.access.reader, market.access.models, Target.LOG_RANGE).model.version
    path = market.access.models.open(version) / "manifest.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"skill": 0.9, "skill_high": 0.95}))
    try:
        yield
    finally:
        path.write_text(kept)


def newest(market: Market) -> Forecast:
    """Return the newest forecast of the first instrument's range."""
    rows = ledger.rows(market.access.reader, last=20)
    return next(row.forecast for row in rows if row.forecast.target is Target.LOG_RANGE)


def later(forecast: Forecast, days: int) -> Forecast:
    """Return the same forecast for a later session."""
    return msgspec.structs.replace(
        forecast, session=forecast.session + dt.timedelta(days), after_session=forecast.session
    )


@contextmanager
def forecast_after_the_bar(market: Market) -> Iterator[None]:
    late = later(newest(market), 1)
    bar = msgspec.structs.replace(
        market.plan.daily[-1],
        symbol=late.symbol,
        exchange=late.exchange,
        bar_time=daily_bar_time(late.session, late.exchange),
    )
    with tables_restored(market.settings, *LEDGER, *INGEST, schema.bars):
        ingest(market, [(bar.symbol, encode_bar(bar, utc_now()))])
        assert ledger.issue(market.access.writer, [late]).late == 1
        yield


def judged(market: Market, covered: int, missed: int) -> None:
    """Put forecasts into the ledger that were judged: so many inside their interval, so many outside."""
    made = [later(newest(market), days) for days in range(1, covered + missed + 1)]
    assert ledger.issue(market.access.writer, made).late == 0
    table = schema.forecasts
    with market.access.reader.connect() as connection:
        ids = list(connection.execute(sa.select(table.c.id).order_by(table.c.id.desc()).limit(len(made))).scalars())
    values = [*([made[0].point] * covered), *([made[0].high + 1] * missed)]
    scored = ((number, score(made[0], value)) for number, value in zip(ids, values, strict=True))
    assert ledger.put_scores(market.access.writer, scored) == len(made)


@contextmanager
def outcomes_outside(market: Market) -> Iterator[None]:
    with tables_restored(market.settings, *LEDGER):
        judged(market, covered=60, missed=60)
        yield


@contextmanager
def signal_without_skill(market: Market) -> Iterator[None]:
    rows = ledger.rows(market.access.reader)
    forecast = next(row.forecast for row in rows if row.forecast.target is Target.ADJUSTED_RETURN)
    assert not forecast.has_skill
    signal = Signal(
        symbol=forecast.symbol,
        exchange=forecast.exchange,
        session=forecast.session,
        action=Action.BUY,
        model_version=forecast.model_version,
        point=forecast.point,
        low=forecast.low,
        high=forecast.high,
        cost=0.0,
    )
    with tables_restored(market.settings, *LEDGER):
        assert ledger.put_signals(market.access.writer, [signal], "by hand") == 1
        yield


@contextmanager
def drill_that_lost_a_row(market: Market) -> Iterator[None]:
    row = {"row": 1, "verdict": "FAILED", "lost": 1, "twice": 0, "problems": ["1 facts are missing"]}
    with DrillHistory(market.settings) as history:
        history.add({"made_at": "2026-01-02T03:04:05+00:00", "ok": False, "servers": [], "rows": [row]})
    yield
    client: MongoClient[dict[str, Any]] = MongoClient(market.settings.mongo)
    client[DATABASE][DRILLS].delete_many({})
    client.close()


@contextmanager
def value_overstated(market: Market) -> Iterator[None]:
    report = value_report(market.access.documents.series(), {})
    for section in report["sections"].values():
        section |= {"actionable": True, "label": ""}
    assert report["sections"], "there are dates enough"
    market.access.documents.put_report(value.REPORT, report)
    yield
    client: MongoClient[dict[str, Any]] = MongoClient(market.settings.mongo)
    client[DATABASE]["reports"].delete_one({"_id": value.REPORT})
    client.close()


def stored_report(name: str, report: dict[str, Any]) -> Fault:
    """Return a fault that puts a report of that name into the document store."""

    @contextmanager
    def fault(market: Market) -> Iterator[None]:
        market.access.documents.put_report(name, report)
        yield
        client: MongoClient[dict[str, Any]] = MongoClient(market.settings.mongo)
        client[DATABASE]["reports"].delete_one({"_id": name})
        client.close()

    return fault


CLAIMS_MISSING = {"claims": [], "regressions": [], "arima": {"rmse_ratio": 1.0}}
NOT_CERTIFIED = {
    "certificate": {"valid": False}, "records": [], "missing": {}, "engines": [], "findings": {"r2_spread": []},
}  # fmt: skip


def models_gone(engine: str) -> Fault:
    """Return a fault that takes the folders of one engine's models away."""

    @contextmanager
    def fault(market: Market) -> Iterator[None]:
        root = market.settings.data_dir / "models"
        ours = [one["version"] for one in market.access.models.catalogue().manifests if one["engine"] == engine]
        assert ours
        away = market.settings.data_dir / "away"
        away.mkdir()
        for version in ours:
            (root / version).rename(away / version)
        try:
            yield
        finally:
            for version in ours:
                (away / version).rename(root / version)
            away.rmdir()

    return fault
