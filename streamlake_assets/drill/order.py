"""Rows 8, 9, 10 and 29: the same facts twice, shuffled, late, and all over again from the beginning.

Belongs here: what arrives when. Stays out: what is wrong with a message itself (``bad_input``).
"""

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import DrillError, Outcome
from streamlake_assets.drill.kills import LIMITS_LIFTED, with_poison
from streamlake_assets.drill.manifest import OPENS, numbered_bar, numbered_bars, sending
from streamlake_assets.drill.plant import Plant
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import Bar, Interval, Status
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores import schema
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.mysql import make_engine

WINDOW = 1_000
_ARRIVAL = {"instrument_id", "source_id", "batch_id", "kafka_offset", "known_from", "event_time"}
"""What depends on ids and on when a message arrived."""


@fault(row=8, title="every message one to three times", injected="on the topic, at other offsets")
def duplicates(plant: Plant) -> Outcome:
    """The first of equal messages counts, the rest change nothing."""
    order = random.Random(8)  # noqa: S311
    bars = numbered_bars(3_000 if plant.fast else 30_000)
    messages = [sending(bar) for bar in bars for _ in range(order.randint(1, 3))]
    order.shuffle(messages)
    plant.consumer()
    plant.send(messages, per_second=None if plant.fast else 20_000)
    plant.until_stored()
    outcome = plant.check()
    rows, revisions = plant.count(schema.bars), plant.count(schema.bar_revisions)
    outcome.require(rows == len(bars), f"{rows} rows for {len(bars)} bars")
    outcome.require(revisions == 0, f"{revisions} revisions out of equal messages")
    same = sum(batch.same for batch in plant.rows(schema.ingest_batches))
    outcome.require(same == len(messages) - len(bars), f"{same} messages were told to be repetitions")
    outcome.facts |= {"bars": len(bars), "repetitions": same}
    return outcome


@fault(row=9, title="out of order within a key", injected="on the topic: permutations, windows of 1,000")
def shuffled(plant: Plant) -> Outcome:
    """Whatever the order, the same version is in force at the end, and the same revisions lie behind it."""
    permutations = 40 if plant.fast else 200
    order = random.Random(9)  # noqa: S311
    lines = [_permuted(f"P{number}", order) for number in range(permutations)]
    # interleaved, as the symbols of a market are, and at a rate that cuts them into many batches
    messages = [sending(bar) for step in zip(*lines, strict=True) for bar in step]
    plain = [sending(bar) for bar in _shuffled_window(numbered_bars(2_000 if plant.fast else 20_000), order)]
    plant.consumer().until_ready()
    plant.send(messages, per_second=300 if plant.fast else 1_000)
    plant.send(plain)
    plant.until_stored()
    outcome = plant.check()
    states = _states_by_symbol(plant, "P")
    different = {repr(state) for state in states.values()}
    outcome.require(len(states) == permutations, f"{len(states)} of {permutations} histories are there")
    outcome.require(len(different) == 1, f"{len(different)} different final states of {permutations} permutations")
    batches = len(plant.rows(schema.ingest_batches))
    if batches < 10:
        raise DrillError(f"{batches} batches: the histories were not cut")
    outcome.facts |= {"permutations": permutations, "versions_of_each": len(lines[0]), "batches": batches}
    return outcome


@fault(row=10, title="late by a minute, an hour, three days", injected="on the topic")
def late(plant: Plant) -> Outcome:
    """Late bars are stored, and the documents made of them equal those made all over again."""
    documents = DocumentStore(plant.documents())
    reader = make_engine(plant.settings, DatabaseRole.READER)
    try:
        documents.clear()
        return _late(plant, reader, documents)
    finally:
        reader.dispose()
        documents.close()


def _late(plant: Plant, reader: sa.Engine, documents: DocumentStore) -> Outcome:
    sessions = [dt.date(2013, 1, day) for day in (7, 8, 9, 10, 11, 14, 15)]
    bars = [bar for session in sessions for bar in _session(session)]
    end = OPENS + dt.timedelta(days=1, minutes=59)
    behind = (dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=3))
    missing = {_before(bars, end - delay).bar_time for delay in behind}
    corrected = [
        replace(bar, close=bar.high, as_of=bar.as_of + dt.timedelta(hours=1))
        for bar in bars
        if bar.bar_time + dt.timedelta(minutes=2) in missing
    ]
    now = dt.datetime.now(dt.UTC)
    consumer = plant.consumer()
    plant.send([sending(bar) for bar in bars if bar.bar_time not in missing])
    plant.until_stored()
    refresh_documents(reader, documents, now)
    before = _dump(documents)
    plant.send([sending(bar) for bar in bars if bar.bar_time in missing] + [sending(bar) for bar in corrected])
    plant.until_stored()
    refreshed = refresh_documents(reader, documents, now)
    followed = _dump(documents)
    documents.clear()
    refresh_documents(reader, documents, now, full=True)
    anew = _dump(documents)
    consumer.stop()
    outcome = plant.check()
    outcome.require(len(missing) == len(behind), "the late bars are not distinct")
    outcome.require(len(corrected) > 0, "no late correction was sent")
    outcome.require(before != followed, "late bars changed no document")
    outcome.require(followed == anew, "documents that followed late bars differ from those made anew")
    outcome.facts |= {
        "late_bars": len(missing),
        "late_corrections": len(corrected),
        "documents": len(anew[0]),
        "documents_made_again": refreshed.sessions,
    }
    return outcome


