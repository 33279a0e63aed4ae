"""Verdicts on data: pure judgements that asset checks, commands and pages share.

Belongs here: what is judged and the limit. Stays out: reading what is judged, and Dagster.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from streamlake_assets.market.session_documents import SessionDocument
from streamlake_assets.market.types import Interval

DEAD_LETTER_LIMIT = 0.05
"""Share of messages above which dead letters are no longer single bad messages."""
LAG_LIMIT = 10_000
"""Messages not yet stored above which the consumer does not keep up."""
HEARTBEAT_LIMIT_S = 60.0
SESSIONS_BEHIND = 5
"""Sessions of its own calendar by which an instrument may be behind market time: a week without a bar is no holiday."""
COVERAGE_BOUNDS = (0.80, 0.97)
"""For intervals that should hold 90 %: outside this over many sessions they are wrong, not unlucky."""
COVERAGE_LEAST = 100
"""Scores below which coverage says little."""
SKILL_TOO_GOOD = 0.5
"""Share of the baseline's error that no honest daily forecast removes: above it, look for a leak."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether something holds, in one sentence, with the value, the limit and what else was seen."""

    passed: bool
    text: str
    facts: dict[str, Any] = {}


def documents_equal_daily(
    documents: Iterable[SessionDocument], daily: Mapping[str, Mapping[str, Decimal | None]]
) -> Verdict:
    """Judge that session documents equal the daily bars of their sessions, number for number.

    That must hold of documents made from the daily bar itself or from bars that were made of it (bridged). Real
    intraday bars may differ from a provider's daily bar, by late prints or an auction: they are counted, not judged.

    Args:
        documents: of any interval.
        daily: open, high, low, close and volume of settled daily bars, by document key.
    """
    compared, different, apart = 0, [], 0
    for document in documents:
        bar = daily.get(document.key)
        if bar is None or not document.complete:
            continue
        compared += 1
        if any(value != bar[name] for name, value in document.values().items()):
            if document.interval is Interval.D1 or document.synthetic:
                different.append(document.key)
            else:
                apart += 1
    facts = {
        "compared": compared,
        "different": len(different),
        "first_different": different[:5],
        "real_intraday_apart": apart,
    }
    return Verdict(
        not different,
        f"{compared - len(different) - apart} of {compared} session documents equal their daily bar",
        facts,
    )


def documents_equal_bars(
    source: Mapping[str, str], stored: Mapping[str, str], first: dt.date, left_out: int = 0
) -> Verdict:
    """Judge that session documents are, to the byte, what their bars give now.

    Args:
        source: digests of the documents as made from the bars, by document key.
        stored: digests of the documents as stored, by document key.
        first: session from which on both were read.
        left_out: documents that are to be made again anyway: they are counted, not judged.
    """
    different = sorted(key for key in stored.keys() & source.keys() if stored[key] != source[key])
    without_bars, missing = sorted(stored.keys() - source.keys()), sorted(source.keys() - stored.keys())
    apart = len(different) + len(without_bars) + len(missing)
    facts = {
        "compared": len(stored.keys() | source.keys()),
        "left_out": left_out,
        "first_session": first.isoformat(),
        "different": len(different),
        "without_bars": len(without_bars),
        "missing": len(missing),
        "first_apart": [*different[:5], *without_bars[:5], *missing[:5]][:5],
    }
    text = f"{apart} of {facts['compared']} session documents since {first} are not what their bars give"
    if left_out:
        text += f"; {left_out} whose bars have moved on wait for the next refresh"
    return Verdict(not apart, text, facts)


def documents_cover(keys: Iterable[str], daily: Iterable[str]) -> Verdict:
    """Judge that every settled daily bar has a session document."""
    missing = sorted(set(daily) - set(keys))
    return Verdict(
        not missing,
        f"{len(missing)} settled sessions have no document",
        {"missing": len(missing), "first": missing[:5]},
    )


