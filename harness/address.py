"""Places that fsspec can reach, and the two writes that a run store needs of them.

`put` replaces a file whole; `create` writes one that must not be there, and of two who try, one is
refused. What the second needs is not the same everywhere: docs/decisions/006-run-store.md. Whatever
a backend raises becomes one line. Imports harness.errors; fsspec inside.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any

from harness.errors import DataError, MissingExtra, SightlineError, UsageError

_ONE_REQUEST = {"s3", "s3a", "gs", "gcs"}
"""Protocols whose "create, unless it is there" is one request that the server decides."""
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"),
           "gcs": ("gcsfs", "gs")}  # fmt: skip
_memory = Lock()  # memory:// looks and then writes


@dataclass(frozen=True)
class Place:
    """A folder of a file system that fsspec knows."""

    fs: Any
    path: str
    address: str

    def __truediv__(self, name: str) -> "Place":
        return Place(self.fs, f"{self.path}/{name}", f"{self.address}/{name}")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def protocol(self) -> str:
        """How it is reached."""
        found = self.fs.protocol
        return str(found if isinstance(found, str) else found[0])


def is_address(place: Path | str) -> bool:
    """Whether something is an address of another machine or protocol, and no path."""
    return isinstance(place, str) and "://" in place and not place.startswith("file://")


def as_path(place: Path | str) -> Path | str:
    """Return what is on this machine as a path, and any other address as it is."""
    if is_address(place):
        return str(place)
    return Path(str(place).removeprefix("file://"))


def opened(place: Path | str) -> Place:
    """Reach a place. Raises UsageError for a protocol that there is not, MissingExtra."""
    import fsspec

    address = str(place).rstrip("/")
    if not is_address(place):
        path = os.path.abspath(as_path(place))
        return Place(fsspec.filesystem("file"), path, path)
    protocol = address.partition("://")[0]
    try:
        with in_one_line(address):
            fs, path = fsspec.core.url_to_fs(address)
    except DataError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError):
            package, extra = _EXTRAS.get(protocol, (cause.name or protocol, ""))
            how = f"pip install -e '.[{extra}]' in the checkout" if extra else "install it"
            raise MissingExtra(package, f"the address {protocol}://", how) from error
        if isinstance(cause, ValueError):
            raise UsageError(f"{address}: no store can be reached so: {cause}") from error
        raise
    return Place(fs, str(path).rstrip("/"), address)


@contextmanager
def in_one_line(address: str) -> Iterator[None]:
    """Turn whatever a file system raises into one line; every backend has errors of its own."""
    try:
        yield
    except (SightlineError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        raise DataError(f"{address}: {type(error).__name__}: {error}") from error


def put(file: Path, to: Place) -> None:
    """Copy a file of this machine to a place, whole or not at all where the place can.

    Raises DataError.
    """
    try:
        with in_one_line(to.address):
            _copy(file, to)
    except FileNotFoundError as error:  # S3 says so of a bucket
        raise DataError(f"{to.address} cannot be written: {error}") from error


def _copy(file: Path, to: Place) -> None:
    if to.protocol != "file":
        to.fs.put_file(str(file), to.path)
        return
    target = Path(to.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        with file.open("rb") as source, temporary.open("wb") as out:
            while block := source.read(1 << 20):
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def creates(there: Place, file: Path) -> bool:
    """Whether this server lets nobody overwrite what is created exclusively.

    Some servers that speak S3 pass over the condition. So an object that is there is created once
    more, with the bytes that it has: a server that keeps its word refuses.
    """
    if there.protocol in ("file", "memory"):
        return True
    if there.protocol not in _ONE_REQUEST:
        return False
    try:
        with in_one_line(there.address):
            there.fs.pipe_file(there.path, file.read_bytes(), mode="create")
    except FileExistsError:
        return True
    except DataError:  # not implemented, says the server
        return False
    return False


def create(own: Place, data: bytes) -> None:
    """Write an object that must not be there. Raises FileExistsError when it is."""
    if own.protocol == "memory":
        with _memory:
            own.fs.pipe_file(own.path, data, mode="create")
    elif own.protocol == "file":
        _create_file(Path(own.path), data)
    elif own.protocol in _ONE_REQUEST:
        own.fs.pipe_file(own.path, data, mode="create")
    else:
        own.fs.pipe_file(own.path, data)  # its name has the digest of its content


def _create_file(path: Path, data: bytes) -> None:
    """Create a file whole or not at all: open(..., "x") would show it while it is empty."""
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
