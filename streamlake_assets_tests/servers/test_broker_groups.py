"""Members of one group on the real broker: who reads what when they come, go, are held and are paused."""

from collections.abc import Callable, Iterator

import pytest

from streamlake_assets.broker.reader import PROTOCOL, GroupProtocol
from streamlake_assets.broker.topics import PARTITIONS
from streamlake_assets.errors import IntegrityError
from streamlake_assets_tests.broker_members import Member, all_partitions, numbers, turns

pytestmark = pytest.mark.servers
PROTOCOLS = [
    # the default in every run, the others in the long one
    each if each is PROTOCOL else pytest.param(each, marks=pytest.mark.slow)
    for each in (GroupProtocol.RANGE, GroupProtocol.COOPERATIVE, GroupProtocol.CONSUMER)
]


@pytest.fixture
def group_of(kafka: str, topic: str) -> Iterator[Callable[..., Member]]:
    """Members of one group on one topic that keep their offsets in one place."""
    made: list[Member] = []
    group, stored = f"group-{next(numbers)}", dict[int, int]()

    def make(protocol: GroupProtocol = PROTOCOL, instance_id: str | None = None) -> Member:
        made.append(Member(kafka, topic, stored, group, protocol, instance_id))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


def shared(*members: Member) -> bool:
    """Whether these have all partitions between them, and each has some."""
    held = [number for one in members for number in one.partitions]
    return sorted(held) == list(range(PARTITIONS)) and all(one.partitions for one in members)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_come_and_go_and_each_message_is_read_once(
    kafka: str, topic: str, group_of: Callable[..., Member], protocol: GroupProtocol
) -> None:
    everyone: list[Member] = []
    sent = 0

    def join() -> Member:
        everyone.append(group_of(protocol))
        return everyone[-1]

    def change(*members: Member) -> None:
        nonlocal sent
        # some of it while partitions move, some when all is settled
        all_partitions(kafka, topic, 20)
        turns(members, lambda: shared(*members))
        all_partitions(kafka, topic, 20)
        sent += 2 * 20 * PARTITIONS
        turns(members, lambda: sum(len(one.messages) for one in everyone) >= sent)

    first = join()
    change(first)
    second = join()
    change(first, second)
    third = join()
    change(first, second, third)
    second.reader.close()
    change(first, third)
    first.reader.close()
    change(third)
    places = sorted((message.partition, message.offset) for one in everyone for message in one.messages)
    assert places == [(number, offset) for number in range(PARTITIONS) for offset in range(sent // PARTITIONS)]


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
def test_an_incremental_revocation_takes_what_moves_and_leaves_the_rest(
    kafka: str, topic: str, group_of: Callable[..., Member], protocol: GroupProtocol
) -> None:
    first = group_of(protocol)
    turns([first], lambda: shared(first))
    second = group_of(protocol)
    turns([first, second], lambda: shared(first, second))
    assert first.revoked == [second.partitions]
    assert (first.partitions, second.revoked) == (set(range(PARTITIONS)) - second.partitions, [])
    all_partitions(kafka, topic)
    turns([first, second], lambda: len(first.messages) + len(second.messages) == PARTITIONS)
    assert {message.partition for message in first.messages} == first.partitions


def test_an_eager_revocation_takes_everything(group_of: Callable[..., Member]) -> None:
    first = group_of(GroupProtocol.RANGE)
    turns([first], lambda: shared(first))
    second = group_of(GroupProtocol.RANGE)
    turns([first, second], lambda: shared(first, second))
    assert first.revoked == [set(range(PARTITIONS))]


@pytest.mark.parametrize("protocol", PROTOCOLS[:2])
def test_a_held_partition_stays_held_when_it_moves_and_flows_when_it_was_let_go_elsewhere(
    kafka: str, topic: str, group_of: Callable[..., Member], protocol: GroupProtocol
) -> None:
    first = group_of(protocol)
    turns([first], lambda: shared(first))
    everything = {(topic, number) for number in range(PARTITIONS)}
    first.reader.hold(everything)
    second = group_of(protocol)
    turns([first, second], lambda: shared(first, second))
    stayed, moved = min(first.partitions), min(second.partitions)
    all_partitions(kafka, topic)
    turns([first, second], lambda: len(second.messages) == len(second.partitions))
    assert first.messages == []
    # one that is away and one that is here; the others stay held
    first.reader.release({(topic, moved), (topic, stayed)})
    second.reader.close()
    turns([first], lambda: shared(first))
    all_partitions(kafka, topic)
    expected = {(moved, 1), (stayed, 0), (stayed, 1)}
    turns([first], lambda: len(first.messages) >= len(expected))
    assert [first.turn(0.3) for _ in range(3)] == [set()] * 3
    assert {(message.partition, message.offset) for message in first.messages} == expected


def test_a_pause_of_an_outage_does_not_outlive_it_on_a_partition_that_moved_away_and_back(
    kafka: str, topic: str, group_of: Callable[..., Member]
) -> None:
    first = group_of()
    turns([first], lambda: shared(first))
    first.reader.pause()
    second = group_of()
    turns([first, second], lambda: shared(first, second))
    first.reader.resume()
    second.reader.close()
    turns([first], lambda: shared(first))
    all_partitions(kafka, topic)
    turns([first], lambda: len(first.messages) == PARTITIONS)


@pytest.mark.parametrize(
    ("protocol", "fenced"), [(GroupProtocol.COOPERATIVE, "first"), (GroupProtocol.CONSUMER, "second")]
)
def test_one_of_two_members_with_one_name_stops_with_an_error(
    group_of: Callable[..., Member], protocol: GroupProtocol, fenced: str
) -> None:
    first = group_of(protocol, "same")
    turns([first], lambda: shared(first))
    members = {"first": first, "second": group_of(protocol, "same")}
    other = members["second" if fenced == "first" else "first"]
    with pytest.raises(IntegrityError, match="instance"):
        turns(members.values(), lambda: False)
    turns([other], lambda: shared(other))
