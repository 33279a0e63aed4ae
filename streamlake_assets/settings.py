"""Every setting: its environment name (``STREAMLAKE_`` + the field in capitals) and its default.

Belongs here: names, defaults, and the addresses that follow from them. Stays out: starting or probing servers
(``servers``), opening connections (``broker``, ``stores``). ``.env.example`` is ``example_env()``; a test holds it.
"""

import json
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from streamlake_assets.errors import SettingError

LOOPBACK = "127.0.0.1"
DATABASE = "streamlake"
"""Name of the MySQL schema and of the document database."""


ENGINES = ("sklearn", "dask", "spark")
"""Engines that fit the same models; see ``learning.engines``."""


class DatabaseRole(StrEnum):
    """The MySQL users: each process connects with the least that serves it."""

    MIGRATE = "migrate"
    WRITER = "writer"
    READER = "reader"
    BI = "bi"
    ACTIONS = "actions"


class _SecretFiles(SecretsSettingsSource):
    """The files of STREAMLAKE_SECRETS_DIR, one a setting; white space around a value does not count."""

    def __call__(self) -> dict[str, object]:
        """Read them.

        Raises:
            SettingError: one cannot be read; the message names it.
        """
        try:
            return super().__call__()
        except SettingsError as error:
            if not isinstance(cause := error.__cause__, OSError):
                raise
            raise SettingError(f"STREAMLAKE_SECRETS_DIR: {cause.filename} cannot be read: {cause.strerror}") from error


