"""The real MySQL server, taken from Debian's development suite (sid) and unpacked into the user's cache folder.

Belongs here: fetching and unpacking it with ``apt-get`` and ``dpkg-deb``, and the command line that runs it. Stays out:
choosing between it and MariaDB, and its data (``mysql``).

Nothing is installed and no root is needed: apt works on lists and folders of its own, and the server runs with the C
library it was unpacked with, so the machine's libraries do not matter. Signatures are checked by apt as always.
Debian's stable releases have no MySQL, and sid rolls on; so what was unpacked once is kept, never upgraded by itself.
"""

import platform
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from streamlake_assets.errors import ArtifactError
from streamlake_assets.servers.cache import cache_folder, file_lock, publish
from streamlake_assets.servers.tools import require_tool, run_tool
from streamlake_assets.servers.waiting import Say

PACKAGE = "mysql-server-core"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_SOURCES = Path("/etc/apt")
_TIMEOUT_S = 300.0
_MIRROR = re.compile(r"^(?!\s*#).*?(https?://\S+/debian)/?(?=\s|$)", re.MULTILINE)
_APT_CONF = """\
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{work}/state";
Dir::State::lists "{work}/state/lists";
Dir::State::status "{work}/state/status";
Dir::Cache "{work}/cache";
Debug::NoLocking "1";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
APT::Sandbox::User "";
"""


@dataclass(frozen=True)
class UnpackedMysql:
    """An unpacked MySQL server; ``version`` is Debian's, as 9.7.4-2."""

    version: str
    folder: Path

    @property
    def command(self) -> list[str]:
        """Program and arguments that start ``mysqld`` with its own C library and its own files."""
        usr = self.folder / "root" / "usr"
        triplet = "x86_64-linux-gnu"
        return [
            str(usr / "lib64" / "ld-linux-x86-64.so.2"),
            "--library-path",
            f"{usr}/lib/{triplet}:{usr}/lib/mysql/private",
            str(usr / "sbin" / "mysqld"),
            "--no-defaults",
            f"--basedir={usr}",
            f"--lc-messages-dir={usr}/share/mysql",
            f"--plugin-dir={usr}/lib/mysql/plugin",
            f"--character-sets-dir={usr}/share/mysql/charsets",
        ]


def cached_mysql(version: str | None = None) -> UnpackedMysql | None:
    """Return the unpacked server of this version, or the newest one when none is named; None if there is none."""
    found = {
        folder.name.removeprefix("mysql-"): folder for folder in cache_folder().glob("mysql-[0-9]*") if folder.is_dir()
    }
    if version is not None:
        return UnpackedMysql(version, found[version]) if version in found else None
    if not found:
        return None
    newest = max(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    return UnpackedMysql(newest, found[newest])


def fetch_mysql(say: Say, stop: threading.Event | None = None, version: str | None = None) -> UnpackedMysql:
    """Return an unpacked MySQL; the first call downloads 60 MB. ``version``: only this one will do.

    Raises:
        MissingToolError: ``apt-get`` or ``dpkg-deb`` is missing.
        ArtifactError: it cannot be had on this machine, or only in another version; the message says why.
    """
    if found := cached_mysql(version):
        return found
    if platform.machine() != "x86_64":
        raise ArtifactError(f"the real MySQL is fetched for x86-64 only, this machine is {platform.machine()}")
    apt_get, dpkg_deb = require_tool("apt-get"), require_tool("dpkg-deb")
    mirror = debian_mirror(APT_SOURCES)
    with file_lock("mysql", say, stop):
        if found := cached_mysql(version):
            return found
        say("downloading MySQL from Debian sid: 60 MB, 330 MB unpacked, about 15 s (nothing is installed)")
        work = cache_folder() / ".mysql-download"
        try:
            packages = _download(apt_get, mirror, work, say, stop)
            server = next((deb.name for deb in packages if deb.name.startswith(f"{PACKAGE}_")), None)
            if server is None:
                raise ArtifactError(f"apt brought no {PACKAGE} from Debian sid")
            offered = server.split("_")[1]
            if version is not None and offered != version:
                raise ArtifactError(f"MySQL {version} is no longer to be had, Debian sid has {offered}")
            target = cache_folder() / f"mysql-{offered}"
            publish(target, lambda folder: _unpack(dpkg_deb, packages, folder, say, stop))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        say(f"kept in {target}")
        return UnpackedMysql(offered, target)


def debian_mirror(sources: Path) -> str:
    """Return the address of the Debian mirror that this machine's apt uses.

    Raises:
        ArtifactError: there is none, as on a system that is no Debian, or its signing keys are missing.
    """
    lists = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    for path in lists:
        if path.is_file() and (match := _MIRROR.search(path.read_text())):
            if not KEYRING.exists():
                raise ArtifactError(f"{KEYRING} is missing: install it by `apt-get install -y debian-archive-keyring`")
            return match.group(1)
    raise ArtifactError("this machine's apt sources name no Debian mirror")


def _download(apt_get: str, mirror: str, work: Path, say: Say, stop: threading.Event | None) -> list[Path]:
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "state" / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} sid main\n")
    (work / "apt.conf").write_text(_APT_CONF.format(work=work))
    env = {"APT_CONFIG": str(work / "apt.conf"), "LC_ALL": "C.UTF-8"}
    for arguments in (
        ["update", "-qq", "--error-on=any"],
        ["-y", "-qq", "--no-install-recommends", "--download-only", "install", PACKAGE, "libc6"],
    ):
        code, output = run_tool([apt_get, *arguments], "MySQL from Debian sid", say, _TIMEOUT_S, stop, env)
        if code:
            errors = [line for line in output.splitlines() if line.startswith("E:")] or ["no reason given"]
            reason = errors[0].removeprefix("E:").strip()[:300]
            raise ArtifactError(f"apt cannot fetch MySQL from Debian sid ({reason})")
    return sorted((work / "cache" / "archives").glob("*.deb"))


def _unpack(dpkg_deb: str, packages: list[Path], folder: Path, say: Say, stop: threading.Event | None) -> None:
    for package in packages:
        code, output = run_tool([dpkg_deb, "-x", str(package), str(folder / "root")], "unpacking MySQL", say, 120, stop)
        if code:
            raise ArtifactError(f"{package.name} does not unpack: {output.strip()[-300:]}")
    for needless in ("bin", "share/doc", "share/perl", "share/man"):
        shutil.rmtree(folder / "root" / "usr" / needless, ignore_errors=True)
