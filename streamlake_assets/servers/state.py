"""What the supervisor says of itself to other processes: its lock, and the state file that ``streamlake status`` reads.

Belongs here: taking and asking the lock, writing and reading ``run/state.json``. Stays out: starting and stopping.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

from streamlake_assets.errors import AlreadyRunningError
from streamlake_assets.servers.home import Home, write_atomic
from streamlake_assets.servers.process import alive, identity

Condition = Literal["starting", "running", "restarting", "ended", "stopped", "configured"]


@dataclass
class ServiceState:
    """One line of the status: a server or a service."""

    name: str
    kind: Literal["server", "service"]
    condition: Condition
    what: str = ""
    version: str = ""
    address: str = ""
    pid: int | None = None
    identity: str = ""
    restarts: int = 0

    def update(self, condition: Condition, pid: int | None) -> None:
        """Set condition and pid together."""
        self.condition = condition
        self.pid = pid
        self.identity = (identity(pid) or "") if pid else ""


class SupervisorLock:
    """The lock file of one data folder; the kernel frees it when its holder dies, however it dies."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock and write this process's pid into it.

        Raises:
            AlreadyRunningError: another supervisor holds it; the message names its pid.
        """
        # opened for appending: a second one must not wipe the holder's pid before it knows that there is a holder
        file = self._home.lock.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise AlreadyRunningError(
                f"streamlake already runs in {self._home.root} (pid {_written_pid(self._home) or 'unknown'}): "
                "use it, end it with `streamlake down`, or set STREAMLAKE_HOME to another folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def free(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def supervisor_pid(home: Home) -> int | None:
    """Return the pid of the supervisor that holds this folder, or None when there is none."""
    try:
        file = home.lock.open("r")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _written_pid(home)
    return None


def write_state(home: Home, services: list[ServiceState]) -> None:
    """Replace the state file."""
    state = {"supervisor": os.getpid(), "services": [asdict(service) for service in services]}
    write_atomic(home.state, json.dumps(state, indent=1) + "\n")


def read_state(home: Home) -> list[dict[str, Any]]:
    """Return the services as last written, each with ``alive``: whether its process still runs; [] if never started."""
    try:
        services: list[dict[str, Any]] = json.loads(home.state.read_text())["services"]
    except FileNotFoundError:
        return []
    return [{**service, "alive": bool(service["identity"]) and alive(service["identity"])} for service in services]


def _written_pid(home: Home) -> int | None:
    text = home.lock.read_text().strip()
    return int(text) if text.isdigit() else None
