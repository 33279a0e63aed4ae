"""The literal writer against hostile texts: whatever stands where a typed value belongs, no text of it is written."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from streamlake_assets.drill.injections import INJECTIONS
from streamlake_assets.market.contract import validate_bar
from streamlake_assets.stores.literals import bar_tail, lines, literal, prefixed, rows
from streamlake_assets_tests.bars import NOW, bar

HARM = "1); DROP TABLE bars; --"
TYPED = ("bar_time", "as_of", "event_time", "open", "high", "low", "close", "volume", "vwap", "trades")
SESSION = dt.date(2013, 1, 14)
DIGEST = b"\x00" * 16


class SneakyDecimal(Decimal):
    def __str__(self) -> str:
        return HARM

    def __format__(self, _spec: str, /, _context: Any = None) -> str:
        return HARM


class SneakyTime(dt.datetime):
    def isoformat(self, *_: Any, **__: Any) -> str:
        return f"2013-01-14'{HARM}+00:00"


class SneakyDate(dt.date):
    def __str__(self) -> str:
        return HARM

    def isoformat(self) -> str:
        return HARM


class SneakyInt(int):
    def __str__(self) -> str:
        return HARM

    def __format__(self, _spec: str, /) -> str:
        return HARM


class SneakyBytes(bytes):
    def hex(self, *_: Any, **__: Any) -> str:
        return HARM


SNEAKY = (
    SneakyDecimal(1),
    SneakyTime(2013, 1, 14, tzinfo=dt.UTC),
    SneakyDate(2013, 1, 14),
    SneakyInt(1),
    SneakyBytes(b"a"),
)
NOT_FINITE = [Decimal(text) for text in ("NaN", "-NaN", "sNaN", "NaN123", "Infinity", "-Infinity")]


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_is_a_literal(text: str) -> None:
    for value in (
        text,
        text.encode("utf-16"),
        [text],
        (text,),
        {text},
        {text: 1},
        bytearray(text.encode()),
        memoryview(b"a"),
    ):
        if type(value) is bytes:
            # bytes are written as hexadecimal digits alone
            assert set(literal(value)) <= set("X'0123456789abcdef")
            continue
        with pytest.raises(TypeError, match="never written"):
            literal(value)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="never written"):
            rows([[1, value]])  # type: ignore[list-item]


@pytest.mark.parametrize("value", SNEAKY, ids=lambda value: type(value).__name__)
def test_what_prints_itself_as_something_else_is_no_literal(value: Any) -> None:
    with pytest.raises(TypeError, match="never written"):
        literal(value)
    for write in (prefixed, lines):
        with pytest.raises(TypeError, match="never written"):
            write([value], ["1"])


@pytest.mark.parametrize("value", NOT_FINITE, ids=str)
@pytest.mark.parametrize("field", ["open", "high", "low", "close", "volume", "vwap"])
def test_no_number_that_is_not_finite_is_written(field: str, value: Decimal) -> None:
    with pytest.raises(ValueError, match="not finite"):
        literal(value)
    with pytest.raises(ValueError, match="not finite"):
        bar_tail(replace(bar(), **{field: value}), SESSION, literal(NOW), DIGEST, 1)


@pytest.mark.parametrize("field", TYPED)
@pytest.mark.parametrize("value", [*INJECTIONS[:9], *SNEAKY, 1.5, float("nan"), [1]], ids=repr)
def test_no_field_of_a_bar_brings_a_text_of_its_own(field: str, value: Any) -> None:
    # no decoder makes such a bar; the writer does not rely on it
    try:
        text = bar_tail(replace(bar(), **{field: value}), SESSION, literal(NOW), DIGEST, 1)
    except (TypeError, ValueError, AttributeError):
        return
    assert "DROP" not in text and "--" not in text, text


@pytest.mark.parametrize("place", ["session", "digest", "offset"])
@pytest.mark.parametrize("value", [HARM, *SNEAKY], ids=repr)
def test_nothing_beside_a_bar_brings_a_text_of_its_own(place: str, value: Any) -> None:
    given: dict[str, Any] = {"session": SESSION, "digest": DIGEST, "offset": 1, place: value}
    try:
        text = bar_tail(bar(), given["session"], literal(NOW), given["digest"], given["offset"])
    except (TypeError, ValueError, AttributeError):
        return
    assert "DROP" not in text, text


def test_a_bar_that_was_validated_can_be_written() -> None:
    validate_bar(bar())
    assert bar_tail(bar(), SESSION, literal(NOW), DIGEST, 1).count(",") == 15
