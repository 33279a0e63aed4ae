"""What Dagster observed, into the states and the outbox of alerts, and the daemon's sign of life.

Belongs here: joining observations with the tables. Stays out: observing (``defs.instance_states``), delivery
(``alert_desk``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from streamlake_assets.market.alerts import Edge, Kind, Known, Observation
from streamlake_assets.stores import alert_states
from streamlake_assets.stores.operations import beat

DAEMON: Final = "dagster-daemon"
"""Name of the daemon's heartbeat: a tick that recorded what it saw is its sign of life."""
OBSERVED: Final = (Kind.CHECK, Kind.RUN, Kind.FRESHNESS, Kind.SENSOR)


def record_observed(engine: sa.Engine, observe: Callable[[Mapping[str, Known]], Sequence[Observation]]) -> list[Edge]:
    """Record what was seen since the last call; repeatable, and safe beside another one.

    Args:
        engine: of the writer.
        observe: returns what was seen since what is known, by subject.

    Raises:
        TryLaterError: the database is not available; the next call records what this one could not.
    """
    known = alert_states.known_subjects(engine, OBSERVED)
    seen = observe(known)
    edges = alert_states.record(engine, seen, known)
    beat(engine, DAEMON, {"observed": len(seen), "edges": len(edges)})
    return edges
