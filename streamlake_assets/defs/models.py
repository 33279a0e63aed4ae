"""Models: the specs of each engine, trained from the snapshot, saved, judged against their baselines."""

import json

import dagster as dg

from streamlake_assets.defs import features
from streamlake_assets.defs.common import OWNERS, check_result
from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.flows import training
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.targets import Target
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores import ledger

GROUP = "models"


@dg.asset(
    key=["models", "sklearn"],
    deps=[features.training_set],
    group_name=GROUP,
    kinds={"scikitlearn"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=features.DAILY,
    description="Linear regression on both targets by scikit-learn, and version 0 of each: its baseline.",
)
def sklearn(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Train, judge by walk-forward, publish, register, name the champions."""
    path = training.snapshot_path(stores.training_sets)
    offsets = training.snapshot_offsets(stores.training_sets)
    done = training.train_models(stores.writer, stores.models, path, offsets, stores.now(), stores.settings.min_history)
    versions = {manifest.name: manifest.version for manifest in done.manifests}
    return dg.MaterializeResult(
        metadata={
            "versions": versions,
            "new_versions": list(done.new_versions),
            "left_out": list(done.reasons),
            "learned_from": offsets,
            "champions": {target.value: version for target, version in ledger.champions(stores.writer).items()},
        },
        data_version=dg.DataVersion(",".join(sorted(versions.values()))),
    )


@dg.asset_check(
    asset=sklearn, description="The champion of each target opens: its files are the ones that were published"
)
def champions_open(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Load the champions as serving would."""
    opened: dict[str, str] = {}
    refused: list[str] = []
    for target in Target:
        try:
            champion = training.champion_of(stores.reader, stores.models, target)
        except ModelRefusedError as error:
            refused.append(str(error))
        else:
            opened[target.value] = champion.model.version
            refused += champion.refused
    text = f"{len(opened)} of {len(Target)} champions open; refused: {'; '.join(refused) or 'none'}"
    return check_result(Verdict(not refused, text, {**opened, "refused": refused, "limit": 0}))


@dg.asset(
    key=["reports", "skill"],
    deps=[sklearn],
    group_name="reports",
    kinds={"mongodb"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=features.DAILY,
    description="What each model is worth over its baseline, out of fold, with a 95 % interval by block bootstrap.",
)
def skill(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Write the skill of every model of the newest run."""
    records = training.skill_report(stores.models)
    stores.documents.put_report("skill", {"models": records, "made_at": stores.now()})
    table = [dg.TableRecord({name: _cell(value) for name, value in record.items()}) for record in records]
    return dg.MaterializeResult(
        metadata={"dagster/row_count": len(records), "skill": dg.MetadataValue.table(table) if table else "no models"}
    )


@dg.asset_check(asset=skill, description="No model claims more than a daily market allows: that would be a leak")
def skill_is_plausible(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Judge the newest models' claims."""
    skills = {record["version"]: record["skill"] for record in training.skill_report(stores.models)}
    return check_result(quality.skill_is_plausible(skills))


def _cell(value: object) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool) or value is None else json.dumps(value, default=str)
