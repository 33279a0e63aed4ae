"""Looking for the limits of memory: the largest size under a cap, the smallest heap that is enough.

Belongs here: which measurement is asked for next. Stays out: making one (``benchmark_run``), what it means.
"""

from collections.abc import Callable
from typing import Any, Final

from streamlake_assets.flows.benchmark_findings import TRIAL
from streamlake_assets.flows.benchmark_plan import Contestant, Measure, Profile

Obtain = Callable[[Measure], dict[str, Any] | None]
"""Gives the record of a measurement; None where it cannot be made."""
_PYTHON_SHARE_MIB: Final = 512
"""Of a memory cap, what is left to Python and to the JVM beyond its heap."""


def climb(profile: Profile, obtain: Obtain, one: Contestant, features: int) -> None:
    """Under each cap go up the sizes until one fails; what a smaller cap has carried need not be shown again.

    Nor need what failed by its time: more memory makes it no quicker.
    """
    start = 0
    for cap in profile.caps_mib:
        for place in range(start, len(profile.ladder)):
            wanted = Measure(
                one,
                profile.ladder[place],
                features,
                cap_mib=cap,
                heap_mib=max(512, cap - _PYTHON_SHARE_MIB) if one.engine == "spark" else None,
            )
            record = obtain(wanted)
            if record is None or record["failed"] == "time":
                return
            if record["failed"]:
                break
            start = place + 1


def smallest_heap(profile: Profile, obtain: Obtain, one: Contestant, rows: int) -> None:
    """Halve the list of heaps until the smallest that completes is known; each trial is a record of its own."""
    low, high = 0, len(profile.heaps_mib)
    while low < high:
        middle = (low + high) // 2
        record = obtain(Measure(one, rows, heap_mib=profile.heaps_mib[middle], round=TRIAL))
        if record is None:
            return
        if record["failed"]:
            low = middle + 1
        else:
            high = middle
