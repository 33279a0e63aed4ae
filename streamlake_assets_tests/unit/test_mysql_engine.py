"""Engines and errors of MySQL without a server: what a wrong setting or a missing schema is called."""

from pathlib import Path

import pymysql
import pytest
import sqlalchemy as sa

from streamlake_assets.errors import SettingError, StreamlakeError, TryLaterError, UsageError
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores import mysql
from streamlake_assets_tests.conftest import settings_in


@pytest.mark.parametrize(
    "url",
    [
        "no url",
        "mysql+pymysql://me:geheim@db:port/streamlake",
        "mysql://me:geheim@db/streamlake",
        "mysql+nonsense://me:geheim@db/streamlake",
        "postgresql://me:geheim@db/streamlake",
    ],
)
def test_a_url_that_cannot_be_used_names_the_setting_and_hides_the_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingError, match="STREAMLAKE_MYSQL_URL") as caught:
        mysql.make_engine(settings_in(tmp_path, mysql_url=url), DatabaseRole.READER)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("role", "seconds"), [(DatabaseRole.MIGRATE, 300), (DatabaseRole.WRITER, 60)])
def test_only_a_migration_may_be_silent_for_minutes(
    role: DatabaseRole, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def connect(**options: object) -> None:
        asked.update(options)
        raise pymysql.err.OperationalError(2003, "nobody there")

    monkeypatch.setattr(pymysql, "connect", connect)
    engine = mysql.make_engine(settings_in(tmp_path, mysql_url="mysql+pymysql://me:x@db/streamlake"), role)
    with pytest.raises(TryLaterError, match=r"looking: .*nobody there"), mysql.outages_as_try_later("looking"):
        engine.connect()
    assert asked["read_timeout"] == asked["write_timeout"] == seconds
    assert not asked.get("local_infile")


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (1044, SettingError, "MySQL refuses reading: .*check STREAMLAKE_MYSQL_URL"),
        (1045, SettingError, "MySQL refuses reading: .*check STREAMLAKE_MYSQL_URL"),
        (1049, SettingError, "MySQL refuses reading: .*check STREAMLAKE_MYSQL_URL"),
        (1698, SettingError, "MySQL refuses reading: .*check STREAMLAKE_MYSQL_URL"),
        (1146, UsageError, "the schema is missing .*run `streamlake migrate`"),
        (1213, TryLaterError, "^reading: "),
    ],
)
def test_an_error_of_the_server_says_what_to_do(code: int, kind: type[StreamlakeError], text: str) -> None:
    error = sa.exc.OperationalError("SELECT 1", {}, pymysql.err.OperationalError(code, "words"))
    with pytest.raises(kind, match=text) as caught, mysql.outages_as_try_later("reading"):
        raise error
    assert type(caught.value) is kind


def test_other_errors_pass_unchanged() -> None:
    error = sa.exc.ProgrammingError("SELEC 1", {}, pymysql.err.ProgrammingError(1064, "syntax"))
    with pytest.raises(sa.exc.ProgrammingError) as caught, mysql.outages_as_try_later("reading"):
        raise error
    assert caught.value is error
