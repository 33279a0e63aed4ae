"""What this machine must have before the first start, checked without changing anything.

Belongs here: one small check per need, with the remedy. Stays out: showing the findings (``commands``).
"""

import ctypes
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamlake_assets.errors import ArtifactError, MissingToolError, SettingError, UsageError
from streamlake_assets.servers.cache import cache_folder
from streamlake_assets.servers.configured import configured_servers
from streamlake_assets.servers.debian_mysql import APT_SOURCES, cached_mysql, debian_mirror
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.ports import port_holder, port_is_free
from streamlake_assets.servers.state import supervisor_pid
from streamlake_assets.servers.tools import find_nifi_java, java_major, require_java, require_tool
from streamlake_assets.settings import Settings

DISK_NEEDED_GB = 6.0
PYTHON = (3, 11)
_MARIADB_LIBRARIES = {"libcrypt.so.1": "libcrypt1", "libsystemd.so.0": "libsystemd0", "libstdc++.so.6": "libstdc++6"}


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was looked at, whether it will do, what was found, what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Run every check; a check that fails never stops the others."""
    return [
        _python(),
        _platform(),
        *_tools(),
        *_disk(settings),
        _home(settings),
        _real_mysql(settings),
        _mariadb_libraries(),
        _nifi(settings),
        *_ports(settings),
        *_configured(settings),
    ]


def _python() -> Finding:
    found = platform.python_version()
    ok = sys.version_info[:2] == PYTHON
    return Finding("Python 3.11", ok, found, "" if ok else "apt-get install -y python3.11 python3.11-venv")


def _platform() -> Finding:
    libc, version = platform.libc_ver()
    ok = sys.platform == "linux" and platform.machine() == "x86_64" and libc == "glibc"
    remedy = (
        "" if ok else "name servers of your own: STREAMLAKE_KAFKA_BOOTSTRAP, STREAMLAKE_MYSQL_URL, STREAMLAKE_MONGO_URL"
    )
    return Finding(
        "x86-64 Linux with glibc", ok, f"{sys.platform} {platform.machine()} {libc} {version}".strip(), remedy
    )


def _tools() -> Iterator[Finding]:
    def java(name: str) -> str:
        program = require_java(name)
        return f"{program} (version {java_major(program)})"

    checks: list[tuple[str, Callable[[], str]]] = [
        ("Java 17 or newer", lambda: java("java")),
        ("Java compiler", lambda: java("javac")),
        ("Maven", lambda: require_tool("mvn")),
        ("make", lambda: require_tool("make")),
    ]
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except MissingToolError as error:
            problem, _, remedy = str(error).rpartition(": ")
            yield Finding(name, False, problem, remedy)


def _nifi(settings: Settings) -> Finding:
    """Whether NiFi can run; without it the Python replay serves, unless the setting insists."""
    try:
        java = find_nifi_java(settings.jdk21_home)
    except MissingToolError as error:
        return Finding(
            "JDK for NiFi", False, str(error), "set STREAMLAKE_JDK21_HOME to a JDK 21 or newer, or to nothing"
        )
    return Finding("JDK for NiFi", True, java or "no JDK 21 or newer; the Python replay serves instead of NiFi")


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("disk of the data folder", settings.data_dir), ("disk of the cache folder", cache_folder())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free_gb = shutil.disk_usage(existing).free / 1e9
        ok = free_gb >= DISK_NEEDED_GB
        yield Finding(name, ok, f"{free_gb:.1f} GB free in {existing}", "" if ok else f"free {DISK_NEEDED_GB:.0f} GB")


def _home(settings: Settings) -> Finding:
    home = Home.of(settings)
    try:
        home.check()
    except UsageError as error:
        return Finding("data folder", False, str(error), "set STREAMLAKE_HOME to a new folder")
    running = supervisor_pid(home)
    return Finding("data folder", True, f"{home.root}" + (f", in use by streamlake (pid {running})" if running else ""))


def _real_mysql(settings: Settings) -> Finding:
    """Whether the real MySQL can be had; without it MariaDB serves, unless the setting insists."""
    insists = settings.local_mysql == "mysql"
    try:
        if cached := cached_mysql():
            return Finding("real MySQL", True, f"{cached.version}, unpacked in {cached.folder}")
        require_tool("apt-get")
        require_tool("dpkg-deb")
        debian_mirror(APT_SOURCES)
    except (ArtifactError, MissingToolError) as error:
        remedy = "set STREAMLAKE_LOCAL_MYSQL=mariadb" if insists else ""
        return Finding("real MySQL", not insists, f"{error}; MariaDB serves instead", remedy)
    return Finding("real MySQL", True, "apt can fetch it")


def _mariadb_libraries() -> Finding:
    missing = []
    for library, package in _MARIADB_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    remedy = f"apt-get install -y {' '.join(missing)}" if missing else ""
    return Finding("libraries of MariaDB", not missing, ", ".join(missing) or "all there", remedy)


def _ports(settings: Settings) -> Iterator[Finding]:
    ours = supervisor_pid(Home.of(settings))
    needs_nifi = not settings.nifi_url and _nifi(settings).detail.startswith("/")
    for setting, server in (
        ("kafka_port", "" if settings.kafka_bootstrap else "Kafka"),
        ("kafka_controller_port", "" if settings.kafka_bootstrap else "Kafka controller"),
        ("mysql_port", "" if settings.mysql_url.get_secret_value() else "MySQL"),
        ("mongo_port", "" if settings.mongo_url.get_secret_value() else "document store"),
        ("dagster_port", "Dagster"),
        ("panel_port", "Panel"),
        ("consumer_port", "consumer"),
        ("scorer_port", "scorer"),
        ("nifi_port", "NiFi" if needs_nifi else ""),
        ("nifi_management_port", "NiFi's management" if needs_nifi else ""),
    ):
        port = int(getattr(settings, setting))
        if not server:
            continue
        if port_is_free(port):
            yield Finding(f"port {port}", True, f"free for {server}")
        elif ours:
            yield Finding(f"port {port}", True, f"{server}: held by {port_holder(port)}, streamlake is running")
        else:
            remedy = f"end it, or set STREAMLAKE_{setting.upper()} to another port"
            yield Finding(f"port {port}", False, f"{server}: held by {port_holder(port)}", remedy)


def _configured(settings: Settings) -> Iterator[Finding]:
    for server in configured_servers(settings):
        try:
            server.start()
            yield Finding(f"configured {server.name}", True, server.info().line)
        except SettingError as error:
            problem, _, remedy = str(error).rpartition(": ")
            yield Finding(f"configured {server.name}", False, problem or str(error), remedy)
