"""The processes that follow the stream beside the consumer: scorer and alerts, which run outside Dagster.

Belongs here: their assets and the checks of their heartbeats. Stays out: the consumer (``stream``), how they are
observed (``observing``). A process that never wrote a heartbeat was never started with these tables, as ``alerts`` is
not by ``demo --once``: none is expected then. Whoever beat once is expected to go on.
"""

import dagster as dg

from streamlake_assets.defs import documents, models, stream
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.flows import observations
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess

GROUP = "services"
"""Not the stream's: they read models, so that in the lineage the group stands behind these."""
_LIMIT = f"{quality.HEARTBEAT_LIMIT_S:.0f} s since its last sign; one that was never started is not expected"

scorer = dg.AssetSpec(
    [GROUP, "scorer"],
    deps=[stream.finance_data, stream.corporate_actions, stream.consumer, models.champion, *documents.CHECKED],
    group_name=GROUP,
    kinds={"python"},
    owners=OWNERS,
    description="The process that forecasts the next session and scores the one that settled, as bars arrive; it runs "
    "beside Dagster and writes the same ledger as forecasts/next_session and forecasts/scores.",
    metadata={"freshness": "judged by its heartbeat"},
)
alerts = dg.AssetSpec(
    [GROUP, "alerts"],
    deps=[stream.consumer, scorer],
    group_name=GROUP,
    kinds={"python"},
    owners=OWNERS,
    description="The process that tells targets what became bad and well again, and does what pages ask for; it runs "
    "beside Dagster.",
    metadata={"documentation": dg.MetadataValue.path("docs/alerts.md"), "freshness": "judged by its heartbeat"},
)


@check(
    scorer.key,
    "The scorer, once started, has given a sign of life within the last minute",
    limit=_LIMIT,
    remedy="Look at the scorer's log; `streamlake up` starts it again. The daily job forecasts and scores meanwhile.",
)
def scorer_is_alive(stores: StoreAccess) -> Verdict:
    """Judge the age of the scorer's heartbeat."""
    return observations.alive_if_started(stores.reader, "scorer", stores.now())


@check(
    alerts.key,
    "The delivery of alerts, once started, has given a sign of life within the last minute",
    limit=_LIMIT,
    remedy="Look at the log of `alerts`; `streamlake up` starts it again. Nobody is told of anything meanwhile; "
    "nothing is lost: what waits in the outbox is sent then.",
)
def alerts_are_alive(stores: StoreAccess) -> Verdict:
    """Judge the age of the heartbeat of whoever delivers alerts."""
    return observations.alive_if_started(stores.reader, "alerts", stores.now())
