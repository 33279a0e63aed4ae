"""The comparisons of the parity certificate: one engine's model of one spec against scikit-learn's.

Belongs here: what is compared and how far it may be apart. Stays out: which engines and specs are asked, what is made
of the result (``parity``, whose first lines say where each tolerance comes from).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import Engine
from streamlake_assets.learning.made_rows import made_rows, score
from streamlake_assets.learning.portable import PortableLinear
from streamlake_assets.learning.spec import FOREST_PARAMS, Algorithm, ModelSpec
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.series import FloatArray

REFERENCE: Final = "sklearn"
LINEAR_TOLERANCE: Final = 1e-6
SAME_TREES_TOLERANCE: Final = 1e-9
"""Equal trees give forecasts that differ by the rounding of sums only."""
GROWS_REFERENCE_TREES: Final = frozenset({"dask"})
"""Engines whose forest is scikit-learn's own, grown elsewhere: it must be the same tree by tree."""
BINS_ALLOWANCE: Final = 0.005
"""Correlation that forests may lose on real features because one engine splits at quantiles and one anywhere."""
REFERENCE_SEEDS: Final = 8
ENGINE_SEEDS: Final = 3
STUDENT: Final = 5.408
"""Quantile 0.9995 at 7 degrees of freedom: 99.9 % on both sides."""
MADE_ROWS: Final = 4000
MADE_TEST_ROWS: Final = 2000
MADE_FEATURES: Final = 8
MADE_BINS: Final = 32
MADE_R2: Final = (0.7, 0.9)
"""Where the reference's R² must lie: near 0.8, neither hopeless nor too easy to tell forests apart."""


@dataclass(frozen=True)
class Check:
    """One comparison. ``measured`` must not be farther than ``tolerance`` from ``expected``; None: it was not reached.

    ``on`` is a target or ``made rows``; ``note`` says in words what is compared, or what went wrong.
    """

    engine: str
    algorithm: str
    on: str
    what: str
    measured: float | None
    expected: float
    tolerance: float
    passed: bool
    note: str

    def sentence(self) -> str:
        """Return the comparison in words."""
        head = f"{self.engine} {self.algorithm} on {self.on}: {self.what}"
        if self.measured is None:
            return f"{head}: {self.note}"
        return f"{head} is {self.measured:.3g}, expected {self.expected:.3g} within {self.tolerance:.2g} ({self.note})"


class Rows(NamedTuple):
    """Rows to fit on, and rows to forecast."""

    name: str
    features: tuple[str, ...]
    fit: tuple[FloatArray, FloatArray]
    x: FloatArray


def _made() -> tuple[Rows, FloatArray]:
    """Return made rows cut at quantiles, and the truth of those to forecast."""
    x, y = made_rows(MADE_ROWS + MADE_TEST_ROWS, MADE_FEATURES, seed=0)
    edges = np.quantile(x[:MADE_ROWS], np.arange(1, MADE_BINS) / MADE_BINS, axis=0)
    # whole numbers: exact also in single precision, which scikit-learn's forests compare in
    codes = np.column_stack([np.searchsorted(edges[:, i], x[:, i]) for i in range(MADE_FEATURES)]).astype(np.float64)
    names = tuple(f"made_{i}" for i in range(MADE_FEATURES))
    return Rows("made rows", names, (codes[:MADE_ROWS], y[:MADE_ROWS]), codes[MADE_ROWS:]), y[MADE_ROWS:]


class Reference:
    """scikit-learn's own models of its own specs; forests are fitted when they are first asked for."""

    def __init__(
        self,
        frame: TrainingFrame,
        worker: Engine,
        linear: ModelSpec,
        forest: ModelSpec,
        engine_seeds: int = ENGINE_SEEDS,
    ) -> None:
        self.worker, self.linear_spec, self.forest_spec = worker, linear, forest
        self.engine_seeds = engine_seeds
        self.made, self.truth = _made()
        self._frame = frame
        self._forests: dict[tuple[str, tuple[str, ...]], list[FloatArray]] = {}

    def real(self, spec: ModelSpec) -> Rows:
        """Return the real rows of a spec; models are compared on the rows they were fitted on."""
        x = self._frame.columns(spec.features)
        y = self._frame.y[spec.target] / self._frame.scale[spec.target]
        return Rows(spec.target.value, spec.features, (x, y), x)

    def linear(self, rows: Rows) -> PortableLinear:
        """Return the linear model of some rows."""
        return _linear_of(self.worker.fit(_on(self.linear_spec, rows, 0), *rows.fit))

    def forests(self, rows: Rows) -> list[FloatArray]:
        """Return the forecasts of the reference's forests, one per seed."""
        key = (rows.name, rows.features)
        if key not in self._forests:
            self._forests[key] = forecasts(self.worker, self.forest_spec, rows, REFERENCE_SEEDS)
        return self._forests[key]

    def r2(self, forecasts: Sequence[FloatArray]) -> list[float]:
        """Score forecasts of the made rows."""
        return [score(self.truth, forecast).r2 for forecast in forecasts]

    def check(self) -> Check:
        """Check that the made rows are as hard as they are meant to be."""
        low, high = MADE_R2
        found = float(np.mean(self.r2(self.forests(self.made))))
        return Check(
            REFERENCE,
            Algorithm.FOREST.value,
            self.made.name,
            "R²",
            found,
            (low + high) / 2,
            (high - low) / 2,
            low <= found <= high,
            "rows on which forests can be told apart",
        )


