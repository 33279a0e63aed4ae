"""The training set: a Parquet snapshot of all rows that training may see, named by its content."""

import datetime as dt

import dagster as dg

from streamlake_assets.defs import columns, documents
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.flows import drift, training
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess

GROUP = "features"
DAILY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=8), warn_window=dt.timedelta(days=4))


class TrainingSetConfig(dg.Config):
    """What training may see."""

    until: str | None = None
    """Newest session to learn from, ISO date; default: all settled sessions. A replay sets it before its live part."""


@dg.asset(
    key=["features", "training_set"],
    deps=documents.CHECKED,
    group_name=GROUP,
    kinds={"parquet", "numpy"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=DAILY,
    metadata=columns.training_set(),
    description="One row per instrument and session: features known after it, targets of the next session.",
)
@tried_again
def training_set(config: TrainingSetConfig, stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Write the snapshot."""
    until = None if config.until is None else dt.date.fromisoformat(config.until)
    made = training.make_snapshot(stores.documents, stores.training_sets, until, stores.settings.min_history)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(made.frame),
            "instruments": list(made.frame.instruments),
            "first_session": made.frame.first_session.isoformat(),
            "last_session": made.frame.last_session.isoformat(),
            "next_offsets": made.offsets,
            "path": dg.MetadataValue.path(made.path),
        },
        data_version=dg.DataVersion(made.data_hash),
    )


@check(
    training_set,
    "Nothing leaks: no future, no row on both sides of a split, no copy of a target, no level",
    limit="no finding",
    remedy="The report names the feature and the rows. Nothing is trained until the feature is mended; a "
    "forecast made of it would be dishonest.",
    blocking=True,
)
def nothing_leaks(stores: StoreAccess) -> Verdict:
    """Inspect the snapshot against the series it was made of."""
    return training.inspect_snapshot(stores.documents, stores.training_sets)


@check(
    training_set,
    "The newest sessions still come from where those came from that the models learned from",
    limit=drift.LIMIT_TEXT,
    remedy="The metadata names the features. Did a source change, or the market? Drift alone is no reason to train: "
    "the daily job does so when live skill falls too, or by age. Until then trust forecasts less.",
    severity=dg.AssetCheckSeverity.WARN,
)
def features_do_not_drift(stores: StoreAccess) -> Verdict:
    """Hold the newest rows of the snapshot against those that the newest models learned from."""
    return drift.judge_drift(stores.models, stores.settings)
