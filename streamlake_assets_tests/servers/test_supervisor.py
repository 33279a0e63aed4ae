"""Behaviour of the supervisor with services that are no servers: order, restart, signals, orphans, state."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streamlake_assets.commands import supervise
from streamlake_assets.commands.services import service_specs
from streamlake_assets.errors import AlreadyRunningError, PortInUseError, ServerError, UsageError
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.process import find_orphans, identity, marked_processes
from streamlake_assets.servers.state import read_state, supervisor_pid
from streamlake_assets.servers.supervisor import ServiceSpec, Supervisor
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import free_port, settings_in

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "home")


@pytest.fixture
def said() -> list[str]:
    return []


def left_over(home: Path) -> list[int]:
    return [pid for pid, environment in marked_processes() if environment["STREAMLAKE_CHILD_HOME"] == str(home)]


def condition(settings: Settings, name: str) -> str:
    return next(str(state["condition"]) for state in read_state(Home.of(settings)) if state["name"] == name)


def web(port: int) -> ServiceSpec:
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    return ServiceSpec("web", argv, ready_url=f"http://127.0.0.1:{port}/", url=f"http://127.0.0.1:{port}/")


def test_services_start_are_shown_and_end_with_the_supervisor(settings: Settings, said: list[str]) -> None:
    with Supervisor(settings, said.append) as supervisor:
        supervisor.start_all([ServiceSpec("sleeper", SLEEPER), web(free_port())])
        found = supervise.status(settings)
        assert found["supervisor"] == os.getpid()
        assert [(s["name"], s["condition"], s["alive"]) for s in found["services"]] == [
            ("sleeper", "running", True),
            ("web", "running", True),
        ]
        assert found["services"][1]["answers"] is True
    assert said[-2:] == ["stopping web", "stopping sleeper"]
    assert left_over(settings.data_dir) == []
    assert supervisor_pid(Home.of(settings)) is None
    assert {s["condition"] for s in supervise.status(settings)["services"]} == {"stopped"}


def test_environment_reaches_the_service(settings: Settings, said: list[str]) -> None:
    code = "import os, time; print(os.environ['COLOUR'], os.environ['PATH'], flush=True); time.sleep(600)"
    with Supervisor(settings, said.append) as supervisor:
        supervisor.start(ServiceSpec("env", [sys.executable, "-c", code], env={"COLOUR": "green"}))
        assert wait_until(lambda: supervisor.child("env").log_tail() != "", 20)
        assert supervisor.child("env").log_tail() == f"green {os.environ['PATH']}"


def test_a_service_that_dies_is_reported_and_started_again(settings: Settings, said: list[str]) -> None:
    with Supervisor(settings, said.append) as supervisor:
        supervisor.start(web(free_port()))
        first = supervisor.child("web").pid
        supervisor.child("web").kill()
        assert wait_until(lambda: any("is up again" in line for line in said), 30)
        assert any("web died (exit code -9" in line for line in said)
        assert supervisor.child("web").pid != first
        assert condition(settings, "web") == "running"


def test_a_service_without_restart_stays_down(settings: Settings, said: list[str]) -> None:
    with Supervisor(settings, said.append) as supervisor:
        supervisor.start(ServiceSpec("once", SLEEPER, restart=False))
        supervisor.child("once").kill()
        assert wait_until(lambda: condition(settings, "once") == "ended", 20)
        assert not supervisor.child("once").running


def test_a_service_that_keeps_dying_is_started_later_and_later(settings: Settings, said: list[str]) -> None:
    with Supervisor(settings, said.append) as supervisor:
        supervisor.start(ServiceSpec("flaky", [sys.executable, "-c", "import time; time.sleep(0.3)"]))
        assert wait_until(lambda: sum("died" in line for line in said) >= 2, 30)
    delays = [float(line.rpartition("again in ")[2].split()[0]) for line in said if "died" in line]
    assert delays[:2] == [0.5, 1.0]


def test_a_port_that_is_held_is_told_with_holder_and_setting_before_any_service_starts(
    settings: Settings, said: list[str]
) -> None:
    with socket.socket() as holder, Supervisor(settings, said.append) as supervisor:
        holder.bind(("127.0.0.1", settings.panel_port))
        holder.listen()
        spec = replace(
            web(settings.panel_port), name="panel", port=settings.panel_port, setting="STREAMLAKE_PANEL_PORT"
        )
        with pytest.raises(PortInUseError, match=f"port {settings.panel_port} for panel is held by .*") as caught:
            supervisor.start_all([ServiceSpec("sleeper", SLEEPER), spec])
        assert caught.value.exit_code == 2
        assert f"(pid {os.getpid()})" in str(caught.value)
        assert "set STREAMLAKE_PANEL_PORT to another port" in str(caught.value)
        assert left_over(settings.data_dir) == []


def test_every_service_that_listens_names_its_port_and_setting(settings: Settings) -> None:
    assert {spec.name: (spec.port, spec.setting) for spec in service_specs(settings)} == {
        "consumer": (settings.consumer_port, "STREAMLAKE_CONSUMER_PORT"),
        "scorer": (settings.scorer_port, "STREAMLAKE_SCORER_PORT"),
        "alerts": (settings.alerts_port, "STREAMLAKE_ALERTS_PORT"),
        "dagster-webserver": (settings.dagster_port, "STREAMLAKE_DAGSTER_PORT"),
        "panel": (settings.panel_port, "STREAMLAKE_PANEL_PORT"),
        "dagster-daemon": (None, ""),
    }


def test_stop_and_restart_by_name(settings: Settings, said: list[str]) -> None:
    with Supervisor(settings, said.append) as supervisor:
        supervisor.start(ServiceSpec("sleeper", SLEEPER))
        first = supervisor.child("sleeper").pid
        supervisor.stop("sleeper")
        assert condition(settings, "sleeper") == "stopped"
        supervisor.restart("sleeper")
        assert supervisor.child("sleeper").pid != first
        assert condition(settings, "sleeper") == "running"
        with pytest.raises(UsageError, match="there is no baker here; there are sleeper"):
            supervisor.restart("baker")
    assert not any("died" in line for line in said)


def test_a_service_that_never_gets_ready_is_an_error_with_its_log(settings: Settings, said: list[str]) -> None:
    spec = ServiceSpec("mute", SLEEPER, ready_url=f"http://127.0.0.1:{free_port()}/", ready_timeout=0.5)
    with (
        pytest.raises(ServerError, match=r"mute did not answer within 0 s; log: .*mute\.log"),
        Supervisor(settings, said.append) as supervisor,
    ):
        supervisor.start(spec)
    assert left_over(settings.data_dir) == []


def test_a_service_that_ends_at_once_is_an_error_with_its_last_words(settings: Settings, said: list[str]) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no such table')"]
    spec = ServiceSpec("bad", argv, ready_url=f"http://127.0.0.1:{free_port()}/")
    with (
        pytest.raises(ServerError, match=r"bad ended with exit code 1 (?s:.*)no such table"),
        Supervisor(settings, said.append) as supervisor,
    ):
        supervisor.start(spec)


def test_a_second_supervisor_in_the_same_folder_names_the_first(settings: Settings, said: list[str]) -> None:
    with Supervisor(settings, said.append):
        with pytest.raises(AlreadyRunningError, match=rf"\(pid {os.getpid()}\)") as caught:
            Supervisor(settings, said.append).__enter__()
        assert supervisor_pid(Home.of(settings)) == os.getpid()
    assert caught.value.exit_code == 2


def test_a_foreign_folder_is_refused(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="STREAMLAKE_HOME"):
        Supervisor(settings_in(tmp_path), said.append).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


SCRIPT = """\
import sys
from contextlib import suppress
from pathlib import Path
from streamlake_assets.servers.supervisor import ServiceSpec, Supervisor
from streamlake_assets.settings import Settings
with Supervisor(Settings(_env_file=None, home=Path(sys.argv[1])), print) as supervisor:
    with suppress(KeyboardInterrupt):
        supervisor.start(ServiceSpec("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"]))
        print("ready", flush=True)
        supervisor.run_forever()
