"""How the demo's summary looks on a terminal of 80 columns: tables for people; the numbers are the summary's own."""

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamlake_assets.commands.demo import Summary

SPEAKS = "●"
_VERSION_SIGNS: Final = 12
"""Of a version's name; the whole table fits into 80 columns then, and `models list` has the rest."""


def print_summary(console: Console, summary: Summary, urls: dict[str, str]) -> None:
    """Print the summary as tables."""
    console.print()
    console.print(_stored(summary))
    console.print()
    console.print(_models(summary))
    console.print()
    if not summary.signals:
        console.print("Signals: none. No model of the return has shown skill, so there is nothing honest to say.")
    else:
        console.print(f"Signals: {summary.signals:,}. Not investment advice.")
    checks = summary.checks
    console.print(f"Checks: {checks['passed']} passed, {checks['failed']} failed")
    for line in summary.failed_checks:
        console.print(f"  [red]failed[/red] {escape(line)}")
    console.print("Servers:")
    for server in summary.servers:
        console.print(f"  {server['address']}  {server['what']}", soft_wrap=True, highlight=False, markup=False)
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary.seconds.items())
    console.print(f"Seconds: {stages}")
    for name, url in urls.items():
        console.print(f"  {name:<8} {url}", soft_wrap=True)


def _stored(summary: Summary) -> Table:
    facts = Table(title="What is stored", show_header=False, title_justify="left", box=None)
    facts.add_column(style="bold")
    facts.add_column(justify="right")
    facts.add_row("messages on the topics (added)", f"{summary.topic_messages:,} ({summary.messages_added:,})")
    facts.add_row("bars (added)", f"{summary.bars:,} ({summary.bars_added:,})")
    for name, count in summary.bars_by_interval.items():
        facts.add_row(f"  of {name}", f"{count:,}")
    facts.add_row("revisions of bars", f"{summary.revisions:,}")
    facts.add_row("splits and dividends", f"{summary.corporate_actions:,}")
    facts.add_row("dead letters", f"{summary.dead_letters:,}")
    equal = summary.documents_equal_daily["compared"] - summary.documents_equal_daily["different"]
    facts.add_row("session documents", f"{summary.documents:,}")
    facts.add_row("  equal to their daily bar", f"{equal:,} of {summary.documents_equal_daily['compared']:,}")
    facts.add_row("forecasts, scored", f"{summary.forecasts:,}, {summary.scored:,}")
    facts.add_row("market time", summary.market_session)
    return facts


def _models(summary: Summary) -> Table:
    table = Table(
        title="Models against their baselines, out of fold",
        title_justify="left",
        caption=f"{SPEAKS} speaks for its target; live: its skill over the scored forecasts",
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for name in ("target", "model", "version"):
        table.add_column(name, no_wrap=True)
    for name in ("skill", "95 % interval", "live"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in summary.models:
        speaks = summary.champions.get(model["target"]) == model["version"]
        live = summary.live_skill.get(model["target"]) if speaks else None
        table.add_row(
            SPEAKS if speaks else "",
            _short_target(model),
            _short_name(model),
            model["version"][:_VERSION_SIGNS],
            *(("", "baseline") if _is_baseline(model) else _skill(model)),
            "" if live is None else f"{live:+.4f}",
        )
    return table


def _is_baseline(model: dict[str, Any]) -> bool:
    return bool(model["engine"] == "baseline")


def _short_target(model: dict[str, Any]) -> str:
    return str(model["target"]).rpartition("_")[2]


def _short_name(model: dict[str, Any]) -> str:
    kind = str(model["name"]).removeprefix(f"{model['target']}_")
    return "version 0" if _is_baseline(model) else f"{model['engine']} {kind}"


def _skill(model: dict[str, Any]) -> tuple[str, str]:
    return f"{model['skill']:+.4f}", f"{model['skill_low']:+.3f}..{model['skill_high']:+.3f}"
