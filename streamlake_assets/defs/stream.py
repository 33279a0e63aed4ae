"""The stream as Dagster sees it: topics and the consumer, made and run outside, observed here."""

import dagster as dg

from streamlake_assets.defs import columns
from streamlake_assets.defs.common import NO_POLICY, OWNERS, check
from streamlake_assets.flows import observations
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess

GROUP = "stream"

nifi_flow = dg.AssetSpec(
    ["stream", "nifi_flow"],
    group_name=GROUP,
    kinds={"nifi"},
    owners=OWNERS,
    description="The flow market_replay: a file in a watched folder becomes bars on the topic, at a rate. Replays, the "
    "simulated market and providers may publish in its place.",
    metadata={
        "documentation": dg.MetadataValue.path("nifi/README.md"),
        "freshness": "no freshness policy: it works when a file comes, or not at all",
        "checks": "no check: what it publishes is judged on the topic and in the tables",
    },
)
finance_data = dg.AssetSpec(
    ["stream", "finance_data"],
    deps=[nifi_flow],
    group_name=GROUP,
    kinds={"kafka"},
    owners=OWNERS,
    description="Topic of bars: one JSON object per message, keyed by symbol, kept for ever.",
    metadata={"topic": "finance-data", **columns.messages("bar.v1"), "freshness": NO_POLICY},
)
corporate_actions = dg.AssetSpec(
    ["stream", "corporate_actions"],
    group_name=GROUP,
    kinds={"kafka"},
    owners=OWNERS,
    description="Topic of splits and dividends, kept for ever.",
    metadata={"topic": "corporate-actions", **columns.messages("corporate_action.v1"), "freshness": NO_POLICY},
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


@check(
    finance_data.key,
    "At most 10,000 bars on the topic are not in the tables yet",
    limit=f"{quality.LAG_LIMIT:,} messages",
    remedy="Is the consumer alive (stream/consumer)? If it is and stays behind, start another one: the group "
    "shares the partitions.",
)
def bars_are_stored(stores: StoreAccess) -> Verdict:
    """Judge the lag of the topic of bars."""
    lags = observations.lag(stores.reader, stores.settings.kafka)
    return quality.keeps_up(sum(lag for place, lag in lags.items() if place.startswith("finance-data")))


@check(
    corporate_actions.key,
    "At most 10,000 actions on the topic are not in the tables yet",
    limit=f"{quality.LAG_LIMIT:,} messages",
    remedy="As for bars_are_stored.",
)
def actions_are_stored(stores: StoreAccess) -> Verdict:
    """Judge the lag of the topic of corporate actions."""
    lags = observations.lag(stores.reader, stores.settings.kafka)
    return quality.keeps_up(sum(lag for place, lag in lags.items() if place.startswith("corporate")))


@check(
    consumer.key,
    "The consumer has given a sign of life within the last minute",
    limit=f"{quality.HEARTBEAT_LIMIT_S:.0f} s since its last sign",
    remedy="Look at the consumer's log; `streamlake up` starts it again. Nothing is lost meanwhile: the topic "
    "keeps what came.",
)
def consumer_is_alive(stores: StoreAccess) -> Verdict:
    """Judge the age of the consumer's heartbeat."""
    age_s, _ = observations.heartbeat_age_s(stores.reader, "consumer", stores.now())
    return quality.is_alive(age_s)
