"""The rules of the house that no linter holds: layers, size, charters, SQL out of values, nothing at import."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MIGRATIONS = "streamlake_assets/stores/migrations/"
MOST_LINES = 400
HEAVY = ("pandas", "numpy", "sklearn", "dagster", "pyarrow", "exchange_calendars", "panel", "bokeh")

SQL_BUILDERS = ("streamlake_assets/stores/literals.py", "streamlake_assets/stores/migrate.py")
"""The literal writer, from typed values; and grants, whose names no driver can bind."""
SQL_FILES = ("streamlake_assets/servers/mysql_users.py", "streamlake_assets/catalog/views.py")
"""Write SQL and run none: the init file of the local server, from generated passwords that are checked letter by
letter; and the views, from the catalogue, which is part of the program."""
SQL_CALLS = {"execute", "executemany", "exec_driver_sql", "text", "read_sql", "read_sql_query"}
SQL_START = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|TRUNCATE|CREATE|ALTER|DROP|GRANT|REVOKE|SET|LOAD|CALL|WITH)\s+[\w`*(@]",
    re.IGNORECASE,
)

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes and str(arguments[0]) != "/dev/null" or event in {
        "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir", "os.remove", "os.putenv"
    }:
        raise RuntimeError(f"{event} {arguments} at import of {name}")

names = []
for package in ("streamlake_assets", "panel_app"):
    names.append(package)
    names += [found.name for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + ".")]
skip = ("streamlake_assets.stores.migrations.", "panel_app.app")
for library in ("dagster", "panel", "pandas", "sklearn", "pymongo", "confluent_kafka", "sqlalchemy", "alembic"):
    importlib.import_module(library)
name = ""
sys.addaudithook(refuse)
for name in names:
    if not name.startswith(skip):
        importlib.import_module(name)
sys.stdout.write(str(len(names)))
"""


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


PACKAGES = ("streamlake_assets", "panel_app", "benchmarks")
CODE = [path for path in modules(*PACKAGES) if not relative(path).startswith(MIGRATIONS)]
TREES = {relative(path): ast.parse(path.read_text()) for path in CODE}


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_rooms_keep_their_import_contracts() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in CODE}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_every_module_starts_with_its_charter_and_every_package_is_empty() -> None:
    for name, tree in TREES.items():
        if name.endswith("/__init__.py") and name != "streamlake_assets/__init__.py":
            assert tree.body == [], f"{name} holds something"
        else:
            assert len(ast.get_docstring(tree) or "") > 40, f"{name} does not say what belongs in it"


def test_the_map_of_the_house_names_every_room_and_imports_nothing() -> None:
    text = (ROOT / "streamlake_assets/__init__.py").read_text()
    package = ROOT / "streamlake_assets"
    rooms = [path.name for path in package.iterdir() if (path / "__init__.py").exists()]
    missing = [room for room in rooms if not re.search(rf"^(\w+, )*{room}(,|  )", text, re.MULTILINE)]
    assert missing == []
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]


def is_constant(node: ast.expr) -> bool:
    """Tell whether a value in a text is a constant of the code by its name in capitals: it cannot be input."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.isupper()


def is_made(node: ast.AST) -> bool:
    """Tell whether an expression makes a text out of values: f-string, %, +, format, join, replace."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) and not is_constant(part.value) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return not all(isinstance(side, ast.Constant) for side in (node.left, node.right))
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"format", "join", "replace", "format_map"}
    )


def leading_text(node: ast.AST) -> str:
    """Return the constant text that a made text begins with."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        return leading_text(node.values[0])
    if isinstance(node, ast.BinOp):
        return leading_text(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return leading_text(node.func.value)
    return ""


def sql_out_of_values(tree: ast.AST) -> list[int]:
    """Return the lines on which SQL is put together from values."""
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in SQL_CALLS and is_made(node.args[0]):
                lines.add(node.lineno)
        if isinstance(node, ast.expr) and is_made(node) and SQL_START.match(leading_text(node)):
            lines.add(node.lineno)
    return sorted(lines)


def test_sql_is_made_out_of_values_in_the_literal_writer_alone() -> None:
    found = {name: lines for name, tree in TREES.items() if (lines := sql_out_of_values(tree))}
    assert set(found) <= {*SQL_BUILDERS, *SQL_FILES}, found
    assert set(SQL_BUILDERS) <= set(found), "the rule sees what it is about"


@pytest.mark.parametrize(
    "code",
    [
        "connection.execute(f'SELECT * FROM {table}')",
        "connection.exec_driver_sql('SELECT * FROM ' + table)",
        "sa.text('SELECT %s' % value)",
        "query = 'DELETE FROM bars WHERE symbol = {}'.format(symbol)",
        "query = f'UPDATE bars SET close = {close}'",
        "execute(','.join(parts))",
    ],
)
def test_the_rule_about_sql_finds(code: str) -> None:
    assert sql_out_of_values(ast.parse(code)) == [1]


@pytest.mark.parametrize(
    "code",
    [
        "connection.execute(sa.select(bars).where(bars.c.symbol == symbol))",
        "cursor.execute(f\"SET SESSION sql_mode='{SQL_MODE}'\")",
        "say(f'Selecting {name}')",
        "say(f'a set of {name}')",
        "connection.execute(sa.text('SELECT DATABASE()'))",
    ],
)
def test_the_rule_about_sql_leaves_alone(code: str) -> None:
    assert sql_out_of_values(ast.parse(code)) == []


def test_nothing_is_printed_past_the_command_line() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "pprint"}
    ]
    assert found == []


def test_no_error_is_swallowed_whatever_it_is() -> None:
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                silent = all(isinstance(part, ast.Pass | ast.Continue) for part in node.body)
                broad = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
                if node.type is None or (broad and silent):
                    found.append(f"{name}:{node.lineno}")
    assert found == []


def test_the_consumer_stays_small(tmp_path: Path) -> None:
    code = "import sys, streamlake_assets.sidecar.consumer; sys.stdout.write(' '.join(sys.modules))"
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"confluent_kafka", "sqlalchemy"}, "it was loaded at all"
    assert loaded & set(HEAVY) == set()


def test_help_of_the_command_line_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, streamlake_assets.cli; sys.stdout.write(' '.join(sys.modules))"
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {name.partition(".")[0] for name in done.stdout.split()} & {*HEAVY, "sqlalchemy", "confluent_kafka"} == set()


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    done = run_python(IMPORT_EVERYTHING, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
    assert list(tmp_path.iterdir()) == [], "no file was made"
