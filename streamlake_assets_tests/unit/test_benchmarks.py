"""The pure parts of the benchmarks: ratios, spreads, histograms, gates, report; nothing is started or measured."""

import datetime as dt
import xml.etree.ElementTree as ET
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from benchmarks import charts, checks, figures, gates, report
from benchmarks.cases import train
from benchmarks.cases.latency import read_histogram
from benchmarks.figures import Figure, Histogram
from benchmarks.made_bars import Expected, bars, ready_line
from benchmarks.peers.debezium.sink import message_schema
from benchmarks.peers.debezium.table import BARS_SINK
from benchmarks.profiles import PROFILES, names
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.market.contract import validate_bar
from streamlake_assets.stores import schema


def raw(case: str, number: int, rate: float, **changes: Any) -> dict[str, Any]:
    """One run as it stands in a result."""
    run = {
        "case": case,
        "round": number,
        "partitions": 4,
        "rows": 1000,
        "seconds": 1000 / rate,
        "rate": rate,
        "whole_s": None,
        "cpu_s": {"client": 0.002, "mysql": 0.01},
        "peak_mib": {"client": 100.0},
        "busy_before_percent": 1.0,
    }
    return {**run, **changes}


def point(rate: int, p99_ms: float = 10.0) -> dict[str, Any]:
    """The latency at one rate as it stands in a result."""
    return {
        "rate": rate,
        "p50_ms": 4.0,
        "p99_ms": p99_ms,
        "max_ms": 20.0,
        "late_p99_ms": 1.0,
        "cores": {"consumer": 0.2, "producer": 0.1},
        "sent": 10,
        "histogram": {"edges_s": [0.005, 0.01, "inf"], "counts": [6.0, 4.0, 0.0]},
    }


def good_result() -> dict[str, Any]:
    """A result on the real MySQL that reaches every goal."""
    rates = {
        "limit": 100.0,
        "ours": 55.0,
        "executemany": 20.0,
        "debezium": 20.0,
        "per-message": 0.2,
        "store": 99.0,
        "store-bare": 100.0,
    }
    runs = [raw(case, number, rate * (1 + number / 100)) for number in range(6) for case, rate in rates.items()]
    return {
        "profile": "full",
        "made_at": "2026-01-02T03:04:05+00:00",
        "commit": "abc1234",
        "rows": 1000,
        "rounds": 5,
        "took_s": 600,
        "machine": {
            "processor": "a processor",
            "cores": 2,
            "memory_gib": 8,
            "system": "Linux",
            "python": "3.11",
            "load_before": [0.1],
            "packages": {"pymysql": "1"},
        },
        "servers": {"kafka": "Kafka 4", "mysql": "MySQL 9, the real server", "variables": {"log_bin": "ON"}},
        "not_run": {},
        "runs": runs,
        "latency": [point(rate) for rate in gates.RATES],
        "memory": [
            {"waiting": waiting, "settled_mib": 90.0, "peak_mib": peak, "away_s": 5, "drained_s": 2.0}
            for waiting, peak in ((10_000, 100.0), (1_000_000, 105.0))
        ],
        "chain": [],
    }


def test_a_ratio_is_taken_inside_each_round_and_leaves_the_warm_up_out() -> None:
    rates = {"limit": (1.0, 100.0, 50.0, 80.0), "ours": (999.0, 50.0, 30.0, 32.0)}
    runs = [raw(case, number, rate) for case, values in rates.items() for number, rate in enumerate(values)]
    assert figures.ratio({"runs": runs}, "ours", "limit") == Figure(0.5, 0.4, 0.6, 3)


def test_a_round_that_only_one_of_two_cases_has_does_not_count() -> None:
    runs = [raw("limit", 1, 100), raw("limit", 2, 100), raw("ours", 2, 40)]
    assert figures.ratio({"runs": runs}, "ours", "limit") == Figure(0.4, 0.4, 0.4, 1)
    assert figures.ratio({"runs": runs}, "debezium", "limit") is None


def test_spread_is_the_range_as_a_share_of_the_median() -> None:
    found = figures.figure([90, 100, 120])
    assert found is not None and found.spread == pytest.approx(0.3)


def test_processor_time_is_given_for_each_row_and_side() -> None:
    assert figures.cpu_per_row({"runs": [raw("ours", 1, 10)]}, "ours") == pytest.approx({"client": 2.0, "mysql": 10.0})


def test_a_histogram_is_what_was_added_between_two_readings() -> None:
    page = (
        'x_bucket{le="0.001"} 5.0\nx_bucket{le="0.002"} 15.0\nx_bucket{le="+Inf"} 16.0\nx_count 16.0\n'
        'y_bucket{le="0.001"} 1.0\n'
    )
    after = read_histogram(page, "x")
    found = figures.histogram(after, {0.001: 5.0, 0.002: 5.0, float("inf"): 5.0})
    assert found == Histogram((0.001, 0.002, float("inf")), (0.0, 10.0, 1.0))
    assert found.total == 11
    with pytest.raises(StreamlakeError, match="no metric z"):
        read_histogram(page, "z")