def dead_letter_rate(messages: int, dead: int) -> Verdict:
    """Judge that bad messages are few."""
    rate = dead / messages if messages else 0.0
    return Verdict(
        rate <= DEAD_LETTER_LIMIT,
        f"{dead} of {messages} messages are dead letters ({rate:.2%}, limit {DEAD_LETTER_LIMIT:.0%})",
        {"messages": messages, "dead": dead, "rate": rate, "limit": DEAD_LETTER_LIMIT},
    )


ANOMALY_CHECKS: Final = {
    "bars_have_no_gaps": "No bar of the exchange's calendar is missing",
    "prices_do_not_jump": "No price jumps without a corporate action",
    "feeds_do_not_hang": "No bars repeat the one before them again and again",
    "bars_arrive_in_order": "No bar arrives after a later one",
}
_KINDS_OF_CHECK: Final = {
    "bars_have_no_gaps": ("gaps",),
    "prices_do_not_jump": ("jumps",),
    "feeds_do_not_hang": ("stale",),
    "bars_arrive_in_order": ("out_of_order", "late"),
}


class SeriesAnomaly(Protocol):
    """What was found wrong with one bar."""

    @property
    def kind(self) -> str:
        """Class of the anomaly."""

    @property
    def symbol(self) -> str:
        """Of the instrument."""

    @property
    def interval(self) -> str:
        """Of the bar."""

    @property
    def bar_time(self) -> dt.datetime:
        """Start of the bar."""

    @property
    def detail(self) -> str:
        """What exactly."""


def anomaly_verdicts(bars: int, found: Iterable[SeriesAnomaly]) -> dict[str, Verdict]:
    """Judge the anomalies of so many bars, check by check: none is allowed."""
    by_kind: dict[str, list[SeriesAnomaly]] = {}
    for one in found:
        by_kind.setdefault(one.kind, []).append(one)
    verdicts = {}
    for name, kinds in _KINDS_OF_CHECK.items():
        wrong = [one for kind in kinds for one in by_kind.get(kind, ())]
        first = [f"{one.symbol} {one.interval} {one.bar_time.isoformat()}: {one.detail}" for one in wrong[:5]]
        verdicts[name] = Verdict(
            not wrong,
            f"{len(wrong)} of {bars} bars" + (f", first {first[0]}" if first else ""),
            {"bars": bars, "wrong": len(wrong), "first": first, "limit": 0},
        )
    return verdicts


def stored_once(twice: Sequence[str]) -> Verdict:
    """Judge that no session is there twice; ``twice`` names those that are."""
    facts = {"twice": len(twice), "first": list(twice[:5]), "limit": 0}
    first = f", first {twice[0]}" if twice else ""
    return Verdict(not twice, f"{len(twice)} sessions have more than one daily bar{first}", facts)


def instruments_are_current(behind: Mapping[str, int]) -> Verdict:
    """Judge how many sessions of its calendar each instrument is behind market time."""
    late = {name: sessions for name, sessions in sorted(behind.items()) if sessions > SESSIONS_BEHIND}
    worst = max(behind.values(), default=0)
    named = f": {', '.join(f'{name} by {sessions}' for name, sessions in list(late.items())[:5])}" if late else ""
    return Verdict(
        not late,
        f"{len(late)} of {len(behind)} instruments are behind market time{named}",
        {"behind": late, "worst": worst, "limit": SESSIONS_BEHIND},
    )


class Imbalance(msgspec.Struct, frozen=True):
    """A range of offsets of one partition that the tables do not account for, and what is wrong with it."""

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    what: str

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] offsets {self.first_offset}..{self.next_offset - 1}: {self.what}"


