import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import (
    ACTIONS_TOPIC,
    MAX_BYTES,
    Reason,
    decode_action,
    decode_bar,
    encode_action,
    encode_bar,
    validate_action,
    validate_bar,
)
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import AssetClass, Bar, CorporateAction, Interval, Status
from streamlake_assets.market.wire import json_schemas
from streamlake_assets_tests.bars import NOW, action, bar, decimals, valid_bars, wire

EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"
SCHEMAS = Path(__file__).parents[2] / "streamlake_assets" / "market" / "schemas"
GOOD = sorted((EXAMPLES / "good").glob("*.json"))
BAD = sorted((EXAMPLES / "bad").glob("*.json"))
# reasons that a schema can see for itself; the rest are rules between fields, exact numbers, or not JSON at all
NOT_IN_SCHEMA = {
    "bad_json", "price_order", "key_mismatch", "event_time_ahead", "bad_price__zero", "bad_price__negative",
    "bad_price__sixteen_digits", "bad_price__eleven_decimals", "bad_price__ten_billion", "bad_price__overflow",
    "bad_price__underflow", "bad_price__endless_exponent", "bad_price__digits_past_28", "bad_volume__index_with_volume",
    "bad_volume__fx_with_volume", "bad_volume__too_large", "bad_volume__megabyte_of_zeros", "bad_time__offset",
    "bad_time__naive", "bad_time__not_midnight", "bad_time__year_1899", "bad_time__year_2200", "bad_time__february_30",
    "bad_time__ex_date", "bad_factor__eleven_decimals", "bad_symbol__duplicate_key", "unknown_version__one_point_zero",
    # the schema of version 0 does not name the field v
    "unknown_version__false", "unknown_version__nought_point_nought",
}  # fmt: skip


def stem(path: Path) -> str:
    return path.stem


def decode(path: Path) -> Bar | CorporateAction:
    data = path.read_bytes()
    read = decode_action if path.name.startswith("corporate_action") else decode_bar
    key = b"BTC-USD" if b"BTC-USD" in data else next((k for k in (b"CL", b"SPX", b"EURUSD") if k in data), b"AAPL")
    return read(data, key, NOW)


def schema_of(path: Path) -> dict[str, Any]:
    return json_schemas()[f"{path.name.split('__')[0]}.json"]


def refusal(value: bytes | None, key: bytes | None = b"AAPL") -> BadRecordError:
    with pytest.raises(BadRecordError) as raised:
        decode_bar(value, key, NOW)
    return raised.value


@pytest.mark.parametrize("path", GOOD, ids=stem)
def test_good_examples_are_accepted_and_keep_to_the_schema(path: Path) -> None:
    decode(path)
    jsonschema.validate(json.loads(path.read_text()), schema_of(path))


@pytest.mark.parametrize("path", BAD, ids=stem)
def test_bad_examples_are_refused_for_the_reason_in_their_name(path: Path) -> None:
    reason = path.stem.split("__")[1]
    with pytest.raises(BadRecordError) as raised:
        decode(path)
    assert raised.value.reason == reason
    assert 0 < len(raised.value.detail) < 2000


@pytest.mark.parametrize("path", BAD, ids=stem)
def test_the_schema_refuses_what_a_schema_can_see(path: Path) -> None:
    _, reason, case = path.stem.split("__")
    seen = {reason, f"{reason}__{case}"}.isdisjoint(NOT_IN_SCHEMA)
    try:
        message = json.loads(path.read_text())
    except json.JSONDecodeError:
        assert reason == "bad_json"
        return
    assert jsonschema.Draft202012Validator(schema_of(path)).is_valid(message) != seen


def test_every_reason_of_a_message_has_a_bad_example() -> None:
    shown = {path.stem.split("__")[1] for path in BAD}
    assert shown == {reason.value for reason in Reason} - {"null_value", "too_large"}


def test_the_schema_files_are_made_from_the_wire_types() -> None:
    files = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    assert files == json_schemas()


def test_everything_stated_arrives() -> None:
    found = decode(EXAMPLES / "good" / "bar.v1__everything.json")
    assert isinstance(found, Bar)
    assert (found.volume, found.vwap, found.trades) == (Decimal("26179000.5"), Decimal("502.0123456789"), 131072)
    assert found.as_of == dt.datetime(2013, 1, 14, 21, microsecond=1, tzinfo=UTC)
    assert (found.currency, found.sector, found.name) == ("USD", "Technology", "Apple Inc. – Ünïcode 苹果")


def test_what_is_not_stated_has_its_default() -> None:
    found = decode(EXAMPLES / "good" / "bar.v1__least.json")
    assert isinstance(found, Bar)
    assert (found.exchange, found.synthetic, found.volume, found.as_of) == ("XXXX", False, None, found.bar_time)


def test_version_0_is_a_settled_daily_stock_bar_without_an_exchange() -> None:
    found = decode(EXAMPLES / "good" / "bar.v0__daily.json")
    assert isinstance(found, Bar)
    assert found.bar_time == found.as_of == dt.datetime(2013, 1, 14, tzinfo=UTC)
    assert (found.exchange, found.asset_class, found.interval) == ("XXXX", AssetClass.STOCK, Interval.D1)
    assert (found.status, found.source, found.event_time) == (Status.SETTLED, "v0", NOW)


def test_an_action_without_as_of_is_stated_at_its_ex_date() -> None:
    found = decode(EXAMPLES / "good" / "corporate_action.v1__split.json")
    assert isinstance(found, CorporateAction)
    assert found.as_of == dt.datetime(2005, 2, 28, 5, tzinfo=UTC)


