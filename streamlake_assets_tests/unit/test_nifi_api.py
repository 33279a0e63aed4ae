"""NiFi's REST API as a client sees it: logins, what it refuses, what it does in the background, and the two publishers.

The answers of a local NiFi were recorded from one that ran; those of an https NiFi with a single-user login follow its
REST API's documentation: no such NiFi was run here.
"""

import csv
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streamlake_assets.commands.nifi_parameters import PARAMETERS, REPLAY, lasting, of_flows, records_per_message
from streamlake_assets.errors import ServerError, SettingError, TryLaterError, UsageError
from streamlake_assets.servers.nifi import NIFI_FOLDER
from streamlake_assets.servers.nifi_api import Group, NifiApi, changed
from streamlake_assets.servers.nifi_flow import (
    KAFKA_SERVICE,
    OFFICIAL,
    OURS,
    contains,
    fitted,
    flow_names,
    normalised,
    publisher,
    read_flow,
    write_flow,
)
from streamlake_assets.settings import Settings
from streamlake_assets.sources.bokeh_sample import LISTINGS
from streamlake_assets_tests.conftest import settings_in

GROUP = Group("g1", "market_replay", "c1")
BUNDLE = {"group": "org.apache.nifi", "artifact": "nifi-standard-nar", "version": "2.3.0"}


