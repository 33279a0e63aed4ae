"""Where somebody sees an asset without Dagster: the view of the page that shows it. No asset lives here.

Belongs here: which view that is. Stays out: the address of the page, which settings say when the location is loaded.
"""

from collections.abc import Mapping
from typing import Final

import dagster as dg

from panel_app.serving import PATH
from streamlake_assets.settings import LOOPBACK, Settings

_BY_GROUP: Final[Mapping[str, str]] = {
    "stream": "quality",
    "services": "quality",
    "raw": "quality",
    "documents": "indicators",
    "features": "models",
    "models": "models",
    "reports": "models",
    "forecasts": "forecasts",
    "signals": "forecasts",
    "pages": "live",
}
"""View of the assets of a group; the words are those that stand in the address."""
_BY_KEY: Final[Mapping[str, str]] = {"raw/bars": "live"}
NO_PAGE: Final[Mapping[str, str]] = {
    "pages/power_bi": "it is a file that somebody opens",
    "reports/chaos_drill": "its history is in its own metadata",
}
"""Assets that no page shows, and why."""
_NIFI_FLOW: Final = "stream/nifi_flow"


def linked(spec: dg.AssetSpec, settings: Settings) -> dg.AssetSpec:
    """Return a spec with the address of the page that shows it, where there is one.

    Raises:
        KeyError: no view is named for its group.
    """
    name = spec.key.to_user_string()
    if name in NO_PAGE:
        return spec
    if name == _NIFI_FLOW:
        url = f"{settings.nifi.rstrip('/')}/nifi"
    else:
        view = _BY_KEY.get(name) or _BY_GROUP[spec.key.path[0]]
        url = f"http://{LOOPBACK}:{settings.panel_port}{PATH}?view={view}"
    return spec.merge_attributes(metadata={"page": dg.MetadataValue.url(url)})
