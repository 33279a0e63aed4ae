"""Models: the specs of each engine, trained from the snapshot, saved, judged against their baselines."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import dagster as dg

from streamlake_assets.defs import features
from streamlake_assets.defs.common import OWNERS, check, table_metadata, table_records
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.flows import champions, training
from streamlake_assets.flows.skill import missing_models, skill_report
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.retraining import RetrainDecision
from streamlake_assets.market.targets import Target
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores import schema

GROUP = "models"


def _engine_asset(name: str, kind: str, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["models", name],
        deps=[features.training_set],
        group_name=GROUP,
        kinds={kind},
        owners=OWNERS,
        code_version="2",
        freshness_policy=features.DAILY,
        # one engine at a time: its time and memory are its own
        pool="training",
        description=description,
    )
    @tried_again
    def trained(context: dg.AssetExecutionContext, stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
        """Train in a process of its own, publish, register."""
        # one of Dagster's own calls within is still in preview: no news for who reads the terminal
        with (
            warnings.catch_warnings(action="ignore", category=dg.PreviewWarning),
            dg.open_pipes_session(
                context=context,
                context_injector=dg.PipesTempFileContextInjector(),
                message_reader=dg.PipesTempFileMessageReader(),
            ) as session,
        ):
            launch = partial(training.run_child, variables=session.get_bootstrap_env_vars())
            done = training.train_engine(stores.writer, stores.models, stores.settings, name, launch, stores.now())
        versions = {manifest.name: manifest.version for manifest in done.manifests}
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(versions),
                "versions": versions,
                "new_versions": list(done.new_versions),
                "left_out": list(done.reasons),
                "retraining": _decisions(done.decisions),
                "seconds": dict(done.seconds),
                "peak_memory_mb": done.peak_memory_mb,
            },
            data_version=dg.DataVersion(",".join(sorted(versions.values())) or "none"),
        )

    return trained


sklearn = _engine_asset(
    "sklearn", "scikitlearn", "Linear regression and random forest on both targets by scikit-learn, in one process."
)
dask = _engine_asset(
    "dask",
    "dask",
    "The same models by Dask-ML: its linear regression, and blockwise forests whose trees each saw a part of the rows.",
)
spark = _engine_asset("spark", "spark", "The same models by Spark MLlib.")
ENGINES = (sklearn, dask, spark)


def _trained_check(engine: dg.AssetsDefinition, name: str, remedy: str) -> dg.AssetChecksDefinition:
    """Return the check that looks for the newest training set's models of an engine."""

    def trained(stores: StoreAccess) -> Verdict:
        return training.engine_is_trained(stores.settings, stores.models, name)

    trained.__name__ = f"{name}_trained"
    truth = "Every spec was trained, or has a reason why not"
    return check(engine, truth, limit="every spec of the newest training set", remedy=remedy)(trained)


sklearn_trained = _trained_check(
    sklearn,
    "sklearn",
    "The run's log has the engine's reason. The last good model goes on speaking meanwhile.",
)
dask_trained = _trained_check(
    dask,
    "dask",
    "As for sklearn_trained; a lost worker is most often memory.",
)
spark_trained = _trained_check(
    spark,
    "spark",
    "As for sklearn_trained; a killed Java is most often memory: STREAMLAKE_SPARK_MEMORY_MB.",
)


@dg.asset(
    key=["models", "champion"],
    deps=ENGINES,
    group_name=GROUP,
    kinds={"mysql"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=features.DAILY,
    metadata=table_metadata(schema.champions),
    description="Which model speaks for each target: the best that passed the gate, else version 0, the baseline.",
)
@tried_again
def champion(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Judge the challengers and record the champions."""
    training.train_version_zero(stores.writer, stores.models, stores.settings, stores.now())
    named = champions.name_champions(stores.writer, stores.models)
    return dg.MaterializeResult(
        metadata={
            "champions": {one.target.value: one.version for one in named},
            "reasons": {one.target.value: one.reason for one in named},
        },
        data_version=dg.DataVersion(",".join(sorted(one.version for one in named))),
    )


@check(
    champion,
    "The champion of each target opens: its files are the ones that were published",
    limit="every target",
    remedy="A model's files were changed: the version before speaks meanwhile. Train again, or restore the "
    "folder from a backup.",
)
def champions_open(stores: StoreAccess) -> Verdict:
    """Load the champions as serving would."""
    opened: dict[str, str] = {}
    refused: list[str] = []
    for target in Target:
        try:
            found = champions.champion_of(stores.reader, stores.models, target)
        except ModelRefusedError as error:
            refused.append(str(error))
        else:
            opened[target.value] = found.model.version
            refused += found.refused
    text = f"{len(opened)} of {len(Target)} champions open; refused: {'; '.join(refused) or 'none'}"
    return Verdict(not refused, text, {**opened, "refused": refused, "limit": 0})


@dg.asset(
    key=["reports", "skill"],
    deps=[champion],
    group_name="reports",
    kinds={"mongodb"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=features.DAILY,
    description="What each model is worth over its baseline, out of fold, with a 95 % interval by block bootstrap.",
)
@tried_again
def skill(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Write the skill of every model of the newest run."""
    records = skill_report(stores.models)
    settings = stores.settings
    specs = [spec for name in settings.training_engines for spec in training.specs_of(name, settings.min_history)]
    missing = missing_models(stores.models, records, specs)
    stores.documents.put_report("skill", {"models": records, "missing": missing, "made_at": stores.now()})
    table = table_records(records)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(records),
            "skill": dg.MetadataValue.table(table) if table else "no models",
            "missing": missing,
        }
    )


@check(
    skill,
    "No model claims more than a daily market allows: that would be a leak",
    limit=f"a skill of {quality.SKILL_TOO_GOOD}",
    remedy="No daily forecast is that good: look for a leak before anybody believes it.",
)
def skill_is_plausible(stores: StoreAccess) -> Verdict:
    """Judge the newest models' claims."""
    skills = {record["version"]: record["skill"] for record in skill_report(stores.models)}
    return quality.skill_is_plausible(skills)


def _decisions(decisions: Mapping[str, RetrainDecision]) -> dg.MetadataValue[Any] | str:
    records = [
        dg.TableRecord(
            {
                "spec": name,
                "trained": decision.retrain,
                "reason": decision.reason,
                "expected_gain": decision.expected_gain,
                "cost_s": decision.compute_cost_s,
            }
        )
        for name, decision in decisions.items()
    ]
    return dg.MetadataValue.table(records) if records else "no new data: every version exists"
