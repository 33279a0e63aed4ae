"""How a child process is asked and answers: request and result as files in one folder, an end in time, none left over.

Belongs here: that protocol, once for every child (``child``, ``timing``, ``certificate``). Stays out: what is asked,
what is done about it, who starts a child.
"""

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec
import psutil

from streamlake_assets.errors import IntegrityError, StreamlakeError

REQUEST: Final = "request.json"
RESULT: Final = "result.json"
TIMED_OUT: Final = 124
"""Exit code of a child whose time was over, as of the program ``timeout``."""
_PR_SET_PDEATHSIG: Final = 1


class _Timed(Protocol):
    @property
    def timeout_s(self) -> float: ...


Request = TypeVar("Request", bound=_Timed)
Result = TypeVar("Result")


def write_request(folder: Path, module: str, request: Any) -> list[str]:
    """Write a request into an empty folder and return the command of the module that serves it."""
    (folder / REQUEST).write_bytes(msgspec.json.encode(request))
    return [sys.executable, "-m", module, str(folder)]


def read_request(folder: Path, kind: type[Request]) -> Request:
    """Return what a child was asked for."""
    return msgspec.json.decode((folder / REQUEST).read_bytes(), type=kind)


def read_result(folder: Path, kind: type[Result]) -> Result | None:
    """Return what a child left; None when it ended before it could say anything.

    Raises:
        IntegrityError: the file is not a result.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"{folder / RESULT}: {error}") from error


def answer(
    folder: Path, kind: type[Request], serve: Callable[[Request], Result], failed: Callable[[Exception], Result]
) -> Result:
    """Serve the request in a folder within its time, write the result last, and return it.

    Args:
        folder: with the request.
        kind: of the request.
        serve: what is done.
        failed: makes a result of an error.
    """
    end_with_parent()
    request = read_request(folder, kind)
    with bounded(request.timeout_s):
        try:
            result = serve(request)
        except Exception as error:
            # what no library means to raise: the parent gets one line, its log the traceback
            if not isinstance(error, StreamlakeError):
                traceback.print_exc()
            result = failed(error)
    partial = folder / f"{RESULT}.partial"
    partial.write_bytes(msgspec.json.encode(result))
    partial.rename(folder / RESULT)
    return result


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """End this process and all below it when the time is over."""

    def end() -> None:
        sys.stderr.write(f"not done within {seconds:g} s: ended\n")
        sys.stderr.flush()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        os._exit(TIMED_OUT)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_with_parent() -> None:
    """Ask the kernel for SIGKILL when the process that started this one dies, however it dies (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
