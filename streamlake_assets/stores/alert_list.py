"""Alerts as people ask for them: listed with the proof of their deliveries, acknowledged, counted.

Belongs here: what commands and pages show of the outbox, rules as they are in force. Stays out: moving the outbox on
(``alert_outbox``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.errors import UsageError
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later

_O, _D, _S, _A = schema.alert_outbox.c, schema.alert_deliveries.c, schema.alert_states.c, schema.alert_acks.c


def newest(engine: sa.Engine, last: int, only_open: bool = False) -> list[dict[str, Any]]:
    """Return the newest alerts, the newest first, each with its deliveries.

    Args:
        engine: of a user that reads.
        last: how many.
        only_open: only those about subjects that are not well now.

    Raises:
        TryLaterError: the database is not available.
    """
    query = (
        sa.select(schema.alert_outbox, _A.acked_by, _A.acked_at, _S.state.label("now"))
        .outerjoin(schema.alert_acks, _A.alert_id == _O.id)
        .outerjoin(schema.alert_states, sa.and_(_S.alert_id == _O.id, _S.state != "pass"))
        .order_by(_O.id.desc())
        .limit(last)
    )
    if only_open:
        query = query.where(_S.state.is_not(None))
    with outages_as_try_later("listing alerts"), engine.connect() as connection:
        rows = connection.execute(query).all()
        wanted = sa.select(schema.alert_deliveries).where(_D.alert_id.in_([row.id for row in rows])).order_by(_D.id)
        found: dict[int, list[dict[str, Any]]] = {}
        for one in connection.execute(wanted):
            found.setdefault(one.alert_id, []).append(
                {
                    "target": one.target,
                    "state": one.state,
                    "attempts": one.attempts,
                    "due_at": _iso(one.due_at) if one.state == "waiting" else None,
                    "delivered_at": _iso(one.delivered_at),
                    "message": one.message,
                    "response": one.response,
                }
            )
    return [
        {
            "id": row.id,
            "kind": row.kind,
            "name": row.name,
            "state": row.state,
            "severity": row.severity,
            "headline": row.subject,
            "text": row.body,
            "at": _iso(row.created_at),
            "open": row.now is not None,
            "acknowledged_by": row.acked_by,
            "acknowledged_at": _iso(row.acked_at),
            "routed": row.routed_at is not None,
            "deliveries": found.get(row.id, []),
        }
        for row in rows
    ]


def acknowledge(engine: sa.Engine, alert: int | None, by: str) -> list[int]:
    """Note who has seen an alert, or all open ones; return those of which nobody had said so before.

    Raises:
        UsageError: there is no alert of that number.
        TryLaterError: the database is not available.
    """
    seen = []
    with outages_as_try_later("acknowledging alerts"), engine.begin() as connection:
        if alert is None:
            wanted = sa.select(_S.alert_id).where(_S.state != "pass", _S.alert_id.is_not(None))
            numbers = list(connection.execute(wanted.order_by(_S.alert_id)).scalars())
        else:
            numbers = list(connection.execute(sa.select(_O.id).where(_O.id == alert)).scalars())
            if not numbers:
                raise UsageError(f"there is no alert {alert}: `streamlake alerts list` shows those that are")
        for number in numbers:
            there = connection.execute(sa.select(_A.alert_id).where(_A.alert_id == number).with_for_update()).first()
            put = mysql.insert(schema.alert_acks).values(alert_id=number, acked_by=by[:128])
            connection.execute(put.on_duplicate_key_update(alert_id=_A.alert_id))
            seen += [] if there else [number]
    return seen


def backlog(engine: sa.Engine) -> dict[str, int]:
    """Return how many deliveries wait, and how many were given up, for the signs of life of who delivers."""
    query = sa.select(_D.state, sa.func.count()).where(_D.state.in_(["waiting", "given_up"])).group_by(_D.state)
    with outages_as_try_later("counting alerts"), engine.connect() as connection:
        counted = {state: int(number) for state, number in connection.execute(query)}
    return {"waiting": counted.get("waiting", 0), "given_up": counted.get("given_up", 0)}


def put_rules(engine: sa.Engine, rules: Sequence[Mapping[str, Any]]) -> None:
    """Replace the rules and limits that others read by those in force; they hold no secrets, only where these stand."""
    r = schema.alert_rules.c
    with outages_as_try_later("writing rules of alerts"), engine.begin() as connection:
        connection.execute(sa.delete(schema.alert_rules).where(r.name.not_in([rule["name"] for rule in rules])))
        for rule in rules:
            put = mysql.insert(schema.alert_rules).values(
                name=rule["name"], definition=dict(rule), enabled=rule.get("enabled", True)
            )
            connection.execute(
                put.on_duplicate_key_update(definition=put.inserted.definition, enabled=put.inserted.enabled)
            )


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()
