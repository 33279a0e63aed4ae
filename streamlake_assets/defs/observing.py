"""The sensor that observes what runs outside Dagster; no asset lives here.

Nothing it asks may fail or delay it: a server that is away is what it reports (``flows.outside``).
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
import msgspec

from streamlake_assets.defs import outside, processes, stream
from streamlake_assets.flows.outside import Memory, Sighting, look
from streamlake_assets.resources import StoreAccess

INTERVAL_S: Final = 60
"""Least seconds between two looks: of no asset there is more than one observation a minute."""
WATCHED: Final[Mapping[str, dg.AssetKey]] = {
    spec.key.path[-1]: spec.key
    for spec in (
        *(stream.nifi_flow, stream.finance_data, stream.corporate_actions, stream.consumer),
        *(processes.scorer, processes.alerts, outside.dashboard, outside.power_bi),
    )
}
"""Keys of the external assets by the names that ``flows.outside`` gives them."""


@dg.sensor(
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Observes topics, processes, the page, NiFi and reports: lag, throughput, heartbeats, who answers.",
)
def outside_observed(
    context: dg.SensorEvaluationContext, stores: dg.ResourceParam[StoreAccess]
) -> dg.SensorResult | dg.SkipReason:
    """Report what changed since the last look, and from time to time what did not."""
    before = msgspec.json.decode(context.cursor, type=Memory) if context.cursor else None
    found = look(stores.settings, lambda: stores.reader, stores.now(), before)
    cursor = msgspec.json.encode(found.memory).decode()
    if not found.news:
        return dg.SensorResult(skip_reason="nothing but time has changed", cursor=cursor)
    events = [_observation(WATCHED[name], found.seen[name]) for name in found.news]
    return dg.SensorResult(asset_events=events, cursor=cursor)


def _observation(key: dg.AssetKey, sighting: Sighting) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=key,
        metadata={"state": sighting.state.value, **{name: _shown(value) for name, value in sighting.facts.items()}},
    )


def _shown(value: Any) -> Any:
    return dg.MetadataValue.timestamp(value) if isinstance(value, dt.datetime) else value
