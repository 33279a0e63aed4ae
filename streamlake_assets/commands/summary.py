"""How the demo's summary looks on a terminal: tables for people; the numbers are the summary's own."""

from rich.console import Console
from rich.table import Table

from streamlake_assets.commands.demo import Summary


def print_summary(console: Console, summary: Summary, urls: dict[str, str]) -> None:
    """Print the summary as tables."""
    console.print()
    facts = Table(title="What is stored", show_header=False, title_justify="left")
    facts.add_column(style="bold")
    facts.add_column(justify="right")
    facts.add_row("messages on the topics (added)", f"{summary.topic_messages:,} ({summary.messages_added:,})")
    intervals = ", ".join(f"{count:,} of {name}" for name, count in summary.bars_by_interval.items())
    facts.add_row("bars (added)", f"{summary.bars:,} ({summary.bars_added:,})")
    facts.add_row("  by interval", intervals)
    facts.add_row("revisions of bars", f"{summary.revisions:,}")
    facts.add_row("splits and dividends", f"{summary.corporate_actions:,}")
    facts.add_row("dead letters", f"{summary.dead_letters:,}")
    equal = summary.documents_equal_daily["compared"] - summary.documents_equal_daily["different"]
    facts.add_row("session documents", f"{summary.documents:,}")
    facts.add_row("  equal to their daily bar", f"{equal:,} of {summary.documents_equal_daily['compared']:,}")
    facts.add_row("forecasts, scored", f"{summary.forecasts:,}, {summary.scored:,}")
    facts.add_row("market time", summary.market_session)
    console.print(facts)
    console.print(_models(summary))
    if not summary.signals:
        console.print("Signals: none. No model of the return has shown skill, so there is nothing honest to say.")
    else:
        console.print(f"Signals: {summary.signals:,}. Not investment advice.")
    checks = summary.checks
    console.print(f"Checks: {checks['passed']} passed, {checks['failed']} failed")
    for line in summary.failed_checks:
        console.print(f"  [red]failed[/red] {line}")
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in summary.seconds.items())
    console.print(f"Seconds: {stages}")
    for name, url in urls.items():
        console.print(f"  {name:<8} {url}")


def _models(summary: Summary) -> Table:
    table = Table(title="Models, judged out of fold against their baselines", title_justify="left")
    for name in ("target", "model", "version", "skill", "95 % interval", "champion", "live skill"):
        table.add_column(name, justify="right" if "skill" in name else "left")
    for model in summary.models:
        is_champion = summary.champions.get(model["target"]) == model["version"]
        live = summary.live_skill.get(model["target"]) if is_champion else None
        table.add_row(
            model["target"],
            f"{model['name']} ({model['engine']})",
            model["version"],
            f"{model['skill']:+.4f}",
            f"{model['skill_low']:+.4f} to {model['skill_high']:+.4f}",
            "yes" if is_champion else "",
            "" if live is None else f"{live:+.4f}",
        )
    return table
