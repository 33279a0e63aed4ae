"""The pages at the end of the lineage, which run outside Dagster. No check lives here: pages say what they miss."""

import dagster as dg

from streamlake_assets.defs import benchmark, claims, columns, documents, forecasts, models, raw, stream, value
from streamlake_assets.defs.common import OWNERS

GROUP = "pages"

dashboard = dg.AssetSpec(
    [GROUP, "dashboard"],
    deps=[
        stream.finance_data,
        *(raw.bars, raw.instruments, raw.corporate_actions, raw.dead_letters),
        *documents.CHECKED,
        *(forecasts.next_session, forecasts.scores, forecasts.daily),
        *(models.champion, models.skill, benchmark.benchmark, claims.claims_audit, value.value),
    ],
    group_name=GROUP,
    kinds={"panel", "bokeh"},
    owners=OWNERS,
    description="The Panel page: bars as they arrive, forecasts and what happened, models, quality and operations, "
    "indicators. `streamlake urls` tells its address.",
    metadata={
        "documentation": dg.MetadataValue.path("docs/dashboard.md"),
        "freshness": "no freshness policy: it reads while it is looked at, and says how old what it shows is",
        "checks": "no check: it names the servers that do not answer and the age of what was read before",
    },
)
power_bi = dg.AssetSpec(
    [GROUP, "power_bi"],
    deps=[
        *(raw.bars, raw.instruments, raw.corporate_actions, raw.dead_letters),
        *(forecasts.next_session, forecasts.scores),
    ],
    group_name=GROUP,
    kinds={"powerbi"},
    owners=OWNERS,
    description="The Power BI report over the views of MySQL, imported by whoever opens it.",
    metadata={
        **columns.report_views(),
        "documentation": dg.MetadataValue.path("docs/power_bi.md"),
        "project": dg.MetadataValue.path("bi"),
        "freshness": "no freshness policy: it imports when somebody asks it to",
        "checks": "no check: `streamlake bi validate` judges the project, whose files no run has",
    },
)
