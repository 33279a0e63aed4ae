"""A child under limits: it ends in time, below its memory, and nothing of it is left, whoever its parent became."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streamlake_assets.flows import limited_child
from streamlake_assets.flows.limited_child import BY_WATCH, Limits, run_limited

LONG = "import time; time.sleep(600)"
STARTS_ONE_APART = f"""
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", "{LONG}"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
"""
WAITS = "\nimport time\ntime.sleep(600)\n"
GROWS = "held = [bytearray(b'x' * 2**20 * 20)]\nwhile True: held.append(bytearray(b'x' * 2**20))\n"


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_what_ends_by_itself_is_told_with_its_code_and_words(tmp_path: Path) -> None:
    ended = run_limited(python("print('done'); raise SystemExit(3)"), tmp_path / "log", Limits(60.0))
    assert (ended.code, ended.stopped_by, ended.limited_by, ended.orphans) == (3, "", "", ())
    assert ended.log == "done\n"


def test_what_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """The grandchild has a session of its own, as Spark's Java process has."""
    said = tmp_path / "pid"
    ended = run_limited(python(STARTS_ONE_APART + WAITS, str(said)), tmp_path / "log", Limits(1.0))
    assert ended.stopped_by == "time"
    assert ended.seconds < 30
    assert not runs(int(said.read_text()))


def test_what_takes_too_much_memory_is_ended_and_says_so(tmp_path: Path) -> None:
    ended = run_limited(python(GROWS), tmp_path / "log", Limits(60.0, memory_mib=100))
    assert ended.stopped_by == "memory"
    assert ended.limited_by
    assert ended.code != 0
    if ended.limited_by == BY_WATCH:
        assert ended.peak_mib > 100


def test_an_orphan_is_found_named_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent has ended, so no tree leads to it any more."""
    monkeypatch.setattr(limited_child, "GRACE_S", 0.3)
    said = tmp_path / "pid"
    ended = run_limited(python(STARTS_ONE_APART, str(said)), tmp_path / "log", Limits(60.0))
    pid = int(said.read_text())
    assert (ended.code, ended.stopped_by) == (0, "")
    assert [name.split()[-1] for name in ended.orphans] == [str(pid)]
    assert not runs(pid)


def test_processes_of_others_are_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(python(LONG)) as other:
        run_limited(python("pass"), tmp_path / "log", Limits(60.0))
        assert other.poll() is None
        other.kill()


def test_a_group_of_the_kernel_is_used_where_one_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the place of the kernel's: it shows what would be written where."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    made = Path.mkdir

    def with_files(path: Path, *args: object, **options: object) -> None:
        made(path)
        for name in ("memory.max", "memory.swap.max", "memory.events"):
            (path / name).write_text("")

    monkeypatch.setattr(Path, "mkdir", with_files)
    monkeypatch.setattr(limited_child.Path, "read_text", _own_group(Path.read_text))
    with limited_child._kernel_limit(64, tmp_path) as group:
        assert group is not None
        assert group.parent == tmp_path
        assert (group / "memory.max").read_text() == str(64 * 2**20)
        assert (group / "memory.swap.max").read_text() == "0"
        assert not limited_child._killed_by_kernel(group)
        (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
        assert limited_child._killed_by_kernel(group)


def test_without_a_memory_controller_there_is_no_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("hugetlb")
    with limited_child._kernel_limit(64, tmp_path) as group:
        assert group is None
    assert [path.name for path in tmp_path.iterdir()] == ["cgroup.controllers"]
    with limited_child._kernel_limit(None, tmp_path) as group:
        assert group is None


def _own_group(read: object) -> object:
    def text(path: Path, *args: object, **options: object) -> str:
        return "0::/\n" if str(path) == "/proc/self/cgroup" else read(path, *args, **options)  # type: ignore[operator, no-any-return]

    return text
