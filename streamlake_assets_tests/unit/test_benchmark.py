"""The benchmark's plan, its order of a run, its findings and its page, on made measurements with known laws."""

import json
import re
from typing import Any

import pytest

from streamlake_assets.errors import MissingToolError, UsageError
from streamlake_assets.flows import benchmark, benchmark_findings, benchmark_page, benchmark_run
from streamlake_assets.flows.benchmark_plan import BY_KEY, CONTESTANTS, PROFILES, Measure, measures
from streamlake_assets.flows.limited_child import Ended
from streamlake_assets.learning.spec import Algorithm
from streamlake_assets.learning.timing import Timing
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets_tests.benchmark_data import (
    LAWS,
    QUICK,
    ROWS,
    certified,
    failure,
    in_place_of_processes,
    timed,
)
from streamlake_assets_tests.series_data import planted_range


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return training_frame([planted_range(200, s, f"S{s}") for s in range(2)], None, 63)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return in_place_of_processes(monkeypatch)


def run(frame: TrainingFrame, profile: Any = QUICK) -> dict[str, Any]:
    return benchmark_run.run_benchmark(profile, frame, say=lambda _: None, command="again")


def test_the_specs_measured_are_the_project_s_own() -> None:
    for one in CONTESTANTS:
        spec = one.spec(12)
        assert (spec.engine, spec.algorithm, len(spec.features)) == (one.engine, one.algorithm, 12)
        assert spec.params == one.project_spec(PROFILES["full"].certified[0]).params
    assert not BY_KEY["dask/block_forest"].same_model
    assert "n/4" in BY_KEY["dask/block_forest"].label
    assert BY_KEY["dask/block_forest"].spec(5).params["blocks"] == 4


def test_a_round_of_every_size_comes_before_anything_else() -> None:
    planned = list(measures(QUICK))
    first = planned[: 3 * len(CONTESTANTS)]
    assert {(m.contestant.key, m.rows) for m in first} == {(c.key, n) for c in CONTESTANTS for n in ROWS}
    assert all(m.contestant.engine != "spark" for m in measures(QUICK, ("sklearn", "dask", "xgboost")))
    assert {m.cores for m in planned} == {1, 2}


def test_without_a_valid_certificate_nothing_is_timed(frame: TrainingFrame, children: dict[str, Any]) -> None:
    children["certificate"] = certified(failure("dask", "linear", "coefficients differ by 0.2"))
    report = run(frame)
    assert children["made"] == []
    assert report["records"] == []
    assert not benchmark.judge(report).passed
    text = benchmark.benchmark_page(report)
    assert "NOT VALID" in text
    assert "coefficients differ by 0.2" in text
    assert "## Verdict" not in text


def test_a_certificate_that_never_came_is_not_valid(frame: TrainingFrame, children: dict[str, Any]) -> None:
    children["certificate"] = None
    report = run(frame)
    assert "no certificate" in report["certificate"]["findings"][0]
    assert children["made"] == []


def test_an_engine_that_cannot_be_asked_is_missing_and_the_others_are_measured(
    frame: TrainingFrame, children: dict[str, Any]
) -> None:
    children["certificate"] = certified(failure("spark", "any", "package pyspark is not installed"))
    report = run(frame)
    assert report["certificate"]["valid"]
    assert report["missing"] == {"spark": "package pyspark is not installed"}
    assert {m.contestant.engine for m in children["made"]} == {"sklearn", "dask", "xgboost"}
    assert benchmark.judge(report).passed
    text = benchmark.benchmark_page(report)
    assert "spark: package pyspark is not installed" in text
    assert report["findings"]["verdict"]["framework"] == "scikit-learn"


