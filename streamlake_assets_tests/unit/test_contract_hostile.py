"""The decoder against messages that mean harm, and against a second opinion on what the contract says."""

import datetime as dt
import json
import re
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlake_assets.drill.drafts import Draft, action_draft, bar_draft, flat_draft
from streamlake_assets.drill.family import Hostile, Sketch
from streamlake_assets.drill.hostile import FAMILIES, hostile
from streamlake_assets.drill.hostile_fields import (
    BAD_DATES,
    BAD_SYMBOLS,
    BAD_WORDS,
    IMPOSSIBLE,
    NO_NUMBER,
    NO_TEXT,
    TOO_BIG,
    TOO_FINE,
)
from streamlake_assets.drill.injections import INJECTIONS
from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import ACTIONS_TOPIC, Reason, decode_action, decode_bar
from streamlake_assets.market.types import Bar, CorporateAction
from streamlake_assets_tests.bars import NOW, action, bar, valid_bars, wire
from streamlake_assets_tests.unit.contract_oracle import differences, judge

REASONS = set(Reason)
LONGEST_DETAIL = 512
LONGEST_ECHO = 80
DRAFTS = {"bar": bar_draft, "v0": flat_draft, "action": action_draft}
FLAT = b'{"ticker":"AAPL","timestamp":1358121600000,"volume":1,"close":1.5,"open":1,"high":2,"low":1}'
EXAMPLES = {"bar": wire(bar(name="n")), "v0": FLAT, "action": wire(action())}


def read(topic: str, value: bytes | None, key: bytes | None, now: dt.datetime = NOW) -> Bar | CorporateAction:
    return (decode_action if topic in (ACTIONS_TOPIC, "action") else decode_bar)(value, key, now)


def refusal(one: Hostile) -> BadRecordError:
    """Decode a hostile message; whatever is not a refusal fails the test, with the message in sight."""
    try:
        fact = read(one.topic, one.value, one.key)
    except BadRecordError as error:
        return error
    raise AssertionError(f"{one.family}: {one.value!r:.500} with key {one.key!r:.60} was read as {fact}")


def longest_echo(detail: str, payload: bytes) -> int:
    """Length of the longest part of a detail that stands in the payload, as far as it passes the limit."""
    text = payload.decode("utf-8", "replace")
    room = LONGEST_ECHO + 1
    windows = (detail[at : at + room] for at in range(len(detail) - room + 1))
    return max((len(window) for window in windows if window in text), default=0)


@pytest.mark.parametrize("kind", DRAFTS)
def test_what_is_made_wrong_was_right_before(kind: str) -> None:
    rng = Random(7)
    for _ in range(1000):
        draft = DRAFTS[kind](rng, NOW)
        fact = read(draft.topic, draft.value(), draft.key)
        assert judge(draft.value(), draft.key, NOW, kind == "action").wrong == []
        assert differences(draft.value(), fact, NOW) == []


def test_the_same_seed_gives_the_same_messages_and_every_family_is_among_them() -> None:
    made = list(hostile(len(FAMILIES), 3, NOW))
    assert made == list(hostile(len(FAMILIES), 3, NOW))
    assert made != list(hostile(len(FAMILIES), 4, NOW))
    assert {one.family for one in made} == set(FAMILIES)
    assert {reason for one in made for reason in one.reasons} <= REASONS
    assert REASONS - {reason for family in FAMILIES.values() for reason in family.reasons} <= {"bad_symbol", "bad_time"}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_refused_for_its_reason(name: str) -> None:
    family = FAMILIES[name]
    sketch = Sketch(Random(name), NOW)
    for _ in range(8 if family.weight < 5 else 60):
        one = family.draw(sketch)
        reason = refusal(one).reason
        assert reason in (one.reasons or REASONS), f"{reason}: {one.key!r:.60} {one.value!r:.500}"


