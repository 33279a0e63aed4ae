"""The user's cache folder: server software that clones share, each folder complete or absent.

Belongs here: where it is, publishing by rename, the lock around a download. Stays out: what is kept there
(``artifacts``, ``debian_mysql``).
"""

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamlake_assets.errors import ArtifactError, UsageError
from streamlake_assets.servers.waiting import Say, wait_until

_LOCK_TIMEOUT_S = 1800.0


def cache_folder() -> Path:
    """Return the user's cache folder of this project (``$XDG_CACHE_HOME/streamlake``, else ``~/.cache/streamlake``)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "streamlake"


def publish(target: Path, build: Callable[[Path], None]) -> None:
    """Fill a temporary folder beside ``target`` and rename it: ``target`` is whole or absent.

    Raises:
        UsageError: the cache folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed; the caller holds the lock
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise UsageError(f"the cache folder {target.parent} cannot be written ({error}): set XDG_CACHE_HOME") from error
    try:
        build(temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError as error:
        raise ArtifactError(f"{target.name} cannot be stored in {target.parent}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def file_lock(name: str, say: Say, stop: threading.Event | None = None) -> Iterator[None]:
    """Hold a lock file in the cache folder: one process of this machine fetches, the others wait for it.

    Raises:
        ArtifactError: the lock was not to be had for half an hour.
    """
    path = cache_folder() / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise UsageError(f"the cache folder {path.parent} cannot be written ({error}): set XDG_CACHE_HOME") from error

    def take() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    with file:
        if not take():
            say(f"waiting for another process that fetches {name}")
            if not wait_until(take, _LOCK_TIMEOUT_S, stop):
                raise ArtifactError(f"another process holds {path} for too long: end it and try again")
        yield


def fetch_once(
    target: Path, announce: str, build: Callable[[Path], None], say: Say, stop: threading.Event | None
) -> Path:
    """Return ``target``; when it is absent, say ``announce`` and let ``build`` fill it, in one process at a time."""
    if target.is_dir():
        return target
    with file_lock(target.name, say, stop):
        if not target.is_dir():
            say(f"downloading {announce}")
            publish(target, build)
            say(f"kept in {target}")
    return target
