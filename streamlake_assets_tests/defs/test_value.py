"""The asset of the value statement: kept as a document, shown, and its check fails when what is kept is not honest."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import msgspec
import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from streamlake_assets.defs import value
from streamlake_assets.flows import forecasting
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.signals import DISCLAIMER
from streamlake_assets.market.targets import Target
from streamlake_assets.resources import StoreAccess
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.settings import DATABASE, Settings
from streamlake_assets.stores import model_register
from streamlake_assets_tests.series_data import planted_range
from streamlake_assets_tests.unit.test_risk_signals import WIDE

pytestmark = pytest.mark.servers


def by_year(series: SessionSeries) -> Iterator[tuple[int, SessionSeries]]:
    years = sorted({from_ordinal(day).year for day in series.sessions})
    for year in years:
        until = series.until(from_ordinal(series.sessions[-1]).replace(year=year, month=12, day=31))
        yield year, until.tail(sum(from_ordinal(day).year == year for day in until.sessions))


@pytest.fixture
def access(
    document_server: LocalDocumentStore, test_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StoreAccess]:
    champions = {Target.ADJUSTED_RETURN: "0-zero", Target.LOG_RANGE: WIDE.model_version}
    monkeypatch.setattr(model_register, "champions", lambda engine: champions)
    monkeypatch.setattr(
        forecasting, "newest_forecasts", lambda engine: [WIDE, msgspec.structs.replace(WIDE, has_skill=False)]
    )
    # an engine that nothing connects to: what is asked of the tables is answered above
    nowhere = SecretStr("mysql+pymysql://nobody:none@127.0.0.1:1/none")
    made = StoreAccess(test_settings.model_copy(update={"mysql_reader_url": nowhere}))
    for one in (planted_range(480, 1), planted_range(480, 2, "BBB")):
        made.documents.put_buckets(by_year(one))
    yield made
    client: MongoClient[dict[str, Any]] = MongoClient(test_settings.mongo)
    for name in ("feature_buckets", "reports"):
        client[DATABASE].drop_collection(name)
    client.close()
    made.close()


def judged(access: StoreAccess) -> dg.AssetCheckResult:
    result = value.value_is_honest(stores=access)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_the_statement_is_kept_shown_and_judged_by_what_is_stored(access: StoreAccess) -> None:
    assert judged(access).passed, "before the first statement there is nothing to find fault with"
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([value.value, value.value_is_honest], resources={"stores": access}, instance=instance)
    assert done.success
    (found,) = done.get_asset_check_evaluations()
    assert found.passed, found.description
    metadata = done.asset_materializations_for_node("reports__value")[0].metadata
    assert metadata["actionable"].value == [Target.LOG_RANGE.value]
    assert str(metadata["summary"].value).endswith(DISCLAIMER)
    assert "data:image/svg+xml" in str(metadata["statement"].value)
    kept = access.documents.report(value.REPORT)
    assert kept is not None
    assert [one["symbol"] for one in kept["risk_signals"]] == ["AAA"], "one forecast of two has skill"
    kept["sections"][Target.LOG_RANGE.value]["sample"][0]["price"] *= 1.01
    access.documents.put_report(value.REPORT, kept)
    bad = judged(access)
    assert not bad.passed
    assert "the next open is" in str(bad.description)
    assert bad.metadata["limit"].value == 0
