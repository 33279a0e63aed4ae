"""Hostile messages that are no JSON, or not the JSON of one message: what a broken or foreign producer would send.

Belongs here: families that work on the bytes of a valid message, each certain to break it whatever decodes it. Stays
out: valid JSON with a wrong field (``hostile_fields``), drawing from the families (``hostile``).
"""

import base64
import gzip
import json
import zlib
from typing import Final

from streamlake_assets.drill.drafts import PRICES, Draft
from streamlake_assets.drill.family import Register, Sketch, Wrong
from streamlake_assets.market.contract import MAX_BYTES

BAD_LITERALS: Final = (
    "NaN", "-NaN", "nan", "Infinity", "-Infinity", "+Infinity", "inf", "-inf", "None", "True", "undefined", "nil",
    "+1", ".5", "-.5", "5.", "5.e3", "01", "-01", "00", "007", "1_000", "1,5", "0x1F", "0b1", "0o7", "1e", "1e+",
    "1E-",
    "--1", "-", "1.2.3", "1e5e5", "1 0", "10n", "10f", "$10", "١٢", "１２", "∞", "½", "(10)", "10%", "'10'", "`10`",
    "1e1.5", "Number(1)", "/10/", "\\u0031", "\x001", "1\x00",
)  # fmt: skip
"""None of them is a JSON value."""
TAILS: Final = (
    b"}", b"]", b",", b"{}", b"[]", b"0", b"null", b'""', b"x", b"\x00", b"\x0b", b"\x0c", b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\xff", b"//", b"/**/", b"#", b";", b"\\", b"\x1a", b"\xef\xbb\xbf", b" garbage", b"\n}", b"\x00" * 100, b"'--",
)  # fmt: skip
HEADS: Final = (
    b"\xef\xbb\xbf", b"\x00", b"\x00\x00\x00\x00\x01", b"\xff\xfe", b"\xfe\xff", b"{", b",", b":", b"}", b"x",
    b")]}',\n", b"for(;;);", b"callback(", b"\x1e", b"\x0c", b"\xc2\xa0", b"//\n", b"/**/", b"#\n", b"data: ", b"\x80",
)  # fmt: skip
BAD_UTF8: Final = (
    b"\xff", b"\xfe", b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1\x81", b"\xc3", b"\xe2\x82", b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x9f\x98", b"\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"A\xffA", b"caf\xe9", b"\xc3\x28",
)  # fmt: skip
SURROGATES: Final = (
    r"\ud800", r"\udbff", r"\udc00", r"\udfff", r"a\ud800", r"\ud800a", r"\ud800\u0041", r"\udc00\ud800",
    r"\ud800\ud800", r"\uD83D", r"\ude00\ud83d", r"\ud83d\ud83d\ude00", r"\ud83d\n\ude00",
)  # fmt: skip
BAD_ESCAPES: Final = (
    r"\x41",
    r"\u12",
    r"\uZZZZ",
    r"\'",
    r"\0",
    r"\a",
    r"\U00000041",
    r"\u{41}",
    r"\ ",
    r"\u 041",
    "\\\n",
)
TOPS: Final = (
    "[]",
    "[{}]",
    "[[]]",
    '""',
    '"text"',
    "0",
    "-1",
    "1.5",
    "1e400",
    "true",
    "false",
    "null",
    "[null]",
    "[1,2]",
)
OTHER_FORMATS: Final = (
    b"<bar><symbol>AAPL</symbol></bar>", b"symbol,close\nAAPL,10\n", b"symbol: AAPL\nclose: 10\n",
    b"symbol=AAPL&close=10",
    b"\x00\x00\x00\x00\x01\x08AAPL", b"\x0a\x04AAPL\x11", b"\x80\x04\x95", b"(lp0\n.", b"\x1f\x8b\x08\x00",
    b"PK\x03\x04",
    b"Obj\x01", b"PAR1", b"\x82\xa1v\x01", b"GET / HTTP/1.1\r\n\r\n", b"%PDF-1.7", b"{{symbol}}", b"<?php", b"\x7fELF",
    b"{'symbol': 'AAPL'}", b"{symbol: 1}", b"{,}", b"{:}", b'{"v"}', b'{"v":}', b'{"v" 1}', b'{1:1}', b'{null:1}',
    b"{[]:1}",
    b'{"v":1,}', b'{"v":1;"symbol":"AAPL"}', b'{"v"=1}', b'{"v"::1}', b'{"v":1 "symbol":"AAPL"}',
)  # fmt: skip
TEXT_FIELDS: Final = ("symbol", "ticker", "source", "name", "sector", "currency", "exchange")
NOT_FIRST: Final = bytes(set(range(256)) - set(b' \t\r\n{["-0123456789tfn'))
"""Bytes that no JSON text begins with."""

