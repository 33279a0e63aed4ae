"""The delivery process: takes alerts to their targets, sees when others fall silent, carries out what pages ask for.

Belongs here: the loop around ``flows.alert_desk`` and ``command_runner``; metrics. Stays out: Dagster: when its daemon
stops, this process is who says so; signals, heartbeat, exit codes (``stream_process``).
"""

import os
import sys
from collections.abc import Mapping
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
from streamlake_assets.sidecar.command_runner import CommandRunner
from streamlake_assets.sidecar.store_outage import StoreOutage
from streamlake_assets.sidecar.stream_process import StreamProcess, run_process
from streamlake_assets.stores import alert_list
from streamlake_assets.stores.commands import State
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.threshold_watch import end_gone, utc_now

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
        self.commands = Counter(
            "streamlake_commands", "Commands of pages that ended", ["state"], registry=self.registry
        )
        self.waiting = Gauge("streamlake_alerts_waiting", "Deliveries that wait", registry=self.registry)

    def count(self, turned: Turned) -> None:
        """Add what a turn did."""
        self.arrived.inc(turned.arrived)
        self.messages.inc(turned.messages)
        self.failed.inc(turned.failed)
        self.given_up.inc(turned.given_up)

    def count_commands(self, ended: Mapping[State, int]) -> None:
        """Add how many commands ended how."""
        for state, number in ended.items():
            self.commands.labels(state=state.value).inc(number)


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
                self._until_answered(lambda: put_in_force(engine, loaded))
                desk = AlertDesk(engine, loaded.rules, loaded.notifiers)
                runner = CommandRunner(engine)
                outage = StoreOutage(loaded.rules, loaded.notifiers)
                self._log.info("delivering", rules=len(loaded.rules.rules), targets=sorted(loaded.notifiers))
                self._until_stopped(lambda: self._turn(engine, desk, runner, outage))
            finally:
                engine.dispose()

    def _turn(self, engine: sa.Engine, desk: AlertDesk, runner: CommandRunner, outage: StoreOutage) -> None:
        self._pulse.turn()
        try:
            # somebody looks at a page and waits
            ended = runner.turn()
            self._metrics.count_commands(ended)
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
        if not turned.messages and not any(ended.values()):
            sleep(PAUSE_S)


def load_configured(settings: Settings) -> LoadedRules:
    """Read the rule file that the settings name.

    Raises:
        UsageError: it cannot be used; the message has lines and reasons.
    """
    path = Path(settings.alert_rules).expanduser() if settings.alert_rules else None
    return load_rules(path, os.environ, settings.alert_loopback)


def put_in_force(engine: sa.Engine, loaded: LoadedRules) -> None:
    """Let pages, consumer and scorer know the rules and limits in force.

    Raises:
        TryLaterError: the database is not available.
    """
    found = described(loaded)
    alert_list.put_rules(engine, [*found["rules"], *found["thresholds"]])
    end_gone(engine, [limit.name for limit in loaded.rules.thresholds], utc_now())


def described(loaded: LoadedRules) -> dict[str, Any]:
    """Return rules and targets as plain values; of a secret only where it stands."""
    found: dict[str, Any] = msgspec.to_builtins(loaded.rules)
    return found


def main() -> int:
    """Run the delivery; return the process's exit code."""
    return run_process(AlertDelivery)


if __name__ == "__main__":
    sys.exit(main())
