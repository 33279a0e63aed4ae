"""The catalogue and what is generated from it: rules of a star, bytes that repeat, files in the repository."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamlake_assets.catalog.dictionary import described_columns, dictionary
from streamlake_assets.catalog.frames import frame_contract
from streamlake_assets.catalog.model import Catalog, Column, Kind, Relationship, Role, Table
from streamlake_assets.catalog.project import FOLDER, power_bi_files, project_files
from streamlake_assets.catalog.star import STAR
from streamlake_assets.catalog.views import migration, selects
from streamlake_assets.cli import app
from streamlake_assets.commands import bi
from streamlake_assets.errors import UsageError
from streamlake_assets.market import measures

ROOT = Path(__file__).resolve().parents[2]


def renamed(view: str, old: str, new: str) -> Catalog:
    """The catalogue with one column of a view under another name, as a careless edit would leave it."""
    table = STAR.table(view)
    columns = tuple(replace(one, name=new) if one.name == old else one for one in table.columns)
    changed = replace(table, columns=columns, key=tuple(new if name == old else name for name in table.key))
    return Catalog(tuple(changed if one.view == view else one for one in STAR.tables))


def test_the_repository_holds_what_the_catalogue_says_byte_for_byte() -> None:
    assert bi.differences(ROOT) == []


def test_the_same_catalogue_gives_the_same_bytes() -> None:
    assert project_files(STAR) == project_files(Catalog(STAR.tables, STAR.relationships))


def test_a_renamed_column_shows_in_every_file_of_it() -> None:
    before, after = project_files(STAR), project_files(renamed("bi_session_bars", "close", "last_price"))
    assert {path for path in before if before[path] != after.get(path)} >= {
        "docs/data_dictionary.md",
        f"{FOLDER}/streamlake.SemanticModel/definition/tables/Session bars.tmdl",
    }
    assert selects(STAR) != selects(renamed("bi_session_bars", "close", "last_price"))


def test_every_part_of_the_issue_is_there() -> None:
    facts = {table.view for table in STAR.tables if table.role is Role.FACT}
    dimensions = {table.view for table in STAR.tables if table.role is Role.DIMENSION}
    assert facts >= {"bi_session_bars", "bi_forecasts", "bi_ingest_quality"}
    assert dimensions == {"bi_dates", "bi_instruments", "bi_sectors", "bi_exchanges", "bi_sources"}


def test_twins_of_measures_are_functions_that_exist() -> None:
    twins = {measure.twin for _, measure in STAR.measures if measure.twin}
    assert len(twins) >= 12
    assert [name for name in twins if not callable(getattr(measures, name, None))] == []


@pytest.mark.parametrize("table", STAR.tables, ids=lambda table: table.view)
def test_every_column_is_described_once_in_the_dictionary(table: Table) -> None:
    told = described_columns(dictionary(STAR))[table.view]
    assert told == {column.name: (column.kind.value, column.nullable) for column in table.columns}
    assert all(column.meaning.endswith(".") for column in table.columns)


@pytest.mark.parametrize("table", STAR.tables, ids=lambda table: table.view)
def test_frame_contracts_have_the_columns_in_order(table: Table) -> None:
    contract = frame_contract(table)
    assert list(contract.columns) == [column.name for column in table.columns]
    assert {name for name, column in contract.columns.items() if column.nullable} == {
        column.name for column in table.columns if column.nullable
    }


def column(name: str, label: str = "") -> Column:
    return Column(name=name, kind=Kind.INTEGER, sql=name, meaning="A number.", label=label)


def table(view: str, *columns: Column, label: str = "", key: tuple[str, ...] = ("a",)) -> Table:
    return Table(
        view=view, label=label or view, role=Role.FACT, meaning="Rows.", grain="a row", key=key, columns=columns,
        source="FROM t",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "relationships", "wrong"),
    [
        ([table("v", column("a")), table("v", column("a"), label="w")], [], "view twice"),
        ([table("v", column("a")), table("w", column("a"), label="V")], [], "label twice"),
        ([table("v", column("a"), column("a"))], [], "column of v twice"),
        ([table("v", column("a"), column("b", label="A"))], [], "field of v twice"),
        ([table("v", column("b"))], [], "v has no column a"),
        ([table("v", column("a"))], [Relationship("v", "a", "w", "a")], "no view w"),
        ([table("v", column("a"))], [Relationship("v", "b", "v", "a")], "v has no column b"),
        ([table("v", column("a"), column("b"))], [Relationship("v", "a", "v", "b")], "is not its key"),
    ],
)
def test_a_catalogue_that_contradicts_itself_is_refused(
    tables: list[Table], relationships: list[Relationship], wrong: str
) -> None:
    with pytest.raises(UsageError, match=wrong):
        Catalog(tuple(tables), tuple(relationships))


def test_generate_writes_compares_and_removes_its_own_files_only(tmp_path: Path) -> None:
    done = bi.generate(tmp_path)
    assert sorted(done["written"]) == sorted(project_files(STAR))
    assert (bi.differences(tmp_path), bi.generate(tmp_path)) == ([], {"written": [], "removed": []})
    tables = tmp_path / "bi/streamlake.SemanticModel/definition/tables"
    (tables / "Old.tmdl").write_text("table Old\n")
    (tables / "Dates.tmdl").unlink()
    page = tmp_path / "docs/data_dictionary.md"
    page.write_text(page.read_text().replace("\n", "\r\n"), newline="")
    own = tmp_path / "bi/streamlake.Report/.pbi/localSettings.json"
    own.parent.mkdir()
    own.write_text("{}")
    assert bi.differences(tmp_path) == [
        "bi/streamlake.SemanticModel/definition/tables/Dates.tmdl is missing",
        "bi/streamlake.SemanticModel/definition/tables/Old.tmdl is no longer generated",
        "docs/data_dictionary.md differs",
    ]
    assert bi.generate(tmp_path)["removed"] == ["bi/streamlake.SemanticModel/definition/tables/Old.tmdl"]
    assert own.exists()
    assert bi.differences(tmp_path) == []


def test_no_file_of_the_project_holds_a_credential() -> None:
    texts = " ".join(power_bi_files(STAR).values()).lower()
    assert [word for word in ("password", "pwd=", "user id", "uid=", "accountkey") if word in texts] == []


def test_the_project_validates_and_says_what_was_not_run(tmp_path: Path) -> None:
    bi.generate(tmp_path)
    found = bi.validate(tmp_path, None, None)
    assert found["problems"] == []
    assert found["views"].startswith("not run")
    assert found["published_schemas"].startswith("not run")
    with pytest.raises(UsageError, match="holds no project"):
        bi.validate(tmp_path / "docs", None, None)


def test_a_migration_is_written_when_the_views_differ(tmp_path: Path) -> None:
    folder = tmp_path / bi.MIGRATIONS
    folder.mkdir(parents=True)
    (folder / "0007_old.py").write_text(migration(renamed("bi_sources", "source", "name"), "0007", "0006", "0006_x"))
    (folder / "0008_other.py").write_text('revision = "0008"\n')
    bi.generate(tmp_path)
    assert bi.differences(tmp_path) == [
        "the newest migration makes other views: `streamlake bi migration` writes the next one"
    ]
    written = bi.write_migration(tmp_path)
    assert written is not None
    assert written.name == "0009_bi_views.py"
    made = {
        ast.unparse(part.targets[0]): ast.literal_eval(part.value)
        for part in ast.parse(written.read_text()).body
        if isinstance(part, ast.Assign)
    }
    assert (made["revision"], made["down_revision"]) == ("0009", "0008")
    assert made["BEFORE"].endswith(".0007_old")
    assert (bi.write_migration(tmp_path), bi.differences(tmp_path)) == (None, [])


def test_a_folder_that_is_no_checkout_gets_no_migration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a checkout"):
        bi.write_migration(tmp_path)


def test_pages_are_listed_in_order_and_the_first_opens() -> None:
    pages = json.loads(power_bi_files(STAR)["streamlake.Report/definition/pages/pages.json"])
    assert pages["pageOrder"] == ["market_overview", "instrument", "forecast_quality", "data_quality"]
    assert pages["activePageName"] == "market_overview"


def test_the_command_line_exits_as_it_finds(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["bi", *words, "--root", str(tmp_path)])
        return done.exit_code, done.stdout

    code, said = run("generate", "--check")
    assert (code, "is missing" in said) == (1, True)
    assert run("generate")[0] == 0
    assert run("generate", "--check") == (0, "0 differences to the catalogue\n")
    code, said = run("validate", "--json")
    assert (code, json.loads(said)["problems"]) == (0, [])
    (tmp_path / "bi/streamlake.pbip").write_text("{}")
    code, said = run("validate")
    assert (code, "lacks artifacts" in said) == (1, True)
    assert isinstance(CliRunner().invoke(app, ["bi", "migration", "--root", str(tmp_path)]).exception, UsageError)
