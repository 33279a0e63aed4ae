import datetime as dt
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamlake_assets.market.types import Bar, Status
from streamlake_assets.stores.literals import (
    bar_tail,
    insert,
    lines,
    literal,
    prefixed,
    replace_by_key,
    rows,
    select_by_key,
)
from streamlake_assets_tests.bars import NOW, bar, valid_bars


class Sneaky(int):
    def __str__(self) -> str:
        return "1); DROP TABLE bars; --"


class Word(StrEnum):
    A = "a"


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value", ["text", "", Word.A, Sneaky(1), Number.ONE, 1.5, float("nan"), [1], dt.time(), b"".join]
)
def test_what_is_not_a_safe_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="never written"):
        literal(value)


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_decimal_that_is_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not finite"):
        literal(Decimal(text))


@pytest.mark.parametrize("zone", [None, dt.timezone(dt.timedelta(hours=-5)), dt.timezone(dt.timedelta(seconds=1))])
def test_a_time_that_is_not_utc_is_refused(zone: dt.timezone | None) -> None:
    with pytest.raises(ValueError, match="not UTC"):
        literal(NOW.replace(tzinfo=zone))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "1"),
        (False, "0"),
        (-7, "-7"),
        (Decimal("1E+5"), "100000"),
        (Decimal("-1E-10"), "-0.0000000001"),
        (Decimal("1.50"), "1.50"),
        (NOW, "'2024-01-02 12:00:00'"),
        (NOW.replace(microsecond=1), "'2024-01-02 12:00:00.000001'"),
        (dt.date(2013, 1, 14), "'2013-01-14'"),
        (b"\x00'\\", "X'00275c'"),
        (b"", "X''"),
    ],
)
def test_typed_values_have_one_text(value: Any, text: str) -> None:
    assert literal(value) == text


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=10)
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.dates()
    | st.binary(max_size=40)
)


@given(st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=1, max_size=5))
def test_no_value_can_leave_its_place(table: list[list[Any]]) -> None:
    text = rows(table)
    quoted = text.split("'")
    assert len(quoted) % 2 == 1
    assert "\\" not in text and ";" not in text and "--" not in text and "%" not in text
    assert text.count("(") == text.count(")") == len(table)
    assert sum(part.count(",") for part in quoted[::2]) == sum(len(row) for row in table) - 1


def test_rows_of_the_same_ids_share_them_and_replace_all_but_the_key() -> None:
    text = prefixed((1, 2), ["3,NULL", "4,1"])
    assert text == "(1,2,3,NULL),(1,2,4,1)"
    assert insert("bars", ["a", "b"], text) == "INSERT INTO `bars` (`a`,`b`) VALUES (1,2,3,NULL),(1,2,4,1)"
    made = replace_by_key("bars", ["a", "b"], ["a"], text)
    assert made.endswith(" VALUES (1,2,3,NULL),(1,2,4,1) ON DUPLICATE KEY UPDATE `b`=VALUES(`b`)")


@pytest.mark.parametrize("ids", [("1",), (1.5,), (Sneaky(1),)])
def test_ids_are_integers_and_nothing_else(ids: Any) -> None:
    with pytest.raises(TypeError, match="never written"):
        prefixed(ids, ["1"])
    with pytest.raises(TypeError, match="never written"):
        lines(ids, ["1"])


@given(valid_bars())
def test_a_bars_tail_is_each_of_its_values_as_the_general_way_writes_it(made: Bar) -> None:
    session, digest = made.bar_time.date(), b"\x00" * 16
    status = 2 if made.status is Status.SETTLED else 1
    values = (
        *(made.bar_time, session, made.open, made.high, made.low, made.close, made.volume, made.vwap, made.trades),
        *(status, made.synthetic, made.as_of, made.event_time, NOW, digest, 7),
    )
    assert bar_tail(made, session, literal(NOW), digest, 7) == ",".join(map(literal, values))


@pytest.mark.parametrize("change", [{"volume": Decimal("NaN")}, {"open": Decimal("Infinity")}])
def test_a_bars_tail_refuses_what_is_not_finite(change: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        bar_tail(replace(bar(), **change), NOW.date(), literal(NOW), b"", 0)


def test_a_bars_tail_refuses_a_count_that_prints_itself() -> None:
    with pytest.raises(TypeError, match="never written"):
        bar_tail(replace(bar(), trades=Sneaky(1)), NOW.date(), literal(NOW), b"", 0)


def test_keys_are_looked_up_by_the_listed_column_at_most_a_thousand_at_a_time() -> None:
    keys = [(1, 6, NOW + dt.timedelta(days=n)) for n in range(1001)] + [(2, 6, NOW)]
    made = list(select_by_key("bars", ["close"], ["instrument_id", "interval_id", "bar_time"], "bar_time", keys))
    assert [statement.count("2024-") + statement.count("2025-") + statement.count("2026-") for statement in made] == [
        1000,
        1,
        1,
    ]
    assert all("`interval_id`=6 AND `bar_time` IN (" in statement for statement in made)
    assert all(statement.endswith(" FOR UPDATE") for statement in made)
