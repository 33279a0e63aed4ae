"""``python -m benchmarks run|gate|compare|report``: measured figures with their spread, as JSON and Markdown.

Belongs here: options, files, exit codes. Stays out: what is run (``profiles``), what a gate is (``gates``). Results go
to ``benchmarks/results/``, which is not committed.
"""

import datetime as dt
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from benchmarks import figures, gates, markdown, profiles
from benchmarks import report as reports
from benchmarks.cases import train
from streamlake_assets.errors import StreamlakeError

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
UNFINISHED = RESULTS / "unfinished.json"
PAST_A_GATE, REFUSED, WRONG = 1, 2, 4


def _profiles() -> str:
    alone = f"{', '.join(profiles.OF_TRAINING)} (training only)"
    return f"{', '.join(profiles.PROFILES)}, {alone}"


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Benchmarks of streamlake on this machine."""


@app.command()
def run(
    profile: Annotated[str, typer.Option(help=_profiles())] = "quick",
    case: Annotated[list[str] | None, typer.Option(help="Only these; the limit runs in every round.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Measured rounds in place of the profile's.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=1, help="Of the training benchmark: what would end later is left out and named.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=10_000, help="Messages in place of the profile's.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A result whose training benchmark is continued: only what it lacks."
        ),
    ] = None,
) -> None:
    """Measure, check every run, write the result and its report."""
    if profile in profiles.OF_TRAINING and set(case or ()) != {train.NAME}:
        raise typer.BadParameter(f"profile {profile} is of the training benchmark: add --case {train.NAME}")
    if profile not in {*profiles.PROFILES, *profiles.OF_TRAINING}:
        raise typer.BadParameter(f"profiles: {_profiles()}")
    chosen = profiles.PROFILES.get(profile, profiles.PROFILES["full"])
    chosen = chosen._replace(rounds=rounds or chosen.rounds, rows=rows or chosen.rows)
    known = [*profiles.names(chosen), *profiles.ASKED_FOR]
    if unknown := set(case or ()) - set(known):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: profile {profile} has {', '.join(known)}")
    before = _read(resume) if resume else None
    if before is not None and "train" not in before:
        raise typer.BadParameter(f"{resume} holds no training benchmark")
    wanted = set(case) if case else set(profiles.names(chosen))
    if wanted - {*profiles.ASKED_FOR, *chosen.chain}:
        wanted.add(figures.REFERENCE)
    for number in (signal.SIGTERM, signal.SIGINT):
        # also when started in the background, where SIGINT is ignored: servers must not outlive the run
        signal.signal(number, _end)
    try:
        result = profiles.run(
            profile, chosen, wanted, _commit(), lambda line: typer.echo(line, err=True), minutes, before, _keep
        )
    except StreamlakeError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(WRONG) from error
    RESULTS.mkdir(exist_ok=True)
    UNFINISHED.unlink(missing_ok=True)
    stamp = dt.datetime.fromisoformat(result["made_at"])
    path = RESULTS / f"{stamp:%Y%m%dT%H%M%S}-{profile}-{result['commit']}.json"
    path.write_text(json.dumps(result, indent=1, default=str) + "\n")
    _write_report(result, path.with_suffix(""))
    if "servers" in result:
        _print_verdicts(result)
    typer.echo(f"{path}\n{path.with_suffix('')}/report.md")


@app.command()
def gate(result: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Judge a result: exit code 0 all gates hold, 1 one does not, 2 it cannot be judged."""
    found = _read(result)
    _print_verdicts(found)
    summary = figures.summary(found)
    if reasons := gates.refusals(found, summary):
        typer.echo(f"refused: {'; '.join(reasons)}", err=True)
        raise typer.Exit(REFUSED)
    if not all(verdict.passed for verdict in gates.judge(summary)):
        raise typer.Exit(PAST_A_GATE)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    after: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
) -> None:
    """Show what changed between two results."""
    typer.echo(reports.compare(_read(before), _read(after)))


@app.command()
def report(
    result: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    folder: Annotated[Path | None, typer.Option(help="Where to write it; default: beside the result.")] = None,
) -> None:
    """Write the report of a result, Markdown with charts."""
    target = folder or result.with_suffix("")
    _write_report(_read(result), target)
    typer.echo(f"{target}/report.md")


def _keep(result: dict[str, Any]) -> None:
    """Write down a result so far: a run that is ended early can be continued with ``--resume``."""
    RESULTS.mkdir(exist_ok=True)
    UNFINISHED.write_text(json.dumps(result, default=str))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _write_report(result: dict[str, Any], folder: Path) -> None:
    text, pictures = reports.report(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text)
    for name, picture in pictures.items():
        (folder / name).write_text(picture)


def _print_verdicts(result: dict[str, Any]) -> None:
    for verdict in gates.judge(figures.summary(result)):
        sign = ">=" if verdict.gate.least else "<="
        value = markdown.span(verdict.value) if verdict.value else "not run"
        state = "ok  " if verdict.passed else "FAIL" if verdict.value else "-   "
        typer.echo(f"{state} {verdict.gate.what:<62} {value:<28} gate {sign} {verdict.gate.gate:g}")


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(app())
