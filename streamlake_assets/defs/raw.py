"""The raw tables as Dagster sees them: written by the consumer, reported by the watermark sensor, checked here."""

from collections.abc import Iterator, Mapping

import dagster as dg

from streamlake_assets.defs import columns, stream
from streamlake_assets.defs.common import NO_POLICY, OWNERS, check, check_result, notes, table_metadata
from streamlake_assets.defs.retries import tried_again
from streamlake_assets.flows import detection, observations
from streamlake_assets.market import quality
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess

GROUP = "raw"
JUDGED_SESSIONS = 20
"""A refresh looks at what is new; `streamlake detect` looks at everything."""
ANOMALY_REMEDIES = {
    "bars_have_no_gaps": "The source left a session out, or its message was refused: look at the dead letters, then "
    "send the bar again.",
    "prices_do_not_jump": "Most often a split that no action tells of: publish it to corporate-actions. A wrong price "
    "is corrected by a later version of the bar.",
    "feeds_do_not_hang": "The source repeats itself: look there. Bars that stand are corrected by later versions.",
    "bars_arrive_in_order": "The source sends late. Nothing is lost: what was made of the month is made again.",
}


_BAR_MESSAGES = {stream.finance_data.key: "bar.v1"}
_ACTION_MESSAGES = {stream.corporate_actions.key: "corporate_action.v1"}


def _raw(name: str, messages: Mapping[dg.AssetKey, str]) -> dg.AssetSpec:
    """Return a raw table; ``messages`` are those whose fields its columns take, by topic."""
    table = observations.RAW_TABLES[name]
    return dg.AssetSpec(
        ["raw", name],
        deps=[stream.consumer],
        group_name=GROUP,
        kinds={"mysql", "table"},
        owners=OWNERS,
        description=f"{table.comment}.",
        metadata={**table_metadata(table), **columns.raw_lineage(table, messages), "freshness": NO_POLICY},
    )


bars = _raw("bars", _BAR_MESSAGES)
instruments = _raw("instruments", {**_BAR_MESSAGES, **_ACTION_MESSAGES})
corporate_actions = _raw("corporate_actions", _ACTION_MESSAGES)
# what could not be read has no fields
dead_letters = _raw("dead_letters", {})


@check(
    bars.key,
    "Every bar keeps the rules of the contract: high largest, low smallest",
    limit="no such bar",
    remedy="Somebody wrote past the consumer, with a CHECK switched off. `streamlake rebuild` builds the tables "
    "anew in a schema beside and names what differs; publish the true bar again, and look who holds the "
    "migrate user.",
)
def bars_keep_the_contract(stores: StoreAccess) -> Verdict:
    """Count bars that break a rule, in case a CHECK was switched off."""
    found = observations.constraint_violations(stores.reader)
    wrong = found["price_order"] + found["negative_volume"]
    return Verdict(wrong == 0, f"{wrong} bars break the contract", {**found, "limit": 0})


@check(
    bars.key,
    "Batches, rows, dead letters and offsets add up: nothing is lost, nothing is there twice",
    limit="no range of offsets unaccounted for",
    remedy="Rows or batch records were changed by hand. `streamlake ledger` names the offsets; `streamlake "
    "rebuild` builds the tables anew in a schema beside and names what differs.",
)
def ledger_balances(stores: StoreAccess) -> Verdict:
    """Compare the count ledger with the tables and the topics; name the ranges of offsets that do not add up."""
    found = observations.count_ledger(stores.reader, stores.settings.kafka)
    return quality.ledger_balances(found.partitions, found.imbalances)


@dg.multi_asset_check(
    name="anomalies",
    specs=[
        dg.AssetCheckSpec(
            name,
            asset=bars.key,
            description=f"{words}, over the newest {JUDGED_SESSIONS} sessions",
            metadata=notes("no such bar", ANOMALY_REMEDIES[name], dg.AssetCheckSeverity.WARN),
        )
        for name, words in quality.ANOMALY_CHECKS.items()
    ],
)
@tried_again
def anomalies(stores: dg.ResourceParam[StoreAccess]) -> Iterator[dg.AssetCheckResult]:
    """Look for what single messages cannot show: gaps, jumps, feeds that hang, late bars."""
    found = detection.detect(stores.reader, JUDGED_SESSIONS)
    for name, verdict in quality.anomaly_verdicts(found.bars, found.anomalies).items():
        result = check_result(verdict, ANOMALY_REMEDIES[name], dg.AssetCheckSeverity.WARN)
        yield result._replace(asset_key=bars.key, check_name=name)


@check(
    bars.key,
    "A session of an instrument has one daily bar",
    limit="no session twice",
    remedy="Two sources disagree about when the session starts, as by a wrong exchange: correct it at the "
    "source. The metadata names the sessions.",
)
def sessions_are_stored_once(stores: StoreAccess) -> Verdict:
    """Find sessions with daily bars of two times, which the primary key allows."""
    return quality.stored_once(observations.sessions_stored_twice(stores.reader))


@check(
    bars.key,
    f"Every instrument has come as far as market time, up to {quality.SESSIONS_BEHIND} sessions",
    limit=f"{quality.SESSIONS_BEHIND} sessions behind market time",
    remedy="Its source sends no more: look there and at the dead letters. An instrument that was taken off the "
    "market stays behind; acknowledge the alert.",
    severity=dg.AssetCheckSeverity.WARN,
)
def instruments_are_current(stores: StoreAccess) -> Verdict:
    """Compare the newest settled session of each instrument with market time."""
    return quality.instruments_are_current(observations.sessions_behind(stores.reader))


@check(
    corporate_actions.key,
    "Every factor is above zero",
    limit="no such factor",
    remedy="The provider sent nonsense past the contract, or a CHECK was switched off: correct it by publishing "
    "the action again.",
)
def factors_are_positive(stores: StoreAccess) -> Verdict:
    """Count factors that cannot be."""
    wrong = observations.constraint_violations(stores.reader)["factor"]
    return Verdict(wrong == 0, f"{wrong} factors are not above zero", {"wrong": wrong, "limit": 0})


@check(
    instruments.key,
    "Every instrument has bars, and every bar's instrument is known",
    limit="no silent instrument",
    remedy="Is its source still sending? `streamlake dead-letters list` shows whether its bars are refused.",
    severity=dg.AssetCheckSeverity.WARN,
)
def instruments_have_bars(stores: StoreAccess) -> Verdict:
    """Find instruments without a bar."""
    silent = observations.instruments_without_bars(stores.reader)
    verdict = Verdict(not silent, f"{len(silent)} instruments have no bar", {"silent": silent, "limit": 0})
    return verdict


@check(
    dead_letters.key,
    "Few messages break the contract",
    limit=f"{quality.DEAD_LETTER_LIMIT:.0%} of all messages",
    remedy="`streamlake dead-letters list` shows the reasons; mend the source, then `streamlake dead-letters replay`.",
)
def dead_letters_are_few(stores: StoreAccess) -> Verdict:
    """Judge the share of dead letters among all messages."""
    totals = observations.batch_totals(stores.reader)
    return quality.dead_letter_rate(totals.messages, totals.dead)
