"""The value statement as Dagster sees it: one report, made on demand, and the check that it may be believed."""

import dagster as dg

from streamlake_assets.defs import documents, models
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.flows import forecasting, value_page
from streamlake_assets.flows.value import value_report
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores import model_register

REPORT = "value"


@dg.asset(
    key=["reports", "value"],
    deps=[models.champion, *documents.CHECKED],
    group_name="reports",
    kinds={"mongodb"},
    owners=OWNERS,
    code_version="1",
    metadata={"freshness": "no freshness policy: a statement over years of sessions is made on demand"},
    description="Forecasts in money: next-open execution, costs, break-even, luck, against hold; sizes by forecast "
    "volatility against the moving average. Not investment advice.",
)
def value(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Compute the statement, keep it, show it."""
    report = value_report(
        stores.documents.series(),
        model_register.champions(stores.reader),
        forecasting.newest_forecasts(stores.reader),
        min_history=stores.settings.min_history,
    )
    stores.documents.put_report(REPORT, {**report, "made_at": stores.now()})
    sections = report["sections"]
    return dg.MaterializeResult(
        metadata={
            "summary": report["summary"],
            "statement": dg.MetadataValue.md(value_page.page(report)),
            "actionable": [name for name, section in sections.items() if section["actionable"]],
            "left_out": list(report["reasons"]),
            "dagster/row_count": sum(len(section["strategies"]) for section in sections.values()),
        }
    )


@check(
    value,
    "Executed at the next open, dearer costs earn less, nothing is called actionable without skill",
    limit="no difference",
    remedy="The stored report does not follow from the stored sessions: materialise reports/value again; if it "
    "stays, the report was changed.",
)
def value_is_honest(stores: StoreAccess) -> Verdict:
    """Compute the report's executions again from the stored sessions."""
    return value_page.judge_value(stores.documents.report(REPORT), stores.documents.series())
