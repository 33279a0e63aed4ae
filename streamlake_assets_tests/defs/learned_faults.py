"""Faults planted into what was learned and said: training set, models, ledger, reports; each is undone at its end.

Stays out: tables and documents (``faults``).
"""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from streamlake_assets.defs import value
from streamlake_assets.flows import champions, training
from streamlake_assets.flows.value import value_report
from streamlake_assets.learning.snapshot import read_snapshot, write_snapshot
from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.forecasts import Forecast, score
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.signals import Action, Signal
from streamlake_assets.market.targets import Target
from streamlake_assets.stores import ledger, schema
from streamlake_assets.stores.documents import REPORTS
from streamlake_assets.stores.reports import DRILLS, DrillHistory
from streamlake_assets_tests.defs.conftest import (
    INGEST,
    Market,
    ingest,
    tables_restored,
    utc_now,
)
from streamlake_assets_tests.defs.faults import Fault, remove_documents

LEDGER = (schema.forecasts, schema.forecast_scores, schema.signals, schema.model_versions)


@contextmanager
def file_restored(path: Path) -> Iterator[bytes]:
    """Give what a file holds, and put it back."""
    kept = path.read_bytes()
    try:
        yield kept
    finally:
        path.write_bytes(kept)


@contextmanager
def row_twice(market: Market) -> Iterator[None]:
    path = training.snapshot_path(market.access.training_sets)
    frame, _ = read_snapshot(path)
    rows = np.append(np.arange(len(frame)), 0)
    grown: dict[str, Any] = {
        field.name: value[rows] if isinstance(value, np.ndarray) else {name: each[rows] for name, each in value.items()}
        for field in fields(frame)
        if isinstance(value := getattr(frame, field.name), np.ndarray | dict)
    }
    with file_restored(path):
        write_snapshot(replace(frame, **grown), path)
        yield


@contextmanager
def sessions_from_elsewhere(market: Market) -> Iterator[None]:
    """Let eighty dates follow those that were learned from, whose features come from somewhere else."""
    path = training.snapshot_path(market.access.training_sets)
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

    longer = {field.name: grown(field.name, getattr(frame, field.name)) for field in fields(frame)}
    with file_restored(path):
        write_snapshot(replace(frame, **longer), path)
        yield


def champion_folder(market: Market) -> Path:
    """Return the folder of the range's champion."""
    version = champions.champion_of(market.access.reader, market.access.models, Target.LOG_RANGE).model.version
    return market.access.models.open(version)


@contextmanager
def model_file_cut(market: Market) -> Iterator[None]:
    victim = next(path for path in sorted(champion_folder(market).iterdir()) if path.name != "manifest.json")
    with file_restored(victim) as kept:
        victim.write_bytes(kept[:-1])
        yield


@contextmanager
def skill_too_good(market: Market) -> Iterator[None]:
    path = champion_folder(market) / "manifest.json"
    with file_restored(path) as kept:
        path.write_text(json.dumps(json.loads(kept) | {"skill": 0.9, "skill_high": 0.95}))
        yield


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
    remove_documents(market, DRILLS, {})


@contextmanager
def value_overstated(market: Market) -> Iterator[None]:
    report = value_report(market.access.documents.series(), {})
    for section in report["sections"].values():
        section |= {"actionable": True, "label": ""}
    assert report["sections"], "there are dates enough"
    with stored_report(value.REPORT, report)(market):
        yield


def stored_report(name: str, report: dict[str, Any]) -> Fault:
    """Return a fault that puts a report of that name into the document store."""

    @contextmanager
    def fault(market: Market) -> Iterator[None]:
        market.access.documents.put_report(name, report)
        yield
        remove_documents(market, REPORTS, {"_id": name})

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
