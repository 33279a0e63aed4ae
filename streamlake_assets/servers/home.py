"""The data folder of one installation: which folder holds what, and how a file in it is replaced whole.

Belongs here: paths under the data folder, its marker file, atomic writing. Stays out: what the files mean.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from streamlake_assets.errors import UsageError
from streamlake_assets.settings import Settings, secrets_file

MARKER = ".streamlake-home"
_MARKER_TEXT = "Data, logs and run state of streamlake. `streamlake reset` deletes only folders that hold this file.\n"


@dataclass(frozen=True)
class Home:
    """Paths of one data folder; ``root`` is absolute."""

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> "Home":
        """Return the data folder that the settings name."""
        return cls(settings.data_dir)

    @property
    def marker(self) -> Path:
        """File that says: this folder is ours and may be deleted by ``reset``."""
        return self.root / MARKER

    @property
    def data(self) -> Path:
        """Folders of the servers, one each."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """One ``NAME.log`` for each child process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Lock, recorded children, state and generated server configuration."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """Lock file of the supervisor; holds its pid."""
        return self.run / "supervisor.lock"

    @property
    def children(self) -> Path:
        """Record of the child processes, by pid and start."""
        return self.run / "children.json"

    @property
    def state(self) -> Path:
        """What ``streamlake status`` shows."""
        return self.run / "state.json"

    @property
    def secrets(self) -> Path:
        """Generated passwords of the local MySQL users."""
        return secrets_file(self.root)

    def check(self) -> None:
        """Check that the folder is new, empty or ours.

        Raises:
            UsageError: it holds somebody else's files, or is no folder.
        """
        if self.root.exists() and not self.marker.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise UsageError(
                f"{self.root} is not empty and is no data folder of streamlake: set STREAMLAKE_HOME to a new folder"
            )

    def create(self) -> "Home":
        """Create the folders and the marker file; a folder of somebody else's files is refused.

        Raises:
            UsageError: the folder exists, is not empty and does not carry the marker file; or it cannot be created.
        """
        self.check()
        try:
            for folder in (self.root, self.data, self.logs, self.run):
                folder.mkdir(parents=True, exist_ok=True)
            if not self.marker.exists():
                self.marker.write_text(_MARKER_TEXT)
        except OSError as error:
            raise UsageError(f"{self.root} cannot be used as data folder ({error}): set STREAMLAKE_HOME") from error
        return self


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file whole: temporary name in the same folder, fsync, rename. A reader sees the old text or the new."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
