"""The commands around supervision, without their command line: up, down, status, urls, logs, doctor, reset.

Belongs here: what these commands do, as functions that return plain data or take a ``say``. Stays out: options, tables
and colours (``cli``), the services' command lines (``commands.services``).
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from streamlake_assets.errors import SettingError, UsageError
from streamlake_assets.servers.doctor import examine
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.ports import answers
from streamlake_assets.servers.process import KILL_WAIT_S, end_identities, end_orphans, identity
from streamlake_assets.servers.reset import reset_home
from streamlake_assets.servers.state import read_state, supervisor_pid
from streamlake_assets.servers.supervisor import Supervisor
from streamlake_assets.servers.tools import find_nifi_java, require_nifi_java
from streamlake_assets.servers.waiting import POLL_S, Say, wait_until
from streamlake_assets.settings import LOOPBACK, DatabaseRole, Settings

DOWN_TIMEOUT_S = 90.0


def doctor(settings: Settings) -> list[dict[str, Any]]:
    """Return the findings on this machine: ``name``, ``ok``, ``detail``, ``remedy``."""
    return [asdict(finding) for finding in examine(settings)]


def with_nifi(settings: Settings, wanted: bool | None, say: Say) -> bool:
    """Return whether a local NiFi is to run, and say why not.

    Args:
        settings: where a JDK is, and whether another NiFi is named.
        wanted: what the user said; None: where a JDK 21 or newer is found.
        say: takes the reason.

    Raises:
        MissingToolError: it is wanted and there is no such JDK.
        UsageError: it is wanted and another NiFi is named.
    """
    if wanted is False:
        return False
    if settings.nifi_url:
        reason = f"STREAMLAKE_NIFI_URL names {settings.nifi_url}: `streamlake nifi deploy` brings the flows there"
        if wanted:
            raise UsageError(f"no local NiFi: {reason}")
        say(reason)
        return False
    if wanted:
        require_nifi_java(settings.jdk21_home)
        return True
    found = find_nifi_java(settings.jdk21_home) is not None
    if not found:
        say("no JDK 21 or newer here, so no NiFi: set STREAMLAKE_JDK21_HOME, or use the Python replay")
    return found


def answers_nifi(settings: Settings) -> bool:
    """Return whether a NiFi is named, or the local one's port takes connections."""
    return bool(settings.nifi_url) or answers(settings.nifi_port)


def run_nifi(settings: Settings, say: Say, ready: Callable[[], object]) -> None:
    """Run the local NiFi and the broker it needs until a signal asks to stop; raises as ``up``."""
    with Supervisor(settings, say) as supervisor:
        try:
            supervisor.start_nifi()
            ready()
            say("Ctrl-C stops NiFi")
            supervisor.run_forever()
        except KeyboardInterrupt:
            return


def up(
    settings: Settings,
    say: Say,
    before_services: Callable[[], None],
    ready: Callable[[], None] = lambda: None,
    nifi: bool = False,
) -> None:
    """Run servers and services until a signal asks to stop, then stop all.

    Args:
        settings: where everything is.
        say: takes progress, from several threads.
        before_services: called once all servers answer: migrations, topics.
        ready: called once all services are ready.
        nifi: whether a local NiFi is one of the servers.

    Raises:
        AlreadyRunningError: a supervisor runs in this folder.
        StreamlakeError: something did not start; what had started is stopped.
    """
    from streamlake_assets.commands.services import service_specs

    with Supervisor(settings, say) as supervisor:
        try:
            specs = service_specs(settings)
            for spec in specs:
                spec.require_port()  # told now, not after the servers' start
            supervisor.start_servers(nifi)
            before_services()
            supervisor.start_all(specs)
            ready()
            supervisor.run_forever()
        except KeyboardInterrupt:
            return


