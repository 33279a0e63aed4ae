"""Session documents and feature buckets: from MySQL to the document store, only what was touched."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg

from streamlake_assets.defs import raw
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.flows import observations
from streamlake_assets.flows.calendar_sessions import refresh_calendar_sessions
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores.documents import BUCKETS, SESSIONS

GROUP = "documents"
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=4), warn_window=dt.timedelta(days=3))
"""A long weekend passes; a week without a refresh does not."""

SESSION_BARS = dg.AssetKey(["documents", "session_bars"])
FEATURE_BUCKETS = dg.AssetKey(["documents", "feature_buckets"])
CHECKED = (SESSION_BARS, FEATURE_BUCKETS)
"""What readers of the buckets depend on. A blocking check holds back the direct dependents of its asset only, and both
assets are made in one step: without the edge to the session documents their check would block nobody."""


class RefreshConfig(dg.Config):
    """How to refresh."""

    full: bool = False
    """Make every document again instead of the touched ones; the result is the same."""


def _session_bars() -> dg.AssetSpec:
    return dg.AssetSpec(
        SESSION_BARS,
        deps=[raw.bars],
        group_name=GROUP,
        kinds={"mongodb"},
        owners=OWNERS,
        code_version="1",
        freshness_policy=FRESHNESS,
        description="One document per instrument and session, summed from that session's bars at the finest interval.",
    )


def _feature_buckets() -> dg.AssetSpec:
    return dg.AssetSpec(
        FEATURE_BUCKETS,
        deps=[SESSION_BARS, raw.corporate_actions],
        group_name=GROUP,
        kinds={"mongodb"},
        owners=OWNERS,
        code_version="1",
        freshness_policy=FRESHNESS,
        description="One document per instrument and year with the arrays that training loads.",
    )


@dg.multi_asset(specs=[_session_bars(), _feature_buckets()], name="documents")
@tried_again
def documents(config: RefreshConfig, stores: dg.ResourceParam[StoreAccess]) -> Iterator[dg.MaterializeResult[None]]:
    """Refresh what the bars stored since the last refresh have touched."""
    refresh_calendar_sessions(stores.writer)
    done = refresh_documents(stores.reader, stores.documents, stores.now(), config.full)
    common: dict[str, Any] = {"next_offsets": dict(done.next_offsets), "months_touched": done.months}
    yield dg.MaterializeResult(
        asset_key=SESSION_BARS,
        metadata={"dagster/row_count": stores.documents.count(SESSIONS), "written": done.sessions, **common},
    )
    yield dg.MaterializeResult(
        asset_key=FEATURE_BUCKETS,
        metadata={"dagster/row_count": stores.documents.count(BUCKETS), "written": done.buckets, **common},
    )


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
    return Verdict(complete == held, f"{held} of {complete} complete sessions are in buckets", facts)
