"""The training child: the specs of an engine in one process of its own, so that time, memory and crashes are its own.

Belongs here: request, result, the child's main program. Stays out: how they cross between the processes
(``child_process``), who starts it (``flows.training``: under Dagster by Pipes, else as a plain process), publishing.

``python -m streamlake_assets.learning.child FOLDER`` reads ``request.json`` there, writes each model into a folder of
its own, and ``result.json`` last. It ends with its parent, and by itself when its time is over; whatever it started (a
JVM, Dask workers) ends with it. Started by Dagster Pipes, it logs into the run.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from streamlake_assets.errors import StreamlakeError
from streamlake_assets.learning import child_process
from streamlake_assets.learning.engines import Resources, engine
from streamlake_assets.learning.memory import PeakMemory
from streamlake_assets.learning.snapshot import read_the_snapshot
from streamlake_assets.learning.spec import ModelSpec

Say = Callable[[str], None]
_PIPES: Final = "DAGSTER_PIPES_CONTEXT"


class TrainingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to train: specs, on the snapshot of that hash, within so many seconds."""

    snapshot: str
    data_hash: str
    specs: tuple[ModelSpec, ...]
    resources: Resources
    offsets: dict[str, int]
    trained_at: str
    timeout_s: float


class TrainedFolder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trained model: its folder below the request's, and its manifest as plain values."""

    folder: str
    manifest: dict[str, Any]


class TrainingResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a request. ``seconds``: by step; ``peak_memory_mb``: PSS of the child and all below it."""

    models: tuple[TrainedFolder, ...] = ()
    not_trained: tuple[str, ...] = ()
    seconds: dict[str, float] = {}
    peak_memory_mb: float = 0.0
    error: str = ""
    error_kind: str = ""


def write_request(folder: Path, request: TrainingRequest) -> list[str]:
    """Write a request into an empty folder and return the command that serves it."""
    return child_process.write_request(folder, __name__, request)


def read_result(folder: Path) -> TrainingResult | None:
    """Return what a child left; see ``child_process.read_result``."""
    return child_process.read_result(folder, TrainingResult)


def serve(folder: Path, request: TrainingRequest) -> TrainingResult:
    """Train what the request asks for; the result says why if that could not be done."""
    started = time.monotonic()
    with _log() as say, PeakMemory() as memory:
        try:
            result = _train(folder, request, say)
        except StreamlakeError as error:
            result = TrainingResult(error=str(error), error_kind=type(error).__name__)
    return msgspec.structs.replace(
        result,
        peak_memory_mb=round(memory.peak_bytes / 2**20, 1),
        seconds={**result.seconds, "total": round(time.monotonic() - started, 3)},
    )


def _train(folder: Path, request: TrainingRequest, say: Say) -> TrainingResult:
    # its imports belong to the engine's start
    import datetime as dt

    from streamlake_assets.learning.train import train_spec
    from streamlake_assets.learning.walk_forward import too_few_dates

    frame = read_the_snapshot(Path(request.snapshot), request.data_hash)
    reasons = {(spec.engine, spec.name): too_few_dates(spec, frame) for spec in request.specs}
    wanted = [spec for spec in request.specs if not reasons[spec.engine, spec.name]]
    seconds: dict[str, float] = {}
    folders: list[TrainedFolder] = []
    for name in dict.fromkeys(spec.engine for spec in wanted):
        with closing(engine(name, request.resources)) as worker:
            begun = time.monotonic()
            worker.open()
            seconds[f"{name}: open"] = round(time.monotonic() - begun, 3)
            for spec in (spec for spec in wanted if spec.engine == name):
                trained = train_spec(
                    frame,
                    request.data_hash,
                    spec,
                    worker,
                    offsets=request.offsets,
                    trained_at=dt.datetime.fromisoformat(request.trained_at),
                )
                target = folder / f"{len(folders):02d}-{name}-{spec.name}"
                target.mkdir()
                trained.save(target)
                folders.append(TrainedFolder(folder=target.name, manifest=trained.manifest.to_dict()))
                seconds[f"{name}: {spec.name}"] = round(trained.manifest.training_seconds, 3)
                say(f"{name} {spec.name}: {trained.summary()}")
    return TrainingResult(
        models=tuple(folders), not_trained=tuple(reason for reason in reasons.values() if reason), seconds=seconds
    )


@contextmanager
def _log() -> Iterator[Say]:
    """Yield what takes a line: the run's log under Dagster Pipes, else standard output."""
    if _PIPES not in os.environ:
        yield _line
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield pipes.log.info


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Serve the request in a folder; return the exit code: 0, or 1 when the result holds an error."""
    folder = Path(arguments[0])
    result = child_process.answer(
        folder,
        TrainingRequest,
        lambda request: serve(folder, request),
        lambda error: TrainingResult(error=f"{type(error).__name__}: {error}", error_kind="unexpected"),
    )
    return 1 if result.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
