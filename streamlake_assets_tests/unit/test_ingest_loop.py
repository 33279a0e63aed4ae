"""The loop of ingestion: what it stores, drops, stops and says, in whatever order faults come."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, MAX_BYTES
from streamlake_assets.market.dead_letter_limit import DeadLetterLimit
from streamlake_assets.market.messages import MOST_KEPT, Counts, Slice, StreamIdentity
from streamlake_assets.sidecar.ingest import TELL_S, IngestLoop, cut_slice
from streamlake_assets_tests.bars import BARS_STREAM, NOW, action, bar, message, wire
from streamlake_assets_tests.ingest_rig import WHOLE, MemoryStore, Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_every_message_is_stored_once_and_kafka_is_told(rig: Rig) -> None:
    rig.send(10)
    rig.send(3, topic=ACTIONS_TOPIC)
    (stored,) = rig.loop.turn()
    assert (stored.counts.new, stored.counts.messages, stored.messages) == (13, 13, 13)
    (work,) = stored.works
    assert list(work.broker_times) == [NOW.timestamp()] * 13
    assert work.weight == 13
    assert list(work.event_times) == [bar().event_time.timestamp()] * 13
    assert rig.store.places() == rig.sent()
    rig.turns(3)
    assert rig.reader.committed == rig.stored_offsets()


def test_the_broker_is_told_once_a_second_and_before_a_partition_is_given_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    commit = rig.reader.commit
    monkeypatch.setattr(rig.reader, "commit", lambda offsets: (told.append(rig.clock), commit(offsets)))
    begun = rig.clock
    for _ in range(40):
        rig.send(1)
        rig.turns(1, 0.1)
    assert 3 <= len(told) <= (rig.clock - begun) / TELL_S + 1
    assert rig.reader.committed != rig.stored_offsets()
    rig.loop.forget()
    assert rig.reader.committed == rig.stored_offsets()


def test_nothing_to_do_does_nothing(rig: Rig) -> None:
    assert rig.loop.turn() == []
    assert rig.store.stored == []


def test_in_an_outage_the_loop_pauses_keeps_polling_and_resumes_where_the_store_is(rig: Rig) -> None:
    rig.send(4)
    rig.turns(1)
    rig.send(4)
    rig.store.down = True
    rig.turns(1)
    assert rig.loop.in_outage and rig.reader.is_paused
    before = rig.reader.polls
    rig.turns(5)
    assert rig.reader.polls == before + 5
    assert rig.loop.in_outage and rig.reader.is_paused
    rig.send(4)
    rig.store.down = False
    rig.turns(3)
    assert not rig.loop.in_outage and not rig.reader.is_paused
    assert rig.store.places() == rig.sent()


def test_in_an_outage_the_store_is_not_asked_more_than_once_a_second(rig: Rig) -> None:
    rig.send(2)
    rig.store.down = True
    rig.turns(1, seconds=0.1)
    rig.store.down = False
    rig.turns(5, seconds=0.1)
    assert rig.loop.in_outage
    rig.turns(6, seconds=0.1)
    assert not rig.loop.in_outage


@pytest.mark.parametrize("stored_before", [0, 4])
def test_a_lost_commit_is_not_stored_twice(rig: Rig, stored_before: int) -> None:
    rig.send(stored_before)
    rig.turns(1)
    rig.send(6)
    rig.store.lose_next_commit = True
    rig.turns(4)
    rig.send(2)
    rig.turns(2)
    assert rig.store.places() == rig.sent()


def test_a_fenced_batch_is_dropped_and_the_loop_follows_the_stored_offset(rig: Rig) -> None:
    rig.send(4, symbols="A")
    rig.turns(1)
    rig.send(4, symbols="A")
    partition = next(iter(rig.store.offsets[rig.streams[BARS_TOPIC]]))
    other = Slice(rig.streams[BARS_TOPIC], partition, 4, 6, [], [])
    rig.store.ingest([other])
    rig.turns(4)
    assert rig.loop.fenced == 1
    assert [offset for _, _, offset in rig.store.places()] == [0, 1, 2, 3, 6, 7]


def test_poison_becomes_a_dead_letter_and_the_rest_goes_on(rig: Rig) -> None:
    poison: list[tuple[str | None, bytes | None]] = [
        ("A", None), ("A", b""), ("A", b"{"), (None, WHOLE), ("A", WHOLE), ("A", b"x" * (MAX_BYTES + 1)),
        ("A", b"[" * 50_000), ("A", b'{"v": 2}'), ("A", WHOLE.replace(b'"open":10', b'"open":1e-99999999999999999999')),
    ]  # fmt: skip
    for key, value in poison:
        rig.broker.send(BARS_TOPIC, key, value)
        rig.send(1, symbols="A")
    (stored,) = rig.loop.turn()
    assert (stored.counts.new, stored.counts.dead) == (len(poison), len(poison))
    dead = [letter for part in rig.store.stored for letter in part.dead]
    assert {(letter.key, letter.payload) for letter in dead} == {(k and k.encode(), v) for k, v in poison}
    assert all(letter.reason and letter.detail for letter in dead)


def test_of_a_huge_message_a_part_is_kept_and_its_true_size_is_told() -> None:
    part = cut_slice(BARS_STREAM, [message(b"x" * (MOST_KEPT + 7))], None)
    assert part is not None
    assert part.dead[0].payload == b"x" * MOST_KEPT
    assert part.dead[0].detail.startswith(f"{MOST_KEPT + 7} bytes")


def test_a_message_that_slips_through_the_pause_comes_again(rig: Rig) -> None:
    rig.send(6, symbols="A")
    rig.store.down = True
    rig.turns(1)
    rig.broker.send(BARS_TOPIC, "B", wire(bar(symbol="B")))
    late = rig.broker.messages(BARS_TOPIC)[0 if rig.broker.messages(BARS_TOPIC)[0].key == b"B" else -1]
    assert late.key == b"B"
    rig.reader.rewind({(BARS_TOPIC, late.partition): late.offset + 1})
    rig.reader.slips = (late,)
    rig.turns(1)
    rig.store.down = False
    rig.turns(4)
    assert rig.store.places() == rig.sent()


def test_assigned_partitions_begin_at_the_stored_offsets(rig: Rig) -> None:
    rig.send(8)
    rig.turns(1)
    second = IngestLoop(rig.reader, rig.store, rig.streams)
    offsets = second.start_offsets(BARS_TOPIC, [0, 1, 7])
    assert offsets == rig.store.offsets[rig.streams[BARS_TOPIC]]


def test_revoked_partitions_are_forgotten_even_in_an_outage(rig: Rig) -> None:
    rig.send(4)
    rig.store.down = True
    rig.turns(2)
    rig.loop.forget()
    assert not rig.loop.in_outage and not rig.reader.is_paused
    rig.store.down = False
    rig.assign()
    rig.turns(1)
    assert rig.store.places() == rig.sent()


def test_a_store_that_contradicts_itself_stops_the_loop(rig: Rig) -> None:
    class Broken(MemoryStore):
        def ingest(self, slices: Sequence[Slice]) -> Counts:
            raise IntegrityError("broken")

    rig.send(1)
    loop = IngestLoop(rig.reader, Broken(), rig.streams)
    with pytest.raises(IntegrityError, match="broken"):
        loop.turn()


# the limit of dead letters


def limited(rig: Rig, share: float = 0.0, run: int = 3) -> IngestLoop:
    limit = DeadLetterLimit(share, run)
    return IngestLoop(rig.reader, rig.store, rig.streams, limit=limit, monotonic=lambda: rig.clock)


def bad(rig: Rig, count: int, symbol: str = "A") -> None:
    for _ in range(count):
        rig.broker.send(BARS_TOPIC, symbol, b"{")


def test_too_many_bad_messages_in_a_row_stop_their_partition_and_no_other(rig: Rig) -> None:
    rig.loop = limited(rig)
    rig.send(2)
    bad(rig, 9)
    rig.send(4)
    rig.turns(3)
    (place,) = rig.loop.stopped
    assert {m.partition for m in rig.broker.messages(BARS_TOPIC) if m.value == b"{"} == {place[1]}
    last = [part for part in rig.store.stored if part.stop][-1]
    assert (len(last.dead), last.next_offset) == (4, 5)
    assert last.stop == "4 dead letters in a row (limit 3)"
    others = [found for found in rig.sent() if found[:2] != place]
    assert [found for found in rig.store.places() if found[:2] != place] == others


def test_a_stopped_partition_goes_on_where_it_stopped_once_it_is_let_go(rig: Rig) -> None:
    rig.loop = limited(rig)
    bad(rig, 6)
    rig.send(4, symbols="A")
    rig.turns(3)
    assert len(rig.store.places()) == 4
    rig.store.released = {part.partition: part.next_offset for part in rig.store.stored if part.stop}
    rig.store.stops.clear()
    rig.clock += 10
    rig.turns(3)
    assert rig.loop.stopped == set()
    assert rig.store.places() == rig.sent()


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.data())
def test_however_messages_are_cut_and_whoever_reads_them_they_stop_at_the_same_offset(
    are_bad: list[bool], data: st.DataObject
) -> None:
    def stored_up_to(cuts: list[int]) -> list[int]:
        rig = Rig()
        rig.loop = limited(rig, run=2)
        for number, is_bad in enumerate(are_bad):
            rig.broker.send(BARS_TOPIC, "A", b"{" if is_bad else WHOLE.replace(b"AAPL", b"A"))
            if number in cuts:
                rig.turns(1)
                # another member takes over
                rig.loop = limited(rig, run=2)
                rig.assign()
        rig.turns(2)
        return [part.next_offset for part in rig.store.stored][-1:]

    cuts = data.draw(st.lists(st.integers(0, 40)))
    assert stored_up_to(cuts) == stored_up_to([])


def test_a_partition_that_was_stopped_is_not_read_by_whoever_gets_it(rig: Rig) -> None:
    rig.loop = limited(rig)
    bad(rig, 9)
    rig.turns(2)
    before = rig.store.places()
    rig.loop.forget()
    rig.assign()
    rig.turns(3)
    assert rig.store.places() == before
    assert len(rig.loop.stopped) == 1


def test_a_stop_that_was_not_stored_is_decided_again(rig: Rig) -> None:
    rig.loop = limited(rig)
    rig.assign()
    bad(rig, 9)
    rig.store.down = True
    rig.turns(2)
    assert rig.store.places() == []
    rig.store.down = False
    rig.turns(6)
    assert len(rig.store.places()) == 4
    assert len(rig.loop.stopped) == 1


def test_an_outage_is_no_dead_letter(rig: Rig) -> None:
    rig.loop = limited(rig, run=1)
    rig.assign()
    rig.send(6)
    rig.store.down = True
    rig.turns(5)
    rig.store.down = False
    rig.turns(5)
    assert rig.loop.stopped == set()
    assert rig.store.places() == rig.sent()
    assert not [letter for part in rig.store.stored for letter in part.dead]


@given(st.data())
def test_any_sequence_of_faults_stores_each_message_once_and_tiles_the_offsets(data: st.DataObject) -> None:
    rig = Rig()
    for _ in range(data.draw(st.integers(3, 12), "steps")):
        rig.send(data.draw(st.integers(0, 5), "messages"), symbols=data.draw(st.sampled_from(["A", "B", "AB"])))
        match data.draw(st.sampled_from(["none", "down", "up", "lost", "rebalance"]), "fault"):
            case "down":
                rig.store.down = True
            case "up":
                rig.store.down = False
            case "lost":
                rig.store.lose_next_commit = True
            case "rebalance" if not rig.store.down:
                rig.loop.forget()
                rig.assign()
        rig.turns(data.draw(st.integers(0, 3), "turns"))
    rig.store.down = rig.store.lose_next_commit = False
    rig.turns(4)
    assert rig.store.places() == rig.sent()
    ends: dict[tuple[str, int], int] = {}
    for part in rig.store.stored:
        place = (part.stream.topic, part.partition)
        assert part.first_offset == ends.get(place, 0)
        ends[place] = part.next_offset


def cut(offsets: Sequence[int], expected: int | None) -> Slice | None:
    return cut_slice(BARS_STREAM, [message(WHOLE, offset) for offset in offsets], expected)


def test_messages_before_the_expected_offset_are_stored_already() -> None:
    assert cut([3, 4], expected=5) is None
    part = cut([3, 4, 5, 6], expected=5)
    assert part is not None
    assert (part.first_offset, part.next_offset) == (5, 7)
    assert [arrival.offset for arrival in part.arrivals] == [5, 6]


def test_offsets_that_the_broker_skips_belong_to_the_slice_around_them() -> None:
    part = cut([8, 11], expected=5)
    assert part is not None
    assert (part.first_offset, part.next_offset) == (5, 12)


def test_a_partition_never_stored_begins_at_its_first_message() -> None:
    part = cut([40, 41], expected=None)
    assert part is not None
    assert (part.first_offset, part.next_offset) == (40, 42)


def test_a_message_handed_out_twice_counts_once() -> None:
    part = cut([5, 5, 6, 5, 6, 7], expected=5)
    assert part is not None
    assert [arrival.offset for arrival in part.arrivals] == [5, 6, 7]


def test_actions_are_decoded_as_actions() -> None:
    stream = StreamIdentity("c", "t", ACTIONS_TOPIC)
    part = cut_slice(stream, [message(wire(action())), message(WHOLE, 1)], None)
    assert part is not None
    assert [arrival.fact for arrival in part.arrivals] == [action()]
    assert [letter.offset for letter in part.dead] == [1]
