"""A migrated schema on each MySQL for tests of the stores, emptied before every test."""

from collections.abc import Iterator

import pytest

from streamlake_assets.settings import Settings
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.tables import Database


@pytest.fixture(scope="module")
def migrated(each_mysql: Settings) -> Iterator[Database]:
    found = Database(each_mysql)
    yield found
    found.close()


@pytest.fixture
def database(migrated: Database) -> Database:
    migrated.empty()
    return migrated


@pytest.fixture
def store(database: Database) -> BarStore:
    return BarStore(database.writer, "test")
