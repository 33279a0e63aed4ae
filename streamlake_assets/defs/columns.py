"""Columns and where they come from, as Dagster shows them: read out of what says so already, told where nothing does.

Belongs here: schemas and lineage as metadata. Stays out: assets, and everything about how columns are made. The
schema of a table is that of ``stores.schema``, of a message its contract, of a view the catalogue with its SQL, of a
feature the registry. Told here is only what lies between, such as which fields of a message a column takes; documents
are told in ``document_columns``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa

from streamlake_assets.catalog.lineage import view_lineage
from streamlake_assets.catalog.star import STAR
from streamlake_assets.market.features import REGISTRY
from streamlake_assets.market.targets import Target
from streamlake_assets.market.wire import json_schemas
from streamlake_assets.stores.documents import ARRAYS

Inputs = Mapping[str, Iterable[tuple[dg.AssetKey, str]]]
"""By column: assets and their columns that its values are made of."""

FINANCE_DATA: Final = dg.AssetKey(["stream", "finance_data"])
ACTIONS: Final = dg.AssetKey(["stream", "corporate_actions"])
BARS: Final = dg.AssetKey(["raw", "bars"])
INSTRUMENTS: Final = dg.AssetKey(["raw", "instruments"])
RAW_ACTIONS: Final = dg.AssetKey(["raw", "corporate_actions"])
DEAD_LETTERS: Final = dg.AssetKey(["raw", "dead_letters"])
SESSION_BARS: Final = dg.AssetKey(["documents", "session_bars"])
BUCKETS: Final = dg.AssetKey(["documents", "feature_buckets"])
CHAMPION: Final = dg.AssetKey(["models", "champion"])
FORECASTS: Final = dg.AssetKey(["forecasts", "next_session"])
SCORES: Final = dg.AssetKey(["forecasts", "scores"])
_TABLES: Final = {
    "bars": BARS,
    "instruments": INSTRUMENTS,
    "corporate_actions": RAW_ACTIONS,
    "dead_letters": DEAD_LETTERS,
    "forecasts": FORECASTS,
    "forecast_scores": SCORES,
}
"""Tables that are assets, by name."""

_FIELDS: Final = {
    "instrument_id": ("symbol", "exchange"),
    "interval_id": ("interval",),
    "session_date": ("bar_time", "exchange"),
    "source_id": ("source",),
    "exchange_id": ("exchange",),
    "sector_id": ("sector",),
    "described_as_of": ("as_of",),
}
"""Columns of raw tables that are made of fields of other names."""
TARGET_INPUTS: Final = {Target.ADJUSTED_RETURN: ("close", "factor"), Target.LOG_RANGE: ("high", "low")}
"""Arrays of a bucket that a target, its scale and its baseline are made of."""
_TARGET_GROUPS: Final = {
    "y": "Target: the next session's value.",
    "scale": "What the target is scaled by, known before it.",
    "baseline": "What the baseline said of it.",
}
_LOOKED_AT: Final = (*ARRAYS, "sessions")


def lineage(inputs: Inputs) -> dict[str, Any]:
    """Return column lineage as metadata; a column without an input is left out, and nothing without any."""
    deps = {
        column: [dg.TableColumnDep(key, name) for key, name in sorted(set(found))]
        for column, found in ((column, list(each)) for column, each in inputs.items())
        if found
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps)} if deps else {}


def schema(columns: Iterable[dg.TableColumn]) -> dict[str, Any]:
    """Return a column schema as metadata."""
    return {"dagster/column_schema": dg.TableSchema(columns=list(columns))}


def message_columns(name: str) -> list[dg.TableColumn]:
    """Return the fields of a message of the contract, such as ``bar.v1``."""
    found = json_schemas()[f"{name}.json"]
    (wire,) = (part for part in found["$defs"].values() if "properties" in part)
    return [
        dg.TableColumn(
            field,
            str(shape.get("format") or shape.get("type", "string")),
            description=shape.get("description"),
            constraints=dg.TableColumnConstraints(nullable=field not in wire["required"]),
        )
        for field, shape in wire["properties"].items()
    ]


def messages(name: str) -> dict[str, Any]:
    """Return the schema of a topic whose messages are of that name in the contract."""
    return schema(message_columns(name))


def raw_lineage(table: sa.Table, sources: Mapping[dg.AssetKey, str]) -> dict[str, Any]:
    """Return which fields of messages the columns of a raw table take.

    Args:
        table: of ``stores.schema``.
        sources: topics it is written from, with the name of their messages in the contract.
    """
    fields = {key: {column.name for column in message_columns(name)} for key, name in sources.items()}
    return lineage(
        {
            column.name: [
                (key, field)
                for field in _FIELDS.get(column.name, (column.name,))
                for key, held in fields.items()
                if field in held
            ]
            for column in table.columns
        }
    )


def training_set() -> dict[str, Any]:
    """Return schema and lineage of the training set's file: what each feature reads is said by the registry."""
    columns = [
        dg.TableColumn("symbol", "string", description="Ticker symbol."),
        dg.TableColumn("exchange", "string", description="ISO 10383 code of the market."),
        dg.TableColumn("session", "date32[day]", description="Session after which the row was known."),
        dg.TableColumn("target_session", "date32[day]", description="Session whose targets it has."),
    ]
    inputs: dict[str, list[tuple[dg.AssetKey, str]]] = {
        "symbol": [(BUCKETS, "symbol")],
        "exchange": [(BUCKETS, "exchange")],
        "session": [(BUCKETS, "sessions")],
        "target_session": [(BUCKETS, "sessions")],
    }
    for feature in REGISTRY.values():
        meaning = f"Feature without unit, of at most {feature.lookback} sessions."
        columns.append(dg.TableColumn(f"x_{feature.name}", "double", description=meaning))
        inputs[f"x_{feature.name}"] = [(BUCKETS, name) for name in feature.inputs]
    for group, meaning in _TARGET_GROUPS.items():
        for target in Target:
            columns.append(dg.TableColumn(f"{group}_{target.value}", "double", description=meaning))
            taken = () if group == "baseline" and not target.baseline_units else TARGET_INPUTS[target]
            inputs[f"{group}_{target.value}"] = [(BUCKETS, name) for name in taken]
    return {**schema(columns), **lineage(inputs)}


