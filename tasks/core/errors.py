"""What can go wrong, as one tree.

    FromzeroError                 exit code
    ├── ConfigError               2   an option, a recipe, a command line
    ├── DataError                 3   a source, a row, a failed expectation
    ├── HostError                 1   this machine: disk, memory, a port, a missing part
    ├── ArtifactError             1   a stored artifact, ref or checkpoint
    │   └── Conflict              1   a conditional write that lost its race
    ├── StepError                 1   a step's code failed; not tried again
    ├── Transient                 1   I/O, network, a lost worker: tried again
    │   └── ChildKilled           1   a child process ended by a signal
    └── Refused                   4   the gate said no

Each message names the thing and how to fix it. Only `Transient` is retried.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from difflib import get_close_matches

from tasks.core.urls import bare

_ACTING = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *(code for code in range(0x20) if chr(code) not in "\n\t"),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
    )
}
"""What acts in a terminal instead of being shown: control characters, those that begin escape sequences among them, and
what turns the direction of the text around it (Unicode Bidirectional Algorithm, 2)."""


def printable(text: str) -> str:
    r"""Foreign text (names of files, keys, values of data) as a terminal shows it, whatever it holds: \x1b for Escape,
    \udce9 for half of a surrogate pair. Line ends and tabs stay."""
    return text.translate(_ACTING).encode("utf-8", "backslashreplace").decode()


class FromzeroError(Exception):
    """Base of every error that a user is meant to read."""

    exit_code = 1

    def __init__(self, *args: object) -> None:
        """Of URLs in a message nothing is kept that lets its holder in."""
        super().__init__(*(bare(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        """Fit to be printed and stored, whatever bytes a file's name holds."""
        return printable(super().__str__())


class ConfigError(FromzeroError):
    """An option, a recipe or a command line is wrong."""

    exit_code = 2


class DataError(FromzeroError):
    """The data are bad; trying again cannot help."""

    exit_code = 3


class HostError(FromzeroError):
    """This machine lacks something: disk, memory, a port, a package."""


class ArtifactError(FromzeroError):
    """A stored artifact, ref or checkpoint is missing or broken."""


class Conflict(ArtifactError):
    """A conditional write found another writer's value."""


class StepError(FromzeroError):
    """A step's own code failed."""


class Transient(FromzeroError):
    """An infrastructure fault that a retry may cure."""


class ChildKilled(Transient):
    """A child process was ended by a signal or lost without a status."""


class Refused(FromzeroError):
    """The gate refused to promote a model."""

    exit_code = 4


KINDS: dict[str, type[FromzeroError]] = {
    kind.__name__: kind
    for kind in (ConfigError, DataError, HostError, ArtifactError, Conflict, StepError, Transient, ChildKilled, Refused)
}

_HOST = {
    errno.ENOSPC: "the disk is full: free space (`fromzero gc` removes what nothing uses) and run again",
    errno.EDQUOT: "the disk quota is used up: free space and run again",
    errno.EROFS: "the file system is read-only: set FROMZERO_HOME to a writable folder",
    errno.EACCES: "permission denied: make the folder writable or set FROMZERO_HOME to one that is",
    errno.EPERM: "not permitted: make the folder writable or set FROMZERO_HOME to one that is",
    errno.ENOTDIR: "a file stands where a folder should be: move it, or set FROMZERO_HOME or store.path to a folder",
    errno.EFBIG: "a file grew past this process's limit: raise `ulimit -f` and run again",
    errno.EMFILE: "too many open files: raise `ulimit -n` and run again",
}
_DISTRIBUTIONS = {
    "chitchat_dataset": "chitchat-dataset",
    "great_expectations": "great-expectations",
    "hydra": "hydra-core",
    "omegaconf": "hydra-core",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
"""Packages whose distributions have other names."""
_OURS = ("conf", "flows", "tasks")
_TRANSIENT = (errno.EIO, errno.ESTALE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
_CLIENTS = ("urllib", "urllib3", "requests", "httpx", "httpx2", "httpcore", "httpcore2", "botocore")
"""Network libraries: what they raise is a fault of the connection."""


def from_exception(error: BaseException) -> FromzeroError:
    """Sort any exception into the tree: ours as it is, OSErrors by errno, the rest as a StepError."""
    if isinstance(error, FromzeroError):
        return error
    if isinstance(error, OSError) and error.errno in _HOST:
        return HostError(f"{error.filename or 'writing'}: {_HOST[error.errno]}")
    if isinstance(error, MemoryError):
        return HostError("out of memory: lower the batch or shard size, or use a larger machine")
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in _OURS:
        package = error.name.split(".")[0]
        return HostError(missing_part(_DISTRIBUTIONS.get(package, package)))
    network = type(error).__module__.split(".")[0] in _CLIENTS
    if network or isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None) in _TRANSIENT:
        return Transient(f"{type(error).__name__}: {error}")
    return StepError(f"{type(error).__name__}: {error}")


def missing_part(distribution: str) -> str:
    """What to say of a Python distribution that is not installed."""
    return (
        f"the Python package {distribution} is missing here: run `make setup`, or install it beside fromzero with "
        f"`{sys.executable} -m pip install {distribution}`"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known ones, else all of them."""
    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6) or get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(names) or 'none'}"
