"""What tests of this folder share: one NiFi, since it takes long to start, and a migrated schema for each module."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from streamlake_assets.broker.topics import describe_streams, ensure_topics
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.servers.tools import find_nifi_java
from streamlake_assets.settings import DATABASE, Settings
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets_tests.broker_members import eventually, numbers
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.document_house import House
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


@pytest.fixture(scope="module")
def whole_house(fresh_database: Settings, document_server: LocalDocumentStore) -> Iterator[House]:
    database, documents = Database(fresh_database), DocumentStore(fresh_database)
    client: MongoClient[dict[str, Any]] = MongoClient(fresh_database.mongo, tz_aware=True)
    yield House(database, documents, client[DATABASE])
    client.close()
    documents.close()
    database.close()


@pytest.fixture
def house(whole_house: House) -> House:
    whole_house.database.empty()
    whole_house.documents.clear()
    return House(whole_house.database, whole_house.documents, whole_house.raw)


@pytest.fixture(scope="module")
def kafka(kafka_server: LocalKafka, test_settings: Settings) -> str:
    return test_settings.kafka


@pytest.fixture
def topic(kafka: str) -> str:
    name = f"topic-{next(numbers)}"
    ensure_topics(kafka, [name])
    eventually(lambda: describe_streams(kafka, [name]))
    return name
