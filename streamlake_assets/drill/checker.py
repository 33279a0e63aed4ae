"""The judge of a drill: what the tables hold against what was sent.

Belongs here: reading what was stored, the verdict. Stays out: causing faults, and how a verdict is shown (``report``).

Held against each other: the distinct valid keys sent and the rows; the bad messages sent and the dead letters, each
as often as it was sent; the stored offsets and the broker's; batches, which must cover every offset once; and the
digest of every table with that of an undisturbed run over the same messages.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.drill.manifest import BadMessage, FactKey, Manifest, action_key, bar_key
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.stores import schema

KEY_BYTES = 512
"""Longest key that a dead letter keeps."""
Place = tuple[str, int]


class DrillError(StreamlakeError):
    """A drill did not go as it must: a fault was not injected, or what it was waiting for did not come."""


class Batch(NamedTuple):
    """One record of the batches: a range of offsets of one partition and the sum of its outcomes."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    messages: int
    versions: int


@dataclass
class Found:
    """What tables and topics hold after a drill.

    Attributes:
        facts: key of every bar and corporate action in force, once for each row.
        dead: key and value of every dead letter, once for each row.
        batches: of the topics as they are now.
        offsets: stored next offset of each partition.
        watermarks: the broker's next offset of each partition.
        versions: rows of facts and of their revisions.
        digests: of each table.
        reference: digests of an undisturbed run; empty when there was none.
    """

    facts: list[FactKey]
    dead: list[BadMessage]
    batches: list[Batch]
    offsets: dict[Place, int]
    watermarks: dict[Place, int]
    versions: int
    digests: Mapping[str, str] = field(default_factory=dict)
    reference: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a drill found.

    Attributes:
        sent: messages sent.
        lost: facts and dead letters that are missing.
        twice: rows, dead letters and offsets that are there more often than they may be.
        recovery_s: seconds until messages were stored again after the fault; None where nothing was interrupted.
        problems: everything else that is wrong, in words.
        facts: figures of this drill, for the report.
        not_run: why the fault could not be injected on this machine; empty when it was.
    """

    sent: int = 0
    lost: int = 0
    twice: int = 0
    recovery_s: float | None = None
    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    not_run: str = ""

    @property
    def ok(self) -> bool:
        """Whether the fault was injected and nothing is wrong."""
        return not (self.lost or self.twice or self.problems or self.not_run)

    def require(self, condition: bool, otherwise: str) -> None:
        """Note a problem unless the condition holds."""
        if not condition:
            self.problems.append(otherwise)


def judge(manifest: Manifest, found: Found) -> Outcome:
    """Compare what was sent with what is there."""
    outcome = Outcome(sent=manifest.sent)
    stored = Counter(found.facts)
    missing = manifest.good - stored.keys()
    strange = stored.keys() - manifest.good
    doubled = sum(count - 1 for count in stored.values())
    bad = _stored_form(manifest.bad)
    dead = Counter(found.dead)
    dead_missing, dead_surplus = (bad - dead).total(), (dead - bad).total()
    gaps, overlaps = _tiling(found.batches, found.watermarks)
    outcome.lost = len(missing) + dead_missing
    outcome.twice = doubled + dead_surplus + overlaps
    outcome.require(not missing, f"{len(missing)} facts are missing, as {sorted(missing)[:1]}")
    outcome.require(not strange, f"{len(strange)} rows were never sent, as {sorted(strange)[:1]}")
    outcome.require(not doubled, f"{doubled} facts have more than one row")
    outcome.require(not dead_missing, f"{dead_missing} bad messages are not in the dead letters")
    outcome.require(not dead_surplus, f"{dead_surplus} dead letters are too many, as {_first(dead - bad)}")
    outcome.require(not gaps, f"{gaps} offsets are in no batch")
    outcome.require(not overlaps, f"{overlaps} offsets are in more than one batch")
    marks = {place: mark for place, mark in found.watermarks.items() if mark}
    outcome.require(found.offsets == marks, f"stored offsets {found.offsets} are not the broker's {marks}")
    miscounted = [batch for batch in found.batches if batch.messages != batch.next_offset - batch.first_offset]
    outcome.require(not miscounted, f"{len(miscounted)} batches do not hold as many messages as offsets")
    told = sum(batch.versions for batch in found.batches)
    outcome.require(told == found.versions, f"batches tell of {told} versions, the tables hold {found.versions}")
    if found.reference:
        different = sorted(name for name in found.reference if found.digests.get(name) != found.reference[name])
        outcome.require(not different, f"digests differ from those of an undisturbed run: {', '.join(different)}")
    return outcome


def _stored_form(bad: Mapping[BadMessage, int]) -> Counter[BadMessage]:
    kept: Counter[BadMessage] = Counter()
    for (key, value), count in bad.items():
        kept[None if key is None else key[:KEY_BYTES], value] += count
    return kept


def _first(letters: Counter[BadMessage]) -> str:
    return repr(next(iter(letters), None))[:200]


def _tiling(batches: Iterable[Batch], watermarks: Mapping[Place, int]) -> tuple[int, int]:
    """Return how many offsets are in no batch, and in more than one."""
    gaps = overlaps = 0
    ends: dict[Place, int] = {}
    for batch in sorted(batches):
        place = (batch.topic, batch.partition)
        end = ends.get(place, 0)
        gaps += max(0, batch.first_offset - end)
        overlaps += max(0, min(end, batch.next_offset) - batch.first_offset)
        ends[place] = max(end, batch.next_offset)
    gaps += sum(max(0, mark - ends.get(place, 0)) for place, mark in watermarks.items())
    return gaps, overlaps


def read_found(engine: sa.Engine, topic_ids: Iterable[str], watermarks: dict[Place, int]) -> Found:
    """Read what the tables hold; digests are the caller's.

    Args:
        engine: of a user that may read the raw tables.
        topic_ids: ids of the topics as they are now.
        watermarks: the broker's next offsets.
    """
    s, o, b = schema.streams, schema.stream_offsets, schema.ingest_batches
    here = s.c.topic_id.in_(list(topic_ids))
    offsets = sa.select(s.c.topic, o.c.partition_no, o.c.next_offset).join(s, s.c.id == o.c.stream_id).where(here)
    columns = (b.c.partition_no, b.c.first_offset, b.c.next_offset, b.c.messages, b.c.versions)
    batches = sa.select(s.c.topic, *columns).join(s, s.c.id == b.c.stream_id).where(here)
    letters = sa.select(schema.dead_letters.c.message_key, schema.dead_letters.c.payload)
    with engine.connect() as connection:
        return Found(
            facts=[*_bars(connection), *_actions(connection)],
            dead=[(row.message_key, row.payload) for row in connection.execute(letters)],
            batches=[Batch(*row) for row in connection.execute(batches)],
            offsets={(row.topic, row.partition_no): row.next_offset for row in connection.execute(offsets)},
            watermarks=watermarks,
            versions=sum(_count(connection, table) for table in VERSIONED),
        )


VERSIONED = (schema.bars, schema.bar_revisions, schema.corporate_actions, schema.corporate_action_revisions)


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _bars(connection: sa.Connection) -> list[FactKey]:
    i, e, n, b = schema.instruments, schema.exchanges, schema.bar_intervals, schema.bars
    query = (
        sa.select(i.c.symbol, e.c.mic, n.c.name, b.c.bar_time)
        .select_from(b)
        .join(i, i.c.id == b.c.instrument_id)
        .join(e, e.c.id == i.c.exchange_id)
        .join(n, n.c.id == b.c.interval_id)
    )
    return [bar_key(*row) for row in connection.execute(query)]


def _actions(connection: sa.Connection) -> list[FactKey]:
    i, e, a = schema.instruments, schema.exchanges, schema.corporate_actions
    query = (
        sa.select(i.c.symbol, e.c.mic, a.c.ex_date, a.c.kind)
        .select_from(a)
        .join(i, i.c.id == a.c.instrument_id)
        .join(e, e.c.id == i.c.exchange_id)
    )
    return [action_key(*row) for row in connection.execute(query)]
