"""The register of models in MySQL: every model ever registered, and which one spoke for a target from when on.

Belongs here: reading and writing ``model_versions`` and ``champions``. Stays out: forecasts and scores (``ledger``),
model files (``model_folder``), who may become champion (``market.gate``).
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.targets import Target
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import insert_unless_there, outages_as_try_later

BY_HAND: Final = "promoted by hand"
ROLLED_BACK: Final = "rolled back by hand from"
"""How the reason of a reign begins that somebody, not the gate, brought about; a version follows the second."""


class RegisteredModel(NamedTuple):
    """One registered model; ``manifest`` is what was published with it."""

    version: str
    engine: str
    target: Target
    name: str
    data_hash: str
    skill: float | None
    skill_low: float | None
    skill_high: float | None
    has_skill: bool
    registered_at: dt.datetime
    manifest: dict[str, Any]


class Reign(NamedTuple):
    """A model that spoke for a target since then, and why."""

    target: Target
    version: str
    reason: str
    since: dt.datetime


def register_models(engine: sa.Engine, manifests: Iterable[Mapping[str, Any]]) -> int:
    """Add models that are not registered yet; return how many were added."""
    table = schema.model_versions
    added = 0
    with outages_as_try_later("registering models"), engine.begin() as connection:
        for manifest in manifests:
            known = connection.execute(sa.select(table.c.version).where(table.c.version == manifest["version"]))
            if known.first() is not None:
                continue
            names = ("version", "engine", "target", "data_hash", "skill", "skill_low", "skill_high", "has_skill")
            row = {name: manifest[name] for name in names} | {"spec_name": manifest["name"], "manifest": dict(manifest)}
            added += insert_unless_there(connection, table, [row])
    return added


def registered(engine: sa.Engine) -> set[str]:
    """Return the versions of all registered models."""
    with outages_as_try_later("reading the register"), engine.connect() as connection:
        return set(connection.execute(sa.select(schema.model_versions.c.version)).scalars())


def set_champion(engine: sa.Engine, target: Target, version: str, reason: str) -> bool:
    """Record which model speaks for a target from now on; return False when it already does."""
    if champions(engine).get(target) == version:
        return False
    with outages_as_try_later("recording a champion"), engine.begin() as connection:
        connection.execute(
            sa.insert(schema.champions).values(target=target.value, version=version, reason=reason[:512])
        )
    return True


def champions(engine: sa.Engine) -> dict[Target, str]:
    """Return the version that speaks for each target."""
    table = schema.champions
    with outages_as_try_later("reading champions"), engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.target, table.c.version).order_by(table.c.id))
        return {Target(row.target): row.version for row in rows}


def models(engine: sa.Engine, target: Target | None = None) -> list[RegisteredModel]:
    """Return the registered models, the newest first, of one target or both."""
    table = schema.model_versions
    query = sa.select(table).order_by(table.c.created_at.desc(), table.c.version)
    if target is not None:
        query = query.where(table.c.target == target.value)
    with outages_as_try_later("reading the register"), engine.connect() as connection:
        return [
            RegisteredModel(
                row.version,
                row.engine,
                Target(row.target),
                row.spec_name,
                row.data_hash,
                row.skill,
                row.skill_low,
                row.skill_high,
                bool(row.has_skill),
                row.created_at.replace(tzinfo=UTC),
                dict(row.manifest),
            )
            for row in connection.execute(query)
        ]


def reigns(engine: sa.Engine, target: Target | None = None) -> list[Reign]:
    """Return which models spoke, the newest first, of one target or both; the first of a target is in force."""
    table = schema.champions
    query = sa.select(table).order_by(table.c.id.desc())
    if target is not None:
        query = query.where(table.c.target == target.value)
    with outages_as_try_later("reading champions"), engine.connect() as connection:
        return [
            Reign(Target(row.target), row.version, row.reason, row.since.replace(tzinfo=UTC))
            for row in connection.execute(query)
        ]


def rolled_back(reigns: Iterable[Reign]) -> set[str]:
    """Return the versions that somebody took the word from: they are not named champion again by themselves."""
    named = (reign.reason.removeprefix(ROLLED_BACK).split(":")[0].strip() for reign in reigns if _is_rollback(reign))
    return set(named)


def _is_rollback(reign: Reign) -> bool:
    return reign.reason.startswith(ROLLED_BACK)
