"""What every engine must hold, whichever it is: the test modules of the engines share these."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.engines import Engine, FittedModel, engine
from streamlake_assets.learning.portable import PortableForest, PortableLinear
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import FloatArray
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import planted_range

_LOADER = """
import sys, msgspec, numpy as np
from pathlib import Path
from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.spec import ModelSpec
for home in map(Path, sys.argv[1:]):
    spec = msgspec.json.decode((home / "spec.json").read_bytes(), type=ModelSpec)
    model = engine(spec.engine).load(spec, home / "model")
    np.save(home / "out.npy", model.predict(np.load(home / "x.npy")))
print(*(name for name in ("pyspark", "distributed", "dask_ml", "xgboost") if name in sys.modules))
"""


def made_frame() -> TrainingFrame:
    """600 sessions of two instruments whose range can be forecast."""
    return training_frame([planted_range(600, s, f"S{s}") for s in range(2)], None, 63)


def rows_of(frame: TrainingFrame, spec: ModelSpec) -> tuple[FloatArray, FloatArray]:
    return frame.columns(spec.features), frame.y[spec.target] / frame.scale[spec.target]


def with_params(spec: ModelSpec, **changes: bool | float | str) -> ModelSpec:
    return msgspec.structs.replace(spec, params={**spec.params, **changes})


def smaller(spec: ModelSpec) -> ModelSpec:
    """The same kind of model with few and shallow trees: what a test asks does not depend on their number."""
    cut = {"trees": 8, "max_depth": 4, "min_leaf_rows": 20}
    return with_params(spec, **{k: v for k, v in cut.items() if k in spec.params})


def check_comes_back_in_a_fresh_process(
    models: Mapping[str, tuple[ModelSpec, FittedModel]], frame: TrainingFrame, home: Path
) -> None:
    """Save models, load all of them in one new process, and compare the bits; no engine's library may be loaded."""
    for name, (spec, fitted) in models.items():
        folder = home / name / "model"
        folder.mkdir(parents=True)
        fitted.save(folder)
        np.save(home / name / "x.npy", frame.columns(spec.features))
        (home / name / "spec.json").write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-c", _LOADER, *(str(home / name) for name in models)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
    for name, (spec, fitted) in models.items():
        expected = fitted.predict(frame.columns(spec.features))
        np.testing.assert_array_equal(np.load(home / name / "out.npy"), expected, err_msg=name)


def check_damage_is_refused(worker: Engine, spec: ModelSpec, fitted: FittedModel, home: Path) -> None:
    """Checksums find damage first; the engine must refuse what gets past them nonetheless."""
    fitted.save(home)
    files = [p for p in sorted(home.rglob("*")) if p.is_file() and p.name != "_SUCCESS"]
    assert files
    for path in files:
        raw = path.read_bytes()
        damages = {
            "truncated": raw[: len(raw) // 2],
            # formats mark their beginning or their end
            "flipped": bytes([raw[0] ^ 0xFF]) + raw[1:-1] + bytes([raw[-1] ^ 0xFF]),
            "empty": b"",
            "text": b"not a model",
            "missing": None,
        }
        for name, damage in damages.items():
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            with pytest.raises(ModelRefusedError):
                worker.load(spec, home)
                pytest.fail(f"{path.name} {name}: loaded")
            path.write_bytes(raw)
    worker.load(spec, home)


def check_bad_rows_are_refused(worker: Engine, spec: ModelSpec) -> None:
    """Said in words, before anything is opened."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, len(spec.features)))
    y = rng.normal(size=1000)
    broken = x.copy()
    broken[7, 1] = np.nan
    endless = y.copy()
    endless[3] = np.inf
    cases = [
        (x[:5], y[:5], "5 rows cannot fit"),
        (broken, y, f"NaN or infinity in {spec.features[1]}"),
        (x, endless, "NaN or infinity in the target"),
        (x, np.full(1000, 0.25), r"the target is 0\.25 in all 1000 rows"),
        (x[:, :-1], y, "do not fit its"),
        (x, y[:-1], "do not fit its"),
    ]
    for one, other, reason in cases:
        with pytest.raises(UsageError, match=reason):
            worker.fit(spec, one, other)


def check_bad_params_are_refused(worker: Engine, spec: ModelSpec, frame: TrainingFrame) -> None:
    """No default hides, and nothing without sense reaches the library."""
    x, y = rows_of(frame, spec)
    for params in ({}, {**spec.params, "surprise": 1}):
        with pytest.raises(UsageError, match=r"missing \[.*\], unknown \[.*\]"):
            worker.fit(msgspec.structs.replace(spec, params=params), x, y)
    senseless: dict[str, tuple[bool | int | float | str, ...]] = {
        "trees": (0, 2.5, True, "many"),
        "max_depth": (0, 31),
        "min_leaf_rows": (0,),
        "feature_share": (0.0, 1.5, float("nan")),
        "row_share": (0.0, -1.0),
        "bins": (1,),
        "blocks": (0,),
        "partitions": (0,),
        "tol": (-1.0,),
        "l2": (-0.5,),
    }
    for name, values in senseless.items():
        for value in values if name in spec.params else ():
            with pytest.raises(UsageError, match=rf"{name}=.*out of range"):
                worker.fit(with_params(spec, **{name: value}), x, y)


def trees_of(model: object) -> PortableForest:
    scorer = getattr(model, "scorer", None)
    assert isinstance(scorer, PortableForest)
    return scorer


def line_of(model: object) -> PortableLinear:
    scorer = getattr(model, "scorer", None)
    assert isinstance(scorer, PortableLinear)
    return scorer


def descendants() -> list[psutil.Process]:
    """Processes below this one that run; the tracker of Python's multiprocessing stays until this one ends."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in command:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def listening_addresses(processes: list[psutil.Process]) -> set[str]:
    """Addresses on which processes accept connections."""
    found = set()
    for process in processes:
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add(connection.laddr.ip.removeprefix("::ffff:"))
    return found


def unopened(name: str) -> Engine:
    """An engine that could not open anything: whatever it refuses, it refuses before."""
    from streamlake_assets.learning.engines import Resources

    return engine(name, Resources(java_home="/nowhere", dask_scheduler="tcp://127.0.0.1:1", start_timeout_s=0.1))


RANGE = Target.LOG_RANGE
