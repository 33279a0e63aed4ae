"""The searching child: hyper-parameters of an engine's specs searched in time order, in a process of its own.

Belongs here: request, result, the child's main program. Stays out: the search itself (``search``), how request and
result cross between the processes (``child_process``), who starts it (``flows.searching``).

The search sees only the rows that come before the first date a spec is judged on. What it chose is then judged on the
dates it has not seen, beside the spec it started from, by the same walk-forward: a gain there is a gain.
"""

import dataclasses
import datetime as dt
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from streamlake_assets.errors import StreamlakeError
from streamlake_assets.learning import child_process
from streamlake_assets.learning.engines import Engine, Resources, engine
from streamlake_assets.learning.snapshot import read_the_snapshot
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.frames import TrainingFrame


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to search: specs of one engine, on the snapshot of that hash, within so many seconds."""

    snapshot: str
    data_hash: str
    engine: str
    specs: tuple[ModelSpec, ...]
    resources: Resources
    timeout_s: float


class Searched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One spec searched.

    ``trials`` are those of ``search.Search``, ``rows`` what it was allowed to see, ``changes`` what was chosen beside
    the spec itself. ``skill`` is over the baseline on the judged dates, with its 95 % interval, of the spec and of what
    was chosen: (estimate, low, high).
    """

    name: str
    target: str
    rows: int
    trials: tuple[dict[str, Any], ...]
    changes: dict[str, Any]
    skill: tuple[float, float, float]
    chosen_skill: tuple[float, float, float]


class SearchResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a request: the specs searched, and why others were not."""

    searched: tuple[Searched, ...] = ()
    passed_over: tuple[str, ...] = ()
    error: str = ""
    error_kind: str = ""


def write_request(folder: Path, request: SearchRequest) -> list[str]:
    """Write a request into an empty folder and return the command that serves it."""
    return child_process.write_request(folder, __name__, request)


def read_result(folder: Path) -> SearchResult | None:
    """Return what a child left; see ``child_process.read_result``."""
    return child_process.read_result(folder, SearchResult)


def serve(request: SearchRequest) -> SearchResult:
    """Search what the request asks for; the result says why if that could not be done."""
    try:
        return _serve(request)
    except StreamlakeError as error:
        return SearchResult(error=str(error), error_kind=type(error).__name__)


def _serve(request: SearchRequest) -> SearchResult:
    from streamlake_assets.learning.walk_forward import too_few_dates

    frame = read_the_snapshot(Path(request.snapshot), request.data_hash)
    reasons = {spec.name: too_few_dates(spec, frame) for spec in request.specs}
    with closing(engine(request.engine, request.resources)) as worker:
        worker.open()
        wanted = [spec for spec in request.specs if not reasons[spec.name]]
        searched = tuple(_search(spec, worker, frame, request.data_hash) for spec in wanted)
    return SearchResult(searched=searched, passed_over=tuple(reason for reason in reasons.values() if reason))


def _search(spec: ModelSpec, worker: Engine, frame: TrainingFrame, data_hash: str) -> Searched:
    from streamlake_assets.learning.search import search
    from streamlake_assets.learning.train import train_spec
    from streamlake_assets.learning.walk_forward import folds_of

    def skill(of: ModelSpec) -> tuple[float, float, float]:
        made = train_spec(frame, data_hash, of, worker, offsets={}, trained_at=dt.datetime.now(dt.UTC)).manifest
        return made.skill, made.skill_low, made.skill_high

    before = folds_of(spec, frame)[0].train
    found = search(spec, worker, frame, rows=before)
    own = skill(spec)
    return Searched(
        name=spec.name,
        target=spec.target.value,
        rows=len(before),
        trials=tuple(dataclasses.asdict(trial) for trial in found.trials),
        changes={name: value for name, value in found.chosen.params.items() if spec.params[name] != value},
        skill=own,
        chosen_skill=own if found.chosen == spec else skill(found.chosen),
    )


def main(arguments: list[str]) -> int:
    """Serve the request in a folder; return the exit code: 0, or 1 when the result holds an error."""
    result = child_process.answer(
        Path(arguments[0]),
        SearchRequest,
        serve,
        lambda error: SearchResult(error=f"{type(error).__name__}: {error}", error_kind="unexpected"),
    )
    return 1 if result.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
