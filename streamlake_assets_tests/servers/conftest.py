"""What tests of this folder share: one NiFi, since it takes long to start, and a migrated schema for each module."""

from collections.abc import Iterator

import pytest

from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.servers.tools import find_nifi_java
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.tables import Database


@pytest.fixture(scope="package")
def nifi(test_settings: Settings, child_registry: ChildRegistry) -> Iterator[LocalNifi]:
    """The real NiFi, at ``test_settings.nifi_port``."""
    if find_nifi_java() is None:
        pytest.skip("no JDK 21 or newer on this machine: NiFi cannot run")
    server = LocalNifi(test_settings, child_registry)
    server.prepare(print_line)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def database(fresh_database: Settings) -> Iterator[Database]:
    """A migrated schema of this module's own; ``empty`` it before each test."""
    found = Database(fresh_database)
    yield found
    found.close()
