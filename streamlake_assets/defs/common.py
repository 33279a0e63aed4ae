"""What all asset files share: owners, tables as Dagster shows them, verdicts as check results. No asset lives here."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa

from streamlake_assets.defs.retries import tried_again
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess
from streamlake_assets.settings import DATABASE

OWNERS: Final = ["team:streamlake"]
NO_POLICY: Final = "no freshness policy: a market may be closed for days; staleness is judged by market time"


def check_result(
    verdict: Verdict, remedy: str, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    """Return a verdict as a check result: what was measured, against which limit, and if it failed, what to do."""
    told = {} if verdict.passed else {"what to do": remedy}
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=severity,
        description=verdict.text,
        metadata={**plain_metadata(verdict.facts), **told},
    )


def notes(
    limit: str, remedy: str, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dict[str, dg.MetadataValue[Any]]:
    """Return what a check says of itself: what is still allowed, what to do when it fails, how bad that is."""
    return {
        "limit": dg.MetadataValue.text(limit),
        "remedy": dg.MetadataValue.md(remedy),
        "severity": dg.MetadataValue.text(severity.value),
    }


def check(
    asset: dg.AssetKey | dg.AssetsDefinition,
    truth: str,
    *,
    limit: str,
    remedy: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    blocking: bool = False,
) -> Callable[[Callable[[StoreAccess], Verdict]], dg.AssetChecksDefinition]:
    """Return a decorator that makes an asset check of a function that judges; the check has the function's name.

    Args:
        asset: what is judged.
        truth: what holds while it passes.
        limit: what is still allowed.
        remedy: what to do when it fails, in Markdown.
        severity: how bad a failure is.
        blocking: whether a failure holds back what is made of the asset.
    """

    def made(judge: Callable[[StoreAccess], Verdict]) -> dg.AssetChecksDefinition:
        @tried_again
        def run(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
            return check_result(judge(stores), remedy, severity)

        return dg.asset_check(
            asset=asset,
            name=judge.__name__,
            description=truth,
            blocking=blocking,
            metadata=notes(limit, remedy, severity),
        )(run)

    return made


def table_metadata(table: sa.Table) -> dict[str, Any]:
    """Return a table's name and columns as Dagster shows them, from the one schema source."""
    columns = [
        dg.TableColumn(
            column.name,
            str(column.type),
            description=column.comment,
            constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=bool(column.unique)),
        )
        for column in table.columns
    ]
    return {
        "dagster/table_name": f"{DATABASE}.{table.name}",
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }


def table_records(records: Sequence[Mapping[str, Any]]) -> list[dg.TableRecord]:
    """Return records as Dagster's tables take them: every record with every column, what is no plain value as JSON."""

    def cell(value: object) -> str | int | float | bool | None:
        return value if isinstance(value, str | int | float | bool) or value is None else json.dumps(value, default=str)

    columns = dict.fromkeys(name for record in records for name in record)
    return [dg.TableRecord({name: cell(record.get(name)) for name in columns}) for record in records]


def plain_metadata(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts in types that Dagster shows."""
    return {name: list(value) if isinstance(value, list | tuple | set) else value for name, value in facts.items()}
