"""What ``streamlake models`` does: the register shown, champions changed by hand within what the gate allows.

Belongs here: list, show, promote, rollback, search as plain data. Stays out: options and tables (``models_app``), the
gate itself (``market.gate``), which names champions by itself at each training.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from streamlake_assets.commands.data import require_servers
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import searching
from streamlake_assets.market.forecasts import BASELINE_ENGINE
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import model_register
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.model_register import BY_HAND, ROLLED_BACK, RegisteredModel
from streamlake_assets.stores.mysql import make_engine


def listing(settings: Settings, target: Target | None, last: int) -> list[dict[str, Any]]:
    """Return the newest registered models, which of them speak, and whether their files are there."""
    engine = _engine(settings, DatabaseRole.READER)
    try:
        champions = set(model_register.champions(engine).values())
        published = set(ModelFolder(settings.data_dir / "models").versions())
        return [
            {
                "version": model.version,
                "target": model.target.value,
                "name": model.name,
                "engine": model.engine,
                "skill": model.skill,
                "skill_low": model.skill_low,
                "skill_high": model.skill_high,
                "passed_gate": model.has_skill,
                "champion": model.version in champions,
                "files": model.version in published,
                "learned_until": model.manifest["last_session"],
                "registered_at": model.registered_at.isoformat(),
            }
            for model in model_register.models(engine, target)[:last]
        ]
    finally:
        engine.dispose()


def show(settings: Settings, version: str) -> dict[str, Any]:
    """Return all that is known of a model: its manifest, its reigns, whether its files are whole.

    Raises:
        UsageError: no model of that version is registered.
    """
    engine = _engine(settings, DatabaseRole.READER)
    try:
        model = _registered(engine, version)
        reigns = [reign for reign in model_register.reigns(engine, model.target) if reign.version == version]
        return {
            "manifest": model.manifest,
            "registered_at": model.registered_at.isoformat(),
            "champion": model_register.champions(engine).get(model.target) == version,
            "reigns": [{"since": reign.since.isoformat(), "reason": reign.reason} for reign in reigns],
        }
    finally:
        engine.dispose()


def promote(settings: Settings, version: str, why: str) -> dict[str, Any]:
    """Let a model speak for its target from now on: one that passed the gate, or version 0.

    Raises:
        UsageError: it is not registered, or did not pass the gate.
        ModelRefusedError: its files are not whole.
    """
    engine = _engine(settings, DatabaseRole.WRITER)
    try:
        model = _registered(engine, version)
        if not model.has_skill and model.engine != BASELINE_ENGINE:
            raise UsageError(
                f"{version} did not pass the gate (skill {model.skill:.4f}, {model.skill_low:.4f} to "
                f"{model.skill_high:.4f}): a model without skill speaks for nobody. "
                "`streamlake models list` shows what may be promoted"
            )
        present = model_register.champions(engine).get(model.target)
        # the baseline instead of a model is a step back: the gate must not undo it tomorrow
        how = f"{ROLLED_BACK} {present}" if model.engine == BASELINE_ENGINE and present != version else BY_HAND
        return _let_speak(engine, settings, model, f"{how}: {why}")
    finally:
        engine.dispose()


def rollback(settings: Settings, target: Target, why: str) -> dict[str, Any]:
    """Let the model speak that spoke for a target before the present one; that one is not promoted by itself again.

    Raises:
        UsageError: none spoke before.
        ModelRefusedError: its files are not whole.
    """
    engine = _engine(settings, DatabaseRole.WRITER)
    try:
        reigns = model_register.reigns(engine, target)
        present = reigns[0].version if reigns else None
        shunned = model_register.rolled_back(reigns) | {present}
        before = next((reign.version for reign in reigns if reign.version not in shunned), None)
        if before is None:
            raise UsageError(f"no model spoke for {target} before {present or 'the first training'}")
        return _let_speak(engine, settings, _registered(engine, before), f"{ROLLED_BACK} {present}: {why}")
    finally:
        engine.dispose()


def search(settings: Settings, engine: str, target: Target | None) -> dict[str, Any]:
    """Search the hyper-parameters of an engine's specs; see ``flows.searching``."""
    found: dict[str, Any] = msgspec.to_builtins(searching.search_engine(settings, engine, target))
    return found


def _let_speak(engine: sa.Engine, settings: Settings, model: RegisteredModel, reason: str) -> dict[str, Any]:
    ModelFolder(settings.data_dir / "models").open(model.version)
    changed = model_register.set_champion(engine, model.target, model.version, reason)
    return {"target": model.target.value, "version": model.version, "changed": changed, "reason": reason}


def _registered(engine: sa.Engine, version: str) -> RegisteredModel:
    found = next((model for model in model_register.models(engine) if model.version == version), None)
    if found is None:
        raise UsageError(f"no model {version} is registered: `streamlake models list` shows those that are")
    return found


def _engine(settings: Settings, role: DatabaseRole) -> sa.Engine:
    require_servers(settings, "mysql")
    return make_engine(settings, role)
