"""Asked range against received range: a provider's plan that cuts a range short says nothing, so it is counted.

Belongs here: the comparison by sessions. Stays out: calendars (``calendars``), fetching (``sources``).
"""

import datetime as dt
from collections.abc import Iterable

from streamlake_assets.market.quality import Verdict


def sessions_covered(expected: Iterable[dt.date], received: Iterable[dt.date]) -> Verdict:
    """Judge that what was received reaches from the first expected session to the last, without holes.

    Args:
        expected: sessions of the calendar in the range that was asked for.
        received: sessions of the bars that came.
    """
    wanted, there = sorted(set(expected)), set(received)
    missing = [day for day in wanted if day not in there]
    inside = [day for day in wanted if day in there]
    before = [day for day in missing if not inside or day < inside[0]]
    after = [day for day in missing if inside and day > inside[-1]]
    between = len(missing) - len(before) - len(after)
    facts = {
        "expected": len(wanted),
        "received": len(inside),
        "missing_before": len(before),
        "missing_between": between,
        "missing_after": len(after),
        "first_missing": [day.isoformat() for day in missing[:5]],
    }
    if not missing:
        return Verdict(True, f"all {len(wanted)} sessions of the range were received", facts)
    if not inside:
        return Verdict(False, f"none of the {len(wanted)} sessions of the range was received", facts)
    parts = [
        f"{count} {where}"
        for count, where in (
            (len(before), f"before {inside[0]}"),
            (between, "in between"),
            (len(after), f"after {inside[-1]}"),
        )
        if count
    ]
    return Verdict(
        False, f"{len(missing)} of {len(wanted)} sessions of the range are missing: {', '.join(parts)}", facts
    )
