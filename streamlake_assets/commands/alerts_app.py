"""The command line of alerts: ``streamlake alerts list|ack|test|rules|deliver``.

Belongs here: options, tables, words; ``register`` puts the commands under ``streamlake``. Stays out: what they do
(``alerts``), loaded only when one is called.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from streamlake_assets.commands.terminal import Json, emit, line, settings_in_force, table
from streamlake_assets.errors import UsageError

alerts = typer.Typer(
    name="alerts", help="What went wrong, who was told, who has seen it.", no_args_is_help=True, add_completion=False
)


def register(app: typer.Typer) -> None:
    """Put the commands under the main command."""
    app.add_typer(alerts)


@alerts.command("list")
def listing(
    only_open: Annotated[bool, typer.Option("--open", help="Only what is not well now.")] = False,
    last: Annotated[int, typer.Option("-n", min=1, help="Newest alerts to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest alerts, and to whom each was delivered; `--json` has the proof of each delivery."""
    from streamlake_assets.commands import alerts as commands

    found = commands.listing(settings_in_force(), last, only_open)
    if as_json:
        emit(found)
        return
    rows = [
        (
            one["id"],
            one["at"][:19].replace("T", " "),
            one["state"],
            one["severity"],
            one["headline"],
            ", ".join(_delivery(delivery) for delivery in one["deliveries"]) or "nobody",
            one["acknowledged_by"] or ("open" if one["open"] else ""),
        )
        for one in found
    ]
    table("Alerts, newest first", ("no.", "at (UTC)", "state", "severity", "alert", "told", "seen by"), rows)


@alerts.command()
def ack(
    alert: Annotated[int | None, typer.Argument(help="Number of an alert, as `streamlake alerts list` shows.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    by: Annotated[str | None, typer.Option(help="Who has seen it; default: the user of this terminal.")] = None,
    as_json: Json = False,
) -> None:
    """Say that an alert was seen: it is not repeated any more; that all is well again is told as ever."""
    import getpass

    from streamlake_assets.commands import alerts as commands

    if (alert is None) != everything:
        raise UsageError("say the number of an alert, or --all")
    done = commands.acknowledge(settings_in_force(), alert, by or getpass.getuser())
    if as_json:
        emit(done)
    else:
        numbers = ", ".join(map(str, done["acknowledged"]))
        line(f"{done['by']} has seen {numbers}" if numbers else "nothing that was not seen before")


@alerts.command()
def test(
    target: Annotated[str | None, typer.Argument(help="Name of a target; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Send a test message to targets now, past the outbox. Exit 1 when one does not take it."""
    from streamlake_assets.commands import alerts as commands

    tried = commands.try_targets(settings_in_force(), target)
    if as_json:
        emit(tried)
    else:
        for one in tried:
            line(f"{one['target']}: {'delivered' if one['delivered'] else 'not delivered'}: {one['response']}")
    raise typer.Exit(0 if all(one["delivered"] for one in tried) else 1)


@alerts.command()
def rules(
    path: Annotated[Path | None, typer.Argument(help="A rule file; default: the one in force.")] = None,
    as_json: Json = False,
) -> None:
    """Show the rules as they are understood. Exit 2 names each wrong line with its reason."""
    from streamlake_assets.commands import alerts as commands

    found = commands.rules(settings_in_force(), path)
    if as_json:
        emit(found)
        return
    line(f"{found['file'] or 'no rule file: alerts are kept and go nowhere'}")
    for one in found["targets"]:
        storm = f"{one['storm']['messages']} messages and a digest in {one['storm']['window']}"
        line(f"target {one['name']}: {one['kind']}, at most {storm}")
    for one in found["rules"]:
        line(f"rule {one['name']}: {_rule(one)}")
    for name, limit in found["heartbeats"].items():
        line(f"{name} may be silent for {limit}")


@alerts.command()
def deliver(
    once: Annotated[bool, typer.Option("--once", help="Deliver what is due, then end.")] = False,
    as_json: Json = False,
) -> None:
    """Run the delivery alone, in the foreground, until Ctrl-C; `streamlake up` runs it too."""
    settings = settings_in_force()
    if not once:
        from streamlake_assets.sidecar.alert_delivery import main as run_delivery

        raise typer.Exit(run_delivery())
    from streamlake_assets.commands import alerts as commands

    done = commands.deliver_once(settings)
    if as_json:
        emit(done)
    else:
        line(f"{done['arrived']} alerts arrived in {done['messages']} messages; {done['failed']} messages failed")
    raise typer.Exit(1 if done["failed"] else 0)


def _delivery(one: dict[str, Any]) -> str:
    if one["state"] == "waiting":
        return f"{one['target']} (waits, {one['attempts']} attempts)"
    return one["target"] if one["state"] == "delivered" else f"{one['target']} ({one['state'].replace('_', ' ')})"


def _rule(one: dict[str, Any]) -> str:
    parts = [
        f"{', '.join(one['on'])} named {', '.join(one['match'])}",
        *([f"but not {', '.join(one['except'])}"] if one["except"] else []),
        f"from {one['severity']} on to {', '.join(one['targets'])}",
        *([f"again after {one['cooldown']} at the earliest"] if one["cooldown"] else []),
        *([f"repeated every {one['remind']} until seen"] if one["remind"] else []),
        *([] if one["recovery"] else ["without recoveries"]),
        *([] if one["enabled"] else ["switched off"]),
    ]
    return "; ".join(parts)
