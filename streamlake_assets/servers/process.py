"""One child process: started in a session of its own, logged, recorded, and stopped with all that it started.

Belongs here: start and stop of a process, its record on disk, the end of orphans. Stays out: which processes there are
(the server modules, the caller's services) and their supervision (``supervisor``).

A process is known by its *identity*, pid and start tick within this boot, never by its pid alone: pids are used again.
Every child also carries two environment variables, which its descendants inherit; that is how those which left the
process group (Dagster's run workers do) are found.
"""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from streamlake_assets.errors import MissingToolError
from streamlake_assets.servers.home import Home, write_atomic

HOME_VARIABLE = "STREAMLAKE_CHILD_HOME"
OWNER_VARIABLE = "STREAMLAKE_CHILD_OWNER"
NAME_VARIABLE = "STREAMLAKE_CHILD_NAME"
LOG_LIMIT_BYTES = 20 * 1024 * 1024
KILL_WAIT_S = 10.0
# a caught signal is reset by exec, an ignored one is inherited: started from a background job or by Python itself,
# children would ignore SIGINT, SIGQUIT or SIGPIPE and never stop as they should
_RESET_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


def identity(pid: int) -> str | None:
    """Return boot, pid and start tick of a living process as ``boot:pid:tick``; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else f"{boot}:{pid}:{fields[19]}"


def alive(recorded: str) -> bool:
    """Say whether the process with this recorded identity still runs."""
    parts = recorded.split(":")
    return len(parts) == 3 and parts[1].isdigit() and identity(int(parts[1])) == recorded


class ChildRegistry:
    """The record of living children in ``run/children.json``, kept by one supervisor; replaced whole at each change."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.owner = identity(os.getpid()) or ""
        self._children: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, child: str) -> None:
        """Record a started child by its identity."""
        with self._lock:
            self._children[name] = child
            self._write()

    def remove(self, name: str) -> None:
        """Forget a child that has ended."""
        with self._lock:
            if self._children.pop(name, None) is not None:
                self._write()

    def _write(self) -> None:
        record = {"owner": self.owner, "children": self._children}
        write_atomic(self.home.children, json.dumps(record, indent=1) + "\n")