@pytest.mark.parametrize("seed", [1, 20, 300, 4000])
def test_of_thousands_of_hostile_messages_none_gets_in_and_no_refusal_repeats_them(seed: int) -> None:
    count = 5000
    reasons: Counter[str] = Counter()
    for one in hostile(count, seed, NOW):
        error = refusal(one)
        reasons[error.reason] += 1
        assert error.reason in REASONS
        assert 0 < len(error.detail) <= LONGEST_DETAIL, f"{one.family}: {error.detail:.300}"
        assert error.detail.encode()
        for part in (one.value or b"", one.key or b""):
            if len(error.detail) > LONGEST_ECHO:
                assert longest_echo(error.detail, part) <= LONGEST_ECHO, f"{one.family}: {error.detail:.300}"
    assert reasons.total() == count
    assert set(reasons) == REASONS, "every reason is met"


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_message_that_is_cut_at_any_byte_is_not_json(kind: str) -> None:
    value = EXAMPLES[kind]
    read(kind, value, b"AAPL")
    for size in range(len(value)):
        with pytest.raises(BadRecordError) as raised:
            read(kind, value[:size], b"AAPL")
        assert raised.value.reason == Reason.BAD_JSON, value[:size]


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_at_no_depth_of_an_unknown_field_is_there_another_error(kind: str, left: str, right: str) -> None:
    # where one recursive read just fits, the next one of the same bytes may not
    outcomes: Counter[str] = Counter()
    for deep in (*range(1, 100), *range(900, 1100), 5_000, 10_000):
        value = EXAMPLES[kind][:-1] + f',"x":{left * deep}1{right * deep}}}'.encode()
        outcomes[judgement(kind, value)] += 1
    assert set(outcomes) <= {"accepted", Reason.BAD_JSON, Reason.TOO_LARGE}
    assert outcomes["accepted"] >= 8, "some depth is nothing to worry about"
    assert outcomes[Reason.BAD_JSON] >= 2


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_judgement_does_not_depend_on_who_asks(kind: str) -> None:
    # a rebuild, run from another place, must judge as the consumer did
    def from_below(value: bytes, frames: int) -> str:
        return judgement(kind, value) if frames == 0 else from_below(value, frames - 1)

    for deep in range(50, 1000, 50):
        value = EXAMPLES[kind][:-1] + b',"x":' + b"[" * deep + b"]" * deep + b"}"
        assert from_below(value, 0) == from_below(value, 300), f"{deep} levels"


def judgement(kind: str, value: bytes, key: bytes = b"AAPL") -> str:
    try:
        read(kind, value, key)
    except BadRecordError as error:
        return error.reason
    return "accepted"


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("name", ["symbol", "ticker", "source", "exchange", "name", "kind", "ex_date", "bar_time", "v"])
def test_bad_utf_8_in_any_text_is_no_worse_than_a_bad_record(kind: str, name: str) -> None:
    for put in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        value = EXAMPLES[kind][:-1] + f',"{name}":"A'.encode() + put + b'"}'
        assert judgement(kind, value) in {*REASONS, "accepted"}


# --- against the second opinion -------------------------------------------------------------------------------------

NUMBERS = ("9999999999", "9999999999.9999", "9999999999.99999", "0.0000000001", "1e-10", "1.5e-10", "123456.789012345",
           "1234567.89012345", "0.123456789012345", "999999999999999", "1e9", "1E+9", "9.99999999999999e9",
           "9.999999999999999e9",
           "0", "-0", "0.0", "-1", "10.10", "10.0", "100e-1", "0.1e2", "1e17", "999999999999999e2",
           "999999999999999000",
           "1000", "50", "1", "10", "12", "9", "0e5", "1358121600000", "7258118399999",
           "9223372036854775807")  # fmt: skip
TIMES = ("2013-01-14T05:00:00Z", "2013-01-14T00:00:00Z", "2013-01-14T05:00:00+00:00", "2013-01-14T05:00:00.000001Z",
         "2013-07-15T04:00:00Z", "1900-01-01T00:00:00Z", "2199-12-31T00:00:00Z", "2024-01-02T12:01:00Z",
         "2016-02-29T05:00:00Z",
         "2024-01-02T12:01:00.000001Z", "2013-01-14T05:00:00.123456Z", "2013-01-14T05:00:00-00:00",
         "2013-01-14t05:00:00z",
         "2013-01-14T05:00:00.1234567Z", "2024-02-29", "1900-01-01", "2199-12-31", "2100-02-29")  # fmt: skip