def forecast_lineage() -> dict[str, Any]:
    """Return what a forecast is made of: the champion and the arrays of the newest sessions."""
    said = [(CHAMPION, "version"), *((BUCKETS, name) for name in _LOOKED_AT)]
    of_targets = [(BUCKETS, name) for names in TARGET_INPUTS.values() for name in names]
    return lineage(
        {
            "instrument_id": [(BUCKETS, "symbol"), (BUCKETS, "exchange")],
            "target": [(CHAMPION, "target")],
            "target_session": [(BUCKETS, "sessions"), (BUCKETS, "exchange"), (BUCKETS, "asset_class")],
            "known_session": [(BUCKETS, "sessions")],
            "model_version": [(CHAMPION, "version")],
            "coverage": [(CHAMPION, "version")],
            "scale": of_targets,
            "baseline": of_targets,
            **dict.fromkeys(("point", "low", "high"), said),
        }
    )


def score_lineage() -> dict[str, Any]:
    """Return what a score is made of: the forecast and the session that came true."""
    truth = [(BUCKETS, name) for names in TARGET_INPUTS.values() for name in names]
    return lineage(
        {
            "forecast_id": [(FORECASTS, "id")],
            "realised": truth,
            "error": [*truth, (FORECASTS, "point")],
            "baseline_error": [*truth, (FORECASTS, "baseline")],
            "covered": [*truth, (FORECASTS, "low"), (FORECASTS, "high")],
            "direction_hit": [*truth, (FORECASTS, "point"), (FORECASTS, "target")],
        }
    )


def signal_lineage() -> dict[str, Any]:
    """Return what a signal is made of."""
    names = ("target", "low", "high", "model_version")
    return lineage({"forecast_id": [(FORECASTS, "id")], "side": [(FORECASTS, name) for name in names]})


def report_views() -> dict[str, Any]:
    """Return schema and lineage of the views that reports read, each column as ``view.column``."""
    columns = [
        dg.TableColumn(
            f"{table.view}.{column.name}",
            column.kind.value,
            description=column.meaning,
            constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=table.key == (column.name,)),
        )
        for table in STAR.tables
        for column in table.columns
    ]
    inputs = {
        f"{view}.{column}": [(_TABLES[origin.table], origin.column) for origin in origins if origin.table in _TABLES]
        for view, relation in view_lineage(STAR).items()
        for column, origins in relation.items()
    }
    return {**schema(columns), **lineage(inputs)}
