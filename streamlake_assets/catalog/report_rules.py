"""Rules of our own for the JSON of the Power BI project, for the parts of PBIR that are used.

Belongs here: which keys and values each document may have, and how documents refer to each other and to the model.
Stays out: writing them (``visuals``, ``project``), Microsoft's schemas themselves (``published_schemas``).

The rules restate what Microsoft publishes in microsoft/json-schemas for the versions that ``visuals`` names: page
2.1.0, visualContainer 2.9.0 with visualConfiguration 2.3.0 and filterConfiguration 1.3.0, report 3.3.0, pagesMetadata
1.0.0, versionMetadata 1.0.0, definitionProperties of report 2.0.0 and of semantic model 1.0.0, pbipProperties 1.0.0,
platformProperties 2.1.0. They are narrower: what the project does not use is refused too.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any, Final

from streamlake_assets.catalog import visuals
from streamlake_assets.catalog.model_reader import Model
from streamlake_assets.catalog.visuals import ROLES, VisualType

Rule = Callable[[Any, str], Iterator[str]]
"""Yields what is wrong with a value, each time with its path."""
_LONGEST_NAME: Final = 50


def _object(required: dict[str, Rule], optional: dict[str, Rule] | None = None) -> Rule:
    known = {**required, **(optional or {})}

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        yield from (f"{path} lacks {name}" for name in required if name not in value)
        for name, part in value.items():
            if name in known:
                yield from known[name](part, f"{path}.{name}")
            else:
                yield f"{path}.{name} is not known"

    return check


def _list(of: Rule, least: int = 1) -> Rule:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list) or len(value) < least:
            yield f"{path} is no list of {least} or more"
            return
        for place, part in enumerate(value):
            yield from of(part, f"{path}[{place}]")

    return check


def _one_of(*allowed: Any) -> Rule:
    def check(value: Any, path: str) -> Iterator[str]:
        # 1 and True are equal to Python, not to a schema
        if not any(type(value) is type(one) and value == one for one in allowed):
            yield f"{path} is {value!r}, not {' or '.join(map(repr, allowed))}"

    return check


def _text(longest: int = 10_000) -> Rule:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            yield f"{path} is no text of 1 to {longest} signs"

    return check


def _number(least: float, greatest: float) -> Rule:
    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= greatest:
            yield f"{path} is no number from {least} to {greatest}"

    return check


def _field(value: Any, path: str) -> Iterator[str]:
    reference = _object(
        {"Expression": _object({"SourceRef": _object({"Entity": _text()})}), "Property": _text()},
    )
    yield from _object({}, {"Column": reference, "Measure": reference})(value, path)
    if isinstance(value, dict) and len(value) != 1:
        yield f"{path} is not exactly one column or measure"


_NAME = _text(_LONGEST_NAME)
_LITERAL = _object({"expr": _object({"Literal": _object({"Value": _text()})})})


def _formats(**properties: Rule) -> Rule:
    return _list(_object({"properties": _object({}, properties)}))


_PROJECTION = _object(
    {"field": _field, "queryRef": _text()}, {"nativeQueryRef": _text(), "active": _one_of(True, False)}
)
_VISUAL = _object(
    {
        "$schema": _one_of(visuals.VISUAL_SCHEMA),
        "name": _NAME,
        "position": _object(
            {
                "x": _number(0, visuals.WIDTH),
                "y": _number(0, visuals.HEIGHT),
                "width": _number(1, visuals.WIDTH),
                "height": _number(1, visuals.HEIGHT),
            },
            {"z": _number(0, 10_000), "tabOrder": _number(0, 10_000)},
        ),
        "visual": _object(
            {
                "visualType": _one_of(*(one.value for one in VisualType)),
                "query": _object(
                    {
                        "queryState": _object(
                            {},
                            {
                                role: _object({"projections": _list(_PROJECTION)})
                                for role in {name for roles in ROLES.values() for name in roles}
                            },
                        )
                    },
                    {
                        "sortDefinition": _object(
                            {
                                "sort": _list(
                                    _object({"field": _field, "direction": _one_of("Ascending", "Descending")})
                                )
                            },
                            {"isDefaultSort": _one_of(True, False)},
                        )
                    },
                ),
            },
            {
                "objects": _object({}, {"data": _formats(mode=_LITERAL)}),
                "visualContainerObjects": _object(
                    {}, {"title": _formats(show=_LITERAL, text=_LITERAL), "general": _formats(altText=_LITERAL)}
                ),
                "syncGroup": _object(
                    {"groupName": _text()},
                    {"fieldChanges": _one_of(True, False), "filterChanges": _one_of(True, False)},
                ),
                "drillFilterOtherVisuals": _one_of(True, False),
            },
        ),
    }
)
_PAGE = _object(
    {
        "$schema": _one_of(visuals.PAGE_SCHEMA),
        "name": _NAME,
        "displayName": _text(),
        "displayOption": _one_of("FitToPage"),
        "height": _number(1, 10_000),
        "width": _number(1, 10_000),
    },
    {
        "type": _one_of("Drillthrough"),
        "pageBinding": _object(
            {"name": _text(), "type": _one_of("Drillthrough")},
            {"parameters": _list(_object({"name": _text()}, {"boundFilter": _text(), "fieldExpr": _field}))},
        ),
        "filterConfig": _object(
            {},
            {
                "filters": _list(
                    _object(
                        {"name": _text()},
                        {"field": _field, "type": _one_of("Categorical"), "howCreated": _one_of("Drillthrough")},
                    )
                )
            },
        ),
    },
)
_PLATFORM = _object(
    {
        "$schema": _one_of(visuals.PLATFORM_SCHEMA),
        "metadata": _object({"type": _one_of("Report", "SemanticModel"), "displayName": _text()}),
        "config": _object({"version": _one_of("2.0"), "logicalId": _text()}),
    }
)
RULES: Final[dict[str, Rule]] = {
    "*.pbip": _object(
        {
            "$schema": _one_of(visuals.PBIP_SCHEMA),
            "version": _one_of("1.0"),
            "artifacts": _list(_object({"report": _object({"path": _text()})})),
        },
        {"settings": _object({}, {"enableAutoRecovery": _one_of(True, False)})},
    ),
    "*/.platform": _PLATFORM,
    "*/definition.pbism": _object(
        {"$schema": _one_of(visuals.PBISM_SCHEMA), "version": _one_of("4.2")}, {"settings": _object({})}
    ),
    "*/definition.pbir": _object(
        {
            "$schema": _one_of(visuals.PBIR_SCHEMA),
            "version": _one_of("4.0"),
            "datasetReference": _object({"byPath": _object({"path": _text()})}),
        }
    ),
    "*/definition/version.json": _object({"$schema": _one_of(visuals.VERSION_SCHEMA), "version": _one_of("2.0.0")}),
    "*/definition/report.json": _object({"$schema": _one_of(visuals.REPORT_SCHEMA), "themeCollection": _object({})}),
    "*/pages/pages.json": _object(
        {"$schema": _one_of(visuals.PAGES_SCHEMA)}, {"pageOrder": _list(_text()), "activePageName": _text()}
    ),
    "*/pages/*/page.json": _PAGE,
    "*/visuals/*/visual.json": _VISUAL,
}
"""By pattern of the path: what the document may say."""


def documents_of(files: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the JSON documents of a project by path, and what cannot be read."""
    documents: dict[str, Any] = {}
    wrong = []
    for path, text in files.items():
        if not path.endswith(".tmdl"):
            try:
                documents[path] = json.loads(text)
            except ValueError as error:
                wrong.append(f"{path} is no JSON: {error}")
    return documents, wrong