def forecasts(worker: Engine, spec: ModelSpec, rows: Rows, seeds: int) -> list[FloatArray]:
    """Fit a spec on rows once per seed, and forecast."""
    return [worker.fit(_on(spec, rows, seed), *rows.fit).predict(rows.x) for seed in range(seeds)]


def _on(spec: ModelSpec, rows: Rows, seed: int) -> ModelSpec:
    return msgspec.structs.replace(spec, features=rows.features, seed=seed)


def _linear_of(model: Any) -> PortableLinear:
    if not isinstance(model.scorer, PortableLinear):
        raise UsageError("not a linear model")
    return model.scorer


def failure(name: str, algorithm: str, on: str, what: str, note: str) -> Check:
    """Return a comparison that could not be made, or that needs no number."""
    return Check(name, algorithm, on, what, None, 0.0, 0.0, False, note)


def checks(worker: Engine, spec: ModelSpec, reference: Reference, *, on_made_rows: bool) -> list[Check]:
    """Hold one engine's model of one spec against the reference, on its target and, if asked, on the made rows.

    Raises:
        UsageError: a spec the engine refuses.
        ServerError: the engine died.
    """
    found = _same_settings(spec, reference)
    if spec.algorithm is Algorithm.LINEAR:
        return found + _linear_checks(worker, spec, reference)
    if spec.algorithm is Algorithm.BLOCK_FOREST:
        return found + (_block_checks(worker, spec, reference) if on_made_rows else [])
    if spec.engine in GROWS_REFERENCE_TREES:
        return found + (_same_trees_checks(worker, spec, reference) if on_made_rows else [])
    found += _made_forest_checks(worker, spec, reference) if on_made_rows else []
    return found + _real_forest_checks(worker, spec, reference)


def _same_settings(spec: ModelSpec, reference: Reference) -> list[Check]:
    """Check the hyper-parameters that have one meaning on all engines."""
    linear = spec.algorithm is Algorithm.LINEAR
    known = (reference.linear_spec if linear else reference.forest_spec).params
    shared = ("fit_intercept",) if linear else tuple(FOREST_PARAMS)
    return [
        failure(
            spec.engine,
            spec.algorithm.value,
            spec.target.value,
            "hyper-parameters",
            f"{name} is {spec.params.get(name)!r} where {REFERENCE} has {known[name]!r}",
        )
        for name in shared
        if spec.params.get(name) != known[name]
    ]


def _check(spec: ModelSpec, on: str, what: str, measured: float, expected: float, tolerance: float, note: str) -> Check:
    passed = bool(abs(measured - expected) <= tolerance)
    return Check(spec.engine, spec.algorithm.value, on, what, float(measured), expected, tolerance, passed, note)


def _linear_checks(worker: Engine, spec: ModelSpec, reference: Reference) -> list[Check]:
    rows = reference.real(spec)
    expected, found = reference.linear(rows), _linear_of(worker.fit(spec, *rows.fit))
    ours, theirs = (np.array([m.intercept, *m.coefficients]) for m in (found, expected))
    off = np.abs(ours - theirs)
    worst = float(np.max(np.divide(off, np.abs(theirs), out=np.where(off > 0, np.inf, 0.0), where=theirs != 0)))
    forecast, truth = found.predict(rows.x), expected.predict(rows.x)
    spread = float(np.sqrt(np.mean(truth**2)))
    apart = float(np.max(np.abs(forecast - truth))) / spread
    return [
        _check(spec, rows.name, "coefficients", worst, 0.0, LINEAR_TOLERANCE, "largest relative difference"),
        _check(
            spec, rows.name, "forecasts", apart, 0.0, LINEAR_TOLERANCE, "largest difference over their root mean square"
        ),
    ]


def _by_chance(within: Sequence[float], seeds: int) -> float:
    """Return by how much the mean of other seeds may differ from the mean of these."""
    return float(STUDENT * np.std(within, ddof=1) * np.sqrt(1 / len(within) + 1 / seeds))


