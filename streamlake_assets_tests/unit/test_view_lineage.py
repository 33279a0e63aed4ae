"""Where the columns of views come from: read out of SQL, true of known columns, all of them in tables there are."""

import re

import pytest

from streamlake_assets.catalog.lineage import Origin, view_lineage
from streamlake_assets.catalog.model import Catalog, Column, Kind, Role, Table
from streamlake_assets.catalog.star import STAR
from streamlake_assets.catalog.views import selects
from streamlake_assets.errors import UsageError
from streamlake_assets.stores import schema

FOUND = view_lineage(STAR)


def of(view: str, column: str) -> set[str]:
    return {f"{origin.table}.{origin.column}" for origin in FOUND[view][column]}


def table(columns: dict[str, str], source: str, common: str = "", view: str = "bi_made") -> Table:
    return Table(
        view=view,
        label=view,
        role=Role.FACT,
        meaning="Made.",
        grain="a row",
        key=(next(iter(columns)),),
        columns=tuple(Column(name=name, kind=Kind.INTEGER, sql=sql, meaning="Made.") for name, sql in columns.items()),
        source=source,
        common=common,
    )


def read(columns: dict[str, str], source: str, common: str = "") -> dict[str, set[Origin]]:
    (found,) = view_lineage(Catalog((table(columns, source, common),))).values()
    return {name: set(origins) for name, origins in found.items()}


def test_every_column_of_every_view_is_there_in_order() -> None:
    assert {view: list(columns) for view, columns in FOUND.items()} == {
        one.view: [column.name for column in one.columns] for one in STAR.tables
    }


def test_every_origin_is_a_column_of_a_table_that_the_view_reads() -> None:
    views = {one.view for one in STAR.tables}
    reads: dict[str, set[str]] = {}
    for view, text in selects(STAR).items():
        named = set(re.findall(r"(?:FROM|JOIN) (\w+)", text))
        reads[view] = named.union(*(reads[other] for other in named & views)) if named & views else named
        for origins in FOUND[view].values():
            for table_name, column in origins:
                assert table_name in reads[view], (view, table_name)
                assert column in schema.metadata.tables[table_name].columns, (view, table_name, column)


def test_columns_without_an_origin_are_those_that_count_rows_or_are_constant() -> None:
    bare = {(view, name) for view, columns in FOUND.items() for name, origins in columns.items() if not origins}
    assert bare == {("bi_dates", "is_always_session"), ("bi_session_bars", "bars"), ("bi_dead_letters", "letters")}


def test_known_columns_come_from_where_they_are_known_to_come_from() -> None:
    assert of("bi_session_bars", "open") == {"bars.open"}
    assert of("bi_session_bars", "factor") == {"corporate_actions.factor"}, "what chooses actions is no value"
    assert of("bi_session_bars", "session_return") == {"bars.close", "corporate_actions.factor"}
    assert of("bi_instruments", "instrument") == {"instruments.symbol", "exchanges.mic"}
    assert of("bi_forecasts", "squared_error") == {"forecast_scores.error"}
    assert of("bi_ingest_quality", "new_facts") == {"ingest_batches.new"}
    both = {"bars.session_date", "forecasts.target_session"}
    assert of("bi_dates", "iso_week") == both, "a union gives both"
    assert of("bi_expected_sessions", "session_date") == {*both, "calendar_sessions.session_date"}, "through views"


def test_aliases_types_windows_and_strings_are_no_columns() -> None:
    found = read(
        {
            "cast": "CAST(a.x AS SIGNED)",
            "lagged": "LAG(a.x) OVER (PARTITION BY a.y ORDER BY a.z)",
            "named": "CASE WHEN a.kind = 'b.x' THEN 1 ELSE COALESCE(b.y, 1e0) END",
        },
        "FROM ones AS a JOIN twos AS b ON b.id = a.id WHERE a.w > 0 GROUP BY a.v",
        "twos AS (SELECT id, x AS y FROM two)",
    )
    assert found == {
        "cast": {Origin("ones", "x")},
        "lagged": {Origin("ones", "x")},
        "named": {Origin("ones", "kind"), Origin("two", "x")},
    }


def test_a_column_without_an_alias_is_that_of_the_only_table() -> None:
    assert read({"a": "x + 1"}, "FROM ones") == {"a": {Origin("ones", "x")}}


@pytest.mark.parametrize(
    ("sql", "source", "common", "what"),
    [
        ("q.x", "FROM ones AS a", "", "nothing there is called q"),
        ("a.y", "FROM few AS a", "few AS (SELECT x FROM ones)", "asks for y"),
        ("x", "FROM ones AS a CROSS JOIN twos AS b", "", "without saying of what"),
        ("a.x", "FROM all_of AS a", "all_of AS (SELECT o.* FROM ones AS o)", "name them"),
    ],
)
def test_what_cannot_be_found_is_refused(sql: str, source: str, common: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read({"a": sql}, source, common)
