"""One measurement of the training benchmark in words: what is wanted, what came of it, what it failed by.

Belongs here: sentences and lines for the log and the records. Stays out: measuring (``benchmark_run``), tables.
"""

from collections.abc import Mapping
from typing import Any, Final

from streamlake_assets.flows.benchmark_findings import TRIAL
from streamlake_assets.flows.benchmark_plan import Measure
from streamlake_assets.learning import timing

_OUT_OF_MEMORY: Final = ("OutOfMemoryError", "MemoryError", "exit code 3)", "Cannot allocate memory")
"""What says that memory was short; 3 is how a JVM told to exit on that error ends."""


def failure(result: timing.Timing, stopped_by: str, phase: str, wanted: Measure, seconds: float) -> tuple[str, str]:
    """Return what a measurement failed by (empty: it did not), and a sentence."""
    if stopped_by == "memory":
        return "memory", f"killed in phase {phase}: more than {wanted.cap_mib:,} MiB"
    if stopped_by == "time":
        return "time", f"ended in phase {phase}: more than {seconds:g} s"
    if not result.error:
        return "", ""
    short = any(word in result.error for word in _OUT_OF_MEMORY)
    return ("memory" if short else "error"), f"in phase {phase}: {result.error}"


def what(wanted: Measure) -> str:
    """Return what is measured, in a few words."""
    parts = [f"{wanted.contestant.key} on {wanted.rows:,} rows of {wanted.features}, {wanted.cores} cores"]
    parts += [f"{wanted.pairs} pairs"] if wanted.pairs else []
    parts += [f"under {wanted.cap_mib} MiB"] if wanted.cap_mib else []
    parts += [f"round {wanted.round + 1}"] if wanted.round not in (0, TRIAL) else []
    return ", ".join(parts)


def line(record: Mapping[str, Any]) -> str:
    """Return a record as one line."""
    size = f"{record['key']} {record['rows']:,} x {record['features']}, {record['cores']} cores"
    if record["cap_mib"]:
        size += f", cap {record['cap_mib']} MiB"
    if record["round"] == TRIAL:
        size += f", heap {record['heap_mib']} MiB"
    if record["failed"]:
        return f"{size}: {record['failed']}, {record['reason']}"
    if record["pairs"]:
        return f"{size}: runner {min(record['ours']):.3f} s, bare {min(record['bare']):.3f} s at best"
    return (
        f"{size}: {record['total_s']:.2f} s in all, fit {record['seconds']['fit_cold']:.2f} s, "
        f"peak {record['peak_mib']:.0f} MiB, R² {record['r2']:.3f}"
    )


def last_line(log: str) -> str:
    """Return the last line of a log that says something."""
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")[:300]
