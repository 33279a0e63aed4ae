"""The commands around data, without their command line: migrate, replay, validate, cache, train, forecasts.

Belongs here: what these commands do, as functions that return plain data. Stays out: options, tables and colours
(``cli``).
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import ensure_topics
from streamlake_assets.errors import ServerError, TryLaterError, UsageError
from streamlake_assets.flows import champions, forecasting, training
from streamlake_assets.flows.calendar_sessions import refresh_calendar_sessions
from streamlake_assets.flows.documents import Refreshed, refresh_documents
from streamlake_assets.flows.skill import skill_report
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.targets import Target
from streamlake_assets.servers.configured import configured_servers
from streamlake_assets.servers.ports import answers
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import LOOPBACK, DatabaseRole, Settings
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.stores import bar_reader, ledger, migrate
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.mysql import make_engine


def _silent(_: str) -> None:
    """Take progress that nobody reads."""


def require_servers(settings: Settings, *names: str) -> None:
    """Check that the servers a command needs answer, before it begins.

    Args:
        settings: where they are.
        names: of kafka, mysql, documents.

    Raises:
        SettingError: one that a setting names does not answer or refuses the user.
        TryLaterError: a local one is not up.
    """
    named = {server.name: server for server in configured_servers(settings)}
    ports = {"kafka": settings.kafka_port, "mysql": settings.mysql_port, "documents": settings.mongo_port}
    for name in names:
        if name in named:
            named[name].start()  # of a configured server this is the probe
        elif not answers(ports[name]):
            address = f"{LOOPBACK}:{ports[name]}"
            raise TryLaterError(f"the local {name} server at {address} does not answer: is `streamlake up` running?")


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


def wait_stored(settings: Settings, publisher: Publisher, say: Say) -> None:
    """Return when the tables hold what a publisher sent.

    Raises:
        TryLaterError: the consumer stores nothing.
    """
    say("waiting until the consumer has stored them")
    engine = make_engine(settings, DatabaseRole.READER)
    try:
        StoredPlaces(engine, settings.kafka).wait(publisher.places, timeout_s=30)
    finally:
        engine.dispose()


def replay_file(
    settings: Settings,
    path: Path,
    options: Mapping[str, Any],
    strict: bool,
    rejects: Path | None,
    wait: bool,
    as_of: dt.datetime | None = None,
    say: Say = _silent,
) -> dict[str, Any]:
    """Publish a file of bars; return how many were sent, stored and refused, why, and where the refused rows lie.

    Args:
        settings: where the servers are.
        path: the file.
        options: fields of its ``ColumnMapping`` that the user gave.
        strict: stop at the first bad row.
        rejects: where refused rows go; None: beside the file.
        wait: return when the tables hold everything.
        as_of: when the source stated all rows, aware; None: each bar's own time.
        say: takes progress.

    Raises:
        UsageError: the file cannot be read as bars, ``strict`` and a row is bad, the rejects would overwrite a file, or
            ``as_of`` lies in the future.
        SettingError: a configured server does not answer.
        TryLaterError: Kafka, or with ``wait`` the consumer, does not take the messages.
    """
    from streamlake_assets.sources.adjusted import actions_of
    from streamlake_assets.sources.guess import guess_mapping
    from streamlake_assets.sources.rejects import RejectsFile
    from streamlake_assets.sources.tables import read_table

    if as_of is not None and as_of > now():
        # it would beat every later correction
        raise UsageError(f"--as-of {as_of.isoformat()} lies in the future")
    mapping = guess_mapping(path, options)
    rejects_path = rejects or path.with_name(f"{path.name}.rejects.csv")
    say(f"reading {path}")
    with RejectsFile(rejects_path, path) as refused:
        rows = list(read_table(path, mapping, now=now, on_reject=refused.write, strict=strict, as_of=as_of))
    require_servers(settings, "kafka", *(["mysql"] if wait else []))
    say(f"publishing {len(rows):,} bars to {settings.kafka}")
    with Publisher(settings.kafka) as publisher:
        found = actions_of(rows, source=mapping.source) if mapping.adjusted_close is not None else []
        if as_of is not None:
            found = [msgspec.structs.replace(action, as_of=as_of) for action in found]
        actions = publish(publisher, found)
        bars = publish(publisher, (row.bar for row in rows))
    if wait:
        wait_stored(settings, publisher, say)
    return {
        "bars_sent": bars,
        "actions_sent": actions,
        "rejected": refused.count,
        "reasons": dict(refused.reasons.most_common()),
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


def refresh_cache(settings: Settings, full: bool = False, say: Say = _silent, probe: bool = True) -> Refreshed:
    """Refresh the documents once, without Dagster.

    Args:
        settings: where the stores are.
        full: make every document again.
        say: takes progress.
        probe: check the servers first; False once they have answered, so that an outage is one to wait out.

    Raises:
        SettingError: a configured store does not answer, and ``probe``.
        TryLaterError: a store does not answer.
    """
    if probe:
        require_servers(settings, "mysql", "documents")
    say("making every document again" if full else "refreshing the documents")
    engine = make_engine(settings, DatabaseRole.WRITER)
    documents = DocumentStore(settings)
    try:
        refresh_calendar_sessions(engine)
        return refresh_documents(engine, documents, now(), full)
    finally:
        documents.close()
        engine.dispose()


def train(settings: Settings, until: dt.date | None = None, say: Say = _silent) -> list[dict[str, Any]]:
    """Train from the documents once, without Dagster; return the skill of each model.

    Raises:
        SettingError: a configured store does not answer.
        TryLaterError: a local store is not up.
        UsageError: there is nothing to train on.
    """
    require_servers(settings, "mysql", "documents")
    engine = make_engine(settings, DatabaseRole.WRITER)
    documents = DocumentStore(settings)
    models = ModelFolder(settings.data_dir / "models")
    try:
        say("making the training set")
        snapshot = training.make_snapshot(documents, settings.data_dir / "training", until, settings.min_history)
        failed = []
        for name in settings.training_engines:
            say(f"training and judging the models of {name}")
            try:
                training.train_engine(engine, models, settings, name, training.run_child, now(), always=True)
            except (UsageError, ServerError) as error:
                # the other engines are worth having
                failed.append(str(error))
                say(str(error))
        training.train_version_zero(engine, models, settings, now())
        champions.name_champions(engine, models)
        if failed:
            raise ServerError("; ".join(failed))
        return skill_report(models, snapshot.data_hash)
    finally:
        documents.close()
        engine.dispose()


def forecast_rows(settings: Settings, symbol: str, last: int) -> dict[str, Any]:
    """Return the newest ledger rows of a symbol, its open forecasts, and the champions' skill.

    Raises:
        UsageError: no instrument has this symbol.
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up.
    """
    require_servers(settings, "mysql")
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
