"""From the outbox to the targets: rules look at what is new, silent processes are found, what is due is sent.

Belongs here: joining rules, outbox and notifiers, one turn at a time. Stays out: the loop around it
(``sidecar.alert_delivery``), what Dagster observes (``alert_recording``), how a message is sent (``alerts``).
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.alerts.notifier import NotDeliveredError, Notifier
from streamlake_assets.market.alert_messages import compose
from streamlake_assets.market.alert_rules import Rule, Rules, backoff_s, bundle, hold_until, in_seconds, is_news
from streamlake_assets.market.alerts import Edge, Kind, Severity, alive
from streamlake_assets.stores import alert_outbox, alert_states
from streamlake_assets.stores.alert_outbox import Delivery, Row
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.operations import heartbeats

WATCH_S: Final = 5.0
REMIND_S: Final = 30.0
FORGET_S: Final = 600.0


class Turned(NamedTuple):
    """What a turn did: alerts that rules looked at, edges of heartbeats, alerts and messages that arrived, failures."""

    routed: int = 0
    heartbeats: int = 0
    arrived: int = 0
    messages: int = 0
    failed: int = 0
    given_up: int = 0


class AlertDesk:
    """Moves the outbox on. One process does; a second one sends nothing twice."""

    def __init__(
        self,
        engine: sa.Engine,
        rules: Rules,
        notifiers: Mapping[str, Notifier],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._notifiers = notifiers
        self._monotonic = monotonic
        self._begun: dt.datetime | None = None
        self._watched_at = self._reminded_at = self._forgot_at = -1e9
        self._failures: dict[str, tuple[int, float]] = {}

    def turn(self) -> Turned:
        """Watch, remind, route and deliver what is due.

        Raises:
            TryLaterError: the database is not available; what a target took before is noted by the next turn or sent
                to it again.
        """
        now = self._monotonic()
        found = 0
        if now - self._watched_at >= WATCH_S:
            found = len(self.watch())
            self._watched_at = now
        if now - self._reminded_at >= REMIND_S:
            self.remind()
            self._reminded_at = now
        if now - self._forgot_at >= FORGET_S:
            alert_states.forget_history(self._engine)
            self._forgot_at = now
        done = Turned(routed=self.route(), heartbeats=found)
        for target in self._rules.targets:
            if self._failures.get(target.name, (0, -1e9))[1] > now:
                continue
            done = _sum(done, self._deliver(target.name))
        return done

    def watch(self) -> list[Edge]:
        """Put into the outbox that a process has given no sign of life for too long, or beats again.

        One that never gave any counts from the first look on: it has the same time to begin.
        """
        with outages_as_try_later("reading heartbeats"), self._engine.connect() as connection:
            now = alert_outbox.clock(connection)
        self._begun = self._begun or now
        last = heartbeats(self._engine)
        seen = []
        for name, limit in self._rules.heartbeats.items():
            since = max(self._begun, last[name][0] if name in last else self._begun)
            seen.append(alive(name, (now - since).total_seconds(), in_seconds(limit), now))
        known = alert_states.known_subjects(self._engine, [Kind.HEARTBEAT])
        return alert_states.record(self._engine, seen, known)

    def remind(self) -> None:
        """Put reminders of what is still not well and was not acknowledged into the outbox."""
        with outages_as_try_later("reminding of alerts"), self._engine.begin() as connection:
            now = alert_outbox.clock(connection)
            for one in alert_outbox.open_alerts(connection):
                age_s = (now - one.row.at).total_seconds()
                pauses = [in_seconds(rule.remind) for rule in self._routes(one.row).values() if rule.remind]
                number = int(age_s // min(pauses)) if pauses else 0
                if number:
                    text = f"{one.row.text}\nSo for {dt.timedelta(seconds=int(age_s))}; see `streamlake alerts ack`."
                    alert_outbox.put_reminder(connection, one, number, text)

    def route(self) -> int:
        """Let the rules look at what is new in the outbox; return how many alerts they looked at."""
        with outages_as_try_later("routing alerts"), self._engine.begin() as connection:
            rows = alert_outbox.unrouted(connection)
            if not rows:
                return 0
            now = alert_outbox.clock(connection)
            for row in rows:
                for target, rule in self._routes(row).items():
                    self._route(connection, row, target, rule, now)
            alert_outbox.mark_routed(connection, [row.id for row in rows])
            return len(rows)

    def _routes(self, row: Row) -> dict[str, Rule]:
        found = self._rules.routes(Kind(row.kind), row.name or "", Severity(row.worst), row.recovered)
        return {target: rule for target, rule in found.items() if rule.remind or not row.reminder}

    def _route(self, connection: sa.Connection, row: Row, target: str, rule: Rule, now: dt.datetime) -> None:
        if row.kind == Kind.PROCESS:  # its raise and its recovery have no name in common
            alert_outbox.put_delivery(connection, row.id, target, now)
            return
        before = alert_outbox.heard(connection, target, row, now)
        alert_outbox.fold(connection, before.held, row.id)
        if not is_news(row.recovered, before.last):
            alert_outbox.put_delivery(connection, row.id, target, now, folded="nothing bad was told of it before")
            return
        cooldown_s = 0.0 if rule.cooldown is None else in_seconds(rule.cooldown)
        due = hold_until(Severity(row.severity), row.recovered, before.last_raise, cooldown_s, now)
        alert_outbox.put_delivery(connection, row.id, target, due)

    def _deliver(self, target: str) -> Turned:
        storm = self._rules.target(target).storm
        due, sent = alert_outbox.due(self._engine, target, in_seconds(storm.window))
        by_id = {one.id: one for one in due}
        done = Turned()
        for ids in bundle(list(by_id), sent, storm):
            mine = alert_outbox.claim(self._engine, [by_id[number] for number in ids])
            if mine:
                one = self._send(target, mine)
                done = _sum(done, one)
                if one.failed:
                    break  # the next one would fail as well, and each costs seconds
        return done

    def _send(self, target: str, mine: list[Delivery]) -> Turned:
        message = compose([one.alert.as_alert() for one in mine])
        try:
            receipt = self._notifiers[target].send(message)
        except NotDeliveredError as error:
            failures = self._failures.get(target, (0, 0.0))[0] + 1
            self._failures[target] = failures, self._monotonic() + backoff_s(failures)
            return Turned(failed=1, given_up=alert_outbox.failed(self._engine, mine, str(error)))
        self._failures.pop(target, None)
        alert_outbox.delivered(self._engine, mine, message.id, receipt.response)
        return Turned(arrived=len(mine), messages=1)


def _sum(one: Turned, other: Turned) -> Turned:
    return Turned(*(a + b for a, b in zip(one, other, strict=True)))