def test_quantiles_are_linear_inside_a_bucket_and_the_greatest_is_an_upper_edge() -> None:
    found = Histogram((0.001, 0.002, 0.004, float("inf")), (50.0, 40.0, 10.0, 0.0))
    assert found.quantile(0.5) == pytest.approx(0.001)
    assert found.quantile(0.7) == pytest.approx(0.0015)
    assert found.quantile(0.99) == pytest.approx(0.0038)
    assert found.greatest == 0.004


def test_what_lies_beyond_the_last_bound_is_not_hidden() -> None:
    found = Histogram((0.001, float("inf")), (1.0, 9.0))
    assert found.quantile(0.99) == 0.001
    assert found.greatest == float("inf")


def test_a_good_result_passes_every_gate_and_reaches_every_goal() -> None:
    result = good_result()
    verdicts = gates.judge(figures.summary(result))
    assert [verdict.gate.figure for verdict in verdicts if not (verdict.passed and verdict.reached)] == []
    assert gates.refusals(result, figures.summary(result)) == []


@pytest.mark.parametrize(
    ("case", "rate", "gate"),
    [
        ("ours", 39.0, "ours/limit"),
        ("debezium", 30.0, "ours/debezium"),
        ("executemany", 40.0, "ours/executemany"),
        ("per-message", 0.6, "ours/per-message"),
        ("store", 90.0, "exactly-once"),
    ],
)
def test_a_slow_case_is_past_its_gate(case: str, rate: float, gate: str) -> None:
    result = good_result()
    for run in result["runs"]:
        if run["case"] == case:
            run["rate"] = rate
    assert gate in {v.gate.figure for v in gates.judge(figures.summary(result)) if not v.passed}


def test_latency_and_memory_have_gates_that_are_upper_bounds() -> None:
    result = good_result()
    result["latency"][2] = point(20_000, p99_ms=41.0)
    result["memory"][1]["peak_mib"] = 131.0
    for run in result["runs"]:
        run["peak_mib"] = {"client": 151.0}
    failed = {v.gate.figure for v in gates.judge(figures.summary(result)) if not v.passed}
    assert failed == {"p99@20000", "rss-full/small", "rss"}


def test_between_gate_and_goal_it_passes_without_reaching() -> None:
    (gate,) = (gate for gate in gates.GATES if gate.figure == "ours/limit")
    value = (gate.gate + gate.goal) / 2
    (verdict,) = (v for v in gates.judge({"ours/limit": Figure(value, value, value, 5)}) if v.gate is gate)
    assert (verdict.passed, verdict.reached) == (True, False)


def test_an_unsteady_reference_few_rounds_or_another_server_are_refused() -> None:
    result = good_result()
    result["runs"][-7]["rate"] = 200.0
    result["servers"]["mysql"] = "MariaDB 11, in place of MySQL"
    reasons = " ".join(gates.refusals(result, figures.summary(result)))
    assert "spread" in reasons and "MariaDB" in reasons and "rounds" not in reasons
    result["runs"] = [run for run in result["runs"] if run["round"] <= 3]
    assert "3 rounds" in " ".join(gates.refusals(result, figures.summary(result)))


def test_a_peer_that_did_not_run_is_never_taken_for_passed() -> None:
    result = good_result()
    result["runs"] = [run for run in result["runs"] if run["case"] != "debezium"]
    found = figures.summary(result)
    (verdict,) = (v for v in gates.judge(found) if v.gate.figure == "ours/debezium")
    assert not verdict.passed and verdict.value is None
    assert "ours/debezium" in " ".join(gates.refusals(result, found))


def test_the_report_names_servers_every_gate_every_run_and_what_did_not_run() -> None:
    result = good_result()
    result["not_run"] = {"debezium": "no Maven here"}
    text, pictures = report.report(result)
    assert "MySQL 9, the real server" in text and "log_bin=ON" in text
    assert all(gate.what in text for gate in gates.GATES)
    assert "debezium: no Maven here" in text
    assert text.count("| warm-up |") == 7 and "0.55" in text
    assert set(pictures) == {"throughput.svg", "cpu.svg", *(f"latency-{rate}.svg" for rate in gates.RATES)}
    assert all(f"({name})" in text for name in pictures)


