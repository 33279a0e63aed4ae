"""A demo whose stage fails in an unforeseen way: one line for the user, the traceback in a log."""

from pathlib import Path
from typing import Any, cast

import pytest

from streamlake_assets.commands import supervise
from streamlake_assets.commands.demo import Demo
from streamlake_assets.errors import ServerError, StreamlakeError
from streamlake_assets.servers.home import Home
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import settings_in


class FailingSupervisor:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def start_servers(self, nifi: bool) -> None:
        raise self._error


def run(settings: Settings, error: BaseException, said: list[str]) -> None:
    Home.of(settings).create()
    Demo(settings, cast(Any, FailingSupervisor(error)), said.append, None).run(once=True)


def test_an_unforeseen_error_is_one_line_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    settings, said = settings_in(tmp_path), list[str]()
    with pytest.raises(StreamlakeError, match="Starting servers: ZeroDivisionError: by zero") as failure:
        run(settings, ZeroDivisionError("by zero\nand more"), said)
    assert "\n" not in str(failure.value)
    assert failure.value.exit_code == 1
    assert "streamlake logs demo" in str(failure.value)
    assert "Traceback (most recent call last):" in list(supervise.logs(settings, "demo"))
    assert said == ["Starting servers …"]


def test_a_foreseen_error_keeps_its_kind_and_the_stage_is_named(tmp_path: Path) -> None:
    settings, said = settings_in(tmp_path), list[str]()
    with pytest.raises(ServerError, match="kafka did not answer"):
        run(settings, ServerError("kafka did not answer"), said)
    assert said[-1].startswith("Starting servers: failed after ")


def test_ctrl_c_is_no_error_of_the_stage(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(settings_in(tmp_path), KeyboardInterrupt(), [])
