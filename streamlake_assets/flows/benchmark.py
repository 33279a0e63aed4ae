"""The training benchmark as a report: made from the training set on disk, stored, shown, judged.

Belongs here: what the asset ``reports/benchmark`` does. Stays out: measuring (``benchmark_run``), the page
(``benchmark_page``), Dagster.
"""

from collections.abc import Mapping
from typing import Any, Final

from streamlake_assets.errors import UsageError
from streamlake_assets.flows import benchmark_findings as findings
from streamlake_assets.flows.benchmark_page import page
from streamlake_assets.flows.benchmark_plan import BY_KEY, PROFILES, Profile
from streamlake_assets.flows.benchmark_run import Say, run_benchmark
from streamlake_assets.flows.svg_charts import markdown_image
from streamlake_assets.flows.training import read_training_set
from streamlake_assets.market.quality import Verdict
from streamlake_assets.settings import Settings
from streamlake_assets.stores.documents import DocumentStore

REPORT: Final = "benchmark"
"""Under which the report is stored."""
COMMAND: Final = "python -m benchmarks run --case train --profile"


def make_benchmark(documents: DocumentStore, settings: Settings, profile: str, say: Say) -> dict[str, Any]:
    """Certify the engines on the present training set, measure them, store the report and return it.

    Args:
        documents: where the report is put.
        settings: whose training set is used.
        profile: ``quick`` or ``full``.
        say: takes a line for each measurement.

    Raises:
        UsageError: no such profile, or no training set was made yet.
        MissingToolError: there is no JDK for Spark.
    """
    chosen = profile_named(profile)
    frame, _ = read_training_set(settings.data_dir / "training")
    report = run_benchmark(chosen, frame, say=say, command=f"{COMMAND} {profile}")
    documents.put_report(REPORT, report)
    return report


def benchmark_page(report: Mapping[str, Any]) -> str:
    """Return a report as one Markdown page with its charts inside."""
    return page(report, lambda _name, title, svg: markdown_image(title, svg))


def profile_named(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        UsageError: there is no such profile.
    """
    if name not in PROFILES:
        raise UsageError(f"no benchmark profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


def judge(report: Mapping[str, Any] | None) -> Verdict:
    """Judge a report: certificate valid, every engine measured or named missing, results near enough, nothing left."""
    if report is None:
        return Verdict(True, "no benchmark was run yet", {"limit": findings.R2_GATE})
    problems = []
    if not report["certificate"]["valid"]:
        problems.append("the certificate is not valid: nothing was timed")
    else:
        measured = {BY_KEY[r["key"]].engine for r in report["records"] if not r["failed"]}
        absent = [name for name in report["engines"] if name not in measured and name not in report["missing"]]
        problems += [f"{name} was neither measured nor named missing" for name in absent]
        spread = report["findings"]["r2_spread"]
        problems += [
            f"R² of {one['task']} at {one['rows']:,} rows lies {one['spread']:.4f} apart"
            for one in spread
            if not one["near"]
        ]
        orphans = [orphan for record in report["records"] for orphan in record["orphans"]]
        problems += [f"left running: {', '.join(orphans)}"] if orphans else []
    missing = ", ".join(f"{name} ({reason})" for name, reason in report["missing"].items())
    text = "; ".join(problems) or f"{len(report['records'])} measurements; missing: {missing or 'none'}"
    facts = {
        "measurements": len(report["records"]),
        "missing": list(report["missing"]),
        "largest_r2_spread": max((one["spread"] for one in report["findings"]["r2_spread"]), default=0.0),
        "limit": findings.R2_GATE,
    }
    return Verdict(not problems, text, facts)