@fault(row=29, title="replay from offset 0 into an empty database", injected="schema dropped and made anew", fast=True)
def from_the_beginning(plant: Plant) -> Outcome:
    """The topic keeps everything, and all tables come out of it again."""
    order = random.Random(29)  # noqa: S311
    messages = with_poison(4_000 if plant.fast else 50_000, order)
    good = [numbered_bar(order.randrange(len(messages) // 2)) for _ in range(len(messages) // 20)]
    messages += [
        sending(replace(bar, close=bar.low, as_of=bar.as_of + dt.timedelta(seconds=number % 3)))
        for number, bar in enumerate(good)
    ]
    plant.env |= LIMITS_LIFTED
    consumer = plant.consumer()
    plant.send(messages)
    plant.until_stored()
    consumer.stop()
    first = plant.digests()
    code, said = (0, "") if plant.fast else plant.command("rebuild")
    revisions = plant.count(schema.bar_revisions)
    plant.make_schema_anew()
    if plant.stored() or plant.count(schema.bars):
        raise DrillError("the database was not empty")
    plant.consumer()
    seconds = plant.until_stored(120)
    second = plant.digests()
    outcome = plant.check()
    different = sorted(name for name in first if first[name] != second[name])
    outcome.require(not different, f"other digests the second time: {', '.join(different)}")
    outcome.require(code == 0, f"`streamlake rebuild` ended with {code}: {said[-300:]}")
    outcome.require(revisions > 0, "the messages brought no revisions")
    outcome.facts |= {"rebuilt_in_s": round(seconds, 1), "revisions": revisions, "sha256_of_bars": second["bars"][:16]}
    return outcome


def _permuted(symbol: str, order: random.Random) -> list[Bar]:
    """Return versions of three bars, with ties in every part of the order of versions, in a random order."""
    versions = [
        replace(
            numbered_bar(0),
            symbol=symbol,
            bar_time=OPENS + dt.timedelta(minutes=minute),
            as_of=OPENS + dt.timedelta(minutes=minute, seconds=stated),
            status=status,
            volume=Decimal(volume),
        )
        for minute in range(3)
        for stated in (0, 1)
        for status in Status
        for volume in (1, 2)
    ]
    order.shuffle(versions)
    return versions


def _shuffled_window(bars: list[Bar], order: random.Random) -> Iterator[Bar]:
    for start in range(0, len(bars), WINDOW):
        window = bars[start : start + WINDOW]
        order.shuffle(window)
        yield from window


def _states_by_symbol(plant: Plant, prefix: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what is in force and what was, for each symbol, without what depends on arrival."""
    i = schema.instruments
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    with plant.admin.connect() as connection:
        for table in (schema.bars, schema.bar_revisions):
            columns = [column for column in table.columns if column.name not in _ARRIVAL]
            query = sa.select(i.c.symbol, *columns).join(i, i.c.id == table.c.instrument_id)
            ordered = query.order_by(i.c.symbol, table.c.bar_time, table.c.version_hash)
            for row in connection.execute(ordered.where(i.c.symbol.startswith(prefix))):
                found[row[0]].append((table.name, *row[1:]))
    return dict(found)


def _session(session: dt.date) -> list[Bar]:
    """Return the daily bar and the first hour of minute bars of one session of two symbols."""
    opens = dt.datetime.combine(session, OPENS.timetz())
    found = []
    for symbol in ("S0", "S1"):
        day = daily_bar_time(session, "XNYS")
        made = replace(numbered_bar(session.day), symbol=symbol, event_time=opens, as_of=opens)
        found.append(replace(made, interval=Interval.D1, bar_time=day, high=made.high + 5, low=made.low - 5))
        found += [
            replace(made, bar_time=opens + dt.timedelta(minutes=minute), volume=Decimal(minute)) for minute in range(60)
        ]
    return found


def _before(bars: Sequence[Bar], moment: dt.datetime) -> Bar:
    """Return the last minute bar of the first symbol that begins at a moment or before it."""
    return max(
        (bar for bar in bars if bar.symbol == "S0" and bar.interval is Interval.M1 and bar.bar_time <= moment),
        key=lambda bar: bar.bar_time,
    )


def _dump(documents: DocumentStore) -> tuple[list[str], list[bytes]]:
    """Return everything the document store holds, to the byte."""
    arrays = [
        b"".join(getattr(series, name).tobytes() for name in ("sessions", "open", "high", "low", "close", "volume"))
        for series in documents.series()
    ]
    return [repr(document) for document in documents.sessions()], arrays
