"""Portable models: the walk through the arrays is right to the bit, and no array is believed that was not checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.portable import LEAF, PortableForest, PortableLinear
from streamlake_assets.learning.sklearn_engine import forest_arrays
from streamlake_assets.market.series import FloatArray

FEATURES = 3


def grown(rng: np.random.Generator, depth: int) -> list[list[float]]:
    """One random tree, parents first: rows of feature, threshold, left, right, value."""
    nodes: list[list[float]] = []

    def grow(level: int) -> int:
        own = len(nodes)
        nodes.append([0, 0.0, LEAF, LEAF, float(rng.normal())])
        if level < depth and (level == 0 or rng.random() < 0.8):
            nodes[own][:2] = [float(rng.integers(FEATURES)), float(rng.normal())]
            nodes[own][2:4] = [grow(level + 1), grow(level + 1)]
        return own

    grow(0)
    return nodes


def arrays_of(trees: list[list[list[float]]]) -> dict[str, Any]:
    joined = np.array([node for tree in trees for node in tree])
    integers = {name: joined[:, i].astype(np.int64) for name, i in (("feature", 0), ("left", 2), ("right", 3))}
    offsets = np.cumsum([0, *(len(tree) for tree in trees)])
    return {**integers, "threshold": joined[:, 1], "value": joined[:, 4], "offsets": offsets}


def forest_of(seed: int, trees: int = 5, depth: int = 4, **kind: Any) -> PortableForest:
    rng = np.random.default_rng(seed)
    arrays = arrays_of([grown(rng, depth) for _ in range(trees)])
    return PortableForest.checked(arrays, FEATURES, "here", **({"average": True} | kind))


def by_hand(forest: PortableForest, row: FloatArray) -> float:
    """Walk node by node, as the definition says."""
    total = forest.base
    for start in forest.offsets[:-1]:
        node = 0
        while forest.left[start + node] != LEAF:
            goes_left = row[forest.feature[start + node]] <= forest.threshold[start + node]
            node = int((forest.left if goes_left else forest.right)[start + node])
        total += float(forest.value[start + node])
    return total / forest.trees if forest.average else total


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    trees=st.integers(1, 6),
    depth=st.integers(0, 6),
    average=st.booleans(),
    base=st.floats(-5, 5),
)
def test_the_walk_is_the_one_of_the_definition(seed: int, trees: int, depth: int, average: bool, base: float) -> None:
    forest = forest_of(seed, trees, depth, average=average, base=base)
    rng = np.random.default_rng(seed + 1)
    x = rng.normal(size=(30, FEATURES))
    # rows that lie on thresholds: they go left
    x[:10, 0] = rng.choice(forest.threshold, 10)
    np.testing.assert_array_equal(forest.predict(x), [by_hand(forest, row) for row in x])


def test_a_row_is_forecast_alone_as_among_ten_thousand() -> None:
    """More rows than are walked at once: where they are cut must not show."""
    forest = forest_of(1, trees=60)
    x = np.random.default_rng(2).normal(size=(10_000, FEATURES))
    together = forest.predict(x)
    for i in (0, 4368, 4369, 4370, 9999):
        assert forest.predict(x[i : i + 1])[0] == together[i]
    assert forest.predict(x[:0]).shape == (0,)


def test_a_linear_row_is_forecast_alone_as_among_ten_thousand() -> None:
    rng = np.random.default_rng(3)
    model = PortableLinear(rng.normal(size=9), 0.3)
    x = rng.normal(size=(10_000, 9))
    together = model.predict(x)
    np.testing.assert_allclose(together, 0.3 + x @ model.coefficients, rtol=1e-12)
    assert [model.predict(x[i : i + 1])[0] for i in range(50)] == together[:50].tolist()


def test_single_precision_is_compared_as_scikit_learn_does() -> None:
    """A feature a hair above a threshold, which single precision cannot tell from it, goes left there."""
    rng = np.random.default_rng(4)
    x = rng.integers(0, 20, (400, FEATURES)) / 3
    estimator = RandomForestRegressor(20, random_state=0).fit(x, x[:, 0] * x[:, 1] + rng.normal(size=400))
    forest = forest_arrays(estimator.estimators_, FEATURES, "here")
    near = rng.choice(np.unique(forest.threshold), (2000, FEATURES)) + rng.uniform(-1e-8, 1e-8, (2000, FEATURES))
    expected = np.mean([tree.predict(near) for tree in estimator.estimators_], axis=0)
    np.testing.assert_allclose(forest.predict(near), expected, rtol=1e-12)
    exact = PortableForest(**{**vars_of(forest), "single_precision": False})
    assert not np.allclose(exact.predict(near), expected, rtol=1e-3), "the rows do not ask what they should"


def vars_of(forest: PortableForest) -> dict[str, Any]:
    return {name: getattr(forest, name) for name in PortableForest.__dataclass_fields__}


@pytest.mark.parametrize("depth", [0, 5])
def test_a_forest_comes_back_from_its_files(depth: int, tmp_path: Path) -> None:
    forest = forest_of(5, depth=depth, average=False, base=0.1, single_precision=True)
    forest.write(tmp_path)
    read = PortableForest.read(tmp_path, FEATURES)
    for name, value in vars_of(forest).items():
        np.testing.assert_array_equal(getattr(read, name), value)
    assert read.depth == forest.depth == depth
    x = np.random.default_rng(6).normal(size=(100, FEATURES))
    np.testing.assert_array_equal(read.predict(x), forest.predict(x))


def test_a_linear_model_comes_back_from_its_file(tmp_path: Path) -> None:
    model = PortableLinear(np.array([1 / 3, -1e-300, 0.1 + 0.2]), -0.0)
    model.write(tmp_path)
    read = PortableLinear.read(tmp_path, 3)
    assert read.coefficients.tobytes() == model.coefficients.tobytes()
    assert read.intercept == model.intercept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        '{"intercept": 1.0}',
        '{"intercept": 1.0, "coefficients": [1.0, 2.0]}',
        '{"intercept": 1.0, "coefficients": [1.0, 2.0, NaN]}',
        '{"intercept": 1.0, "coefficients": [1.0, 2.0, 1e999]}',
        '{"intercept": "1", "coefficients": [1.0, 2.0, 3.0]}',
        '{"intercept": 1.0, "coefficients": [1.0, 2.0, 3.0], "more": 1}',
    ],
)
def test_what_is_no_linear_model_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "linear.json").write_text(text)
    with pytest.raises(ModelRefusedError):
        PortableLinear.read(tmp_path, 3)


def change(name: str, place: int, value: float) -> Callable[[dict[str, Any]], None]:
    def apply(arrays: dict[str, Any]) -> None:
        arrays[name][place] = value

    return apply


def replaced(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update({name: value})


# two trees: a root with two leaves, then a root whose right child has two leaves
HONEST: list[list[list[float]]] = [
    [[0, 0.5, 1, 2, 0.0], [0, 0, LEAF, LEAF, 1.0], [0, 0, LEAF, LEAF, 2.0]],
    [
        [1, 0.5, 1, 2, 0.0],
        [0, 0, LEAF, LEAF, 1.0],
        [2, 0.1, 3, 4, 0.0],
        [0, 0, LEAF, LEAF, 3.0],
        [0, 0, LEAF, LEAF, 4.0],
    ],
]
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a circle": (change("left", 0, 0), "not behind its parent"),
    "a child before its parent": (change("right", 5, 1), "not behind its parent"),
    "a child in the next tree": (change("right", 0, 3), "outside its tree"),
    "a child far outside": (change("right", 5, 10**9), "outside its tree"),
    "a negative child": (change("left", 5, -7), "not behind its parent"),
    "one child": (change("left", 0, LEAF), "one child"),
    "two parents": (change("right", 3, 1), "no parent or more than one"),
    "an orphan": (lambda a: [change(side, 5, LEAF)(a) for side in ("left", "right")] and None, "no parent"),
    "no such feature": (change("feature", 0, FEATURES), "beyond the 3"),
    "a negative feature": (change("feature", 3, -1), "beyond the 3"),
    "a value that is no number": (change("value", 1, np.nan), "a value is not finite"),
    "an endless threshold": (change("threshold", 3, np.inf), "a threshold is not finite"),
    "a tree without nodes": (replaced("offsets", np.array([0, 3, 3, 8])), "follow one another"),
    "trees that leave nodes out": (replaced("offsets", np.array([0, 3])), "follow one another"),
    "no tree": (replaced("offsets", np.array([0])), "other shapes"),
    "fewer values": (replaced("value", np.zeros(7)), "other shapes"),
    "values in two dimensions": (replaced("value", np.zeros((8, 1))), "other shapes"),
    "fractions of nodes": (replaced("left", np.full(8, 0.5)), "not the arrays of a forest"),
    "objects": (replaced("value", np.array([None] * 8)), "not the arrays of a forest"),
    "text": (replaced("threshold", np.array(["0.5"] * 8)), "not the arrays of a forest"),
}


def test_the_honest_trees_are_accepted() -> None:
    forest = PortableForest.checked(arrays_of(HONEST), FEATURES, "here", average=False)
    assert forest.depth == 2
    assert forest.predict(np.array([[0.5, 0.5, 9.0], [0.6, 0.6, 0.1], [0.6, 0.6, 0.2]])).tolist() == [2.0, 5.0, 6.0]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused(name: str) -> None:
    spoil, reason = HOSTILE[name]
    arrays = arrays_of(HONEST)
    spoil(arrays)
    with pytest.raises(ModelRefusedError, match=f"here: .*{reason}"):
        PortableForest.checked(arrays, FEATURES, "here", average=True)


def test_a_base_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelRefusedError, match="not finite"):
        PortableForest.checked(arrays_of(HONEST), FEATURES, "here", average=False, base=float("nan"))


def _written(folder: Path) -> None:
    PortableForest.checked(arrays_of(HONEST), FEATURES, "here", average=True).write(folder)


def test_a_pickle_among_the_arrays_is_refused_and_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    _written(tmp_path)
    np.save(tmp_path / "value.npy", np.array([Hostile()] * 8, dtype=object), allow_pickle=True)
    with pytest.raises(ModelRefusedError):
        PortableForest.read(tmp_path, FEATURES)
    assert not ran.exists()


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    _written(tmp_path)
    with pytest.raises(ModelRefusedError, match="3 features where 4 are expected"):
        PortableForest.read(tmp_path, 4)
    np.save(tmp_path / "value.npy", np.zeros(8, dtype=np.float32))
    with pytest.raises(ModelRefusedError, match=r"another type: \['value'\]"):
        PortableForest.read(tmp_path, FEATURES)
    (tmp_path / "value.npy").unlink()
    with pytest.raises(ModelRefusedError, match="no readable forest"):
        PortableForest.read(tmp_path, FEATURES)


def test_an_archive_in_the_place_of_an_array_is_refused(tmp_path: Path) -> None:
    _written(tmp_path)
    with (tmp_path / "value.npy").open("wb") as file:
        np.savez(file, value=np.zeros(8))
    with pytest.raises(ModelRefusedError, match="no readable forest"):
        PortableForest.read(tmp_path, FEATURES)
