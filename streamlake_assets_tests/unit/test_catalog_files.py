"""The Power BI files: the parser reads the subset and refuses the rest, every kind of damage is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlake_assets.catalog import visuals
from streamlake_assets.catalog.model_reader import SQL_TYPES, Model, model_problems, read_model, view_problems
from streamlake_assets.catalog.project import power_bi_files
from streamlake_assets.catalog.published_schemas import ROOT, schema_problems
from streamlake_assets.catalog.report_rules import documents_of, fields_of, report_problems
from streamlake_assets.catalog.star import STAR
from streamlake_assets.catalog.tmdl import model_files, quoted
from streamlake_assets.catalog.tmdl_parser import parse, split_reference
from streamlake_assets.errors import UsageError

FILES = power_bi_files(STAR)
MODEL_FILES = model_files(STAR)
MODEL = read_model(MODEL_FILES)
VIEWS = {table.view: {column.name: SQL_TYPES[column.kind][0] for column in table.columns} for table in STAR.tables}
PAGES = "streamlake.Report/definition/pages"
VISUAL = f"{PAGES}/market_overview/visuals/linechart_index_to_100_equal_weights/visual.json"
DRILLED = f"{PAGES}/instrument/page.json"

SMALL = """/// Prices of a day.
/// Raw.
table 'Session bars'
\tlineageTag: 1

\tmeasure 'It''s' =
\t\t\tVAR x = 1

\t\t\tRETURN x
\t\tformatString: 0.0%

\tcolumn Close
\t\tdataType: double
\t\tisHidden
\t\tsourceColumn: close

