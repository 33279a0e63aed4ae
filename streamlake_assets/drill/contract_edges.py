"""Rows 14 to 16: the edges of the contract, where a message is right on one side and wrong on the other.

Belongs here: other versions and fields, times ahead of the broker,
sizes. Stays out: messages that are wrong through and
through (``bad_input``).
"""

import base64
import datetime as dt
import json
import random
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.drill import sender
from streamlake_assets.drill.bad_input import until_stored_by
from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import Outcome
from streamlake_assets.drill.kills import LIMITS_LIFTED
from streamlake_assets.drill.layouts import layout, reasons
from streamlake_assets.drill.manifest import (
    SYMBOLS,
    Sending,
    bad_sending,
    fact_key,
    numbered_bar,
    numbered_bars,
    sending,
)
from streamlake_assets.drill.plant import Plant
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.market.contract import BARS_TOPIC, MAX_BYTES, encode_bar
from streamlake_assets.market.messages import MOST_KEPT
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Bar, Interval
from streamlake_assets.stores import migrate, schema, stopped_partitions


@fault(row=14, title="a field added, renamed, gone; version 0", injected="on the topic", fast=True)
def evolved(plant: Plant) -> Outcome:
    """An added field is ignored, a renamed or absent one is missed, and version 0 says what version 1 does."""
    plant.env |= LIMITS_LIFTED
    bars = [_daily(number) for number in range(400)]
    added, renamed, gone, flat = bars[:100], bars[100:150], bars[150:200], bars[200:]
    messages = [_with(bar, vendor={"id": 7, "tags": ["a", None]}, close_adjusted=-1) for bar in added]
    messages += [_bad(bar, close=None, last=1) for bar in renamed]
    messages += [_bad(bar, status=None) for bar in gone]
    messages += [_as_version_0(bar) for bar in flat]
    consumer = plant.consumer()
    plant.send(messages)
    until_stored_by(plant, consumer)
    first = plant.digests()["bars"]
    # the same bars as version 1 says them plainly
    plant.send([sending(bar) for bar in (*added, *flat)])
    plant.until_stored()
    consumer.stop()
    outcome = plant.check()
    same = sum(batch.same for batch in plant.rows(schema.ingest_batches))
    outcome.require(same == len(added) + len(flat), f"{same} messages said the same, not {len(added) + len(flat)}")
    outcome.require(plant.digests()["bars"] == first, "said again as version 1, the bars are others")
    outcome.require(reasons(plant.admin) == {"bad_field": 100}, f"reasons {reasons(plant.admin)}")
    outcome.facts |= {"added": len(added), "renamed_or_gone": len(renamed) + len(gone), "version_0": len(flat)}
    return outcome


@fault(row=14, title="version 2 in a row", injected="on one partition, limits in force")
def unknown_version(plant: Plant) -> Outcome:
    """Messages of a version nobody knows stop their partition at the limit, with an alert; the others go on."""
    consumer = plant.consumer().until_ready()
    plant.send([sending(bar) for bar in numbered_bars(len(SYMBOLS))])
    plant.until_stored()
    place = _partitions(plant)
    newer = [_bad(replace(numbered_bar(number), symbol="S1"), v=2) for number in range(120)]
    plant.send(newer)
    begun = time.monotonic()
    plant.until(lambda: plant.count(schema.stopped_partitions) == 1, "a stopped partition")
    stopped_in = time.monotonic() - begun
    (stopped,) = plant.rows(schema.stopped_partitions)
    dead, before = reasons(plant.admin), plant.stored()
    more = numbered_bars(400, first=len(SYMBOLS))
    here = [bar for bar in more if place[bar.symbol] == place["S1"]]
    elsewhere = [bar for bar in more if place[bar.symbol] != place["S1"]]
    plant.send([sending(bar) for bar in here])
    plant.send([sending(bar) for bar in elsewhere])
    plant.until(lambda: plant.stored() >= before + len(elsewhere), "what lies on the other partitions")
    plant.hold(1.0, consumer)
    held = plant.stored() - before - len(elsewhere)
    alerts, healthy = plant.count(schema.alert_outbox), consumer.get("/healthz")[0] == 200
    begun = time.monotonic()
    lettings = _let_go_until_stored(plant)
    seconds = time.monotonic() - begun
    outcome = plant.check()
    outcome.recovery_s = seconds
    outcome.require(stopped.partition_no == place["S1"], f"partition {stopped.partition_no} stopped, not {place['S1']}")
    outcome.require(set(dead) == {"unknown_version"}, f"reasons {dead}")
    outcome.require(held == 0, f"{held} messages of a stopped partition were stored")
    outcome.require(alerts >= 1, "no alert was raised")
    outcome.require(healthy, "the consumer is not healthy beside a stopped partition")
    outcome.facts |= {
        "dead_at_the_stop": dead.get("unknown_version", 0),
        "stopped_in_s": round(stopped_in, 2),
        "let_go": lettings,
        "reason": stopped.reason,
    }
    return outcome


