"""Hostile messages that are JSON with one field that breaks its rule: type, number, text, time, version, key.

Belongs here: families that change fields of a valid message,
each certain to break a rule of ``docs/contract.md``. Stays
out: broken JSON (``hostile_bytes``), drawing from the families (``hostile``).
"""

import datetime as dt
import json
from typing import Final

from streamlake_assets.drill.drafts import CLASSES, NO_VOLUME, PRICES, Draft, stamp
from streamlake_assets.drill.family import Register, Sketch, Wrong
from streamlake_assets.drill.injections import INJECTIONS
from streamlake_assets.market.sessions import daily_bar_time

NO_TEXT: Final = ("null", "0", "-1", "1.5", "1e400", "true", "false", "[]", "{}", '["AAPL"]', '{"a":"AAPL"}')
NO_NUMBER: Final = ('"10"', '""', '"NaN"', '"1e5"', "null", "true", "false", "[]", "{}", "[10]", '{"a":10}', '"ten"')
REASON_OF: Final = {
    "symbol": "bad_symbol", "ticker": "bad_symbol", "open": "bad_price", "high": "bad_price", "low": "bad_price",
    "close": "bad_price", "vwap": "bad_price", "volume": "bad_volume", "factor": "bad_factor", "bar_time": "bad_time",
    "event_time": "bad_time", "as_of": "bad_time", "ex_date": "bad_time", "timestamp": "bad_time",
}  # fmt: skip
NUMBERS: Final = (*PRICES, "vwap", "volume", "factor")
WHOLE: Final = ("trades", "timestamp")
TIMES: Final = ("bar_time", "event_time", "as_of")
OPTIONAL: Final = ("exchange", "volume", "vwap", "trades", "synthetic", "as_of", "currency", "sector", "name")
TOO_BIG: Final = (
    "10000000000", "1e10", "1E+10", "-1e10", "99999999999", "1e17", "1e308", "1.7976931348623157e308", "1e309",
    "1e400",
    "-1e400", "1e4300", "1e99999999999999999999", "-1e99999999999999999999", "1" + "0" * 400, "1" + "0" * 5_000,
    "9223372036854775808", "18446744073709551616", "1e2147483648", "1e9223372036854775808",
)  # fmt: skip
"""At least 10^10 in size."""
TOO_FINE: Final = (
    "1e-11", "0.00000000001", "5e-324", "1e-308", "2.2250738585072014e-308", "1e-400", "1e-99999999999999999999",
    "0." + "0" * 400 + "1", "0." + "0" * 5_000 + "1", "1e-2147483649", "1e-9223372036854775809", "1000e-14",
)  # fmt: skip
"""Above zero, with more than ten decimals."""
BAD_SYMBOLS: Final = (
    "", " ", "aapl", "Aapl", "AAPL ", " AAPL", "AA PL", "-AAPL", ".AAPL", "A" * 17, "A" * 5_000, "AAPL\n", "\nAAPL",
    "AAPL\x00", "\x00", "A\x00L", "AAPL\r", "AAPL\t", "AAPL\u2028", "ＡＡＰＬ", "АAPL", "AΑPL", "AAРL", "ΑΑΡL",
    "Ａ", "A\u200b",
    "\ufeffAAPL", "A\u0301PL", "AAPL\u00a0", "ÀAPL", "ǺAPL", "１２", "٣", "AAPL😀", "苹果", "𝐀𝐀𝐏𝐋", "🅰", "A_B",
    "A/B", "A$",
    "BRK:B", "^GSPC", "EUR=X", "A+B", "A&B", "A,B", "A;B", "A'B", 'A"B', "A\\B", "A%", "{A}", "<A>", "\x7f",
    "\u202eAAPL",
    "AAPL\u0000\u0000", "\u0130BM", "ſ", "Ⅻ", "ＡＡＰＬ．Ｌ", "A–B", "A−B", "A‐B",
)  # fmt: skip
BAD_WORDS: Final = {
    "exchange": ("", "XNY", "XNYSE", "xnys", "XN S", "XNY\n", "ＸＮＹＳ", "ХNYS", "X\x00YS", "XNY-", "😀😀😀😀"),
    "asset_class": ("", "Stock", "STOCK", "bond", "stock ", "stock\n", "stосk", "stock\x00", "equity", "s" * 5_000),
    "interval": ("", "1D", "1min", "2m", "1h", "60", "1d ", "1d\n", "１d", "5m\x00", "1w", "1" * 200),
    "status": ("", "final", "Settled", "settled ", "settled\n", "sеttled", "provisional\x00", "f" * 60_000),
    "source": (
        "",
        "Made",
        "made it",
        "made\n",
        "-made",
        ".made",
        "_made",
        "m" * 65,
        "m" * 5_000,
        "mаde",
        "a/b",
        "a\x00",
        "é",
    ),
    "currency": ("", "US", "usd", "USDOLLARS", "US1", "USD\n", "USD ", "ＵＳＤ", "UЅD", "$", "€"),
    "sector": ("", "s" * 129, "😀" * 129, "s" * 5_000),
    "name": ("", "n" * 129, "苹" * 129, "n" * 60_000),
    "kind": ("", "Split", "merger", "split ", "split\n", "dіvidend", "k" * 500),
}
IMPOSSIBLE: Final = (
    "", " ", "now", "2013-01-14", "2013-02-30T00:00:00Z", "2013-02-29T05:00:00Z", "2013-13-01T00:00:00Z",
    "2013-00-10T00:00:00Z", "2013-01-00T00:00:00Z", "2013-01-32T00:00:00Z", "2013-01-14T24:00:01Z",
    "2013-01-14T25:00:00Z",
    "2013-01-14T05:60:00Z", "2013-01-14T05:00:61Z", "2013-01-14T-5:00:00Z", "2013-01-14T05:00:00",
    "2013-01-14T05:00:00X",
    "2013-01-14T05:00:00+01:00", "2013-01-14T05:00:00-05:00", "2013-01-14T05:00:00+00:01", "2013-01-14T05:00:00+24:00",
    "2013-1-14T5:0:0Z", "13-01-14T05:00:00Z", "14.01.2013 05:00", "01/14/2013", "Mon, 14 Jan 2013 05:00:00 GMT",
    "1358139600", "1358139600000", "2013-01-14T05:00:00ZZ", "2013-01-14T05:00:00Z\n", "2013-01-14T05:00:00Z\x00",
    "２０１３-01-14T05:00:00Z", "٢٠١٣-٠١-١٤T٠٥:٠٠:٠٠Z", "2013‐01‐14T05:00:00Z", "2013-01-14T05:00:00.Z", "2013-W03-1",
    "2013-014T05:00:00Z", "1899-12-31T23:59:59Z", "1000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2200-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z", "-2013-01-14T05:00:00Z",
    "275760-09-13T00:00:00Z",
)  # fmt: skip
BAD_DATES: Final = (
    "", "2013-02-30", "2013-13-01", "2013-00-01", "2013-01-00", "14.01.2013", "2013-1-4", "2013/01/14", "today",
    "1899-12-31",
    "2200-01-01", "0001-01-01", "9999-12-31", "2013-01-14\n", "2013-01-1４", "2013-W03-1", "10000-01-01",
    "2013-01-14X",
)  # fmt: skip

