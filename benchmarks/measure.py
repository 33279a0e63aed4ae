"""What a run costs beside time: processor seconds and memory of each side, and whether the machine was idle before it.

Belongs here: reading counters of process trees. Stays out: which processes there are (``rig``), statistics
(``figures``).
"""

import os
import statistics
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

SAMPLE_S = 0.1
FAMILY_EVERY = 20
"""Samples between two looks for new children: to look through all processes costs milliseconds."""


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, this process without them (the servers are among them); none if gone."""
    try:
        process = psutil.Process(pid)
        if pid == os.getpid():
            return [process]
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of a process tree so far."""
    total = 0.0
    for process in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def rss_mib(processes: Iterable[psutil.Process]) -> float:
    """Return the resident memory of processes now; pages that two share count twice."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


class Meter:
    """Watches process trees by name: ``cpu`` at any moment, peak memory at 10 Hz while entered."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self.peak_mib: dict[str, float] = dict.fromkeys(pids, 0.0)
        self.trace: list[tuple[float, dict[str, float]]] = []
        """(seconds since the start, memory by name) of every sample."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def watch(self, name: str, pid: int) -> None:
        """Watch one more tree from now on."""
        self.peak_mib[name] = 0.0
        self._pids[name] = pid

    def cpu(self) -> dict[str, float]:
        """Return processor seconds so far of every tree."""
        return {name: cpu_seconds(pid) for name, pid in list(self._pids.items())}

    def peaks(self) -> dict[str, float]:
        """Return the peak memory of every tree so far, in MiB."""
        return {name: round(value, 1) for name, value in self.peak_mib.items()}

    def settled(self, name: str, over_s: float) -> float:
        """Return the median memory of one tree over the last seconds, in MiB."""
        since = time.monotonic() - self._started - over_s
        return statistics.median(now[name] for at, now in list(self.trace) if at >= since and name in now)

    def _sample(self) -> None:
        members: dict[str, list[psutil.Process]] = {}
        while True:
            if len(self.trace) % FAMILY_EVERY == 0:
                members.clear()
            for name, pid in list(self._pids.items()):
                if name not in members:
                    members[name] = family(pid)
            now = {name: rss_mib(found) for name, found in members.items()}
            for name, value in now.items():
                self.peak_mib[name] = max(self.peak_mib[name], value)
            self.trace.append((time.monotonic() - self._started, now))
            if self._done.wait(SAMPLE_S):
                return
