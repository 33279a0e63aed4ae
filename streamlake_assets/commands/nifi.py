"""The commands around NiFi, without their command line: start, deploy, status, stop, export.

Belongs here: their order of steps, as functions that return plain data. Stays out: requests (``servers.nifi_api``), the
files of flows (``servers.nifi_flow``), options and tables (``nifi_app``).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from streamlake_assets.broker.topics import REJECTS_KEPT, REJECTS_TOPIC, ensure_topics
from streamlake_assets.commands import nifi_parameters
from streamlake_assets.commands.data import require_servers
from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.servers.nifi_api import Group, NifiApi, changed
from streamlake_assets.servers.nifi_flow import (
    OFFICIAL,
    OURS,
    Flow,
    contains,
    fitted,
    flow_names,
    normalised,
    publisher,
    read_flow,
    write_flow,
)
from streamlake_assets.servers.waiting import Say, wait_until
from streamlake_assets.settings import Settings

TYPES_S = 60.0
"""NiFi finds its Python processors some seconds after it answers."""


def connect(settings: Settings) -> NifiApi:
    """Open a session with the NiFi in force; raises as ``NifiApi``."""
    return NifiApi(
        settings.nifi, settings.nifi_user, settings.nifi_password.get_secret_value(), settings.nifi_certificate
    )


def deploy(
    settings: Settings, names: list[str], given: Mapping[str, str], say: Say, start: bool = True
) -> list[dict[str, Any]]:
    """Import flows or bring them up to date, set their parameters, wait until all is valid, enable, start.

    Args:
        settings: where NiFi and Kafka are.
        names: of the flows; empty: all.
        given: parameters that win over the settings. What is neither given nor follows from a setting keeps the value
            that NiFi has.
        say: takes progress.
        start: whether the processors run afterwards.

    Returns:
        For each flow its name, group id, what was done with it (imported, replaced, unchanged), the parameters that
        changed, the publisher and the seconds it took.

    Raises:
        UsageError: a flow or parameter is not known, or a value cannot be.
        ServerError: NiFi refuses something; its reason is in the message.
        TryLaterError: NiFi or Kafka does not answer.
    """
    wanted = names or flow_names()
    is_local = not settings.nifi_url
    # before anything is changed
    parameters = nifi_parameters.of_flows(settings, wanted, given, is_local)
    lasting = nifi_parameters.lasting(given)
    require_servers(settings, "kafka")
    ensure_topics(settings.kafka, (BARS_TOPIC,))
    ensure_topics(settings.kafka, (REJECTS_TOPIC,), retention=REJECTS_KEPT)
    if is_local:
        for folder in (nifi_parameters.inbox, nifi_parameters.rejects, nifi_parameters.extra):
            folder(settings).mkdir(parents=True, exist_ok=True)
    with connect(settings) as api:
        _wait_publisher(api)
        types, services = api.processor_types(), api.service_types()
        publishes_with = publisher(types).rpartition(".")[2]
        done = []
        for place, name in enumerate(wanted):
            begun = time.monotonic()
            flow = fitted(read_flow(name), types, services)
            group, what = _place(api, name, flow, place)
            # in a flow that was there before, what NiFi has a value for and nobody asked to change stays
            sent = _set(api, group, parameters[name], (lambda _: False) if what == "imported" else lasting)
            api.enable_services(group)
            api.wait_valid(group)
            if start:
                api.start(group)
            else:
                api.stop(group)
            seconds = round(time.monotonic() - begun, 2)
            say(f"{name}: {what} in {seconds} s, publishes with {publishes_with}")
            done.append(
                {
                    "flow": name,
                    "group": group.id,
                    "done": what,
                    "parameters_changed": sorted(sent),
                    "publisher": publishes_with,
                    "running": start,
                    "seconds": seconds,
                }
            )
    return done


def set_parameters(settings: Settings, flow: str, given: Mapping[str, str]) -> list[str]:
    """Change parameters of a deployed flow and return the names of those that changed.

    Raises:
        UsageError: a parameter is not known, or its value cannot be.
        ServerError: the flow is not there, or NiFi refuses.
    """
    nifi_parameters.require_known([flow], given)
    with connect(settings) as api:
        return sorted(_set(api, _deployed(api, flow), given))


def status(settings: Settings) -> dict[str, Any]:
    """Return NiFi's address and version, and for each flow what runs, waits, and was complained about lately.

    Raises:
        TryLaterError: NiFi does not answer.
    """
    with connect(settings) as api:
        flows = []
        for name in flow_names():
            group = api.group(name)
            if group is None:
                flows.append({"flow": name, "deployed": False})
                continue
            values, hidden = api.parameters(group)
            flows.append(
                {
                    "flow": name,
                    "deployed": True,
                    **api.counts(group)._asdict(),
                    "parameters": {key: "***" if key in hidden else value for key, value in sorted(values.items())},
                    "bulletins": api.bulletins(group),
                }
            )
        return {"address": f"{api.url}/nifi", "version": api.version(), "flows": flows}


def run(settings: Settings, names: list[str]) -> list[str]:
    """Start the processors of deployed flows again; return their names.

    Raises:
        UsageError: no flow is deployed, or not that one.
    """
    with connect(settings) as api:
        found = _chosen(api, names)
        for group in found:
            api.enable_services(group)
            api.wait_valid(group)
            api.start(group)
        return [group.name for group in found]


def stop(settings: Settings, names: list[str]) -> list[str]:
    """Stop the processors of deployed flows; what is in their queues stays there. Return their names.

    Raises:
        UsageError: no flow is deployed, or not that one.
    """
    with connect(settings) as api:
        found = _chosen(api, names)
        for group in found:
            api.stop(group)
        return [group.name for group in found]


def export(settings: Settings, names: list[str]) -> list[dict[str, Any]]:
    """Write deployed flows back to their files, without values and without what differs from one NiFi to the next.

    Raises:
        UsageError: a flow is not deployed.
        ServerError: the NiFi publishes with PublishKafka: its flow is made of the file, never the other way.
    """
    with connect(settings) as api:
        if publisher(api.processor_types()) != OURS:
            raise ServerError(f"only a flow with {OURS} is exported: this NiFi's was made of it for PublishKafka")
        done = []
        for group in _chosen(api, names):
            flow = normalised(api.download(group))
            try:
                differs = read_flow(group.name) != flow
            except UsageError:
                differs = True  # a file that is broken is what an export mends
            done.append({"flow": group.name, "file": str(write_flow(flow)), "changed": differs})
        return done


def require_flows(names: list[str]) -> None:
    """Check that flows of these names exist.

    Raises:
        UsageError: one does not.
    """
    for name in names:
        read_flow(name)


def _publishes_officially(flow: Flow) -> bool:
    return any(one["type"] == OFFICIAL for one in flow["flowContents"]["processors"])


def _wait_publisher(api: NifiApi) -> None:
    def found() -> bool:
        try:
            publisher(api.processor_types())
        except ServerError:
            return False
        return True

    if not wait_until(found, TYPES_S):
        publisher(api.processor_types())


def _place(api: NifiApi, name: str, flow: Flow, place: int) -> tuple[Group, str]:
    group = api.group(name)
    if group is None:
        return api.upload(name, flow, 700.0 * place, 0.0), "imported"
    # of our own processor NiFi has what the file says; to PublishKafka and its services it adds their defaults
    there, wanted = normalised(api.download(group)), normalised(flow)
    if there == wanted or (_publishes_officially(flow) and contains(there, wanted)):
        return group, "unchanged"
    api.stop(group)
    api.replace(group, flow)
    # its parameter context may be another now
    found = api.group(name)
    if found is None:
        raise ServerError(f"{name} is gone after its replacement")
    return found, "replaced"


def _set(
    api: NifiApi, group: Group, wanted: Mapping[str, str], keeps: Callable[[str], bool] = lambda _: False
) -> dict[str, str]:
    stored, secret = api.parameters(group)
    # a secret value shows as a mask
    wanted = {name: value for name, value in wanted.items() if not keeps(name) or stored.get(name) is None}
    # NiFi refuses a whole request for one value that a running processor uses and that does not change; whether a
    # secret one changes only NiFi knows, so then nothing may run
    send = changed(wanted, stored, secret)
    if secret & send.keys():
        api.stop(group)
    if send:
        api.set_parameters(group, send)
    return send


def _deployed(api: NifiApi, name: str) -> Group:
    group = api.group(name)
    if group is None:
        raise UsageError(f"{name} is not deployed on {api.url}: run `streamlake nifi deploy {name}`")
    return group


def _chosen(api: NifiApi, names: list[str]) -> list[Group]:
    if names:
        return [_deployed(api, name) for name in names]
    found = [group for name in flow_names() if (group := api.group(name)) is not None]
    if not found:
        raise UsageError(f"no flow is deployed on {api.url}: run `streamlake nifi deploy`")
    return found
