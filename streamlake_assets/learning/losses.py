"""The out-of-sample losses of a model's spec by date, as a file beside the model: what the gate weighs.

Belongs here: the file. Stays out: what is done with losses (``market.gate``), making them (``train``).
"""

from pathlib import Path
from typing import Final

import numpy as np

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.market.gate import DateLosses

FILE: Final = "losses.npy"
_COLUMNS: Final = 3


def write_losses(folder: Path, losses: DateLosses) -> None:
    """Write n by 3 values: date (days since 1970-01-01), loss of the model, loss of the baseline."""
    np.save(folder / FILE, np.column_stack([losses.sessions.astype(np.float64), losses.model, losses.baseline]))


def read_losses(folder: Path) -> DateLosses:
    """Read what ``write_losses`` wrote, from a folder whose checksums have been verified.

    Raises:
        ModelRefusedError: the file is missing or holds something else.
    """
    try:
        values = np.load(folder / FILE, allow_pickle=False)
        if values.ndim != 2 or values.shape[1] != _COLUMNS or values.dtype != np.float64:
            raise ModelRefusedError(f"{folder / FILE}: {values.dtype} of shape {values.shape}, not losses by date")
        return DateLosses(values[:, 0].astype(np.int64), values[:, 1].copy(), values[:, 2].copy())
    except (OSError, ValueError, EOFError, UsageError) as error:
        raise ModelRefusedError(f"{folder / FILE}: no readable losses ({error})") from error