class FakeNifi:
    """Answers by (method, path), one after the other; the last one stays."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self._answers: dict[str, list[Any]] = {}
        for name, answer in answers.items():
            self._answers[name] = list(answer) if isinstance(answer, list) else [answer]

    def answer(self, method: str, path: str, *found: Any) -> None:
        self._answers[f"{method} {path}"] = list(found)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/nifi-api")
        self.asked.append((request.method, path, request.content))
        self.headers.append(request.headers)
        waiting = self._answers.get(f"{request.method} {path}")
        if not waiting:
            return httpx.Response(404, text=f"nobody answers {request.method} {path}")
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    def api(self, url: str = "http://127.0.0.1:18180", **more: str) -> NifiApi:
        return NifiApi(url, transport=httpx.MockTransport(self), **more)


@pytest.fixture
def nifi() -> FakeNifi:
    fake = FakeNifi()
    parameters = [
        {"parameter": {"name": "replay.rate", "value": "50", "sensitive": False}},
        {"parameter": {"name": "api.key", "sensitive": True}},
    ]
    fake.answer("GET", "/parameter-contexts/c1", {"revision": {"version": 3}, "component": {"parameters": parameters}})
    return fake


def update(complete: bool, failure: str | None = None) -> dict[str, Any]:
    return {"request": {"requestId": "r1", "complete": complete, "failureReason": failure, "state": "Stopping"}}


def test_a_login_takes_a_token_and_shows_it_from_then_on(nifi: FakeNifi) -> None:
    cookie = {"set-cookie": "__Secure-Authorization-Bearer=a.signed.token; Path=/; Secure"}
    nifi.answer("POST", "/access/token", httpx.Response(201, text="a.signed.token", headers=cookie))
    nifi.answer("GET", "/flow/about", {"about": {"version": "2.6.0"}})
    with nifi.api("https://nifi:8443", user="admin", password="geheim geheim") as api:
        assert api.version() == "2.6.0"
    assert nifi.asked[0][2] == b"username=admin&password=geheim+geheim"
    assert nifi.headers[1]["authorization"] == "Bearer a.signed.token"
    assert "cookie" not in nifi.headers[1], "with it NiFi would want a request token too"


def test_a_refused_login_names_its_settings_and_not_the_password(nifi: FakeNifi) -> None:
    nifi.answer("POST", "/access/token", httpx.Response(400, text="The supplied username and password are not valid."))
    with pytest.raises(SettingError, match="STREAMLAKE_NIFI_USER, STREAMLAKE_NIFI_PASSWORD") as failure:
        nifi.api("https://nifi:8443", user="admin", password="geheim")
    assert "geheim" not in str(failure.value)


def raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


def test_an_unknown_certificate_names_the_setting() -> None:
    problem = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    api = NifiApi("https://nifi:8443", transport=httpx.MockTransport(raising(problem)))
    with pytest.raises(SettingError, match="STREAMLAKE_NIFI_CERTIFICATE"):
        api.version()


def test_a_certificate_that_is_no_file_names_the_setting() -> None:
    with pytest.raises(SettingError, match="STREAMLAKE_NIFI_CERTIFICATE: /nowhere"):
        NifiApi("https://nifi:8443", certificate="/nowhere")


@pytest.mark.parametrize("problem", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_no_answer_is_an_outage(problem: Exception) -> None:
    with pytest.raises(TryLaterError, match=r"http://127\.0\.0\.1:18180"):
        NifiApi("http://127.0.0.1:18180", transport=httpx.MockTransport(raising(problem))).version()


def test_a_refusal_says_what_nifi_said(nifi: FakeNifi) -> None:
    nifi.answer("PUT", "/flow/process-groups/g1", httpx.Response(409, text="another request is in the way"))
    with pytest.raises(ServerError, match=r"PUT /flow/process-groups/g1 \(409\): another request is in the way"):
        nifi.api().start(GROUP)


def test_parameters_that_change_are_sent_with_the_revision_and_waited_for(nifi: FakeNifi) -> None:
    nifi.answer("POST", "/parameter-contexts/c1/update-requests", update(False))
    nifi.answer("GET", "/parameter-contexts/c1/update-requests/r1", update(False), update(True))
    nifi.answer("DELETE", "/parameter-contexts/c1/update-requests/r1", update(True))
    nifi.api().set_parameters(GROUP, {"replay.rate": "5", "api.key": "geheim"})
    body = json.loads(next(content for method, _, content in nifi.asked if method == "POST"))
    assert body["revision"] == {"version": 3}
    assert [one["parameter"]["sensitive"] for one in body["component"]["parameters"]] == [False, True]
    assert nifi.asked[-1][0] == "DELETE", "the request is cleared away"


def test_a_change_that_fails_says_why_without_values(nifi: FakeNifi) -> None:
    nifi.answer("POST", "/parameter-contexts/c1/update-requests", update(True, "it is referenced by Pace, which runs"))
    nifi.answer("DELETE", "/parameter-contexts/c1/update-requests/r1", update(True))
    with pytest.raises(ServerError, match=r"refused the parameters api\.key: it is referenced by Pace") as failure:
        nifi.api().set_parameters(GROUP, {"api.key": "geheim"})
    assert "geheim" not in str(failure.value)


def test_only_what_differs_is_sent_and_what_is_hidden_always() -> None:
    stored = {"rate": "50", "folder": "/in", "key": None}
    assert changed({"rate": "50", "folder": "/other", "key": "geheim"}, stored, {"key"}) == {
        "folder": "/other",
        "key": "geheim",
    }
    with pytest.raises(SettingError, match="no parameter of the flow: speed"):
        changed({"speed": "1"}, stored, set())


def test_what_is_not_valid_is_named_with_its_reason(nifi: FakeNifi) -> None:
    processor = {"name": "Pace", "validationStatus": "INVALID", "validationErrors": ["'Maximum Rate' is no number"]}
    service = {"name": "Kafka", "validationStatus": "VALIDATING"}
    good = {"name": "Stamp", "validationStatus": "VALID"}
    nifi.answer("GET", "/process-groups/g1/processors", {"processors": [{"component": processor}, {"component": good}]})
    path = "/flow/process-groups/g1/controller-services"
    nifi.answer("GET", path, {"controllerServices": [{"component": service}]})
    assert nifi.api().problems(GROUP) == ["Pace: 'Maximum Rate' is no number", "Kafka: not checked yet"]


def test_two_groups_of_one_name_are_refused(nifi: FakeNifi) -> None:
    groups = [{"id": str(n), "component": {"name": "market_replay"}} for n in range(2)]
    found = {"processGroupFlow": {"id": "root", "flow": {"processGroups": groups}}}
    nifi.answer("GET", "/flow/process-groups/root", found)
    with pytest.raises(ServerError, match="2 process groups named market_replay"):
        nifi.api().group("market_replay")


def every_type(*publishers: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the types of processors and services of a NiFi that has all that the flows need."""
    flows = [read_flow(name) for name in flow_names()]
    found = [
        {one["type"]: BUNDLE for flow in flows for one in flow["flowContents"][part]}
        for part in ("processors", "controllerServices")
    ]
    types, services = found
    del types[OURS]
    return types | dict.fromkeys(publishers, BUNDLE), services | {KAFKA_SERVICE: BUNDLE}