FIELD_FAMILIES: Final = Register()
_LEAST_LEAD_S: Final = 3_600
_YEAR_S: Final = 31_557_600


def reason_of(field: str) -> str:
    """Return the code of a field that is there and of a wrong type or form."""
    return REASON_OF.get(field, "bad_field")


@FIELD_FAMILIES(weight=60)
def wrong_type(sketch: Sketch) -> Wrong:
    """Any field with a value of another type."""
    draft = sketch.any()
    name = sketch.rng.choice([field for field in draft.fields if field != "v"])
    texts = (
        NO_NUMBER if name in NUMBERS
        else (*NO_NUMBER, "1.5", "1e400", "-1") if name in WHOLE
        else ('"true"', "0", "1", "null", "[]", "{}", '""') if name == "synthetic"
        else NO_TEXT
    )  # fmt: skip
    return Wrong(draft, draft.but({name: sketch.rng.choice(texts)}).value(), reason_of(name))


@FIELD_FAMILIES("bad_field", "unknown_version", weight=30)
def missing_field(sketch: Sketch) -> Wrong:
    """A field that must be there is not, or has nearly its name."""
    draft = sketch.any()
    flat = "ticker" in draft.fields
    name = sketch.rng.choice([field for field in draft.fields if field not in OPTIONAL or (flat and field != "v")])
    if flat and name == "v":
        name = "ticker"
    renamed = sketch.rng.choice(
        [name.upper(), f"{name} ", f" {name}", f"{name}\\u0000", f"_{name}", name[:-1], name + "s"]
    )
    less = draft.without(name)
    return Wrong(draft, (less if sketch.rng.random() < 0.5 else less.but({renamed: draft.fields[name]})).value())


