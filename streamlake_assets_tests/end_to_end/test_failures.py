"""A demo that cannot go on: one clear line, an exit code that tells, no process left behind."""

import signal
import socket
from pathlib import Path

import pytest

from streamlake_assets_tests.conftest import free_port
from streamlake_assets_tests.end_to_end.conftest import Place, wait_for

pytestmark = [pytest.mark.end_to_end, pytest.mark.servers]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("mongo_url", "mongodb://127.0.0.1:{port}"),
        ("mysql_url", "mysql+pymysql://me:geheim@127.0.0.1:{port}/streamlake"),
    ],
)
def test_a_configured_server_that_does_not_answer_is_named_and_never_replaced(
    name: str, url: str, tmp_path: Path
) -> None:
    place = Place(tmp_path, **{name: url.format(port=free_port())})
    done = place.run("demo", "--once", "--json")
    assert done.returncode == 2
    assert f"STREAMLAKE_{name.upper()}" in done.stderr.splitlines()[-1]
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert place.processes() == []


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.settings.consumer_port))
        taken.listen()
        done = place.run("demo", "--once", "--json")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error ")]
    assert f"port {place.settings.consumer_port} for consumer is held by" in line
    assert "set STREAMLAKE_CONSUMER_PORT to another port" in line
    assert done.returncode == 2
    assert "Starting servers" not in done.stderr
    assert place.processes() == []


def test_a_stage_that_fails_on_the_way_stops_what_had_started(tmp_path: Path) -> None:
    place = Place(tmp_path, min_history=100_000)
    done = place.run("demo", "--once", "--json")
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error ")]
    assert "features__training_set" in line
    assert "Traceback" not in done.stderr
    assert "stopping kafka" in done.stderr
    assert done.stdout == ""
    assert place.processes() == []


def test_ctrl_c_in_the_middle_of_a_run_stops_all_and_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.running("demo", "--once") as process:
        wait_for(lambda: "Dagster: documents, training" in place.said(), "the run has begun")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
    assert place.said().splitlines()[-1] == "error stopped before the end"
    assert place.processes() == []
