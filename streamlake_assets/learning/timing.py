"""What a fit costs, phase by phase: the program of a child process that measures one engine on made rows.

Belongs here: the order of the phases, their clocks, request and result. Stays out: how these cross between the
processes (``child_process``), which measurements there are, their limits, memory (watched from outside by
``flows.limited_child``, so that no sampler runs beside a fit).

``python -m streamlake_assets.learning.timing FOLDER`` reads ``request.json`` there and writes ``result.json`` last; the
file ``phase`` names the phase it is in, so that what kills it can be told where. Timed, each by itself: import of the
engine's library, open, transfer, the first fit (cold), fetching the model (the first forecast of one row: Spark's model
lives in Java until then), further fits in the same process (warm), forecasts of the test rows by the portable model
and, where there is one, by the library itself, save, load, close. Not timed: the start of Python, making the rows,
scoring.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import numpy as np
import psutil

from streamlake_assets.errors import StreamlakeError, UsageError
from streamlake_assets.learning import child_process
from streamlake_assets.learning.engines import Engine, FittedModel, Resources, engine, needs_library
from streamlake_assets.learning.made_rows import made_rows, score
from streamlake_assets.learning.snapshot import read_snapshot
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.series import FloatArray

PHASE: Final = "phase"
TEST_ROWS: Final = 10_000
TEST_SEED: Final = 1_000_003
SINGLE_FORECASTS: Final = 200
LIBRARY: Final[dict[str, tuple[str, ...]]] = {
    "sklearn": ("sklearn.linear_model", "sklearn.ensemble"),
    "dask": ("distributed", "dask_ml.linear_model", "dask_ml.ensemble"),
    "spark": ("pyspark.sql", "pyspark.ml.regression"),
    "xgboost": ("xgboost",),
}
"""What an engine's fits import, for the phase ``import``."""


class TimingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure: a spec on so many made rows, within so many seconds; its features are those of the spec.

    ``pairs``: instead of single phases, so many fits by this project's runner and by the bare library, in turn.
    ``snapshot``: instead of made rows, one final fit of ``spec`` and of each of ``more`` (same engine) on all rows of a
    training set.
    """

    spec: ModelSpec
    rows: int
    resources: Resources
    timeout_s: float
    warm_fits: int = 1
    pairs: int = 0
    snapshot: str = ""
    more: tuple[ModelSpec, ...] = ()
    test_rows: int = TEST_ROWS
    seed: int = 1


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured. ``seconds`` and ``cpu_seconds`` (of the process and all below it) are by phase.

    ``warm`` are the seconds of each warm fit, ``one_row_us`` the median microseconds of a forecast of one row by the
    loaded model. ``ours`` and ``bare`` are the seconds of paired fits, ``ours_cpu`` and ``bare_cpu`` the processor
    seconds of all of them. ``processes`` counts this one and all below it after the first fit; ``rows_mib`` is the size
    of features and target.
    """

    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}
    warm: tuple[float, ...] = ()
    ours: tuple[float, ...] = ()
    bare: tuple[float, ...] = ()
    ours_cpu: float = 0.0
    bare_cpu: float = 0.0
    one_row_us: float = 0.0
    rmse: float = 0.0
    r2: float = 0.0
    processes: int = 0
    model_files: int = 0
    model_bytes: int = 0
    rows_mib: float = 0.0
    versions: dict[str, str] = {}
    error: str = ""
    error_kind: str = ""


def write_request(folder: Path, request: TimingRequest) -> list[str]:
    """Write a request into an empty folder and return the command that serves it."""
    return child_process.write_request(folder, __name__, request)


def read_result(folder: Path) -> Timing | None:
    """Return what a child left; see ``child_process.read_result``."""
    return child_process.read_result(folder, Timing)


def read_phase(folder: Path) -> str:
    """Return the phase a child was in last; ``start`` before the first."""
    try:
        return (folder / PHASE).read_text() or "start"
    except FileNotFoundError:
        return "start"


