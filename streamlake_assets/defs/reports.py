"""The fault drill as Dagster sees it: an asset that only somebody by hand materialises, with its history and a check.

Belongs here: the asset and its check. Stays out: the drill itself, a process of its own (``flows.drills`` starts it).
"""

from typing import Final

import dagster as dg

from streamlake_assets.defs import benchmark, claims, value
from streamlake_assets.defs.common import OWNERS, check
from streamlake_assets.flows import drills
from streamlake_assets.market.quality import Verdict
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores.reports import DrillHistory

KEPT_IN_SIGHT: Final = 20
_COLUMNS: Final = ("row", "fault", "injected", "sent", "lost", "twice", "recovery_s", "verdict")


@dg.asset(
    key=["reports", "chaos_drill"],
    group_name="reports",
    kinds={"mongodb", "python"},
    owners=OWNERS,
    code_version="1",
    metadata={"freshness": "no freshness policy: a drill is run on demand, as after a change of the consumer"},
    description="A short fault drill on servers of its own: consumer and database killed, nothing lost, nothing twice.",
)
def chaos_drill(stores: dg.ResourceParam[StoreAccess]) -> dg.MaterializeResult[None]:
    """Run the drill, keep its report, show it and those before."""
    report = drills.run_drill(drills.SELECTION, drills.COMMAND)
    with DrillHistory(stores.settings) as history:
        history.add(report)
        newest = history.newest(KEPT_IN_SIGHT)
    records = [dg.TableRecord({name: row[name] for name in _COLUMNS}) for row in report["rows"]]
    return dg.MaterializeResult(
        metadata={
            "last_drill": dg.MetadataValue.table(records) if records else "no faults",
            "history": dg.MetadataValue.md(drills.history_page(newest)),
            "servers": "; ".join(report["servers"]),
            "lost": sum(row["lost"] for row in report["rows"]),
            "twice": sum(row["twice"] for row in report["rows"]),
        }
    )


ON_DEMAND: Final = frozenset({chaos_drill.key, benchmark.benchmark.key, claims.claims_audit.key, value.value.key})
"""Assets that nothing materialises by itself: a check of theirs that never ran is no news."""


@check(
    chaos_drill,
    "The last drill lost nothing, stored nothing twice, injected every fault",
    limit="0 lost, 0 twice",
    remedy="Stop publishing figures about safety. The drill's report names case and offsets; repeat it alone "
    "with `make faults ONLY=...`.",
)
def drill_lost_nothing(stores: StoreAccess) -> Verdict:
    """Judge the newest drill of the history."""
    with DrillHistory(stores.settings) as history:
        return drills.judge_drill(history.newest(1))
