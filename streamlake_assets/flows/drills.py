"""Fault drills on demand: the drill as a process of its own, its report read, judged and put into words.

Belongs here: what the asset ``reports/chaos_drill`` does. Stays out: the drill itself, which is never imported here: it
starts and kills servers, and does so in its own process only.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from streamlake_assets.errors import ServerError
from streamlake_assets.market.quality import Verdict

SELECTION: Final = (1, 2, 20, 29)
"""Rows of the fault matrix: killed in mid-stream, crashed at named points, database killed, replayed from the start."""
COMMAND: Final = (sys.executable, "-m", "streamlake_assets.drill", "run", "--fast")
TIMEOUT_S: Final = 900.0
_GRACE_S: Final = 60.0
_ROOT: Final = Path(__file__).resolve().parents[2]


def run_drill(rows: Sequence[int], command: Sequence[str] = COMMAND, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run a drill on servers of its own; return its report, whatever the verdict.

    Args:
        rows: of the fault matrix.
        command: the program; options for the rows and the file of the report are added.
        timeout_s: after so long it is asked to take its servers down.

    Raises:
        ServerError: it made no report.
    """
    with tempfile.TemporaryDirectory(prefix="streamlake-drill-report-") as folder:
        path = Path(folder) / "report.json"
        argv = [*command, "--only", ",".join(map(str, rows)), "--json", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        process = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            _, said = process.communicate(timeout=timeout_s)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ServerError(f"the drill did not end within {timeout_s:g} s") from error
            raise
        if not path.exists():
            raise ServerError(f"the drill made no report (exit code {process.returncode}): {said.strip()[-800:]}")
        report: dict[str, Any] = json.loads(path.read_text())
        return report


def judge_drill(newest: Sequence[dict[str, Any]]) -> Verdict:
    """Judge the newest drill of a history: nothing lost, nothing twice, every fault injected."""
    if not newest:
        return Verdict(True, "no drill was run yet", {"drills": 0, "lost": 0, "twice": 0, "limit": 0})
    rows = newest[0]["rows"]
    failed = [f"row {row['row']}: {problem}" for row in rows for problem in row["problems"]]
    lost, twice = (sum(row[name] for row in rows) for name in ("lost", "twice"))
    passed = bool(rows) and all(row["verdict"] != "FAILED" for row in rows)
    text = f"{len(rows)} faults, {lost} lost, {twice} twice; {'; '.join(failed) or 'as it must be'}"
    facts = {"made_at": newest[0]["made_at"], "faults": len(rows), "lost": lost, "twice": twice, "limit": 0}
    return Verdict(passed, text, facts)


def history_page(newest: Sequence[dict[str, Any]]) -> str:
    """Return a history as a Markdown table, the newest drill first."""
    lines = [
        "| drill | servers | faults | sent | lost | twice | slowest recovery | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for report in newest:
        rows = report["rows"]
        sent, lost, twice = (sum(row[name] for row in rows) for name in ("sent", "lost", "twice"))
        recovery = max((row["recovery_s"] or 0.0 for row in rows), default=0.0)
        when, servers = report["made_at"][:16].replace("T", " "), "; ".join(report["servers"])
        verdict = "ok" if report["ok"] else "FAILED"
        lines.append(
            f"| {when} | {servers} | {len(rows)} | {sent:,} | {lost} | {twice} | {recovery:.1f} s | {verdict} |"
        )
    return "\n".join(lines)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
