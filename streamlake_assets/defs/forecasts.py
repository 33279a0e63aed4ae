"""Forecasts, scores and signals: the champions speak, the ledger remembers, the truth judges."""

import datetime as dt

import dagster as dg

from streamlake_assets.defs import columns, documents, models, raw
from streamlake_assets.defs.common import OWNERS, check, table_metadata, table_records
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.flows import champions, forecasting
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.targets import Target
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores import ledger, schema

FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=4), warn_window=dt.timedelta(days=3))


@dg.asset(
    key=["forecasts", "next_session"],
    deps=[models.champion, *documents.CHECKED],
    group_name="forecasts",
    kinds={"mysql"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=FRESHNESS,
    metadata={**table_metadata(schema.forecasts), **columns.forecast_lineage()},
    description="The champions' forecasts of the next session, with interval, committed before it is known.",
)
@tried_again
def next_session(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Issue what is not in the ledger yet."""
    speaking = [champions.champion_of(stores.reader, stores.models, target).model for target in Target]
    made, issued, passed_over = forecasting.issue_forecasts(stores.writer, speaking, stores.documents.series())
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(made),
            "new": issued.new,
            "late": issued.late,
            "existing": issued.existing,
            "passed_over": list(passed_over),
            "sessions": sorted({forecast.session.isoformat() for forecast in made}),
            "champions": {model.target.value: model.version for model in speaking},
        }
    )


@check(
    next_session,
    "The newest forecasts were committed before their session was known",
    limit="no late forecast",
    remedy="The bar was faster than the forecast: is the scorer alive and are the documents fresh? Late ones are "
    "kept and never counted.",
)
def forecasts_are_on_time(stores: StoreAccess) -> Verdict:
    """Count late forecasts among the newest session's."""
    rows = ledger.rows(stores.reader, last=1000)
    newest = max((row.forecast.session for row in rows), default=None)
    late = sum(row.late for row in rows if row.forecast.session == newest)
    facts = {"session": str(newest), "late": late, "limit": 0}
    return Verdict(late == 0, f"{late} forecasts for {newest} came too late", facts)


@dg.asset(
    key=["forecasts", "scores"],
    deps=[next_session, raw.bars],
    group_name="forecasts",
    kinds={"mysql"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=FRESHNESS,
    metadata={**table_metadata(schema.forecast_scores), **columns.score_lineage()},
    description="What happened to each forecast that was on time. Rows are never changed.",
)
@tried_again
def scores(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Score what has settled."""
    scored = forecasting.score_due(stores.writer, stores.documents.series())
    rows = ledger.rows(stores.reader)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row.realised is not None for row in rows),
            "scored_now": scored,
            "open": sum(row.realised is None and not row.late for row in rows),
            **{f"live_skill_{target.value}": forecasting.live_skill(rows, target) for target in Target},
        }
    )


@check(
    scores,
    "About nine of ten outcomes lie inside their 90 % interval",
    limit="{:.0%} to {:.0%}, once there are {} scores".format(*quality.COVERAGE_BOUNDS, quality.COVERAGE_LEAST),
    remedy="Volatility changed faster than the intervals: train again; look at coverage by quarter on the "
    "Forecasts page.",
    severity=dg.AssetCheckSeverity.WARN,
)
def intervals_cover(stores: StoreAccess) -> Verdict:
    """Judge the coverage of all scored forecasts."""
    covered = [row.covered for row in ledger.rows(stores.reader) if row.covered is not None]
    return quality.interval_coverage(covered)


@dg.asset(
    key=["signals", "daily"],
    deps=[next_session],
    group_name="signals",
    kinds={"mysql"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=FRESHNESS,
    metadata={**table_metadata(schema.signals), **columns.signal_lineage()},
    description="Buy, Sell or Hold, and how large a position may be, from forecasts of champions that passed the gate; "
    "none without skill. Not investment advice.",
)
@tried_again
def daily(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Derive signals from the newest forecasts."""
    newest = forecasting.newest_forecasts(stores.reader)
    if not newest:
        # every forecast is late or judged, as when bars came faster than refreshes: no signal, and no fault either
        return dg.MaterializeResult(metadata={"dagster/row_count": 0, "reason": "No signal: no forecast is open."})
    report = forecasting.daily_signals(stores.writer, newest)
    risk = forecasting.daily_risk(stores.documents, newest, stores.now())
    shown = ("symbol", "exchange", "session", "size", "volatility", "reason", "disclaimer")
    sizes = table_records([{name: getattr(one, name) for name in shown} for one in risk.signals])
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(report.signals),
            "reason": report.reason,
            "risk_reason": risk.reason,
            **({"risk_signals": dg.MetadataValue.table(sizes)} if sizes else {}),
        }
    )


@check(
    daily,
    "No signal rests on a model without skill",
    limit="no such signal",
    remedy="Signals of a model that never passed the gate: nothing is published. Look who named the champion by hand.",
    blocking=True,
)
def signals_need_skill(stores: StoreAccess) -> Verdict:
    """Find signals whose model never passed the gate."""
    wrong = ledger.signals_without_skill(stores.reader)
    return Verdict(wrong == 0, f"{wrong} signals rest on a model without skill", {"wrong": wrong})
