"""One supervised foreground process: servers first, then services; what dies is started again, a stop leaves nothing.

Belongs here: order, signals, the public face of supervision. Stays out: restarting (``watching``), what the services
are (the caller passes them), what servers need (their modules), the schema (the caller migrates between servers and
services).

Use::

    with Supervisor(settings, say) as supervisor:
        supervisor.start_servers()
        ...                                   # migrate, create topics
        supervisor.start_all(specs)
        supervisor.run_forever()              # returns on SIGINT, SIGTERM, SIGHUP

Leaving the ``with`` stops everything in reverse order, whatever the reason. A signal before that raises
KeyboardInterrupt in the main thread.
"""

import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType, TracebackType
from typing import Any

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.servers.configured import configured_servers
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.local_server import LocalServer, ServerInfo, wait_until_ready
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.ports import require_free
from streamlake_assets.servers.probes import http_ready
from streamlake_assets.servers.process import ChildProcess, ChildRegistry, end_orphans, end_own
from streamlake_assets.servers.state import ServiceState, SupervisorLock, write_state
from streamlake_assets.servers.waiting import POLL_S, Say, StopRequestedError
from streamlake_assets.servers.watching import Watched, Watcher
from streamlake_assets.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ServiceSpec:
    """A service to run beside the servers.

    Attributes:
        name: of the log file, and for ``logs`` and ``restart``.
        argv: program and arguments.
        env: variables on top of this process's environment.
        ready_url: address that answers with a status below 400 once it is ready; None: ready when started.
        ready_timeout: seconds until it must be ready.
        restart: whether it is started again when it dies.
        grace_s: seconds between SIGTERM and SIGKILL.
        url: address to show the user; empty: none.
        port: port it will listen on at 127.0.0.1; checked to be free before its first start. None: none.
        setting: name of the setting that gives it another port.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_url: str | None = None
    ready_timeout: float = 60.0
    restart: bool = True
    grace_s: float = 10.0
    url: str = ""
    port: int | None = None
    setting: str = ""

    def require_port(self) -> None:
        """Check that its port can be taken.

        Raises:
            PortInUseError: the message names port, holder and setting.
        """
        if self.port is not None:
            require_free(self.port, self.setting, self.name)


class Supervisor:
    """Starts, watches and stops the servers and services of one data folder.

    Args:
        settings: where everything is.
        say: takes one line of progress; called from several threads.
        durable: False lets the local MySQL skip flushing each commit; for tests only.
    """

    def __init__(self, settings: Settings, say: Say, durable: bool = True) -> None:
        self.settings = settings
        self.home = Home.of(settings)
        self._say = say
        self._durable = durable
        self._lock = SupervisorLock(self.home)
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._servers: list[LocalServer] = []
        self._configured: list[ServiceState] = []
        self._watched: dict[str, Watched] = {}
        self._guard = threading.RLock()
        self._watcher = Watcher(say, self._write_state, self._stop)
        self._handlers: dict[int, Any] = {}
        self._registry: ChildRegistry | None = None

    def __enter__(self) -> "Supervisor":
        """Take the folder's lock and end what a killed supervisor left.

        Raises:
            AlreadyRunningError: another supervisor runs in this folder.
            UsageError: the folder cannot be used.
        """
        self.home.create()
        self._lock.take()
        try:
            self._catch_signals()
            for orphan in end_orphans(self.home):
                self._say(f"ended {orphan}, left by a supervisor that was killed")
            self._registry = ChildRegistry(self.home)
            self._write_state()
        except BaseException:
            self._release_signals()
            self._lock.free()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.close()

    def start_servers(self, nifi: bool = False) -> list[ServerInfo]:
        """Start the servers side by side, or probe the configured ones; return what they are once all answer.

        Args:
            nifi: whether a local NiFi is one of them.

        Raises:
            SettingError: a configured server does not answer; nothing has been started then.
            PortInUseError, MissingToolError, ArtifactError, ServerError: a local server cannot start.
            KeyboardInterrupt: a signal asked to stop.
        """
        configured = configured_servers(self.settings)
        for server in configured:
            server.start()
        self._servers = [*configured, *self._local_servers({server.name for server in configured}, nifi)]
        return self._start_all_servers()

    def start_nifi(self) -> list[ServerInfo]:
        """Start the local NiFi, and its broker unless one is configured; raises as ``start_servers``."""
        registry = self._open_registry()
        self._servers = [LocalNifi(self.settings, registry, self._stop)]
        if not self.settings.kafka_bootstrap:
            self._servers.append(LocalKafka(self.settings, registry, self._stop))
        return self._start_all_servers()

    def _start_all_servers(self) -> list[ServerInfo]:
        with ThreadPoolExecutor(len(self._servers), thread_name_prefix="start") as pool:
            futures = [pool.submit(self._start_server, server) for server in self._servers]
            try:
                _join(futures)
            except BaseException:
                self._stop.set()  # ends downloads and waits in the other threads
                raise
        return [future.result() for future in futures]

    def start(self, spec: ServiceSpec) -> None:
        """Start one service and return when it is ready; raises as ``start_all``."""
        self.start_all([spec])

    def start_all(self, specs: Sequence[ServiceSpec]) -> None:
        """Start services side by side, in this order, and return when all are ready.

        Raises:
            UsageError: a name is taken.
            PortInUseError: a port is taken; none of these services has been started then.
            ServerError: one ended or was not ready in time; its log is named.
            KeyboardInterrupt: a signal asked to stop.
        """
        for spec in specs:
            spec.require_port()
        started = [self._spawn(spec) for spec in specs]
        for spec, watched in zip(specs, started, strict=True):
            try:
                wait_until_ready(watched.child, partial(http_ready, spec.ready_url), self._stop, spec.ready_timeout)
            except StopRequestedError:
                raise KeyboardInterrupt from None
            watched.restart = spec.restart
            watched.set("running")
            self._watcher.watch(watched)
            self._write_state()
            self._say(f"{spec.name} is up" + (f" at {spec.url}" if spec.url else ""))

    def stop(self, name: str) -> None:
        """Stop one server or service; it stays stopped until ``restart``."""
        watched = self._named(name)
        with watched.lock:
            watched.child.stop()
            watched.set("stopped")
        self._write_state()

    def restart(self, name: str) -> None:
        """Stop one server or service and start it again; returns when it answers."""
        watched = self._named(name)
        with watched.lock:
            watched.child.stop()
            watched.set("starting")
            watched.start()
            watched.failures = 0
            watched.set("running")
        self._write_state()

    def child(self, name: str) -> ChildProcess:
        """Return a child by name, for drills that kill it.

        Raises:
            UsageError: there is none of that name.
        """
        return self._named(name).child

    def run_forever(self) -> None:
        """Return when SIGINT, SIGTERM or SIGHUP asks to stop."""
        with suppress(KeyboardInterrupt):
            while not self._stop.wait(3600):
                pass

    def close(self) -> None:
        """Stop all in reverse order; a second signal meanwhile sends SIGKILL at once. Safe to call twice."""
        if self._registry is None:
            return
        self._stop.set()
        try:
            self._watcher.join()
            for watched in reversed(self._watched.values()):
                if watched.child.running:
                    self._say(f"stopping {watched.child.name}")
                watched.child.stop(hurry=self._hurry)
                watched.set("stopped")
            for server in self._servers:
                server.stop()  # one that was on its way up is not watched yet
            self._write_state()
        finally:
            end_own(self._registry)
            self._registry = None
            self._release_signals()
            self._lock.free()

    def _local_servers(self, configured: set[str], nifi: bool) -> list[LocalServer]:
        registry = self._open_registry()
        servers: list[LocalServer] = [
            LocalKafka(self.settings, registry, self._stop),
            LocalMysql(self.settings, registry, self._stop, self._durable),
            LocalDocumentStore(self.settings, registry, self._stop),
        ]
        if nifi:
            servers.append(LocalNifi(self.settings, registry, self._stop))
        return [server for server in servers if server.name not in configured]

    def _start_server(self, server: LocalServer) -> ServerInfo:
        server.prepare(self._say)
        if server.child is not None:
            server.start()
        info = server.info()
        state = ServiceState(info.name, "server", "configured", info.what, info.version, info.address)
        with self._guard:
            if server.child is None:
                self._configured.append(state)
            else:
                watched = self._watched[info.name] = Watched(server.child, state, server.start)
                watched.set("running")
                self._watcher.watch(watched)
            self._write_state()
        self._say(info.line)
        return info

    def _spawn(self, spec: ServiceSpec) -> Watched:
        if spec.name in self._watched:
            raise UsageError(f"a service named {spec.name} runs already")
        child = ChildProcess(spec.name, spec.argv, self._open_registry(), spec.env, spec.grace_s)

        def start() -> None:
            child.start()
            wait_until_ready(child, partial(http_ready, spec.ready_url), self._stop, spec.ready_timeout)

        watched = Watched(child, ServiceState(spec.name, "service", "starting", address=spec.url), start)
        with self._guard:
            self._watched[spec.name] = watched
        child.start()
        watched.set("starting")
        self._write_state()
        return watched

    def _named(self, name: str) -> Watched:
        if name not in self._watched:
            raise UsageError(f"there is no {name} here; there are {', '.join(self._watched) or 'none'}")
        return self._watched[name]

    def _write_state(self) -> None:
        with self._guard:
            write_state(self.home, [*self._configured, *(watched.state for watched in self._watched.values())])

    def _open_registry(self) -> ChildRegistry:
        if self._registry is None:
            raise ServerError("use the supervisor in a with statement")
        return self._registry

    def _catch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # started by nohup: it is meant to outlive its terminal
                self._handlers[number] = signal.signal(number, self._on_signal)

    def _release_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            self._hurry.set()
            return
        self._stop.set()
        raise KeyboardInterrupt


def _join(futures: list[Future[ServerInfo]]) -> None:
    """Wait for all, or for the first failure; a thread that gave up on a stop request has no failure of its own."""
    pending = set(futures)
    while pending:
        # short waits, so that a signal handler of this thread gets its turn
        done, pending = wait(pending, timeout=POLL_S, return_when=FIRST_EXCEPTION)
        for future in done:
            if error := future.exception():
                raise KeyboardInterrupt if isinstance(error, StopRequestedError) else error
