"""Rows 11, 12, 17 and 18: hostile messages of every family, look-alike tickers, SQL in every text.

Belongs here: messages that are wrong through and through, and that each ends as a dead letter, once, beside what is
right. Stays out: the messages (``hostile``), the edges of the contract (``contract_edges``), when and how often a
message arrives (``order``).
"""

import datetime as dt
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import KEY_BYTES, DrillError, Outcome
from streamlake_assets.drill.consumer_child import ConsumerChild
from streamlake_assets.drill.family import Hostile
from streamlake_assets.drill.hostile import hostile
from streamlake_assets.drill.hostile_fields import BAD_SYMBOLS
from streamlake_assets.drill.injections import INJECTIONS
from streamlake_assets.drill.kills import LIMITS_LIFTED
from streamlake_assets.drill.layouts import instrument_names, layout, reasons, row_counts
from streamlake_assets.drill.manifest import bad_sending, numbered_bar, numbered_bars, sending
from streamlake_assets.drill.plant import STORED_S, Plant
from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.types import Bar
from streamlake_assets.stores import schema

NUMBERS = ("bad_price", "bad_volume", "bad_literal", "bad_factor", "bad_literal_factor", "price_order", "bad_trades",
           "volume_where_there_is_none", "duplicate_field")  # fmt: skip
INGESTED = frozenset(
    {"bars", "data_sources", "dead_letters", "exchanges", "heartbeats", "ingest_batches", "ingest_touches",
    "instruments",
     "sectors", "stream_offsets", "streams"}
)  # fmt: skip
"""Tables that a consumer writes; no message may change another."""
INJECTED = ("symbol", "exchange", "asset_class", "interval", "bar_time", "source", "status", "event_time", "as_of",
    "currency",
            "open", "volume", "synthetic", "v")  # fmt: skip
NAMES = ("Apple Inc.", "苹果公司 🍎", "😀" * 128, "\U0010ffff", "Ünïcode", "e\u0301", "\u0645\u0631\u062d\u0628\u0627",
         "👨\u200d👩\u200d👧\u200d👦", "\u202eelppA", "𝐀𝐩𝐩𝐥𝐞", "ＡＡＰＬ", "𠜎𠜱", "A\u0000B", "a\ufeffb", "İı",
         "ß", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
         "%s {0} \\ ' \"")  # fmt: skip


@fault(row=11, title="hostile messages of every family", injected="on both topics", fast=True)
def fuzz(plant: Plant) -> Outcome:
    """Broken JSON, wrong types and times, look-alikes, megabytes, nothing at all: each a dead letter, once."""
    return _fuzzed(plant, list(hostile(2_000 if plant.fast else 100_000, 11, _now())))


@fault(
    row=12, title="NaN, infinities, huge, tiny, zero, negative, high below low", injected="on both topics", fast=True
)
def hostile_numbers(plant: Plant) -> Outcome:
    """No number that breaks its rule reaches a table."""
    count = 8_000 if plant.fast else 200_000
    found = [one for one in hostile(count, 12, _now()) if one.family in NUMBERS]
    return _fuzzed(plant, found)


