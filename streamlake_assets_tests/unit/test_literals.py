import datetime as dt
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.stores.literals import literal, rows, select_by_key, upsert
from streamlake_assets_tests.bars import NOW


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


def test_an_upsert_is_one_statement_and_replaces_what_it_is_told_to() -> None:
    made = upsert("bars", ["a", "b"], [(1, None), (2, True)], ["b"])
    assert made == "INSERT INTO `bars` (`a`,`b`) VALUES (1,NULL),(2,1) ON DUPLICATE KEY UPDATE `b`=VALUES(`b`)"


def test_an_upsert_with_nothing_to_replace_leaves_the_row_alone() -> None:
    assert upsert("bars", ["a", "b"], [(1, 2)], []).endswith("ON DUPLICATE KEY UPDATE `a`=`a`")


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
