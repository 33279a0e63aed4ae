"""The demo's summary on a terminal: readable at 80 columns, nothing claimed that is not in the numbers."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from streamlake_assets.commands.demo import Summary
from streamlake_assets.commands.summary import SPEAKS, print_summary


def model(target: str, engine: str, version: str, skill: float, low: float, high: float) -> dict[str, Any]:
    name = f"{target}_{'baseline' if engine == 'baseline' else 'linear'}"
    interval = {"skill": skill, "skill_low": low, "skill_high": high, "has_skill": low > 0}
    return {"engine": engine, "target": target, "name": name, "version": version, **interval}


@pytest.fixture
def summary() -> Summary:
    return Summary(
        ok=True,
        bars=58594,
        bars_by_interval={"1d": 12154, "5m": 46440},
        bars_added=58594,
        topic_messages=58989,
        messages_added=58989,
        revisions=300,
        corporate_actions=95,
        dead_letters=0,
        documents=12154,
        documents_equal_daily={"compared": 12154, "different": 4},
        models=[
            model("adjusted_return", "baseline", "0-980d24023a38", 0.0, 0.0, 0.0),
            model("adjusted_return", "sklearn", "m-26132d141333", -0.0009154, -0.0042268, 0.0023240),
            model("log_range", "sklearn", "m-9ae756e6a312", 0.0308486, 0.0171748, 0.0458539),
            {
                **model("log_range", "sklearn", "m-eb06efc41b77", 0.0165, 0.0031, 0.0292),
                "name": "log_range_linear_selected",
            },
        ],
        champions={"adjusted_return": "0-980d24023a38", "log_range": "m-9ae756e6a312"},
        forecasts=610,
        scored=600,
        signals=0,
        live_skill={"adjusted_return": 0.0, "log_range": 0.0631374},
        checks={"passed": 15, "failed": 1},
        failed_checks=["raw/bars: bars_keep_the_contract: 1 bars break [red]the contract"],
        market_session="2013-03-01",
        urls={},
        servers=[
            {"name": "documents", "what": "a stand-in for MongoDB, not MongoDB", "version": "1", "address": "here"}
        ],
        seconds={"servers": 5.9, "total": 62.71},
    )


def shown(summary: Summary) -> list[str]:
    text = io.StringIO()
    print_summary(Console(file=text, width=80), summary, {"dagster": "http://127.0.0.1:13000"})
    return text.getvalue().splitlines()


def test_each_model_is_one_whole_line_within_80_columns(summary: Summary) -> None:
    lines = shown(summary)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    rows = {
        version: line.split() for line in lines for version in ("0-9", "m-2", "m-9", "m-e") if f" {version}" in line
    }
    assert rows["m-2"] == ["return", "sklearn", "linear", "m-26132d1413", "-0.0009", "-0.004..+0.002"]
    assert rows["m-9"] == [
        *(SPEAKS, "range", "sklearn", "linear", "m-9ae756e6a3"),
        *("+0.0308", "+0.017..+0.046", "+0.0631"),
    ]
    assert rows["m-e"] == ["range", "sklearn", "linear_selected", "m-eb06efc41b", "+0.0165", "+0.003..+0.029"]


def test_a_baseline_says_so_instead_of_an_interval_of_zeros(summary: Summary) -> None:
    (line,) = [line for line in shown(summary) if "0-980d24023a" in line]
    assert line.split() == [SPEAKS, "return", "version", "0", "0-980d24023a", "baseline", "+0.0000"]


def test_failed_checks_unequal_documents_and_the_stand_in_are_said_as_they_are(summary: Summary) -> None:
    text = "\n".join(shown(summary))
    assert "Checks: 15 passed, 1 failed" in text
    assert "failed raw/bars: bars_keep_the_contract: 1 bars break [red]the contract" in text
    assert "12,150 of 12,154" in text
    assert "a stand-in for MongoDB, not MongoDB" in text
    assert "http://127.0.0.1:13000" in text


def test_no_signal_is_a_result_and_signals_are_no_advice(summary: Summary) -> None:
    assert any(line.startswith("Signals: none.") for line in shown(summary))
    some = msgspec.structs.replace(summary, signals=3)
    assert "Signals: 3. Not investment advice." in shown(some)
