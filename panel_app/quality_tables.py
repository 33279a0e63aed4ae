"""Quality and operations as HTML: servers, processes, latency by hop, counts, dead letters, checks, alerts.

Belongs here: tables and sentences out of answers. Stays out: reading, the view around them.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from panel_app import tables
from panel_app.board import Badge, age_text
from panel_app.data_store import PartitionLag
from panel_app.questions import CountsAnswer, DeadAnswer, OperationsAnswer
from panel_app.tables import Cell
from streamlake_assets.market.clock import REPLAY_PROCESS
from streamlake_assets.market.quality import DEAD_LETTER_LIMIT, HEARTBEAT_LIMIT_S
from streamlake_assets.stores.dead_letters import Letter, readable
from streamlake_assets.stores.page_quality import Percentiles

_SHOWN_BYTES: Final = 4_000
_STATE_WORDS: Final = ("state", "lag", "stopped", "sessions_per_second", "messages", "forecasts", "scores", "late")


def servers(known: Sequence[tuple[str, bool | None]]) -> str:
    """Return the health of each server."""
    shown = []
    for name, up in known:
        word = Badge("note", "not asked yet") if up is None else Badge("ok", "answers") if up else Badge("bad", "away")
        shown.append(f"<li>{tables.paragraph(name)}{tables.badge(word)}</li>")
    return tables.section("Servers", f'<ul class="health">{"".join(shown)}</ul>')


def lags(partitions: Sequence[PartitionLag]) -> str:
    """Return how far each partition of the topic of bars is stored."""
    rows = [
        (
            str(one.partition),
            f"{one.stored:,}",
            "–" if one.high is None else f"{one.high:,}",
            "unknown" if one.lag is None else Cell(f"{one.lag:,}", "ok" if one.lag == 0 else "warn"),
        )
        for one in partitions
    ]
    head = ("partition", "stored up to", "written up to", "lag")
    return tables.section("Lag by partition", tables.table(head, rows, text=0, empty="no topic yet"))


def processes(heartbeats: Mapping[str, tuple[dt.datetime, dict[str, Any]]], now: dt.datetime) -> str:
    """Return when each process beside Dagster was last heard of, and what it said."""
    rows = []
    for name, (beat_at, state) in sorted(heartbeats.items()):
        age = max(0.0, (now - beat_at).total_seconds())
        # a replay that is done or paused owes no more beats
        quiet = name == REPLAY_PROCESS and state.get("state") != "running"
        tone = "quiet" if quiet else "ok" if age <= HEARTBEAT_LIMIT_S else "bad"
        said = ", ".join(
            f"{word.replace('_', ' ')} {_short(state[word])}"
            for word in _STATE_WORDS
            if state.get(word) not in (None, [])
        )
        rows.append((name, Cell(f"{age_text(age)} ago", tone), said))
    head = ("process", "last heartbeat", "state")
    return tables.section("Processes", tables.table(head, rows, text=3, empty="no process has reported yet"))


def latency(answer: OperationsAnswer, to_page: Percentiles, now: dt.datetime) -> str:
    """Return percentiles hop by hop, as far as times are written down."""
    hops = [
        ("source to Kafka", answer.rows.to_broker, "event_time to the broker's time, newest rows"),
        ("Kafka to MySQL", answer.rows.to_table, "broker's time to the batch's record, newest rows"),
        (
            "MySQL to documents",
            answer.to_documents,
            "batch's record to the refresh, refreshes seen by this page server",
        ),
        (
            "Kafka to page",
            to_page,
            "broker's time to this server; the browser is sent it at once",
        ),
    ]
    rows = [
        (
            name,
            tables.seconds(found.p50),
            tables.seconds(found.p95),
            tables.seconds(found.p99),
            f"{found.count:,}",
            Cell(meaning, "quiet"),
        )
        for name, found, meaning in hops
    ]
    if answer.refreshed_at is None:
        said = "Documents were never made."
    else:
        said = f"Documents were last refreshed {age_text(max(0.0, (now - answer.refreshed_at).total_seconds()))} ago."
    head = ("hop", "p50", "p95", "p99", "measured", "what is measured")
    return tables.section("Latency by hop", tables.table(head, rows, last=1), tables.paragraph(said, "small quiet"))


def counts(answer: CountsAnswer) -> str:
    """Return the count ledger: whether every message is in the tables once."""
    rows: list[Sequence[str | Cell]] = [
        (
            one.topic,
            str(one.partition),
            f"{one.messages:,}",
            *(f"{getattr(one, name):,}" for name in ("new", "changed", "same", "older")),
            Cell(f"{one.dead:,}", "warn" if one.dead else ""),
            f"{one.stored_offset:,}",
        )
        for one in answer.partitions
    ]
    head = ("topic", "partition", "messages", "new", "changed", "same", "older", "dead", "stored up to")
    if answer.imbalances:
        word = Badge("bad", f"{len(answer.imbalances)} ranges do not add up")
        wrong = tables.bullets(str(one) for one in answer.imbalances[:20])
    else:
        word, wrong = Badge("ok", "every message is counted once"), ""
    shown = tables.table(head, rows, text=1, empty="nothing was stored yet")
    note = "messages = new + changed + same + older + dead, partition by partition"
    return tables.section("Count ledger", f"<p>{tables.badge(word)}</p>", wrong, shown, note=note)


def dead_summary(answer: DeadAnswer) -> str:
    """Return how many dead letters there are, by reason."""
    in_all = sum(number for _, number in answer.reasons.values())
    share = in_all / answer.messages if answer.messages else 0.0
    tone = "bad" if share > DEAD_LETTER_LIMIT else "ok" if not in_all else "note"
    said = f"{in_all:,} of {answer.messages:,} messages, {share:.3%} (limit {DEAD_LETTER_LIMIT:.0%})"
    rows = [(reason, f"{still_open:,}", f"{number:,}") for reason, (still_open, number) in answer.reasons.items()]
    by_reason = tables.table(("reason", "open", "in all"), rows, empty="no message broke the contract")
    return tables.section("Dead letters", f"<p>{tables.badge(Badge(tone, said))}</p>", by_reason)


def letters(answer: DeadAnswer, picked: int | None, acts: Mapping[int, tuple[Cell, Cell]] | None = None) -> str:
    """Return the newest letters, each with a button that shows what it said.

    Args:
        answer: what was read.
        picked: whose payload is shown.
        acts: letter -> button that replays it, what is known of that; None: these letters cannot be replayed.
    """
    rows = [
        (
            str(one.id),
            one.reason,
            one.detail,
            "–" if one.key is None else readable(one.key)[:40],
            f"{one.topic}[{one.partition}]",
            f"{one.offset:,}",
            tables.moment(one.broker_time),
            one.state,
            Cell("shown" if one.id == picked else "payload", "on" if one.id == picked else "", str(one.id)),
            *((acts or {}).get(one.id, (Cell(""), Cell(""))) if acts is not None else ()),
        )
        for one in answer.letters
    ]
    head = ["id", "reason", "what was wrong", "key", "topic", "offset", "broker time", "state", ""]
    more = ["", "asked for"] if acts is not None else []
    return tables.table(head + more, rows, text=5, last=3 + len(more), empty="none in this state")


def letter_page(letter: Letter, payload: bytes | None, *, by_button: bool = False) -> str:
    """Return one letter whole: what it said, and how it is replayed; ``by_button``: its row has a button for that."""
    said = f"{letter.topic}[{letter.partition}] offset {letter.offset:,}: {letter.reason}, {letter.detail}"
    if payload is None:
        shown = tables.paragraph("the message had no value", "quiet")
    else:
        more = f" … {len(payload) - _SHOWN_BYTES:,} bytes more" if len(payload) > _SHOWN_BYTES else ""
        shown = tables.code(payload[:_SHOWN_BYTES].decode("utf-8", "backslashreplace") + more)
    parts = [tables.paragraph(said), shown]
    if letter.state == "open":
        drop = f"streamlake dead-letters drop {letter.id}"
        if by_button:
            parts.append(tables.paragraph("Once its cause is mended, Replay judges it again by the contract of today."))
            parts.append(tables.paragraph("To put it aside:", "quiet") + tables.code(drop))
        else:
            said = "Once its cause is mended, judge it again by the contract of today, or put it aside:"
            commands = f"streamlake dead-letters replay {letter.id}\n{drop}"
            parts.append(tables.paragraph(said) + tables.code(commands))
    return tables.section(f"Dead letter {letter.id}", *parts)


def checks_and_alerts(answer: OperationsAnswer) -> str:
    """Return the last evaluation of each recorded check, and the newest alerts."""
    rows = [
        (
            one.asset,
            one.check,
            Cell("holds", "ok") if one.passed else Cell("fails", "bad" if one.severity == "error" else "warn"),
            tables.moment(one.evaluated_at),
            f"{one.failed:,} of {one.recorded:,}",
        )
        for one in answer.checks
    ]
    head = ("asset", "check", "last", "evaluated", "failed of recorded")
    found = tables.section("Checks", tables.table(head, rows, text=4, empty="no evaluation is recorded yet"))
    raised = [
        (
            tables.moment(one.created_at),
            Cell(one.severity, {"error": "bad", "warning": "warn"}.get(one.severity, "quiet")),
            one.state,
            one.subject,
            tables.moment(one.sent_at) if one.sent_at else "not sent",
            one.acked_by or "–",
        )
        for one in answer.alerts
    ]
    columns = ("raised", "severity", "state", "subject", "sent", "seen by")
    return found + tables.section("Alerts", tables.table(columns, raised, text=6, empty="no alert was raised"))


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)[:60]
