"""Waiting with a deadline: conditions are polled on the monotonic clock, and a stop request ends every wait.

Belongs here: deadlines and polling. Stays out: what is waited for.
"""

import threading
import time
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one line of progress for the user; may be called from several threads."""

POLL_S = 0.05


class StopRequestedError(Exception):
    """The supervisor is stopping: whoever waits gives up at once. Never leaves ``servers``."""


def wait_until(condition: Callable[[], bool], timeout_s: float, stop: threading.Event | None = None) -> bool:
    """Poll ``condition`` until it holds; return whether it did within ``timeout_s`` seconds.

    Raises:
        StopRequestedError: ``stop`` was set meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    flag = stop or threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        if flag.wait(POLL_S):
            raise StopRequestedError
    return True
