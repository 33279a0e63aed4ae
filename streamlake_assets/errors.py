"""The error tree. Every error a user can meet is here, with the exit code the command line gives it.

StreamlakeError                  exit 1
├── UsageError                   exit 2   a setting, argument or file is wrong: the message says what to change
│   ├── SettingError             exit 2   a configured value cannot be used (names the setting)
│   ├── AlreadyRunningError      exit 2   another supervisor holds this folder (names its pid)
│   └── PortInUseError           exit 2   a port is taken (names port, setting and holder)
├── MissingToolError             exit 3   Python, JDK, Maven or another program is missing (names the install command)
├── ArtifactError                exit 3   a download is missing or its checksum is wrong
├── ServerError                  exit 4   a server did not start or does not answer
├── BadRecordError               exit 5   one record breaks the contract (has a reason code); never retried
├── TryLaterError                exit 6   an outage: the same call may succeed later
└── IntegrityError               exit 7   stored state contradicts itself or the stream; never retried, raises an alarm
    ├── OffsetFencedError        exit 7   another consumer moved the stored offset: this one must drop the partition
    └── ModelRefusedError        exit 7   a model folder is corrupt, truncated or holds a type that is not allowed

Three failures, three types: bad data (``BadRecordError``), try later (``TryLaterError``), never retry
(``IntegrityError``).
"""


class StreamlakeError(Exception):
    """Base of all errors of this project."""

    exit_code = 1


class UsageError(StreamlakeError):
    """A setting, argument or file is wrong; the message says what to change."""

    exit_code = 2


class SettingError(UsageError):
    """A configured value cannot be used; the message names the setting."""


class AlreadyRunningError(UsageError):
    """Another supervisor holds this folder; the message names its pid."""


class PortInUseError(UsageError):
    """A port is taken; the message names port, setting and holder."""


class MissingToolError(StreamlakeError):
    """A program this machine lacks; the message names the command that installs it."""

    exit_code = 3


class ArtifactError(StreamlakeError):
    """A download is missing, or its checksum is not the pinned one."""

    exit_code = 3


class ServerError(StreamlakeError):
    """A server did not start or does not answer."""

    exit_code = 4


class BadRecordError(StreamlakeError):
    """One record breaks the contract.

    ``reason`` is a stable code (see ``market.contract.Reason``), ``detail`` says in words what was found.
    """

    exit_code = 5

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TryLaterError(StreamlakeError):
    """An outage: nothing is wrong with the data, and the same call may succeed later."""

    exit_code = 6


class IntegrityError(StreamlakeError):
    """Stored state contradicts itself or the stream."""

    exit_code = 7


class OffsetFencedError(IntegrityError):
    """The stored offset was moved by somebody else: this consumer no longer owns the partition."""


class ModelRefusedError(IntegrityError):
    """A model folder is corrupt, truncated, or holds a type outside the allow-list."""
