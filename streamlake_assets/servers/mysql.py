"""The local MySQL server, real or MariaDB (``mysql_flavour``), as child process.

Belongs here: first set-up, start and readiness. Stays out: which server it is (``mysql_flavour``), its users
(``mysql_users``), schema and rows (``stores``).
"""

import shutil
import socket
import threading
from pathlib import Path

from streamlake_assets.errors import ServerError
from streamlake_assets.servers.home import Home, write_atomic
from streamlake_assets.servers.local_server import ServerInfo, start_until_ready
from streamlake_assets.servers.mysql_flavour import (
    Choice,
    choose,
    choose_again,
    recorded_choice,
    run_as,
    setup_command,
)
from streamlake_assets.servers.mysql_users import CHARACTER_SET, COLLATION, ROOT, ensure_passwords, init_statements
from streamlake_assets.servers.ports import answers, require_free
from streamlake_assets.servers.probes import server_version
from streamlake_assets.servers.process import ChildProcess, ChildRegistry
from streamlake_assets.servers.tools import run_tool
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import LOOPBACK, Settings

_NAME = "mysql"


class LocalMysql:
    """MySQL or MariaDB as child process on 127.0.0.1.

    Args:
        settings: port, data folder and the wanted flavour.
        registry: where the child is recorded.
        stop: set when the supervisor stops.
        durable: with the server's default durability (each commit is flushed, MySQL's binary log is on); False is for
            tests only, which may lose their last second.
    """

    name = _NAME

    def __init__(
        self,
        settings: Settings,
        registry: ChildRegistry,
        stop: threading.Event | None = None,
        durable: bool = True,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._home = Home.of(settings)
        self._stop = stop or threading.Event()
        self._durable = durable
        self._child: ChildProcess | None = None
        self._choice: Choice | None = None

    @property
    def child(self) -> ChildProcess | None:
        """The server's process."""
        return self._child

    @property
    def data(self) -> Path:
        """Folder with ``server.json`` (what made it) and ``files`` (the server's own)."""
        return self._home.data / _NAME

    @property
    def choice(self) -> Choice:
        """Which server it is.

        Raises:
            ServerError: not prepared yet.
        """
        if self._choice is None:
            raise ServerError("prepare the local MySQL before its start")
        return self._choice

    def prepare(self, say: Say) -> None:
        """Choose and fetch the server, set the data folder up; each once.

        Raises:
            UsageError: the data folder was made by another server than the setting wants.
            MissingToolError: Java or Maven is missing (MariaDB comes from Maven).
            ArtifactError: the wanted server cannot be had.
            ServerError: the set-up failed.
        """
        wanted = self._settings.local_mysql
        recorded = recorded_choice(self.data)
        if recorded is None:
            choice, command = choose(wanted, say, self._stop)
            say(f"MySQL: {choice.flavour} {choice.version}, {choice.reason}")
            self._initialise(command, choice, say)
        else:
            choice, command = recorded, choose_again(recorded, wanted, self.data, say, self._stop)
        self._choice = choice
        self._child = ChildProcess(_NAME, [*command, *self._arguments(choice)], self._registry, grace_s=30.0)

    def start(self) -> None:
        """Start the server and return when root can log in.

        Raises:
            PortInUseError: its port is taken.
            ServerError: it does not start.
        """
        choice, child, port = self.choice, self._child, self._settings.mysql_port
        if child is None:
            raise ServerError("prepare the local MySQL before its start")
        require_free(port, "STREAMLAKE_MYSQL_PORT", "the local MySQL")
        passwords = ensure_passwords(self._home.secrets)
        for stale in ("mysqld.sock", "mysqld.sock.lock"):
            # after a crash the lock names a pid that may be somebody else's by now, and MySQL would refuse to start
            (self.data / "files" / stale).unlink(missing_ok=True)
        self._temporary.mkdir(parents=True, exist_ok=True)
        strangers = _strangers(choice)
        write_atomic(self._init_file, init_statements(passwords, strangers), mode=0o600)
        try:
            start_until_ready(
                child, lambda: answers(port) and server_version(port, ROOT, passwords[ROOT]) is not None, self._stop
            )
        finally:
            self._init_file.unlink(missing_ok=True)

    def info(self) -> ServerInfo:
        """Ask the server for its version.

        Raises:
            ServerError: it does not answer.
        """
        password = ensure_passwords(self._home.secrets)[ROOT]
        version = server_version(self._settings.mysql_port, ROOT, password)
        if version is None:
            raise ServerError("the local MySQL does not answer")
        if self.choice.flavour == "mysql":
            what = f"MySQL {version.partition('-')[0]}, the real server"
        else:
            what = f"MariaDB {version.partition('-')[0]}, in place of MySQL"
        return ServerInfo(
            name=_NAME,
            what=f"{what} ({self.choice.reason})",
            version=version,
            address=f"{LOOPBACK}:{self._settings.mysql_port}",
            configured=False,
            pid=self._child.pid if self._child else None,
        )

    def stop(self) -> None:
        """Stop the server; SIGKILL after 30 s, which loses nothing that was committed."""
        if self._child is not None:
            self._child.stop()

    @property
    def _temporary(self) -> Path:
        return self._home.run / "mysql-tmp"

    @property
    def _init_file(self) -> Path:
        return self._home.run / "mysql-init.sql"

    def _initialise(self, command: list[str], choice: Choice, say: Say) -> None:
        """Set the data folder up under another name and rename it, so that an interruption leaves nothing half done."""
        partial = self.data.with_name(f"{_NAME}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(self._temporary, ignore_errors=True)
        partial.mkdir(parents=True)
        self._temporary.mkdir(parents=True)
        argv = setup_command(choice, command, partial / "files", self._temporary)
        code, output = run_tool(argv, "setting MySQL up", say, 180, self._stop)
        if code:
            raise ServerError(f"{choice.flavour} cannot be set up: {output.strip()[-800:]}")
        choice.record(partial)
        partial.rename(self.data)

    def _arguments(self, choice: Choice) -> list[str]:
        arguments = [
            f"--datadir={self.data / 'files'}",
            f"--tmpdir={self._temporary}",
            f"--port={self._settings.mysql_port}",
            f"--bind-address={LOOPBACK}",
            # relative to the data folder: a path to a socket is limited to 107 bytes
            "--socket=mysqld.sock",
            f"--pid-file={self._home.run / 'mysqld.pid'}",
            f"--init-file={self._init_file}",
            f"--character-set-server={CHARACTER_SET}",
            f"--collation-server={COLLATION}",
            "--local-infile=1",
            "--skip-name-resolve",
            "--log-bin-trust-function-creators=1",
            "--innodb-buffer-pool-size=128M",
            "--performance-schema=OFF",
            *run_as(),
        ]
        if choice.flavour == "mysql":
            arguments += ["--mysqlx=OFF", "--secure-file-priv=NULL", "--binlog-expire-logs-seconds=86400"]
        else:
            # without TLS it starts in 0.2 s instead of 3 s; it listens on the loopback only
            arguments += ["--skip-ssl"]
        if not self._durable:
            arguments += ["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"]
        return arguments


def _strangers(choice: Choice) -> list[tuple[str, str]]:
    """Accounts that MariaDB's set-up makes without a password and nobody needs."""
    if choice.flavour == "mysql":
        return []
    host = socket.gethostname().lower()
    return [("root", "::1"), ("root", host)]