def down(settings: Settings, say: Say) -> dict[str, Any]:
    """Stop the supervisor of this folder and all that it started; return ``stopped`` (its pid or null) and ``ended``.

    SIGTERM first; one that does not end within 90 s is killed, and its children with it.
    """
    home = Home.of(settings)
    pid = supervisor_pid(home)
    if pid is not None:
        supervisor = identity(pid)
        say(f"stopping streamlake (pid {pid})")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not wait_until(lambda: supervisor_pid(home) != pid, DOWN_TIMEOUT_S) and supervisor is not None:
            say(f"it does not stop: killing pid {pid}")
            end_identities({supervisor}, signal.SIGKILL, KILL_WAIT_S)
    ended = end_orphans(home) if supervisor_pid(home) is None else []
    return {"stopped": pid, "ended": ended}


def status(settings: Settings) -> dict[str, Any]:
    """Return ``home``, ``supervisor`` (its pid or null) and ``services``.

    A service has ``name``, ``kind``, ``condition``, ``what``, ``version``, ``address``, ``pid``, ``restarts``,
    ``alive`` (its process exists) and ``answers`` (its port takes connections; null where it has none).
    """
    home = Home.of(settings)
    pid = supervisor_pid(home)
    services = []
    for service in read_state(home):
        if pid is None and service["condition"] != "configured":
            service["condition"] = "orphaned" if service["alive"] else "stopped"
        port = service["address"].rpartition(":")[2].partition("/")[0]
        local = service["condition"] != "configured" and port.isdigit()
        service["answers"] = answers(int(port)) if local else None
        del service["identity"]
        services.append(service)
    return {"home": str(home.root), "supervisor": pid, "services": services}


def urls(settings: Settings, show_secrets: bool = False) -> dict[str, str]:
    """Return name -> address of everything; passwords are masked unless ``show_secrets``."""
    found = {
        "dagster": f"http://{LOOPBACK}:{settings.dagster_port}",
        "panel": f"http://{LOOPBACK}:{settings.panel_port}/app",
        "consumer_metrics": f"http://{LOOPBACK}:{settings.consumer_port}/metrics",
        "consumer_health": f"http://{LOOPBACK}:{settings.consumer_port}/healthz",
        "scorer_metrics": f"http://{LOOPBACK}:{settings.scorer_port}/metrics",
        "alerts_metrics": f"http://{LOOPBACK}:{settings.alerts_port}/metrics",
        "nifi": f"{settings.nifi}/nifi",
        "kafka": settings.kafka,
        "documents": settings.mongo,
    }
    for role in DatabaseRole:
        try:
            found[f"mysql_{role}"] = settings.mysql(role)
        except SettingError:
            found[f"mysql_{role}"] = "(set up at the first `streamlake up`)"
    return found if show_secrets else {name: mask_password(url) for name, url in found.items()}


def mask_password(url: str) -> str:
    """Replace the password in a URL by ``***``."""
    scheme, separator, rest = url.partition("://")
    authority, at, tail = rest.rpartition("@")
    if not separator or not at or ":" not in authority:
        return url
    return f"{scheme}://{authority.partition(':')[0]}:***@{tail}"


def log_names(settings: Settings) -> list[str]:
    """Return the names that ``logs`` takes."""
    return sorted(path.stem for path in Home.of(settings).logs.glob("*.log"))


def logs(settings: Settings, name: str, lines: int = 50, follow: bool = False) -> Iterator[str]:
    """Yield the last lines of a log, and with ``follow`` what is added, until the caller stops.

    Raises:
        UsageError: there is no log of that name.
    """
    path = Home.of(settings).logs / f"{name}.log"
    if name not in log_names(settings):
        raise UsageError(f"there is no log {name}; there are: {', '.join(log_names(settings)) or 'none yet'}")
    file = path.open(errors="replace")
    try:
        yield from [line.rstrip("\n") for line in file.readlines()[-lines:]]
        begun = ""
        while follow:
            if part := file.readline():
                begun += part
                if begun.endswith("\n"):
                    yield begun.rstrip("\n")
                    begun = ""
                continue
            if path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()  # rotated at a restart
                file = path.open(errors="replace")
            time.sleep(POLL_S)
    finally:
        file.close()


def reset(settings: Settings) -> dict[str, Any]:
    """Delete the data folder; return ``home`` and ``deleted``; raises as ``servers.reset.reset_home``."""
    return {"home": str(settings.data_dir), "deleted": reset_home(settings)}
