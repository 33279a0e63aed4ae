"""A step that meets an outage is tried again by Dagster, after longer and longer waits. No asset lives here.

Only ``TryLaterError`` is an outage. Dagster's own ``RetryPolicy`` would repeat every error: a wrong setting three
times, and the training of an engine that cannot train.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final, NoReturn, ParamSpec, TypeVar, cast

import dagster as dg

from streamlake_assets.errors import TryLaterError

WAITS_S: Final = (5.0, 20.0, 80.0)
"""Seconds before the second, third and fourth try of a step."""

P = ParamSpec("P")
R = TypeVar("R")


def tried_again(body: Callable[P, R]) -> Callable[P, R]:
    """Decorate the body of an asset or a check: an outage asks for another try, the last one fails the step as it is.

    Outside of a run nothing is tried again.
    """
    if inspect.isgeneratorfunction(body):

        @wraps(body)
        def several(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            try:
                yield from cast(Iterator[Any], body(*args, **kwargs))
            except TryLaterError as error:
                _ask(error)

        return cast(Callable[P, R], several)

    @wraps(body)
    def one(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except TryLaterError as error:
            _ask(error)

    return one


def _ask(error: TryLaterError) -> NoReturn:
    context = _context()
    if context is None:
        raise error
    done = context.retry_number
    if done >= len(WAITS_S):
        raise error
    context.log.warning(f"{error}: tried again in {WAITS_S[done]:g} s")
    raise dg.RetryRequested(max_retries=len(WAITS_S), seconds_to_wait=WAITS_S[done]) from error


def _context() -> dg.AssetExecutionContext | dg.AssetCheckExecutionContext | None:
    for kind in (dg.AssetExecutionContext, dg.AssetCheckExecutionContext):
        try:
            return kind.get()
        except dg.DagsterInvariantViolationError:
            # Dagster's word for a step of the other kind, or for no step at all
            continue
    return None
