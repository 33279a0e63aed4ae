"""The NiFi processor's reading of a FlowFile: every record, digit for digit, or a reason; NiFi itself stands aside."""

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from streamlake_assets.servers.nifi import NIFI_FOLDER


@pytest.fixture(scope="module")
def publish_bars() -> Iterator[ModuleType]:
    """The processor's module, with empty stand-ins for NiFi's own, which exist only inside a NiFi."""
    names = ("nifiapi", "nifiapi.flowfiletransform", "nifiapi.properties", "nifiapi.relationship")
    made = {name: ModuleType(name) for name in names}

    class Anything:
        NON_EMPTY_VALIDATOR = POSITIVE_INTEGER_VALIDATOR = FLOWFILE_ATTRIBUTES = ENVIRONMENT = None

        def __init__(self, *_: Any, **__: Any) -> None:
            """Take what NiFi's class takes."""

    for name in ("FlowFileTransform", "FlowFileTransformResult"):
        setattr(made["nifiapi.flowfiletransform"], name, Anything)
    for name in ("ExpressionLanguageScope", "PropertyDescriptor", "StandardValidators"):
        setattr(made["nifiapi.properties"], name, Anything)
    made["nifiapi.relationship"].Relationship = Anything  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, module in made.items():
            patch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location(
            "PublishBars", NIFI_FOLDER / "python_extensions" / "PublishBars.py"
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"symbol":"A","open":1.10}', ['{"symbol":"A","open":1.10}']),
        ('[{"symbol":"A"}, {"symbol":"B","x":[1,{"y":2}]}]', ['{"symbol":"A"}', '{"symbol":"B","x":[1,{"y":2}]}']),
        ('{"symbol":"A"}\n{"symbol":"B"}\n', ['{"symbol":"A"}', '{"symbol":"B"}']),
        # a line separator inside a text is no end of a record, and a number keeps all its digits
        ('{"symbol":"A","name":"x\u2028y"}', ['{"symbol":"A","name":"x\u2028y"}']),
        ('{"symbol":"A","open":1.10000000000000000001}', ['{"symbol":"A","open":1.10000000000000000001}']),
    ],
)
def test_every_record_is_a_message_as_it_stands(publish_bars: ModuleType, content: str, expected: list[str]) -> None:
    found = publish_bars.messages_of(content.encode(), "symbol")
    assert [value.decode() for _, value in found] == expected
    assert [key for key, _ in found] == [b"A", b"B"][: len(expected)]


def test_without_a_key_field_there_is_no_key(publish_bars: ModuleType) -> None:
    assert publish_bars.messages_of(b'{"a":1}', "") == [(None, b'{"a":1}')]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"  \n", b"nonsense", b"\xff", b"[1]", b'"text"', b'{"a":1}', b'{"symbol":""}', b'{"symbol":7}'),
        *(b'[{"symbol":"A"} {"symbol":"B"}]', b'[{"symbol":"A"}', b'{"symbol":"A"}]', b'{"symbol":"A","open":NaN}'),
        *(b'{"symbol":"\\ud800"}', b'{"symbol":"A","x":' + b"[" * 100_000, b'[{"symbol":"A"},]'),
    ],
)
def test_what_can_never_be_published_is_refused_with_a_reason(publish_bars: ModuleType, content: bytes) -> None:
    with pytest.raises(publish_bars.InvalidContent, match=r"\w"):
        publish_bars.messages_of(content, "symbol")
