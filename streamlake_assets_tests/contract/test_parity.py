"""The parity certificate: valid for what is specified, and not for a library's own defaults."""

import os
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from streamlake_assets.learning.engines import Engine, Resources, engine
from streamlake_assets.learning.parity import Certificate, certify
from streamlake_assets.learning.spec import Algorithm, ModelSpec, default_specs, forest_spec, linear_spec
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.targets import Target
from streamlake_assets.servers.tools import java_home
from streamlake_assets_tests.series_data import bokeh_series

RANGE = Target.LOG_RANGE
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    """Real rows, so many that an engine's fit takes a second and not ten."""
    return training_frame([series.tail(700) for series in bokeh_series()], None, 63)


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[str, Engine]]:
    """Dask's cluster and Spark's session, once for all tests."""
    os.environ.setdefault("JAVA_HOME", str(java_home()))
    with closing(engine("dask", Resources())) as dask, closing(engine("spark", Resources())) as spark:
        yield {"dask": dask, "spark": spark}


def fewer_trees(spec: ModelSpec) -> ModelSpec:
    """The default spec with a third of its trees, on every engine alike."""
    return wrong(spec, trees=20) if "trees" in spec.params else spec


@pytest.fixture(scope="module")
def certificate(frame: TrainingFrame, opened: dict[str, Engine]) -> Certificate:
    specs = [fewer_trees(spec) for spec in default_specs(("sklearn", "dask", "spark")) if spec.target is RANGE]
    return certify(("dask", "spark"), frame, specs=specs, opened=opened, seeds=2)


def test_the_engines_fit_the_same_models(certificate: Certificate) -> None:
    assert certificate.valid, certificate.findings
    linear = [c for c in certificate.checks if c.algorithm == Algorithm.LINEAR and c.engine != "sklearn"]
    assert {c.engine for c in linear} == {"dask", "spark"}
    assert all(c.tolerance <= 1e-6 for c in linear)
    forests = [c for c in certificate.checks if c.algorithm in (Algorithm.FOREST, Algorithm.BLOCK_FOREST)]
    assert {c.engine for c in forests} >= {"dask", "spark"}


def test_it_says_what_was_compared_and_is_plain_data(certificate: Certificate) -> None:
    plain = msgspec.json.decode(msgspec.json.encode(certificate.to_dict()))
    assert plain["valid"]
    assert plain["findings"] == []
    assert {"pyspark", "dask-ml"} <= {name for of in plain["libraries"].values() for name in of}
    trained = [fewer_trees(spec) for spec in default_specs(("sklearn", "dask", "spark"))]
    assert all(certificate.covers(spec) for spec in trained if not spec.is_version_zero)
    assert not certificate.covers(forest_spec(RANGE, "spark")), "another number of trees was certified"


def wrong(spec: ModelSpec, **params: bool | float | str) -> ModelSpec:
    return msgspec.structs.replace(spec, params={**spec.params, **params})


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        # Dask-ML's own default: a penalty of 1 / C = 1 by ADMM, which is a ridge and no least squares
        ("dask", wrong(linear_spec(RANGE, "dask"), solver="admm", C=1.0, tol=1e-4, max_iter=100)),
        # Spark's own defaults: 20 trees of depth 5, leaves of one row
        pytest.param(
            *("spark", wrong(forest_spec(RANGE, "spark"), trees=20, max_depth=5, min_leaf_rows=1)),
            marks=pytest.mark.slow,
        ),
        ("spark", wrong(linear_spec(RANGE, "spark"), penalty=0.1)),
        ("dask", wrong(forest_spec(RANGE, "dask"), trees=20, max_depth=5)),
    ],
    ids=["dask-ridge", "spark-forest", "spark-ridge", "dask-block-forest"],
)
def test_a_library_s_own_default_is_found_out(
    name: str, spec: ModelSpec, frame: TrainingFrame, opened: dict[str, Engine]
) -> None:
    found = certify((name,), frame, specs=[spec], opened=opened, seeds=2)
    assert not found.valid
    assert all(name in finding for finding in found.findings)
    # not by comparing what the specs say alone: the models themselves are apart
    assert any(not check.passed and check.measured is not None for check in found.checks)
    assert not found.covers(spec)


def test_an_engine_that_cannot_start_is_a_finding_and_no_crash(frame: TrainingFrame) -> None:
    nowhere = Resources(dask_scheduler="tcp://127.0.0.1:1", start_timeout_s=2.0)
    found = certify(("dask",), frame, nowhere, specs=[linear_spec(RANGE, "dask")])
    assert not found.valid
    assert "dask" in found.findings[0]
