"""Session documents, feature buckets, lines of periods: from MySQL to the document store, by month, what was touched.

A run that chooses no months makes those that bars touched since the last refresh and reports each of them; that is what
the sensor and the schedules ask for, and no late bar is missed by it. A run of chosen months, as a backfill asks for,
makes these again and leaves what was touched elsewhere to the next refresh.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from streamlake_assets.defs import document_columns, raw
from streamlake_assets.defs.columns import BUCKETS as FEATURE_BUCKETS
from streamlake_assets.defs.columns import SESSION_BARS
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.flows import document_proof, observations
from streamlake_assets.flows.calendar_sessions import refresh_calendar_sessions
from streamlake_assets.flows.documents import Refreshed, refresh_documents
from streamlake_assets.flows.periods import judge_periods
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.documents import BUCKETS, PERIODS, SESSIONS

GROUP = "documents"
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=4), warn_window=dt.timedelta(days=3))
"""A long weekend passes; a week without a refresh does not."""

PERIOD_LINES = dg.AssetKey(["documents", "periods"])
MADE_TOGETHER = (SESSION_BARS, FEATURE_BUCKETS, PERIOD_LINES)
"""By one step: who asks for one of them asks for all."""
CHECKED = (SESSION_BARS, FEATURE_BUCKETS)
"""What readers of the buckets depend on. A blocking check holds back the direct dependents of its asset only, and both
assets are made in one step: without the edge to the session documents their check would block nobody."""


MONTHS = dg.MonthlyPartitionsDefinition(start_date="1990-01-01", end_offset=1)
"""Months of sessions. ``definitions`` lets them begin at STREAMLAKE_FIRST_MONTH; the open month is one of them."""


class RefreshConfig(dg.Config):
    """How to refresh."""

    full: bool = False
    """Make every document again instead of the touched ones; the result is the same. Of chosen months all are made."""


def _spec(
    key: dg.AssetKey, deps: Sequence[Any], metadata: Mapping[str, Any], description: str, form: str = "1"
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=deps,
        group_name=GROUP,
        kinds={"mongodb"},
        owners=OWNERS,
        code_version=form,
        metadata=metadata,
        partitions_def=MONTHS,
        freshness_policy=FRESHNESS,
        description=description,
    )


SPECS = (
    _spec(
        SESSION_BARS,
        [raw.bars],
        document_columns.session_documents(),
        "One document per instrument and session, summed from that session's bars at the finest interval.",
    ),
    _spec(
        FEATURE_BUCKETS,
        [SESSION_BARS, raw.corporate_actions],
        document_columns.feature_buckets(),
        "One document per instrument and year with the arrays that training loads.",
    ),
    _spec(
        PERIOD_LINES,
        [FEATURE_BUCKETS, raw.instruments],
        document_columns.periods(),
        "Key indicators of every instrument, sector and class by month, quarter and year, as the page shows them.",
        "2",
    ),
)


@dg.multi_asset(specs=SPECS, name="documents", backfill_policy=dg.BackfillPolicy.single_run())
@tried_again
def documents(
    context: dg.AssetExecutionContext, config: RefreshConfig, stores: dg.ResourceParam[StoreAccess]
) -> Iterator[dg.MaterializeResult[None]]:
    """Refresh what the bars stored since the last refresh have touched, or the months of this run."""
    refresh_calendar_sessions(stores.writer)
    months = chosen_months(context)
    done = refresh_documents(stores.reader, stores.documents, stores.now(), config.full, months)
    if months is None:
        for event in month_events(done, context.assets_def.specs_by_key[SESSION_BARS].partitions_def or MONTHS):
            context.log_event(event)
    common: dict[str, Any] = {"next_offsets": dict(done.next_offsets), "months_touched": done.months}
    for key, collection, written in (
        (SESSION_BARS, SESSIONS, done.sessions),
        (FEATURE_BUCKETS, BUCKETS, done.buckets),
        (PERIOD_LINES, PERIODS, done.lines),
    ):
        metadata = {"dagster/row_count": stores.documents.count(collection), "written": written, **common}
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)


def chosen_months(context: dg.AssetExecutionContext) -> tuple[dt.date, dt.date] | None:
    """Return the first days of the first and last month a run is for; None: it chooses none."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return None
    chosen = context.partition_key_range
    return dt.date.fromisoformat(chosen.start), dt.date.fromisoformat(chosen.end)


def month_events(done: Refreshed, months: dg.PartitionsDefinition) -> Iterator[dg.AssetMaterialization]:
    """Yield for each month that was made again, and that is one of ``months``, an event of each asset."""
    for month, sessions in done.by_month.items():
        if months.has_partition_key(month.isoformat()):
            for key in MADE_TOGETHER:
                yield dg.AssetMaterialization(key, partition=month.isoformat(), metadata={"sessions_written": sessions})


@check(
    SESSION_BARS,
    "A session summed from its own bars equals its daily bar exactly",
    limit="no document apart from its daily bar",
    remedy="The cache is not its source: materialise documents/session_bars with `full: true`. What is made of "
    "documents waits for it.",
    blocking=True,
)
def documents_equal_daily_bars(stores: StoreAccess) -> Verdict:
    """Compare every document with the settled daily bar of its session."""
    daily = observations.daily_bars_by_key(stores.reader, stores.documents.touch_cursor())
    return quality.documents_equal_daily(stores.documents.sessions(), daily)


@check(
    SESSION_BARS,
    "A session document is, to the byte, what its bars give when it is made of them again",
    limit=f"no document apart, over the newest months that hold {document_proof.MOST_BARS:,} bars",
    remedy="Documents or bars were changed by hand, or a refresh is wrong. The metadata names the sessions. Set right "
    "what was changed, then materialise documents/session_bars with `full: true`. What is made of documents waits.",
    blocking=True,
)
def documents_equal_their_bars(stores: StoreAccess) -> Verdict:
    """Make the newest months again without storing them, and compare digests."""
    return document_proof.judge_documents(stores.reader, stores.documents)


@check(
    SESSION_BARS,
    "Every settled session has its document",
    limit="no session missing",
    remedy="Materialise documents/session_bars; if it stays, with `full: true`.",
)
def documents_cover_sessions(stores: StoreAccess) -> Verdict:
    """Find settled daily bars without a document."""
    keys = [document.key for document in stores.documents.sessions()]
    daily = observations.daily_bars_by_key(stores.reader, stores.documents.touch_cursor())
    return quality.documents_cover(keys, daily)


@check(
    FEATURE_BUCKETS,
    "The buckets hold every complete session, each once",
    limit="none missing, none twice",
    remedy="Materialise documents/session_bars and documents/feature_buckets with `full: true`.",
)
def buckets_hold_every_session(stores: StoreAccess) -> Verdict:
    """Compare the number of sessions in buckets with that of complete documents."""
    complete = sum(document.complete for document in stores.documents.sessions())
    held = sum(len(series) for series in stores.documents.series())
    facts = {"complete_sessions": complete, "in_buckets": held}
    return Verdict(complete == held, f"buckets hold {held:,} sessions, {complete:,} documents are complete", facts)


@check(
    PERIOD_LINES,
    "The newest month, quarter and year say what is measured now",
    limit="every line equal",
    remedy="The page shows indicators that are not those of the documents: materialise documents/periods with "
    "`full: true`.",
)
def periods_are_measured(stores: StoreAccess) -> Verdict:
    """Measure them again."""
    with snapshot(stores.reader) as connection:
        return judge_periods(connection, stores.documents)
