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
