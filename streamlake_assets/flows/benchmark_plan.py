"""What the training benchmark measures: who takes part, at which sizes, how often, within which limits.

Belongs here: contestants and profiles as plain data. Stays out: running them (``benchmark``), what the figures mean
(``benchmark_findings``).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from streamlake_assets.learning.spec import Algorithm, ModelSpec, forest_spec, linear_spec, reference_specs
from streamlake_assets.market.targets import Target

INCUMBENT: Final = "sklearn"
"""The engine of one process, which the others have to overtake."""
LEAST_FEATURES: Final = 10
CONTEXT: Final = (10_000, 1_000_000)
"""Rows of this project's use: 5 to 500 instruments of daily bars over eight years or so."""


class Contestant(NamedTuple):
    """One way to fit a model. ``task``: what it is compared within; ``same_model``: whether it does the same work."""

    engine: str
    algorithm: Algorithm
    framework: str
    task: str
    label: str
    same_model: bool = True
    short: str = ""
    """Name where there is little room; empty: the label."""

    @property
    def key(self) -> str:
        """Short unique name."""
        return f"{self.engine}/{self.algorithm.value}"

    def project_spec(self, target: Target) -> ModelSpec:
        """Return the project's own spec of this model."""
        if self.algorithm is Algorithm.LINEAR:
            return linear_spec(target, self.engine)
        if self.task == "forest":
            return forest_spec(target, self.engine, self.algorithm)
        return next(one for one in reference_specs() if one.algorithm is self.algorithm and one.target is target)

    def spec(self, features: int) -> ModelSpec:
        """Return the same with that many made features instead of its own."""
        found = self.project_spec(Target.ADJUSTED_RETURN)
        return msgspec.structs.replace(found, name=self.key, features=tuple(f"x{i}" for i in range(features)))


CONTESTANTS: Final = (
    Contestant("sklearn", Algorithm.LINEAR, "scikit-learn", "linear", "scikit-learn"),
    Contestant("dask", Algorithm.LINEAR, "Dask", "linear", "Dask-ML"),
    Contestant("spark", Algorithm.LINEAR, "Spark", "linear", "Spark MLlib"),
    Contestant("sklearn", Algorithm.FOREST, "scikit-learn", "forest", "scikit-learn"),
    # before the two ways of Dask: a run that is short of time has then each engine once
    Contestant("spark", Algorithm.FOREST, "Spark", "forest", "Spark MLlib"),
    Contestant(
        "dask",
        Algorithm.FOREST,
        "Dask",
        "forest",
        "scikit-learn's forest through Dask's joblib",
        short="the same by Dask's joblib",
    ),
    Contestant(
        "dask",
        Algorithm.BLOCK_FOREST,
        "Dask",
        "forest",
        "Dask-ML BlockwiseVoting (each tree saw n/4 rows)",
        same_model=False,
        short="Dask-ML, n/4 rows a tree",
    ),
    Contestant("sklearn", Algorithm.BOOSTING, "scikit-learn", "boosting", "scikit-learn HistGradientBoosting", False),
    Contestant("xgboost", Algorithm.XGBOOST, "XGBoost", "boosting", "XGBoost", False),
)
BY_KEY: Final = {one.key: one for one in CONTESTANTS}
COMPARED: Final = tuple(dict.fromkeys(one.engine for one in CONTESTANTS if one.task != "boosting"))
"""Engines that fit the same models; the others are references."""
ENGINES: Final = tuple(dict.fromkeys(one.engine for one in CONTESTANTS))


class Profile(NamedTuple):
    """How much a run does.

    ``rounds``: rounds by rows. ``paired``: contestants whose runner is held against the bare library, on
    ``paired_rows`` rows, ``pairs`` times. ``capped``: contestants and features for the runs under ``caps_mib``, which
    climb ``ladder`` until one fails. ``heap_rows``: sizes for which the smallest heap among ``heaps_mib`` is looked
    for. ``budget_s``: what would begin after so long is left out and named; None: everything is done.
    """

    name: str
    rounds: dict[int, int]
    more_features: dict[int, int]
    """Another number of features by rows."""
    one_core: tuple[int, ...]
    """Rows to measure on one core too."""
    paired: tuple[str, ...]
    paired_rows: int
    pairs: int
    capped: dict[str, int]
    caps_mib: tuple[int, ...]
    ladder: tuple[int, ...]
    heap_rows: tuple[int, ...]
    heaps_mib: tuple[int, ...]
    heap_mib: int
    """Heap of Spark's JVM in all other measurements."""
    timeout_s: float
    certificate_timeout_s: float
    certified: tuple[Target, ...]
    """Targets on whose real rows engines are certified."""
    idle_s: float
    budget_s: float | None = None


