"""Running cases in turns: every round runs each of them once, so that a slow minute slows all of them.

Belongs here: the order, the warm-up round, what is kept of a run. Stays out: the cases. A run whose tables are wrong
ends everything; a case that cannot be had is reported with its reason and left out.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks.cases.base import Case, NotRunError, Run
from benchmarks.rig import Rig


def interleave(rig: Rig, cases: Sequence[Case], rounds: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Run one warm-up and ``rounds`` rounds; return the runs in their order, and why a case did not run.

    Raises:
        WrongRunError: the tables did not hold what was sent.
    """
    runs: list[dict[str, Any]] = []
    not_run: dict[str, str] = {}
    able: list[Case] = []
    try:
        for case in cases:
            try:
                case.setup(rig)
                able.append(case)
            except NotRunError as error:
                not_run[case.name] = str(error)
                rig.say(f"{case.name}: not run: {error}")
        for number in range(rounds + 1):
            for case in able:
                run = case.run(rig)
                case.check(rig)
                runs.append(record(case.name, number, run, rig))
                rig.say(line(runs[-1]))
    finally:
        for case in cases:
            case.close()
    return runs, not_run


def record(case: str, number: int, run: Run, rig: Rig) -> dict[str, Any]:
    """Return a run as it stands in the result; round 0 is the warm-up."""
    return {
        "case": case,
        "round": number,
        "partitions": rig.partitions,
        "rows": run.rows,
        "seconds": round(run.seconds, 4),
        "rate": round(run.rate, 1),
        "whole_s": run.whole_s,
        "cpu_s": run.cpu_s,
        "peak_mib": run.peak_mib,
        "busy_before_percent": rig.busy,
        **run.extra,
    }


def line(run: dict[str, Any]) -> str:
    """Return one run as a line of progress."""
    spent = ", ".join(f"{side} {seconds:.2f}" for side, seconds in run["cpu_s"].items())
    when = f"round {run['round']}" if run["round"] else "warm-up"
    what = f"{run['rate']:>9,.0f} rows/s ({run['rows']:,} in {run['seconds']:.2f} s; CPU s: {spent})"
    return f"{run['case']:<16} {when}: {what}"
