"""Snapshots: equal data give an equal hash, and reading proves it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamlake_assets.errors import IntegrityError
from streamlake_assets.learning.snapshot import content_hash, read_snapshot, write_snapshot
from streamlake_assets.learning.train import train
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.learning_runs import LINEAR_SPECS, train_all
from streamlake_assets_tests.series_data import NOW, random_walks


def test_a_frame_comes_back_to_the_bit(tmp_path: Path) -> None:
    frame = training_frame(random_walks(150, 1), None, 63)
    written = write_snapshot(frame, tmp_path / "deep" / "set.parquet")
    read, data_hash = read_snapshot(tmp_path / "deep" / "set.parquet")
    assert data_hash == written == content_hash(frame)
    assert (read.instruments, read.names) == (frame.instruments, frame.names)
    for name in ("instrument", "sessions", "target_sessions", "x"):
        np.testing.assert_array_equal(getattr(read, name), getattr(frame, name))
    for target in Target:
        np.testing.assert_array_equal(read.y[target], frame.y[target])
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["set.parquet"]


def test_the_hash_does_not_depend_on_how_the_file_is_packed(tmp_path: Path) -> None:
    path, packed = tmp_path / "set.parquet", tmp_path / "packed.parquet"
    written = write_snapshot(training_frame(random_walks(150, 1), None, 63), path)
    pq.write_table(pq.read_table(path), packed, compression="zstd", row_group_size=17)
    assert packed.read_bytes() != path.read_bytes()
    assert read_snapshot(packed)[1] == written


def test_a_changed_value_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    write_snapshot(training_frame(random_walks(150, 1), None, 63), path)
    table = pq.read_table(path)
    values = table["y_log_range"].to_numpy().copy()
    values[3] += 1e-9
    index = table.schema.get_field_index("y_log_range")
    pq.write_table(table.set_column(index, "y_log_range", pa.array(values)), path)
    with pytest.raises(IntegrityError, match="hash"):
        read_snapshot(path)


def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(IntegrityError, match="not a training snapshot"):
        read_snapshot(path)
    path.write_bytes(b"PAR1 half a file")
    with pytest.raises(IntegrityError, match="not a training snapshot"):
        read_snapshot(path)


def test_training_from_the_snapshot_makes_the_same_models(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    direct = train_all(random_walks(400, 2), snapshot=path)
    frame, data_hash = read_snapshot(path)
    later = train(frame, data_hash, LINEAR_SPECS, offsets={}, trained_at=NOW)
    assert [(m.manifest.version, m.manifest.skill, m.manifest.quantile) for m in later] == [
        (m.version, m.skill, m.quantile) for m in direct.manifests
    ]
