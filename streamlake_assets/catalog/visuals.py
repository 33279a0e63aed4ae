"""The parts a report page is laid out of: fields, visuals, pages, as plain values and as PBIR's JSON.

Belongs here: what a slicer, card, table or chart is in PBIR, with the versions of Microsoft's published schemas that
the files name. Stays out: which pages there are (``report``), the rules they are checked by (``report_rules``).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from streamlake_assets.catalog.tmdl import identifier

SCHEMAS: Final = "https://developer.microsoft.com/json-schemas/fabric/"
PAGE_SCHEMA: Final = f"{SCHEMAS}item/report/definition/page/2.1.0/schema.json"
VISUAL_SCHEMA: Final = f"{SCHEMAS}item/report/definition/visualContainer/2.9.0/schema.json"
REPORT_SCHEMA: Final = f"{SCHEMAS}item/report/definition/report/3.3.0/schema.json"
PAGES_SCHEMA: Final = f"{SCHEMAS}item/report/definition/pagesMetadata/1.0.0/schema.json"
VERSION_SCHEMA: Final = f"{SCHEMAS}item/report/definition/versionMetadata/1.0.0/schema.json"
PBIR_SCHEMA: Final = f"{SCHEMAS}item/report/definitionProperties/2.0.0/schema.json"
PBISM_SCHEMA: Final = f"{SCHEMAS}item/semanticModel/definitionProperties/1.0.0/schema.json"
PBIP_SCHEMA: Final = f"{SCHEMAS}pbip/pbipProperties/1.0.0/schema.json"
PLATFORM_SCHEMA: Final = f"{SCHEMAS}gitIntegration/platformProperties/2.1.0/schema.json"

WIDTH: Final = 1280
HEIGHT: Final = 720


class VisualType(StrEnum):
    """Visuals that are used, as PBIR names them."""

    SLICER = "slicer"
    CARD = "card"
    TABLE = "tableEx"
    LINE = "lineChart"
    BARS = "clusteredBarChart"
    COLUMNS = "clusteredColumnChart"


ROLES: Final = {
    VisualType.SLICER: ("Values",),
    VisualType.CARD: ("Values",),
    VisualType.TABLE: ("Values",),
    VisualType.LINE: ("Category", "Y", "Series"),
    VisualType.BARS: ("Category", "Y", "Series"),
    VisualType.COLUMNS: ("Category", "Y", "Series"),
}
"""Roles that a visual of each type has fields in."""


@dataclass(frozen=True)
class Field:
    """A column or measure of the model, by the labels of table and field."""

    table: str
    name: str
    is_measure: bool = False

    def expression(self) -> dict[str, Any]:
        """Return the reference as PBIR writes it."""
        kind = "Measure" if self.is_measure else "Column"
        return {kind: {"Expression": {"SourceRef": {"Entity": self.table}}, "Property": self.name}}

    @property
    def reference(self) -> str:
        """Name by which a visual's query refers to it."""
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Visual:
    """One visual: fields by role, place in pixels, title; slicers of one ``group`` move together on all pages."""

    type: VisualType
    title: str
    place: tuple[int, int, int, int]
    """Left, top, width, height."""
    fields: dict[str, tuple[Field, ...]]
    group: str = ""
    mode: str = ""
    """Of a slicer: Between or Dropdown."""
    descending: Field | None = None
    """Field by which rows are sorted, the greatest first."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page; with ``drillthrough``, one that others open for a value of that field."""

    title: str
    visuals: tuple[Visual, ...]
    drillthrough: Field | None = None

    @property
    def name(self) -> str:
        """Its name in the files: stable, and unique by its title."""
        return _word(self.title)


def page_files(page: Page) -> dict[str, Any]:
    """Return the JSON documents of a page by their path in its folder."""
    files: dict[str, Any] = {"page.json": _page(page)}
    # in the order in which the keyboard visits them
    for order, visual in enumerate(page.visuals, 1):
        name = _word(f"{visual.type.value} {visual.title}")
        files[f"visuals/{name}/visual.json"] = _visual(name, visual, order)
    return files


def _page(page: Page) -> dict[str, Any]:
    made: dict[str, Any] = {
        "$schema": PAGE_SCHEMA,
        "name": page.name,
        "displayName": page.title,
        "displayOption": "FitToPage",
        "height": HEIGHT,
        "width": WIDTH,
    }
    if page.drillthrough is not None:
        chosen = identifier("filter", page.title, page.drillthrough.reference).hex[:20]
        made["type"] = "Drillthrough"
        made["pageBinding"] = {
            "name": identifier("binding", page.title).hex[:20],
            "type": "Drillthrough",
            "parameters": [
                {
                    "name": identifier("parameter", page.title, page.drillthrough.reference).hex[:20],
                    "boundFilter": chosen,
                    "fieldExpr": page.drillthrough.expression(),
                }
            ],
        }
        made["filterConfig"] = {
            "filters": [
                {
                    "name": chosen,
                    "field": page.drillthrough.expression(),
                    "type": "Categorical",
                    "howCreated": "Drillthrough",
                }
            ]
        }
    return made


def _visual(name: str, visual: Visual, order: int) -> dict[str, Any]:
    left, top, width, height = visual.place
    query: dict[str, Any] = {
        "queryState": {
            role: {"projections": [_projection(one, visual, role) for one in fields]}
            for role, fields in visual.fields.items()
        }
    }
    if visual.descending is not None:
        query["sortDefinition"] = {
            "sort": [{"field": visual.descending.expression(), "direction": "Descending"}],
            "isDefaultSort": False,
        }
    configured: dict[str, Any] = {"visualType": visual.type.value, "query": query}
    if visual.mode:
        configured["objects"] = {"data": [{"properties": {"mode": _literal(f"'{visual.mode}'")}}]}
    configured["visualContainerObjects"] = {
        "title": [{"properties": {"show": _literal("true"), "text": _literal(f"'{visual.title}'")}}],
        "general": [{"properties": {"altText": _literal(f"'{visual.title}'")}}],
    }
    if visual.group:
        configured["syncGroup"] = {"groupName": visual.group, "fieldChanges": True, "filterChanges": True}
    configured["drillFilterOtherVisuals"] = True
    return {
        "$schema": VISUAL_SCHEMA,
        "name": name,
        "position": {"x": left, "y": top, "z": order, "height": height, "width": width, "tabOrder": order},
        "visual": configured,
    }


def _projection(one: Field, visual: Visual, role: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "field": one.expression(),
        "queryRef": one.reference,
        "nativeQueryRef": one.name,
    }
    # what can be drilled into or chosen is active; a table's columns and values are not
    if not one.is_measure and (role == "Category" or visual.type is VisualType.SLICER):
        made["active"] = True
    return made


def _word(title: str) -> str:
    """Return a title as a name that folders and PBIR allow: letters, digits and _, at most 50."""
    return re.sub(r"\W+", "_", title.lower())[:50].strip("_")


def _literal(value: str) -> dict[str, Any]:
    return {"expr": {"Literal": {"Value": value}}}
