"""Row 5: a broker that is slow, moves its leaders, and answers commits with errors.

Belongs here: what a broker does that can be had from a mock cluster only. Stays out: a real broker that dies
(``outages``).
"""

import time

from streamlake_assets.broker.topics import PARTITIONS
from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import Outcome
from streamlake_assets.drill.mock_cluster import OFFSET_COMMIT, MockCluster
from streamlake_assets.drill.plant import TOPICS, Plant
from streamlake_assets.market.contract import BARS_TOPIC

COMMIT_ERRORS = {16: "NOT_COORDINATOR", 27: "REBALANCE_IN_PROGRESS", 22: "ILLEGAL_GENERATION", 25: "UNKNOWN_MEMBER_ID"}
RTT_MS = 2_000


@fault(row=5, title="slow broker, moving leaders, failing commits", injected="librdkafka's mock cluster")
def broker_faults(plant: Plant) -> Outcome:
    """Kafka's own commit is for lag tools only: its errors change nothing, and slowness costs time alone."""
    with MockCluster() as mock:
        for topic in TOPICS:
            mock.create_topic(topic, PARTITIONS)
        with plant.elsewhere(plant.settings.model_copy(update={"kafka_bootstrap": mock.bootstrap})):
            return _broker_faults(plant, mock)


def _broker_faults(plant: Plant, mock: MockCluster) -> Outcome:
    rate = 200
    slow_s = 5.0 if plant.fast else 20.0
    consumer = plant.consumer().until_ready()
    with plant.streaming(rate):
        plant.until_more_stored(0)
        mock.set_rtt(RTT_MS)
        plant.hold(slow_s, consumer)
        slow = plant.stored()
        mock.set_rtt(0)
        begun = time.monotonic()
        plant.until_more_stored(slow)
        for partition in range(PARTITIONS):
            mock.set_leader(BARS_TOPIC, partition, 1 + (partition + 1) % mock.BROKERS)
        plant.until_more_stored(plant.stored())
        recovery = time.monotonic() - begun
        mock.push_errors(OFFSET_COMMIT, list(COMMIT_ERRORS))
        plant.until(lambda: mock.requests(OFFSET_COMMIT) > len(COMMIT_ERRORS), "commits after the failing ones")
    plant.until_stored()
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(consumer.running, "the consumer did not live through it")
    outcome.facts |= {
        "rtt_ms": RTT_MS,
        "leaders_moved": PARTITIONS,
        "commit_errors": list(COMMIT_ERRORS.values()),
        "commits_sent_since": mock.requests(OFFSET_COMMIT),
        "commit_errors_logged": plant.logged("kafka_commit_failed") + plant.logged("kafka_commit_refused"),
    }
    consumer.stop()
    return outcome
