"""The local NiFi, the real one: it answers on loopback only and has what the flow needs."""

from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from streamlake_assets.errors import MissingToolError, PortInUseError
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.servers.tools import find_nifi_java, require_nifi_java
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import print_line

NEEDED = {
    "org.apache.nifi.processors.standard.ListFile",
    "org.apache.nifi.processors.standard.FetchFile",
    "org.apache.nifi.processors.standard.ValidateRecord",
    "org.apache.nifi.processors.standard.SplitRecord",
    "org.apache.nifi.processors.standard.ControlRate",
    "org.apache.nifi.processors.standard.UpdateRecord",
    "org.apache.nifi.processors.standard.LookupRecord",
    "org.apache.nifi.processors.standard.InvokeHTTP",
    "org.apache.nifi.processors.attributes.UpdateAttribute",
    "PublishBars",
}


def get(nifi: LocalNifi, path: str) -> Any:
    return httpx.get(f"{nifi.url}/nifi-api{path}", timeout=30).raise_for_status().json()


def types(nifi: LocalNifi) -> set[str]:
    return {one["type"] for one in get(nifi, "/flow/processor-types")["processorTypes"]}


@pytest.mark.servers
def test_it_is_the_real_one_and_has_what_the_flow_needs(nifi: LocalNifi) -> None:
    assert get(nifi, "/flow/about")["about"]["version"] == nifi.info().version == "2.3.0"
    # Python processors are found after the start
    assert wait_until(lambda: types(nifi) >= NEEDED, 60), NEEDED - types(nifi)
    assert "org.apache.nifi.kafka.processors.PublishKafka" not in types(nifi)


@pytest.mark.servers
def test_it_listens_on_loopback_only(nifi: LocalNifi) -> None:
    assert nifi.child is not None and nifi.child.pid is not None
    family = [*psutil.Process(nifi.child.pid).children(recursive=True), psutil.Process(nifi.child.pid)]
    listening = {one.laddr.ip for process in family for one in process.net_connections("tcp") if one.status == "LISTEN"}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"} and listening


@pytest.mark.servers
def test_a_second_one_on_its_port_is_refused_by_name(nifi: LocalNifi, test_settings: Settings) -> None:
    second = LocalNifi(test_settings, ChildRegistry(Home.of(test_settings)))
    second.prepare(print_line)
    with pytest.raises(PortInUseError, match="STREAMLAKE_NIFI_PORT"):
        second.start()


def test_a_folder_that_is_no_jdk_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="STREAMLAKE_JDK21_HOME"):
        find_nifi_java(str(tmp_path))


def test_without_a_jdk_the_message_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("streamlake_assets.servers.tools._JDK_FOLDERS", ())
    assert find_nifi_java() is None
    with pytest.raises(MissingToolError, match="openjdk-21"):
        require_nifi_java()
