"""Peak memory of this process and all below it, by proportional set size.

Belongs here: sampling. Stays out: what is done meanwhile. Proportional set size (PSS, ``/proc/PID/smaps_rollup``)
shares a page among those that map it, so a sum over a tree counts it once; resident set size would count it for each
worker. A JVM below this process counts too, which a look at the Python process alone would miss.
"""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

INTERVAL_S: Final = 0.1
_KIB: Final = 1024


class PeakMemory:
    """Samples the tree ten times a second in a thread of its own; use as a context manager.

    ``peak_bytes`` is the largest sum seen, ``base_bytes`` the first. A peak shorter than the interval may be missed.
    """

    def __init__(self, pid: int | None = None, interval_s: float = INTERVAL_S) -> None:
        self._root = psutil.Process(pid or os.getpid())
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)
        self.base_bytes = 0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self.base_bytes = self.peak_bytes = self._total()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, self._total())

    def _sample(self) -> None:
        while not self._ended.wait(self._interval_s):
            self.peak_bytes = max(self.peak_bytes, self._total())

    def _total(self) -> int:
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        return sum(_pss(process.pid) for process in tree)


def _pss(pid: int) -> int:
    """Return the proportional set size in bytes; 0 for a process that has ended since it was listed."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * _KIB for line in text.splitlines() if line.startswith("Pss:")), 0)
