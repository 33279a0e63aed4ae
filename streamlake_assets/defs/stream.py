"""The stream as Dagster sees it: topics and the consumer, made and run outside, observed here."""

import dagster as dg

from streamlake_assets.defs.common import NO_POLICY, OWNERS, check_result
from streamlake_assets.flows import observations
from streamlake_assets.market import quality
from streamlake_assets.resources import StoreAccess

GROUP = "stream"

finance_data = dg.AssetSpec(
    ["stream", "finance_data"],
    group_name=GROUP,
    kinds={"kafka"},
    owners=OWNERS,
    description="Topic of bars: one JSON object per message, keyed by symbol, kept for ever.",
    metadata={"topic": "finance-data", "freshness": NO_POLICY},
)
corporate_actions = dg.AssetSpec(
    ["stream", "corporate_actions"],
    group_name=GROUP,
    kinds={"kafka"},
    owners=OWNERS,
    description="Topic of splits and dividends, kept for ever.",
    metadata={"topic": "corporate-actions", "freshness": NO_POLICY},
)
consumer = dg.AssetSpec(
    ["stream", "consumer"],
    deps=[finance_data, corporate_actions],
    group_name=GROUP,
    kinds={"python"},
    owners=OWNERS,
    description="The process that writes the topics into MySQL, exactly once; it runs beside Dagster.",
    metadata={"freshness": "judged by its heartbeat"},
)


@dg.asset_check(asset=finance_data.key, description="At most 10,000 bars on the topic are not in the tables yet")
def bars_are_stored(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Judge the lag of the topic of bars."""
    lags = observations.lag(stores.reader, stores.settings.kafka)
    return check_result(quality.keeps_up(sum(lag for place, lag in lags.items() if place.startswith("finance-data"))))


@dg.asset_check(
    asset=corporate_actions.key, description="At most 10,000 actions on the topic are not in the tables yet"
)
def actions_are_stored(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Judge the lag of the topic of corporate actions."""
    lags = observations.lag(stores.reader, stores.settings.kafka)
    return check_result(quality.keeps_up(sum(lag for place, lag in lags.items() if place.startswith("corporate"))))


@dg.asset_check(asset=consumer.key, description="The consumer has given a sign of life within the last minute")
def consumer_is_alive(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Judge the age of the consumer's heartbeat."""
    age_s, _ = observations.heartbeat_age_s(stores.reader, "consumer", stores.now())
    return check_result(quality.is_alive(age_s))
