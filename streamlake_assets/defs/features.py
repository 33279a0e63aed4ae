"""The training set: a Parquet snapshot of all rows that training may see, named by its content."""

import datetime as dt

import dagster as dg

from streamlake_assets.defs import documents
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.flows import training
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess

GROUP = "features"
DAILY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=8), warn_window=dt.timedelta(days=4))


class TrainingSetConfig(dg.Config):
    """What training may see."""

    until: str | None = None
    """Newest session to learn from, ISO date; default: all settled sessions. A replay sets it before its live part."""


def _schema(frame: TrainingFrame) -> dg.TableSchema:
    columns = [dg.TableColumn("instrument", "string"), dg.TableColumn("session", "date")]
    columns += [dg.TableColumn(name, "double", description="feature, without unit") for name in frame.names]
    columns += [dg.TableColumn(f"y_{target.value}", "double", description="target, next session") for target in frame.y]
    return dg.TableSchema(columns=columns)


@dg.asset(
    key=["features", "training_set"],
    deps=documents.CHECKED,
    group_name=GROUP,
    kinds={"parquet", "numpy"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=DAILY,
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
            "dagster/column_schema": _schema(made.frame),
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
