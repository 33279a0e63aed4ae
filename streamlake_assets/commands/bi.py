"""``streamlake bi`` without its command line: writing what the catalogue says, comparing, validating.

Belongs here: files on disk and the views of a server against the catalogue. Stays out: options and words (``bi_app``),
what is generated (``catalog``).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from streamlake_assets.catalog.model_reader import Model, model_problems, read_model, view_problems
from streamlake_assets.catalog.project import FOLDER, MODEL, project_files
from streamlake_assets.catalog.published_schemas import schema_problems
from streamlake_assets.catalog.report_rules import documents_of, report_problems
from streamlake_assets.catalog.star import STAR
from streamlake_assets.catalog.views import migration, selects
from streamlake_assets.errors import UsageError
from streamlake_assets.settings import DatabaseRole, Settings

MIGRATIONS: Final = "streamlake_assets/stores/migrations/versions"
_OWN: Final = re.compile(r".*\.tmdl|page\.json|visual\.json")
"""Files below the project's folder that nobody but the generator makes; Power BI adds others, which are left alone."""
_REVISION: Final = re.compile(r"(\d{4})_\w+\.py")


def generate(root: Path) -> dict[str, list[str]]:
    """Write every generated file below a folder, and remove those that are no longer generated; return what changed."""
    files = project_files(STAR)
    changed = [path for path, text in files.items() if not _is(root / path, text)]
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(files[path].encode())
    left = list(_left_over(root, files))
    for path in left:
        (root / path).unlink()
    return {"written": sorted(changed), "removed": sorted(left)}


def differences(root: Path) -> list[str]:
    """Return what ``generate`` would change below a folder, and whether the newest migration makes other views."""
    files = project_files(STAR)
    found = []
    for path, text in files.items():
        if not _is(root / path, text):
            found.append(f"{path} {'differs' if (root / path).exists() else 'is missing'}")
    found += [f"{path} is no longer generated" for path in _left_over(root, files)]
    folder = root / MIGRATIONS
    if folder.is_dir() and _migrated(folder)[2] != selects(STAR):
        found.append("the newest migration makes other views: `streamlake bi migration` writes the next one")
    return sorted(found)


def write_migration(root: Path) -> Path | None:
    """Write the migration that brings the views to the catalogue; None when they are there already.

    Raises:
        UsageError: the folder is not a checkout of this project.
    """
    folder = root / MIGRATIONS
    if not folder.is_dir():
        raise UsageError(f"{root} is not a checkout of streamlake: {MIGRATIONS} is missing")
    newest, with_views, views = _migrated(folder)
    if views == selects(STAR):
        return None
    revision = f"{int(newest) + 1:04}"
    path = folder / f"{revision}_bi_views.py"
    path.write_text(migration(STAR, revision, newest, with_views))
    return path


def validate(root: Path, schemas: Path | None, settings: Settings | None) -> dict[str, Any]:
    """Check the Power BI project below a folder; return what was checked and what is wrong.

    Args:
        root: folder that holds the project's folder.
        schemas: a copy of Microsoft's published schemas, or None: then they are not asked.
        settings: where the views are, or None: then no server is asked.

    Raises:
        UsageError: there is no project, or a file cannot be read as one.
        TryLaterError: the server is to be asked and does not answer.
    """
    folder = root / FOLDER
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in _files(folder)}
    if not files:
        raise UsageError(f"{folder} holds no project: `streamlake bi generate` writes it")
    model = read_model({path: text for path, text in files.items() if path.startswith(f"{MODEL}/")})
    problems = [*model_problems(model), *report_problems(files, model)]
    found: dict[str, Any] = {
        "files": len(files),
        "tables": len(model.tables),
        "measures": sum(len(table.measures) for table in model.tables.values()),
        "views": "not run: no server was asked" if settings is None else _asked(settings, model, problems),
        "published_schemas": "not run: no folder with a copy was given",
    }
    if schemas is not None:
        checked = schema_problems(documents_of(files)[0], schemas)
        problems += checked.problems
        found["published_schemas"] = {"documents": checked.documents, "not_in_the_folder": checked.missing}
    found["problems"] = problems
    return found


def _asked(settings: Settings, model: Model, problems: list[str]) -> dict[str, int]:
    from streamlake_assets.stores.mysql import make_engine
    from streamlake_assets.stores.view_reader import view_columns

    engine = make_engine(settings, DatabaseRole.BI)
    try:
        views = view_columns(engine)
    finally:
        engine.dispose()
    problems += view_problems(model, views)
    return {"views": len(views), "columns": sum(map(len, views.values()))}


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a project but those that Power BI keeps for itself."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and ".pbi" not in path.parts)


def _left_over(root: Path, files: dict[str, str]) -> Iterator[str]:
    for path in _files(root / FOLDER):
        name = path.relative_to(root).as_posix()
        if _OWN.fullmatch(path.name) and name not in files:
            yield name


def _migrated(folder: Path) -> tuple[str, str, dict[str, str]]:
    """Return the newest revision, the newest module with views, and the SELECTs it makes, without their indentation."""
    revisions = sorted(path for path in folder.iterdir() if _REVISION.fullmatch(path.name))
    for path in reversed(revisions):
        for part in ast.parse(path.read_text()).body:
            # read, not run: the folder need not be the one that is installed
            if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "VIEWS":
                views: dict[str, str] = ast.literal_eval(part.value)
                return revisions[-1].name[:4], path.stem, {name: _plain(text) for name, text in views.items()}
    raise UsageError(f"{folder} holds no migration with views")


def _plain(text: str) -> str:
    return "\n".join(line.removeprefix(" " * 8) for line in text.strip("\n").splitlines() if line.strip())
