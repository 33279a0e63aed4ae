"""Everything that is generated from the catalogue, as texts by path: the Power BI project and the data dictionary.

Belongs here: which files there are, and the JSON around model and report. Stays out: what stands in the model
(``tmdl``), the pages (``report``) and the dictionary (``dictionary``), writing and comparing files (``commands.bi``).
"""

import json
from typing import Any, Final

from streamlake_assets.catalog import visuals
from streamlake_assets.catalog.dictionary import dictionary
from streamlake_assets.catalog.model import Catalog
from streamlake_assets.catalog.report import pages
from streamlake_assets.catalog.tmdl import identifier, model_files

NAME: Final = "streamlake"
FOLDER: Final = "bi"
MODEL: Final = f"{NAME}.SemanticModel"
REPORT: Final = f"{NAME}.Report"
DICTIONARY: Final = "docs/data_dictionary.md"


def project_files(catalog: Catalog) -> dict[str, str]:
    """Return every generated file of the repository: its path from the root, and its text."""
    files: dict[str, str] = {f"{FOLDER}/{path}": text for path, text in power_bi_files(catalog).items()}
    files[DICTIONARY] = dictionary(catalog)
    return files


def power_bi_files(catalog: Catalog) -> dict[str, str]:
    """Return the files of the Power BI project by their path in its folder."""
    files = {f"{MODEL}/definition/{path}": text for path, text in model_files(catalog).items()}
    documents: dict[str, Any] = {
        f"{NAME}.pbip": {
            "$schema": visuals.PBIP_SCHEMA,
            "version": "1.0",
            "artifacts": [{"report": {"path": REPORT}}],
            "settings": {"enableAutoRecovery": True},
        },
        f"{MODEL}/.platform": _platform("SemanticModel"),
        f"{MODEL}/definition.pbism": {"$schema": visuals.PBISM_SCHEMA, "version": "4.2", "settings": {}},
        f"{REPORT}/.platform": _platform("Report"),
        f"{REPORT}/definition.pbir": {
            "$schema": visuals.PBIR_SCHEMA,
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{MODEL}"}},
        },
        f"{REPORT}/definition/version.json": {"$schema": visuals.VERSION_SCHEMA, "version": "2.0.0"},
        # without a theme of its own Power BI takes the one it ships
        f"{REPORT}/definition/report.json": {"$schema": visuals.REPORT_SCHEMA, "themeCollection": {}},
    }
    made = pages(catalog)
    documents[f"{REPORT}/definition/pages/pages.json"] = {
        "$schema": visuals.PAGES_SCHEMA,
        "pageOrder": [page.name for page in made],
        "activePageName": made[0].name,
    }
    for page in made:
        folder = f"{REPORT}/definition/pages/{page.name}"
        documents |= {f"{folder}/{path}": document for path, document in visuals.page_files(page).items()}
    return files | {path: json.dumps(document, indent=2) + "\n" for path, document in documents.items()}


def _platform(kind: str) -> dict[str, Any]:
    return {
        "$schema": visuals.PLATFORM_SCHEMA,
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": str(identifier("item", kind))},
    }