def test_a_child_that_dies_marks_its_engine_and_the_others_finish(
    frame: TrainingFrame, children: dict[str, Any]
) -> None:
    died = Ended(-9, "", "", 1.0, 5.0, 90.0, (), "Killed\n")
    children["answer"] = lambda m: died if m.contestant.engine == "dask" else timed(m)
    report = run(frame)
    assert report["missing"] == {"dask": "in phase fit_cold: Killed"}
    done = {BY_KEY[r["key"]].engine for r in report["records"] if not r["failed"]}
    assert done == {"sklearn", "spark", "xgboost"}
    # a size above one that broke is not tried
    assert {r["rows"] for r in report["records"] if r["key"] == "dask/linear" and not r["cap_mib"]} == {10_000}
    assert benchmark.judge(report).passed


def test_crossovers_regret_and_verdict_follow_the_laws(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame)
    at = {(c["key"], c["quantity"]): c for c in report["findings"]["crossovers"]}
    # lines between measured sizes approach the true size, (10 - 0.1) / 9e-5
    assert at["spark/linear", "total_s"]["rows"] == pytest.approx(110_000, rel=0.1)
    assert at["spark/linear", "fit_warm"]["at_once"]
    assert at["dask/linear", "total_s"]["says"] == "not reached up to 1,000,000 rows"
    best = {(r["task"], r["rows"]): r["use"] for r in report["findings"]["recommendations"] if r["measured"]}
    assert (best["linear", 10_000], best["linear", 1_000_000]) == ("sklearn/linear", "spark/linear")
    verdict = report["findings"]["verdict"]
    # scikit-learn's worst is 100.1 / 20 at 1 M rows, Spark's 10.1 / 1.1 at 10,000
    assert verdict["framework"] == "scikit-learn"
    assert "5 times" in verdict["says"]
    assert any("Spark MLlib quicker in all: at about" in line for line in verdict["change"])
    assert any("1.1 s against 10.1 s" in line for line in verdict["reasons"])


def test_the_verdict_changes_with_the_figures(
    frame: TrainingFrame, children: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAWS, "spark", (0.05, 1e-6))
    assert run(frame)["findings"]["verdict"]["framework"] == "Spark"


def test_a_size_that_not_all_were_measured_at_does_not_decide(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame)
    report["records"] = [r for r in report["records"] if r["rows"] == 10_000 or BY_KEY[r["key"]].engine == "sklearn"]
    verdict = benchmark_findings.verdict(report)
    assert verdict["measured"] == [10_000, 10_000]
    least = "it takes the least time of all frameworks for the same model, in each task"
    assert verdict["says"] == f"scikit-learn: at 10,000 rows {least}."
    assert any("Measured up to 10,000 rows only" in line for line in verdict["change"])


def test_what_is_stopped_by_its_limit_counts_as_endless(frame: TrainingFrame, children: dict[str, Any]) -> None:
    slow = Ended(-9, "time", "", 60.0, 5.0, 90.0, (), "")
    children["answer"] = lambda m: slow if (m.contestant.engine, m.rows) == ("sklearn", 1_000_000) else timed(m)
    report = run(frame)
    at = {(c["key"], c["quantity"]): c for c in report["findings"]["crossovers"]}
    assert at["dask/linear", "total_s"]["by_failure"]
    assert report["findings"]["verdict"]["framework"] == "Dask", "Spark's worst regret is larger"
    assert "ended in phase fit_cold: more than 60 s" in benchmark.benchmark_page(report).replace("**", "") or any(
        r["reason"].startswith("ended in phase fit_cold") for r in report["records"]
    )


