"""Every engine: fits what the spec says, comes back equal in a fresh process, refuses what is not its own."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import FunctionTransformer

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.sklearn_engine import SklearnEngine
from streamlake_assets.learning.spec import ModelSpec, baseline_spec, default_specs
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import FloatArray
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import planted_range

SPECS = {spec.name: spec for spec in default_specs()}
LINEAR = SPECS["log_range_linear"]


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return training_frame([planted_range(300, s, f"S{s}") for s in range(2)], None, 63)


def rows_of(frame: TrainingFrame, spec: ModelSpec) -> tuple[FloatArray, FloatArray]:
    return frame.columns(spec.features), frame.y[spec.target] / frame.scale[spec.target]


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return SPECS[str(request.param)]


def test_a_saved_model_predicts_the_same_in_a_fresh_process(
    spec: ModelSpec, frame: TrainingFrame, tmp_path: Path
) -> None:
    x, y = rows_of(frame, spec)
    fitted = engine(spec.engine).fit(spec, x, y)
    folder = tmp_path / "model"
    folder.mkdir()
    fitted.save(folder)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "spec.json").write_bytes(msgspec.json.encode(spec))
    code = (
        "import sys, msgspec, numpy as np; from pathlib import Path\n"
        "from streamlake_assets.learning.engines import engine\n"
        "from streamlake_assets.learning.spec import ModelSpec\n"
        "home = Path(sys.argv[1]); spec = msgspec.json.decode((home / 'spec.json').read_bytes(), type=ModelSpec)\n"
        "model = engine(spec.engine).load(spec, home / 'model')\n"
        "np.save(home / 'out.npy', model.predict(np.load(home / 'x.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), fitted.predict(x))


def test_fitting_twice_gives_the_same_bits(spec: ModelSpec, frame: TrainingFrame) -> None:
    x, y = rows_of(frame, spec)
    worker = engine(spec.engine)
    np.testing.assert_array_equal(worker.fit(spec, x, y).predict(x), worker.fit(spec, x, y).predict(x))


def test_no_hyper_parameter_may_be_missing_or_unknown(spec: ModelSpec, frame: TrainingFrame) -> None:
    x, y = rows_of(frame, spec)
    for params in ({}, {**spec.params, "surprise": 1}):
        with pytest.raises(UsageError, match=r"missing \[.*\], unknown \[.*\]"):
            engine(spec.engine).fit(msgspec.structs.replace(spec, params=params), x, y)


def test_versions_of_the_libraries_are_named(spec: ModelSpec) -> None:
    versions = engine(spec.engine).library_versions()
    assert versions
    assert all(versions.values())


def test_an_empty_folder_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError):
        engine(spec.engine).load(spec, tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_a_damaged_file_is_refused(spec: ModelSpec, frame: TrainingFrame, tmp_path: Path, damage: str) -> None:
    """Checksums find damage first; the engine must refuse what gets past them nonetheless."""
    worker = engine(spec.engine)
    worker.fit(spec, *rows_of(frame, spec)).save(tmp_path)
    (path,) = tmp_path.iterdir()
    raw = path.read_bytes()
    broken = {
        "truncate": raw[: len(raw) // 2],
        "flip": bytes([raw[0] ^ 0xFF]) + raw[1:],
        "empty": b"",
        "text": b"not a model",
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(ModelRefusedError):
        worker.load(spec, tmp_path)


def test_a_baseline_that_says_another_number_is_refused(tmp_path: Path) -> None:
    spec = baseline_spec(Target.LOG_RANGE)
    (tmp_path / "baseline.json").write_text('{"units": 0.5}')
    with pytest.raises(ModelRefusedError, match=r"0\.5"):
        engine("baseline").load(spec, tmp_path)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UsageError, match="'magic'"):
        engine("magic")


def test_the_linear_model_is_least_squares(frame: TrainingFrame) -> None:
    x, y = rows_of(frame, LINEAR)
    design = np.column_stack([np.ones(len(x)), x])
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(SklearnEngine().fit(LINEAR, x, y).predict(x), expected, rtol=1e-9)


def test_too_few_rows_are_said(frame: TrainingFrame) -> None:
    x, y = rows_of(frame, LINEAR)
    with pytest.raises(UsageError, match="cannot fit"):
        SklearnEngine().fit(LINEAR, x[:9], y[:9])


def test_a_hostile_type_is_refused_and_its_code_never_runs(tmp_path: Path) -> None:
    """A transformer that carries a function: a loader that trusts the file would run it."""
    ran = tmp_path / "ran"
    skops.io.dump(FunctionTransformer(os.system, kw_args={"command": f"touch {ran}"}), tmp_path / "model.skops")
    with pytest.raises(ModelRefusedError, match="not allowed"):
        SklearnEngine().load(LINEAR, tmp_path)
    assert not ran.exists()


def test_another_estimator_is_refused(frame: TrainingFrame, tmp_path: Path) -> None:
    x, y = rows_of(frame, LINEAR)
    skops.io.dump(Ridge().fit(x, y), tmp_path / "model.skops")
    with pytest.raises(ModelRefusedError, match="Ridge"):
        SklearnEngine().load(LINEAR, tmp_path)


def test_a_model_of_other_features_is_refused(frame: TrainingFrame, tmp_path: Path) -> None:
    x, y = rows_of(frame, LINEAR)
    skops.io.dump(LinearRegression().fit(x[:, :2], y), tmp_path / "model.skops")
    with pytest.raises(ModelRefusedError, match="do not fit the 8 features"):
        SklearnEngine().load(LINEAR, tmp_path)
