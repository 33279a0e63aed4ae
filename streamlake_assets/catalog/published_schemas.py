"""Microsoft's published JSON schemas, from a folder that holds a copy: nothing is fetched.

Belongs here: finding the schema a document names, and validating with it. Stays out: rules of our own
(``report_rules``). The folder is a checkout of microsoft/json-schemas, or a part of it with the same paths.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from streamlake_assets.errors import MissingToolError

ROOT: Final = "https://developer.microsoft.com/json-schemas/"


class Validated(NamedTuple):
    """How many documents were held against their schema, which schemas the folder lacks, and what is wrong."""

    documents: int
    missing: list[str]
    problems: list[str]


def schema_problems(documents: Mapping[str, Any], folder: Path) -> Validated:
    """Validate documents with the schemas that they name.

    Args:
        documents: by path; each names its schema.
        folder: a copy of the schemas.

    Raises:
        MissingToolError: jsonschema is not installed.
    """
    try:
        from jsonschema import Draft7Validator  # type: ignore[import-untyped]
        from referencing import Registry, Resource
        from referencing.exceptions import NoSuchResource, Unresolvable
        from referencing.jsonschema import DRAFT7
    except ImportError as error:
        raise MissingToolError("validating with published schemas needs jsonschema: pip install jsonschema") from error

    def retrieve(uri: str) -> Any:
        path = _local(folder, uri)
        if path is None:
            raise NoSuchResource(uri)
        return Resource.from_contents(json.loads(path.read_text()), default_specification=DRAFT7)

    registry: Any = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    checked, missing, problems = 0, set(), []
    for path, document in sorted(documents.items()):
        uri = document.get("$schema", "")
        if _local(folder, uri) is None:
            missing.add(uri)
            continue
        try:
            found = list(Draft7Validator({"$ref": uri}, registry=registry).iter_errors(document))
        except Unresolvable as error:
            missing.add(str(error.ref))
            continue
        checked += 1
        problems += [f"{path}: {'/'.join(map(str, one.absolute_path)) or 'it'}: {one.message}" for one in found]
    return Validated(checked, sorted(missing), problems)


def _local(folder: Path, uri: str) -> Path | None:
    """Return the file of a schema in the copy; None where the address is not Microsoft's or the file is not there."""
    if not uri.startswith(ROOT):
        return None
    # embedded schemas call themselves schema.embedded.json, their files are schema-embedded.json
    path = (
        folder / uri.removeprefix(ROOT).partition("#")[0].replace("schema.embedded.json", "schema-embedded.json")
    ).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