def test_caps_are_climbed_until_one_fails_and_heaps_are_halved(frame: TrainingFrame, children: dict[str, Any]) -> None:
    def answer(wanted: Measure) -> Timing | Ended:
        if wanted.cap_mib and wanted.rows > wanted.cap_mib * 100:
            return Ended(-9, "memory", "watched", 1.0, 5.0, 1_100.0, (), "")
        if wanted.contestant.engine == "spark" and not wanted.cap_mib and (wanted.heap_mib or 0) < 768:
            return Timing(error="Spark ended while fitting (exit code 3): it said nothing", error_kind="ServerError")
        return timed(wanted)

    children["answer"] = answer
    profile = QUICK._replace(caps_mib=(1024, 2048), ladder=ROWS, heaps_mib=(512, 768, 1024), heap_rows=(10_000,))
    report = run(frame, profile)
    caps = {(c["key"], c["cap_mib"]): c for c in report["findings"]["caps"]}
    assert (caps["sklearn/forest", 1024]["rows"], caps["sklearn/forest", 1024]["stopped_at"]) == (100_000, 1_000_000)
    assert caps["sklearn/forest", 1024]["stopped_by"] == "memory"
    assert caps["sklearn/forest", 2048]["rows"] == 100_000
    climbed = [m.rows for m in children["made"] if m.cap_mib == 2048 and m.contestant.key == "sklearn/forest"]
    assert climbed == [1_000_000], "what a smaller cap carried is not shown again"
    heaps = {h["key"]: h for h in report["findings"]["heaps"]}
    assert (heaps["spark/forest"]["least_mib"], heaps["spark/forest"]["too_small_mib"]) == (768, 512)


def test_what_was_too_slow_under_a_cap_is_not_tried_with_more_memory(
    frame: TrainingFrame, children: dict[str, Any]
) -> None:
    slow = Ended(-9, "time", "watched", 60.0, 5.0, 90.0, (), "")
    children["answer"] = lambda m: slow if m.cap_mib and m.rows == 1_000_000 else timed(m)
    report = run(frame, QUICK._replace(caps_mib=(1024, 2048), ladder=ROWS))
    assert not [m for m in children["made"] if m.cap_mib == 2048]
    mine = [c for c in report["findings"]["caps"] if c["key"] == "sklearn/forest"]
    assert [(c["rows"], c["stopped_at"], c["stopped_by"]) for c in mine] == [(100_000, 1_000_000, "time")]


def test_a_run_of_limits_alone_gives_limits_and_no_verdict(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame, PROFILES["limits"]._replace(idle_s=0.0))
    assert all(m.pairs or m.cap_mib or m.heap_mib for m in children["made"])
    assert {c["key"] for c in report["findings"]["caps"]} == {"sklearn/forest", "dask/forest", "spark/forest"}
    text = benchmark_page.page(report, lambda name, title, svg: name)
    assert "Under a memory cap" in text and "Verdict" not in text and "Time from start to model" not in text