@pytest.mark.parametrize("name", flow_names())
def test_a_nifi_without_publish_kafka_takes_the_flow_as_it_is(name: str) -> None:
    flow = read_flow(name)
    types, services = every_type(OURS)
    assert publisher(types) == OURS
    found = fitted(flow, types, services)
    assert [one["type"] for one in found["flowContents"]["processors"]] == [
        one["type"] for one in flow["flowContents"]["processors"]
    ]
    assert all(one["bundle"] == BUNDLE for one in found["flowContents"]["processors"]), "its own bundles"


@pytest.mark.parametrize("name", flow_names())
def test_the_official_image_gets_publish_kafka_in_the_same_places(name: str) -> None:
    flow = read_flow(name)
    types, services = every_type(OURS, OFFICIAL)
    contents = fitted(flow, types, services)["flowContents"]
    ours = {one["identifier"]: one for one in flow["flowContents"]["processors"] if one["type"] == OURS}
    theirs = {one["identifier"]: one for one in contents["processors"] if one["type"] == OFFICIAL}
    assert ours.keys() == theirs.keys() and ours
    assert not [one for one in contents["processors"] if one["type"] == OURS]
    known = {one["identifier"] for one in contents["controllerServices"]}
    for identifier, one in theirs.items():
        properties = one["properties"]
        assert properties["Failure Strategy"] == "Rollback", "an outage rejects no good row"
        assert properties["Topic Name"] == ours[identifier]["properties"]["Topic Name"]
        assert properties.get("Message Key Field") == ours[identifier]["properties"].get("Message Key Field")
        assert {properties[key] for key in ("Kafka Connection Service", "Record Reader", "Record Writer")} <= known
        leaving = [one for one in contents["connections"] if one["source"]["id"] == identifier]
        handled = {relationship for one in leaving for relationship in one["selectedRelationships"]}
        assert handled | set(one["autoTerminatedRelationships"]) == {"success", "failure"}, "each goes somewhere"
        assert all(one["destination"]["id"] != identifier for one in leaving)
    assert sum(one["type"] == KAFKA_SERVICE for one in contents["controllerServices"]) == 1


def test_a_nifi_without_a_publisher_or_a_type_is_refused_by_name() -> None:
    types, services = every_type()
    with pytest.raises(ServerError, match="neither PublishKafka nor PublishBars"):
        fitted(read_flow(REPLAY), types, services)
    types, services = every_type(OURS)
    del types["org.apache.nifi.processors.standard.ControlRate"]
    with pytest.raises(ServerError, match=r"lacks what the flow needs: \S+\.ControlRate"):
        fitted(read_flow(REPLAY), types, services)


@pytest.mark.parametrize("name", flow_names())
def test_a_file_is_normalised_already_and_knows_its_parameters(name: str, tmp_path: Any) -> None:
    flow = read_flow(name)
    assert normalised(flow) == flow
    assert write_flow(flow, tmp_path).read_text() == (NIFI_FOLDER / f"{name}.json").read_text()
    said = {one["name"] for context in flow["parameterContexts"].values() for one in context["parameters"]}
    assert said == PARAMETERS[name].keys()
    used = json.dumps(flow["flowContents"])
    assert all(f"#{{{parameter}}}" in used for parameter in said), "none is there for nothing"


def test_an_export_with_values_ids_and_another_order_is_the_same_flow() -> None:
    flow = read_flow(REPLAY)
    other = json.loads(json.dumps(flow).replace(flow["flowContents"]["identifier"], "another-id"))
    other["flowContents"]["instanceIdentifier"] = "of a running one"
    other["flowContents"]["processors"].reverse()
    other["flowContents"]["controllerServices"][0]["scheduledState"] = "ENABLED"
    apis = [one["controllerServiceApis"] for one in other["flowContents"]["controllerServices"]]
    assert max(map(len, apis)) > 1
    for one in apis:
        one.reverse()
    other["parameterContexts"][REPLAY]["parameters"][0]["value"] = "/home/somebody"
    assert normalised(other) == flow


