"""The command line of the BI model: ``streamlake bi generate|validate|migration``.

Belongs here: options and words; ``register`` puts the commands under ``streamlake``. Stays out: what they do (``bi``),
loaded only when one is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from streamlake_assets.commands.terminal import Json, emit, line, settings_in_force

bi = typer.Typer(
    name="bi", help="The Power BI project, its views and their dictionary.", no_args_is_help=True, add_completion=False
)
Root = Annotated[Path, typer.Option("--root", help="Checkout that holds bi/ and docs/.", file_okay=False)]


def register(app: typer.Typer) -> None:
    """Put the commands under the main command."""
    app.add_typer(bi)


@bi.command()
def generate(
    root: Root = Path(),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when a file would change.")] = False,
    as_json: Json = False,
) -> None:
    """Write the Power BI project and the data dictionary from the catalogue."""
    from streamlake_assets.commands import bi as commands

    if check:
        found = commands.differences(root)
        if as_json:
            emit(found)
        else:
            for one in found:
                line(one)
            line(f"{len(found)} differences to the catalogue")
        raise typer.Exit(1 if found else 0)
    done = commands.generate(root)
    if as_json:
        emit(done)
    else:
        line(f"{len(done['written'])} files written, {len(done['removed'])} removed")


@bi.command()
def validate(
    root: Root = Path(),
    schemas: Annotated[
        Path | None,
        typer.Option(help="A copy of microsoft/json-schemas; without it they are not asked.", exists=True),
    ] = None,
    views: Annotated[bool, typer.Option("--views", help="Ask the MySQL server for its views, as the BI user.")] = False,
    as_json: Json = False,
) -> None:
    """Check the Power BI project: model, DAX names, pages, fields, schemas. Exit 1 when something is wrong."""
    from streamlake_assets.commands import bi as commands

    found = commands.validate(root, schemas, settings_in_force() if views else None)
    if as_json:
        emit(found)
    else:
        line(f"{found['files']} files, {found['tables']} tables, {found['measures']} measures")
        line(f"views of the server: {found['views']}")
        line(f"Microsoft's schemas: {found['published_schemas']}")
        for problem in found["problems"]:
            line(problem)
        line(f"{len(found['problems'])} problems")
    raise typer.Exit(1 if found["problems"] else 0)


@bi.command()
def migration(root: Root = Path()) -> None:
    """Write the migration that brings the views to the catalogue, for those who change it."""
    from streamlake_assets.commands import bi as commands

    path = commands.write_migration(root)
    line("the views are as the catalogue says" if path is None else f"{path} written: `streamlake migrate` runs it")
