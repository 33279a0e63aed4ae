"""A run of the training benchmark: a certificate first, then one measured process after another.

Belongs here: the order of a run, one measurement as a plain record, taking over what an earlier run measured. Stays
out: what takes part (``benchmark_plan``), how memory's limits are looked for (``benchmark_limits``), what the figures
mean (``benchmark_findings``), clocks inside the process (``learning.timing``), storing and judging the report
(``benchmark``).

Nothing is timed without a valid certificate that the engines fit the same models: time for other work says nothing.
"""

import datetime as dt
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamlake_assets.errors import IntegrityError, MissingToolError, UsageError
from streamlake_assets.flows import benchmark_findings as findings
from streamlake_assets.flows import benchmark_words as words
from streamlake_assets.flows import machine
from streamlake_assets.flows.benchmark_limits import climb, smallest_heap
from streamlake_assets.flows.benchmark_plan import (
    BY_KEY,
    COMPARED,
    CONTESTANTS,
    ENGINES,
    Measure,
    Profile,
    further_rounds,
    measures,
)
from streamlake_assets.flows.limited_child import Ended, Limits, run_limited
from streamlake_assets.flows.training import engine_environment
from streamlake_assets.learning import certificate, timing
from streamlake_assets.learning.complexity import engine_complexity
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.parity import ANY
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.learning.spec import default_specs
from streamlake_assets.market.frames import TrainingFrame

Say = Callable[[str], None]
_PACKAGES: Final = (
    "scikit-learn",
    "dask",
    "distributed",
    "dask-ml",
    "pyspark",
    "xgboost-cpu",
    "numpy",
    "pyarrow",
    "skops",
)
_OUTSIDE_S: Final = 15.0
"""By how much the limit from outside is longer: a child ends itself first, with a word; this is for one that cannot."""
_PAIRS_TIME: Final = 2
"""How many times the time of one measurement several pairs of fits may take."""


