"""Runs cases one after the other on one plant, and the machine facts without which their figures say nothing.

Belongs here: order, time, and what becomes of a case that raises. Stays out: the forms of a report (``report``).
"""

import datetime as dt
import os
import platform
import time
import traceback
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from streamlake_assets.drill.cases import Fault
from streamlake_assets.drill.checker import DrillError, Outcome
from streamlake_assets.drill.plant import Plant
from streamlake_assets.drill.report import Report, Row
from streamlake_assets.servers.waiting import Say

_PACKAGES = ("confluent-kafka", "msgspec", "sqlalchemy", "pymysql")


def run_all(plant: Plant, faults: Iterable[Fault], say: Say) -> Report:
    """Run cases and report on them."""
    rows = []
    for number, fault in enumerate(faults, 1):
        say(f"{number}: row {fault.row}, {fault.title}")
        rows.append(run_one(plant, fault, say))
        say(f"{number}: {' | '.join(rows[-1].cells)} ({rows[-1].seconds:.0f} s) {'; '.join(rows[-1].outcome.problems)}")
    return Report(dt.datetime.now(dt.UTC), plant.fast, plant.servers(), machine_facts(), rows)


def run_one(plant: Plant, fault: Fault, say: Say) -> Row:
    """Run one case on an empty plant; what it raises is its failure, and the next case goes on."""
    begun = time.monotonic()
    try:
        plant.reset()
        outcome = fault.run(plant)
    except DrillError as error:
        outcome = Outcome(sent=plant.manifest.sent, problems=[str(error)])
    except Exception as error:
        say(traceback.format_exc())
        outcome = Outcome(sent=plant.manifest.sent, problems=[f"{type(error).__name__}: {error}"])
    finally:
        plant.clear_away()
    return Row(fault.row, fault.title, fault.injected, time.monotonic() - begun, outcome)


def machine_facts() -> dict[str, Any]:
    """Return processor, cores, memory, system and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }
