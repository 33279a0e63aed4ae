"""The table of checks in docs/checks.md, made of the checks themselves.

Belongs here: what a reader wants to know of each check, in Markdown. Stays out: the checks (their assets' files).
``python -m streamlake_assets.commands.check_table > docs/checks.md`` writes it anew; a test compares the two.
"""

import sys
from collections.abc import Iterable

import dagster as dg

from streamlake_assets.definitions import defs

HEAD = """# Asset checks

Made of the checks themselves: `python -m streamlake_assets.commands.check_table > docs/checks.md`. Each check is shown
failing on a real fault, and passing again after its repair, by `streamlake_assets_tests/defs/test_checks.py`.

A failed check is an alert ([alerts.md](alerts.md)). A **blocking** check also holds back what is made of its asset.
Limits are what is still allowed.
"""


def check_table(definitions: dg.Definitions) -> str:
    """Return the document: a part for each asset that has checks, a row for each of them."""
    by_asset: dict[str, list[dg.AssetCheckSpec]] = {}
    for spec in sorted(_specs(definitions), key=lambda one: (one.asset_key.path, one.name)):
        by_asset.setdefault(spec.asset_key.to_user_string(), []).append(spec)
    parts = [HEAD]
    for asset, specs in by_asset.items():
        rows = ["| check | what holds | limit | a failure is | what to do |", "|---|---|---|---|---|"]
        rows += [_row(spec) for spec in specs]
        parts.append(f"## {asset}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _specs(definitions: dg.Definitions) -> Iterable[dg.AssetCheckSpec]:
    graph = definitions.resolve_asset_graph()
    return [graph.get_check_spec(key) for key in graph.asset_check_keys]


def _row(spec: dg.AssetCheckSpec) -> str:
    limit, remedy, severity = (spec.metadata[name].value for name in ("limit", "remedy", "severity"))
    failure = {"ERROR": "an error", "WARN": "a warning"}[severity] + (", **blocking**" if spec.blocking else "")
    return f"| `{spec.name}` | {spec.description} | {limit} | {failure} | {remedy} |"


if __name__ == "__main__":
    sys.stdout.write(check_table(defs()))