def test_a_run_of_the_whole_chain_alone_has_a_report_of_its_figures_and_servers() -> None:
    rounds = [{"changed_s": 0.1, "ratio": 0.02}, {"changed_s": 0.3, "ratio": 0.04}]
    chain = [{"case": "refresh", "servers": ["the broker", "the tables"], "rounds": rounds}]
    kept = ("profile", "made_at", "commit", "machine", "rows", "rounds", "not_run")
    result = {**{name: good_result()[name] for name in kept}, "runs": [], "chain": chain}
    text, _ = report.report(result)
    assert "Servers: the broker; the tables." in text and "refresh" in text and "ratio" in text
    assert gates.refusals(result, figures.summary(result))


def test_the_report_says_what_is_past_a_gate_and_why_it_cannot_be_judged() -> None:
    result = good_result()
    for run in result["runs"]:
        if run["case"] == "ours":
            run["rate"] = 10.0
    result["latency"] = []
    text, _ = report.report(result)
    assert "**past the gate**" in text
    assert "Not to be judged: figures are missing: p99@500" in text


def test_charts_are_well_formed_and_their_text_is_escaped() -> None:
    drawn = [
        charts.bars("a < b", [charts.Bar("one & two", [charts.Part("x", 1.0), charts.Part("y", 2.0)], "3")]),
        charts.columns("nothing", [], []),
        charts.columns("some", ["1", "2"], [0.0, 5.0], [(1, "p99")]),
    ]
    for picture in drawn:
        assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314


def test_two_results_are_compared_figure_by_figure() -> None:
    before, after = good_result(), good_result()
    for run in after["runs"]:
        if run["case"] == "ours":
            run["rate"] *= 1.2
    del after["latency"]
    text = report.compare(before, after)
    assert "| ours/limit | 0.55 (0.55 to 0.55) | 0.66 (0.66 to 0.66) | +20.0% |" in text
    assert "| p99@500 | 10.0 | – | – |" in text


def test_made_bars_keep_the_contract_have_distinct_keys_and_are_the_same_every_time() -> None:
    made = list(bars(500))
    for bar in made:
        validate_bar(bar)
    assert len({(bar.symbol, bar.bar_time) for bar in made}) == 500
    assert [bar.bar_time for bar in made] == sorted(bar.bar_time for bar in made)
    assert list(bars(500)) == made and list(islice(bars(1000), 500)) == made


def test_expected_sums_of_a_prefix_are_those_of_its_bars() -> None:
    made = list(bars(100))
    expected = Expected()
    for number, bar in enumerate(made):
        expected.add(number % 2, bar)
    assert expected.ends == {0: 50, 1: 50}
    assert expected.sums(expected.ends) == checks.sums_of(made)
    assert expected.sums({0: 3, 1: 1}) == checks.sums_of([made[0], made[2], made[4], made[1]])


def test_one_wrong_price_changes_the_digest() -> None:
    (bar,) = bars(1)
    (other,) = bars(1)
    changed = type(bar)(**{name: getattr(bar, name) for name in bar.__struct_fields__} | {"close": Decimal("0.01")})
    assert checks.sums_of([bar]) == checks.sums_of([other]) != checks.sums_of([changed])
    with pytest.raises(checks.WrongRunError, match="does not count"):
        checks.require("ours", checks.sums_of([changed]), checks.sums_of([bar]))


def test_a_ready_line_has_every_column_of_bars_whatever_bytes_its_hash_holds() -> None:
    for bar in bars(2000):
        line = ready_line(bar, 1, 2, 3, 4, 5)
        fields = line.removesuffix(b"\n").split(b"\t")
        assert len(fields) == len(schema.bars.columns)
        assert line.count(b"\n") == 1 and b"\0" not in line
    assert fields[2] == f"{bar.bar_time:%Y-%m-%d %H:%M:%S}".encode()


def test_the_sinks_schema_names_the_columns_of_its_table() -> None:
    assert {field["field"] for field in message_schema()["fields"]} == {column.name for column in BARS_SINK.columns}


def test_quick_is_a_part_of_full() -> None:
    assert set(names(PROFILES["quick"])) < set(names(PROFILES["full"]))
    assert PROFILES["full"].rounds >= gates.LEAST_ROUNDS
    assert dt.timedelta(seconds=PROFILES["quick"].latency_s * len(gates.RATES)) < dt.timedelta(minutes=1)


def test_the_time_of_the_training_benchmark_can_be_bounded_and_its_command_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(train, "real_frame", lambda: None)
    monkeypatch.setattr(
        train, "run_benchmark", lambda plan, _frame, **said: asked.append((plan, said["command"])) or {}
    )
    train.run("full", print)
    train.run("full", print, 12.5)
    (whole, command), (bounded, shorter) = asked
    assert (whole.budget_s, bounded.budget_s) == (None, 750.0)
    assert bounded._replace(budget_s=None) == whole
    assert shorter == f"{command} --minutes 12.5"
