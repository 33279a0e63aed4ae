"""The command line on files of bars: what is valid, what is refused and where, without a server."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from streamlake_assets.commands import data
from streamlake_assets_tests.cli_runs import BAD, GOOD, Run


def test_validate_says_0_for_a_good_file(run: Run, bars: Callable[[str], str]) -> None:
    done = run("validate", bars(GOOD), "--symbol", "DEMO", "--interval", "1d", "--exchange", "XNAS")
    assert done.code == 0
    assert "2 rows, 2 good, 0 rejected" in done.out
    assert "DEMO|XNAS" in done.out


def test_validate_says_1_for_a_bad_row_and_names_line_and_reason(run: Run, bars: Callable[[str], str]) -> None:
    done = run("validate", bars(BAD), "--symbol", "DEMO", "--interval", "1d")
    assert done.code == 1
    assert "3 rows, 2 good, 1 rejected" in done.out
    assert re.search(r"^  line 4: price_order: .*high must be largest, low smallest$", done.out, re.MULTILINE)


def test_validate_gives_the_same_as_json(run: Run, bars: Callable[[str], str]) -> None:
    done = run("validate", bars(BAD), "--symbol", "DEMO", "--interval", "1d", "--json")
    report = json.loads(done.out)
    assert done.code == 1
    assert (report["rows"], report["good"], report["rejects_by_reason"]) == (3, 2, {"price_order": 1})


def test_a_missing_column_is_named_with_exit_code_2(run: Run, bars: Callable[[str], str]) -> None:
    done = run("validate", bars("Date,Open,High,Low\n2024-01-02,1,2,1\n"), "--symbol", "DEMO")
    assert done.code == 2
    assert "close" in done.err.lower()
    assert "--column" in done.err


def test_strict_replay_stops_at_the_bad_row_before_any_server_is_asked(run: Run, bars: Callable[[str], str]) -> None:
    done = run("replay", bars(BAD), "--symbol", "DEMO", "--interval", "1d", "--strict")
    assert done.code == 2
    assert "line 4: price_order" in done.err


def test_a_replay_writes_its_rejects_over_no_other_file(run: Run, bars: Callable[[str], str]) -> None:
    path = bars(BAD)
    done = run("replay", path, "--symbol", "DEMO", "--interval", "1d", "--rejects", path)
    assert done.code == 2
    assert f"overwrite the input {path}" in done.err
    assert Path(path).read_text() == BAD


def test_a_replay_takes_source_and_time_of_statement_and_lists_reasons(
    run: Run, bars: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class NoPublisher:
        def __init__(self, bootstrap: str) -> None:
            assert bootstrap == "127.0.0.1:19092"

        def __enter__(self) -> "NoPublisher":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def take(_: NoPublisher, records: Iterable[Any]) -> int:
        before = len(sent)
        sent.extend(records)
        return len(sent) - before

    monkeypatch.setattr(data, "Publisher", NoPublisher)
    monkeypatch.setattr(data, "publish", take)
    monkeypatch.setattr(data, "answers", lambda port: True)
    first, second, bad = BAD.splitlines()[1:]
    path = bars(f"Date,Open,High,Low,Close,Volume,Adj Close\n{first},5.5\n{second},12\n{bad},12\n")
    arguments = ("replay", path, "--symbol", "DEMO", "--interval", "1d", "--no-wait", "--source", "vendor")
    done = run(*arguments, "--as-of", "2024-02-01T01:00:00+02:00")
    assert done.code == 0
    assert "2 bars and 1 corporate actions sent" in done.out
    assert "1 rows rejected" in done.out
    assert re.search(r"^  price_order: 1$", done.out, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d s  publishing 2 bars", done.err, re.MULTILINE)
    assert {record.source for record in sent} == {"vendor"}
    assert {record.as_of.isoformat() for record in sent} == {"2024-01-31T23:00:00+00:00"}
    found = json.loads(run(*arguments, "--as-of", "2024-02-01", "--json").out)
    assert (found["rejected"], found["reasons"], found["bars_sent"]) == (1, {"price_order": 1}, 2)
    assert sent[-1].as_of.isoformat() == "2024-02-01T00:00:00+00:00"


@pytest.mark.parametrize(("time", "words"), [("yesterday", "ISO 8601"), ("2999-01-01", "lies in the future")])
def test_a_time_of_statement_that_cannot_be_is_refused(
    time: str, words: str, run: Run, bars: Callable[[str], str]
) -> None:
    done = run("replay", bars(GOOD), "--symbol", "DEMO", "--interval", "1d", "--as-of", time)
    assert done.code == 2
    assert "--as-of" in done.err
    assert words in done.err