BYTE_FAMILIES: Final = Register()


@BYTE_FAMILIES("null_value")
def null_value(sketch: Sketch) -> Wrong:
    """A key and nothing else, as a compacted topic would delete by."""
    return Wrong(sketch.any(), None)


@BYTE_FAMILIES("null_value")
def null_value_and_key(sketch: Sketch) -> Wrong:
    """Nothing at all."""
    return Wrong(sketch.any(), None, key=None)


@BYTE_FAMILIES("bad_json")
def empty(sketch: Sketch) -> Wrong:
    """No bytes, or only white space."""
    return Wrong(sketch.any(), sketch.rng.choice([b"", b" ", b"\n", b"\t\r\n ", b" " * 1000]))


@BYTE_FAMILIES("bad_json", weight=60)
def truncated(sketch: Sketch) -> Wrong:
    """Cut anywhere before the brace that closes it."""
    draft = sketch.any()
    value = draft.value()
    return Wrong(draft, value[: sketch.rng.randrange(1, len(value))])


@BYTE_FAMILIES("bad_json", weight=30)
def trailing_garbage(sketch: Sketch) -> Wrong:
    """More than white space after the object."""
    draft = sketch.any()
    return Wrong(draft, draft.value() + sketch.rng.choice(TAILS))


@BYTE_FAMILIES("bad_json", weight=30)
def leading_garbage(sketch: Sketch) -> Wrong:
    """A byte order mark, a schema's number or anything else before the object."""
    draft = sketch.any()
    return Wrong(draft, sketch.rng.choice(HEADS) + draft.value())


@BYTE_FAMILIES("bad_json")
def two_objects(sketch: Sketch) -> Wrong:
    """Two messages in one."""
    draft = sketch.any()
    return Wrong(draft, draft.value() + sketch.rng.choice([b"", b"\n", b" ", b",", b"\x1e"]) + draft.value())


@BYTE_FAMILIES("bad_json")
def utf_16_or_32(sketch: Sketch) -> Wrong:
    """Another encoding of Unicode, with and without its mark."""
    draft = sketch.any()
    name = sketch.rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
    return Wrong(draft, draft.text().encode(name))


@BYTE_FAMILIES("bad_json", weight=30)
def bad_utf_8(sketch: Sketch) -> Wrong:
    """Bytes in a known text that are no UTF-8: overlong, cut, surrogates, beyond the last character."""
    return _in_text(sketch, sketch.rng.choice(BAD_UTF8))


@BYTE_FAMILIES("bad_json", weight=20)
def lone_surrogate(sketch: Sketch) -> Wrong:
    """Half a pair, written as an escape."""
    return _in_text(sketch, sketch.rng.choice(SURROGATES).encode())


@BYTE_FAMILIES("bad_json", weight=20)
def bad_escape(sketch: Sketch) -> Wrong:
    """A backslash before what JSON does not know."""
    return _in_text(sketch, sketch.rng.choice(BAD_ESCAPES).encode())


@BYTE_FAMILIES("bad_json", weight=20)
def raw_control(sketch: Sketch) -> Wrong:
    """A control character that is not escaped."""
    return _in_text(sketch, bytes([sketch.rng.randrange(0x20)]))


