"""The programs of this machine that local servers need: finding them, running them, saying how to install them.

Belongs here: looking a program up, running one to its end. Stays out: what is downloaded with them (``artifacts``).
"""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamlake_assets.errors import MissingToolError
from streamlake_assets.servers.waiting import Say, StopRequestedError

JDK_MAJOR = 17
NIFI_JDK_MAJOR = 21
_JDK_FOLDERS = ("usr/lib/jvm/*", "opt/*jdk*", "opt/java/*")
INSTALL = {
    "java": "apt-get install -y openjdk-17-jdk-headless",
    "javac": "apt-get install -y openjdk-17-jdk-headless",
    "mvn": "apt-get install -y maven",
    "make": "apt-get install -y make",
    "apt-get": "a Debian-like system has it",
    "dpkg-deb": "a Debian-like system has it",
}
_SAY_EVERY_S = 10.0


def require_tool(name: str) -> str:
    """Return the path of a program; the JDK's programs are taken from JAVA_HOME when it is set.

    Raises:
        MissingToolError: it is not there; the message names the command that installs it.
    """
    java_home = os.environ.get("JAVA_HOME", "")
    found = None
    if name in ("java", "javac") and java_home:
        found = shutil.which(name, path=str(Path(java_home) / "bin"))
    found = found or shutil.which(name)
    if found is None:
        raise MissingToolError(
            f"{name} is missing: install it with `{INSTALL.get(name, f'apt-get install -y {name}')}`"
        )
    return found


def java_major(program: str) -> int:
    """Return the major version that ``java -version`` or ``javac -version`` prints (17 for 17.0.15).

    Raises:
        MissingToolError: the program does not run or prints no version.
    """
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingToolError(f"{program} does not run ({error}): `{INSTALL['java']}`") from error
    match = re.search(r'(?:version "|javac )(\d+)(?:\.(\d+))?', done.stderr + done.stdout)
    if match is None:
        raise MissingToolError(f"{program} -version prints no version: install a JDK with `{INSTALL['java']}`")
    major = int(match.group(1))
    return int(match.group(2) or 0) if major == 1 else major


def require_java(name: str = "java") -> str:
    """Return the path of ``java`` or ``javac`` of at least version 17.

    Raises:
        MissingToolError: it is missing or too old.
    """
    program = require_tool(name)
    major = java_major(program)
    if major < JDK_MAJOR:
        raise MissingToolError(
            f"{program} is version {major}, Kafka needs {JDK_MAJOR} or newer: `{INSTALL['java']}`, "
            "or set JAVA_HOME to a newer JDK"
        )
    return program


def java_home() -> Path:
    """Return the folder of the JDK whose ``java`` the servers run on; Spark runs on the same one.

    Raises:
        MissingToolError: it is missing or too old.
    """
    return Path(require_java()).resolve().parent.parent


def find_nifi_java(named: str = "") -> str | None:
    """Return ``java`` of a JDK that NiFi runs on (21 or newer), or None: from a named home, JAVA_HOME, usual folders.

    Raises:
        MissingToolError: the named home has no such JDK.
    """
    if named:
        program = Path(named).expanduser() / "bin" / "java"
        if not program.is_file() or java_major(str(program)) < NIFI_JDK_MAJOR:
            raise MissingToolError(f"STREAMLAKE_JDK21_HOME={named} is no JDK {NIFI_JDK_MAJOR} or newer")
        return str(program)
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted((path for pattern in _JDK_FOLDERS for path in Path("/").glob(pattern)), reverse=True)
    homes += sorted(Path.home().glob(".sdkman/candidates/java/*"), reverse=True)
    for home in homes:
        # a JDK: NiFi is also assembled with it
        program = home / "bin" / "java"
        if (home / "bin" / "javac").is_file() and program.is_file() and _is_new_enough(str(program)):
            return str(program)
    return None


def _is_new_enough(program: str) -> bool:
    try:
        return java_major(program) >= NIFI_JDK_MAJOR
    except MissingToolError:
        # one that does not run is none; others may
        return False


def require_nifi_java(named: str = "") -> str:
    """Return ``java`` of a JDK that NiFi runs on.

    Raises:
        MissingToolError: there is none; the message says how to get one.
    """
    found = find_nifi_java(named)
    if found is None:
        raise MissingToolError(
            f"NiFi needs a JDK {NIFI_JDK_MAJOR} or newer and none was found: install one "
            "(`apt-get install -y openjdk-21-jdk-headless`, or Temurin) or set STREAMLAKE_JDK21_HOME to its folder"
        )
    return found


def run_tool(
    argv: Sequence[str],
    what: str,
    say: Say,
    timeout_s: float,
    stop: threading.Event | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program to its end; return exit code and output. A line is said every ten seconds while it runs.

    A program that takes longer than ``timeout_s`` seconds is ended and returns code 124.

    Raises:
        StopRequestedError: ``stop`` was set meanwhile; the program has been ended.
    """
    flag = stop or threading.Event()
    started = time.monotonic()
    environment = None if env is None else {**os.environ, **env}
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    said = started
    try:
        while True:
            try:
                output, _ = process.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                pass
            else:
                return process.returncode, output
            now = time.monotonic()
            if flag.is_set():
                raise StopRequestedError
            if now - started > timeout_s:
                return 124, f"{what} took longer than {timeout_s:.0f} s"
            if now - said >= _SAY_EVERY_S:
                said = now
                say(f"{what}: {now - started:.0f} s …")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
