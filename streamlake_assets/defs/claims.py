"""The claims audit as Dagster sees it: an asset on demand, its page with charts, and a check that can fail."""

import dagster as dg

from streamlake_assets.defs import documents
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.flows import claims
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess


class ClaimsConfig(dg.Config):
    """How much is computed."""

    quick: bool = False
    """Fewer bars and seeds."""


@dg.asset(
    key=["reports", "claims_audit"],
    deps=documents.CHECKED,
    group_name="reports",
    kinds={"mongodb", "scikitlearn"},
    owners=OWNERS,
    code_version="1",
    metadata={"freshness": "no freshness policy: the audit is made on demand; what it shows does not age"},
    description="Famous figures of other systems, each reproduced with its mistake, beside the honest figure.",
)
def claims_audit(config: ClaimsConfig, stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Make the audit, store it, show it."""
    report = claims.make_claims_audit(stores.documents, stores.now(), quick=config.quick)
    return dg.MaterializeResult(
        metadata={
            "claims": dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in claims.claims_table(report)]),
            "page": dg.MetadataValue.md(claims.claims_page(report)),
            "instruments": list(report["instruments"]),
            "left_out": [f"{name}: {reason}" for name, reason in report["left_out"]],
            "arima_speed_up": report["arima"]["speed_up"],
            "arima_rmse_ratio": report["arima"]["rmse_ratio"],
        }
    )


@check(
    claims_audit,
    "Each figure is reproduced in its band; no honest skill is too good to be true",
    limit="each figure in its band",
    remedy="The report names the claim. Either the reproduction or our own evaluation changed: find out which "
    "before publishing anything.",
)
def claims_are_reproduced(stores: StoreAccess) -> Verdict:
    """Judge the stored audit."""
    return claims.judge_claims(stores.documents.report(claims.REPORT))