print("clean end", flush=True)
"""


def run_supervisor(settings: Settings) -> "subprocess.Popen[str]":
    # under nohup the tests ignore SIGHUP, and a child would inherit that; a caught signal is reset
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(settings.home)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.stdout is not None
    while "ready" not in (line := process.stdout.readline()):
        assert line, "the supervisor ended before it was ready"
    return process


def test_nohup_keeps_it_running(settings: Settings, said: list[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Supervisor(settings, said.append) as supervisor:
            supervisor.start(ServiceSpec("sleeper", SLEEPER))
            os.kill(os.getpid(), signal.SIGHUP)
            assert supervisor.child("sleeper").running
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_cleanly(settings: Settings, number: signal.Signals) -> None:
    process = run_supervisor(settings)
    assert len(left_over(settings.data_dir)) == 1
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.endswith("clean end\n")
    assert left_over(settings.data_dir) == []


def test_down_ends_the_supervisor_and_its_children(settings: Settings, said: list[str]) -> None:
    process = run_supervisor(settings)
    assert supervise.down(settings, said.append) == {"stopped": process.pid, "ended": []}
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert left_over(settings.data_dir) == []
    assert supervise.down(settings, said.append) == {"stopped": None, "ended": []}


def test_the_next_start_ends_the_orphans_of_a_killed_supervisor(settings: Settings, said: list[str]) -> None:
    process = run_supervisor(settings)
    (orphan,) = left_over(settings.data_dir)
    process.kill()
    process.communicate(timeout=60)
    assert supervise.status(settings)["services"][0]["condition"] == "orphaned"
    with Supervisor(settings, said.append) as supervisor:
        assert said == [f"ended sleeper (pid {orphan}), left by a supervisor that was killed"]
        assert identity(orphan) is None
        supervisor.start(ServiceSpec("sleeper", SLEEPER))
    assert find_orphans(Home.of(settings)) == {}


def test_down_ends_the_orphans_of_a_killed_supervisor(settings: Settings, said: list[str]) -> None:
    process = run_supervisor(settings)
    (orphan,) = left_over(settings.data_dir)
    process.kill()
    process.communicate(timeout=60)
    assert supervise.down(settings, said.append) == {"stopped": None, "ended": [f"sleeper (pid {orphan})"]}
    assert identity(orphan) is None
