"""Portable models: what any engine learned, as plain arrays that NumPy alone can serve.

Belongs here: linear models and tree ensembles as arrays, their forecasts, their files (JSON and npy), and the checks
without which no array is believed. Stays out: the libraries that fitted them and how each stores its own models.

A forecast of a row has the same bits whatever rows stand beside it: sums run in a fixed order and never through a
matrix product, which a library may round differently for another number of rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import numpy as np

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.market.series import FloatArray, IntArray

LEAF = -1
"""Child of a leaf."""
_LINEAR_FILE = "linear.json"
_FOREST_FILE = "forest.json"
_ARRAYS: dict[str, str] = {
    "feature": "<i4",
    "threshold": "<f8",
    "left": "<i4",
    "right": "<i4",
    "value": "<f8",
    "offsets": "<i4",
}
_CELLS = 1 << 18
"""Rows times trees that are walked at once: the working arrays stay in the cache of a core."""


def _read_array(path: Path) -> Any:
    """Read one npy file and nothing else: ``np.load`` would open archives too."""
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


class Scorer(Protocol):
    """Something that forecasts rows by itself."""

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows."""
        ...


@dataclass(frozen=True)
class PortableModel:
    """A fitted model of any engine: served by its arrays, saved in the form its engine chose.

    ``by_library`` forecasts with the library that fitted it; None once the model was loaded from files.
    """

    scorer: Scorer
    write: Callable[[Path], None]
    by_library: Callable[[FloatArray], FloatArray] | None = None

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows, in model units."""
        return self.scorer.predict(x)

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing, empty folder."""
        self.write(folder)


class _LinearFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    intercept: float
    coefficients: list[float]


class _ForestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    features: int
    average: bool
    base: float
    single_precision: bool


