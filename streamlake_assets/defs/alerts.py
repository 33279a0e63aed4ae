"""The sensor that sees changes of state: checks, runs, freshness, sensors. No asset lives here; it sends nothing."""

import dagster as dg

from streamlake_assets.defs import instance_states
from streamlake_assets.flows.alert_recording import record_observed
from streamlake_assets.resources import StoreAccess

INTERVAL_S = 20
"""Least seconds between two looks."""


@dg.sensor(
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes each change of state of checks, runs, freshness and sensors into the outbox, once.",
)
def alert_edges(context: dg.SensorEvaluationContext, stores: dg.ResourceParam[StoreAccess]) -> dg.SkipReason:
    """Record what changed; the cursor stays empty, because the tables know how far it was."""
    if context.repository_def is None:
        return dg.SkipReason("there is no code location to look at")
    graph, now = context.repository_def.asset_graph, stores.now()
    edges = record_observed(stores.writer, lambda known: instance_states.observe(context.instance, graph, known, now))
    if not edges:
        return dg.SkipReason("no state changed")
    return dg.SkipReason(f"{len(edges)} changes of state: " + "; ".join(edge.headline for edge in edges[:20]))