class PartitionCount(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages of one partition, by its batch records, its stored offset and its topic.

    ``first_offset``, ``batches_end`` and ``offsets`` are first, end and sum of the ranges of its batches; ``low`` and
    ``high`` are the topic's first offset held and next to be written, None where the topic was not asked or is gone.
    """

    topic: str
    partition: int
    first_offset: int
    batches_end: int
    stored_offset: int
    offsets: int = 0
    messages: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    older: int = 0
    dead: int = 0
    versions: int = 0
    low: int | None = None
    high: int | None = None

    @property
    def no_messages(self) -> int:
        """Stored offsets that were no message a reader sees: control records, messages of aborted transactions."""
        return self.offsets - self.messages

    @property
    def waiting(self) -> int | None:
        """Offsets on the topic that are not stored yet."""
        return None if self.high is None else max(0, self.high - self.stored_offset)


def partition_imbalances(count: PartitionCount) -> list[Imbalance]:
    """Judge the sums of one partition: its batches reach the stored offset, and both lie on the topic."""
    found = []

    def wrong(first: int, end: int, what: str) -> None:
        found.append(Imbalance(count.topic, count.partition, first, end, what))

    if count.batches_end < count.stored_offset:
        wrong(count.batches_end, count.stored_offset, "no batch record; the stored offset lies behind them")
    elif count.batches_end > count.stored_offset:
        wrong(count.stored_offset, count.batches_end, "batch records beyond the stored offset")
    if count.messages != count.new + count.changed + count.same + count.older + count.dead:
        wrong(count.first_offset, count.batches_end, "messages are not new + changed + same + older + dead")
    if count.low is not None and count.first_offset > count.low:
        wrong(count.low, count.first_offset, "on the topic, before the first batch record")
    if count.high is not None and count.stored_offset > count.high:
        wrong(count.high, count.stored_offset, "stored, beyond the end of the topic")
    return found


def ledger_balances(counts: Sequence[PartitionCount], imbalances: Sequence[Imbalance]) -> Verdict:
    """Judge that every message of the topics is in the tables exactly once, as one of five outcomes."""
    messages = sum(count.messages for count in counts)
    facts = {
        "messages": messages,
        "waiting": sum(count.waiting or 0 for count in counts),
        "imbalances": len(imbalances),
        "limit": 0,
        "first": [str(one) for one in imbalances[:20]],
    }
    if not imbalances:
        return Verdict(True, f"{messages} messages of {len(counts)} partitions are accounted for", facts)
    return Verdict(False, f"{len(imbalances)} ranges do not balance; first {imbalances[0]}", facts)


def keeps_up(lag: int) -> Verdict:
    """Judge that the consumer is not far behind the topics."""
    return Verdict(
        lag <= LAG_LIMIT, f"{lag} messages are not stored yet (limit {LAG_LIMIT})", {"lag": lag, "limit": LAG_LIMIT}
    )


def is_alive(age_s: float | None) -> Verdict:
    """Judge a process by the age of its last heartbeat; None: there was none."""
    if age_s is None:
        return Verdict(False, "no heartbeat was ever written", {"limit_s": HEARTBEAT_LIMIT_S})
    return Verdict(
        age_s <= HEARTBEAT_LIMIT_S,
        f"last heartbeat {age_s:.0f} s ago (limit {HEARTBEAT_LIMIT_S:.0f} s)",
        {"age_s": age_s, "limit_s": HEARTBEAT_LIMIT_S},
    )


def interval_coverage(covered: Sequence[bool]) -> Verdict:
    """Judge that forecasts' intervals hold about the share they promise."""
    low, high = COVERAGE_BOUNDS
    share = sum(covered) / len(covered) if covered else 0.0
    facts = {"scores": len(covered), "coverage": share, "low": low, "high": high}
    if len(covered) < COVERAGE_LEAST:
        return Verdict(True, f"{len(covered)} scores: fewer than {COVERAGE_LEAST} say little", facts)
    return Verdict(
        low <= share <= high, f"{share:.1%} of {len(covered)} outcomes lay inside their 90 % interval", facts
    )


def skill_is_plausible(skills: Mapping[str, float]) -> Verdict:
    """Judge that no model claims more than daily markets allow: such a number is a bug, not a discovery."""
    suspicious = sorted(version for version, skill in skills.items() if skill > SKILL_TOO_GOOD)
    return Verdict(
        not suspicious,
        f"{len(suspicious)} of {len(skills)} models claim a skill above {SKILL_TOO_GOOD}",
        {"suspicious": suspicious, "limit": SKILL_TOO_GOOD, "highest": max(skills.values(), default=0.0)},
    )
