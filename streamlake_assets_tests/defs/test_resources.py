"""The stores of a run: from the environment of its process, connected when asked, closed at its end."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from pymongo.errors import InvalidOperation

from streamlake_assets.resources import StoreAccess, StoreAccessResource
from streamlake_assets.settings import load_settings
from streamlake_assets_tests.conftest import settings_in
from streamlake_assets_tests.defs.conftest import Market


@pytest.fixture
def forget_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.servers
@pytest.mark.usefixtures("forget_settings")
def test_a_run_uses_the_settings_of_its_environment_and_leaves_no_connection(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in market.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    with StoreAccessResource().yield_for_execution(dg.build_init_resource_context()) as access:
        assert access.settings.mongo == market.settings.mongo
        reader, documents = access.reader, access.documents
        with reader.connect() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
        assert documents.count("session_bars") > 0
        assert reader.pool.checkedin() == 1  # type: ignore[attr-defined]
    assert reader.pool.checkedin() == 0  # type: ignore[attr-defined]
    with pytest.raises(InvalidOperation):
        documents.count("session_bars")


def test_closing_what_was_never_used_connects_nowhere(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, mysql_url="mysql+pymysql://me:pw@127.0.0.1:1/x")
    access = StoreAccess(settings)
    access.close()
    assert "reader" not in vars(access)
