"""What unit tests share: property tests without a deadline (on a busy machine one slow example says nothing about the
code), and the command line."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from streamlake_assets import cli
from streamlake_assets.settings import Settings, load_settings
from streamlake_assets_tests.cli_runs import Done, Run

settings.register_profile("streamlake", deadline=None)
settings.load_profile("streamlake")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Run the command line in this process, in an empty folder, with the settings' defaults."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STREAMLAKE_{name.upper()}", raising=False)
    load_settings.cache_clear()

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["streamlake", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, shown.out, shown.err)

    yield run
    load_settings.cache_clear()


@pytest.fixture
def bars(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "my.csv"
        path.write_text(text)
        return str(path)

    return write
