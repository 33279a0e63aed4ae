"""What all asset files share: owners, the way from a verdict to a check result. No asset lives here."""

from typing import Any, Final

import dagster as dg

from streamlake_assets.market.quality import Verdict

OWNERS: Final = ["team:streamlake"]
NO_POLICY: Final = "no freshness policy: a market may be closed for days; staleness is judged by market time"


def check_result(
    verdict: Verdict, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    """Return a verdict as a check result: what was measured, against which limit."""
    return dg.AssetCheckResult(
        passed=verdict.passed, severity=severity, description=verdict.text, metadata=plain_metadata(verdict.facts)
    )


def plain_metadata(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts in types that Dagster shows."""
    return {name: list(value) if isinstance(value, list | tuple | set) else value for name, value in facts.items()}
