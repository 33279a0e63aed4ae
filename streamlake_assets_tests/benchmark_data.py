"""Made measurements for tests of the training benchmark: costs by known laws, without starting a process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlake_assets.flows import benchmark_run
from streamlake_assets.flows.benchmark_plan import BY_KEY, PROFILES, Measure
from streamlake_assets.flows.limited_child import Ended
from streamlake_assets.learning import certificate, timing
from streamlake_assets.learning.timing import Timing

LAWS = {"sklearn": (0.1, 1e-4), "dask": (3.0, 1.2e-4), "spark": (10.0, 1e-5), "xgboost": (0.2, 1e-6)}
"""Seconds to start and seconds for each row: Spark overtakes scikit-learn where 0.1 + 1e-4 n = 10 + 1e-5 n."""
ROWS = (10_000, 100_000, 1_000_000)
QUICK = PROFILES["quick"]._replace(budget_s=None, idle_s=0.0, rounds={10_000: 2, 100_000: 1, 1_000_000: 1})
Answer = Callable[[Measure], Timing | Ended]


def timed(wanted: Measure) -> Timing:
    start, each = LAWS[wanted.contestant.engine]
    if wanted.pairs:
        return Timing(ours=(1.02, 1.04, 1.0), bare=(1.0, 1.0, 1.0), versions={"library": "1"})
    fit = each * wanted.rows
    seconds = {"import": start / 2, "open": start / 2, "transfer": 1e-6, "fit_cold": fit, "fit_warm": fit}
    seconds |= {"fetch": 1e-6, "predict": 0.01, "save": 0.1, "load": 0.1, "close": 0.1}
    return Timing(
        seconds=seconds,
        cpu_seconds=seconds,
        warm=(fit,),
        one_row_us=100.0,
        rmse=2.0,
        r2=0.8 if wanted.contestant.engine != "spark" else 0.79,
        processes=1,
        model_files=1,
        model_bytes=1_000,
        rows_mib=1.0,
        versions={"library": "1"},
    )


def in_place_of_processes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let the benchmark start none: ``answer`` and ``certificate`` of the state stand for them, ``made`` lists them."""
    state: dict[str, Any] = {"answer": timed, "certificate": certified(), "made": []}

    def run(command: list[str], log: Path, limits: Any, variables: Any) -> Ended:
        ended = Ended(0, "", "watched" if limits.memory_mib else "", 2.0, 5.0, 300.0, (), "")
        folder = log.parent
        if certificate.__name__ in command:
            state["result"] = None
            return ended
        request = timing.msgspec.json.decode((folder / "request.json").read_bytes(), type=timing.TimingRequest)
        if request.snapshot:
            state["result"] = Timing(
                seconds={"import": 1.0, **{spec.name: 2.0 for spec in (request.spec, *request.more)}}
            )
            return ended
        key = request.spec.name
        wanted = Measure(
            BY_KEY[key],
            request.rows,
            len(request.spec.features),
            request.resources.cores,
            pairs=request.pairs,
            cap_mib=limits.memory_mib,
            heap_mib=request.resources.jvm_memory_mb,
        )
        state["made"].append(wanted)
        answer = state["answer"](wanted)
        state["result"] = answer if isinstance(answer, Timing) else None
        return answer if isinstance(answer, Ended) else ended

    monkeypatch.setattr(benchmark_run, "run_limited", run)
    monkeypatch.setattr(benchmark_run, "engine_environment", dict)
    monkeypatch.setattr(benchmark_run.machine, "wait_idle", lambda _: 1.0)
    monkeypatch.setattr(benchmark_run.timing, "read_result", lambda _: state["result"])
    monkeypatch.setattr(benchmark_run.timing, "read_phase", lambda _: "fit_cold")
    monkeypatch.setattr(benchmark_run.certificate, "read_result", lambda _: state["certificate"])
    return state


def certified(*failed: dict[str, Any]) -> dict[str, Any]:
    good = {"engine": "spark", "algorithm": "linear", "passed": True, "note": ""}
    return {"valid": not failed, "findings": [one["note"] for one in failed], "checks": [good, *failed], "specs": []}


def failure(engine: str, algorithm: str, note: str) -> dict[str, Any]:
    return {"engine": engine, "algorithm": algorithm, "passed": False, "note": note}
