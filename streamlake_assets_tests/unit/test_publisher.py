"""What the publisher says without a broker; on the real one it is tested with the servers."""

import pytest

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.errors import StreamlakeError, TryLaterError

NOWHERE = "127.0.0.1:9"


def test_a_message_that_is_too_large_is_refused_at_once_and_counted() -> None:
    publisher = Publisher(NOWHERE)
    for count in (1, 2):
        with pytest.raises(StreamlakeError, match="too large") as raised:
            publisher.send("topic", "KEY", b"x" * 2_000_000)
        assert not isinstance(raised.value, TryLaterError), "no retry makes it smaller"
        assert (publisher.refused, publisher.delivered) == (count, 0)
