"""One consumer as a process of its own, as a drill treats it: watched, killed, frozen, stopped.

Belongs here: the process and what it shows of itself over HTTP and in its log. Stays out: servers and tables
(``plant``).
"""

import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil

from streamlake_assets.drill.checker import DrillError
from streamlake_assets.servers.process import ChildProcess, ChildRegistry
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings

READY_S = 40.0
EXIT_S = 20.0
MODULE = "streamlake_assets.sidecar.consumer"
ROOT = Path(__file__).resolve().parents[2]


class ConsumerChild:
    """A consumer process; started by its creation.

    Args:
        name: of its log file.
        settings: what it runs with.
        registry: where the child is recorded.
        env: more variables, as STREAMLAKE_CRASH_AT.
        module: the program, where a drill needs another than the consumer.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        registry: ChildRegistry,
        env: Mapping[str, str] | None = None,
        module: str = MODULE,
    ) -> None:
        self.port = settings.consumer_port
        environment = {**settings.as_environment(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})}
        self.child = ChildProcess(name, [sys.executable, "-m", module], registry, environment)
        self.pid = self.child.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.child.running

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self.child.log.read_text(errors="replace")

    @property
    def rss_mib(self) -> float:
        """Memory in use."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its pages; status 0 when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Return one of its metrics, 0 when it does not show it."""
        found = re.search(rf"^{re.escape(name)} (.*)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def ready(self) -> bool:
        """Tell whether it is in its group and can store.

        Raises:
            DrillError: it has ended.
        """
        if not self.running:
            raise DrillError(f"the consumer ended by itself with {self.child.poll()}: {self.child.log_tail(3)}")
        return self.get("/readyz")[0] == 200

    def until_ready(self, timeout_s: float = READY_S) -> Self:
        """Wait until it is ready.

        Raises:
            DrillError: it is not in time.
        """
        if not wait_until(self.ready, timeout_s):
            raise DrillError(f"the consumer was not ready within {timeout_s:g} s: {self.child.log_tail(3)}")
        return self

    def until_logged(self, text: str, timeout_s: float = READY_S) -> None:
        """Wait until its log holds a text.

        Raises:
            DrillError: it does not in time.
        """
        if not wait_until(lambda: text in self.log, timeout_s):
            raise DrillError(f"the consumer did not log {text!r} within {timeout_s:g} s: {self.child.log_tail(3)}")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.child.kill()
        self.until_exit(EXIT_S)

    def freeze(self) -> None:
        """Stop it by SIGSTOP: it keeps connections and memory and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def until_exit(self, timeout_s: float) -> int:
        """Wait for its end; return the exit code (negative: the signal).

        Raises:
            DrillError: it still runs.
        """
        if not wait_until(lambda: not self.running, timeout_s):
            raise DrillError(f"the consumer still runs after {timeout_s:g} s")
        code = self.child.poll()
        self.child.stop()  # forgets it
        return -1 if code is None else code

    def stop(self, timeout_s: float = EXIT_S) -> float:
        """Ask it to stop; return the seconds that took.

        Raises:
            DrillError: it does not stop in time, or with another exit code than 0.
        """
        begun = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        code = self.until_exit(timeout_s)
        if code != 0:
            raise DrillError(f"the consumer ended with {code} after SIGTERM: {self.child.log_tail(3)}")
        return time.monotonic() - begun

    def clear_away(self) -> None:
        """End it, whatever its state: it leaves its group when it can."""
        if self.running:
            self.thaw()
            self.child.stop(grace_s=5.0)
