"""One measured process at a time, under limits: so many seconds, so much memory, nothing left behind.

Belongs here: starting it, watching its memory, ending it and all below it, naming what ended it and looking for
orphans. Stays out: what is measured (``learning.timing``), which measurements there are (``flows.benchmark``).

A memory limit is the kernel's where a group of cgroup v2 can be made (``memory.max``, no swap): it counts what the
group's processes touch, page cache included. Elsewhere the sum of proportional set sizes of the process and all below
it is read 20 times a second, and the tree is killed when the sum is above the limit; a peak between two looks may pass.
An address-space limit (RLIMIT_AS) is not used: it counts memory that is reserved and never touched, and each process by
itself, so it would mean something else for every engine.
"""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import psutil

from streamlake_assets.learning.child_process import TIMED_OUT
from streamlake_assets.learning.memory import PeakMemory

MARK: Final = "STREAMLAKE_MEASURED"
"""Variable by which everything that a child started is found again, whoever its parent has become."""
BY_KERNEL: Final = "cgroup v2 memory.max"
BY_WATCH: Final = "sum of PSS, read 20 times a second"
GRACE_S: Final = 10.0
"""Seconds that what a child started may outlive it before it counts as an orphan."""
_WATCH_S: Final = 0.05
_NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})


class Limits(NamedTuple):
    """What a child may take: seconds, and MiB of memory of it and all below it (None: what there is)."""

    seconds: float
    memory_mib: int | None = None


class Ended(NamedTuple):
    """How a child ended.

    ``stopped_by``: ``time`` or ``memory``, empty for one that ended by itself. ``limited_by`` names what held the
    memory limit. ``orphans`` are processes that had outlived it; none does any more. ``log`` is the end of its output.
    """

    code: int
    stopped_by: str
    limited_by: str
    seconds: float
    base_mib: float
    peak_mib: float
    orphans: tuple[str, ...]
    log: str


def run_limited(
    command: Sequence[str], log: Path, limits: Limits, variables: Mapping[str, str] = _NO_VARIABLES
) -> Ended:
    """Run a command to its end or its limit; when this returns, nothing of it runs any more.

    Args:
        command: the program; its output goes to ``log``.
        log: a file.
        limits: beyond them it is killed with all below it.
        variables: added to its environment.
    """
    mark, stopped_by = uuid.uuid4().hex, "interrupt"
    with log.open("wb") as out, _kernel_limit(limits.memory_mib) as group:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if group is not None:
                (group / "cgroup.procs").write_text(str(process.pid))
            capped = limits.memory_mib is not None and group is None
            with PeakMemory(process.pid, _WATCH_S if capped else 2 * _WATCH_S) as memory:
                stopped_by = _watch(process, memory, limits if capped else Limits(limits.seconds), begun)
        finally:
            # also when this is interrupted
            if process.poll() is None:
                _kill(process)
            process.wait()
            orphans = _end_orphans(mark, 0.0 if stopped_by else GRACE_S)
        seconds = time.monotonic() - begun
        if group is not None and _killed_by_kernel(group):
            stopped_by = "memory"
        elif process.returncode == TIMED_OUT:
            stopped_by = "time"
    return Ended(
        code=process.returncode,
        stopped_by=stopped_by,
        limited_by=(BY_KERNEL if group is not None else BY_WATCH) if limits.memory_mib is not None else "",
        seconds=round(seconds, 3),
        base_mib=round(memory.base_bytes / 2**20, 1),
        peak_mib=round(memory.peak_bytes / 2**20, 1),
        orphans=orphans,
        log=log.read_text(errors="replace")[-2_000:],
    )


def _watch(process: subprocess.Popen[bytes], memory: PeakMemory, limits: Limits, begun: float) -> str:
    """Wait for the end of a child; return what it was stopped by, empty if by nothing."""
    most = limits.memory_mib * 2**20 if limits.memory_mib is not None else None
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_WATCH_S)
            return ""
        if most is not None and memory.peak_bytes > most:
            _kill(process)
            return "memory"
        if time.monotonic() - begun > limits.seconds:
            _kill(process)
            return "time"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and all below it, its session first: nothing of it can start more."""
    below: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in below:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def _end_orphans(mark: str, grace_s: float) -> tuple[str, ...]:
    """Wait for marked processes to end, then kill and name those that have not; without grace all are just killed."""
    deadline = time.monotonic() + grace_s
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(_WATCH_S)
    named = []
    for process in left:
        with suppress(psutil.NoSuchProcess):
            named.append(f"{process.name()} {process.pid}")
            process.kill()
    psutil.wait_procs(left, timeout=GRACE_S)
    return tuple(named) if grace_s else ()


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
    return found


@contextmanager
def _kernel_limit(memory_mib: int | None, root: Path = Path("/sys/fs/cgroup")) -> Iterator[Path | None]:
    """Yield a new group of cgroup v2 with that limit, gone afterwards; None where no limit is wanted or none can be."""
    group = _make_group(root) if memory_mib is not None else None
    if group is None or memory_mib is None:
        yield None
        return
    try:
        (group / "memory.max").write_text(str(memory_mib * 2**20))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            # a kernel without swap accounting has no such file
            if (group / name).exists():
                (group / name).write_text(value)
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def _make_group(root: Path) -> Path | None:
    """Make a group beside or below this process's own, where the memory controller is handed down."""
    if not (root / "cgroup.controllers").exists():
        return None
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::")), "")
    here = root / own
    for place in dict.fromkeys((here, here.parent if own else here)):
        made = place / f"streamlake-{uuid.uuid4().hex[:8]}"
        try:
            made.mkdir()
        except OSError:
            continue
        if (made / "memory.max").exists() and os.access(made / "memory.max", os.W_OK):
            return made
        with suppress(OSError):
            made.rmdir()
    return None


def _killed_by_kernel(group: Path) -> bool:
    try:
        events = (group / "memory.events").read_text().split()
    except FileNotFoundError:
        return False
    return "oom_kill" in events and int(events[events.index("oom_kill") + 1]) > 0
