"""The Dagster code location: assembly only. Loads with an empty environment and without any server."""

import warnings
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from streamlake_assets.defs.links import linked
from streamlake_assets.resources import StoreAccessResource
from streamlake_assets.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Join the definitions under ``defs/`` with the resources they use, each asset with the page that shows it."""
    settings = Settings()
    in_months = _from_first_month(settings.first_month)
    found = dg.load_from_defs_folder(path_within_project=Path(__file__).parent / "defs")
    with warnings.catch_warnings():
        # marked as preview; the other way to a start by setting is to read the environment at import
        warnings.simplefilter("ignore", dg.PreviewWarning)
        found = found.map_resolved_asset_specs(func=lambda spec: linked(in_months(spec), settings))
    return dg.Definitions.merge(
        found,
        # in one process: a run starts four seconds sooner, and two cores gain nothing from more
        dg.Definitions(resources={"stores": StoreAccessResource()}, executor=dg.in_process_executor),
    )


def _from_first_month(first: str) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    months = dg.MonthlyPartitionsDefinition(start_date=f"{first}-01", end_offset=1)
    return lambda spec: spec if spec.partitions_def is None else spec.replace_attributes(partitions_def=months)
