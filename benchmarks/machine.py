"""Facts about the machine and the versions in use: without them a figure says nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("confluent-kafka", "msgspec", "sqlalchemy", "pymysql", "pymongo", "numpy", "scikit-learn")


def facts() -> dict[str, Any]:
    """Return processor, cores, memory, system and package versions."""
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
        "packages": {name: version(name) for name in _PACKAGES},
        "load_before": [round(value, 2) for value in os.getloadavg()],
    }
