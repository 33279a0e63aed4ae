"""The outbox on its way out: which alerts go to which targets, when, and the proof that they arrived.

Belongs here: reading and moving ``alert_outbox`` and ``alert_deliveries``. Stays out: edges (``alert_states``), who is
told and when (``market.alert_rules``), sending.

A delivery is claimed by counting its attempt before it is sent; of two processes one finds the count moved. One that
dies in between leaves the row waiting, and it is sent again when its claim ran out: at least once, and as a rule once.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.market.alert_messages import Alert
from streamlake_assets.market.alert_rules import GIVE_UP_S, Told, backoff_s
from streamlake_assets.market.alerts import Severity, reminder_key
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later

CLAIM_S = 60
"""A delivery whose process died is taken up again after so many seconds."""
_MOST_DUE = 500


class Row(NamedTuple):
    """An alert of the outbox, as rules see it."""

    id: int
    kind: str
    name: str | None
    state: str
    severity: str
    worst: str
    headline: str
    text: str
    at: dt.datetime
    key: str

    @property
    def reminder(self) -> bool:
        """Whether it repeats an earlier one."""
        return "~" in self.key.rpartition("#")[2]

    @property
    def recovered(self) -> bool:
        """Whether it says that something is well again."""
        return self.state == "recovered"

    def as_alert(self) -> Alert:
        """Return it as messages tell it."""
        return Alert(self.id, self.kind, self.name or "", self.state, self.severity, self.headline, self.text, self.at)


class Delivery(NamedTuple):
    """An alert that waits for a target."""

    id: int
    attempts: int
    alert: Row


class Open(NamedTuple):
    """A subject that is not well, of which nobody said that he has seen it."""

    row: Row
    subject: str
    edges: int


_O, _D, _S, _A = schema.alert_outbox.c, schema.alert_deliveries.c, schema.alert_states.c, schema.alert_acks.c
_ROW = (_O.id, _O.kind, _O.name, _O.state, _O.severity, _O.worst, _O.subject, _O.body, _O.created_at, _O.dedupe_key)


def clock(connection: sa.Connection) -> dt.datetime:
    """Return the database's time: the one clock of everything that is due."""
    return _aware(connection.execute(sa.select(schema.NOW)).scalar_one())


def unrouted(connection: sa.Connection, most: int = 1_000) -> list[Row]:
    """Return the alerts that no rule has looked at, the oldest first, locked for this transaction."""
    query = sa.select(*_ROW).where(_O.routed_at.is_(None)).order_by(_O.id).limit(most).with_for_update()
    return [_row(row) for row in connection.execute(query)]


class Heard(NamedTuple):
    """What a target was told, or is about to be told, of one subject before an alert."""

    last: Told | None
    last_raise: Told | None
    held: tuple[int, ...]
    """Deliveries that wait for a cooldown: an alert overtakes them."""


def heard(connection: sa.Connection, target: str, row: Row, now: dt.datetime) -> Heard:
    """Return what a target heard of the subject of an alert before it."""
    query = (
        sa.select(_D.id, _D.state, _D.attempts, _D.due_at, _D.delivered_at, _O.state, _O.severity, _O.created_at)
        .join_from(schema.alert_deliveries, schema.alert_outbox, _O.id == _D.alert_id)
        .where(_D.target == target, _D.state != "folded", _O.kind == row.kind, _O.name == row.name, _O.id < row.id)
        .order_by(_O.id.desc())
        .limit(20)
    )
    told, held = [], []
    for number, state, attempts, due_at, delivered_at, said, severity, created_at in connection.execute(query):
        if state == "waiting" and attempts == 0 and _aware(due_at) > now:
            held.append(number)
        else:
            told.append(Told(said == "recovered", Severity(severity), _aware(delivered_at or created_at)))
    return Heard(told[0] if told else None, next((one for one in told if not one.recovered), None), tuple(held))


def fold(connection: sa.Connection, deliveries: Sequence[int], into: int) -> None:
    """Take back deliveries that a later alert makes idle."""
    if not deliveries:
        return
    folded = sa.update(schema.alert_deliveries).where(_D.id.in_(deliveries), _D.state == "waiting")
    connection.execute(folded.values(state="folded", response=f"overtaken by alert {into}"))


def put_delivery(
    connection: sa.Connection, alert: int, target: str, due: dt.datetime, folded: str | None = None
) -> None:
    """Let an alert wait for a target, or note why that target does not hear of it; the same twice is once."""
    put = mysql.insert(schema.alert_deliveries).values(
        alert_id=alert,
        target=target,
        state="waiting" if folded is None else "folded",
        due_at=due.replace(tzinfo=None),
        response=folded,
    )
    connection.execute(put.on_duplicate_key_update(id=_D.id))


def mark_routed(connection: sa.Connection, alerts: Sequence[int]) -> None:
    """Note that rules have looked at alerts."""
    connection.execute(sa.update(schema.alert_outbox).where(_O.id.in_(alerts)).values(routed_at=schema.NOW))


