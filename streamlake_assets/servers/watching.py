"""Watching children: one that dies is reported and started again, later and later while it keeps dying.

Belongs here: the watch threads and the back-off. Stays out: what is started and in which order (``supervisor``).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from streamlake_assets.errors import StreamlakeError
from streamlake_assets.servers.process import ChildProcess
from streamlake_assets.servers.state import Condition, ServiceState
from streamlake_assets.servers.waiting import Say, StopRequestedError

WATCH_S = 0.2
BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
STABLE_AFTER_S = 60.0
"""A child that ran this long starts its back-off anew."""


@dataclass
class Watched:
    """A child under supervision.

    Attributes:
        child: the process.
        state: its line in the status.
        start: starts it and returns when it answers.
        restart: whether it is started again when it dies.
        failures: starts in a row that did not last.
        retry_at_uptime: seconds after the last start at which the next one is due.
        lock: held while somebody stops or starts it.
    """

    child: ChildProcess
    state: ServiceState
    start: Callable[[], None]
    restart: bool = True
    failures: int = 0
    retry_at_uptime: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def set(self, condition: Condition) -> None:
        """Set the condition, with the pid while it runs."""
        self.state.update(condition, self.child.pid if self.child.running else None)

    def back_off(self) -> float:
        """Note one more failure; return the seconds until the next start."""
        delay = min(BACKOFF_FIRST_S * 2.0**self.failures, BACKOFF_MOST_S)
        self.failures += 1
        self.retry_at_uptime = self.child.uptime_s + delay
        return delay


class Watcher:
    """Looks after children, each in a thread of its own: a server that is slow to come back holds up no other.

    Args:
        say: takes what happened.
        changed: called after a condition changed.
        stop: ends the threads.
    """

    def __init__(self, say: Say, changed: Callable[[], None], stop: threading.Event) -> None:
        self._say = say
        self._changed = changed
        self._stop = stop
        self._threads: list[threading.Thread] = []

    def watch(self, watched: Watched) -> None:
        """Look after a child from now on."""
        name = f"watch-{watched.child.name}"
        thread = threading.Thread(target=self._loop, args=(watched,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait until all threads have ended; ``stop`` must be set."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _loop(self, watched: Watched) -> None:
        while not self._stop.wait(WATCH_S):
            with watched.lock:  # held by whoever stops or starts it on purpose
                self._look_after(watched)

    def _look_after(self, watched: Watched) -> None:
        if watched.child.poll() is None:
            return
        if watched.state.condition == "running":
            self._report_death(watched)
        elif watched.state.condition == "restarting" and watched.child.uptime_s >= watched.retry_at_uptime:
            self._start_again(watched)

    def _report_death(self, watched: Watched) -> None:
        child = watched.child
        if child.uptime_s > STABLE_AFTER_S:
            watched.failures = 0
        code = child.poll()
        child.stop(grace_s=1.0)  # ends what it left behind
        then = f"starting it again in {watched.back_off():.1f} s" if watched.restart else "it is not started again"
        self._note(watched, "restarting" if watched.restart else "ended")
        self._say(f"{child.name} died (exit code {code}, log {child.log}); {then}")

    def _start_again(self, watched: Watched) -> None:
        child = watched.child
        try:
            watched.start()
        except StopRequestedError:
            return  # the supervisor is stopping, and stops this child too
        except (StreamlakeError, OSError) as error:
            child.stop(grace_s=1.0)
            delay = watched.back_off()
            self._note(watched, "restarting")
            self._say(f"{child.name} does not start: {error}; next try in {delay:.1f} s")
        else:
            watched.state.restarts += 1
            self._note(watched, "running")
            self._say(f"{child.name} is up again (pid {child.pid})")

    def _note(self, watched: Watched, condition: Condition) -> None:
        """Set the condition and have it written before it is said: who hears it may look at once."""
        watched.set(condition)
        self._changed()
