"""What the processes that follow the topics share: signals, waiting out an outage, heartbeat, alert, logs, exit codes.

Belongs here: the frame of such a process. Stays out: what it does with messages (``consumer``, ``scorer``). The
consumer is built on it, so it stays as small as that.
"""

import json
import logging
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar, Final, TypeVar

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry

from streamlake_assets.broker.watch import StreamWatch
from streamlake_assets.errors import IntegrityError, StreamlakeError, TryLaterError
from streamlake_assets.settings import Settings, load_settings
from streamlake_assets.sidecar.crash_point import CrashPoint
from streamlake_assets.sidecar.health import Pulse, serve
from streamlake_assets.stores.operations import beat, raise_alert

HEARTBEAT_S: Final = 5.0

T = TypeVar("T")


class StreamProcess(ABC):
    """One process on the topics: ``run`` returns when asked to stop. ``name`` is that of its heartbeat and alerts."""

    name: ClassVar[str]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._pulse = Pulse(limit_s=30.0)
        self._log = structlog.get_logger(component=self.name)
        self._beat_at = 0.0
        self._crash = CrashPoint.of_environment()

    @abstractmethod
    def run(self) -> None:
        """Follow the topics until stopped.

        Raises:
            IntegrityError: stream and tables contradict each other; an alert was raised.
        """

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Ask to stop after the current turn; a second time, exit at once: the tables are safe either way."""
        if self._stopping:
            os._exit(1)
        self._stopping = True

    @contextmanager
    def _served(self, port: int, registry: CollectorRegistry, setting: str) -> Iterator[None]:
        """Show metrics, health and readiness on a port of the loopback within the block.

        Raises:
            PortInUseError: the port is taken; ``setting`` gives another.
        """
        pulse = self._pulse
        server = serve(port, registry, pulse.alive, lambda: pulse.ready, setting=setting)
        try:
            yield
        finally:
            server.stop()

    def _until_stopped(self, follow: Callable[[], None]) -> None:
        """Follow the streams, again after each outage, until asked to stop."""
        while not self._stopping:
            try:
                follow()
            except TryLaterError as error:
                # a topic is gone or was made anew, or the database was away while partitions were assigned: join again
                self._log.warning("joining_again", error=str(error))
                self._pulse.ready = False
                self._wait()

    def _turns(self, watch: StreamWatch, turn: Callable[[], None]) -> None:
        """Take turns until asked to stop.

        Raises:
            TryLaterError: a topic was made anew.
            IntegrityError: stream and tables contradict each other, and no topic was made anew.
        """
        while not self._stopping:
            try:
                turn()
            except IntegrityError as error:
                # offsets of a topic that is gone mean nothing on the one that has its name
                if watch.look():
                    raise TryLaterError(f"a topic was made anew ({error})") from error
                raise
            if watch.made_anew:
                raise TryLaterError("a topic was made anew")

    @property
    def _heartbeat_due(self) -> bool:
        return time.monotonic() - self._beat_at > HEARTBEAT_S

    def _write_heartbeat(self, engine: sa.Engine, lag: int, state: Mapping[str, Any]) -> None:
        self._beat_at = time.monotonic()
        try:
            beat(engine, self.name, {"pid": os.getpid(), "lag": lag, **state})
        except TryLaterError as error:
            # the loop itself notices the outage at its next turn
            self._log.warning("no_heartbeat", error=str(error))

    def _until_answered(self, ask: Callable[[], T]) -> T | None:
        while not self._stopping:
            try:
                return ask()
            except TryLaterError as error:
                self._log.warning("waiting", error=str(error))
                self._wait()
        return None

    def _wait(self) -> None:
        self._pulse.turn()
        time.sleep(1.0)

    def _alert(self, engine: sa.Engine, error: IntegrityError) -> None:
        self._log.error("integrity", error=str(error))
        try:
            raise_alert(engine, f"{self.name}:{error}"[:190], "error", f"The {self.name} stopped", str(error))
        except TryLaterError as outage:
            # the error itself must reach the exit code
            self._log.error("no_alert", error=str(outage))


def configure_logs(level: str) -> None:
    """Log JSON lines to standard error; no payloads and no secrets are ever logged."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda event, **_: json.dumps(event, default=str)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def run_process(kind: type[StreamProcess], before: Callable[[], None] = lambda: None) -> int:
    """Run a process of that kind by the settings of the environment until a signal asks it to stop.

    Args:
        kind: of process.
        before: is called once the process is made and before it runs.

    Returns:
        The exit code.
    """
    settings = load_settings()
    configure_logs(settings.log_level)
    process = kind(settings)
    before()
    signal.signal(signal.SIGTERM, process.stop)
    signal.signal(signal.SIGINT, process.stop)
    try:
        process.run()
    except StreamlakeError as error:
        structlog.get_logger(component=kind.name).error("stopped", kind=type(error).__name__, error=str(error))
        return error.exit_code
    return 0