WORDS = ("AAPL", "BRK.B", "A" * 16, "0", "XNYS", "XXXX", "ZZ99", "XTKS", "XLON", "stock", "crypto", "commodity",
    "index", "fx", "1m",
         "5m", "1d", "settled", "provisional", "split", "dividend", "made", "a" * 64, "USD", "BITCOIN", "n" * 128,
         "😀" * 128, "\u0000",
         "苹果", " ", "'; DROP TABLE bars; --")  # fmt: skip
INTERESTING = [
    *NUMBERS, *TOO_BIG, *TOO_FINE, *NO_TEXT, *NO_NUMBER, "true", "false", "null", "2", "NaN", "-Infinity", "01", "1.",
    *[json.dumps(text) for text in (*TIMES, *WORDS, *IMPOSSIBLE, *BAD_DATES, *BAD_SYMBOLS, *INJECTIONS)],
    *[json.dumps(text, ensure_ascii=False) for words in BAD_WORDS.values() for text in words],
]  # fmt: skip
FIELDS = ("v", "symbol", "exchange", "asset_class", "interval", "bar_time", "open", "high", "low", "close",
    "volume", "vwap",
          "trades", "source", "synthetic", "status", "event_time", "as_of", "currency", "sector", "name", "ticker",
          "timestamp",
          "kind", "ex_date", "factor", "unknown")  # fmt: skip


def compare(kind: str, value: bytes, key: bytes | None) -> bool:
    """Decode, and hold what comes of it against the second opinion; tell whether the message was accepted."""
    verdict = judge(value, key, NOW, kind == "action")
    try:
        fact = read(kind, value, key)
    except BadRecordError as error:
        assert error.reason in REASONS
        assert verdict.wrong or verdict.open, f"{error} for {value!r:.600}, where nothing is wrong"
        return False
    assert verdict.wrong == [], f"{value!r:.600} was read as {fact}"
    assert differences(value, fact, NOW) == []
    return True


def key_of(draft: Draft) -> bytes:
    """The key that fits the symbol a message has now, so that it is not the key alone that is wrong."""
    text = draft.fields.get("ticker" if "timestamp" in draft.fields else "symbol", "0")
    try:
        symbol = json.loads(text)
    except ValueError:
        return draft.key
    return symbol.encode("utf-8", "replace") if isinstance(symbol, str) else draft.key


@pytest.mark.parametrize("kind", DRAFTS)
def test_with_one_field_replaced_decoder_and_second_opinion_agree(kind: str) -> None:
    rng = Random(11)
    outcomes: Counter[bool] = Counter()
    for _ in range(4000):
        draft = DRAFTS[kind](rng, NOW)
        name = rng.choice(list(draft.fields)) if rng.random() < 0.9 else rng.choice(FIELDS)
        draft = draft.but({name: rng.choice(INTERESTING)})
        outcomes[compare(kind, draft.value(), key_of(draft))] += 1
    assert min(outcomes[True], outcomes[False]) > 200, "both happen"


NUMBER_TEXTS = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,24})?", fullmatch=True)
LEAVES = st.sampled_from(INTERESTING) | NUMBER_TEXTS | st.text().map(json.dumps)
JSON_TEXTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.dictionaries(
            st.text(max_size=9).map(json.dumps) | st.sampled_from(FIELDS).map(json.dumps), inner, max_size=4
        ).map(lambda parts: "{" + ",".join(f"{name}:{text}" for name, text in parts.items()) + "}")
    ),
    max_leaves=6,
)


@st.composite
def drafts(draw: st.DrawFn, kind: str) -> Draft:
    return DRAFTS[kind](Random(draw(st.integers(0, 2**16))), NOW)


