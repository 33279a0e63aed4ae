"""The processes that run beside the servers: their command lines and how to tell that they are ready.

Belongs here: argv, environment and addresses of consumer, scorer, alerts, Dagster and Panel. Stays out: starting and
watching them (``servers.supervisor``).
"""

import sys
from pathlib import Path

from panel_app.serving import ENVIRONMENT as PAGE_ENVIRONMENT
from panel_app.serving import LIVENESS, PATH, serve_argv
from streamlake_assets.servers.supervisor import ServiceSpec
from streamlake_assets.settings import LOOPBACK, Settings

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder: the code location and the page are loaded from here."""


def consumer(settings: Settings) -> ServiceSpec:
    """Return the consumer, ready when it is in its group and the database answers."""
    return _sidecar(settings, "consumer", "consumer", settings.consumer_port)


def scorer(settings: Settings) -> ServiceSpec:
    """Return the scorer, ready when it is in its group and has read where the tables stand."""
    return _sidecar(settings, "scorer", "scorer", settings.scorer_port)


def alerts(settings: Settings) -> ServiceSpec:
    """Return the delivery of alerts, ready when it has looked at the outbox."""
    return _sidecar(settings, "alerts", "alert_delivery", settings.alerts_port)


def _sidecar(settings: Settings, name: str, module: str, port: int) -> ServiceSpec:
    """Return a process of ``sidecar``, whose own pages tell its health; the setting of its port has its name."""
    health = f"http://{LOOPBACK}:{port}"
    return ServiceSpec(
        name=name,
        argv=[sys.executable, "-m", f"streamlake_assets.sidecar.{module}"],
        env=environment(settings),
        ready_url=f"{health}/readyz",
        url=f"{health}/metrics",
        port=port,
        setting=f"STREAMLAKE_{name.upper()}_PORT",
    )


def dagster_webserver(settings: Settings) -> ServiceSpec:
    """Return Dagster's web server on loopback."""
    url = f"http://{LOOPBACK}:{settings.dagster_port}"
    return ServiceSpec(
        name="dagster-webserver",
        argv=[
            *_module("dagster_webserver"),
            "--host",
            LOOPBACK,
            "--port",
            str(settings.dagster_port),
            "--workspace",
            str(ROOT / "workspace.yaml"),
        ],
        env=environment(settings),
        ready_url=f"{url}/server_info",
        ready_timeout=120,
        url=url,
        port=settings.dagster_port,
        setting="STREAMLAKE_DAGSTER_PORT",
    )


def dagster_daemon(settings: Settings) -> ServiceSpec:
    """Return Dagster's daemon, which ticks sensors and schedules.

    It and the runs it starts give way to what is live: bars, rows and pages wait for no refresh of documents.
    """
    return ServiceSpec(
        name="dagster-daemon",
        argv=[
            *("nice", "-n", "10"),
            str(Path(sys.executable).with_name("dagster-daemon")),
            "run",
            "--workspace",
            str(ROOT / "workspace.yaml"),
        ],
        env=environment(settings),
    )


def panel_page(settings: Settings) -> ServiceSpec:
    """Return the Panel page; only this machine's own addresses may open its websocket."""
    url = f"http://{LOOPBACK}:{settings.panel_port}"
    return ServiceSpec(
        name="panel",
        argv=serve_argv(settings.panel_port),
        env={**environment(settings), **PAGE_ENVIRONMENT},
        ready_url=f"{url}{LIVENESS}",
        ready_timeout=120,
        url=f"{url}{PATH}",
        port=settings.panel_port,
        setting="STREAMLAKE_PANEL_PORT",
    )


def service_specs(settings: Settings) -> list[ServiceSpec]:
    """Return everything that ``up`` runs beside the servers."""
    dagster = (dagster_webserver(settings), dagster_daemon(settings))
    return [*stream_specs(settings), alerts(settings), panel_page(settings), *dagster]


def stream_specs(settings: Settings) -> list[ServiceSpec]:
    """Return what follows the stream: bars into the tables, forecasts into the ledger."""
    return [consumer(settings), scorer(settings)]


def dagster_home(settings: Settings) -> Path:
    """Return Dagster's instance folder, made with this project's ``dagster.yaml``.

    The file is written on every start: an instance must not run with the settings of an older version.
    """
    home = settings.data_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    return home


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give a child process exactly these settings, and Dagster its instance."""
    return {
        **settings.as_environment(),
        "DAGSTER_HOME": str(dagster_home(settings)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
    }


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]
