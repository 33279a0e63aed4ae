"""The delivery process: takes alerts from the outbox to their targets, and sees when other processes fall silent.

Belongs here: the loop around ``flows.alert_desk``; metrics. Stays out: Dagster: when its daemon stops, this process is
who says so; signals, heartbeat, exit codes (``stream_process``).
"""

import os
import sys
from pathlib import Path
from time import sleep
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge

from streamlake_assets.alerts.rules_file import LoadedRules, load_rules
from streamlake_assets.errors import TryLaterError
from streamlake_assets.flows.alert_desk import AlertDesk, Turned
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.store_outage import StoreOutage
from streamlake_assets.sidecar.stream_process import StreamProcess, run_process
from streamlake_assets.stores import alert_list
from streamlake_assets.stores.mysql import make_engine

PROCESS: Final = "alerts"
SETTING: Final = "STREAMLAKE_ALERTS_PORT"
PAUSE_S: Final = 1.0


class DeliveryMetrics:
    """Counters of the delivery since its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.arrived = Counter("streamlake_alerts_delivered", "Alerts that a target took", registry=self.registry)
        self.messages = Counter("streamlake_alert_messages", "Messages that a target took", registry=self.registry)
        self.failed = Counter(
            "streamlake_alert_failures", "Messages that a target did not take", registry=self.registry
        )
        self.given_up = Counter("streamlake_alerts_given_up", "Deliveries given up", registry=self.registry)
        self.outages = Counter("streamlake_alert_outages", "Turns put off by the database", registry=self.registry)
        self.waiting = Gauge("streamlake_alerts_waiting", "Deliveries that wait", registry=self.registry)

    def count(self, turned: Turned) -> None:
        """Add what a turn did."""
        self.arrived.inc(turned.arrived)
        self.messages.inc(turned.messages)
        self.failed.inc(turned.failed)
        self.given_up.inc(turned.given_up)


class AlertDelivery(StreamProcess):
    """One delivery: ``run`` returns when asked to stop."""

    name = PROCESS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._metrics = DeliveryMetrics()

    def run(self) -> None:
        """Deliver until stopped.

        Raises:
            UsageError: the rule file is wrong, the schema is missing, or MySQL refuses the user.
        """
        loaded = load_configured(self._settings)
        with self._served(self._settings.alerts_port, self._metrics.registry, SETTING):
            engine = make_engine(self._settings, DatabaseRole.WRITER)
            try:
                self._until_answered(lambda: alert_list.put_rules(engine, described(loaded)["rules"]))
                desk = AlertDesk(engine, loaded.rules, loaded.notifiers)
                outage = StoreOutage(loaded.rules, loaded.notifiers)
                self._log.info("delivering", rules=len(loaded.rules.rules), targets=sorted(loaded.notifiers))
                self._until_stopped(lambda: self._turn(engine, desk, outage))
            finally:
                engine.dispose()

    def _turn(self, engine: sa.Engine, desk: AlertDesk, outage: StoreOutage) -> None:
        self._pulse.turn()
        try:
            turned = desk.turn()
        except TryLaterError as error:
            self._metrics.outages.inc()
            outage.away(str(error))
            raise
        outage.back()
        self._metrics.count(turned)
        if turned != Turned():
            self._log.info("turned", **turned._asdict())
        self._pulse.ready = True
        if self._heartbeat_due:
            waiting = alert_list.backlog(engine)
            self._metrics.waiting.set(waiting["waiting"])
            self._write_heartbeat(engine, waiting["waiting"], waiting)
        if not turned.messages:
            sleep(PAUSE_S)


def load_configured(settings: Settings) -> LoadedRules:
    """Read the rule file that the settings name.

    Raises:
        UsageError: it cannot be used; the message has lines and reasons.
    """
    path = Path(settings.alert_rules).expanduser() if settings.alert_rules else None
    return load_rules(path, os.environ, settings.alert_loopback)


def described(loaded: LoadedRules) -> dict[str, Any]:
    """Return rules and targets as plain values; of a secret only where it stands."""
    found: dict[str, Any] = msgspec.to_builtins(loaded.rules)
    return found


def main() -> int:
    """Run the delivery; return the process's exit code."""
    return run_process(AlertDelivery)


if __name__ == "__main__":
    sys.exit(main())