class ChildProcess:
    """A child process with its log; ``start`` again after its end starts it anew.

    Args:
        name: name of the log file and of the record.
        argv: program and arguments; the program is looked up on PATH.
        registry: where the child is recorded.
        env: variables on top of this process's environment.
        grace_s: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        registry: ChildRegistry,
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.grace_s = grace_s
        self.pid: int | None = None
        self._env = dict(env or {})
        self._registry = registry
        self._returncode: int | None = None
        self._started_at = 0.0
        self._lock = threading.Lock()

    @property
    def log(self) -> Path:
        """File that takes standard output and standard error."""
        return self._registry.home.logs / f"{self.name}.log"

    def start(self) -> int:
        """Start the process and return its pid.

        Raises:
            MissingToolError: the program does not exist.
        """
        environment = {
            **os.environ,
            **self._env,
            HOME_VARIABLE: str(self._registry.home.root),
            OWNER_VARIABLE: self._registry.owner,
            NAME_VARIABLE: self.name,
        }
        program = shutil.which(self.argv[0], path=environment.get("PATH"))
        if program is None:
            raise MissingToolError(f"{self.argv[0]} is missing or cannot be executed ({self.name} needs it)")
        descriptor = self._open_log()
        try:
            # posix_spawn rather than subprocess: it resets signals and opens a session without Python code in the
            # fork, which is not safe while other threads run
            with self._lock:
                self.pid = os.posix_spawn(
                    program,
                    self.argv,
                    environment,
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                        (os.POSIX_SPAWN_DUP2, descriptor, 1),
                        (os.POSIX_SPAWN_DUP2, descriptor, 2),
                    ],
                    setsid=True,
                    setsigmask=[],
                    setsigdef=_RESET_SIGNALS,
                )
                self._returncode = None
                self._started_at = time.monotonic()
        finally:
            os.close(descriptor)
        self._registry.add(self.name, identity(self.pid) or "")
        return self.pid

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), or None while it runs or was never started."""
        with self._lock:
            if self.pid is not None and self._returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self._returncode = os.waitstatus_to_exitcode(status)
            return self._returncode

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.pid is not None and self.poll() is None

    @property
    def uptime_s(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self._started_at

    def stop(self, grace_s: float | None = None, hurry: threading.Event | None = None) -> int | None:
        """End the process, its group and its descendants; return its exit code (143 or -15 is a normal end by SIGTERM).

        SIGTERM goes to the whole group; what is left after the grace, or when ``hurry`` is set, gets SIGKILL.
        """
        if self.pid is None:
            return None
        grace = self.grace_s if grace_s is None else grace_s
        family = self._family()
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.poll() is None and time.monotonic() < deadline and not (hurry and hurry.is_set()):
            time.sleep(0.02)
        family |= self._family()
        if self.poll() is None and (own := identity(self.pid)):
            end_identities({own}, signal.SIGKILL, wait_s=KILL_WAIT_S, reap=self.poll)
        rest = end_identities(family, signal.SIGTERM, wait_s=min(max(deadline - time.monotonic(), 1.0), 3.0))
        end_identities(rest, signal.SIGKILL, wait_s=KILL_WAIT_S)
        self._registry.remove(self.name)
        return self.poll()

    def kill(self) -> None:
        """Send SIGKILL to the process alone, as a crash would; for drills."""
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def log_tail(self, lines: int = 5) -> str:
        """Last lines of the log, for an error message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 8192))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def _open_log(self) -> int:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def _family(self) -> set[str]:
        """Identities of all that this child started, without the child itself: by its session or by our variables."""
        mine = (str(self._registry.home.root), self._registry.owner, self.name)
        pids = {
            pid
            for pid, environment in marked_processes()
            if (environment[HOME_VARIABLE], environment.get(OWNER_VARIABLE), environment.get(NAME_VARIABLE)) == mine
        }
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) == self.pid:
                    pids.add(pid)
        return {found for pid in pids if pid != self.pid and (found := identity(pid))}


def marked_processes() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield pid and environment of this user's processes that carry our variables; never this process."""
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        try:
            environment = psutil.Process(pid).environ()
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or another user's
        if HOME_VARIABLE in environment:
            yield pid, environment


def end_identities(
    identities: set[str], signal_number: signal.Signals, wait_s: float, reap: Callable[[], object] = lambda: None
) -> set[str]:
    """Send a signal to each process that still has its identity; return those that live after ``wait_s`` seconds."""
    for recorded in identities:
        if alive(recorded):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(recorded.split(":")[1]), signal_number)
    deadline = time.monotonic() + wait_s
    left = {recorded for recorded in identities if alive(recorded)}
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        reap()
        left = {recorded for recorded in left if alive(recorded)}
    return left


def find_orphans(home: Home) -> dict[str, str]:
    """Return living children of supervisors that are gone, identity -> name: recorded ones and marked ones."""
    found: dict[str, str] = {}
    try:
        record = json.loads(home.children.read_text())
    except FileNotFoundError:
        record = {"owner": "", "children": {}}
    if not alive(record["owner"]):
        found.update({child: name for name, child in record["children"].items() if alive(child)})
    for pid, environment in marked_processes():
        owner = environment.get(OWNER_VARIABLE, "")
        child = identity(pid)
        if child and environment[HOME_VARIABLE] == str(home.root) and not alive(owner):
            found[child] = environment.get(NAME_VARIABLE, "?")
    return found


def end_orphans(home: Home, grace_s: float = 10.0) -> list[str]:
    """End the children of a supervisor that was killed; return a sorted list of ``name (pid N)``.

    Only processes whose recorded identity still fits are touched, and only when the supervisor that started them is
    gone. SIGTERM first, SIGKILL after the grace.
    """
    orphans = find_orphans(home)
    left = end_identities(set(orphans), signal.SIGTERM, wait_s=grace_s)
    end_identities(left, signal.SIGKILL, wait_s=KILL_WAIT_S)
    return sorted(f"{name} (pid {child.split(':')[1]})" for child, name in orphans.items())


def end_own(registry: ChildRegistry) -> None:
    """End what this supervisor started and lost sight of, such as a child whose start a signal interrupted."""
    own = {
        found
        for pid, environment in marked_processes()
        if (environment[HOME_VARIABLE], environment.get(OWNER_VARIABLE)) == (str(registry.home.root), registry.owner)
        and (found := identity(pid))
    }
    end_identities(end_identities(own, signal.SIGTERM, wait_s=3.0), signal.SIGKILL, wait_s=KILL_WAIT_S)
