"""The command line of NiFi: ``streamlake nifi start|deploy|status|stop|export``.

Belongs here: options, tables, words; ``register`` puts the commands under ``streamlake``. Stays out: what they do
(``nifi``, ``supervise``), loaded only when one is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from streamlake_assets.commands.terminal import Json, emit, line, progress, settings_in_force
from streamlake_assets.errors import UsageError

nifi = typer.Typer(
    name="nifi",
    help="The flows that turn files and APIs into a live stream.",
    no_args_is_help=True,
    add_completion=False,
)
Flows = Annotated[list[str] | None, typer.Argument(metavar="[FLOW]...", help="Names in nifi/; default: all.")]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of a flow; may be repeated. NAME=@FILE reads it from a file, as befits a key.",
    ),
]


def register(app: typer.Typer) -> None:
    """Put the commands under the main command."""
    app.add_typer(nifi)


@nifi.command()
def start(flows: Flows = None, as_json: Json = False) -> None:
    """Start the flows' processors; where no NiFi runs, the local one and a broker in the foreground until Ctrl-C."""
    from streamlake_assets.commands import nifi as commands
    from streamlake_assets.commands import supervise

    settings = settings_in_force()
    if not supervise.answers_nifi(settings):
        commands.require_flows(flows or [])  # told now, not after NiFi's start
        supervise.run_nifi(settings, progress(), lambda: commands.deploy(settings, flows or [], {}, progress()))
        return
    done = commands.run(settings, flows or [])
    emit({"started": done}) if as_json else line(f"started: {', '.join(done)}")


@nifi.command()
def deploy(
    flows: Flows = None,
    values: Values = None,
    begin: Annotated[bool, typer.Option("--start/--no-start", help="Whether the processors run afterwards.")] = True,
    as_json: Json = False,
) -> None:
    """Import flows or bring them up to date, set what changed, wait until all is valid, start."""
    from streamlake_assets.commands import nifi as commands

    done = commands.deploy(settings_in_force(), flows or [], _pairs(values or []), progress(), begin)
    if as_json:
        emit(done)
        return
    for one in done:
        sent = ", ".join(one["parameters_changed"]) or "none"
        line(f"{one['flow']}: {one['done']}, {'runs' if one['running'] else 'stopped'}; parameters changed: {sent}")


@nifi.command()
def status(as_json: Json = False) -> None:
    """Show what runs, what waits in queues, the parameters, and the latest bulletins."""
    from streamlake_assets.commands import nifi as commands

    found = commands.status(settings_in_force())
    if as_json:
        emit(found)
        return
    line(f"NiFi {found['version']} at {found['address']}")
    for one in found["flows"]:
        if not one["deployed"]:
            line(f"{one['flow']}: not deployed")
            continue
        states = ", ".join(f"{one[name]} {name}" for name in ("running", "stopped", "invalid", "disabled") if one[name])
        line(f"{one['flow']}: processors {states}; {one['queued']:,} FlowFiles wait")
        for name, value in one["parameters"].items():
            line(f"  {name:<22} {value if value is not None else ''}")
        for bulletin in one["bulletins"]:
            line(f"  {bulletin}")


@nifi.command()
def stop(flows: Flows = None, as_json: Json = False) -> None:
    """Stop the flows' processors; what waits in queues stays there, and NiFi itself goes on."""
    from streamlake_assets.commands import nifi as commands

    done = commands.stop(settings_in_force(), flows or [])
    emit({"stopped": done}) if as_json else line(f"stopped: {', '.join(done)}")


@nifi.command()
def export(flows: Flows = None, as_json: Json = False) -> None:
    """Write deployed flows back to nifi/, without values and paths, so that their changes can be read."""
    from streamlake_assets.commands import nifi as commands

    done = commands.export(settings_in_force(), flows or [])
    if as_json:
        emit(done)
        return
    for one in done:
        line(f"{one['file']}: {'changed' if one['changed'] else 'as before'}")


def _pairs(values: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--set {text}: write it as NAME=VALUE")
        found[name] = _from_file(name, value[1:]) if value.startswith("@") else value
    return found


def _from_file(name: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--set {name}=@{path}: {error}") from None
