"""NiFi over its REST API: process groups, parameter contexts, controller services, what runs.

Belongs here: requests, their answers as plain data, waiting for what NiFi does in the background, errors with names.
Stays out: starting a NiFi (``nifi``), what a flow definition looks like (``nifi_flow``), the order of a deployment
(``commands.nifi``).

Two kinds of NiFi are spoken to: one on loopback over http without a login (the local one), and one over https whose
single user logs in for a token (the official image). This client was run against the first; against answers recorded
from the second's documentation otherwise, which the tests hold.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, NamedTuple, Self

import httpx

from streamlake_assets.errors import ServerError, SettingError, TryLaterError
from streamlake_assets.servers.waiting import wait_until

Answer = dict[str, Any]
TIMEOUT_S: Final = 30.0
BACKGROUND_S: Final = 60.0
"""Longest wait for what NiFi does in the background: a change of parameters, a flow replaced, all valid."""
STOP_S: Final = 30.0


class Group(NamedTuple):
    """A process group: ``context`` is the id of its parameter context, or empty."""

    id: str
    name: str
    context: str


class Parameters(NamedTuple):
    """Of a group: values by name, None where there is none, a mask where it is secret; names of the secret ones."""

    values: dict[str, str | None]
    sensitive: set[str]


class Counts(NamedTuple):
    """Components of a process group and all in it, by state."""

    running: int
    stopped: int
    invalid: int
    disabled: int
    queued: int
    """FlowFiles in its queues."""


class NifiApi:
    """A session with one NiFi; use it in a ``with`` statement.

    Args:
        url: address without a path, such as ``http://127.0.0.1:18180``.
        user: of a single-user login; empty: no login.
        password: of that user.
        certificate: file of the certificate to trust for https; empty: what the system trusts.
        transport: for tests.

    Raises:
        SettingError: the login is refused, or the certificate is not trusted.
        TryLaterError: it does not answer.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password: str = "",
        certificate: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        if not re.fullmatch(r"https?://[^\s/:@]+(:\d{1,5})?", self.url):
            raise SettingError(f"STREAMLAKE_NIFI_URL={url}: write it as http(s)://host:port, without a path")
        # no cookies: with the one that a login sets NiFi asks for a second token at every change
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        try:
            verify = _trusting(certificate) if certificate else True
            self._client = httpx.Client(
                base_url=f"{self.url}/nifi-api", timeout=TIMEOUT_S, verify=verify, transport=transport, cookies=nothing
            )
        except (OSError, ValueError) as error:
            raise SettingError(f"STREAMLAKE_NIFI_CERTIFICATE: {certificate}: {error}") from error
        if user:
            self._log_in(user, password)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def version(self) -> str:
        """Return NiFi's version."""
        return str(self.get("/flow/about")["about"]["version"])

    def processor_types(self) -> dict[str, Answer]:
        """Return the bundle of every processor type by the type's name."""
        return _bundles(self.get("/flow/processor-types")["processorTypes"])

    def service_types(self) -> dict[str, Answer]:
        """Return the bundle of every type of controller service by its name."""
        return _bundles(self.get("/flow/controller-service-types")["controllerServiceTypes"])

    def groups(self) -> list[Group]:
        """Return the process groups of the canvas."""
        found = self.get("/flow/process-groups/root")["processGroupFlow"]["flow"]["processGroups"]
        return [
            Group(one["id"], one["component"]["name"], (one.get("parameterContext") or {}).get("id", ""))
            for one in found
        ]

    def group(self, name: str) -> Group | None:
        """Return the group of that name on the canvas.

        Raises:
            ServerError: there are several.
        """
        found = [one for one in self.groups() if one.name == name]
        if len(found) > 1:
            raise ServerError(f"{self.url} has {len(found)} process groups named {name}: remove or rename all but one")
        return found[0] if found else None

    def upload(self, name: str, flow: Mapping[str, Any], x: float, y: float) -> Group:
        """Import a flow definition as a new group of the canvas."""
        root = self.get("/flow/process-groups/root")["processGroupFlow"]["id"]
        self._send(
            "POST",
            f"/process-groups/{root}/process-groups/upload",
            files={"file": (f"{name}.json", json.dumps(flow).encode(), "application/json")},
            data={"groupName": name, "positionX": str(x), "positionY": str(y), "clientId": "streamlake"},
        )
        found = self.group(name)
        if found is None:
            raise ServerError(f"{self.url} took the flow {name} but does not show it")
        return found

    def replace(self, group: Group, flow: Mapping[str, Any]) -> None:
        """Replace what is in a group by another flow definition; queues that exist in both keep what they hold."""
        body = {"processGroupRevision": self._revision(group), "versionedFlowSnapshot": flow}
        self._in_background(
            f"/process-groups/{group.id}/replace-requests", "/process-groups/replace-requests", body, "the new flow"
        )

    def download(self, group: Group) -> Answer:
        """Return the definition of a group as NiFi exports it."""
        return self.get(f"/process-groups/{group.id}/download?includeReferencedServices=false")

    def parameters(self, group: Group) -> Parameters:
        """Return a group's parameters."""
        return _parameters(self.get(f"/parameter-contexts/{group.context}"))

    def set_parameters(self, group: Group, values: Mapping[str, str]) -> None:
        """Change parameters of a group; NiFi stops and starts what uses them.

        Raises:
            ServerError: NiFi refuses; the reason is in the message.
        """
        context = self.get(f"/parameter-contexts/{group.context}")
        sensitive = _parameters(context).sensitive
        changes = [
            {"parameter": {"name": name, "value": value, "sensitive": name in sensitive}}
            for name, value in values.items()
        ]
        body = {
            "id": group.context,
            "revision": context["revision"],
            "component": {"id": group.context, "parameters": changes},
        }
        path = f"/parameter-contexts/{group.context}/update-requests"
        self._in_background(path, path, body, f"the parameters {', '.join(values)}")

    def enable_services(self, group: Group) -> None:
        """Enable every controller service of a group and wait until all are.

        Raises:
            ServerError: one is invalid or cannot be enabled; all such are named.
        """
        path = f"/flow/process-groups/{group.id}/controller-services"

        def others() -> list[Answer]:
            return [one["component"] for one in self._services(group) if one["component"]["state"] != "ENABLED"]

        def reached() -> bool:
            waiting = others()
            # one that was still being checked was passed over
            if any(one["state"] == "DISABLED" for one in waiting):
                self._send("PUT", path, json={"id": group.id, "state": "ENABLED"})
            return not waiting

        if not wait_until(reached, BACKGROUND_S / 2):
            reasons = [
                f"{one['name']} is {one['state'].lower()}: {'; '.join(one.get('validationErrors') or ['no reason'])}"
                for one in others()
            ]
            raise ServerError(f"{group.name}: controller services are not enabled: {' | '.join(reasons)}")

    def problems(self, group: Group) -> list[str]:
        """Return every processor and service of a group that is not valid, with NiFi's reasons."""
        found = [
            *self.get(f"/process-groups/{group.id}/processors?includeDescendantGroups=true")["processors"],
            *self._services(group),
        ]
        return [
            f"{one['component']['name']}: {'; '.join(one['component'].get('validationErrors') or ['not checked yet'])}"
            for one in found
            if one["component"].get("validationStatus") != "VALID"
        ]

    def wait_valid(self, group: Group) -> None:
        """Wait until every component of a group is valid.

        Raises:
            ServerError: one still is not after a while; all such are named.
        """
        if not wait_until(lambda: not self.problems(group), BACKGROUND_S / 2):
            raise ServerError(f"{group.name} is not valid: {' | '.join(self.problems(group))}")

    def start(self, group: Group) -> None:
        """Start every processor of a group."""
        self._send("PUT", f"/flow/process-groups/{group.id}", json={"id": group.id, "state": "RUNNING"})

    def stop(self, group: Group) -> None:
        """Stop every processor of a group and wait until none runs.

        Raises:
            ServerError: one does not stop.
        """
        self._send("PUT", f"/flow/process-groups/{group.id}", json={"id": group.id, "state": "STOPPED"})
        if not wait_until(lambda: not self._active(group), STOP_S):
            raise ServerError(f"{group.name}: processors do not stop: {', '.join(self._active(group))}")

    def counts(self, group: Group) -> Counts:
        """Return how many components run, and how much waits in the queues."""
        found = self.get(f"/process-groups/{group.id}")
        snapshot = found["status"]["aggregateSnapshot"]
        return Counts(
            running=int(found["runningCount"]),
            stopped=int(found["stoppedCount"]),
            invalid=int(found["invalidCount"]),
            disabled=int(found["disabledCount"]),
            queued=int(snapshot["flowFilesQueued"]),
        )

    def bulletins(self, group: Group) -> list[str]:
        """Return the messages that components of a group have shown lately, the oldest first."""
        found = self.get(f"/flow/bulletin-board?groupId={group.id}&limit=20")["bulletinBoard"]["bulletins"]
        shown = [one["bulletin"] for one in found if one.get("bulletin")]
        return [f"{one['timestamp']} {one['sourceName']}: {one['message']}" for one in shown]

    def get(self, path: str) -> Answer:
        """Return the answer to a GET below ``/nifi-api``."""
        found = self._send("GET", path).json()
        if not isinstance(found, dict):
            raise ServerError(f"{self.url}{path} answered with a {type(found).__name__}, not an object")
        return found

    def _log_in(self, user: str, password: str) -> None:
        try:
            token = self._send("POST", "/access/token", data={"username": user, "password": password}).text
        except ServerError as error:
            raise SettingError(f"STREAMLAKE_NIFI_USER, STREAMLAKE_NIFI_PASSWORD: {error}") from None
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **more)
        except httpx.ConnectError as error:
            if "CERTIFICATE" in str(error):
                raise SettingError(
                    f"{self.url} shows a certificate that is not trusted: name its file in STREAMLAKE_NIFI_CERTIFICATE"
                ) from error
            raise TryLaterError(f"no NiFi answers at {self.url}: {error}") from error
        except httpx.HTTPError as error:
            raise TryLaterError(f"{self.url}{path}: {type(error).__name__}: {error}") from error
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise SettingError(f"{self.url} wants a login: STREAMLAKE_NIFI_USER and STREAMLAKE_NIFI_PASSWORD")
        if answer.is_server_error:
            # as while it starts
            raise TryLaterError(f"NiFi cannot answer {method} {path.partition('?')[0]} now ({answer.status_code})")
        if answer.is_error or answer.is_redirect:
            raise ServerError(
                f"NiFi refused {method} {path.partition('?')[0]} ({answer.status_code}): {answer.text[:600].strip()}"
            )
        return answer

    def _revision(self, group: Group) -> Answer:
        found = self.get(f"/process-groups/{group.id}")["revision"]
        return dict(found)

    def _in_background(self, path: str, requests: str, body: Answer, what: str) -> None:
        """Ask for something NiFi does in the background and wait for its end."""
        request = self._send("POST", path, json=body).json()["request"]
        own = f"{requests}/{request['requestId']}"
        last: Answer = dict(request)

        def complete() -> bool:
            last.update(self.get(own)["request"])
            return bool(last["complete"])

        try:
            done = last["complete"] or wait_until(complete, BACKGROUND_S)
        finally:
            # NiFi forgets it by itself in a while
            with suppress(ServerError, TryLaterError):
                self._send("DELETE", own)
        if not done:
            raise TryLaterError(f"NiFi has not taken {what} within {BACKGROUND_S:.0f} s: {last.get('state')}")
        if last.get("failureReason"):
            raise ServerError(f"NiFi refused {what}: {last['failureReason']}")

    def _services(self, group: Group) -> list[Answer]:
        path = f"/flow/process-groups/{group.id}/controller-services"
        found = self.get(f"{path}?includeAncestorGroups=false&includeDescendantGroups=true")["controllerServices"]
        return list(found)

    def _active(self, group: Group) -> list[str]:
        found = self.get(f"/process-groups/{group.id}/processors?includeDescendantGroups=true")["processors"]
        return [
            one["component"]["name"]
            for one in found
            if one["component"]["state"] == "RUNNING" or one["status"]["aggregateSnapshot"]["activeThreadCount"]
        ]


def _bundles(types: Iterable[Answer]) -> dict[str, Answer]:
    return {one["type"]: one["bundle"] for one in types}


def _parameters(context: Answer) -> Parameters:
    found = [one["parameter"] for one in context["component"]["parameters"]]
    return Parameters(
        {one["name"]: one.get("value") for one in found}, {one["name"] for one in found if one.get("sensitive")}
    )


def _trusting(certificate: str) -> Any:
    import ssl

    return ssl.create_default_context(cafile=certificate)


def changed(wanted: Mapping[str, str], stored: Mapping[str, str | None], sensitive: set[str]) -> dict[str, str]:
    """Return the parameters to send: those that differ, and those that cannot be compared because NiFi hides them.

    Raises:
        SettingError: the flow has no parameter of a name.
    """
    unknown = sorted(wanted.keys() - stored.keys())
    if unknown:
        raise SettingError(f"no parameter of the flow: {', '.join(unknown)}; there are {', '.join(sorted(stored))}")
    return {name: value for name, value in wanted.items() if name in sensitive or value != stored[name]}
