"""What ``streamlake alerts`` does: alerts listed and acknowledged, targets tried, rules checked, the outbox delivered.

Belongs here: these as plain data. Stays out: options and tables (``alerts_app``), the process that stays
(``sidecar.alert_delivery``).
"""

import datetime as dt
import os
from pathlib import Path
from typing import Any

from streamlake_assets.alerts.notifier import NotDeliveredError
from streamlake_assets.alerts.rules_file import LoadedRules, load_rules
from streamlake_assets.commands.data import require_servers
from streamlake_assets.errors import UsageError
from streamlake_assets.flows.alert_desk import AlertDesk
from streamlake_assets.market.alert_messages import Alert, compose
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.alert_delivery import described, load_configured
from streamlake_assets.stores import alert_list
from streamlake_assets.stores.mysql import make_engine


def listing(settings: Settings, last: int, only_open: bool) -> list[dict[str, Any]]:
    """Return the newest alerts with the proof of their deliveries."""
    require_servers(settings, "mysql")
    engine = make_engine(settings, DatabaseRole.READER)
    try:
        return alert_list.newest(engine, last, only_open)
    finally:
        engine.dispose()


def acknowledge(settings: Settings, alert: int | None, by: str) -> dict[str, Any]:
    """Note who has seen an alert, or all open ones; it is not repeated any more."""
    require_servers(settings, "mysql")
    engine = make_engine(settings, DatabaseRole.WRITER)
    try:
        return {"acknowledged": alert_list.acknowledge(engine, alert, by), "by": by}
    finally:
        engine.dispose()


def try_targets(settings: Settings, name: str | None) -> list[dict[str, Any]]:
    """Send a test message to one target or to all, past the outbox, and return what each said.

    Raises:
        UsageError: there is no such target, or none at all.
    """
    loaded = load_configured(settings)
    if not loaded.notifiers:
        raise UsageError("no target: STREAMLAKE_ALERT_RULES names a file of rules and targets (docs/alerts.md)")
    if name is not None and name not in loaded.notifiers:
        raise UsageError(f"there is no target {name}; there are {', '.join(sorted(loaded.notifiers))}")
    now = dt.datetime.now(dt.UTC)
    text = "Nothing is wrong: somebody said `streamlake alerts test`."
    alert = Alert(0, "process", "test", "raised", "info", "A test of alerts", text, now)
    tried = []
    for target in sorted(loaded.notifiers) if name is None else [name]:
        message = compose([alert])._replace(id=f"test-{int(now.timestamp())}")
        try:
            said, taken = loaded.notifiers[target].send(message).response, True
        except NotDeliveredError as error:
            said, taken = str(error), False
        tried.append({"target": target, "delivered": taken, "response": said})
    return tried


def rules(settings: Settings, path: Path | None) -> dict[str, Any]:
    """Return a rule file as it is understood; the names of checks are looked up too.

    Args:
        settings: that name the file in force.
        path: another file; None: the one in force.

    Raises:
        UsageError: anything is wrong with it; the message has lines and reasons.
    """
    named = Path(settings.alert_rules).expanduser() if settings.alert_rules else None
    wanted = path or named
    loaded = LoadedRules(*load_rules(wanted, os.environ, settings.alert_loopback, _all_checks()))
    return {"file": None if wanted is None else str(wanted), **described(loaded)}


def deliver_once(settings: Settings) -> dict[str, int]:
    """Deliver what is due now, and return what was done."""
    loaded = load_configured(settings)
    require_servers(settings, "mysql")
    engine = make_engine(settings, DatabaseRole.WRITER)
    try:
        return AlertDesk(engine, loaded.rules, loaded.notifiers).turn()._asdict()
    finally:
        engine.dispose()


def _all_checks() -> set[str]:
    from streamlake_assets.definitions import defs

    keys = defs().resolve_asset_graph().asset_check_keys
    return {f"{key.asset_key.to_user_string()}:{key.name}" for key in keys}
