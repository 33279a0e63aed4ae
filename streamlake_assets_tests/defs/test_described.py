"""Every asset says what it is, whose it is, of which code, and where somebody sees it; or why not."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from panel_app.selection import ViewName
from panel_app.serving import PATH
from streamlake_assets.definitions import defs
from streamlake_assets.defs.links import NO_PAGE
from streamlake_assets.market.alert_rules import HEARTBEATS, WATCHED_ELSEWHERE

NO_CODE_VERSION = {
    "raw": "the consumer writes it, at any time",
    "stream": "it runs outside",
    "services": "they run outside",
    "pages": "it runs outside",
}
"""By group: why its assets have no version of code that Dagster could know of."""


@pytest.fixture(scope="module")
def location() -> dg.Definitions:
    return defs()


@pytest.fixture(scope="module")
def specs(location: dg.Definitions) -> Mapping[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in location.resolve_all_asset_specs()}


def test_every_asset_is_described(location: dg.Definitions, specs: Mapping[str, dg.AssetSpec]) -> None:
    made = {key.to_user_string() for key in location.resolve_asset_graph().materializable_asset_keys}
    for name, spec in specs.items():
        assert spec.owners == ["team:streamlake"], name
        assert spec.description, name
        assert spec.kinds, name
        assert spec.group_name == spec.key.path[0], name
        assert (name in made) == bool(spec.code_version), f"{name}: what Dagster makes has a version of its code"
        assert (name in made) != (spec.group_name in NO_CODE_VERSION), name


def test_every_asset_leads_to_the_page_that_shows_it_or_there_is_none(specs: Mapping[str, dg.AssetSpec]) -> None:
    assert NO_PAGE.keys() < specs.keys()
    views = {view.value for view in ViewName}
    for name, spec in specs.items():
        page = spec.metadata.get("page")
        assert (page is None) == (name in NO_PAGE), name
        if page is None or name == "stream/nifi_flow":
            continue
        url = urlsplit(page.value)
        assert (url.hostname, url.path) == ("127.0.0.1", PATH), name
        assert set(parse_qs(url.query)["view"]) <= views, name


def test_the_page_is_at_the_port_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLAKE_PANEL_PORT", "15999")
    monkeypatch.setenv("STREAMLAKE_NIFI_URL", "https://flows.example:8443")
    specs = defs().resolve_all_asset_specs()
    found = {spec.key.to_user_string(): spec.metadata["page"] for spec in specs if "page" in spec.metadata}
    assert found["raw/bars"].value == "http://127.0.0.1:15999/app?view=live"
    assert found["forecasts/scores"].value.endswith(":15999/app?view=forecasts")
    assert found["stream/nifi_flow"].value == "https://flows.example:8443/nifi"


def test_processes_that_heartbeats_of_alerts_watch_have_a_check_that_the_example_leaves_out(
    location: dg.Definitions,
) -> None:
    """One fault is one message."""
    keys = location.resolve_asset_graph().asset_check_keys
    names = {f"{key.asset_key.to_user_string()}:{key.name}" for key in keys}
    watched = {f"{process}_is_alive" for process in HEARTBEATS if not process.startswith("dagster")}
    assert watched == {name.partition(":")[2] for name in WATCHED_ELSEWHERE}
    assert set(WATCHED_ELSEWHERE) <= names
