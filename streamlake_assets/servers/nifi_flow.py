"""Flow definitions as files: what NiFi exports, made comparable, and fitted to the NiFi that takes them.

Belongs here: reading and writing the files in ``nifi/``, taking out what differs from one NiFi to the next, the choice
of the publisher. Stays out: talking to NiFi (``nifi_api``), values of parameters (``commands.nifi_parameters``).

A file holds a flow with our processor ``PublishBars``. A NiFi that has ``PublishKafka``, such as the official image,
gets that one instead, so that there is one flow and not two that drift apart.
"""

import copy
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.servers.nifi import NIFI_FOLDER

Flow = dict[str, Any]
OURS: Final = "PublishBars"
OFFICIAL: Final = "org.apache.nifi.kafka.processors.PublishKafka"
KAFKA_SERVICE: Final = "org.apache.nifi.kafka.service.Kafka3ConnectionService"
_READER: Final = "org.apache.nifi.json.JsonTreeReader"
_WRITER: Final = "org.apache.nifi.json.JsonRecordSetWriter"
_NAMESPACE: Final = uuid.UUID("6f0a3c1e-6f3c-5d43-9d0e-5b8f5f0f6a11")
# they say where an export came from, or repeat what stands elsewhere
_DROPPED: Final = ("instanceIdentifier", "latest", "parameterProviders", "externalControllerServices", "style")
_SORTED: Final = ("processors", "controllerServices", "processGroups", "inputPorts", "outputPorts", "parameters")


def flow_names() -> list[str]:
    """Return the names of the flows in ``nifi/``."""
    return sorted(path.stem for path in NIFI_FOLDER.glob("*.json"))


def read_flow(name: str, folder: Path = NIFI_FOLDER) -> Flow:
    """Read one flow.

    Raises:
        UsageError: there is none of that name, or the file is no flow definition.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise UsageError(f"there is no flow {name}; there are {', '.join(flow_names())}")
    try:
        flow: Flow = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}; export the flow again") from error
    if not isinstance(flow.get("flowContents"), dict):
        raise UsageError(f"{path} is no flow definition as NiFi exports it: it has no flowContents")
    return flow


def write_flow(flow: Mapping[str, Any], folder: Path = NIFI_FOLDER) -> Path:
    """Write a flow under its own name and return the file."""
    path = folder / f"{flow['flowContents']['name']}.json"
    path.write_text(json.dumps(flow, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return path


def normalised(flow: Mapping[str, Any]) -> Flow:
    """Return an export without what differs between two NiFis that have the same flow.

    That is ids of the running components, values of parameters, and what runs. Lists stand in the order of names, so
    that a change is a small difference of the text.
    """
    contents = flow["flowContents"]
    # NiFi gives the outermost group another id at every import; those below keep theirs
    own, lasting = contents["identifier"], str(uuid.uuid5(_NAMESPACE, contents["name"]))
    found: Flow = _cleaned(json.loads(json.dumps(flow).replace(own, lasting)))
    # where it lies on the canvas among others
    found["flowContents"]["position"] = {"x": 0.0, "y": 0.0}
    for context in found.get("parameterContexts", {}).values():
        for parameter in context["parameters"]:
            parameter.pop("value", None)
    for contents in _groups(found["flowContents"]):
        for service in contents["controllerServices"]:
            service["scheduledState"] = "DISABLED"
        for connection in contents["connections"]:
            for end in ("source", "destination"):
                connection[end].pop("comments", None)
        contents["connections"].sort(key=_connection_order)
    return found


def contains(found: Any, wanted: Any) -> bool:
    """Return whether a normalised flow has all that another one says; it may say more, such as defaults."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and contains(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        same_length = isinstance(found, list) and len(found) == len(wanted)
        return same_length and all(map(contains, found, wanted))
    return bool(found == wanted)


def publisher(types: Mapping[str, Any]) -> str:
    """Return which processor of a NiFi publishes.

    Args:
        types: its processor types.

    Raises:
        ServerError: it has neither.
    """
    for name in (OFFICIAL, OURS):
        if name in types:
            return name
    raise ServerError(
        f"this NiFi has neither PublishKafka nor {OURS}: put nifi/python_extensions/{OURS}.py into its "
        "python_extensions folder, or install the NAR nifi-kafka-3-service"
    )