@FIELD_FAMILIES("unknown_version", weight=30)
def unknown_version(sketch: Sketch) -> Wrong:
    """A version that is neither 0 nor 1 by type and value."""
    draft = sketch.any()
    texts = ["2", "3", "-1", "10", "99", "true", "false", "1.0", "0.0", "1e0", "1.5", '"1"', '"0"', '""', '"v1"',
        "[]", "[1]",
             "{}", "9007199254740993", "9223372036854775808", "100000000000000000000000", "4294967297",
             '"１"']  # fmt: skip
    return Wrong(draft, draft.but({"v": sketch.rng.choice(texts)}).value())


@FIELD_FAMILIES("unknown_version", "bad_field")
def version_beyond_reading(sketch: Sketch) -> Wrong:
    """A version that is null or too large to be a number, or the other version's number on a message."""
    draft = sketch.rng.choice([sketch.bar, sketch.action])()
    return Wrong(draft, draft.but({"v": sketch.rng.choice(["null", "1e400", "-1e400", "1" + "0" * 400, "0"])}).value())


@FIELD_FAMILIES("bad_field", "unknown_version")
def wrong_topic(sketch: Sketch) -> Wrong:
    """An action among the bars, a bar among the actions."""
    bar, action = sketch.rng.choice([sketch.bar, sketch.flat])(), sketch.action()
    here, there = sketch.rng.choice([(bar, action), (action, bar)])
    return Wrong(Draft(there.topic, here.key, here.fields), here.value())


@FIELD_FAMILIES("bad_symbol", weight=40)
def look_alike_symbol(sketch: Sketch) -> Wrong:
    """A symbol outside the pattern: look-alikes, invisible characters, line ends, NUL, seventeen letters."""
    return _with_symbol(sketch, sketch.rng.choice(BAD_SYMBOLS))


@FIELD_FAMILIES(weight=40)
def injection(sketch: Sketch) -> Wrong:
    """SQL in a text field that has a pattern or a list of words, a time or a number."""
    draft = sketch.any()
    fields = [name for name in draft.fields if name not in {"v", "name", "sector"}]
    name = sketch.rng.choice(fields)
    text = sketch.rng.choice(INJECTIONS)
    if name in {"symbol", "ticker"}:
        return _with_symbol(sketch, text)
    return Wrong(draft, draft.but({name: json.dumps(text)}).value(), reason_of(name))


@FIELD_FAMILIES("key_mismatch", weight=20)
def injection_key(sketch: Sketch) -> Wrong:
    """SQL in the key."""
    draft = sketch.any()
    return Wrong(draft, draft.value(), key=sketch.rng.choice(INJECTIONS).encode())


@FIELD_FAMILIES("key_mismatch", weight=30)
def wrong_key(sketch: Sketch) -> Wrong:
    """A key that is not the symbol, byte for byte."""
    draft = sketch.any()
    key = draft.key
    keys = [
        None, b"", key.lower(), key + b" ", b" " + key, key + b"\x00", key + b"\n", b"\xef\xbb\xbf" + key, key[:-1],
        key * 2,
        b'"' + key + b'"', key.decode().encode("utf-16"), b"\xff", b"\x00", b"\x00\x00\x00\x00\x01" + key, b"OTHER",
        b"null",
        key + b"|XNYS", b"k" * 512, b"k" * 513, sketch.rng.randbytes(20), key.replace(b"H", "Н".encode()),
    ]  # fmt: skip
    return Wrong(draft, draft.value(), key=sketch.rng.choice(keys))


@FIELD_FAMILIES("key_mismatch", weight=1)
def huge_key(sketch: Sketch) -> Wrong:
    """A key of a hundred kilobytes, of which the table keeps the beginning."""
    draft = sketch.any()
    return Wrong(draft, draft.value(), key=b"k" * 100_000)