class Clock:
    """Seconds and processor seconds by phase; the phase that runs stands in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        (self._folder / PHASE).write_text(name)
        cpu = tree_cpu_seconds()
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 6)
        # never below zero: a process that ended has taken its count along, unless its parent waited for it
        self.cpu_seconds[name] = round(max(0.0, tree_cpu_seconds() - cpu), 3)


def tree_cpu_seconds() -> float:
    """Return processor seconds of this process, those below it, and those it or they waited for."""
    total = 0.0
    for process in _tree():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def measure(folder: Path, request: TimingRequest) -> Timing:
    """Measure one engine on one spec in this process.

    Raises:
        UsageError: forecasts of the loaded model differ from those of the fitted one; what the engine refuses.
        ServerError: the engine's session or cluster died.
    """
    clock = Clock(folder)
    if request.snapshot:
        return _final_fits(clock, request)
    features = len(request.spec.features)
    (folder / PHASE).write_text("rows")
    x, y = made_rows(request.rows, features, request.seed)
    test_x, test_y = made_rows(request.test_rows, features, TEST_SEED)
    with closing(_engine(clock, request)) as worker:
        with clock.phase("open"):
            worker.open()
        if request.pairs:
            taken, cpu = _pairs(worker, request, x, y, test_x)
            return Timing(
                seconds=clock.seconds,
                ours=tuple(taken["ours"]),
                bare=tuple(taken["bare"]),
                ours_cpu=round(cpu["ours"], 2),
                bare_cpu=round(cpu["bare"], 2),
                versions=worker.library_versions(),
            )
        with clock.phase("transfer"):
            rows = worker.transfer(request.spec, x, y)
        with clock.phase("fit_cold"):
            fitted = worker.fit_rows(request.spec, rows)
        with clock.phase("fetch"):
            fitted.predict(test_x[:1])
        processes = len(_tree())
        warm = []
        for _ in range(request.warm_fits):
            with clock.phase("fit_warm"):
                worker.fit_rows(request.spec, rows)
            warm.append(clock.seconds["fit_warm"])
        worker.release(rows)
        with clock.phase("predict"):
            forecast = fitted.predict(test_x)
        by_library = getattr(fitted, "by_library", None)
        if by_library is not None:
            with clock.phase("predict_by_library"):
                by_library(test_x)
        with TemporaryDirectory(dir=folder) as place:
            with clock.phase("save"):
                fitted.save(Path(place))
            files = [path for path in Path(place).rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            with clock.phase("load"):
                loaded = worker.load(request.spec, Path(place))
            (folder / PHASE).write_text("check")
            if not np.array_equal(loaded.predict(test_x), forecast):
                raise UsageError(f"{request.spec.name}: the loaded model forecasts other values than the fitted one")
            one_row_us = _one_row_us(loaded, test_x)
        versions = worker.library_versions()
        with clock.phase("close"):
            worker.close()
    scores = score(test_y, forecast)
    return Timing(
        seconds=clock.seconds,
        cpu_seconds=clock.cpu_seconds,
        warm=tuple(warm),
        one_row_us=one_row_us,
        rmse=scores.rmse,
        r2=scores.r2,
        processes=processes,
        model_files=len(files),
        model_bytes=size,
        rows_mib=round((x.nbytes + y.nbytes) / 2**20, 1),
        versions=versions,
    )


def _engine(clock: Clock, request: TimingRequest) -> Engine:
    with clock.phase("import"), needs_library(request.spec.engine):
        # an engine imports its library when it first needs it: here that is now
        for module in LIBRARY.get(request.spec.engine, ()):
            import_module(module)
        return engine(request.spec.engine, request.resources)


def _final_fits(clock: Clock, request: TimingRequest) -> Timing:
    """Fit each spec once, cold, on all rows of a snapshot; phases: import, rows, open, then one for each spec."""
    worker = _engine(clock, request)
    with closing(worker):
        with clock.phase("rows"):
            frame, _ = read_snapshot(Path(request.snapshot))
        with clock.phase("open"):
            worker.open()
        for spec in (request.spec, *request.more):
            with clock.phase(spec.name):
                worker.fit(spec, frame.columns(spec.features), frame.y[spec.target] / frame.scale[spec.target])
        return Timing(seconds=clock.seconds, cpu_seconds=clock.cpu_seconds, versions=worker.library_versions())


def _pairs(
    worker: Engine, request: TimingRequest, x: FloatArray, y: FloatArray, test_x: FloatArray
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Fit by this project's engine and by the bare library in turn, after one fit of each that does not count.

    Both hand the rows over and fit them in a session that runs; fetching and saving the model is not in it. Returned
    are seconds and processor seconds by side.
    """
    from streamlake_assets.learning.bare import bare

    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    cpu = {"ours": 0.0, "bare": 0.0}
    with bare(request.spec, worker, request.resources) as bare_fit:
        for number in range(request.pairs + 1):
            # whoever goes second finds warmer caches: they take turns
            for who in ("ours", "bare") if number % 2 else ("bare", "ours"):
                cpu_before, begun = tree_cpu_seconds(), time.perf_counter()
                if who == "ours":
                    rows = worker.hand_over(request.spec, x, y)
                    fitted = worker.fit_rows(request.spec, rows)
                    worker.release(rows)
                else:
                    forecast = bare_fit(x, y)
                if number:
                    taken[who].append(round(time.perf_counter() - begun, 6))
                    cpu[who] += tree_cpu_seconds() - cpu_before
        one, other = fitted.predict(test_x), forecast(test_x)
    apart = float(np.abs(one - other).max() / np.abs(other).max())
    if apart > _SAME_WORK:
        raise UsageError(f"{request.spec.name}: the bare script fits another model, forecasts differ by {apart:.2g}")
    return taken, cpu


_SAME_WORK: Final = 1e-6
"""Largest relative difference between forecasts of the runner and of the bare script that still is the same model."""


def _one_row_us(loaded: FittedModel, test_x: FloatArray) -> float:
    taken = []
    for number in range(SINGLE_FORECASTS):
        row = test_x[number % len(test_x)][None, :]
        begun = time.perf_counter()
        loaded.predict(row)
        taken.append(time.perf_counter() - begun)
    return round(float(np.median(taken)) * 1e6, 1)


def _tree() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _failed(error: Exception) -> Timing:
    if isinstance(error, StreamlakeError):
        return Timing(error=str(error), error_kind=type(error).__name__)
    return Timing(error=f"{type(error).__name__}: {error}"[:500], error_kind="unexpected")


def main(arguments: list[str]) -> int:
    """Serve the request in a folder; return the exit code: 0, or 1 when the result holds an error."""
    folder = Path(arguments[0])
    result = child_process.answer(folder, TimingRequest, lambda request: measure(folder, request), _failed)
    return 1 if result.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