def fitted(flow: Mapping[str, Any], types: Mapping[str, Any], services: Mapping[str, Any]) -> Flow:
    """Return a flow as this NiFi can take it.

    Args:
        flow: with ``PublishBars``.
        types: the NiFi's processor types and their bundles.
        services: its types of controller services and their bundles.

    Raises:
        ServerError: it has neither publisher, or a type that the flow needs is missing; all such are named.
    """
    chosen = publisher(types)
    found = copy.deepcopy(dict(flow))
    for contents in _groups(found["flowContents"]):
        if chosen == OFFICIAL and any(one["type"] == OURS for one in contents["processors"]):
            _use_publish_kafka(contents)
        # a flow of another patch release takes this one's bundles
        for one, known in (
            *((one, types) for one in contents["processors"]),
            *((one, services) for one in contents["controllerServices"]),
        ):
            one["bundle"] = known.get(one["type"])
        missing = {one["type"] for part in ("processors", "controllerServices") for one in contents[part]} - {
            *types,
            *services,
        }
        if missing:
            raise ServerError(f"this NiFi lacks what the flow needs: {', '.join(sorted(missing))}")
    return found


def _use_publish_kafka(contents: Flow) -> None:
    """Put PublishKafka in the place of each PublishBars.

    Whatever it cannot send rolls back, so FlowFiles wait in the queue before it and no good row is rejected in an
    outage; its own retry loop goes. The price: a record above the broker's limit of a message holds that queue, which
    its bulletins say. ``failure`` leads where PublishBars's ``invalid`` leads, since NiFi wants it to lead somewhere.
    """
    kafka = _service(contents, "Kafka", KAFKA_SERVICE, {"bootstrap.servers": "#{kafka.bootstrap}"})
    reader = _service(contents, "Records to publish", _READER, {"schema-access-strategy": "infer-schema"})
    # as they come: the reader infers what the writer before it stated
    writer = _service(contents, "Messages", _WRITER, {"suppress-nulls": "always-suppress"})
    ours = {}
    for one in contents["processors"]:
        if one["type"] != OURS:
            continue
        ours[one["identifier"]] = one
        given = one["properties"]
        properties = {
            "Kafka Connection Service": kafka,
            "Topic Name": given["Topic Name"],
            "Failure Strategy": "Rollback",
            "Transactions Enabled": "false",
            "acks": "all",
            "compression.type": "lz4",
            "partitioner.class": "org.apache.kafka.clients.producer.internals.DefaultPartitioner",
            "Record Reader": reader,
            "Record Writer": writer,
        }
        if key := given.get("Message Key Field"):
            properties["Message Key Field"] = key
        one.update(
            type=OFFICIAL,
            properties=properties,
            propertyDescriptors={
                name: _descriptor(name) for name in ("Kafka Connection Service", "Record Reader", "Record Writer")
            },
            autoTerminatedRelationships=["success"],
            retriedRelationships=[],
        )
    kept = []
    for connection in contents["connections"]:
        if connection["source"]["id"] in ours:
            if connection["destination"]["id"] == connection["source"]["id"]:
                continue
            if "invalid" in connection["selectedRelationships"]:
                connection["selectedRelationships"] = ["failure"]
        kept.append(connection)
    contents["connections"] = kept


def _service(contents: Flow, name: str, kind: str, properties: Mapping[str, str]) -> str:
    identifier = str(uuid.uuid5(_NAMESPACE, f"{contents['identifier']} {name}"))
    contents["controllerServices"].append(
        {
            "identifier": identifier,
            "groupIdentifier": contents["identifier"],
            "componentType": "CONTROLLER_SERVICE",
            "name": name,
            "type": kind,
            "properties": dict(properties),
            "propertyDescriptors": {},
            "scheduledState": "DISABLED",
            "bulletinLevel": "WARN",
            "comments": "",
        }
    )
    return identifier


def _descriptor(name: str) -> Flow:
    return {
        "name": name,
        "displayName": name,
        "identifiesControllerService": True,
        "sensitive": False,
        "dynamic": False,
    }


def _groups(contents: Flow) -> list[Flow]:
    return [contents, *(deeper for one in contents["processGroups"] for deeper in _groups(one))]


def _connection_order(connection: Flow) -> tuple[str, str, list[str]]:
    return connection["source"]["name"], connection["destination"]["name"], connection["selectedRelationships"]


def _cleaned(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        found = [_cleaned(one) for one in value]
        if name in _SORTED:
            found.sort(key=lambda one: one["name"])
        elif name == "controllerServiceApis":
            # a set: each start of a NiFi may give another order
            found.sort(key=lambda one: one["type"])
        elif all(isinstance(one, str) for one in found) and name != "prioritizers":
            found.sort()
        return found
    if not isinstance(value, dict):
        return value
    kept = {key: one for key, one in value.items() if key not in _DROPPED}
    if name == "properties":
        return {key: one for key, one in kept.items() if one is not None}
    if name == "propertyDescriptors":
        # what NiFi must know at the import: which properties name services, are secret, or were added by hand
        flags = ("identifiesControllerService", "sensitive", "dynamic")
        return {key: one for key, one in kept.items() if any(one.get(flag) for flag in flags)}
    return {key: _cleaned(one, key) for key, one in kept.items()}
