"""The deployment's files as data, for its tests.

Belongs here: reading them, Compose's interpolation as far as the files use it. Stays out: the rules (the tests).
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def interpolated(value: Any, environment: dict[str, str]) -> Any:
    """Return a value with ``${NAME}``, ``${NAME:-default}``, ``${NAME:?error}`` and ``$$`` replaced as Compose does."""

    def replace(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        given = environment.get(found[2], "")
        if not given and found[3] == "?":
            raise KeyError(f"{found[2]}: {found[4]}")
        return given or (found[4] or "" if found[3] == "-" else "")

    if isinstance(value, str):
        return VARIABLE.sub(replace, value)
    if isinstance(value, list):
        return [interpolated(item, environment) for item in value]
    if isinstance(value, dict):
        return {key: interpolated(item, environment) for key, item in value.items()}
    return value


@cache
def raw_compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


@cache
def compose() -> dict[str, Any]:
    """The compose file with its defaults; only what has none is given."""
    found: dict[str, Any] = interpolated(raw_compose(), {"DOCKER_GID": "998"})
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def secrets_of(service: dict[str, Any]) -> dict[str, str]:
    """Name below /run/secrets -> source."""
    found = {}
    for secret in service.get("secrets", []):
        source, target = (secret, secret) if isinstance(secret, str) else (secret["source"], secret["target"])
        found[target] = source
    return found


def binds_of(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(source, target, mode) of volumes and bind mounts; mode is rw unless said."""
    return [(*parts, "rw")[:3] for volume in service.get("volumes", []) if (parts := volume.split(":"))]


def is_own(service: dict[str, Any]) -> bool:
    """Whether it runs streamlake's image."""
    return str(service["image"]).startswith("streamlake:")


@cache
def dagster_yaml() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy/dagster/dagster.yaml").read_text())
    return found


def launcher_config() -> dict[str, Any]:
    found: dict[str, Any] = dagster_yaml()["run_launcher"]["config"]
    return found