def report_problems(files: Mapping[str, str], model: Model) -> Iterator[str]:
    """Yield what is wrong with the JSON documents of a project, and which fields the model does not have.

    Args:
        files: of the project's folder, by path.
        model: the semantic model they speak of.
    """
    documents, unreadable = documents_of(files)
    yield from unreadable
    shapes = []
    for path, document in documents.items():
        # the last pattern that fits is the narrowest
        rules = [rule for pattern, rule in RULES.items() if fnmatch(path, pattern)]
        shapes += list(rules[-1](document, path)) if rules else [f"{path} is not known"]
    yield from shapes
    if not shapes and not unreadable:
        yield from _between(documents, model)


def _between(documents: Mapping[str, Any], model: Model) -> Iterator[str]:
    """Yield where documents of the right shape do not fit together."""
    pages = {path: one for path, one in documents.items() if path.endswith("/page.json")}
    listed = [one for path, one in documents.items() if path.endswith("/pages.json")]
    if [sorted(one["pageOrder"]) for one in listed] != [sorted(page["name"] for page in pages.values())]:
        yield "pages.json does not list the pages there are"
    for path, document in documents.items():
        folder, _, file = path.rpartition("/")
        if file in ("page.json", "visual.json") and folder.rpartition("/")[2] != document["name"]:
            yield f"{path}: its folder is not its name"
        if file == "visual.json":
            yield from (f"{path}: {what}" for what in _visual_problems(document))
        if file == "page.json":
            yield from (f"{path}: {what}" for what in _page_problems(document))
        for table, field, is_measure in fields_of(document):
            if not model.has(table, field, is_measure):
                yield f"{path}: the model has no {'measure' if is_measure else 'column'} {table}[{field}]"
    ids = [one["config"]["logicalId"] for path, one in documents.items() if path.endswith("/.platform")]
    if len(set(ids)) != len(ids):
        yield "two items have one logicalId"


def _visual_problems(document: Mapping[str, Any]) -> Iterator[str]:
    place, visual = document["position"], document["visual"]
    if place["x"] + place["width"] > visuals.WIDTH or place["y"] + place["height"] > visuals.HEIGHT:
        yield "it stands out of the page"
    state = visual["query"]["queryState"]
    allowed = ROLES[VisualType(visual["visualType"])]
    yield from (f"a {visual['visualType']} has no role {role}" for role in state if role not in allowed)
    if allowed[0] not in state:
        yield f"a {visual['visualType']} needs the role {allowed[0]}"


def _page_problems(document: Mapping[str, Any]) -> Iterator[str]:
    if ("type" in document) != ("pageBinding" in document):
        yield "a page to drill through to has a type and a binding"
    filters = {one["name"]: one.get("field") for one in document.get("filterConfig", {}).get("filters", ())}
    for parameter in document.get("pageBinding", {}).get("parameters", ()):
        if filters.get(parameter.get("boundFilter")) != parameter.get("fieldExpr"):
            yield "a parameter of its binding has no filter of the same field"


def fields_of(value: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield every field that a document refers to, wherever: table, name, whether it is a measure."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name in ("Column", "Measure"):
                yield part["Expression"]["SourceRef"]["Entity"], part["Property"], name == "Measure"
            else:
                yield from fields_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from fields_of(part)
