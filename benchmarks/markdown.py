"""Numbers and tables as a reader of a report wants them.

Belongs here: writing down values that somebody else computed. Stays out: which values stand in a report (``report``,
``asked_report``).
"""

from collections.abc import Iterable, Sequence

from benchmarks.figures import Figure


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, all others are right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def number(value: float) -> str:
    """Return a number as a reader wants it: three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def span(value: Figure) -> str:
    """Return a figure with the range of its rounds."""
    if value.rounds == 1:
        return number(value.median)
    return f"{number(value.median)} ({number(value.least)} to {number(value.greatest)})"