def _fuzzed(plant: Plant, found: Sequence[Hostile]) -> Outcome:
    plant.env |= LIMITS_LIFTED
    order = random.Random(len(found))  # noqa: S311
    good = numbered_bars(len(found) // 10)
    messages = [bad_sending(one.key, one.value, one.topic) for one in found] + [sending(bar) for bar in good]
    order.shuffle(messages)
    consumer = plant.consumer()
    plant.send(messages)
    seconds = until_stored_by(plant, consumer, 600)
    memory = consumer.rss_mib
    consumer.stop()
    outcome = plant.check()
    outcome.require(plant.count(schema.bars) == len(good), f"{plant.count(schema.bars)} bars for {len(good)} good ones")
    outcome.require(plant.count(schema.corporate_actions) == 0, "an action that nobody sent rightly is in its table")
    _require_reasons(plant, outcome, found)
    strange = instrument_names(plant.admin).keys() - {bar.symbol for bar in good}
    outcome.require(not strange, f"instruments of hostile messages: {sorted(strange)[:3]}")
    families = Counter(one.family for one in found)
    outcome.facts |= {
        "hostile": len(found),
        "families": len(families),
        "good": len(good),
        "megabytes": round(sum(len(one.value or b"") + len(one.key or b"") for one in found) / 1e6, 1),
        "stored_in_s": round(seconds, 1),
        "consumer_rss_mib": round(memory),
        "reasons": reasons(plant.admin),
    }
    return outcome


def _require_reasons(plant: Plant, outcome: Outcome, found: Iterable[Hostile]) -> None:
    """Require that each message has one of the reasons that its family leaves; equal messages have equal reasons."""
    allowed = {(None if one.key is None else one.key[:KEY_BYTES], one.value): one for one in found}
    wrong: Counter[str] = Counter()
    for letter in plant.rows(schema.dead_letters):
        one = allowed.get((letter.message_key, letter.payload))
        if one is not None and one.reasons and letter.reason not in one.reasons:
            wrong[f"{one.family}: {letter.reason}"] += 1
    outcome.require(not wrong, f"other reasons than the contract's: {dict(wrong.most_common(5))}")


@fault(row=17, title="look-alike tickers; names of any script", injected="on the topic", fast=True)
def unicode(plant: Plant) -> Outcome:
    """No ticker that only looks right is taken, and a name is stored whole, whatever its script."""
    plant.env |= LIMITS_LIFTED
    bars = [replace(numbered_bar(number), name=name) for number, name in enumerate(NAMES)]
    messages = [bad_sending(*_said(numbered_bar(0), {"symbol": text})) for text in BAD_SYMBOLS]
    messages += [bad_sending(*_said(numbered_bar(0), {}, text.encode())) for text in BAD_SYMBOLS]
    messages += [sending(bar) for bar in bars]
    random.Random(17).shuffle(messages)  # noqa: S311
    consumer = plant.consumer()
    plant.send(messages)
    until_stored_by(plant, consumer)
    outcome = plant.check()
    names = instrument_names(plant.admin)
    outcome.require(names.keys() == {bar.symbol for bar in bars}, f"{len(names)} instruments for {len(bars)} symbols")
    cut = [bar.name for bar in bars if names.get(bar.symbol, ("", ""))[0] != bar.name]
    outcome.require(not cut, f"names that are stored as others: {cut[:2]}")
    half = len(BAD_SYMBOLS)
    wanted = {"bad_symbol": half, "key_mismatch": half}
    outcome.require(reasons(plant.admin) == wanted, f"reasons {reasons(plant.admin)}")
    outcome.facts |= {"tickers_refused": half, "names": len(bars)}
    return outcome


@fault(row=18, title="SQL in every text, key and name", injected="on the topic", fast=True)
def injections(plant: Plant) -> Outcome:
    """SQL is refused or stored as the text it is; schema, rights and the rows of other tables stay as they were."""
    plant.env |= LIMITS_LIFTED
    before, counts = layout(plant.admin), row_counts(plant.admin)
    messages, bars = [], []
    for number, text in enumerate(INJECTIONS):
        bad = numbered_bar(number)
        messages += [bad_sending(*_said(bad, {name: text})) for name in INJECTED]
        messages.append(bad_sending(*_said(bad, {}, text.encode())))
        bars.append(replace(bad, symbol=f"Q{number}", name=text, sector=text))
    messages += [sending(bar) for bar in bars]
    consumer = plant.consumer()
    plant.send(messages)
    until_stored_by(plant, consumer)
    outcome = plant.check()
    outcome.require(layout(plant.admin) == before, "the schema or a right is another")
    after = row_counts(plant.admin)
    changed = {name: after[name] - counts[name] for name in counts if after[name] != counts[name]}
    outcome.require(changed.keys() <= INGESTED, f"rows of other tables: {changed}")
    names = instrument_names(plant.admin)
    wanted = {bar.symbol: ((bar.name or "").strip(), (bar.sector or "").strip()) for bar in bars}
    different = [symbol for symbol, texts in wanted.items() if names.get(symbol) != texts]
    outcome.require(not different, f"names or sectors stored as others: {[names.get(one) for one in different[:2]]}")
    outcome.facts |= {"texts": len(INJECTIONS), "refused": len(messages) - len(bars), "stored_as_names": len(bars)}
    return outcome


def _said(bar: Bar, changes: Mapping[str, object], key: bytes | None = None) -> tuple[bytes, bytes]:
    """Return key and value of a bar's message with fields that are others; the key follows the symbol."""
    fields = {**json.loads(encode_bar(bar, bar.event_time)), **changes}
    return str(fields["symbol"]).encode() if key is None else key, json.dumps(fields, ensure_ascii=False).encode()


def until_stored_by(plant: Plant, consumer: ConsumerChild, timeout_s: float = STORED_S) -> float:
    """Wait until one consumer has stored everything; return the seconds it took.

    Raises:
        DrillError: it ended instead, with the last lines of its log.
    """
    wanted = sum(plant.watermarks().values())
    seconds = plant.until(lambda: not consumer.running or plant.stored() >= wanted, f"{wanted} messages", timeout_s)
    if not consumer.running:
        raise DrillError(f"the consumer ended by itself with {consumer.child.poll()}: {consumer.child.log_tail(5)}")
    return seconds


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
