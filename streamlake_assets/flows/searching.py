"""Hyper-parameters searched: the snapshot's rows before the judged dates, in a child of the engine.

Belongs here: the join of snapshot, settings and the searching child. Stays out: the search (``learning.search``).
"""

import tempfile
from pathlib import Path

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.flows import training
from streamlake_assets.learning import search_child
from streamlake_assets.learning.search import CHANGES
from streamlake_assets.learning.search_child import SearchRequest, SearchResult
from streamlake_assets.learning.snapshot import read_snapshot
from streamlake_assets.learning.spec import FOREST_OF, default_specs, reference_specs
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import Settings


def search_engine(settings: Settings, name: str, target: Target | None = None) -> SearchResult:
    """Search every spec of an engine that has something to search, of one target or both.

    Nothing is published and no spec is changed: a spec stands in the code, so that a change is reviewed.

    Raises:
        UsageError: there is no snapshot, or no such engine.
        ServerError: the engine could not be started, died, or took too long.
        IntegrityError: the snapshot is not whole.
    """
    every = [*default_specs(tuple(FOREST_OF), min_history=settings.min_history)]
    every += reference_specs(min_history=settings.min_history)
    specs = [one for one in every if one.engine == name and CHANGES.get(one.algorithm) and target in (None, one.target)]
    if not specs:
        known = sorted({one.engine for one in every if CHANGES.get(one.algorithm)})
        raise UsageError(f"nothing to search on engine {name!r}; there are {', '.join(known)}")
    folder = settings.data_dir / "training"
    training.snapshot_offsets(folder)
    _, data_hash = read_snapshot(training.snapshot_path(folder))
    request = SearchRequest(
        snapshot=str(training.snapshot_path(folder)),
        data_hash=data_hash,
        engine=name,
        specs=tuple(specs),
        resources=training.resources(settings),
        timeout_s=float(settings.training_timeout_s),
    )
    with tempfile.TemporaryDirectory(prefix=f"search-{name}-", dir=folder) as run:
        code = training.run_child(search_child.write_request(Path(run), request))
        result = search_child.read_result(Path(run))
    if result is None:
        raise ServerError(f"the search on {name} ended without a result (exit code {code}): its log has the reason")
    training.raise_told("search", name, result.error, result.error_kind)
    return result
