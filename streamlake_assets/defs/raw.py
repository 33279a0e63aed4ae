"""The raw tables as Dagster sees them: written by the consumer, reported by the watermark sensor, checked here."""

from collections.abc import Iterator

import dagster as dg

from streamlake_assets.defs import stream
from streamlake_assets.defs.common import NO_POLICY, OWNERS, check_result, table_metadata
from streamlake_assets.flows import detection, observations
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess

GROUP = "raw"
JUDGED_SESSIONS = 20
"""A refresh looks at what is new; `streamlake detect` looks at everything."""


def _raw(name: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        ["raw", name],
        deps=[stream.consumer],
        group_name=GROUP,
        kinds={"mysql", "table"},
        owners=OWNERS,
        description=f"{observations.RAW_TABLES[name].comment}.",
        metadata={**table_metadata(observations.RAW_TABLES[name]), "freshness": NO_POLICY},
    )


bars = _raw("bars")
instruments = _raw("instruments")
corporate_actions = _raw("corporate_actions")
dead_letters = _raw("dead_letters")


@dg.asset_check(asset=bars.key, description="Every bar keeps the rules of the contract: high largest, low smallest")
def bars_keep_the_contract(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Count bars that break a rule, in case a CHECK was switched off."""
    found = observations.constraint_violations(stores.reader)
    wrong = found["price_order"] + found["negative_volume"]
    return check_result(Verdict(wrong == 0, f"{wrong} bars break the contract", {**found, "limit": 0}))


@dg.asset_check(
    asset=bars.key,
    description="Batches, rows, dead letters and offsets add up: nothing is lost, nothing is there twice",
)
def ledger_balances(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Compare the count ledger with the tables and the topics; name the ranges of offsets that do not add up."""
    found = observations.count_ledger(stores.reader, stores.settings.kafka)
    return check_result(quality.ledger_balances(found.partitions, found.imbalances))


@dg.multi_asset_check(
    name="anomalies",
    specs=[
        dg.AssetCheckSpec(name, asset=bars.key, description=f"{words}, over the newest {JUDGED_SESSIONS} sessions")
        for name, words in quality.ANOMALY_CHECKS.items()
    ],
)
def anomalies(stores: dg.ResourceParam[StoreAccess]) -> Iterator[dg.AssetCheckResult]:
    """Look for what single messages cannot show: gaps, jumps, feeds that hang, late bars."""
    found = detection.detect(stores.reader, JUDGED_SESSIONS)
    for name, verdict in quality.anomaly_verdicts(found.bars, found.anomalies).items():
        result = check_result(verdict, dg.AssetCheckSeverity.WARN)
        yield result._replace(asset_key=bars.key, check_name=name)


@dg.asset_check(asset=corporate_actions.key, description="Every factor is above zero")
def factors_are_positive(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Count factors that cannot be."""
    wrong = observations.constraint_violations(stores.reader)["factor"]
    return check_result(Verdict(wrong == 0, f"{wrong} factors are not above zero", {"wrong": wrong, "limit": 0}))


@dg.asset_check(asset=instruments.key, description="Every instrument has bars, and every bar's instrument is known")
def instruments_have_bars(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Find instruments without a bar."""
    silent = observations.instruments_without_bars(stores.reader)
    verdict = Verdict(not silent, f"{len(silent)} instruments have no bar", {"silent": silent, "limit": 0})
    return check_result(verdict, dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset=dead_letters.key, description="Few messages break the contract")
def dead_letters_are_few(stores: dg.ResourceParam[StoreAccess]) -> dg.AssetCheckResult:
    """Judge the share of dead letters among all messages."""
    totals = observations.batch_totals(stores.reader)
    return check_result(quality.dead_letter_rate(totals.messages, totals.dead))
