"""The literal writer: the only module that may build SQL out of values.

Typed values become SQL literals in one multi-row statement, because escaping each value through the driver costs
several times the statement itself. That is safe for these types alone, whose text cannot hold a quote: integers, finite
decimals, booleans, UTC times, dates and fixed bytes (written in hexadecimal). Text is refused: it goes through bound
parameters.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

Literal = int | bool | Decimal | dt.datetime | dt.date | bytes | None


def literal(value: Literal) -> str:
    """Return one typed value as SQL text.

    Raises:
        TypeError: the type is not one of the safe ones.
        ValueError: the number is not finite or the time is not UTC.
    """
    write = _WRITERS.get(type(value))
    if write is None:
        raise TypeError(f"{type(value).__name__} is never written as a literal")
    return write(value)


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is not finite")
    return format(value, "f")


def _time(value: dt.datetime) -> str:
    text = value.isoformat(" ")
    if not text.endswith("+00:00"):
        raise ValueError(f"{text} is not UTC")
    return f"'{text[:-6]}'"


# by exact type: a subclass of str or of a number could print itself as anything
_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "NULL",
    bool: lambda value: "1" if value else "0",
    int: str,
    Decimal: _decimal,
    dt.datetime: _time,
    dt.date: lambda value: f"'{value.isoformat()}'",
    bytes: lambda value: f"X'{value.hex()}'",
}


def rows(values: Iterable[Sequence[Literal]]) -> str:
    """Return typed rows as the text after VALUES."""
    return ",".join(["(" + ",".join(map(literal, row)) + ")" for row in values])


def upsert(table: str, columns: Sequence[str], values: Iterable[Sequence[Literal]], update: Sequence[str]) -> str:
    """Return one multi-row upsert; ``table``, ``columns`` and ``update`` are names from the schema, never input.

    With nothing to update, a row that exists is left alone. ``VALUES(c)`` is the form that both MySQL and MariaDB take.
    """
    names = ",".join(f"`{column}`" for column in columns)
    assignments = ",".join(f"`{column}`=VALUES(`{column}`)" for column in update) or f"`{columns[0]}`=`{columns[0]}`"
    return f"INSERT INTO `{table}` ({names}) VALUES {rows(values)} ON DUPLICATE KEY UPDATE {assignments}"  # noqa: S608


def select_by_key(
    table: str, columns: Sequence[str], key: Sequence[str], listed: str, keys: Iterable[Sequence[Literal]]
) -> Iterator[str]:
    """Yield locking reads of the rows that have one of the keys, one statement for each value of the other key columns.

    Both servers turn ``a = 1 AND b = 2 AND t IN (…)`` into look-ups on the primary key; a list of whole keys they may
    scan. The keys are split so that a statement lists at most 1,000.
    """
    place = key.index(listed)
    groups: dict[tuple[Literal, ...], list[Literal]] = {}
    for each in keys:
        groups.setdefault((*each[:place], *each[place + 1 :]), []).append(each[place])
    others = [column for column in key if column != listed]
    names = ",".join(f"`{column}`" for column in columns)
    for fixed, values in groups.items():
        where = " AND ".join(f"`{column}`={literal(value)}" for column, value in zip(others, fixed, strict=True))
        for start in range(0, len(values), 1000):
            wanted = ",".join(map(literal, values[start : start + 1000]))
            yield (
                f"SELECT {names} FROM `{table}` FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE {where} AND `{listed}` IN ({wanted}) FOR UPDATE"
            )
