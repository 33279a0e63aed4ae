"""Measures of instruments, sectors and classes over one period, as lines of a table; arrays in, records out.

Belongs here: which series make a group, which periods there are, how a line reads as cells, where two tables differ.
Stays out: the measures (``market.measures``), reading series (``readers``), widgets, files (``export``).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from streamlake_assets.market.period_lines import IndicatorLine


class Column(msgspec.Struct, frozen=True):
    """A column: its heading, what it means, how a value is read off a line and how it is written."""

    name: str
    meaning: str
    value: Callable[[IndicatorLine], Any]
    text: Callable[[Any], str]


def percent(value: Any) -> str:
    """Return a share in per cent with sign."""
    return f"{value:+.2%}"


def plain_percent(value: Any) -> str:
    """Return a share in per cent."""
    return f"{value:.2%}"


def share_there(value: Any) -> str:
    """Return a share of what should be there, in per cent: rounding never makes it all."""
    return plain_percent(min(value, 0.9999) if value < 1 else value)


def amount(value: Any) -> str:
    """Return an amount of money, large ones in millions or billions."""
    for size, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:,.2f}{unit}"
    return f"{value:,.0f}"


def _day(value: Any) -> str:
    day, share = value
    return f"{share:+.2%} on {day.isoformat()}"


COLUMNS: Final = (
    Column("of", "instruments measured together", lambda line: line.members, str),
    Column("sessions", "session bars in the period", lambda line: line.measures.sessions, "{:,}".format),
    Column(
        "completeness",
        "share of the sessions of the exchange's calendar that have a bar, from the instrument's first session to the "
        "newest settled session of its exchange, as far as they lie in the period; a bar on another day does not count",
        lambda line: line.completeness,
        share_there,
    ),
    Column("return", "adjusted return over the period", lambda line: line.measures.period_return, percent),
    Column(
        "volatility",
        "standard deviation of log returns, by the year",
        lambda line: line.measures.annualised_volatility,
        plain_percent,
    ),
    Column("drawdown", "deepest fall from a high", lambda line: line.measures.max_drawdown, plain_percent),
    Column("dollar volume", "close times volume, summed", lambda line: line.measures.dollar_volume, amount),
    Column("VWAP", "volume-weighted typical price, raw", lambda line: line.measures.vwap, "{:,.2f}".format),
    Column("beta", "to the equal-weight index of all", lambda line: line.measures.beta, "{:.2f}".format),
    Column("correlation", "with that index", lambda line: line.measures.correlation, "{:.2f}".format),
    Column("best session", "highest return", lambda line: line.measures.best, _day),
    Column("worst session", "lowest return", lambda line: line.measures.worst, _day),
)


def cells(line: IndicatorLine) -> list[str]:
    """Return a line as texts, one for each column; what is undefined is a dash."""
    return [line.subject, *("–" if (value := column.value(line)) is None else column.text(value) for column in COLUMNS)]


def records(lines: Iterable[IndicatorLine], period: str) -> tuple[list[str], list[list[Any]]]:
    """Return heading and rows for a file: numbers as numbers, shares as fractions, undefined as None."""
    head = ["subject", "period", *(column.name.replace(" ", "_") for column in COLUMNS[:-2])]
    head += ["best_session", "best_return", "worst_session", "worst_return"]
    rows = []
    for line in lines:
        ends: list[Any] = []
        for end in (line.measures.best, line.measures.worst):
            ends += [None, None] if end is None else [end[0].isoformat(), end[1]]
        rows.append([line.subject, period, *(column.value(line) for column in COLUMNS[:-2]), *ends])
    return head, rows


def differences(one: Sequence[IndicatorLine], other: Sequence[IndicatorLine], tolerance: float = 1e-9) -> list[str]:
    """Return where two tables of the same period differ, as short sentences; numbers are equal within a relative bound.

    Sums run in another order where rows come in other pieces, so the last bits may differ.
    """
    left, right = ({line.subject: line for line in lines} for lines in (one, other))
    found = [f"{subject}: in one table only" for subject in sorted(left.keys() ^ right.keys())]
    for subject in sorted(left.keys() & right.keys()):
        a, b = records([left[subject]], "")[1][0], records([right[subject]], "")[1][0]
        names = records([left[subject]], "")[0]
        found += [f"{subject}: {name}" for name, x, y in zip(names, a, b, strict=True) if not _same(x, y, tolerance)]
    return found


def _same(x: Any, y: Any, tolerance: float) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance)
    return bool(x == y)