_FULL: Final = Profile(
    name="full",
    rounds={10_000: 3, 100_000: 3, 300_000: 1, 1_000_000: 1},
    more_features={10_000: 40, 100_000: 40},
    one_core=(10_000, 100_000),
    paired=("sklearn/linear", "sklearn/forest", "dask/linear", "dask/block_forest", "spark/linear", "spark/forest"),
    paired_rows=100_000,
    pairs=5,
    capped={
        **{f"{engine}/linear": 40 for engine in ("sklearn", "dask", "spark")},
        **{f"{engine}/forest": 10 for engine in ("sklearn", "dask", "spark")},
    },
    caps_mib=(1024, 2048, 4096),
    ladder=(10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000),
    heap_rows=(10_000, 100_000, 1_000_000),
    heaps_mib=(512, 768, 1024, 1536, 2048, 4096),
    heap_mib=4096,
    timeout_s=300.0,
    certificate_timeout_s=900.0,
    certified=tuple(Target),
    idle_s=20.0,
)
PROFILES: Final = {
    "quick": Profile(
        name="quick",
        rounds={10_000: 3, 30_000: 1},
        more_features={10_000: 40},
        one_core=(10_000,),
        paired=("sklearn/forest", "dask/block_forest", "spark/linear"),
        paired_rows=10_000,
        pairs=3,
        capped={"sklearn/forest": 10, "dask/forest": 10, "spark/forest": 10},
        caps_mib=(1024,),
        ladder=(10_000,),
        heap_rows=(10_000,),
        heaps_mib=(512, 1024),
        heap_mib=1024,
        timeout_s=60.0,
        certificate_timeout_s=180.0,
        certified=(Target.ADJUSTED_RETURN,),
        idle_s=0.5,
        budget_s=230.0,
    ),
    "full": _FULL,
    # what of `full` says most in half an hour: forests under caps, smallest heaps, and the pair whose fits are so short
    # that five of them say little
    "limits": _FULL._replace(
        name="limits",
        rounds={},
        more_features={},
        one_core=(),
        paired=("sklearn/linear",),
        pairs=40,
        capped={f"{engine}/forest": 10 for engine in ("sklearn", "dask", "spark")},
        ladder=(10_000, 100_000, 300_000),
        heap_rows=(10_000, 100_000),
        certified=(Target.ADJUSTED_RETURN,),
        budget_s=2_400.0,
    ),
}


class Measure(NamedTuple):
    """One measurement to make: a contestant, a size, and how it is limited. ``pairs`` above 0: runner against bare."""

    contestant: Contestant
    rows: int
    features: int = LEAST_FEATURES
    cores: int = 2
    round: int = 0
    pairs: int = 0
    cap_mib: int | None = None
    heap_mib: int | None = None


def measures(profile: Profile, engines: tuple[str, ...] = ENGINES) -> Iterator[Measure]:
    """Yield what is measured without a cap first: one round of every size, runner against library, fewer cores, width.

    Within a round the contestants follow one another, so that a slow hour of the machine falls on all of them.
    """
    chosen = _chosen(engines)
    for rows in profile.rounds:
        yield from (Measure(one, rows) for one in chosen)
    for one in chosen:
        if one.key in profile.paired:
            yield Measure(one, profile.paired_rows, pairs=profile.pairs)
    compared = [one for one in chosen if one.same_model]
    for rows in profile.one_core:
        yield from (Measure(one, rows, cores=1) for one in compared)
    for rows, features in profile.more_features.items():
        yield from (Measure(one, rows, features) for one in compared)


def further_rounds(profile: Profile, engines: tuple[str, ...] = ENGINES) -> Iterator[Measure]:
    """Yield the rounds after the first, which only narrow what is known: they come last."""
    for rows, rounds in profile.rounds.items():
        for number in range(1, rounds):
            yield from (Measure(one, rows, round=number) for one in _chosen(engines))


def _chosen(engines: tuple[str, ...]) -> list[Contestant]:
    return [one for one in CONTESTANTS if one.engine in engines]