@pytest.mark.parametrize("kind", DRAFTS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_with_one_field_of_any_json_decoder_and_second_opinion_agree(kind: str, data: st.DataObject) -> None:
    draft = data.draw(drafts(kind))
    name = data.draw(st.sampled_from(sorted(draft.fields)) | st.sampled_from(FIELDS))
    draft = draft.but({name: data.draw(JSON_TEXTS)})
    compare(kind, draft.value(), key_of(draft))


@given(st.sampled_from(list(DRAFTS)), JSON_TEXTS)
def test_no_json_does_worse_than_a_bad_record(kind: str, text: str) -> None:
    assert judgement(kind, text.encode("utf-8", "surrogatepass")) in REASONS


@given(st.sampled_from(list(DRAFTS)), st.binary(max_size=600))
def test_no_bytes_do_worse_than_a_bad_record(kind: str, value: bytes) -> None:
    assert judgement(kind, value) in REASONS


@settings(max_examples=100)
@given(st.sampled_from(list(EXAMPLES)), st.data())
def test_no_damage_to_a_message_does_worse_than_a_bad_record(kind: str, data: st.DataObject) -> None:
    value = bytearray(EXAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    compare_damaged(kind, bytes(value))


def compare_damaged(kind: str, value: bytes) -> None:
    try:
        value.decode()
    except UnicodeDecodeError:
        # in a text that nobody asks for, other bytes are not looked at
        assert judgement(kind, value) in {*REASONS, "accepted"}
    else:
        compare(kind, value, b"AAPL")


# --- other spellings of the same --------------------------------------------------------------------------------------


JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def spellings(number: Decimal) -> list[str]:
    """Some of the ways JSON can write one number in at most 40 digits."""
    plain = format(number, "f")
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    whole = "".join(map(str, digits))
    minus = "-" if sign else ""
    made = [plain, f"{plain}{'' if '.' in plain else '.'}000", f"{minus}{whole}e{exponent}",
        f"{minus}{whole}E{exponent:+d}",
            f"{minus}{whole}0e{exponent - 1}",
            f"{minus}{whole[0]}.{whole[1:] or '0'}e{exponent + len(whole) - 1:+03d}",
            f"{minus}0.{whole}e{exponent + len(whole)}"]  # fmt: skip
    return [text for text in made if JSON_NUMBER.fullmatch(text) and Decimal(text) == number]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(valid_bars(), st.randoms(use_true_random=False))
def test_however_a_bar_is_spelled_it_is_the_same_bar(made: Bar, chance: Random) -> None:
    fields: dict[str, Any] = {"v": "1", "unknown": '{"open": [1e400, {"close": "x"}]}', "": "null"}
    plain = json.loads(wire(made))
    for name, value in plain.items():
        number = getattr(made, name, None)
        if isinstance(number, Decimal):
            fields[name] = chance.choice(spellings(number))
        elif isinstance(value, str) and chance.random() < 0.5:
            units = value.encode("utf-16-be")
            fields[name] = (
                '"' + "".join(f"\\u{units[at] * 256 + units[at + 1]:04x}" for at in range(0, len(units), 2)) + '"'
            )
        else:
            fields[name] = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    names = list(fields)
    chance.shuffle(names)
    space = chance.choice(["", " ", "\n", "\t\r\n  "])
    text = f"{space},{space}".join(f'"{name}"{space}:{space}{fields[name]}' for name in names)
    value = f"{space}{{{space}{text}{space}}}{space}".encode()
    assert decode_bar(value, made.symbol.encode(), made.event_time) == made


@pytest.mark.parametrize(
    "text", [*NUMBERS, "0.1", "0.2", "0.30000000000000", "1.1", "2.675", "9007199254740993", "4.35", "1e-7"]
)
@pytest.mark.parametrize("field", ["open", "volume", "vwap"])
def test_a_number_that_is_accepted_is_the_one_in_the_text(text: str, field: str) -> None:
    draft = bar_draft(Random(1), NOW, asset_class="commodity", symbol="AAPL")
    wide = {"low": "-9999999999", "high": "9999999999", "close": "1", "open": "1", field: text}
    value = draft.but(wide).value()
    if compare("bar", value, b"AAPL"):
        assert getattr(decode_bar(value, b"AAPL", NOW), field) == Decimal(text)