def test_a_run_is_continued_with_what_it_lacks(frame: TrainingFrame, children: dict[str, Any]) -> None:
    kept: list[dict[str, Any]] = []
    keep = lambda so_far: kept.append(json.loads(json.dumps(so_far)))  # noqa: E731
    whole = benchmark_run.run_benchmark(QUICK, frame, say=lambda _: None, command="again", keep=keep)
    made = len(children["made"])
    part = kept[made // 2]
    known = len(part["records"]) + len(part["real_fits"])
    assert known == made // 2 + 1, "one is kept after each measurement"
    children["made"].clear()
    report = benchmark_run.run_benchmark(QUICK, frame, say=lambda _: None, command="again", before=part)
    assert len(children["made"]) == made - len(part["records"])
    names = ("key", "rows", "features", "cores", "round", "pairs", "cap_mib", "heap_mib")
    measured = [tuple(r[name] for name in names) for r in report["records"]]
    assert measured == [tuple(r[name] for name in names) for r in whole["records"]]
    assert [fit["engine"] for fit in report["real_fits"]] == ["sklearn", "dask", "spark"]
    assert len({r["run"] for r in report["records"]}) == len(report["records"]), "each keeps the id of its own run"
    assert report["continues"][0]["run_id"] == whole["run_id"] != report["run_id"]
    assert f"It continues `{whole['run_id']}`" in benchmark.benchmark_page(report)


@pytest.mark.parametrize("differs", ["profile", "packages", "cores"])
def test_a_run_of_other_circumstances_is_not_continued(
    frame: TrainingFrame, children: dict[str, Any], differs: str
) -> None:
    whole = run(frame)
    other = {**whole, "profile": "full"} if differs == "profile" else whole
    other = {**other, "machine": {**whole["machine"], differs: "another"}} if differs != "profile" else other
    children["made"].clear()
    with pytest.raises(UsageError, match=f"cannot be continued: another {differs}"):
        benchmark_run.run_benchmark(QUICK, frame, say=lambda _: None, command="again", before=other)
    assert children["made"] == []


def test_the_runner_s_cost_is_a_ratio_within_pairs(frame: TrainingFrame, children: dict[str, Any]) -> None:
    (first, *_) = run(frame)["findings"]["runner"]
    assert (first["ratio"], first["range"], first["reached"]) == (pytest.approx(1.02), [1.0, 1.04], True)


def test_final_fits_on_the_real_rows_are_timed_by_engine(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame)
    assert [(one["engine"], one["rows"], one["total_s"]) for one in report["real_fits"]] == [
        (name, len(frame), 1.0 + 4 * 2.0) for name in ("sklearn", "dask", "spark")
    ]
    assert "All 3 engines together: 27.0 s." in benchmark.benchmark_page(report)


def test_without_a_jdk_spark_is_missing_and_only_spark(
    frame: TrainingFrame, children: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> dict[str, str]:
        raise MissingToolError("no JDK 17: apt-get install openjdk-17-jre-headless")

    monkeypatch.setattr(benchmark_run, "engine_environment", none)
    report = run(frame)
    assert list(report["missing"]) == ["spark"]
    assert {m.contestant.engine for m in children["made"]} == {"sklearn", "dask", "xgboost"}
    assert benchmark.judge(report).passed


def test_what_there_is_no_time_for_is_named(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame, QUICK._replace(budget_s=0.0))
    assert report["records"] == []
    assert len(report["left_out"]) >= len(CONTESTANTS) * 3
    assert "no time left of 0 s" in report["left_out"][0]


def test_results_that_are_too_far_apart_or_a_process_left_fail_the_check(
    frame: TrainingFrame, children: dict[str, Any]
) -> None:
    report = run(frame)
    assert benchmark.judge(report).passed
    assert report["findings"]["r2_spread"][0]["spread"] == pytest.approx(0.01)
    for record in report["records"]:
        if record["key"] == "spark/forest" and not record["pairs"]:
            record["r2"] = 0.7
    report["findings"] = benchmark_findings.findings(report)
    judged = benchmark.judge(report)
    assert not judged.passed
    assert "R² of forest" in judged.text
    report = run(frame)
    report["records"][0]["orphans"] = ["java 17"]
    assert "left running: java 17" in benchmark.judge(report).text
    assert benchmark.judge(None).passed, "made on demand: none is no fault"


def test_an_engine_neither_measured_nor_named_fails_the_check(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame)
    report["records"] = [r for r in report["records"] if BY_KEY[r["key"]].engine != "xgboost"]
    assert "xgboost was neither measured nor named missing" in benchmark.judge(report).text


def test_the_page_shows_charts_tables_and_every_run(frame: TrainingFrame, children: dict[str, Any]) -> None:
    report = run(frame)
    names: list[str] = []

    def image(name: str, _title: str, svg: str) -> str:
        names.append(name)
        assert svg.startswith("<svg")
        assert "nan" not in svg.lower()
        return f"![]({name}.svg)"

    text = benchmark_page.page(report, image)
    assert names == ["total-linear", "fit-linear", "total-forest", "fit-forest", *(f"memory-{n}" for n in ROWS)]
    assert all(record["run"].rpartition("/")[2] in text for record in report["records"])
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert "each tree saw n/4 rows" in text
    assert report["run_id"] in text


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UsageError, match="quick, full"):
        benchmark.profile_named("huge")
    assert Algorithm.FOREST in {one.algorithm for one in CONTESTANTS}