def _mean_to_others(
    group: Sequence[FloatArray], others: Sequence[FloatArray], measure: Callable[[FloatArray, FloatArray], float]
) -> list[float]:
    """Return for each of a group the mean of a measure to the others, itself left out."""
    return [float(np.mean([measure(one, other) for other in others if other is not one])) for one in group]


def _distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))


def _correlation(one: FloatArray, other: FloatArray) -> float:
    # constant forecasts correlate with nothing
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) > 0 and np.ptp(other) > 0 else 0.0


def _made_forest_checks(worker: Engine, spec: ModelSpec, reference: Reference) -> list[Check]:
    made = reference.made
    known, found = reference.forests(made), forecasts(worker, spec, made, reference.engine_seeds)
    scores, expected = reference.r2(found), reference.r2(known)
    to_known, among = _mean_to_others(found, known, _distance), _mean_to_others(known, known, _distance)
    return [
        _check(
            spec,
            made.name,
            "R²",
            float(np.mean(scores)),
            float(np.mean(expected)),
            _by_chance(expected, reference.engine_seeds),
            f"mean of {reference.engine_seeds} seeds against {REFERENCE_SEEDS} of {REFERENCE}",
        ),
        _check(
            spec,
            made.name,
            "distance of forecasts",
            float(np.mean(to_known)),
            float(np.mean(among)),
            _by_chance(among, reference.engine_seeds),
            f"root mean square to the forests of {REFERENCE}, as theirs to one another",
        ),
    ]


def _real_forest_checks(worker: Engine, spec: ModelSpec, reference: Reference) -> list[Check]:
    real = reference.real(spec)
    known, found = reference.forests(real), forecasts(worker, spec, real, reference.engine_seeds)
    among = _mean_to_others(known, known, _correlation)
    near = float(np.mean(_mean_to_others(found, known, _correlation)))
    return [
        _check(
            spec,
            real.name,
            "correlation lost",
            max(0.0, float(np.mean(among)) - near),
            0.0,
            _by_chance(among, reference.engine_seeds) + BINS_ALLOWANCE,
            f"{near:.4f} with the forests of {REFERENCE}, theirs with one another {np.mean(among):.4f}",
        )
    ]


def _same_trees_checks(worker: Engine, spec: ModelSpec, reference: Reference) -> list[Check]:
    known, found = reference.forests(reference.made), forecasts(worker, spec, reference.made, 1)
    apart = float(np.max(np.abs(found[0] - known[0])))
    note = f"largest difference to {REFERENCE}'s own forest"
    return [_check(spec, reference.made.name, "same trees", apart, 0.0, SAME_TREES_TOLERANCE, note)]


def _block_checks(worker: Engine, spec: ModelSpec, reference: Reference) -> list[Check]:
    made, blocks = reference.made, int(spec.params["blocks"])
    note = f"each tree saw n/{blocks} rows"
    found = forecasts(worker, spec, made, reference.engine_seeds)
    by_hand = [_by_hand(reference.forest_spec, made, seed, blocks) for seed in range(reference.engine_seeds)]
    apart = max(float(np.max(np.abs(a - b))) for a, b in zip(found, by_hand, strict=True))
    x, y = made.fit
    part = Rows("one block", made.features, (x[: len(x) // blocks], y[: len(x) // blocks]), made.x)
    low, high = (reference.r2(reference.forests(rows)) for rows in (part, made))
    bottom = float(np.mean(low)) - _by_chance(low, reference.engine_seeds)
    top = float(np.mean(high)) + _by_chance(high, reference.engine_seeds)
    return [
        _check(
            spec,
            made.name,
            "same trees",
            apart,
            0.0,
            SAME_TREES_TOLERANCE,
            f"{note}; largest difference to {REFERENCE}'s forests on the same blocks",
        ),
        _check(
            spec,
            made.name,
            "R²",
            float(np.mean(reference.r2(found))),
            (bottom + top) / 2,
            (top - bottom) / 2,
            f"{note}; between a forest on n/{blocks} rows and one on all",
        ),
    ]


def _by_hand(reference: ModelSpec, rows: Rows, seed: int, blocks: int) -> FloatArray:
    """Return the forecasts of scikit-learn's forests on shuffled blocks, written without Dask."""
    from streamlake_assets.learning.sklearn_engine import forest_estimator

    x, y = rows.fit
    spec = _on(reference, rows, seed)
    order = np.random.default_rng(seed).permutation(len(x))
    forests = [
        forest_estimator(spec, len(x) // blocks, n_jobs=1, blocks=blocks).fit(x[part], y[part])
        for part in np.array_split(order, blocks)
    ]
    made: FloatArray = np.mean([forest.predict(rows.x) for forest in forests], axis=0)
    return made
