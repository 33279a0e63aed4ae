"""What all local servers have in common: the Protocol that the supervisor sees, and starting one until it answers.

Belongs here: the shared shape and the wait for readiness. Stays out: how each server is configured (its own module).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from streamlake_assets.errors import ServerError
from streamlake_assets.servers.process import ChildProcess
from streamlake_assets.servers.waiting import Say, wait_until

START_TIMEOUT_S = 90.0
"""Longest time from start to first answer; seconds are normal, a recovery after a crash on a busy machine is not."""


@dataclass(frozen=True)
class ServerInfo:
    """A server that answers: what it is and where."""

    name: str
    what: str
    version: str
    address: str
    configured: bool
    pid: int | None = None

    @property
    def line(self) -> str:
        """One line for the user."""
        return f"{self.what} at {self.address}"


class LocalServer(Protocol):
    """A server in reach: a child process of this machine, or one that a setting names."""

    name: str

    @property
    def child(self) -> ChildProcess | None:
        """The child process; None for a configured server, or before the start."""
        ...

    def prepare(self, say: Say) -> None:
        """Download, unpack and initialise what the start needs; nothing when that was done before."""
        ...

    def start(self) -> None:
        """Start it and return when it answers."""
        ...

    def info(self) -> ServerInfo:
        """Ask the running server what it is."""
        ...

    def stop(self) -> None:
        """Stop it; nothing for a configured server."""
        ...


def start_until_ready(
    child: ChildProcess,
    ready: Callable[[], bool],
    stop: threading.Event,
    timeout_s: float = START_TIMEOUT_S,
) -> None:
    """Start a child and wait until ``ready`` holds; a child that does not get there is stopped.

    Raises:
        ServerError: it ended by itself, or did not answer in time; with the last lines of its log.
        StopRequestedError: the supervisor is stopping.
    """
    child.start()
    try:
        wait_until_ready(child, ready, stop, timeout_s)
    except BaseException:
        child.stop(grace_s=5.0)
        raise


def wait_until_ready(
    child: ChildProcess, ready: Callable[[], bool], stop: threading.Event, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Wait until a started child answers; raises as ``start_until_ready``, but leaves the child alone."""
    if not wait_until(lambda: child.poll() is not None or ready(), timeout_s, stop):
        raise ServerError(f"{child.name} did not answer within {timeout_s:.0f} s; {_log_hint(child)}")
    if (code := child.poll()) is not None:
        raise ServerError(f"{child.name} ended with exit code {code} before it answered; {_log_hint(child)}")


def _log_hint(child: ChildProcess) -> str:
    tail = child.log_tail()
    return f"log: {child.log}" + (f", ending in:\n{tail}" if tail else "")
