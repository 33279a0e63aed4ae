"""The literal writer: the only module that may build SQL out of values.

Typed values become SQL literals in one multi-row statement, because escaping each value through the driver costs
several times the statement itself. That is safe for these types alone, whose text cannot hold a quote: integers, finite
decimals, booleans, UTC times, dates and fixed bytes (written in hexadecimal). Text is refused: it goes through bound
parameters.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from streamlake_assets.market.types import Bar, Status

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
    text = str(value)
    # with an exponent the server would read it as a double; format() alone costs four times as much
    return format(value, "f") if "E" in text else text


def _time(value: dt.datetime) -> str:
    text = value.isoformat(" ")
    if not text.endswith("+00:00"):
        raise ValueError(f"{text} is not UTC")
    return f"'{text[:-6]}'"


# many instruments have a bar of the same minute, and the text of an aware time costs more than a look into a cache; by
# type, or a subclass that is equal to a good time would find its text
_repeated_time = lru_cache(maxsize=4_096, typed=True)(_time)
_repeated_date = lru_cache(maxsize=1_024, typed=True)(dt.date.isoformat)


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


def bar_tail(bar: Bar, session: dt.date, known_from: str, digest: bytes, offset: int) -> str:
    """Return a bar's values as literals, from ``bar_time`` on, in the order of ``fact_tables.BARS.tail``.

    What ``literal`` says of each value, written out: this runs once for every message, and the general way costs five
    times as much.

    Args:
        bar: as decoded.
        session: its session.
        known_from: the broker's time as a literal; many messages share it.
        digest: of its version.
        offset: of its message.
    """
    if not (
        type(bar.open) is type(bar.high) is type(bar.low) is type(bar.close) is Decimal
        and type(bar.bar_time) is type(bar.as_of) is type(bar.event_time) is dt.datetime
        and (type(session) is dt.date and type(digest) is bytes and type(offset) is int)
    ):
        raise TypeError("what is not of exactly the type it must be is never written as a literal")
    bar_time, as_of = _repeated_time(bar.bar_time), _repeated_time(bar.as_of)
    volume = _decimal(bar.volume) if type(bar.volume) is Decimal else literal(bar.volume)
    vwap = _decimal(bar.vwap) if type(bar.vwap) is Decimal else literal(bar.vwap)
    trades = "NULL" if bar.trades is None else literal(bar.trades)
    settled = 2 if bar.status is Status.SETTLED else 1
    return (
        f"{bar_time},'{_repeated_date(session)}',{_decimal(bar.open)},{_decimal(bar.high)},{_decimal(bar.low)},{_decimal(bar.close)},"
        f"{volume},{vwap},{trades},{settled},{1 if bar.synthetic else 0},{as_of},{_time(bar.event_time)},{known_from},"
        f"X'{digest.hex()}',{offset:d}"
    )


def insert(table: str, columns: Sequence[str], rows_text: str, parents_held: bool = False) -> str:
    """Return one multi-row insert of rows that ``prefixed`` or ``rows`` wrote: a row that exists is an error.

    Args:
        table: its name.
        columns: of the rows, in their order.
        rows_text: the rows.
        parents_held: all rows that these point to are there, and locked by this transaction.
    """
    return f"INSERT {_hint(parents_held)}INTO `{table}` ({_names(columns)}) VALUES {rows_text}"  # noqa: S608


def hold_parents(parents: Iterable[tuple[str, Iterable[int]]]) -> str:
    """Return one locking read of rows by their ids: (table, ids); nobody can delete what it returns until the end."""
    return " UNION ALL ".join(
        f"(SELECT id FROM `{table}` WHERE id IN ({','.join(map(literal, ids))}) LOCK IN SHARE MODE)"  # noqa: S608
        for table, ids in parents
    )


def replace_by_key(table: str, columns: Sequence[str], key: Sequence[str], rows_text: str) -> str:
    """Return one multi-row upsert of such rows: all columns but the key are replaced."""
    return insert(table, columns, rows_text) + _on_duplicate(columns, key)


def prefixed(ids: Sequence[int], tails: Sequence[str]) -> str:
    """Return rows that begin with the same ids and go on with their tails."""
    # one join instead of a text for each row: this is the writing thread, which the server waits for
    start = "(" + ",".join(map(literal, ids)) + ","
    return start + f"),{start}".join(tails) + ")"


def lines(ids: Sequence[int], tails: Sequence[str]) -> str:
    """Return such rows as the lines of a file that ``load`` reads."""
    start = ",".join(map(literal, ids)) + ","
    return start + f"\n{start}".join(tails) + "\n"


def staging(table: str, name: str) -> tuple[str, ...]:
    """Return the statements that make an empty staging table with another's columns; none of them commits.

    It lies in the server's memory and has no indexes: its rows are written once and read once.
    """
    return (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS `{name}` ENGINE=MEMORY SELECT * FROM `{table}` LIMIT 0",  # noqa: S608
        f"DELETE FROM `{name}`",  # noqa: S608
    )


def load(name: str, columns: Sequence[str], descriptor: int) -> str:
    """Return the statement that loads the rows of ``lines`` from a file that this process holds open.

    Literals are CSV with single quotes, but for bytes, which are read as text and turned.
    """
    taken = ",".join("@hash" if column == "version_hash" else f"`{column}`" for column in columns)
    return (
        f"LOAD DATA LOCAL INFILE '/proc/self/fd/{descriptor:d}' INTO TABLE `{name}` CHARACTER SET binary "
        r"FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\'' LINES TERMINATED BY '\n' "
        f"({taken}) SET version_hash=UNHEX(SUBSTR(@hash, 3, 32))"
    )


def from_staging(name: str, table: str, columns: Sequence[str], key: Sequence[str], parents_held: bool = False) -> str:
    """Return the statement that moves staged rows into their table; with a key, in the place of those that have it."""
    names = _names(columns)
    statement = f"INSERT {_hint(parents_held)}INTO `{table}` ({names}) SELECT {names} FROM `{name}`"  # noqa: S608
    return statement + _on_duplicate(columns, key) if key else statement


def _hint(parents_held: bool) -> str:
    # for this statement alone; MariaDB takes it for a comment and checks each row
    return "/*+ SET_VAR(foreign_key_checks=OFF) */ " if parents_held else ""


def _on_duplicate(columns: Sequence[str], key: Sequence[str]) -> str:
    # VALUES(c) is the form that both MySQL and MariaDB take
    assignments = ",".join(f"`{column}`=VALUES(`{column}`)" for column in columns if column not in key)
    return f" ON DUPLICATE KEY UPDATE {assignments}"


def insert_with_text(table: str, columns: Sequence[str], values: Iterable[Sequence[Literal]], text_column: str) -> str:
    """Return one multi-row insert whose last column is a bound parameter (``%s``) in each row."""
    text = ",".join("(" + ",".join(map(literal, row)) + ",%s)" for row in values)
    return f"INSERT INTO `{table}` ({_names([*columns, text_column])}) VALUES {text}"  # noqa: S608


def move_offsets(table: str, moves: Iterable[tuple[int, int, int, int]]) -> str:
    """Return one compare-and-set of several offsets: (stream id, partition, expected, next); matched rows tell."""
    cases, wanted = [], []
    for stream, partition, expected, following in moves:
        place = f"stream_id={stream:d} AND partition_no={partition:d}"
        cases.append(f"WHEN {place} THEN {following:d}")
        wanted.append(f"({place} AND next_offset={expected:d})")
    return (
        f"UPDATE `{table}` SET next_offset=CASE {' '.join(cases)} END, updated_at=CURRENT_TIMESTAMP(6) "  # noqa: S608
        f"WHERE {' OR '.join(wanted)}"
    )


def select_by_key(
    table: str, columns: Sequence[str], key: Sequence[str], listed: str, keys: Iterable[Sequence[Literal]]
) -> Iterator[str]:
    """Yield locking reads of the rows that have one of the keys, one statement for each value of the other key columns.

    Both servers turn ``a = 1 AND b = 2 AND t IN (…)`` into look-ups on the primary key; a list of whole keys they may
    scan. The keys are split so that a statement lists at most 1,000.
    """
    for where in _key_lists(key, listed, keys):
        yield f"SELECT {_names(columns)} FROM `{table}` FORCE INDEX (PRIMARY) WHERE {where} FOR UPDATE"  # noqa: S608


def copy_by_key(
    source: str, target: str, columns: Sequence[str], key: Sequence[str], listed: str, keys: Iterable[Sequence[Literal]]
) -> Iterator[str]:
    """Yield copies of the rows that have one of the keys from one table into another of the same columns."""
    names = _names(columns)
    for where in _key_lists(key, listed, keys):
        yield (
            f"INSERT INTO `{target}` ({names}) "  # noqa: S608
            f"SELECT {names} FROM `{source}` FORCE INDEX (PRIMARY) WHERE {where}"
        )


def _key_lists(key: Sequence[str], listed: str, keys: Iterable[Sequence[Literal]]) -> Iterator[str]:
    place = key.index(listed)
    groups: dict[tuple[Literal, ...], list[Literal]] = {}
    for each in keys:
        groups.setdefault((*each[:place], *each[place + 1 :]), []).append(each[place])
    others = [column for column in key if column != listed]
    for fixed, values in groups.items():
        where = " AND ".join(f"`{column}`={literal(value)}" for column, value in zip(others, fixed, strict=True))
        for start in range(0, len(values), 1000):
            wanted = ",".join(map(literal, values[start : start + 1000]))
            yield f"{where} AND `{listed}` IN ({wanted})"


def _names(columns: Sequence[str]) -> str:
    return ",".join(f"`{column}`" for column in columns)