\tpartition 'Session bars' = m
\t\tmode: import
\t\tsource =
\t\t\t\tlet
\t\t\t\t\tA = 1
\t\t\t\tin
\t\t\t\t\tA
"""


def test_the_parser_reads_objects_properties_flags_and_expressions() -> None:
    (table,) = parse(SMALL).children
    assert (table.keyword, table.name, table.description) == ("table", "Session bars", "Prices of a day. Raw.")
    (measure,) = table.of("measure")
    assert (measure.name, measure.expression) == ("It's", "VAR x = 1\n\nRETURN x")
    assert measure.properties == {"formatString": "0.0%"}
    (column,) = table.of("column")
    assert (column.flags, column.properties) == ({"isHidden"}, {"dataType": "double", "sourceColumn": "close"})
    (partition,) = table.of("partition")
    assert partition.expression == "let\n\tA = 1\nin\n\tA"


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("\tcolumn Close", "\t\t\tcolumn Close", "6: .*expression|indented|not known"),
        ("\t\tdataType: double", "\t\tdataTyp: double", ":13: 'dataTyp: double' is not known below column"),
        ("\t\tdataType: double", "\t\tdataType: double\n\t\tdataType: int64", ":14: dataType stands twice"),
        ("\tcolumn Close", "\tcolumn", ":12: a column needs a name"),
        ("\tcolumn Close", "\tcolumn Close price now", ":12: 'column Close price now' is not known"),
        ("\t\tisHidden", "\t\tisHiden", ":14: 'isHiden' is not known"),
        ("\t\tisHidden", "\t\t isHidden", ":14: blanks"),
        ("\t\tisHidden", "\t\t\tisHidden\n", "not known|indented"),
        ("\t\tisHidden", "\t\tisHidden\n\n\tcolumn Close", "column Close stands twice"),
        ("\t\t\tVAR x = 1\n\n\t\t\tRETURN x\n", "", "an expression is missing"),
        ("\t\tisHidden", "\t\t/// lost\n\t\tisHidden", "have no description"),
        ("\t\t\t\t\tA\n", "\t\t\t\t\tA\n/// lost\n", "describes nothing"),
    ],
)
def test_the_parser_refuses_what_is_not_of_the_subset(old: str, new: str, wrong: str) -> None:
    assert old in SMALL
    with pytest.raises(UsageError, match=wrong):
        parse(SMALL.replace(old, new, 1), "small.tmdl")


@pytest.mark.parametrize("name", ["Dates", "Session bars", "It's", "24/7", "ISO year", "a.b"])
def test_names_survive_quoting(name: str) -> None:
    assert split_reference(f"{quoted(name)}.{quoted(name)}") == (name, name)


def test_what_was_written_is_what_is_read() -> None:
    for table in STAR.tables:
        found = MODEL.tables[table.label]
        assert found.view == table.view
        assert {label: column.source for label, column in found.columns.items()} == {
            column.label: column.name for column in table.columns
        }
        assert found.measures == {measure.name: measure.dax for measure in table.measures}
    assert len(MODEL.relationships) == len(STAR.relationships)
    assert [*model_problems(MODEL), *view_problems(MODEL, VIEWS), *report_problems(FILES, MODEL)] == []


def damaged(path: str, old: str, new: str) -> Model:
    assert old in MODEL_FILES[path]
    return read_model({**MODEL_FILES, path: MODEL_FILES[path].replace(old, new)})


@pytest.mark.parametrize(
    ("path", "old", "new", "problem"),
    [
        ("relationships.tmdl", "Sectors.'Sector id'", "Sectors.'Sector no'", "names Sectors[Sector no]"),
        ("relationships.tmdl", "toColumn: Dates.Date", "toColumn: Dates.Year", "is dateTime, Dates[Year] is int64"),
        ("relationships.tmdl", "toColumn: Sectors.'Sector id'", "toColumn: Sources.'Source rank'", "marked as its key"),
        ("model.tmdl", "ref table Sectors\n", "", "model.tmdl refers to"),
        ("expressions.tmdl", "expression Server", "expression Host", "the parameters are"),
        ("tables/Forecasts.tmdl", "[Realised up]", "[Realised down]", "is not there"),
        ("tables/Forecasts.tmdl", "[Hit rate] - [Base rate]", "[Hit rate] - [Base]", "[Base] is no measure"),
        ("tables/Forecasts.tmdl", "COUNTROWS ( Forecasts )", "COUNTROWS ( 'Forecast' )", "'Forecast' is no table"),
        ("tables/Forecasts.tmdl", "COUNTROWS ( Forecasts )", "COUNTROWS ( Forecasts", "brackets are not in pairs"),
    ],
)
def test_damage_to_the_model_is_found(path: str, old: str, new: str, problem: str) -> None:
    found = list(model_problems(damaged(path, old, new)))
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("mode: import", "mode: directQuery", "import mode"),
        ("Database(Server, ", 'Database("db.example.com", ', "of the parameters"),
        ("\t\tsourceColumn: sector\n", "", "no sourceColumn"),
    ],
)
def test_a_model_that_is_not_imported_from_the_views_is_refused(old: str, new: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        damaged("tables/Sectors.tmdl", old, new)


def test_a_table_in_two_files_is_refused() -> None:
    with pytest.raises(UsageError, match="Sectors stands in two files"):
        read_model({**MODEL_FILES, "tables/Copy.tmdl": MODEL_FILES["tables/Sectors.tmdl"]})


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        ({"bi_sectors": {"sector_id": "int", "label": "varchar"}}, "bi_sectors.sector, which is not there"),
        ({"bi_sectors": {"sector_id": "int", "label": "varchar"}}, "bi_sectors.label is not in the model"),
        ({"bi_sectors": {"sector_id": "varchar", "sector": "varchar"}}, "is int64, bi_sectors.sector_id is varchar"),
        ({"bi_more": {"a": "int"}}, "bi_more is not in the model"),
    ],
)
def test_a_view_that_differs_is_found(views: dict[str, dict[str, str]], problem: str) -> None:
    found = list(view_problems(MODEL, {**VIEWS, **views}))
    assert any(problem in one for one in found), found


def test_a_view_that_is_gone_is_found() -> None:
    left = {name: columns for name, columns in VIEWS.items() if name != "bi_dates"}
    assert list(view_problems(MODEL, left)) == ["Dates comes from bi_dates, which is not there"]


def change(path: str, edit: Callable[[Any], Any]) -> list[str]:
    document = json.loads(FILES[path])
    edit(document)
    return list(report_problems({**FILES, path: json.dumps(document)}, MODEL))


def visual_edit(*path: str | int, value: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        if value is None:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return edit


PROJECTION = ("visual", "query", "queryState", "Category", "projections", 0)
REFERENCE = (*PROJECTION, "field", "Column")


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (visual_edit("$schema", value=visuals.PAGE_SCHEMA), "$schema is"),
        (visual_edit("position", "x", value="16"), "position.x is no number"),
        (visual_edit("position", "x", value=True), "position.x is no number"),
        (visual_edit("position", "x", value=1000), "stands out of the page"),
        (visual_edit("position", "height", value=None), "position lacks height"),
        (visual_edit("name", value="x" * 51), "name is no text of 1 to 50"),
        (visual_edit("name", value="other"), "its folder is not its name"),
        (visual_edit("visual", "visualType", value="pieChart"), "visualType is"),
        (visual_edit("visual", "visualType", value="card"), "has no role Category"),
        (visual_edit("visual", "sortDefinition", value={}), "sortDefinition is not known"),
        (visual_edit("visual", "drillFilterOtherVisuals", value=1), "drillFilterOtherVisuals is 1"),
        (visual_edit(*PROJECTION[:-1], value=[]), "is no list of 1 or more"),
        (visual_edit(*PROJECTION, "queryRef", value=None), "lacks queryRef"),
        (visual_edit(*PROJECTION, "field", value={}), "not exactly one column or measure"),
        (visual_edit(*REFERENCE, "Property", value="Day"), "no column Dates[Day]"),
        (visual_edit(*REFERENCE, "Expression", "SourceRef", "Entity", value="Calendar"), "no column Calendar[Date]"),
        (visual_edit("visual", "query", "queryState", "Category", value=None), "needs the role Category"),
    ],
)
def test_damage_to_a_visual_is_found(edit: Callable[[Any], None], problem: str) -> None:
    found = change(VISUAL, edit)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    ("path", "edit", "problem"),
    [
        (DRILLED, visual_edit("type", value=None), "has a type and a binding"),
        (DRILLED, visual_edit("filterConfig", "filters", 0, "name", value="x"), "no filter of the same field"),
        (DRILLED, visual_edit("displayOption", value="Zoom"), "displayOption is"),
        (f"{PAGES}/pages.json", visual_edit("pageOrder", value=["instrument"]), "does not list the pages"),
        ("streamlake.Report/definition.pbir", visual_edit("datasetReference", value={}), "lacks byPath"),
        ("streamlake.Report/definition/version.json", visual_edit("version", value="9"), "version is"),
        ("streamlake.pbip", visual_edit("artifacts", value=[]), "is no list"),
        (
            "streamlake.Report/.platform",
            visual_edit(
                "config",
                "logicalId",
                value=json.loads(FILES["streamlake.SemanticModel/.platform"])["config"]["logicalId"],
            ),
            "one logicalId",
        ),
    ],
)
def test_damage_to_other_documents_is_found(path: str, edit: Callable[[Any], None], problem: str) -> None:
    found = change(path, edit)
    assert any(problem in one for one in found), found


def test_what_is_no_json_or_not_known_is_found() -> None:
    found = list(report_problems({**FILES, "streamlake.pbip": "{", "streamlake.Report/extra.json": "{}"}, MODEL))
    assert any("streamlake.pbip is no JSON" in one for one in found)
    assert any("extra.json is not known" in one for one in found)


def test_the_instrument_page_is_drilled_through_to_by_instrument() -> None:
    page = json.loads(FILES[DRILLED])
    assert page["type"] == page["pageBinding"]["type"] == "Drillthrough"
    assert set(fields_of(page)) == {("Instruments", "Instrument", False)}


def test_every_page_has_slicers_for_date_sector_and_instrument_that_move_together() -> None:
    for page in ("market_overview", "instrument", "forecast_quality", "data_quality"):
        slicers = [
            json.loads(text)["visual"]
            for path, text in FILES.items()
            if path.startswith(f"{PAGES}/{page}/visuals/slicer_")
        ]
        groups = {one["syncGroup"]["groupName"]: next(fields_of(one)) for one in slicers}
        assert groups["Date"] == ("Dates", "Date", False)
        assert groups["Sector"] == ("Sectors", "Sector", False)
        assert groups["Instrument"] == ("Instruments", "Instrument", False)


def test_visuals_of_a_page_do_not_lie_on_each_other() -> None:
    for page in ("market_overview", "instrument", "forecast_quality", "data_quality"):
        places = [
            json.loads(text)["position"] for path, text in FILES.items() if path.startswith(f"{PAGES}/{page}/visuals/")
        ]
        for at, one in enumerate(places):
            for other in places[:at]:
                apart = (
                    one["x"] + one["width"] <= other["x"]
                    or other["x"] + other["width"] <= one["x"]
                    or one["y"] + one["height"] <= other["y"]
                    or other["y"] + other["height"] <= one["y"]
                )
                assert apart, (page, one, other)


def put_schema(folder: Path, uri: str, schema: dict[str, Any]) -> None:
    path = folder / uri.removeprefix(ROOT)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"$id": uri, "$schema": "http://json-schema.org/draft-07/schema#", **schema}))


def test_published_schemas_are_asked_where_a_copy_has_them(tmp_path: Path) -> None:
    documents, unreadable = documents_of(FILES)
    assert unreadable == []
    shared = f"{visuals.SCHEMAS}item/shared/1.0.0/schema-embedded.json"
    put_schema(
        tmp_path, shared, {"$id": shared.replace("-embedded", ".embedded"), "definitions": {"T": {"type": "string"}}}
    )
    text = {"$ref": "../../../../shared/1.0.0/schema-embedded.json#/definitions/T"}
    put_schema(tmp_path, visuals.VERSION_SCHEMA, {"properties": {"version": text}})
    put_schema(tmp_path, visuals.PBIP_SCHEMA, {"properties": {"version": {"const": "2.0"}}})
    put_schema(tmp_path, visuals.PBIR_SCHEMA, {"properties": {"version": {"$ref": "../absent.json"}}})
    found = schema_problems(documents, tmp_path)
    assert found.documents == 2
    assert found.problems == ["streamlake.pbip: version: '2.0' was expected"]
    assert visuals.PAGE_SCHEMA in found.missing
    assert any("absent" in uri for uri in found.missing)


def test_a_schema_is_never_sought_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "copy"
    folder.mkdir()
    documents = {"a": {"$schema": f"{ROOT}../secret.json"}, "b": {"$schema": "file:///etc/passwd"}}
    found = schema_problems(documents, folder)
    assert (found.documents, sorted(found.missing)) == (0, ["file:///etc/passwd", f"{ROOT}../secret.json"])
