"""Snapshots: a training frame as one Parquet file with a content hash.

Belongs here: the file's layout and the hash. Stays out: what a frame is (``market.frames``). The hash is of the values,
not of the file: equal data give an equal hash, whatever wrote the file, and reading proves it.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.series import FloatArray
from streamlake_assets.market.targets import Target

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA = b"streamlake"
_GROUPS = ("y", "scale", "baseline")


def _value_columns(frame: TrainingFrame) -> dict[str, FloatArray]:
    columns = {f"x_{name}": frame.x[:, i] for i, name in enumerate(frame.names)}
    columns |= {f"{group}_{t.value}": getattr(frame, group)[t] for group in _GROUPS for t in Target}
    return columns


def content_hash(frame: TrainingFrame) -> str:
    """Return the SHA-256 over names and values of a frame: little-endian, column by column, row order included."""
    digest = hashlib.sha256()
    digest.update(json.dumps([frame.instruments, frame.names, [t.value for t in Target]]).encode())
    for integers in (frame.instrument, frame.sessions, frame.target_sessions):
        digest.update(np.ascontiguousarray(integers, dtype="<i8").tobytes())
    for name, values in _value_columns(frame).items():
        digest.update(name.encode())
        # adding zero turns -0.0 into 0.0: equal values must have equal bytes
        digest.update(np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes())
    return digest.hexdigest()


def write_snapshot(frame: TrainingFrame, path: Path) -> str:
    """Write a frame as Parquet, by a temporary name in the same folder, and return its content hash.

    Columns: symbol, exchange, session, target_session (dates), ``x_<feature>``, and ``y_``, ``scale_``, ``baseline_``
    per target (float64).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data_hash = content_hash(frame)
    names = [frame.instruments[i].rsplit("|", 1) for i in frame.instrument]
    columns: dict[str, pa.Array] = {
        "symbol": pa.array([symbol for symbol, _ in names], pa.string()),
        "exchange": pa.array([exchange for _, exchange in names], pa.string()),
        "session": pa.array(frame.sessions.astype("datetime64[D]")),
        "target_session": pa.array(frame.target_sessions.astype("datetime64[D]")),
    }
    columns |= {name: pa.array(np.ascontiguousarray(values)) for name, values in _value_columns(frame).items()}
    about = {"hash": data_hash, "features": list(frame.names), "instruments": list(frame.instruments)}
    table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(about).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, temporary)
    temporary.replace(path)
    return data_hash


def read_snapshot(path: Path) -> tuple[TrainingFrame, str]:
    """Read a snapshot back and return the frame with its content hash, computed again from what was read.

    Raises:
        IntegrityError: not a snapshot, or the values do not have the hash they were written with.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_METADATA])
        frame = _frame(table, tuple(about["instruments"]), tuple(about["features"]))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise IntegrityError(f"{path}: not a training snapshot ({error})") from error
    data_hash = content_hash(frame)
    if data_hash != about["hash"]:
        raise IntegrityError(f"{path}: the values hash to {data_hash[:12]}, they were written as {about['hash'][:12]}")
    return frame, data_hash


def read_the_snapshot(path: Path, data_hash: str) -> TrainingFrame:
    """Read a snapshot that was named with its hash: another one in its place is refused.

    Raises:
        IntegrityError: not a snapshot, damaged, or replaced meanwhile.
    """
    frame, found = read_snapshot(path)
    if found != data_hash:
        raise IntegrityError(f"{path} was replaced: it hashes to {found}, not to {data_hash}")
    return frame


def _frame(table: "pa.Table", instruments: tuple[str, ...], features: tuple[str, ...]) -> TrainingFrame:
    def floats(name: str) -> FloatArray:
        values: FloatArray = table[name].to_numpy()
        return values

    code = {name: i for i, name in enumerate(instruments)}
    pairs = zip(table["symbol"].to_pylist(), table["exchange"].to_pylist(), strict=True)
    groups = {group: {t: floats(f"{group}_{t.value}") for t in Target} for group in _GROUPS}
    return TrainingFrame(
        instruments=instruments,
        names=features,
        instrument=np.array([code[f"{symbol}|{exchange}"] for symbol, exchange in pairs], dtype=np.int64),
        sessions=table["session"].to_numpy().astype("datetime64[D]").astype(np.int64),
        target_sessions=table["target_session"].to_numpy().astype("datetime64[D]").astype(np.int64),
        x=np.column_stack([floats(f"x_{name}") for name in features]),
        **groups,
    )
