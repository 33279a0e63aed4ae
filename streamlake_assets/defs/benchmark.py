"""The training benchmark as Dagster sees it: an asset on demand, its page with charts, and a check that can fail."""

import dagster as dg

from streamlake_assets.defs import features
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.flows import benchmark as flow
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess


class BenchmarkConfig(dg.Config):
    """How much is measured."""

    profile: str = "quick"
    """``quick`` or ``full``."""


@dg.asset(
    key=["reports", "benchmark"],
    deps=[features.training_set],
    group_name="reports",
    kinds={"mongodb", "python"},
    owners=OWNERS,
    code_version="1",
    # nothing else trains meanwhile: time and memory are its own
    pool="training",
    metadata={"freshness": "no freshness policy: it is measured on demand, as after a change of an engine"},
    description="The same model on three engines: certificate, time, memory, effort, crossovers and a verdict.",
)
def benchmark(
    context: dg.AssetExecutionContext, config: BenchmarkConfig, stores: dg.ResourceParam[StoreAccess]
) -> dg.MaterializeResult[None]:
    """Measure, store, show."""
    report = flow.make_benchmark(stores.documents, stores.settings, config.profile, context.log.info)
    verdict = report["findings"]["verdict"]
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.md(flow.benchmark_page(report)),
            "verdict": verdict["says"],
            "run_id": report["run_id"],
            "measurements": len(report["records"]),
            "missing": dict(report["missing"]),
            "took_s": report["took_s"],
        }
    )


@check(
    benchmark,
    "The certificate is valid, every engine was measured or is named missing, results are near enough",
    limit="a valid certificate, every engine measured or named",
    remedy="The report names what failed. Without parity of the engines no time is worth comparing: mend the "
    "spec, materialise again.",
)
def benchmark_is_valid(stores: StoreAccess) -> Verdict:
    """Judge the stored report."""
    return flow.judge(stores.documents.report(flow.REPORT))
