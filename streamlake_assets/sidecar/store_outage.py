"""That the outbox itself is away: told past it, straight to the targets, because nothing else could be.

Belongs here: when an outage of MySQL becomes a message, and its end another. Stays out: all other alerts, which the
outbox holds (``flows.alert_desk``).

What was sent is kept in this process alone: one that starts anew during an outage tells it once more.
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from streamlake_assets.alerts.notifier import NotDeliveredError, Notifier
from streamlake_assets.market.alert_messages import Alert, compose
from streamlake_assets.market.alert_rules import Rules, backoff_s
from streamlake_assets.market.alerts import Kind, Severity

SUBJECT: Final = "mysql"
"""Name of the subject, of the kind ``heartbeat``, for rules."""
LIMIT_S: Final = 60.0
"""An outage that is shorter, in seconds, is no news: the consumer waits it out."""


class StoreOutage:
    """Tells each target once that the store is away, and once that it is back."""

    def __init__(
        self,
        rules: Rules,
        notifiers: Mapping[str, Notifier],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._notifiers = notifiers
        self._monotonic = monotonic
        self._since: float | None = None
        self._text = ""
        self._told: set[str] = set()
        self._tries: dict[str, tuple[int, float]] = {}
        self._log = structlog.get_logger(component="alerts")

    def away(self, why: str) -> None:
        """Say that the store did not answer just now."""
        now = self._monotonic()
        if self._since is None:
            self._since, self._text, self._tries = now, why, {}
        if now - self._since >= LIMIT_S:
            alert = self._alert("raised", f"No alert can be read or written. {self._text}")
            for target in self._targets(recovered=False) - self._told:
                if self._send(target, alert):
                    self._told.add(target)

    def back(self) -> None:
        """Say that the store answered just now."""
        if self._since is not None:
            self._since, self._tries = None, {}
        if self._told:
            alert = self._alert("recovered", "It answers again; what was seen meanwhile is told now.")
            wanted = self._targets(recovered=True)
            self._told = {target for target in self._told & wanted if not self._send(target, alert)}

    def _targets(self, recovered: bool) -> set[str]:
        return set(self._rules.routes(Kind.HEARTBEAT, SUBJECT, Severity.ERROR, recovered))

    def _send(self, target: str, alert: Alert) -> bool:
        failures, again = self._tries.get(target, (0, 0.0))
        if failures and self._monotonic() < again:
            return False
        try:
            receipt = self._notifiers[target].send(compose([alert])._replace(id=f"store-{alert.state}-{alert.id}"))
        except NotDeliveredError as error:
            self._tries[target] = failures + 1, self._monotonic() + backoff_s(failures + 1)
            self._log.warning("not_delivered", target=target, error=str(error))
            return False
        self._log.info("told_past_the_outbox", target=target, state=alert.state, response=receipt.response)
        return True

    def _alert(self, state: str, text: str) -> Alert:
        now = dt.datetime.now(dt.UTC)
        headline = "Failed: mysql" if state == "raised" else "Recovered: mysql"
        severity = Severity.ERROR if state == "raised" else Severity.INFO
        return Alert(int(now.timestamp()), Kind.HEARTBEAT.value, SUBJECT, state, severity.value, headline, text, now)
