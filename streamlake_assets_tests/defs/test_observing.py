"""The sensor of what runs outside: every external asset, one observation each at most, whatever is away."""

from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from streamlake_assets.definitions import defs
from streamlake_assets.defs import observing, raw
from streamlake_assets.defs.observing import INTERVAL_S, WATCHED, outside_observed
from streamlake_assets.flows.observations import read_marks, read_watermark
from streamlake_assets.flows.outside import look
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.resources import StoreAccess
from streamlake_assets.settings import Settings
from streamlake_assets.sidecar.consumer import PROCESS
from streamlake_assets.stores.operations import beat
from streamlake_assets_tests.conftest import settings_in

RAW = {raw.bars.key, raw.instruments.key, raw.corporate_actions.key, raw.dead_letters.key}


def tick(access: StoreAccess, cursor: str | None = None) -> dg.SensorResult:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"stores": access})
        result = outside_observed(context)
    assert isinstance(result, dg.SensorResult)
    return result


def observations(result: dg.SensorResult) -> dict[str, dg.AssetObservation]:
    found = [event for event in result.asset_events if isinstance(event, dg.AssetObservation)]
    assert len(found) == len(result.asset_events)
    by_key = {event.asset_key.to_user_string(): event for event in found}
    assert len(by_key) == len(found), "one for each asset"
    return by_key


def test_every_external_asset_is_watched_but_the_tables_that_are_materialised() -> None:
    graph = defs().resolve_asset_graph()
    assert graph.external_asset_keys - RAW == set(WATCHED.values())
    assert outside_observed.minimum_interval_seconds == INTERVAL_S == 60


def test_with_every_server_away_each_asset_is_told_to_be_away_with_a_reason_and_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a broker that is away is asked for ten seconds: the look does not wait for it
    monkeypatch.setattr(observing, "look", partial(look, within_s=0.5))
    access = StoreAccess(settings_in(tmp_path))
    result = tick(access)
    found = observations(result)
    assert found.keys() == {key.to_user_string() for key in WATCHED.values()}
    for name, event in found.items():
        assert event.metadata.keys() == {"state", "reason"}, name
        assert event.metadata["state"].value == "away", name
    again = tick(access, result.cursor)
    assert not again.asset_events
    assert again.skip_reason is not None
    assert again.cursor, "what was told is remembered all the same"


@pytest.mark.servers
def test_on_real_servers_topics_and_processes_are_observed(stack: Settings) -> None:
    """As they are: empty, or with what tests before this one have put there."""
    access = StoreAccess(stack)
    try:
        beat(access.writer, PROCESS, {"pid": 1, "lag": 0})
        first = tick(access)
        found = observations(first)
        second = observations(tick(access, first.cursor))
        marks = read_marks(stack.kafka)
        mark = read_watermark(access.reader)
    finally:
        access.close()
    ends = next(partitions for stream, partitions in marks.items() if stream.topic == BARS_TOPIC)
    topic = found["stream/finance_data"].metadata
    assert topic["state"].value == "present"
    assert topic["messages"].value == sum(high - low for low, high in ends.values())
    assert topic["high_watermarks"].value == {str(number): high for number, (_, high) in ends.items()}
    stored = sum(end for place, end in mark.next_offsets.items() if place.startswith(BARS_TOPIC))
    assert topic["lag_messages"].value == topic["messages"].value or stored > 0
    assert found["stream/consumer"].metadata["state"].value == "present"
    assert isinstance(found["stream/consumer"].metadata["last_heartbeat"], dg.TimestampMetadataValue)
    assert found["pages/power_bi"].metadata["market_session"].value == str(mark.market_session or "no bars yet")
    assert found["pages/dashboard"].metadata["state"].value == "away", "no page runs here"
    assert second["stream/finance_data"].metadata["messages_per_second"].value == 0.0
    assert "pages/dashboard" not in second, "it is away as before"
