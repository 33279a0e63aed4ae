"""What a drill found, as a table for the terminal, as JSON and as Markdown.

Belongs here: the forms of a report. Stays out: running cases (``runner``).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streamlake_assets.drill.checker import Outcome

_HEADINGS = ("row", "fault", "injected where", "sent", "lost", "twice", "recovery", "verdict")


@dataclass(frozen=True)
class Row:
    """One case with its outcome."""

    row: int
    title: str
    injected: str
    seconds: float
    outcome: Outcome

    @property
    def verdict(self) -> str:
        """``ok``, ``FAILED`` or ``not run``."""
        if self.outcome.not_run:
            return "not run"
        return "ok" if self.outcome.ok else "FAILED"

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of its line."""
        found = self.outcome
        recovery = "" if found.recovery_s is None else f"{found.recovery_s:.1f} s"
        counts = (f"{found.sent:,}", str(found.lost), str(found.twice))
        return (str(self.row), self.title, self.injected, *counts, recovery, self.verdict)


@dataclass(frozen=True)
class Report:
    """A whole drill: when, on what, and what came of every case."""

    made_at: dt.datetime
    fast: bool
    servers: Sequence[str]
    machine: dict[str, Any]
    rows: Sequence[Row] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether there were cases, and every one that could run on this machine passed."""
        return bool(self.rows) and all(row.verdict != "FAILED" for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "made_at": self.made_at.isoformat(),
            "fast": self.fast,
            "ok": self.ok,
            "servers": list(self.servers),
            "machine": self.machine,
            "rows": [
                {
                    "row": row.row,
                    "fault": row.title,
                    "injected": row.injected,
                    "seconds": round(row.seconds, 1),
                    "verdict": row.verdict,
                    **asdict(row.outcome),
                }
                for row in self.rows
            ],
        }

    def table(self) -> str:
        """Return it as lines of equal columns, with the problems below."""
        lines = [_HEADINGS, *(row.cells for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
        texts = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([*texts, *self._remarks("")])

    def markdown(self) -> str:
        """Return it as a page."""
        form = "short" if self.fast else "full"
        lines = [
            "# Fault drill",
            "",
            f"Made on {self.made_at:%Y-%m-%d} in its {form} form: real servers, the consumer as a process of its own.",
            "After every case the tables are held against what was sent, and against an undisturbed run over the same",
            "messages.",
            "",
            f"Servers: {'; '.join(self.servers)}.",
            "",
            f"Machine: {_facts(self.machine)}.",
            "",
            "| " + " | ".join(_HEADINGS) + " |",
            "|" + "---|" * len(_HEADINGS),
            *("| " + " | ".join(row.cells) + " |" for row in self.rows),
        ]
        if remarks := self._remarks("- "):
            lines += ["", *remarks]
        lines += ["", "## Figures of each case", ""]
        for row in self.rows:
            figures = {"took": f"{row.seconds:.0f} s", **row.outcome.facts}
            lines.append(f"- {row.row}, {row.title}: {_facts(figures)}")
        return "\n".join(lines) + "\n"

    def _remarks(self, mark: str) -> list[str]:
        found = []
        for row in self.rows:
            if row.outcome.not_run:
                found.append(f"{mark}row {row.row} was not run: {row.outcome.not_run}")
            found += [f"{mark}row {row.row}: {problem}" for problem in row.outcome.problems]
        return found


def _facts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in facts.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_facts(value)})"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
