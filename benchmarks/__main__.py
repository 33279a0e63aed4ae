"""``python -m benchmarks run --profile quick|full``: measured figures with their spread, as JSON and a table.

Every figure is the median of at least three rounds after a warm-up, with its least and greatest; a round whose result
is wrong ends the run. Results go to ``benchmarks/results/``, which is not committed.
"""

import datetime as dt
import json
import statistics
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import machine
from benchmarks.cases import ingest, refresh

CASES = {case.NAME: case.run for case in (ingest, refresh)}
ROUNDS = {"quick": 3, "full": 7}
RESULTS = Path(__file__).parent / "results"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Benchmarks of streamlake on this machine."""


@app.command()
def run(
    profile: Annotated[str, typer.Option(help=f"{' or '.join(ROUNDS)}: {ROUNDS} rounds.")] = "quick",
    case: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(CASES)}.")] = None,
) -> None:
    """Run the cases and print median, least and greatest of every figure."""
    if profile not in ROUNDS or not set(case or CASES) <= set(CASES):
        raise typer.BadParameter(f"profiles: {', '.join(ROUNDS)}; cases: {', '.join(CASES)}")

    def say(line: str) -> None:
        typer.echo(line, err=True)

    report: dict[str, Any] = {"profile": profile, "made_at": dt.datetime.now(dt.UTC), "machine": machine.facts()}
    report["cases"] = [CASES[name](ROUNDS[profile], say) for name in case or CASES]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{report['made_at']:%Y%m%dT%H%M%S}-{profile}.json"
    path.write_text(json.dumps(report, indent=2, default=str) + "\n")
    for measured in report["cases"]:
        for figure in measured["rounds"][0]:
            values = [result[figure] for result in measured["rounds"]]
            middle, least, greatest = statistics.median(values), min(values), max(values)
            typer.echo(f"{measured['case']:<8} {figure:<18} {middle:>10} ({least} to {greatest})")
    typer.echo(f"{path}")


if __name__ == "__main__":
    sys.exit(app())