@BYTE_FAMILIES("bad_json", weight=20)
def wrong_quotes(sketch: Sketch) -> Wrong:
    """Single, curly, escaped or no quotes."""
    draft = sketch.any()
    quote = sketch.rng.choice(["'", "`", "“", "”", "«", "", "\\'", '\\"'])
    return Wrong(draft, draft.text().replace('"', quote).encode())


@BYTE_FAMILIES(weight=20)
def quote_missing(sketch: Sketch) -> Wrong:
    """One quote less: as no text of a draft holds an escaped one, the last text never ends."""
    draft = sketch.any()
    text = draft.text()
    at = sketch.rng.choice([place for place, letter in enumerate(text) if letter == '"'])
    return Wrong(draft, (text[:at] + text[at + 1 :]).encode())


@BYTE_FAMILIES("bad_json", weight=30)
def bad_punctuation(sketch: Sketch) -> Wrong:
    """Commas and colons missing, doubled or something else."""
    draft = sketch.any()
    pairs = [f'"{name}":{text}' for name, text in draft.fields.items()]
    at = sketch.rng.randrange(1, len(pairs))
    match sketch.rng.randrange(4):
        case 0:
            comma = sketch.rng.choice(["", " ", ",,", ";", ", ,", ":", "\n", ",\x00", "],["])
            text = "{" + ",".join(pairs[:at]) + comma + ",".join(pairs[at:]) + "}"
        case 1:
            pairs[at] = pairs[at].replace('":', sketch.rng.choice(['"', '"=', '"::', '"=>', '",', '":,', '" ']), 1)
            text = "{" + ",".join(pairs) + "}"
        case 2:
            text = "{" + ",".join(pairs) + sketch.rng.choice([",", ",,", ":", ";", ",null", ",]", "]"]) + "}"
        case _:
            text = sketch.rng.choice(["{,", "{:", "(", "{{", "<"]) + ",".join(pairs) + "}"
    return Wrong(draft, text.encode())


@BYTE_FAMILIES("bad_json", weight=20)
def comment(sketch: Sketch) -> Wrong:
    """Comments, which JSON does not have."""
    draft = sketch.any()
    pairs = [f'"{name}":{text}' for name, text in draft.fields.items()]
    at = sketch.rng.randrange(1, len(pairs))
    note = sketch.rng.choice(["/* note */", "// note\n", "# note\n", "<!-- note -->", "-- note\n", "/**/", "; note\n"])
    return Wrong(draft, ("{" + ",".join(pairs[:at]) + "," + note + ",".join(pairs[at:]) + "}").encode())


@BYTE_FAMILIES("bad_json", weight=60)
def bad_literal(sketch: Sketch) -> Wrong:
    """A value that JSON does not have, NaN and the infinities among them, in a known or an unknown field."""
    draft = sketch.any()
    known = [name for name in draft.fields if name in {*PRICES, "volume", "vwap"}]
    name = sketch.rng.choice([*known, "extra"])
    return Wrong(draft, draft.but({name: sketch.rng.choice(BAD_LITERALS)}).value())


@BYTE_FAMILIES("bad_json", "bad_factor")
def bad_literal_factor(sketch: Sketch) -> Wrong:
    """The same in a factor, where what can be read before the error may be zero."""
    draft = sketch.action()
    return Wrong(draft, draft.but({"factor": sketch.rng.choice(BAD_LITERALS)}).value())


@BYTE_FAMILIES("bad_json", weight=20)
def other_format(sketch: Sketch) -> Wrong:
    """XML, CSV, Avro, a program's own notation, or bytes that mean nothing."""
    if sketch.rng.random() < 0.5:
        return Wrong(sketch.any(), sketch.rng.choice(OTHER_FORMATS))
    return Wrong(sketch.any(), bytes([sketch.rng.choice(NOT_FIRST)]) + sketch.rng.randbytes(sketch.rng.randrange(400)))


@BYTE_FAMILIES("bad_json")
def packed(sketch: Sketch) -> Wrong:
    """A valid message, compressed or in base 64."""
    draft = sketch.any()
    value = draft.value()
    # no time of packing in it: the same seed gives the same bytes
    made = [
        gzip.compress(value, mtime=0),
        zlib.compress(value),
        base64.b64encode(value),
        b"~" + base64.b85encode(value),
    ]
    return Wrong(draft, sketch.rng.choice(made))