@given(valid_bars())
def test_any_valid_bar_survives_the_wire(made: Bar) -> None:
    validate_bar(made)
    assert decode_bar(encode_bar(made, made.event_time), made.symbol.encode(), made.event_time) == made


@given(decimals())
def test_any_valid_action_survives_the_wire(factor: Decimal) -> None:
    made = action(factor=factor)
    validate_action(made)
    assert decode_action(encode_action(made, NOW), b"AAPL", NOW) == made


@given(valid_bars())
def test_what_is_encoded_keeps_to_the_schema(made: Bar) -> None:
    jsonschema.validate(json.loads(wire(made)), json_schemas()["bar.v1.json"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["AAPL", "5m", "2013-01-14"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [*json.loads(wire(bar())), "vwap", "trades", "ticker", "timestamp", "kind", "ex_date", "factor", "name"]


@given(st.binary(max_size=400) | JSON.map(json.dumps).map(str.encode), st.sampled_from([decode_bar, decode_action]))
def test_no_bytes_do_worse_than_a_bad_record(value: bytes, read: Any) -> None:
    with pytest.raises(BadRecordError):
        read(value, b"AAPL", NOW)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=4), st.sampled_from(["bar", "v0", "action"]))
def test_no_field_does_worse_than_a_bad_record(changes: dict[str, Any], kind: str) -> None:
    base = {"bar": wire(bar()), "action": wire(action()), "v0": (EXAMPLES / "good/bar.v0__daily.json").read_bytes()}
    read = decode_action if kind == "action" else decode_bar
    try:
        read(json.dumps({**json.loads(base[kind]), **changes}).encode(), b"AAPL", NOW)
    except BadRecordError as error:
        assert error.reason in set(Reason)


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,24})?", fullmatch=True)


@given(NUMBERS, st.sampled_from(["open", "volume", "vwap"]))
def test_any_number_is_exact_and_small_or_refused(text: str, field: str) -> None:
    message = json.loads(wire(bar(open="1", high="9999999999", low="0.0000000001", close="1")))
    message.pop(field, None)
    raw = json.dumps({**message, "asset_class": "commodity", "low": -9999999999, "high": 9999999999})
    try:
        found = decode_bar(f'{raw[:-1]}, "{field}": {text}}}'.encode(), b"AAPL", NOW)
    except BadRecordError:
        return
    value = getattr(found, field)
    assert value == Decimal(text)
    assert len(format(value, "f")) <= 60
    assert value == round(value, 10)


def test_a_message_without_a_value_is_refused() -> None:
    assert refusal(None).reason == Reason.NULL_VALUE


def test_the_longest_message_is_read_and_one_byte_more_is_not() -> None:
    padded = wire(bar())[:-1] + b', "pad": "'
    longest = padded + b"x" * (MAX_BYTES - len(padded) - 2) + b'"}'
    assert decode_bar(longest, b"AAPL", NOW) == bar()
    assert refusal(longest[:-2] + b'x"}').reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("start", "end"), [(b'{"v": 1, "x": ', b"}"), (wire(bar())[:-1] + b', "x": ', b"}"), (b"", b"")]
)
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_deep_nesting_is_refused(start: bytes, end: bytes, left: bytes, right: bytes) -> None:
    deep = 10_000
    assert refusal(start + left * deep + b"1" + right * deep + end).reason in (Reason.BAD_JSON, Reason.BAD_FIELD)


def test_bad_utf_8_in_a_known_field_is_refused() -> None:
    assert refusal(wire(bar(name="n")).replace(b'"n"', b'"\xff"')).reason == Reason.BAD_JSON


@pytest.mark.parametrize("key", [None, b"", b"aapl", b"AAPL ", b"AAPL\0", b"\xff", b"MSFT"])
def test_the_key_must_be_the_symbol(key: bytes | None) -> None:
    assert refusal(wire(bar()), key).reason == Reason.KEY_MISMATCH


@pytest.mark.parametrize(("lead", "accepted"), [(60, True), (60.000001, False), (61, False), (-(10**8), True)])
def test_event_time_may_lead_the_brokers_time_by_sixty_seconds(lead: float, accepted: bool) -> None:
    value = encode_bar(bar(), NOW + dt.timedelta(seconds=lead))
    if accepted:
        assert decode_bar(value, b"AAPL", NOW).event_time == NOW + dt.timedelta(seconds=lead)
    else:
        assert refusal(value).reason == Reason.EVENT_TIME_AHEAD


def test_of_a_field_given_twice_the_last_counts_and_each_must_be_valid() -> None:
    value = wire(bar())
    assert decode_bar(value[:-1] + b', "close": 10.5}', b"AAPL", NOW).close == Decimal("10.5")
    assert refusal(value[:-1] + b', "close": "10.5"}').reason == Reason.BAD_PRICE
    assert refusal(b'{"close": "10.5", ' + value[1:]).reason == Reason.BAD_PRICE


def test_trailing_zeros_do_not_count_as_digits() -> None:
    value = wire(bar()).replace(b'"open":10,', b'"open":10.000000000000000000000000,')
    assert decode_bar(value, b"AAPL", NOW).open == 10


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_numbers_that_never_were_on_a_wire_are_refused_too(text: str) -> None:
    with pytest.raises(BadRecordError, match="not finite"):
        validate_bar(replace(bar(), close=Decimal(text)))
    with pytest.raises(BadRecordError, match="not finite"):
        validate_action(action(factor=Decimal(text)))


def test_an_action_is_no_bar_and_a_bar_no_action() -> None:
    assert refusal(wire(action())).reason == Reason.BAD_FIELD
    with pytest.raises(BadRecordError):
        decode_action(wire(bar()), b"AAPL", NOW)
    assert ACTIONS_TOPIC == "corporate-actions"
