"""Facts about this machine, its state and the versions in use: without them a measured figure says nothing.

Belongs here: reading them. Stays out: what is measured.
"""

import os
import platform
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

IDLE_PERCENT: Final = 5.0
IDLE_OVER_S: Final = 0.4


def facts(packages: Iterable[str]) -> dict[str, Any]:
    """Return processor, cores, memory, system, load and the versions of packages; one that is absent has none."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in packages if (found := _version(name))},
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }


def wait_idle(most_s: float) -> float:
    """Wait until the processors are idle, ``most_s`` at most; return their last use in percent."""
    deadline = time.monotonic() + most_s
    while True:
        busy = psutil.cpu_percent(IDLE_OVER_S)
        if busy < IDLE_PERCENT or time.monotonic() > deadline:
            return round(float(busy), 1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