@fault(row=14, title="the schema down and up again", injected="every migration, in an empty database")
def migrated(plant: Plant) -> Outcome:
    """Down to nothing and up again, the schema is what it was."""
    before = layout(plant.admin)
    migrate.downgrade(plant.admin, "base")
    left = set(sa.inspect(plant.admin).get_table_names()) - {"alembic_version"}
    migrate.upgrade(plant.admin)
    migrate.grant_rights(plant.admin)
    outcome = Outcome()
    outcome.require(not left, f"tables are left after the way down: {sorted(left)}")
    outcome.require(layout(plant.admin) == before, "the schema is another after the way up")
    outcome.require(migrate.differences(plant.admin) == [], "the schema is not what the code says")
    return outcome


@fault(row=15, title="event_time ahead, judged by the broker's clock", injected="on the topic, then read again")
def from_the_future(plant: Plant) -> Outcome:
    """More than a minute ahead of the broker is refused; and still when the wall clock has caught up."""
    plant.env |= LIMITS_LIFTED
    consumer = plant.consumer().until_ready()
    bars = numbered_bars(60)
    now = _now()
    ahead = [replace(bar, event_time=now + dt.timedelta(minutes=10)) for bar in bars[:20]]
    nearly = [replace(bar, event_time=now + dt.timedelta(seconds=65)) for bar in bars[20:40]]
    allowed = [replace(bar, event_time=now + dt.timedelta(seconds=50)) for bar in bars[40:]]
    plant.send([_bad(bar) for bar in (*ahead, *nearly)] + [sending(bar) for bar in allowed])
    plant.until_stored()
    consumer.stop()
    first = plant.digests()
    # by the wall clock the 65 s would be allowed from here on
    plant.until(lambda: _now() > now + dt.timedelta(seconds=6), "the time at which a wall clock would judge otherwise")
    plant.make_schema_anew()
    plant.consumer()
    plant.until_stored()
    outcome = plant.check()
    outcome.require(plant.digests() == first, "read again, the messages were judged otherwise")
    outcome.require(reasons(plant.admin) == {"event_time_ahead": 40}, f"reasons {reasons(plant.admin)}")
    future = [row for row in plant.rows(schema.bars) if row.event_time > row.known_from + dt.timedelta(seconds=60)]
    outcome.require(not future, f"{len(future)} rows of the future")
    outcome.facts |= {"refused": len(ahead) + len(nearly), "allowed_50_s_ahead": len(allowed)}
    return outcome


@fault(row=16, title="too large: two megabytes, one, 65,537 bytes", injected="producer and topic")
def oversize(plant: Plant) -> Outcome:
    """The producer refuses the first, the others become dead letters, and the next message is not held up."""
    bars = numbered_bars(100)
    refused = 0
    with Publisher(plant.settings.kafka) as publisher:
        for size in (2_000_000, 1_100_000):
            try:
                publisher.send(BARS_TOPIC, "S1", b"x" * size)
            except StreamlakeError:
                refused += 1
    consumer = plant.consumer().until_ready()
    plant.send([sending(bar) for bar in bars[:50]])
    plant.until_stored()
    padded = [_padded(bars[1], size) for size in (MAX_BYTES + 1, 500_000, 999_000, 1_048_400)]
    # incompressible, so that it is as large for the broker as it is for the consumer
    plant.send([bad_sending(b"S1", value) for value in padded], compression_type="none", message_max_bytes=1_048_588)
    until_stored_by(plant, consumer)
    begun = time.monotonic()
    plant.send([sending(bar) for bar in bars[50:]])
    sent = time.monotonic()
    plant.until_stored()
    seconds = time.monotonic() - sent
    outcome = plant.check()
    outcome.require(refused == 2, f"the producer refused {refused} of 2")
    outcome.require(reasons(plant.admin) == {"too_large": len(padded)}, f"reasons {reasons(plant.admin)}")
    outcome.require(seconds < 1, f"the next messages took {seconds:.2f} s")
    outcome.require(consumer.running, "the consumer ended")
    outcome.facts |= {"refused_by_the_producer": refused, "dead": len(padded), "next_stored_in_s": round(seconds, 3),
                      "sent_in_s": round(sent - begun, 3)}  # fmt: skip
    return outcome


