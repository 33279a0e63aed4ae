"""Settings: what wins over what, what another process is handed, which ones contradict each other."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamlake_assets.commands.terminal import settings_in_force
from streamlake_assets.errors import UsageError
from streamlake_assets.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STREAMLAKE_{name.upper()}", raising=False)


def test_an_empty_variable_takes_back_what_the_env_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("STREAMLAKE_KAFKA_BOOTSTRAP=far:9092\n")
    assert Settings().kafka == "far:9092"
    monkeypatch.setenv("STREAMLAKE_KAFKA_BOOTSTRAP", "")
    assert Settings().kafka == "127.0.0.1:19092"


def test_another_process_gets_exactly_these_settings_whatever_its_env_file_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # mypy knows no keyword of the base class
    handed = Settings(_env_file=None, home=tmp_path / "here", panel_port=2000)  # type: ignore[call-arg]
    Path(".env").write_text(
        "STREAMLAKE_KAFKA_BOOTSTRAP=far:9092\nSTREAMLAKE_MYSQL_URL=mysql+pymysql://a:b@far/d\n"
        "STREAMLAKE_MONGO_URL=mongodb://far\nSTREAMLAKE_PANEL_PORT=3000\nSTREAMLAKE_HOME=elsewhere\n"
    )
    for name, value in handed.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == handed


@pytest.mark.parametrize("role", ["WRITER", "READER", "BI"])
def test_a_url_of_one_user_needs_the_common_one(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load_settings.cache_clear()
    monkeypatch.setenv(f"STREAMLAKE_MYSQL_{role}_URL", "mysql+pymysql://me:geheim@db/streamlake")
    with pytest.raises(UsageError, match=rf"^STREAMLAKE_MYSQL_{role}_URL is set.*STREAMLAKE_MYSQL_URL must") as caught:
        settings_in_force()
    assert caught.value.exit_code == 2
    with pytest.raises(ValidationError) as inner:
        Settings()
    assert "geheim" not in str(inner.value)
    monkeypatch.setenv("STREAMLAKE_MYSQL_URL", "mysql+pymysql://root:geheim@db/streamlake")
    assert settings_in_force() == Settings()
    load_settings.cache_clear()


def test_an_empty_home_is_not_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    load_settings.cache_clear()
    monkeypatch.setenv("STREAMLAKE_HOME", "")
    with pytest.raises(UsageError, match=r"^STREAMLAKE_HOME: it must name a folder"):
        settings_in_force()


def test_secrets_come_from_files_below_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "streamlake_mysql_url").write_text("mysql+pymysql://me:geheim@db/streamlake\n")
    (folder / "streamlake_massive_key").write_text("of-the-file\n")
    (folder / "dagster_postgres_password").write_text("of another program")
    assert Settings().mysql_url.get_secret_value() == ""
    monkeypatch.setenv("STREAMLAKE_SECRETS_DIR", str(folder))
    assert Settings().mysql_url.get_secret_value() == "mysql+pymysql://me:geheim@db/streamlake"
    assert "geheim" not in repr(Settings())
    monkeypatch.setenv("STREAMLAKE_MASSIVE_KEY", "of-the-environment")
    assert Settings().massive_key.get_secret_value() == "of-the-environment"
    monkeypatch.setenv("STREAMLAKE_MASSIVE_KEY", "")
    assert Settings().massive_key.get_secret_value() == ""
    # what reads them from files hands them on
    handed = Settings()
    for name, value in handed.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().as_environment() == handed.as_environment()


def test_a_folder_of_secrets_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    load_settings.cache_clear()
    monkeypatch.setenv("STREAMLAKE_SECRETS_DIR", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"^STREAMLAKE_SECRETS_DIR=.*gone is no folder"):
        settings_in_force()


def test_a_secret_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "streamlake_mongo_url").write_text("mongodb://x")

    def refuse(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("STREAMLAKE_SECRETS_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UsageError, match="streamlake_mongo_url cannot be read: Permission denied"):
        Settings()
