"""What the documents say is so: paths, links, commands, options, settings, assets, checks; their examples run."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.main import get_command

from streamlake_assets import cli
from streamlake_assets.definitions import defs
from streamlake_assets.market.contract import Reason
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import settings_in

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "nifi" / "README.md", *(ROOT / "docs").rglob("*.md")])
COMMANDS = get_command(cli.app).commands  # type: ignore[attr-defined]
TOP = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN_FILE = re.compile(r"\.(md|toml|ya?ml|lock|ini|cfg)\Z|\AMakefile\Z|\ADockerfile\Z")


class Fence(NamedTuple):
    page: Path
    language: str
    text: str


def fences() -> Iterator[Fence]:
    for page in PAGES:
        for found in FENCE.finditer(page.read_text()):
            yield Fence(page, found[1], found[2])


def spans(page: Path) -> list[str]:
    """Return the code in the running text of a page."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text()))


def command_lines(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (page, words) of every call of a program, in the text and in fenced examples."""
    lines = [(fence.page, line) for fence in fences() for line in fence.text.splitlines()]
    lines += [(page, span) for page in PAGES for span in spans(page)]
    for page, line in lines:
        words = shlex.split(line.removeprefix("$ "), comments=True) if line.count("'") % 2 == 0 else []
        if words[:1] == [program]:
            yield page.name, words[1:]


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lines of a page as written, with the project's programs on the path and ports that are free."""
    environment = {**os.environ, **settings_in(folder / ".streamlake").as_environment()}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_pages_are_there() -> None:
    assert ROOT / "README.md" in PAGES
    assert len(PAGES) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_resolve(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text()))
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_named_on_a_page_exist(page: Path) -> None:
    paths = [span for span in spans(page) if re.fullmatch(r"[\w.\-/]+", span)]
    own = [path for path in paths if path.partition("/")[0] in TOP or ("/" not in path and OWN_FILE.search(path))]
    assert [path for path in own if not (ROOT / path).exists()] == []


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {(page, word) for page, words in command_lines("make") for word in words if re.fullmatch(r"[a-z-]+", word)}
    assert named, "the pages name targets"
    assert {(page, word) for page, word in named if word not in targets} == set()


def test_commands_and_options_that_are_named_exist() -> None:
    wrong = []
    named = set()
    for page, words in command_lines("streamlake"):
        if not words or words == ["--help"]:
            continue
        named.add(words[0])
        command = COMMANDS.get(words[0])
        rest = words
        if hasattr(command, "commands") and words[1:]:
            rest = words[1:]
            command = command.commands.get(rest[0])
        known = {option for parameter in (command.params if command else []) for option in parameter.opts}
        wrong += [
            (page, words, word)
            for word in ([rest[0]] if command is None else rest[1:])
            if command is None or (word.startswith("-") and word.partition("=")[0] not in known | {"--help"})
        ]
    assert wrong == []
    assert len(named) > 5, "the pages name commands"


def test_every_command_is_documented() -> None:
    first_words = {span.removeprefix("streamlake ").split()[0] for page in PAGES for span in spans(page)}
    assert set(COMMANDS) - first_words == set()


def test_settings_that_are_named_exist() -> None:
    known = {f"STREAMLAKE_{name.upper()}" for name in Settings.model_fields}
    named = {name for page in PAGES for name in re.findall(r"STREAMLAKE_[A-Z0-9_]*[A-Z0-9]", page.read_text())}
    assert named, "the pages name settings"
    assert named - known == set()


def test_ports_in_the_readme_are_the_defaults() -> None:
    text = (ROOT / "README.md").read_text()
    ports = {name: field.default for name, field in Settings.model_fields.items() if name.endswith("_port")}
    missing = {name: port for name, port in ports.items() if not re.search(rf"\b{port}\b", text)}
    assert missing == {}
    said = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
    assert said <= set(ports.values())


def test_assets_and_checks_that_are_named_exist_and_every_asset_is_in_the_readme() -> None:
    graph = defs().resolve_asset_graph()
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    groups = {key.partition("/")[0] for key in keys}
    named = {
        span
        for page in PAGES
        for span in spans(page)
        if re.fullmatch(r"[a-z]+/[a-z_]+", span) and span.partition("/")[0] in groups - TOP
    }
    assert named - keys == set()
    assert keys - set(spans(ROOT / "README.md")) == set()
    checks = {key.name for key in graph.asset_check_keys}
    told = {span for page in PAGES for span in re.findall(r"check `(\w+)` fails", page.read_text())}
    assert told, "the pages say what to do when a check fails"
    assert told - checks == set()


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    explained = set(spans(ROOT / "docs/contract.md"))
    assert {reason.value for reason in Reason} - explained == set()


CONSOLE = [
    line.removeprefix("$ ")
    for fence in fences()
    if fence.language == "console"
    for line in fence.text.splitlines()
    if line.startswith("$ ")
]


@pytest.mark.parametrize("line", CONSOLE)
def test_a_console_example_runs_as_written(line: str, tmp_path: Path) -> None:
    done = run(line, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_the_readme_s_own_file_validates_as_it_says(tmp_path: Path) -> None:
    (example,) = [fence.text for fence in fences() if "my.csv <<" in fence.text and fence.page.name == "README.md"]
    script, found, _ = example.partition("streamlake replay")
    assert found, "the example goes on to replay; the end-to-end test runs all of it"
    done = run(script, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 rows, 2 good, 1 rejected" in done.stdout
    assert "line 4: price_order" in done.stdout