@BYTE_FAMILIES("bad_field", weight=20)
def not_an_object(sketch: Sketch) -> Wrong:
    """JSON whose top is no object: a list, a number, a message within a text."""
    draft = sketch.any()
    made = [*TOPS, json.dumps(draft.text()), f"[{draft.text()}]", f"[{draft.text()},{draft.text()}]"]
    return Wrong(draft, sketch.rng.choice(made).encode())


@BYTE_FAMILIES("bad_field", "unknown_version", weight=20)
def another_object(sketch: Sketch) -> Wrong:
    """An object without the fields of a message, or with the message one level down."""
    draft = sketch.any()
    made = ["{}", '{"value":%s}', '{"payload":{"after":%s}}', '{"schema":null,"payload":%s}', '{"":%s}']
    text = sketch.rng.choice(made)
    return Wrong(draft, text.replace("%s", draft.text()).encode())


@BYTE_FAMILIES("bad_json", "bad_field", "bad_price", weight=2)
def deep_nesting(sketch: Sketch) -> Wrong:
    """Thousands of levels in a known field, in an unknown one or on their own, closed or not, within the size limit."""
    left, right = sketch.rng.choice([("[", "]"), ('{"x":', "}"), ('[{"a":', "}]")])
    deep = sketch.rng.randint(3_000, 60_000 // len(left + right))
    nest = left * deep + "1" + (right * deep if sketch.rng.random() < 0.7 else "")
    draft = sketch.bar()
    name = sketch.rng.choice(["open", "name", "extra", ""])
    return Wrong(draft, draft.but({name: nest}).value() if name else nest.encode())


@BYTE_FAMILIES("too_large", weight=1)
def too_deep_and_too_large(sketch: Sketch) -> Wrong:
    """A hundred thousand levels."""
    left, right = sketch.rng.choice([("[", "]"), ('{"x":', "}")])
    return Wrong(sketch.bar(), (left * 100_000 + right * sketch.rng.choice([0, 100_000])).encode())


@BYTE_FAMILIES("too_large", weight=2)
def just_too_large(sketch: Sketch) -> Wrong:
    """A valid message, padded to one byte or a few past the limit."""
    draft = sketch.any()
    return Wrong(draft, _padded(draft, MAX_BYTES + sketch.rng.choice([1, 1, 2, 100])))


@BYTE_FAMILIES("too_large", weight=1)
def far_too_large(sketch: Sketch) -> Wrong:
    """A hundred kilobytes to nearly what a broker takes, with what an escape of the driver would double."""
    draft = sketch.any()
    size = sketch.rng.choice([100_000, 200_000, 500_000, 900_000])
    return Wrong(draft, _padded(draft, size, sketch.rng.choice(["x", "'", "\u00e9", "\\\\", "\\u0000", "苹"])))


@BYTE_FAMILIES("bad_field", weight=2)
def just_within_the_size(sketch: Sketch) -> Wrong:
    """Exactly the largest message that is read, or a byte less, and wrong for another reason."""
    draft = sketch.bar().but({"status": '"final"'})
    return Wrong(draft, _padded(draft, MAX_BYTES - sketch.rng.choice([0, 0, 1])))


def _in_text(sketch: Sketch, put: bytes) -> Wrong:
    draft = sketch.any()
    name = sketch.rng.choice([name for name in TEXT_FIELDS if name in draft.fields])
    mark = "\u2603"
    value = draft.but({name: f'"A{mark}B"'}).value()
    return Wrong(draft, value.replace(mark.encode(), put))


def _padded(draft: Draft, size: int, letter: str = "x") -> bytes:
    start = draft.text()[:-1] + ',"pad":"'
    room = size - len(start.encode()) - 2
    whole, rest = divmod(room, len(letter.encode()))
    return (start + letter * whole + "x" * rest + '"}').encode()
