"""Columns and their lineage: what is shown is what is stored, and every origin is an asset above with that column."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from streamlake_assets.definitions import defs
from streamlake_assets.defs import columns, document_columns
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.market.features import REGISTRY, feature_matrix
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.measures import PeriodKind, equal_weight_index, key_indicators, period_of
from streamlake_assets.market.period_lines import Grouping, IndicatorLine
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.session_documents import SessionBar, session_document
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets.market.wire import WireAction, WireBar
from streamlake_assets.stores.documents import _bucket_record, _session_record
from streamlake_assets.stores.period_documents import period_records
from streamlake_assets_tests.series_data import random_walk, random_walks

NO_LINEAGE = {
    "stream/finance_data": "messages come from outside",
    "stream/corporate_actions": "messages come from outside",
    "raw/dead_letters": "what could not be read has no fields",
    "models/champion": "champions are chosen among model folders, which are no tables",
}
TABLE_KINDS = {"mysql", "parquet", "kafka", "powerbi"}
OFFERED = {
    "documents/session_bars": document_columns.session_documents(),
    "documents/feature_buckets": document_columns.feature_buckets(),
    "documents/periods": document_columns.periods(),
}
ARRAYS = ("open", "high", "low", "close", "volume", "factor")


@pytest.fixture(scope="module")
def specs() -> Mapping[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs().resolve_all_asset_specs()}


def shown(specs: Mapping[str, dg.AssetSpec], name: str) -> dict[str, Any]:
    return {**OFFERED.get(name, {}), **specs[name].metadata}


def schema_of(specs: Mapping[str, dg.AssetSpec], name: str) -> list[str]:
    found = shown(specs, name).get("dagster/column_schema")
    assert isinstance(found, dg.TableSchema), f"{name} shows no columns"
    return [column.name for column in found.columns]


def lineages(specs: Mapping[str, dg.AssetSpec]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in specs:
        found = shown(specs, name).get("dagster/column_lineage")
        if found is not None:
            assert isinstance(found, dg.TableColumnLineage)
            yield name, found.deps_by_column


def above(specs: Mapping[str, dg.AssetSpec], name: str) -> set[str]:
    parents = {dep.asset_key.to_user_string() for dep in specs[name].deps}
    return parents.union(*(above(specs, parent) for parent in parents))


def test_what_is_a_table_or_a_collection_shows_columns_and_lineage(specs: Mapping[str, dg.AssetSpec]) -> None:
    tables = {name for name, spec in specs.items() if spec.kinds & TABLE_KINDS} | OFFERED.keys()
    assert len(tables) > 12
    for name in tables:
        assert len(schema_of(specs, name)) > 1, name
    assert {name for name, _ in lineages(specs)} == tables - NO_LINEAGE.keys()


def test_every_origin_is_a_column_of_an_asset_above(specs: Mapping[str, dg.AssetSpec]) -> None:
    for name, deps in lineages(specs):
        assert deps.keys() <= set(schema_of(specs, name)), name
        upstream = above(specs, name)
        for column, origins in deps.items():
            assert origins, f"{name}.{column}: a column without an origin is left out"
            for origin in origins:
                of = origin.asset_key.to_user_string()
                assert of in upstream, f"{name}.{column} comes from {of}, which is not above it"
                assert origin.column_name in schema_of(specs, of), f"{name}.{column}: {of} has no {origin.column_name}"


def test_known_columns_lead_from_the_forecast_to_the_message(specs: Mapping[str, dg.AssetSpec]) -> None:
    found = dict(lineages(specs))

    def step(name: str, column: str) -> set[str]:
        return {f"{one.asset_key.to_user_string()}.{one.column_name}" for one in found[name][column]}

    assert "documents/feature_buckets.high" in step("forecasts/next_session", "point")
    assert step("documents/feature_buckets", "high") == {"documents/session_bars.high"}
    assert step("documents/session_bars", "high") == {"raw/bars.high"}
    assert step("raw/bars", "high") == {"stream/finance_data.high"}
    assert step("pages/power_bi", "bi_session_bars.high") == {"raw/bars.high"}


def test_documents_are_stored_with_the_columns_that_are_shown() -> None:
    time = dt.datetime(2024, 1, 5, tzinfo=dt.UTC)
    price = Decimal("1.5")
    bar = SessionBar(time, price, price, price, price, None, None, False, "finance-data:0", 1)
    document = session_document(Instrument("IBM", "XNYS"), time.date(), Interval.D1, [bar], True)
    day = time.date()
    measures = key_indicators([random_walk(5, 0)], equal_weight_index([]), day, day)
    line = IndicatorLine("IBM", 1, measures, 0, 0)
    (period,) = period_records(Grouping.INSTRUMENT, period_of(day, PeriodKind.MONTH), [line])
    stored = {
        "documents/session_bars": _session_record(document),
        "documents/feature_buckets": _bucket_record(2024, random_walk(5, 0)),
        "documents/periods": {**period, **{f"lines.{name}": value for name, value in period["lines"][0].items()}},
    }
    for name, record in stored.items():
        assert [column.name for column in OFFERED[name]["dagster/column_schema"].columns] == list(record), name


def test_the_training_set_s_file_has_the_columns_that_are_shown(tmp_path: Path) -> None:
    frame = training_frame(random_walks(140, 3, 2), None, 63)
    write_snapshot(frame, tmp_path / "set.parquet")
    stored = pq.read_schema(tmp_path / "set.parquet")
    found = columns.training_set()["dagster/column_schema"].columns
    assert [(column.name, column.type) for column in found] == [(field.name, str(field.type)) for field in stored]


@pytest.mark.parametrize("array", [*ARRAYS, "sessions"])
def test_what_moves_with_an_array_is_what_lineage_says_comes_from_it(array: str) -> None:
    """Each array is changed alone, over all of its length: what changed then is made of it."""
    series = random_walk(200, 5)
    before, after = feature_matrix(series), feature_matrix(changed(series, array))
    moved = {
        f"x_{name}" for k, name in enumerate(before.names) if not np.array_equal(before.x[:, k], after.x[:, k], True)
    }
    groups = {
        "y": (before.y, after.y),
        "scale": (before.scale, after.scale),
        "baseline": (before.baseline, after.baseline),
    }
    moved |= {
        f"{group}_{target.value}"
        for group, (old, new) in groups.items()
        for target in Target
        if not np.array_equal(old[target], new[target], True)
    }
    deps = columns.training_set()["dagster/column_lineage"].deps_by_column
    told = {
        column
        for column, origins in deps.items()
        if array in {origin.column_name for origin in origins} and column.partition("_")[0] in ("x", *groups)
    }
    assert moved == told
    assert len(moved) > 0


def changed(series: SessionSeries, array: str) -> SessionSeries:
    rng = np.random.default_rng(1)
    if array == "sessions":
        return replace(series, sessions=series.sessions + 1)
    values = getattr(series, array)
    return replace(series, **{array: values * np.exp(rng.normal(0, 0.001, len(values)))})


def test_topics_show_the_fields_of_the_contract() -> None:
    for name, wire in (("bar.v1", WireBar), ("corporate_action.v1", WireAction)):
        found = {column.name: column for column in columns.message_columns(name)}
        assert list(found) == [field.name for field in msgspec.structs.fields(wire)]
        for field in msgspec.structs.fields(wire):
            assert found[field.name].constraints.nullable is not field.required, field.name


def test_every_feature_of_the_registry_has_its_inputs() -> None:
    deps = columns.training_set()["dagster/column_lineage"].deps_by_column
    for name, feature in REGISTRY.items():
        assert {origin.column_name for origin in deps[f"x_{name}"]} == set(feature.inputs)
