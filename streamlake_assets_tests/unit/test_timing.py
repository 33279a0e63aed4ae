"""One measured fit: phases, scores, pairs, and what becomes of an engine that cannot be measured."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from streamlake_assets.errors import IntegrityError, UsageError
from streamlake_assets.flows.benchmark_plan import BY_KEY
from streamlake_assets.flows.limited_child import Limits, run_limited
from streamlake_assets.learning import bare, timing
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.made_rows import made_rows, score
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.learning.spec import default_specs
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.series import FloatArray
from streamlake_assets_tests.series_data import planted_range

FEATURES = 6


def request(key: str, **changes: object) -> timing.TimingRequest:
    made = timing.TimingRequest(
        spec=BY_KEY[key].spec(FEATURES), rows=1_500, resources=Resources(cores=1), timeout_s=60.0, test_rows=1_000
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize("key", ["sklearn/linear", "sklearn/forest"])
def test_every_phase_is_measured_and_the_forecasts_are_scored(key: str, tmp_path: Path) -> None:
    # what tests before left below this very process, such as multiprocessing's own tracker, is counted too
    others = len(psutil.Process().children(recursive=True))
    found = timing.measure(tmp_path, request(key, warm_fits=2))
    phases = {"import", "open", "transfer", "fit_cold", "fit_warm", "fetch", "predict", "save", "load", "close"}
    assert phases <= set(found.seconds)
    assert set(found.seconds) == set(found.cpu_seconds)
    assert len(found.warm) == 2
    assert 0.5 < found.r2 < 0.96, "above 0.96 is noise that nobody can forecast"
    assert (found.processes - others, found.model_files) == (1, 1)
    assert found.rows_mib == round(1_500 * (FEATURES + 1) * 8 / 2**20, 1)
    assert found.one_row_us > 0
    assert timing.read_phase(tmp_path) == "close"
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [], "the saved model is gone"


def test_the_runner_and_the_bare_script_fit_in_turn(tmp_path: Path) -> None:
    found = timing.measure(tmp_path, request("sklearn/forest", pairs=2))
    assert (len(found.ours), len(found.bare)) == (2, 2)
    assert min(*found.ours, *found.bare) > 0


def test_final_fits_take_the_specs_as_they_are_on_a_snapshot(tmp_path: Path) -> None:
    frame = training_frame([planted_range(300, 1)], None, 63)
    write_snapshot(frame, tmp_path / "rows.parquet")
    first, *more = [spec for spec in default_specs() if spec.engine == "sklearn"]
    wanted = request("sklearn/linear", spec=first, more=tuple(more), snapshot=str(tmp_path / "rows.parquet"))
    found = timing.measure(tmp_path, wanted)
    assert set(found.seconds) == {"import", "rows", "open", first.name, *(spec.name for spec in more)}


def test_a_bare_script_that_fits_another_model_is_no_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: object) -> object:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=100.0)

    monkeypatch.setattr(bare, "_sklearn", other)
    with pytest.raises(UsageError, match="another model"):
        timing.measure(tmp_path, request("sklearn/linear", pairs=1))


def test_a_model_that_loads_as_another_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlake_assets.learning.portable import PortableLinear, PortableModel
    from streamlake_assets.learning.sklearn_engine import SklearnEngine

    wrong = PortableLinear(np.zeros(FEATURES), 1.0)
    monkeypatch.setattr(SklearnEngine, "load", lambda *_: PortableModel(wrong, wrong.write))
    with pytest.raises(UsageError, match="loaded model forecasts other values"):
        timing.measure(tmp_path, request("sklearn/linear"))
    assert timing.read_phase(tmp_path) == "check"


def test_a_child_that_is_refused_says_why_and_leaves_no_traceback(tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(BY_KEY["sklearn/linear"].spec(FEATURES), engine="abacus")
    command = timing.write_request(tmp_path, request("sklearn/linear", spec=wrong))
    assert command[0] == sys.executable
    ended = run_limited(command, tmp_path / "log", Limits(60.0))
    found = timing.read_result(tmp_path)
    assert found is not None
    assert (ended.code, found.error_kind, ended.log) == (1, "UsageError", "")
    assert "abacus" in found.error


def test_a_library_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(timing.LIBRARY, "sklearn", ("no_such_library",))
    with pytest.raises(UsageError, match=r"engine sklearn cannot be used.*no_such_library"):
        timing.measure(tmp_path, request("sklearn/linear"))


def test_no_result_is_none_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    assert timing.read_result(tmp_path) is None
    assert timing.read_phase(tmp_path) == "start"
    (tmp_path / "result.json").write_text('{"seconds": 3}')
    with pytest.raises(IntegrityError, match=r"result\.json"):
        timing.read_result(tmp_path)


def test_made_rows_are_the_same_for_a_seed_and_known_in_law() -> None:
    x, y = made_rows(20_000, 7, seed=3)
    again, _ = made_rows(20_000, 7, seed=3)
    assert np.array_equal(x, again)
    best = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    found = score(y, best)
    assert found.rmse == pytest.approx(1.0, abs=0.02)
    assert found.r2 == pytest.approx(1 - 1 / y.var(), abs=0.01)
    with pytest.raises(UsageError, match="5 features"):
        made_rows(10, 4, 0)


@pytest.mark.parametrize("forecast", [np.array([1.0, np.nan]), np.array([1.0])])
def test_a_forecast_that_is_missing_or_not_finite_has_no_score(forecast: FloatArray) -> None:
    with pytest.raises(UsageError, match="no score"):
        score(np.array([1.0, 2.0]), forecast)


def test_a_truth_that_does_not_vary_has_no_r2() -> None:
    with pytest.raises(UsageError, match="does not vary"):
        score(np.ones(3), np.ones(3))
