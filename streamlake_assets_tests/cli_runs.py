"""The command line of a test, run in its process."""

from collections.abc import Callable
from typing import NamedTuple

GOOD = "Date,Open,High,Low,Close,Volume\n2024-01-02,10,12,9,11,100\n2024-01-03,11,13,10,12,200\n"
BAD = GOOD + "2024-01-04,11,10,12,12,300\n"


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]