@dataclass
class Run:
    """A run under way: what was measured, what was left out, who is missing."""

    profile: Profile
    run_id: str
    say: Say
    begun: float
    records: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0
    """How many of the records this run has made itself."""
    left_out: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    real_fits: list[dict[str, Any]] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)
    keep: Callable[[dict[str, Any]], None] = lambda measured: None
    """Takes everything measured so far, after each measurement."""

    def measured(self) -> dict[str, Any]:
        """Return what was measured so far, as the report has it."""
        return {
            "records": self.records,
            "real_fits": self.real_fits,
            "left_out": self.left_out,
            "missing": self.missing,
            "versions": self.versions,
            "took_s": round(time.monotonic() - self.begun, 1),
        }

    def find_java(self) -> None:
        """Get what engines need of the environment; without a JDK Spark is missing, and only Spark."""
        try:
            self.variables = engine_environment()
        except MissingToolError as error:
            self.missing["spark"] = str(error)

    def _environment(self, folder: Path) -> dict[str, str]:
        """Return the variables of a child: what it leaves behind when it is killed goes with its folder."""
        return {**self.variables, "TMPDIR": str(folder)}

    def certify(self, frame: TrainingFrame, engines: tuple[str, ...]) -> dict[str, Any]:
        """Let the engines be certified in a process of its own; return the certificate as plain data.

        An engine that could not be asked at all is missing and makes the certificate of the others no less valid.
        """
        asked = [name for name in engines if name not in self.missing]
        compared = [one for one in CONTESTANTS if one.engine in asked and one.task in findings.TASKS]
        specs = [one.project_spec(target) for target in self.profile.certified for one in compared]
        with tempfile.TemporaryDirectory(prefix="streamlake-benchmark-") as place:
            folder = Path(place)
            write_snapshot(frame, folder / "rows.parquet")
            request = certificate.CertificateRequest(
                snapshot=str(folder / "rows.parquet"),
                engines=tuple(dict.fromkeys(one.engine for one in compared)),
                specs=tuple(specs),
                resources=Resources(jvm_memory_mb=self.profile.heap_mib),
                timeout_s=self.profile.certificate_timeout_s,
            )
            command = certificate.write_request(folder, request)
            limits = Limits(request.timeout_s + _OUTSIDE_S)
            ended = run_limited(command, folder / "log", limits, self._environment(folder))
            found = certificate.read_result(folder)
        if found is None:
            why = f"no certificate: {ended.stopped_by or words.last_line(ended.log) or f'exit code {ended.code}'}"
            found = {"valid": False, "findings": [why], "checks": []}
        failed = [check for check in found["checks"] if not check["passed"]]
        for check in failed:
            if check["algorithm"] == ANY:
                self.missing[check["engine"]] = check["note"]
        others = [check for check in failed if check["engine"] not in self.missing]
        valid = bool(found["checks"]) and not others
        self.say(
            f"certificate: {'valid' if valid else 'not valid'}, {len(found['checks'])} checks, {ended.seconds:.0f} s"
        )
        kept = {name: value for name, value in found.items() if name not in {"specs", "libraries"}}
        return kept | {"valid": valid, "seconds": ended.seconds, "peak_mib": ended.peak_mib}

    def measure(self, wanted: Measure) -> dict[str, Any]:
        """Make one measurement in a process of its own and keep its record."""
        one = wanted.contestant
        heap = wanted.heap_mib or self.profile.heap_mib
        seconds = self.profile.timeout_s * (_PAIRS_TIME if wanted.pairs else 1)
        request = timing.TimingRequest(
            spec=one.spec(wanted.features),
            rows=wanted.rows,
            resources=Resources(cores=wanted.cores, jvm_memory_mb=heap),
            timeout_s=seconds,
            pairs=wanted.pairs,
        )
        busy = machine.wait_idle(self.profile.idle_s)
        with tempfile.TemporaryDirectory(prefix="streamlake-benchmark-") as place:
            ended, result, phase = self._timed(Path(place), request, wanted.cap_mib)
        failed, reason = words.failure(result, ended.stopped_by, phase, wanted, seconds)
        record = {
            "run": f"{self.run_id}/{self.made + 1:03d}",
            "key": one.key,
            **{name: getattr(wanted, name) for name in ("rows", "features", "cores", "round", "pairs", "cap_mib")},
            "heap_mib": heap if one.engine == "spark" else None,
            "failed": failed,
            "reason": reason,
            **{name: getattr(result, name) for name in _TIMED},
            "total_s": None
            if failed or wanted.pairs
            else round(sum(result.seconds[name] for name in findings.TOTAL), 6),
            "wall_s": ended.seconds,
            "peak_mib": ended.peak_mib,
            "limited_by": ended.limited_by,
            "orphans": list(ended.orphans),
            "busy_before_percent": busy,
        }
        self.records.append(record)
        self.made += 1
        if result.versions:
            self.versions[one.engine] = result.versions
        if result.error_kind == "UsageError" and "is not installed" in result.error:
            self.missing[one.engine] = result.error
        self.say(words.line(record))
        self.keep(self.measured())
        return record

    def final_fits(self, name: str, frame: TrainingFrame) -> None:
        """Time the project's final fits on the real rows by one engine, cold: both targets, linear and forest."""
        one = next(c for c in CONTESTANTS if c.engine == name and c.task == "forest")
        if any(fit["engine"] == name for fit in self.real_fits):
            return
        if not self.affords(Measure(one, len(frame))):
            return
        first, *more = [spec for spec in default_specs((name,)) if spec.engine == name]
        heap = self.profile.heap_mib
        with tempfile.TemporaryDirectory(prefix="streamlake-benchmark-") as place:
            folder = Path(place)
            write_snapshot(frame, folder / "rows.parquet")
            request = timing.TimingRequest(
                spec=first,
                more=tuple(more),
                rows=len(frame),
                snapshot=str(folder / "rows.parquet"),
                resources=Resources(jvm_memory_mb=heap),
                timeout_s=self.profile.timeout_s,
            )
            ended, found, _ = self._timed(folder, request, None)
        reason = ended.stopped_by or found.error
        total = None if reason else round(sum(found.seconds.values()), 3)
        self.real_fits.append(
            {
                "engine": name,
                "rows": len(frame),
                "seconds": found.seconds,
                "total_s": total,
                "peak_mib": ended.peak_mib,
                "reason": reason,
            }
        )
        self.keep(self.measured())
        self.say(f"{name}: final fits on {len(frame):,} real rows: {reason or f'{total:.1f} s in all'}")

    def _timed(
        self, folder: Path, request: timing.TimingRequest, cap_mib: int | None
    ) -> tuple[Ended, timing.Timing, str]:
        """Run one timing child; return how it ended, what it measured (or its error), and its last phase."""
        command = timing.write_request(folder, request)
        limits = Limits(request.timeout_s + _OUTSIDE_S, cap_mib)
        ended = run_limited(command, folder / "log", limits, self._environment(folder))
        try:
            found = timing.read_result(folder)
        except IntegrityError as error:
            found = timing.Timing(error=str(error), error_kind="died")
        said = words.last_line(ended.log) or f"ended with code {ended.code}"
        return ended, found or timing.Timing(error=said, error_kind="died"), timing.read_phase(folder)

    def known(self, wanted: Measure) -> dict[str, Any] | None:
        """Return the record of a measurement that was made already, here or in the run that is continued."""
        names = ("rows", "features", "cores", "round", "pairs", "cap_mib")
        for record in self.records:
            same = record["key"] == wanted.contestant.key and all(record[n] == getattr(wanted, n) for n in names)
            if same and (wanted.heap_mib is None or record["heap_mib"] == wanted.heap_mib):
                return record
        return None

    def obtain(self, wanted: Measure) -> dict[str, Any] | None:
        """Return the record of a measurement, made now unless it is known; None where it cannot be made or afforded."""
        if (found := self.known(wanted)) is not None:
            return found
        if wanted.contestant.engine in self.missing or not self.affords(wanted):
            return None
        return self.measure(wanted)

    def affords(self, wanted: Measure) -> bool:
        """Whether there is time for a measurement, judged by the dearest like it so far; noted if there is not.

        Like it is the same contestant, else the same engine, else any.
        """
        if self.profile.budget_s is None:
            return True
        one = wanted.contestant
        same = [r for r in self.records if r["key"] == one.key]
        like = same or [r for r in self.records if BY_KEY[r["key"]].engine == one.engine] or self.records
        dearest = max((r["wall_s"] for r in like), default=0.0)
        if time.monotonic() - self.begun + dearest <= self.profile.budget_s:
            return True
        self.left_out.append(f"{words.what(wanted)}: no time left of {self.profile.budget_s:g} s")
        return False

    def hopeless(self, wanted: Measure) -> str:
        """Return why a measurement need not be tried: its engine is missing, or it failed at a smaller size."""
        one = wanted.contestant
        if one.engine in self.missing:
            return f"engine {one.engine} is missing"
        for record in self.records:
            same = all(record[name] == getattr(wanted, name) for name in ("features", "cores", "cap_mib"))
            if (
                record["key"] == one.key
                and same
                and record["failed"]
                and record["rows"] < wanted.rows
                and not wanted.pairs
            ):
                return f"failed at {record['rows']:,} rows already ({record['failed']})"
        return ""