@FIELD_FAMILIES("bad_field", weight=40)
def unknown_word(sketch: Sketch) -> Wrong:
    """A text that is not one of the field's words or breaks its pattern or length."""
    draft = sketch.rng.choice([sketch.bar, sketch.bar, sketch.action])()
    names = [name for name in BAD_WORDS if name in draft.fields]
    if "kind" not in draft.fields:
        names += ["currency", "sector", "name"]
    name = sketch.rng.choice(names)
    return Wrong(draft, draft.but({name: json.dumps(sketch.rng.choice(BAD_WORDS[name]))}).value())


@FIELD_FAMILIES("bad_price", weight=60)
def bad_price(sketch: Sketch) -> Wrong:
    """A price that is too large, too fine, too long, zero or below."""
    draft = sketch.rng.choice([sketch.bar, sketch.bar, sketch.flat])()
    texts = [sketch.rng.choice(TOO_BIG), sketch.rng.choice(TOO_FINE), _too_long(sketch, draft.fields["open"])]
    if draft.fields.get("asset_class") != '"commodity"':
        texts += ["0", "-0", "0.0", "-0.0", "0e5", "0e-3", "-1", "-0.01", "-1e-10", f"-{draft.fields['close']}"]
    names = sketch.rng.choice([PRICES, *[(name,) for name in PRICES]])
    text = sketch.rng.choice(texts)
    if "ticker" not in draft.fields and sketch.rng.random() < 0.2:
        names, text = ("vwap",), sketch.rng.choice([*texts[:3], "-1", "-1e-10"])
    return Wrong(draft, draft.but(dict.fromkeys(names, text)).value())


@FIELD_FAMILIES("bad_volume", weight=30)
def bad_volume(sketch: Sketch) -> Wrong:
    """A volume below zero, too large, too fine or too long."""
    draft = sketch.rng.choice([lambda: sketch.bar(asset_class=sketch.rng.choice(CLASSES[:3])), sketch.flat])()
    large = [
        "1e18",
        "1000000000000000000",
        "-1e18",
        *[text for text in TOO_BIG if "e" in text and text[-2:] not in ("10", "17")],
    ]
    texts = ["-1", "-0.5", "-1e-10", sketch.rng.choice(large), sketch.rng.choice(TOO_FINE), _too_long(sketch, "77.5")]
    return Wrong(draft, draft.but({"volume": sketch.rng.choice(texts)}).value())


@FIELD_FAMILIES("bad_volume", weight=20)
def volume_where_there_is_none(sketch: Sketch) -> Wrong:
    """An index or a currency pair with a volume, be it zero."""
    draft = sketch.bar(asset_class=sketch.rng.choice(NO_VOLUME))
    return Wrong(draft, draft.but({"volume": sketch.rng.choice(["0", "0.0", "1", "1000.5", "1e3"])}).value())


@FIELD_FAMILIES("bad_field", weight=10)
def bad_trades(sketch: Sketch) -> Wrong:
    """A count below zero, with a fraction, or beyond what the column holds."""
    draft = sketch.bar()
    texts = ["-1", "1.5", "9223372036854775808", "1e19", "1e400", "-9223372036854775809", "1" + "0" * 5_000, "0.1"]
    return Wrong(draft, draft.but({"trades": sketch.rng.choice(texts)}).value())


@FIELD_FAMILIES("bad_factor", weight=20)
def bad_factor(sketch: Sketch) -> Wrong:
    """A factor that is zero, below, too large, too fine or too long."""
    draft = sketch.action()
    texts = ["0", "-0", "0.0", "0e5", "-0.5", "-1e-10", _too_long(sketch, "0.5")]
    texts += [sketch.rng.choice(TOO_BIG), sketch.rng.choice(TOO_FINE)]
    return Wrong(draft, draft.but({"factor": sketch.rng.choice(texts)}).value())


