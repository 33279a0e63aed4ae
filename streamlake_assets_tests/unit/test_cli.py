"""The command line without servers: help, exit codes, settings, masks, files of bars."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings
from typer.main import get_command

from streamlake_assets import cli
from streamlake_assets.commands import data, terminal
from streamlake_assets.errors import BadRecordError, StreamlakeError, TryLaterError, UsageError
from streamlake_assets.flows.documents import Refreshed
from streamlake_assets.settings import Settings, example_env
from streamlake_assets_tests.cli_runs import GOOD, Run
from streamlake_assets_tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = get_command(cli.app).commands  # type: ignore[attr-defined]


def error_classes(base: type[StreamlakeError] = StreamlakeError) -> list[type[StreamlakeError]]:
    return [base, *(found for child in base.__subclasses__() for found in error_classes(child))]


def test_help_lists_every_command_with_a_text_and_the_exit_codes(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    assert set(COMMANDS) >= {"demo", "up", "down", "status", "urls", "logs", "replay", "validate", "consume", "cache"}
    assert set(COMMANDS) >= {"train", "forecasts", "migrate", "reset", "doctor", "version"}
    assert set(COMMANDS) >= {"ledger", "backfill", "rebuild", "dead-letters"}
    for name, command in COMMANDS.items():
        assert command.help, name
        assert re.search(rf"^\W*{name} +\S", done.out, re.MULTILINE), name
    assert "Exit codes: 0 done" in done.out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command_explains_every_option(name: str, run: Run) -> None:
    assert run(name, "--help").code == 0
    assert [option.name for option in COMMANDS[name].params if not getattr(option, "help", "")] == []


@pytest.mark.parametrize("name", ["list", "show", "replay", "drop", "resume"])
def test_help_of_a_command_of_a_group_explains_every_option(name: str, run: Run) -> None:
    group = COMMANDS["dead-letters"].commands
    assert run("dead-letters", name, "--help").code == 0
    assert group[name].help
    assert [option.name for option in group[name].params if not getattr(option, "help", "")] == []
    assert "--json" in {option for parameter in group[name].params for option in parameter.opts}
    assert len(group) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dead-letters", "replay"), "say which: ids, --reason, --topic or --all"),
        (("dead-letters", "drop", "--json"), "say which: ids, --reason, --topic or --all"),
        (("dead-letters", "list", "--state", "bad"), "say one of open, replayed, dropped, all"),
        (("backfill", "no-such-topic"), "neither a file nor one of finance-data, corporate-actions, all"),
    ],
)
def test_a_command_of_ingestion_says_what_is_missing_before_any_server_is_asked(
    arguments: tuple[str, ...], told: str, run: Run
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize("arguments", [("ledger",), ("backfill", "all"), ("rebuild",), ("dead-letters", "list")])
def test_a_command_of_ingestion_says_6_while_no_server_is_up(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments)
    assert done.code == 6
    assert "is `streamlake up` running?" in done.err
    assert done.out == ""


def test_what_comes_from_outside_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table("T", ("a",), [["[red]x[/blue] \x1b[2J"], [None]])
    shown = capsys.readouterr().out
    assert "[red]x[/blue] \\x1b[2J" in shown
    assert terminal.harmless("a\tb\n\x07 \u202e é") == "a\tb\n\\x07 \\u202e é"


@pytest.mark.parametrize("kind", error_classes())
def test_an_error_is_one_line_and_its_own_exit_code(
    kind: type[StreamlakeError], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # made without its own arguments: some kinds are told what they refuse
    error = kind("bad_price", "[red] 3") if kind is BadRecordError else kind.__new__(kind, "[red] what to do")

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    done = run()
    assert done.code == kind.exit_code != 0
    assert done.err == f"error {error}\n"
    assert done.out == ""


def test_every_exit_code_is_in_the_help() -> None:
    for kind in error_classes():
        assert re.search(rf"(:|·)\s{kind.exit_code} ", terminal.EXIT_CODES), kind


def test_ctrl_c_is_130_and_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: BaseException) -> Callable[[], None]:
        def fails() -> None:
            raise error

        return fails

    assert terminal.exit_code_of(raising(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        terminal.exit_code_of(raising(ZeroDivisionError()))


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("demo", "--spede", "1"), ("demo", "--speed", "0"), ("validate", "no-such-file.csv")]
)
def test_a_wrong_argument_is_said_with_exit_code_2(arguments: tuple[str, ...], run: Run) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "Error" in done.err


@pytest.mark.parametrize("command", ["urls", "consume", "status", "migrate"])
@pytest.mark.parametrize(("name", "value"), [("KAFKA_PORT", "3"), ("LOG_LEVEL", "loud"), ("MIN_HISTORY", "many")])
def test_a_bad_setting_is_named_with_exit_code_2(
    command: str, name: str, value: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STREAMLAKE_{name}", value)
    done = run(command)
    assert done.code == 2
    assert done.err.startswith(f"error STREAMLAKE_{name}: ")


def test_reset_needs_a_yes_and_deletes_nothing_without(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / ".streamlake" / "data"
    kept.mkdir(parents=True)
    done = run("reset")
    assert done.code == 2
    assert "streamlake reset --yes" in done.err
    assert kept.is_dir()


TALKING = [("migrate",), ("cache",), ("train",), ("forecasts", "IBM"), ("replay", "my.csv", "--symbol", "DEMO")]


@pytest.mark.parametrize("arguments", TALKING, ids=lambda found: found[0])
def test_without_local_servers_a_command_asks_whether_up_is_running(
    arguments: tuple[str, ...], run: Run, bars: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars(GOOD)
    monkeypatch.setattr(data, "answers", lambda port: False)
    done = run(*arguments)
    assert done.code == TryLaterError.exit_code
    assert "is `streamlake up` running?" in done.err


@pytest.mark.parametrize("arguments", TALKING, ids=lambda found: found[0])
def test_a_named_server_that_does_not_answer_is_told_by_its_setting(
    arguments: tuple[str, ...], run: Run, bars: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars(GOOD)
    monkeypatch.setattr(data, "answers", lambda port: True)
    monkeypatch.setenv("STREAMLAKE_MYSQL_URL", f"mysql+pymysql://me:geheim@127.0.0.1:{free_port()}/streamlake")
    done = run(*arguments)
    assert done.code == 2
    assert re.search(r"^error STREAMLAKE_MYSQL_URL \(.*does not answer", done.err, re.MULTILINE)
    assert "geheim" not in done.err


def test_a_repeated_refresh_looks_for_the_servers_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[bool] = []

    def refresh(_settings: Settings, _full: bool, _say: Any, probe: bool) -> Refreshed:
        probes.append(probe)
        if len(probes) == 3:
            raise KeyboardInterrupt
        return Refreshed(1, 2, 3, 4, {}, {})

    monkeypatch.setattr(data, "refresh_cache", refresh)
    monkeypatch.setattr("streamlake_assets.cli.sleep", lambda _: None)
    assert run("cache", "--every", "1s").code == 130
    assert probes == [True, False, False]


@pytest.mark.parametrize(("text", "expected"), [("60s", 60.0), ("5m", 300.0), ("1h", 3600.0)])
def test_a_pause_is_read_in_seconds(text: str, expected: float) -> None:
    assert terminal.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "60", "0s", "-1s", "1.5m", "²s", "1d", "m5"])
def test_another_pause_is_refused(text: str, run: Run) -> None:
    with pytest.raises(UsageError, match="--every"):
        terminal.seconds(text)
    assert run("cache", "--every", text).code == 2


def test_a_repeated_refresh_outlives_an_outage_and_a_single_one_tells_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []

    def refresh(*_: object) -> Refreshed:
        if not calls:
            raise TryLaterError("the document store does not answer")
        return Refreshed(1, 2, 3, 4, {}, {})

    def pause(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(data, "refresh_cache", refresh)
    monkeypatch.setattr("streamlake_assets.cli.sleep", pause)
    done = run("cache", "--every", "2s")
    assert done.code == 130
    assert calls == [2.0, 2.0]
    assert done.err == "put off: the document store does not answer\n"
    assert done.out == "1 months touched, 2 session documents, 3 buckets written\n"
    calls.clear()
    assert run("cache").code == TryLaterError.exit_code


def test_urls_mask_passwords_unless_told_otherwise(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLAKE_MYSQL_URL", "mysql+pymysql://me:geheim@db:3306/streamlake")
    monkeypatch.setenv("STREAMLAKE_MONGO_URL", "mongodb://me:geheim@docs:27017")
    masked = run("urls", "--json")
    assert masked.code == 0
    assert "geheim" not in masked.out + run("urls").out
    found = json.loads(masked.out)
    assert found["documents"] == "mongodb://me:***@docs:27017"
    assert found["mysql_reader"] == "mysql+pymysql://me:***@db:3306/streamlake"
    assert json.loads(run("urls", "--json", "--show-secrets").out)["documents"] == "mongodb://me:geheim@docs:27017"


def test_status_of_an_empty_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    done = run("status")
    assert (done.code, done.out) == (0, f"{tmp_path / '.streamlake'}: nothing runs\n")


def test_status_of_an_empty_folder_says_that_nothing_runs(run: Run) -> None:
    done = run("status", "--json")
    assert done.code == 0
    assert json.loads(done.out)["supervisor"] is None


def test_doctor_exits_with_3_when_something_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = {"name": "Maven", "ok": False, "detail": "not found [x]", "remedy": "apt-get install -y maven"}
    monkeypatch.setattr("streamlake_assets.commands.supervise.doctor", lambda settings: [finding])
    done = run("doctor")
    assert done.code == 3
    assert "not found [x]" in done.out
    assert "apt-get install -y maven" in done.out


def test_version_is_the_installed_one(run: Run) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("version").out)


def test_env_example_lists_every_setting_with_its_default() -> None:
    path = ROOT / ".env.example"
    assert path.read_text() == example_env(), f"{path.name} is streamlake_assets.settings.example_env()"


def test_env_example_copied_as_it_is_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STREAMLAKE_{name.upper()}", raising=False)
    assert issubclass(Settings, BaseSettings)
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description, name