_TIMED: Final = (
    "seconds",
    "cpu_seconds",
    "warm",
    "ours",
    "bare",
    "ours_cpu",
    "bare_cpu",
    "one_row_us",
    "rmse",
    "r2",
    "processes",
    "model_files",
    "model_bytes",
    "rows_mib",
)


def run_benchmark(
    profile: Profile,
    frame: TrainingFrame,
    *,
    say: Say,
    command: str,
    engines: Sequence[str] = ENGINES,
    before: Mapping[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Measure what a profile asks for and return the report as plain data.

    Args:
        profile: see ``benchmark_plan``.
        frame: real rows, for the certificate of the engines' parity; without a valid one nothing is timed.
        say: takes a line for each measurement.
        command: by which the report can be made again.
        engines: that take part.
        before: the report of a run that is continued: what it measured is kept and not measured again. The
            certificate is made anew, since the code may be another.
        keep: takes the unfinished report after each measurement; it can be continued as ``before``.

    Raises:
        UsageError: the earlier report is of another profile, machine or version.
    """
    started = dt.datetime.now(dt.UTC)
    run = Run(profile, f"{started:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}", say, time.monotonic())
    report: dict[str, Any] = {
        "run_id": run.run_id,
        "profile": profile.name,
        "made_at": started.isoformat(),
        "command": command,
        "machine": machine.facts(_PACKAGES),
        "engines": list(engines),
        "continues": [],
    }
    if before is not None:
        _take_over(run, report, before)
    run.keep = lambda measured: keep({**report, **measured})
    run.find_java()
    report["certificate"] = run.certify(frame, tuple(engines))
    if report["certificate"]["valid"]:
        _measure_all(run, tuple(engines), frame)
    for name in engines:
        of_engine = [r for r in run.records if BY_KEY[r["key"]].engine == name]
        if of_engine and all(r["failed"] for r in of_engine) and name not in run.missing:
            run.missing[name] = of_engine[0]["reason"]
    report |= {**run.measured(), "complexity": [_complexity(name) for name in engines]}
    return report | {"findings": findings.findings(report)}


def _take_over(run: Run, report: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Take the records of an earlier run of the same profile on the same machine with the same versions."""
    one_off = {"load_before"}
    mine, theirs = report["machine"], before["machine"]
    others = [name for name in mine if name not in one_off and mine[name] != theirs.get(name)]
    others += ["profile"] if before["profile"] != report["profile"] else []
    if others:
        raise UsageError(
            f"run {before['run_id']} cannot be continued: another {', '.join(others)}; begin a run of its own"
        )
    run.records += before["records"]
    run.real_fits += before["real_fits"]
    run.versions |= before["versions"]
    kept = ("run_id", "made_at", "took_s")
    report["continues"] = [*before.get("continues", []), {name: before[name] for name in kept}]


def _measure_all(run: Run, engines: tuple[str, ...], frame: TrainingFrame) -> None:
    engines = tuple(name for name in engines if name not in run.missing)
    _measure_each(run, measures(run.profile, engines))
    for name in engines:
        if name in COMPARED and name not in run.missing:
            run.final_fits(name, frame)
    for key, features in run.profile.capped.items():
        if BY_KEY[key].engine in engines:
            climb(run.profile, run.obtain, BY_KEY[key], features)
    if "spark" in engines:
        for key in ("spark/linear", "spark/forest"):
            for rows in run.profile.heap_rows:
                smallest_heap(run.profile, run.obtain, BY_KEY[key], rows)
    _measure_each(run, further_rounds(run.profile, engines))


def _measure_each(run: Run, wanted_ones: Iterable[Measure]) -> None:
    for wanted in wanted_ones:
        if run.known(wanted) is not None:
            continue
        if reason := run.hopeless(wanted):
            run.left_out.append(f"{words.what(wanted)}: {reason}")
        elif run.affords(wanted):
            run.measure(wanted)


def _complexity(name: str) -> dict[str, Any]:
    counted = engine_complexity(name)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in counted._asdict().items()}
