"""States of subjects in MySQL, and their edges into the outbox: each edge once, whoever sees it and how often.

Belongs here: compare and write in one transaction, check history beside it. Stays out: what an edge is
(``market.alerts``), who is told (``alert_outbox``).

The state row is locked, compared and moved in the transaction that writes the alert. Two sensors that look at the same
time, or one that dies before it can note how far it was, find the row moved and write nothing.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.market.alerts import KEY_LENGTH, Edge, Kind, Known, Observation, State, advance, fitting, judge
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later

HISTORY_DAYS = 14
"""So long evaluations are kept in ``check_history``; Dagster has all of them."""
_MOST_BODY = 8_000
_MOST_FORGOTTEN = 5_000


def known_subjects(engine: sa.Engine, kinds: Iterable[Kind] = tuple(Kind)) -> dict[str, Known]:
    """Return what was judged of each subject of these kinds.

    Raises:
        TryLaterError: the database is not available.
    """
    with outages_as_try_later("reading states of alerts"), engine.connect() as connection:
        return known_within(connection, kinds)


def record(engine: sa.Engine, seen: Sequence[Observation], known: Mapping[str, Known] | None = None) -> list[Edge]:
    """Judge observations and put each edge into the outbox; one transaction for each subject; repeatable.

    Args:
        engine: of the writer.
        seen: in any order.
        known: what was read of these subjects before: one of which nothing is new costs no transaction.

    Returns:
        The edges that this call wrote.

    Raises:
        TryLaterError: the database is not available; what is missing is written by the next call.
    """
    edges: list[Edge] = []
    by_subject = sorted(seen, key=lambda one: (one.subject, one.order))
    with outages_as_try_later("recording states of alerts"):
        for subject, group in groupby(by_subject, key=lambda one: one.subject):
            found = list(group)
            before = Known() if known is None else known.get(subject, Known())
            if known is not None and all(_says_nothing(before, one) for one in found):
                continue
            with engine.begin() as connection:
                edges += _record_subject(connection, subject, found)
    return edges


def record_within(connection: sa.Connection, seen: Sequence[Observation]) -> list[Edge]:
    """Judge observations and put each edge into the outbox, all in the caller's transaction; repeatable."""
    by_subject = groupby(sorted(seen, key=lambda one: (one.subject, one.order)), key=lambda one: one.subject)
    return [edge for subject, group in by_subject for edge in _record_subject(connection, subject, list(group))]


def known_within(connection: sa.Connection, kinds: Iterable[Kind]) -> dict[str, Known]:
    """Return what was judged of each subject of these kinds, as the caller's transaction sees it."""
    t = schema.alert_states.c
    query = sa.select(t.subject, t.state, t.seen, t.edges).where(t.kind.in_([kind.value for kind in kinds]))
    return {row.subject: Known(State(row.state), row.seen, row.edges) for row in connection.execute(query)}


def forget_history(engine: sa.Engine) -> int:
    """Remove the oldest evaluations that are past their time, some thousand at most; return how many.

    Raises:
        TryLaterError: the database is not available.
    """
    h = schema.check_history
    with outages_as_try_later("forgetting evaluations"), engine.begin() as connection:
        now = connection.execute(sa.select(schema.NOW)).scalar_one()
        # ids grow with time: no index on the time alone is needed
        oldest = connection.execute(sa.select(h.c.id, h.c.evaluated_at).order_by(h.c.id).limit(_MOST_FORGOTTEN))
        past = [number for number, at in oldest if at < now - dt.timedelta(days=HISTORY_DAYS)]
        if past:
            connection.execute(sa.delete(h).where(h.c.id.in_(past)))
    return len(past)


def _says_nothing(known: Known, seen: Observation) -> bool:
    # a check's evaluation is kept in its history even when nothing changed; of all else only edges are news
    return seen.order <= known.order or (seen.kind is not Kind.CHECK and judge(known, seen) is None)


def _record_subject(connection: sa.Connection, subject: str, seen: Sequence[Observation]) -> list[Edge]:
    t = schema.alert_states
    first = seen[0]
    begun = mysql.insert(t).values(
        subject=subject, kind=first.kind.value, name=_name(first), state=State.PASS.value, seen=-1, edges=0
    )
    # locks the row, also when it was there
    connection.execute(begun.on_duplicate_key_update(subject=t.c.subject))
    row = connection.execute(sa.select(t).where(t.c.subject == subject).with_for_update()).one()
    known, alert_id, since = Known(State(row.state), row.seen, row.edges), row.alert_id, row.since
    edges: list[Edge] = []
    for one in seen:
        if one.order <= known.order:
            continue
        if one.kind is Kind.CHECK and one.state is not State.SKIPPED:
            connection.execute(sa.insert(schema.check_history).values(_history(one)))
        edge = judge(known, one)
        if edge is not None:
            alert_id, since = _put(connection, edge), one.at.replace(tzinfo=None)
            edges.append(edge)
        known = advance(known, one)
    moved = {"state": known.state.value, "seen": known.order, "edges": known.edges}
    connection.execute(sa.update(t).where(t.c.subject == subject).values(**moved, alert_id=alert_id, since=since))
    return edges


def _put(connection: sa.Connection, edge: Edge) -> int:
    o = schema.alert_outbox
    seen = edge.observation
    values = {
        "dedupe_key": edge.dedupe_key,
        "state": "recovered" if edge.recovered else "raised",
        "severity": edge.severity.value,
        "worst": edge.worst.value,
        "kind": seen.kind.value,
        "name": _name(seen),
        "subject": edge.headline[:255],
        "body": seen.text[:_MOST_BODY],
    }
    put = mysql.insert(o).values(**values)
    # a row of that key is there only when a downgrade lost the states: it counts, and is not told again
    connection.execute(put.on_duplicate_key_update(id=o.c.id))
    return int(connection.execute(sa.select(o.c.id).where(o.c.dedupe_key == edge.dedupe_key)).scalar_one())


def _history(seen: Observation) -> dict[str, Any]:
    asset, _, check = seen.name.rpartition(":")
    return {
        "asset": asset[:190],
        "check_name": check[:128],
        "passed": seen.state is State.PASS,
        "severity": "warn" if seen.state is State.WARN else "error",
        "detail": {"text": seen.text, "state": seen.state.value, **seen.facts},
        "evaluated_at": seen.at.replace(tzinfo=None),
    }


def _name(seen: Observation) -> str:
    return fitting(seen.name, KEY_LENGTH)
