"""The jars of Kafka Connect and the Debezium JDBC sink: pinned, fetched once by Maven into the user's cache folder.

Belongs here: which files, and their checksums. Stays out: running them (``sink``).
"""

import hashlib
import tarfile
import tempfile
from pathlib import Path

from streamlake_assets.errors import ArtifactError
from streamlake_assets.servers.artifacts import DEPENDENCY_PLUGIN, KAFKA_VERSION, run_maven, verify
from streamlake_assets.servers.cache import cache_folder, fetch_once
from streamlake_assets.servers.waiting import Say

HERE = Path(__file__).parent
DEBEZIUM_VERSION = "3.6.0.Final"
PLUGIN = f"io.debezium:debezium-connector-jdbc:{DEBEZIUM_VERSION}:tar.gz:plugin"
PLUGIN_SHA256 = "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05"


def fetch_connect(say: Say) -> Path:
    """Return the folder with Connect's jars in ``lib`` and the sink's in ``plugins``; the first call downloads 110 MB.

    Raises:
        MissingToolError: ``mvn`` or ``java`` is missing.
        ArtifactError: a file cannot be had or is not the pinned one.
    """
    pins = (HERE / "connect.sha256").read_text()
    recipe = hashlib.sha256("\0".join([pins, (HERE / "pom.xml").read_text(), PLUGIN_SHA256]).encode()).hexdigest()[:10]
    what = f"Kafka Connect {KAFKA_VERSION} with the Debezium JDBC sink {DEBEZIUM_VERSION}"
    target = cache_folder() / f"connect-{KAFKA_VERSION}-debezium-{DEBEZIUM_VERSION}-{recipe}"
    return fetch_once(target, f"{what}: 110 MB, about 30 s", lambda folder: _build(folder, pins, say), say, None)


def _build(folder: Path, pins: str, say: Say) -> None:
    pom = HERE / "pom.xml"
    goal = [f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"]
    run_maven(["-f", str(pom), *goal], "Kafka Connect", say, None)
    pinned = {jar: checksum for checksum, jar in map(str.split, pins.splitlines())}
    if odd := {jar.name for jar in (folder / "lib").glob("*.jar")} ^ set(pinned):
        raise ArtifactError(f"Kafka Connect: Maven brought other jars than the pinned ones ({', '.join(sorted(odd))})")
    for jar, checksum in pinned.items():
        verify(folder / "lib" / jar, checksum)
    with tempfile.TemporaryDirectory(dir=folder) as download:
        goal = [f"{DEPENDENCY_PLUGIN}:copy", f"-Dartifact={PLUGIN}", f"-DoutputDirectory={download}"]
        run_maven(goal, "the Debezium JDBC sink", say, None)
        (archive,) = Path(download).glob("*.tar.gz")
        verify(archive, PLUGIN_SHA256)
        with tarfile.open(archive) as bundle:
            bundle.extractall(folder / "plugins", filter="data")
