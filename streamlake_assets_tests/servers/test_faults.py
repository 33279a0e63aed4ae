"""The short form of the fault drill: faults injected into real servers and consumers of their own, and nothing lost.

``make faults`` runs the long form of every case; here are those that a change of the consumer breaks first.
"""

from collections.abc import Iterator

import pytest

from streamlake_assets.drill.cases import Fault, all_faults
from streamlake_assets.drill.plant import Plant
from streamlake_assets.drill.runner import run_one
from streamlake_assets_tests.conftest import print_line

pytestmark = pytest.mark.servers
FAST = [fault for fault in all_faults() if fault.fast]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    # a folder named home: what a killed session leaves behind is ended by the next one
    folder = tmp_path_factory.mktemp("home")
    with Plant(folder, fast=True, flavour="mariadb", durable=False, say=print_line) as made:
        yield made


@pytest.mark.parametrize("fault", FAST, ids=lambda fault: f"row {fault.row}, {fault.title}")
def test_nothing_is_lost_and_nothing_is_stored_twice(plant: Plant, fault: Fault) -> None:
    row = run_one(plant, fault, print_line)
    print_line(f"{' | '.join(row.cells)} ({row.seconds:.0f} s): {row.outcome.facts}")
    assert row.verdict == "ok", row.outcome.problems
    assert row.outcome.sent > 0


def test_a_drill_whose_fault_was_not_injected_fails(plant: Plant) -> None:
    def nothing_happens(ground: Plant) -> None:
        ground.until(lambda: False, "what never comes", 0.1)

    row = run_one(plant, Fault(0, "nothing", "nowhere", nothing_happens), print_line)  # type: ignore[arg-type]
    assert row.verdict == "FAILED"
    assert "what never comes did not come" in row.outcome.problems[0]
