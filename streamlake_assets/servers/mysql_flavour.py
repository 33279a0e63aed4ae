"""Which server a local MySQL is: the real one where Debian's packages can be fetched, else MariaDB; and why.

Belongs here: the choice, its record in the data folder, the command lines of both. Stays out: set-up, start and stop
(``mysql``), downloads (``artifacts``, ``debian_mysql``).

A data folder remembers what made it. MySQL and MariaDB cannot read each other's files, so a later choice of the other
one is an error that says so, and an upgrade never happens by itself.
"""

import getpass
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from streamlake_assets.errors import ArtifactError, MissingToolError, UsageError
from streamlake_assets.servers.artifacts import MARIADB_VERSION, fetch_mariadb
from streamlake_assets.servers.debian_mysql import fetch_mysql
from streamlake_assets.servers.home import write_atomic
from streamlake_assets.servers.waiting import Say

_RECORD = "server.json"
_START_OVER = "start over with `streamlake reset`"


@dataclass(frozen=True)
class Choice:
    """Which server makes a data folder: flavour, its version, and why this one."""

    flavour: Literal["mysql", "mariadb"]
    version: str
    reason: str

    def record(self, data: Path) -> None:
        """Write it into a data folder."""
        write_atomic(data / _RECORD, json.dumps(asdict(self), indent=1) + "\n")


def recorded_choice(data: Path) -> Choice | None:
    """Return what made a data folder, or None if the folder does not exist.

    Raises:
        UsageError: the folder does not say.
    """
    if not data.exists():
        return None
    try:
        return Choice(**json.loads((data / _RECORD).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{data}/{_RECORD} is missing or damaged: {_START_OVER}") from error


def choose(wanted: str, say: Say, stop: threading.Event) -> tuple[Choice, list[str]]:
    """Choose a server for a new data folder and fetch it; return the choice and its command.

    Args:
        wanted: ``auto``, ``mysql`` or ``mariadb``.
        say: takes progress.
        stop: ends a download.

    Raises:
        ArtifactError, MissingToolError: the wanted server, or with ``auto`` both, cannot be had.
    """
    reason = "STREAMLAKE_LOCAL_MYSQL=mariadb"
    if wanted != "mariadb":
        try:
            found = fetch_mysql(say, stop)
        except (ArtifactError, MissingToolError) as error:
            if wanted == "mysql":
                raise
            reason = f"the real MySQL cannot be had: {error}"
        else:
            return Choice("mysql", found.version, "from Debian sid"), found.command
    return Choice("mariadb", MARIADB_VERSION, reason), _mariadb_command(fetch_mariadb(say, stop))


def choose_again(recorded: Choice, wanted: str, data: Path, say: Say, stop: threading.Event) -> list[str]:
    """Return the command of the server that made a data folder.

    Raises:
        UsageError: another one is wanted now, or it can no longer be had.
        ArtifactError, MissingToolError: MariaDB cannot be fetched.
    """
    if wanted not in ("auto", recorded.flavour):
        raise UsageError(
            f"STREAMLAKE_LOCAL_MYSQL={wanted}, but {data} was made by {recorded.flavour} {recorded.version}, and "
            f"neither reads the other's files: set it back, or {_START_OVER}"
        )
    if recorded.flavour == "mysql":
        try:
            return fetch_mysql(say, stop, recorded.version).command
        except ArtifactError as error:
            raise UsageError(
                f"{data} was made by MySQL {recorded.version}, which is not in the cache folder: {error}; {_START_OVER}"
            ) from error
    if recorded.version != MARIADB_VERSION:
        raise UsageError(
            f"{data} was made by MariaDB {recorded.version}, this release runs {MARIADB_VERSION}: {_START_OVER}"
        )
    return _mariadb_command(fetch_mariadb(say, stop))


def setup_command(choice: Choice, command: list[str], files: Path, temporary: Path) -> list[str]:
    """Return the command that makes a new data folder ``files``."""
    if choice.flavour == "mysql":
        return [*command, f"--datadir={files}", "--initialize-insecure", *run_as()]
    base = Path(command[0]).parent.parent
    return [
        str(base / "scripts" / "mariadb-install-db"),
        "--no-defaults",
        f"--basedir={base}",
        f"--datadir={files}",
        f"--tmpdir={temporary}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *run_as(),
    ]


def run_as() -> list[str]:
    """Return the option both servers want when root starts them; they refuse otherwise."""
    return [f"--user={getpass.getuser()}"] if os.geteuid() == 0 else []


def _mariadb_command(base: Path) -> list[str]:
    return [
        str(base / "bin" / "mariadbd"),
        "--no-defaults",
        f"--basedir={base}",
        f"--lc-messages-dir={base}/share",
        f"--character-sets-dir={base}/share/charsets",
    ]