def test_a_file_that_is_no_flow_is_refused_by_name(tmp_path: Any) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    for name, problem in (("broken", "is no JSON"), ("other", "no flow definition"), ("absent", "there is no flow")):
        with pytest.raises(UsageError, match=problem):
            read_flow(name, tmp_path)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"replay.rate": "0"}, "replay.rate='0'"),
        ({"replay.rate": "1e3"}, "replay.rate='1e3'"),
        ({"input.folder": "here"}, "input.folder='here': must be an absolute path"),
        ({"input.filter": "*.csv"}, "input.filter="),
        ({"topic.bars": "no topic"}, "topic.bars='no topic'"),
        ({"kafka.bootstrap": "host"}, "kafka.bootstrap='host'"),
        ({"replay.speed": "1"}, "no parameter replay.speed"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict[str, str], problem: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError) as failure:
        of_flows(settings_in(tmp_path), [REPLAY], given, is_local=True)
    assert problem in str(failure.value)


def test_a_nifi_elsewhere_needs_its_own_folders(tmp_path: Any) -> None:
    settings: Settings = settings_in(tmp_path, nifi_url="https://nifi:8443")
    with pytest.raises(UsageError) as failure:
        of_flows(settings, [REPLAY], {}, is_local=False)
    for name in ("kafka.bootstrap", "input.folder", "rejects.folder", "reference.file"):
        assert f"--set {name}=…" in str(failure.value)
    folders = {"input.folder": "/in", "rejects.folder": "/bad", "reference.file": "/reference.csv"}
    folders["kafka.bootstrap"] = "broker:9092"
    assert of_flows(settings, [REPLAY], folders, is_local=False)[REPLAY]["input.folder"] == "/in"


@pytest.mark.parametrize("url", ["nifi:8443", "localhost", "https://host:abc", "https://host/nifi"])
def test_an_address_that_is_none_names_the_setting(url: str) -> None:
    with pytest.raises(SettingError, match=f"STREAMLAKE_NIFI_URL={url}"):
        NifiApi(url)


def test_a_starting_nifi_is_an_outage_and_a_missing_login_a_setting(nifi: FakeNifi) -> None:
    nifi.answer("GET", "/flow/about", httpx.Response(503, text="NiFi Web Server is still starting"))
    with pytest.raises(TryLaterError, match="503"):
        nifi.api().version()
    nifi.answer("GET", "/flow/about", httpx.Response(401, text="Unauthorized"))
    with pytest.raises(SettingError, match="STREAMLAKE_NIFI_USER"):
        nifi.api().version()


def test_a_deployment_leaves_alone_what_neither_a_setting_nor_the_user_says() -> None:
    keeps = lasting({"poll.period": "1 min"})
    assert keeps("massive.symbols") and keeps("alpha_vantage.key") and keeps("replay.rate")
    assert not keeps("poll.period") and not keeps("kafka.bootstrap") and not keeps("input.folder")
    assert not lasting({"replay.rate": "5"})("records.per.message"), "it follows from the rate"


def test_a_flow_that_has_more_contains_the_one_that_says_less() -> None:
    said = {"processors": [{"name": "a", "properties": {"x": "1"}}]}
    assert contains({"processors": [{"name": "a", "properties": {"x": "1", "y": "default"}}], "more": 1}, said)
    assert not contains({"processors": [{"name": "a", "properties": {"x": "2"}}]}, said)
    assert not contains({"processors": []}, said)


def test_many_bars_a_second_travel_together() -> None:
    assert [records_per_message(rate) for rate in (1, 200, 201, 5_000)] == [1, 1, 20, 500]


def test_the_reference_file_says_what_the_sample_data_are() -> None:
    with (NIFI_FOLDER / "reference" / "instruments.csv").open(newline="") as file:
        rows = {row["symbol"]: row for row in csv.DictReader(file)}
    for one in LISTINGS:
        row = rows[one.symbol]
        assert (row["exchange"], row["name"], row["sector"]) == (one.exchange, one.name, one.sector)
        assert (row["asset_class"], row["currency"]) == ("stock", "USD")
