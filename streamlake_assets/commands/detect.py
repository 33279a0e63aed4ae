"""``streamlake detect``: anomalies in the tables, and how many planted faults are among them.

Belongs here: the command without its command line. Stays out: finding (``flows.detection``), options
(``simulate_app``).
"""

from collections import Counter
from pathlib import Path
from typing import Any

from streamlake_assets.commands.data import require_servers
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import detection
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores.mysql import make_engine


def detect_anomalies(
    settings: Settings, manifest: Path | None, sessions: int | None, show: int, say: Say
) -> dict[str, Any]:
    """Look for anomalies; return their number by kind, the first of them, and the score against a manifest.

    Raises:
        UsageError: the manifest cannot be read, or not all sessions are to be looked at.
        SettingError: a configured MySQL does not answer.
        TryLaterError: the local one is not up, or goes away.
    """
    if manifest is not None and sessions is not None:
        raise UsageError("--manifest speaks of all sessions: leave --sessions out")
    planted = None if manifest is None else detection.read_manifest(manifest)
    require_servers(settings, "mysql")
    engine = make_engine(settings, DatabaseRole.READER)
    try:
        say("reading the bars")
        found, refused = detection.detect(engine, sessions), detection.read_refused(engine)
    finally:
        engine.dispose()
    first = sorted(found.anomalies, key=lambda one: (one.bar_time, one.symbol, one.kind))[:show]
    return {
        "bars": found.bars,
        "same": refused.repeated,
        "dead": sum(refused.dead.values()),
        "anomalies": dict(sorted(Counter(one.kind for one in found.anomalies).items())),
        "first": [{**one._asdict(), "bar_time": one.bar_time.isoformat()} for one in first],
        "scores": []
        if planted is None
        else [detection.as_record(one, found.bars) for one in detection.score(found, refused, planted)],
    }