@FIELD_FAMILIES("price_order", weight=40)
def price_order(sketch: Sketch) -> Wrong:
    """High not the largest, low not the smallest, if only by the last decimal."""
    draft = sketch.rng.choice([sketch.bar, sketch.flat])()
    fields = draft.fields
    high, low = fields["high"], fields["low"]
    changes = [
        {"high": low, "low": high},
        {"open": f"{high}00000001"},
        {"close": f"{high}00000001"},
        {"low": f"{fields['open']}00000001", "close": high},
        {"high": f"{fields['close']}", "open": f"{fields['close']}00000001"},
        {"open": "9999999999"},
        {"close": "0.0000000001"},
        {"high": low},
        {"low": high},
    ]
    return Wrong(draft, draft.but(sketch.rng.choice(changes)).value())


@FIELD_FAMILIES("bad_time", weight=60)
def impossible_time(sketch: Sketch) -> Wrong:
    """A time that is not UTC, not RFC 3339, no day of the calendar, or outside 1900 to 2199."""
    draft = sketch.rng.choice([sketch.bar, sketch.bar, sketch.action])()
    names = [name for name in TIMES if name in draft.fields] + (["ex_date"] if "ex_date" in draft.fields else [])
    name = sketch.rng.choice([*names, "as_of"])
    text = sketch.rng.choice(BAD_DATES if name == "ex_date" else IMPOSSIBLE)
    return Wrong(draft, draft.but({name: json.dumps(text)}).value())


@FIELD_FAMILIES("bad_time", weight=10)
def impossible_timestamp(sketch: Sketch) -> Wrong:
    """Milliseconds of version 0 before 1970 or after 2199."""
    draft = sketch.flat()
    texts = ["-1", "-86400000", "7258118400000", "1e30", "9223372036854775807", "9223372036854775808", "1" + "0" * 400]
    return Wrong(draft, draft.but({"timestamp": sketch.rng.choice(texts)}).value())


@FIELD_FAMILIES("event_time_ahead", weight=30)
def event_time_ahead(sketch: Sketch) -> Wrong:
    """Put on the wire an hour to a hundred years from now; an hour, so that the broker cannot catch up."""
    draft = sketch.rng.choice([sketch.bar, sketch.action])()
    lead = dt.timedelta(
        seconds=sketch.rng.choice([_LEAST_LEAD_S, 86_400, _YEAR_S, 100 * _YEAR_S]) + sketch.rng.random()
    )
    return Wrong(draft, draft.but({"event_time": json.dumps(stamp(sketch.now + lead))}).value())


@FIELD_FAMILIES("bad_time", weight=20)
def daily_bar_not_at_midnight(sketch: Sketch) -> Wrong:
    """A daily bar that starts at another time of its exchange's day."""
    exchange = sketch.rng.choice(["XXXX", "XNYS", "XTKS", "XLON", "ZZ99"])
    midnight = daily_bar_time(sketch.now.date() - dt.timedelta(days=sketch.rng.randint(5, 9000)), exchange)
    # no day is shorter than 23 hours
    late = dt.timedelta(seconds=sketch.rng.randint(0, 22 * 3600), microseconds=sketch.rng.randint(1, 999_999))
    draft = sketch.bar(exchange=exchange, interval="1d", bar_time=stamp(midnight + late))
    return Wrong(draft, draft.value())


@FIELD_FAMILIES("bad_price", weight=20)
def duplicate_field(sketch: Sketch) -> Wrong:
    """A price twice, wrong both times, so that it does not matter which one counts."""
    draft = sketch.rng.choice([sketch.bar, sketch.flat])()
    name = sketch.rng.choice(PRICES)
    one, two = sketch.rng.choices(NO_NUMBER, k=2)
    return Wrong(draft, (f'{{"{name}":{one},' + draft.but({name: two}).text()[1:]).encode())


def _with_symbol(sketch: Sketch, symbol: str) -> Wrong:
    draft = sketch.any()
    name = "ticker" if "ticker" in draft.fields else "symbol"
    text = json.dumps(symbol, ensure_ascii=sketch.rng.random() < 0.5)
    return Wrong(draft, draft.but({name: text}).value(), "bad_symbol", key=symbol.encode())


def _too_long(sketch: Sketch, near: str) -> str:
    """Return a number right beside ``near`` with more than 15 significant digits, or more than 10 decimals."""
    whole, _, decimals = near.partition(".")
    count = sketch.rng.choice([11, 12, 16, 20, 39, 400])
    more = "".join(sketch.rng.choices("0123456789", k=count - 1 - len(decimals)))
    return f"{whole}.{decimals}{more}{sketch.rng.randint(1, 9)}"