def due(engine: sa.Engine, target: str, window_s: float) -> tuple[list[Delivery], int]:
    """Return what is due for a target, the oldest first, and how many messages it got in the last ``window_s`` seconds.

    Raises:
        TryLaterError: the database is not available.
    """
    with outages_as_try_later("reading alerts"), engine.connect() as connection:
        now = clock(connection).replace(tzinfo=None)
        query = (
            sa.select(_D.id.label("delivery"), _D.attempts, *_ROW)
            .join_from(schema.alert_deliveries, schema.alert_outbox, _O.id == _D.alert_id)
            .where(_D.target == target, _D.state == "waiting", _D.due_at <= now)
            .order_by(_O.id)
            .limit(_MOST_DUE)
        )
        waiting = [Delivery(row.delivery, row.attempts, _row(row[2:])) for row in connection.execute(query)]
        sent = sa.select(sa.func.count(sa.distinct(_D.message))).where(
            _D.target == target, _D.state == "delivered", _D.delivered_at > now - dt.timedelta(seconds=window_s)
        )
        return waiting, int(connection.execute(sent).scalar_one())


def claim(engine: sa.Engine, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Count an attempt of each delivery, unless another process did; return those that are this one's to send."""
    before = {one.id: one for one in deliveries}
    with outages_as_try_later("claiming alerts"), engine.begin() as connection:
        until = clock(connection) + dt.timedelta(seconds=CLAIM_S)
        locked = sa.select(_D.id, _D.attempts).where(_D.id.in_(before), _D.state == "waiting").with_for_update()
        mine = [
            before[number]._replace(attempts=attempts + 1)
            for number, attempts in connection.execute(locked.order_by(_D.id))
            if before[number].attempts == attempts
        ]
        counted = sa.update(schema.alert_deliveries).where(_D.id.in_([one.id for one in mine]))
        connection.execute(counted.values(attempts=_D.attempts + 1, due_at=until.replace(tzinfo=None)))
        tried = sa.update(schema.alert_outbox).where(_O.id.in_([one.alert.id for one in mine]))
        connection.execute(tried.values(attempts=_O.attempts + 1))
    return mine


def delivered(engine: sa.Engine, deliveries: Sequence[Delivery], message: str, response: str) -> None:
    """Keep the proof that a target took a message."""
    with outages_as_try_later("noting a delivery"), engine.begin() as connection:
        connection.execute(
            sa.update(schema.alert_deliveries)
            .where(_D.id.in_([one.id for one in deliveries]))
            .values(state="delivered", delivered_at=schema.NOW, message=message, response=response[:512])
        )
        waits = sa.select(_D.id).where(_D.alert_id == _O.id, _D.state == "waiting").exists()
        connection.execute(
            sa.update(schema.alert_outbox)
            .where(_O.id.in_([one.alert.id for one in deliveries]), _O.sent_at.is_(None), sa.not_(waits))
            .values(sent_at=schema.NOW)
        )


def failed(engine: sa.Engine, deliveries: Sequence[Delivery], response: str) -> int:
    """Put deliveries off, the longer the more often they failed; return how many are given up: they are too old."""
    with outages_as_try_later("noting a failed delivery"), engine.begin() as connection:
        now = clock(connection)
        old = {one.id for one in deliveries if (now - one.alert.at).total_seconds() > GIVE_UP_S}
        noted = sa.update(schema.alert_deliveries)
        for attempts in sorted({one.attempts for one in deliveries}):
            later = now + dt.timedelta(seconds=backoff_s(attempts))
            these = [one.id for one in deliveries if one.attempts == attempts]
            values = {"due_at": later.replace(tzinfo=None), "response": response[:512]}
            connection.execute(noted.where(_D.id.in_(these)).values(**values))
        if old:
            connection.execute(noted.where(_D.id.in_(old)).values(state="given_up"))
    return len(old)


def open_alerts(connection: sa.Connection) -> list[Open]:
    """Return the subjects that are not well and whose alert nobody acknowledged."""
    query = (
        sa.select(*_ROW, _S.subject.label("subject_key"), _S.edges)
        .join_from(schema.alert_states, schema.alert_outbox, _O.id == _S.alert_id)
        .outerjoin(schema.alert_acks, _A.alert_id == _O.id)
        .where(_S.state != "pass", _A.alert_id.is_(None))
    )
    return [Open(_row(row[:10]), row.subject_key, row.edges) for row in connection.execute(query)]


def put_reminder(connection: sa.Connection, about: Open, number: int, text: str) -> None:
    """Put a reminder of a subject that is still not well into the outbox; the same number twice is one."""
    o = about.row
    put = mysql.insert(schema.alert_outbox).values(
        dedupe_key=reminder_key(about.subject, about.edges, number),
        state="raised",
        severity=o.severity,
        worst=o.severity,
        kind=o.kind,
        name=o.name,
        subject=f"Still: {o.headline}"[:255],
        body=text,
    )
    connection.execute(put.on_duplicate_key_update(id=_O.id))


def _row(row: Any) -> Row:
    number, kind, name, state, severity, worst, headline, text, at, key = row
    return Row(number, kind, name, state, severity, worst, headline, text, _aware(at), key)


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=UTC)