@fault(row=16, title="small on the wire, large when unpacked", injected="on the topic, compressed")
def unpacked(plant: Plant) -> Outcome:
    """What a megabyte on the broker unpacks to is larger than a column or a packet, and must hold up nothing."""
    plant.env |= LIMITS_LIFTED
    bars = numbered_bars(100)
    consumer = plant.consumer().until_ready()
    plant.send([sending(bar) for bar in bars[:50]])
    plant.until_stored()
    sizes = (8_000_000, 20_000_000) if plant.fast else (8_000_000, 20_000_000, 60_000_000, 100_000_000)
    bombs = [Sending(BARS_TOPIC, b"S1", b"'" * size, None) for size in sizes]
    # not in the manifest: of what is larger than a column only a part can be kept
    sender.send(plant.settings.kafka, bombs, message_max_bytes=200_000_000, queue_buffering_max_kbytes=1_000_000)
    plant.send([sending(bar) for bar in bars[50:]])
    until_stored_by(plant, consumer)
    outcome = Outcome(sent=plant.manifest.sent)
    outcome.require(plant.count(schema.bars) == len(bars), f"{plant.count(schema.bars)} bars of {len(bars)}")
    kept = [len(letter.payload) for letter in plant.rows(schema.dead_letters)]
    outcome.require(set(kept) == {MOST_KEPT}, f"bytes kept: {kept}")
    outcome.require(consumer.rss_mib < 150 + 4 * max(sizes) / 2**20, f"{consumer.rss_mib:.0f} MiB after it")
    outcome.require(reasons(plant.admin) == {"too_large": len(bombs)}, f"reasons {reasons(plant.admin)}")
    outcome.facts |= {
        "unpacked_megabytes": [size // 1_000_000 for size in sizes],
        "consumer_rss_mib": round(consumer.rss_mib),
    }
    return outcome


def _let_go_until_stored(plant: Plant) -> int:
    """Let the partition go as an operator would, as often as it stops again; return how often."""
    wanted = sum(plant.watermarks().values())
    times = 0

    def stored() -> bool:
        nonlocal times
        times += len(stopped_partitions.resume(plant.admin, "drill"))
        return plant.stored() >= wanted

    plant.until(stored, "what lay on the stopped partition")
    return times


def _partitions(plant: Plant) -> dict[str, int]:
    """Return the partition that each symbol's bars came from."""
    i, b, f = schema.instruments, schema.ingest_batches, schema.bars
    query = sa.select(i.c.symbol, b.c.partition_no).join(f, f.c.instrument_id == i.c.id).join(b, b.c.id == f.c.batch_id)
    with plant.admin.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _daily(number: int) -> Bar:
    """Return a bar that version 0 can say as well."""
    start = dt.datetime(2013, 1, 1, tzinfo=UTC) + dt.timedelta(days=number // len(SYMBOLS))
    made = replace(numbered_bar(number), exchange="XXXX", interval=Interval.D1, source="v0")
    return replace(made, bar_time=start, as_of=start, event_time=start)


def _fields(bar: Bar, changes: Mapping[str, Any]) -> bytes:
    fields = {**json.loads(encode_bar(bar, bar.event_time)), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def _with(bar: Bar, **more: Any) -> Sending:
    """Return the message of a bar with more fields."""
    return Sending(BARS_TOPIC, bar.symbol.encode(), _fields(bar, more), fact_key(bar))


def _bad(bar: Bar, **changes: Any) -> Sending:
    """Return the message of a bar with fields that are others, or None and so gone; it must become a dead letter."""
    return bad_sending(bar.symbol.encode(), _fields(bar, changes))


def _as_version_0(bar: Bar) -> Sending:
    old = {"ticker": bar.symbol, "timestamp": int(bar.bar_time.timestamp() * 1000), "volume": float(bar.volume or 0)}
    prices = {name: float(getattr(bar, name)) for name in ("open", "high", "low", "close")}
    return Sending(BARS_TOPIC, bar.symbol.encode(), json.dumps({**old, **prices}).encode(), fact_key(bar))


def _padded(bar: Bar, size: int) -> bytes:
    """Return the message of a bar, padded to a size with what no packing makes smaller than two thirds."""
    start = encode_bar(bar, bar.event_time)[:-1] + b',"pad":"'
    room = size - len(start) - 2
    return start + base64.b64encode(random.Random(size).randbytes(room))[:room] + b'"}'  # noqa: S311


def _now() -> dt.datetime:
    return dt.datetime.now(UTC)
