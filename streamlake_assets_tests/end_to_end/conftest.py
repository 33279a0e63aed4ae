"""The program as a user runs it: a folder of its own, free ports, the ``streamlake`` command as a child process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from streamlake_assets.servers.process import HOME_VARIABLE, marked_processes
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets_tests.conftest import settings_in

BIN = Path(sys.executable).parent


class Place:
    """A folder with settings, and the command line in it."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.folder = folder
        self.settings: Settings = settings_in(folder / ".streamlake", **{"scheduled_refresh": False, **changes})

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every child: these settings, the project's programs first on the path."""
        return {**os.environ, **self.settings.as_environment(), "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"}

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return self._run([str(BIN / "streamlake"), *arguments], timeout)

    def shell(self, script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run lines of a page as written."""
        return self._run(["bash", "-c", script], timeout)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run one command beside the test; killed at the end if it still runs."""
        with (self.folder / "err.txt").open("w") as err:
            child = subprocess.Popen(
                [str(BIN / "streamlake"), *arguments], cwd=self.folder, env=self.environment, stderr=err, text=True
            )
        try:
            yield child
        finally:
            child.kill()
            child.wait()

    def said(self) -> str:
        """Return what the running command has said."""
        return (self.folder / "err.txt").read_text()

    def processes(self) -> list[int]:
        """Return the pids of all children, of whatever generation, of this folder."""
        home = str(self.settings.data_dir)
        return [pid for pid, environment in marked_processes() if environment[HOME_VARIABLE] == home]

    def graphql(self, query: str) -> dict[str, object]:
        """Ask Dagster's web server."""
        url = f"http://{LOOPBACK}:{self.settings.dagster_port}/graphql"
        answer = httpx.post(url, json={"query": query}, timeout=20).raise_for_status().json()
        assert "errors" not in answer, answer
        data: dict[str, object] = answer["data"]
        return data

    def _run(self, argv: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One folder for a whole module, with the MySQL that a user would get."""
    # the other engines are trained under Dagster in the tests of ``defs``: here they would only take minutes
    made = Place(tmp_path_factory.mktemp("end_to_end"), local_mysql="auto", engines="sklearn")
    yield made
    made.run("down")


def wait_for(holds: Callable[[], object], what: str, timeout_s: float = 90.0) -> None:
    """Return when something holds; polls, with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.25)
