"""The commands around data, without their command line: migrate, replay, validate, cache, train, forecasts.

Belongs here: what these commands do, as functions that return plain data. Stays out: options, tables and colours
(``cli``).
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import ensure_topics
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import forecasting, training
from streamlake_assets.flows.documents import Refreshed, refresh_documents
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.stores import bar_reader, ledger, migrate
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.mysql import make_engine


def prepare(settings: Settings) -> dict[str, Any]:
    """Bring schema, rights and topics to this version's state; return what was found and made.

    Raises:
        TryLaterError: a server does not answer.
        SettingError: a topic has settings that would lose or misdate messages.
    """
    engine = make_engine(settings, DatabaseRole.MIGRATE)
    try:
        revision = migrate.upgrade(engine)
        migrate.grant_rights(engine)
    finally:
        engine.dispose()
    made = ensure_topics(settings.kafka, (BARS_TOPIC, ACTIONS_TOPIC))
    return {"revision": revision, "topics_made": made}


def replay_file(
    settings: Settings, path: Path, options: Mapping[str, Any], strict: bool, rejects: Path | None, wait: bool
) -> dict[str, Any]:
    """Publish a file of bars; return how many were sent, stored and refused, and where the refused rows lie.

    Raises:
        UsageError: the file cannot be read as bars, or ``strict`` and a row is bad.
        TryLaterError: Kafka, or with ``wait`` the consumer, does not take the messages.
    """
    from streamlake_assets.sources.adjusted import actions_of
    from streamlake_assets.sources.guess import guess_mapping
    from streamlake_assets.sources.rejects import RejectsFile
    from streamlake_assets.sources.tables import read_table

    mapping = guess_mapping(path, options)
    rejects_path = rejects or path.with_name(f"{path.name}.rejects.csv")
    with RejectsFile(rejects_path) as refused:
        rows = list(read_table(path, mapping, now=now, on_reject=refused.write, strict=strict))
    with Publisher(settings.kafka) as publisher:
        adjusted = mapping.adjusted_close is not None
        actions = publish(publisher, actions_of(rows, source=mapping.source)) if adjusted else 0
        bars = publish(publisher, (row.bar for row in rows))
    if wait:
        engine = make_engine(settings, DatabaseRole.READER)
        StoredPlaces(engine, settings.kafka).wait(publisher.places, timeout_s=30)
        engine.dispose()
    return {
        "bars_sent": bars,
        "actions_sent": actions,
        "rejected": refused.count,
        "rejects_file": str(rejects_path) if refused.count else None,
        "stored": wait,
    }


def validate_file(path: Path, options: Mapping[str, Any]) -> Any:
    """Read a file of bars without publishing anything; return its report.

    Raises:
        UsageError: the file cannot be read as bars.
    """
    from streamlake_assets.sources.file_report import validate_file as report
    from streamlake_assets.sources.guess import guess_mapping

    return report(path, guess_mapping(path, options))


def refresh_cache(settings: Settings, full: bool = False) -> Refreshed:
    """Refresh the documents once, without Dagster.

    Raises:
        TryLaterError: a store does not answer.
    """
    engine = make_engine(settings, DatabaseRole.READER)
    documents = DocumentStore(settings)
    try:
        return refresh_documents(engine, documents, now(), full)
    finally:
        documents.close()
        engine.dispose()


def train(settings: Settings, until: dt.date | None = None) -> list[dict[str, Any]]:
    """Train from the documents once, without Dagster; return the skill of each model.

    Raises:
        UsageError: there is nothing to train on.
    """
    engine = make_engine(settings, DatabaseRole.WRITER)
    documents = DocumentStore(settings)
    models = ModelFolder(settings.data_dir / "models")
    try:
        snapshot = training.make_snapshot(documents, settings.data_dir / "training", until, settings.min_history)
        training.train_models(engine, models, snapshot.path, snapshot.offsets, now(), settings.min_history)
        return training.skill_report(models)
    finally:
        documents.close()
        engine.dispose()


def forecast_rows(settings: Settings, symbol: str, last: int) -> dict[str, Any]:
    """Return the newest ledger rows of a symbol, its open forecasts, and the champions' skill.

    Raises:
        UsageError: no instrument has this symbol.
    """
    engine = make_engine(settings, DatabaseRole.READER)
    try:
        with bar_reader.snapshot(engine) as connection:
            known = [of.instrument for of in bar_reader.instruments(connection).values()]
        matching = [instrument for instrument in known if instrument.symbol == symbol.upper()]
        if not matching:
            names = ", ".join(sorted({instrument.symbol for instrument in known})) or "none yet"
            raise UsageError(f"no instrument {symbol}; there are: {names}")
        rows = [row for instrument in matching for row in ledger.rows(engine, instrument, last)]
        everything = ledger.rows(engine)
        return {
            "symbol": symbol.upper(),
            "rows": [_ledger_record(row) for row in rows],
            "live_skill": {target.value: forecasting.live_skill(everything, target) for target in Target},
        }
    finally:
        engine.dispose()


def _ledger_record(row: ledger.LedgerRow) -> dict[str, Any]:
    forecast = row.forecast
    return {
        "session": forecast.session.isoformat(),
        "target": forecast.target.value,
        "point": forecast.point,
        "low": forecast.low,
        "high": forecast.high,
        "baseline": forecast.baseline,
        "model_version": forecast.model_version,
        "has_skill": forecast.has_skill,
        "issued_at": row.issued_at.isoformat(),
        "late": row.late,
        "realised": row.realised,
        "covered": row.covered,
    }


def table_counts(engine: sa.Engine) -> dict[str, int]:
    """Return the number of rows of the tables that a summary speaks of."""
    from streamlake_assets.stores import schema

    wanted = {
        "bars": schema.bars,
        "revisions": schema.bar_revisions,
        "corporate_actions": schema.corporate_actions,
        "dead_letters": schema.dead_letters,
        "forecasts": schema.forecasts,
        "scored": schema.forecast_scores,
        "signals": schema.signals,
    }
    with bar_reader.snapshot(engine) as connection:
        return {name: bar_reader.count(connection, table) for name, table in wanted.items()}
