"""The training child: the same models as in this process, in one of its own that ends in time and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from streamlake_assets.errors import IntegrityError
from streamlake_assets.learning import child
from streamlake_assets.learning.child_process import RESULT, TIMED_OUT
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.manifest import read_manifest
from streamlake_assets.learning.memory import PeakMemory
from streamlake_assets.learning.serve import load_model
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.learning.spec import ModelSpec, default_specs
from streamlake_assets.learning.train import train
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets_tests.series_data import NOW, planted_range

SPECS = tuple(spec for spec in default_specs() if spec.engine == "sklearn" and spec.algorithm == "linear")


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return training_frame([planted_range(500, s, f"S{s}") for s in range(2)], None, 63)


def request(folder: Path, frame: TrainingFrame, specs: tuple[ModelSpec, ...] = SPECS, **changes: object) -> list[str]:
    """Write a snapshot and a request; return the command."""
    run = folder / "run"
    run.mkdir()
    data_hash = write_snapshot(frame, folder / "set.parquet")
    wanted = child.TrainingRequest(
        snapshot=str(folder / "set.parquet"),
        data_hash=data_hash,
        specs=specs,
        resources=Resources(),
        offsets={"finance-data/0": 7},
        trained_at=NOW.isoformat(),
        timeout_s=60.0,
    )
    return child.write_request(run, msgspec.structs.replace(wanted, **changes))


def test_it_makes_the_models_that_this_process_would_make(frame: TrainingFrame, tmp_path: Path) -> None:
    command = request(tmp_path, frame)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = child.read_result(tmp_path / "run")
    assert result is not None
    assert result.error == ""
    here = train(frame, read_manifest(result.models[0].manifest).data_hash, SPECS, offsets={}, trained_at=NOW)
    for made, same in zip(result.models, here, strict=True):
        loaded = load_model(made.manifest, tmp_path / "run" / made.folder)
        x = frame.columns(loaded.features)
        assert loaded.predict(x).tolist() == same.fitted.predict(x).tolist()
        assert (loaded.manifest.version, loaded.manifest.skill) == (same.manifest.version, same.manifest.skill)
        assert loaded.manifest.offsets == {"finance-data/0": 7}
        assert f"{made.manifest['name']}: skill" in done.stdout
    assert {"sklearn: open", "total", *(f"sklearn: {spec.name}" for spec in SPECS)} <= result.seconds.keys()
    assert 50 < result.peak_memory_mb < 2_000


def test_what_cannot_be_fitted_is_told_in_words_and_by_the_exit_code(frame: TrainingFrame, tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(SPECS[0], params={})
    done = subprocess.run(request(tmp_path, frame, (wrong,)), capture_output=True, text=True, check=False)
    result = child.read_result(tmp_path / "run")
    assert done.returncode == 1
    assert result is not None
    assert (result.error_kind, result.models) == ("UsageError", ())
    assert "missing" in result.error
    assert "Traceback" not in done.stderr


def test_a_training_set_that_was_replaced_meanwhile_is_refused(frame: TrainingFrame, tmp_path: Path) -> None:
    subprocess.run(request(tmp_path, frame, data_hash="0" * 64), capture_output=True, check=False)
    result = child.read_result(tmp_path / "run")
    assert result is not None
    assert result.error_kind == "IntegrityError"
    assert "was replaced" in result.error


def test_a_child_whose_time_is_over_ends_with_all_below_it(frame: TrainingFrame, tmp_path: Path) -> None:
    done = subprocess.run(request(tmp_path, frame, timeout_s=0.2), capture_output=True, text=True, check=False)
    assert done.returncode == TIMED_OUT
    assert "not done within 0.2 s" in done.stderr
    assert child.read_result(tmp_path / "run") is None


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed so that it cannot clean up; the child was about to sleep for minutes."""
    (tmp_path / "child.py").write_text(
        "import time\nfrom streamlake_assets.learning.child_process import end_with_parent\nend_with_parent()\n"
        "print('up', flush=True)\ntime.sleep(600)\n"
    )
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, sys.argv[1]], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "child.py")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(parent.pid, signal.SIGKILL)
        assert wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 10)


def test_a_result_that_is_none_is_refused(tmp_path: Path) -> None:
    assert child.read_result(tmp_path) is None
    (tmp_path / RESULT).write_text(json.dumps({"models": 3}))
    with pytest.raises(IntegrityError, match=RESULT):
        child.read_result(tmp_path)


def test_memory_of_a_child_process_counts() -> None:
    with PeakMemory(interval_s=0.01) as memory:
        code = "data = bytearray(200 * 2**20); print('held', flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            held = time.monotonic()
            assert wait_until(lambda: memory.peak_bytes - memory.base_bytes > 200 * 2**20, 10), time.monotonic() - held
            process.communicate("\n")
    assert memory.peak_bytes - memory.base_bytes < 400 * 2**20
