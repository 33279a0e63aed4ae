"""``python -m streamlake_assets.drill run``: faults, injected into real servers and processes, and what came of them.

Belongs here: options, output files, the exit code. Stays out: everything else.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from streamlake_assets.drill.cases import all_faults
from streamlake_assets.drill.plant import Plant
from streamlake_assets.drill.runner import run_all

RESULTS = Path(__file__).resolve().parents[2] / "build" / "faults"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Fault drill of streamlake, with servers of its own in a temporary folder."""


@app.command()
def run(
    only: Annotated[str, typer.Option(help="Rows of the matrix, as 1,2,20; empty: all.")] = "",
    fast: Annotated[bool, typer.Option(help="The short form of every case.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report there as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report there as Markdown.")] = None,
    folder: Annotated[Path | None, typer.Option(help="An empty folder for servers and logs, to be kept.")] = None,
    database: Annotated[str, typer.Option(help="auto, mysql or mariadb; auto: MySQL where it can be had.")] = "auto",
) -> None:
    """Run the drill, print its table, write its report; exit code 1 when a case failed."""

    def say(line: str) -> None:
        typer.echo(line, err=True)

    # as Ctrl-C: the plant is taken down
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = {int(part) for part in only.split(",") if part}
    faults = [one for one in all_faults() if not wanted or one.row in wanted]
    if missing := wanted - {one.row for one in faults}:
        raise typer.BadParameter(f"there are no such rows: {sorted(missing)}")
    with Plant(folder, fast=fast, flavour=database, durable=not fast, say=say) as plant:
        found = run_all(plant, faults, say)
    path = json_file or RESULTS / f"{found.made_at:%Y%m%dT%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found.as_json(), indent=2, default=str) + "\n")
    page = report or path.with_suffix(".md")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(found.markdown())
    typer.echo(found.table())
    typer.echo(f"{path}\n{page}")
    raise typer.Exit(0 if found.ok else 1)


if __name__ == "__main__":
    sys.exit(app())
