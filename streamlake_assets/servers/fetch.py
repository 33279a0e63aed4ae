"""``python -m streamlake_assets.servers.fetch``: download what the local servers need, before the first start.

Belongs here: the list of downloads and the progress of the set-up. Stays out: how each is fetched (``artifacts``,
``debian_mysql``). What a setting names is not downloaded. ``--tests`` fetches MariaDB too, on which the tests run.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streamlake_assets.errors import ArtifactError, MissingToolError, StreamlakeError
from streamlake_assets.servers.artifacts import fetch_document_store, fetch_kafka, fetch_mariadb, fetch_nifi
from streamlake_assets.servers.debian_mysql import fetch_mysql
from streamlake_assets.servers.tools import find_nifi_java
from streamlake_assets.servers.waiting import Say, StopRequestedError
from streamlake_assets.settings import Settings, load_settings


def fetch_all(settings: Settings, say: Say, tests: bool = False) -> None:
    """Fetch what local servers need under these settings; what is in the cache already takes no time.

    Raises:
        ArtifactError, MissingToolError: something cannot be had.
    """
    stop = threading.Event()

    def from_maven() -> None:
        if not settings.kafka_bootstrap:
            fetch_kafka(say, stop)
        if not settings.mongo_url.get_secret_value():
            fetch_document_store(say, stop)
        if tests:
            fetch_mariadb(say, stop)
            java = find_nifi_java(settings.jdk21_home)
            if java is None:
                say("no JDK 21 or newer was found: NiFi is not downloaded, and its tests are skipped")
            elif not settings.nifi_url:
                fetch_nifi(java, say, stop)

    def mysql() -> None:
        if settings.mysql_url.get_secret_value():
            return
        if settings.local_mysql == "mariadb":
            fetch_mariadb(say, stop)
            return
        try:
            fetch_mysql(say, stop)
        except (ArtifactError, MissingToolError) as error:
            if settings.local_mysql == "mysql":
                raise
            say(f"the real MySQL cannot be had ({error}), so MariaDB serves in its place")
            fetch_mariadb(say, stop)

    jobs: list[Callable[[], None]] = [from_maven, mysql]
    with ThreadPoolExecutor(len(jobs)) as pool:
        try:
            for future in [pool.submit(job) for job in jobs]:
                future.result()
        except BaseException:
            stop.set()
            raise


def main() -> int:
    """Run it; return the exit code."""

    def say(line: str) -> None:
        sys.stdout.write(f"  {line}\n")
        sys.stdout.flush()

    try:
        fetch_all(load_settings(), say, tests="--tests" in sys.argv[1:])
    except StreamlakeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (KeyboardInterrupt, StopRequestedError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
