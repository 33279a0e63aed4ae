"""Behaviour of child processes: start, log, stop with all descendants, record, orphans."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streamlake_assets.errors import MissingToolError
from streamlake_assets.servers import process as process_module
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.process import (
    ChildProcess,
    ChildRegistry,
    alive,
    end_orphans,
    find_orphans,
    identity,
)
from streamlake_assets.servers.waiting import wait_until

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
# a child that left the process group, as Dagster's run workers do
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "print(p.pid, flush=True)\n"
    "time.sleep(600)",
]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)",
]


@pytest.fixture
def registry(tmp_path: Path) -> ChildRegistry:
    return ChildRegistry(Home(tmp_path / "home").create())


def wait_for_log(child: ChildProcess) -> str:
    assert wait_until(lambda: child.log.exists() and child.log_tail() != "", 20)
    return child.log_tail()


def test_output_goes_to_the_log_and_sigterm_ends_it(registry: ChildRegistry) -> None:
    child = ChildProcess("sleeper", SLEEPER, registry)
    pid = child.start()
    assert wait_for_log(child) == "up"
    assert child.running
    assert child.stop() == -signal.SIGTERM
    assert not psutil.pid_exists(pid)
    assert json.loads(registry.home.children.read_text())["children"] == {}


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(registry: ChildRegistry) -> None:
    child = ChildProcess("stubborn", STUBBORN, registry, grace_s=0.3)
    child.start()
    wait_for_log(child)
    assert child.stop() == -signal.SIGKILL


def test_stop_ends_descendants_that_left_the_group(registry: ChildRegistry) -> None:
    child = ChildProcess("parent", PARENT, registry)
    child.start()
    grandchild = int(wait_for_log(child))
    assert os.getsid(grandchild) != child.pid
    child.stop()
    assert wait_until(lambda: identity(grandchild) is None, 5)


def test_stop_ends_what_a_dead_child_left(registry: ChildRegistry) -> None:
    child = ChildProcess("parent", PARENT, registry)
    child.start()
    grandchild = int(wait_for_log(child))
    child.kill()
    assert wait_until(lambda: child.poll() is not None, 5)
    assert identity(grandchild) is not None
    child.stop()
    assert wait_until(lambda: identity(grandchild) is None, 5)


def test_ignored_sigint_is_not_inherited(registry: ChildRegistry) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = ChildProcess("sleeper", SLEEPER, registry)
        pid = child.start()
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for_log(child)
    os.kill(pid, signal.SIGINT)
    assert wait_until(lambda: child.poll() is not None, 10)
    child.stop()


def test_a_large_log_is_rotated_at_the_start(registry: ChildRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "LOG_LIMIT_BYTES", 10)
    child = ChildProcess("sleeper", SLEEPER, registry)
    child.log.write_text("a log of earlier days\n")
    child.start()
    assert wait_for_log(child) == "up"
    child.stop()
    assert child.log.with_suffix(".log.1").read_text() == "a log of earlier days\n"


def test_a_missing_program_is_named(registry: ChildRegistry) -> None:
    with pytest.raises(MissingToolError, match="no-such-program"):
        ChildProcess("x", ["no-such-program"], registry).start()


def test_a_reused_pid_is_not_taken_for_the_old_process() -> None:
    mine = identity(os.getpid())
    assert mine is not None
    assert alive(mine)
    boot, pid, tick = mine.split(":")
    assert not alive(f"{boot}:{pid}:{int(tick) + 1}")
    assert not alive("")


def start_and_die(home: Path, argv: list[str]) -> int:
    """Start a child from a process that is then killed; return the child's pid."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from streamlake_assets.servers.home import Home\n"
        "from streamlake_assets.servers.process import ChildProcess, ChildRegistry\n"
        f"child = ChildProcess('orphan', {argv!r}, ChildRegistry(Home(Path({str(home)!r})).create()))\n"
        "print(child.start(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    return int(done.stdout)


def test_orphans_of_a_killed_supervisor_are_ended(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    pid = start_and_die(home.root, SLEEPER)
    assert identity(pid) is not None
    assert end_orphans(home) == [f"orphan (pid {pid})"]
    assert identity(pid) is None
    assert end_orphans(home) == []


def test_orphans_are_found_without_a_record(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    pid = start_and_die(home.root, SLEEPER)
    home.children.unlink()
    assert end_orphans(home) == [f"orphan (pid {pid})"]


def test_a_recorded_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        boot, pid, tick = (identity(stranger.pid) or "").split(":")
        record = {"owner": "gone:1:1", "children": {"kafka": f"{boot}:{pid}:{int(tick) - 1}"}}
        home.children.write_text(json.dumps(record))
        assert end_orphans(home) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_children_of_a_living_supervisor_are_no_orphans(registry: ChildRegistry) -> None:
    child = ChildProcess("sleeper", SLEEPER, registry)
    child.start()
    assert find_orphans(registry.home) == {}
    child.stop()