class Settings(BaseSettings):
    """All settings; an empty URL means: start the real server as a child process on 127.0.0.1."""

    # an empty variable counts: it takes back what .env says
    model_config = SettingsConfigDict(
        env_prefix="STREAMLAKE_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(Path(".streamlake"), description="Folder of data, logs, models and run state")
    secrets_dir: str = Field(
        "",
        description="Folder of files named as settings, such as streamlake_mysql_url, with their values; empty: none",
    )
    kafka_bootstrap: str = Field("", description="host:port[,host:port] of a Kafka cluster; empty: a local broker")
    mysql_url: SecretStr = Field(
        SecretStr(""), description="mysql+pymysql://user:password@host:port/database; empty: a local server"
    )
    mysql_writer_url: SecretStr = Field(SecretStr(""), description="As MYSQL_URL, for the consumer; empty: MYSQL_URL")
    mysql_reader_url: SecretStr = Field(SecretStr(""), description="As MYSQL_URL, for pages; empty: MYSQL_URL")
    mysql_bi_url: SecretStr = Field(SecretStr(""), description="As MYSQL_URL, for BI tools; empty: MYSQL_URL")
    mysql_actions_url: SecretStr = Field(
        SecretStr(""), description="As MYSQL_URL, for what pages ask to be done; empty: MYSQL_URL"
    )
    mongo_url: SecretStr = Field(SecretStr(""), description="mongodb://… of a MongoDB; empty: a local stand-in")
    local_mysql: Literal["auto", "mysql", "mariadb"] = Field(
        "auto", description="Local server: auto takes the real MySQL where apt can fetch it, else MariaDB"
    )
    kafka_port: int = Field(19092, ge=1024, le=65535, description="Port of the local broker")
    kafka_controller_port: int = Field(19093, ge=1024, le=65535, description="Port of the local KRaft controller")
    mysql_port: int = Field(13306, ge=1024, le=65535, description="Port of the local MySQL or MariaDB")
    mongo_port: int = Field(27117, ge=1024, le=65535, description="Port of the local document store")
    dagster_port: int = Field(13000, ge=1024, le=65535, description="Port of the Dagster web server")
    panel_port: int = Field(15006, ge=1024, le=65535, description="Port of the Panel page")
    panel_password: SecretStr = Field(
        SecretStr(""), description="Password of the page's login, without which nobody acts on it; empty: no login"
    )
    panel_users: str = Field(
        "", description="Names that may act on the page, separated by commas; empty: any name with the password"
    )
    panel_oauth_provider: str = Field(
        "", description="Provider of the page's login in place of a password, as Panel names it, such as github"
    )
    panel_oauth_key: SecretStr = Field(SecretStr(""), description="Client id that the provider gave")
    panel_oauth_secret: SecretStr = Field(SecretStr(""), description="Client secret that the provider gave")
    panel_oauth_redirect_uri: str = Field("", description="Address the provider sends back to; empty: the page's own")
    consumer_port: int = Field(19108, ge=1024, le=65535, description="Port of the consumer's /metrics and /healthz")
    scorer_port: int = Field(19109, ge=1024, le=65535, description="Port of the scorer's /metrics and /healthz")
    alerts_port: int = Field(19110, ge=1024, le=65535, description="Port of the alert delivery's /metrics and /healthz")
    alert_rules: str = Field("", description="YAML file of alert rules and targets; empty: alerts are kept, not sent")
    alert_loopback: bool = Field(False, description="Whether alerts may go to hosts of this machine, without TLS too")
    nifi_url: str = Field("", description="Address of a NiFi, such as https://host:8443; empty: a local one")
    nifi_user: str = Field("", description="User of that NiFi's single-user login")
    nifi_password: SecretStr = Field(SecretStr(""), description="Password of that user")
    nifi_certificate: str = Field("", description="File of its certificate, when the system does not trust it")
    nifi_port: int = Field(18180, ge=1024, le=65535, description="Port of the local NiFi")
    nifi_management_port: int = Field(18152, ge=1024, le=65535, description="Port of the local NiFi's own management")
    jdk21_home: str = Field("", description="Folder of a JDK 21 or newer, for NiFi; empty: looked for in usual places")
    dead_letter_share: float = Field(
        0.05, ge=0, lt=1, description="Share of the last 1,000 messages of a partition that may be bad; 0: no limit"
    )
    dead_letter_run: int = Field(
        50,
        ge=0,
        description="Bad messages in a row that a partition may have; 0: no limit. Past it the partition stops",
    )
    min_history: int = Field(63, ge=60, description="Sessions an instrument needs before it is trained on or forecast")
    first_month: str = Field(
        "1990-01",
        pattern=r"^(19|20)\d\d-(0[1-9]|1[0-2])$",
        description="First month of sessions that Dagster shows documents of; earlier ones are made all the same",
    )
    settle_delay_minutes: int = Field(
        150, ge=0, le=1440, description="Minutes from a session's close until its daily refresh is due"
    )
    scheduled_refresh: bool = Field(
        True, description="Whether the schedules ask for daily refreshes; false: only people do"
    )
    afternoon_refresh: bool = Field(
        True, description="Whether what is new is refreshed at 15:30 Africa/Casablanca too, due or not"
    )
    engines: str = Field("sklearn,dask,spark", description="Engines that train, separated by commas")
    training_cores: int = Field(2, ge=1, description="Cores that an engine trains on")
    training_timeout_s: int = Field(900, ge=30, description="Seconds after which the training of one engine is ended")
    spark_memory_mb: int = Field(1024, ge=512, description="Heap of the Spark driver that trains, in MiB")
    spark_master: str = Field("", description="Spark cluster that trains, such as spark://host:7077; empty: local")
    dask_scheduler: str = Field("", description="Dask cluster that trains, such as tcp://host:8786; empty: local")
    massive_key: SecretStr = Field(SecretStr(""), description="Key of the Massive (Polygon) API; empty: not used")
    massive_url: str = Field("https://api.massive.com", description="Address of the Massive API")
    massive_calls_per_minute: int = Field(5, ge=1, description="Calls a minute that the Massive plan allows")
    massive_calls_per_day: int = Field(7_200, ge=1, description="Calls a day that the Massive plan allows")
    alpha_vantage_key: SecretStr = Field(SecretStr(""), description="Key of the Alpha Vantage API; empty: not used")
    alpha_vantage_url: str = Field("https://www.alphavantage.co", description="Address of the Alpha Vantage API")
    alpha_vantage_calls_per_minute: int = Field(5, ge=1, description="Calls a minute that its plan allows")
    alpha_vantage_calls_per_day: int = Field(25, ge=1, description="Calls a day that its plan allows")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Level of the logs")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the files of the secrets folder where one is named: below the environment and ``.env``.

        Raises:
            SettingError: the folder is not there.
        """
        sources = (init_settings, env_settings, dotenv_settings)
        folder = next((str(found["secrets_dir"]) for source in sources if "secrets_dir" in (found := source())), "")
        if not folder:
            return sources
        if not Path(folder).is_dir():
            raise SettingError(f"STREAMLAKE_SECRETS_DIR={folder} is no folder")
        return (*sources, _SecretFiles(settings_cls, secrets_dir=folder))

    @field_validator("home", mode="before")
    @classmethod
    def _some_folder(cls, value: object) -> object:
        """Refuse an empty home: as a path it would be the current folder."""
        if value == "":
            raise ValueError("it must name a folder")
        return value

    @field_validator("engines")
    @classmethod
    def _known_engines(cls, value: str) -> str:
        """Refuse an engine that there is not."""
        unknown = {name.strip() for name in value.split(",")} - set(ENGINES)
        if unknown:
            raise ValueError(f"unknown engines {sorted(unknown)}; there are {', '.join(ENGINES)}")
        return value

    @model_validator(mode="after")
    def _users_of_a_named_mysql(self) -> Self:
        """Refuse a URL of one user without MYSQL_URL: its process would use another server than all others."""
        if not self.mysql_url.get_secret_value():
            for name in ("mysql_writer_url", "mysql_reader_url", "mysql_bi_url", "mysql_actions_url"):
                if getattr(self, name).get_secret_value():
                    raise ValueError(f"STREAMLAKE_{name.upper()} is set, so STREAMLAKE_MYSQL_URL must be set too")
        return self

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        """Refuse two logins, and one by a provider that would let everybody act who has an account there."""
        if not self.panel_oauth_provider:
            return self
        if self.panel_password.get_secret_value():
            raise ValueError("STREAMLAKE_PANEL_PASSWORD and STREAMLAKE_PANEL_OAUTH_PROVIDER are both set: choose one")
        secrets = (self.panel_oauth_key, self.panel_oauth_secret)
        if not self.panel_actors or not all(secret.get_secret_value() for secret in secrets):
            raise ValueError(
                "STREAMLAKE_PANEL_OAUTH_PROVIDER is set, so STREAMLAKE_PANEL_OAUTH_KEY, "
                "STREAMLAKE_PANEL_OAUTH_SECRET and STREAMLAKE_PANEL_USERS must be set too"
            )
        return self

    @property
    def panel_actors(self) -> frozenset[str]:
        """Names that may act on the page; empty: any name that the password came with."""
        return frozenset(name for part in self.panel_users.split(",") if (name := part.strip()))

    @property
    def data_dir(self) -> Path:
        """Absolute data folder."""
        return self.home.expanduser().resolve()

    @property
    def training_engines(self) -> tuple[str, ...]:
        """Engines that train, in the order of ``ENGINES``."""
        wanted = {name.strip() for name in self.engines.split(",")}
        return tuple(name for name in ENGINES if name in wanted)

    @property
    def kafka(self) -> str:
        """Bootstrap servers in force: the configured ones, else the local broker's."""
        return self.kafka_bootstrap or f"{LOOPBACK}:{self.kafka_port}"

    @property
    def mongo(self) -> str:
        """Document store URL in force; secret, mask it before showing."""
        return self.mongo_url.get_secret_value() or f"mongodb://{LOOPBACK}:{self.mongo_port}"

    @property
    def nifi(self) -> str:
        """Address of the NiFi in force: the configured one, else the local one's."""
        return self.nifi_url or f"http://{LOOPBACK}:{self.nifi_port}"

    def as_environment(self) -> dict[str, str]:
        """Return the variables that give another process exactly these settings; secret values are among them."""
        found = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            found[f"STREAMLAKE_{name.upper()}"] = str(self.data_dir) if name == "home" else text
        return found

    def mysql(self, role: DatabaseRole) -> str:
        """Return the SQLAlchemy URL of one database user; secret, mask it before showing.

        Raises:
            SettingError: no URL is configured and the local server has not been set up yet.
        """
        own = {
            DatabaseRole.WRITER: self.mysql_writer_url,
            DatabaseRole.READER: self.mysql_reader_url,
            DatabaseRole.BI: self.mysql_bi_url,
            DatabaseRole.ACTIONS: self.mysql_actions_url,
        }.get(role)
        if own is not None and own.get_secret_value():
            return own.get_secret_value()
        if self.mysql_url.get_secret_value():
            return self.mysql_url.get_secret_value()
        user = f"streamlake_{role}:{quote(local_password(self.data_dir, role))}"
        # the driver would encrypt where it can; to a server of this machine that is work for nothing
        options = "charset=utf8mb4&ssl_disabled=true"
        return f"mysql+pymysql://{user}@{LOOPBACK}:{self.mysql_port}/{DATABASE}?{options}"


def secrets_file(data_dir: Path) -> Path:
    """File (mode 0600) with the generated passwords of the local MySQL users: a JSON object role -> password."""
    return data_dir / "secrets" / "mysql.json"


def local_password(data_dir: Path, role: DatabaseRole) -> str:
    """Read the generated password of one local MySQL user.

    Raises:
        SettingError: the local server has not been set up in this folder.
    """
    path = secrets_file(data_dir)
    try:
        return str(json.loads(path.read_text())[role.value])
    except FileNotFoundError:
        raise SettingError(
            f"no local MySQL in {data_dir}: run `streamlake up` there once, or set STREAMLAKE_MYSQL_URL"
        ) from None
    except KeyError:
        # made by an older version, which had no such user
        raise SettingError(f"{path} has no user {role.value}: start the servers once more") from None


def example_env() -> str:
    """Return the text of ``.env.example``: every setting with what it means and its default."""
    lines = ["# Every setting with its default. Copy this file to .env and change what you need.", ""]
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        lines += [f"# {field.description}", f"STREAMLAKE_{name.upper()}={default}", ""]
    return "\n".join(lines[:-1]) + "\n"


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the settings of this process once: environment over ``.env`` over files of secrets over defaults."""
    return Settings()