@dataclass(frozen=True, eq=False)
class PortableLinear:
    """y = intercept + x · coefficients (k of them)."""

    coefficients: FloatArray
    intercept: float

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows (n by k), feature by feature."""
        total = np.full(len(x), self.intercept)
        for i, coefficient in enumerate(self.coefficients):
            total += x[:, i] * coefficient
        return total

    def write(self, folder: Path) -> None:
        """Write one JSON file; a float comes back with the same bits."""
        stored = _LinearFile(float(self.intercept), [float(c) for c in self.coefficients])
        (folder / _LINEAR_FILE).write_bytes(msgspec.json.encode(stored))

    @classmethod
    def read(cls, folder: Path, features: int) -> Self:
        """Read what ``write`` wrote.

        Raises:
            ModelRefusedError: missing, unreadable, not finite, or of another number of features.
        """
        path = folder / _LINEAR_FILE
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_LinearFile)
        except (OSError, msgspec.MsgspecError) as error:
            raise ModelRefusedError(f"{path}: no readable linear model ({error})") from error
        return cls.checked(stored.coefficients, stored.intercept, features, str(path))

    @classmethod
    def checked(cls, coefficients: Any, intercept: Any, features: int, where: str) -> Self:
        """Build from values that nobody vouches for.

        Raises:
            ModelRefusedError: not finite, or of another number of features; ``where`` is named.
        """
        try:
            values = np.array(coefficients, dtype=np.float64)
            constant = float(intercept)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelRefusedError(f"{where}: coefficients are not numbers ({error})") from error
        if values.shape != (features,) or not np.isfinite(values).all() or not np.isfinite(constant):
            raise ModelRefusedError(f"{where}: coefficients do not fit the {features} features")
        return cls(values, constant)


@dataclass(frozen=True, eq=False)
class PortableForest:
    """Binary trees over k features, all nodes of all trees in flat arrays.

    Node i of a tree goes to ``left[i]`` if ``x[feature[i]] <= threshold[i]``, else to ``right[i]``; both count from the
    tree's own first node and lie behind i, or are ``LEAF``. ``offsets`` (trees + 1) bound the trees. A row's forecast
    is ``base`` plus the ``value`` of its leaves, summed tree by tree, divided by the number of trees if ``average``.
    ``single_precision`` says that a feature is rounded to float32 before it is compared, as scikit-learn's forests do.
    """

    features: int
    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray
    offsets: IntArray
    average: bool
    base: float = 0.0
    single_precision: bool = False

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.offsets) - 1

    @property
    def depth(self) -> int:
        """Length of the longest path from a root to a leaf."""
        return self._walk[0]

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows (n by k)."""
        out = np.empty(len(x))
        step = max(1, _CELLS // self.trees)
        for start in range(0, len(x), step):
            out[start : start + step] = self._some(x[start : start + step])
        return out

    def _some(self, x: FloatArray) -> FloatArray:
        depth, child, feature, threshold = self._walk
        rounded = x.astype(np.float32).astype(np.float64) if self.single_precision else x
        flat = np.ascontiguousarray(rounded).reshape(-1)
        # trees first: one tree's nodes are near each other in memory
        node = np.repeat(self.offsets[:-1, None], len(x), axis=1)
        first = np.arange(len(x), dtype=np.int64) * self.features
        for _ in range(depth):
            goes_right = flat.take(feature.take(node) + first) > threshold.take(node)
            node = child.take(2 * node + goes_right)
        values = np.concatenate((np.full((1, len(x)), self.base), self.value.take(node)))
        # a running sum adds strictly in order; a plain sum may not
        total: FloatArray = np.cumsum(values, axis=0)[-1]
        return total / self.trees if self.average else total

    @cached_property
    def _walk(self) -> tuple[int, IntArray, IntArray, FloatArray]:
        """Depth, children (two per node, absolute), features and thresholds, with leaves that lead to themselves."""
        own = np.arange(len(self.feature), dtype=np.int64)
        root = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        leaf = self.left == LEAF
        child = np.column_stack(
            [np.where(leaf, own, root + side) for side in (self.left.astype(np.int64), self.right.astype(np.int64))]
        )
        level, depth = self.offsets[:-1].astype(np.int64), 0
        while len(level := child[level[~leaf[level]]].reshape(-1)):
            depth += 1
        feature = np.where(leaf, 0, self.feature).astype(np.int64)
        return depth, np.ascontiguousarray(child).reshape(-1), feature, np.where(leaf, np.inf, self.threshold)

    def write(self, folder: Path) -> None:
        """Write one JSON file and one npy file per array."""
        stored = _ForestFile(self.features, self.average, self.base, self.single_precision)
        (folder / _FOREST_FILE).write_bytes(msgspec.json.encode(stored))
        for name, kind in _ARRAYS.items():
            np.save(folder / f"{name}.npy", getattr(self, name).astype(kind), allow_pickle=False)

    @classmethod
    def read(cls, folder: Path, features: int) -> Self:
        """Read what ``write`` wrote; nothing in the files is run.

        Raises:
            ModelRefusedError: missing, unreadable, or not a forest over that many features.
        """
        try:
            stored = msgspec.json.decode((folder / _FOREST_FILE).read_bytes(), type=_ForestFile)
            arrays = {name: _read_array(folder / f"{name}.npy") for name in _ARRAYS}
        except (OSError, EOFError, ValueError, SyntaxError, MemoryError, msgspec.MsgspecError) as error:
            raise ModelRefusedError(f"{folder}: no readable forest ({error})") from error
        wrong = [name for name, kind in _ARRAYS.items() if arrays[name].dtype != np.dtype(kind)]
        if wrong or stored.features != features:
            raise ModelRefusedError(
                f"{folder}: {stored.features} features where {features} are expected, arrays of another type: {wrong}"
            )
        return cls.checked(
            arrays,
            features,
            str(folder),
            average=stored.average,
            base=stored.base,
            single_precision=stored.single_precision,
        )

    @classmethod
    def checked(
        cls,
        arrays: Mapping[str, Any],
        features: int,
        where: str,
        *,
        average: bool,
        base: float = 0.0,
        single_precision: bool = False,
    ) -> Self:
        """Build from arrays that nobody vouches for; a walk through them ends and stays inside.

        Raises:
            ModelRefusedError: shapes that do not fit, a value that is not finite, a feature that is not there, a child
                outside its tree or not behind its parent, a node that two lead to; ``where`` is named.
        """
        try:
            given = {name: np.asarray(arrays[name]) for name in _ARRAYS}
            integers = {
                n: given[n].astype(np.int64, casting="same_kind") for n in ("feature", "left", "right", "offsets")
            }
            floats = {n: given[n].astype(np.float64, casting="same_kind") for n in ("threshold", "value")}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelRefusedError(f"{where}: not the arrays of a forest ({error})") from error
        forest = cls(
            features=features,
            average=average,
            base=float(base),
            single_precision=single_precision,
            feature=integers["feature"],
            left=integers["left"],
            right=integers["right"],
            offsets=integers["offsets"],
            **floats,
        )
        if reason := forest._reason_to_refuse():
            raise ModelRefusedError(f"{where}: {reason}")
        return forest

    def _reason_to_refuse(self) -> str:  # noqa: PLR0911 - one reason each
        nodes = len(self.value) if self.value.ndim == 1 else -1
        arrays = (self.feature, self.threshold, self.left, self.right, self.value)
        if any(a.shape != (nodes,) for a in arrays) or self.offsets.ndim != 1 or len(self.offsets) < 2:
            return "arrays of a forest have other shapes"
        if self.offsets[0] != 0 or self.offsets[-1] != nodes or (np.diff(self.offsets) < 1).any():
            return "trees do not follow one another"
        if not (np.isfinite(self.value).all() and np.isfinite(self.base)):
            return "a value is not finite"
        inner = self.left != LEAF
        if ((self.right != LEAF) != inner).any():
            return "a node has one child"
        sizes = np.repeat(np.diff(self.offsets), np.diff(self.offsets))[inner]
        place = (np.arange(nodes) - np.repeat(self.offsets[:-1], np.diff(self.offsets)))[inner]
        for side in (self.left[inner], self.right[inner]):
            if ((side <= place) | (side >= sizes)).any():
                return "a child lies outside its tree or not behind its parent"
        root = np.repeat(self.offsets[:-1], np.diff(self.offsets))[inner]
        reached = np.concatenate((self.offsets[:-1], root + self.left[inner], root + self.right[inner]))
        if not np.array_equal(np.sort(reached), np.arange(nodes)):
            return "a node has no parent or more than one"
        split = self.feature[inner]
        if ((split < 0) | (split >= self.features)).any():
            return f"a split uses a feature beyond the {self.features}"
        if not np.isfinite(self.threshold[inner]).all():
            return "a threshold is not finite"
        return ""
