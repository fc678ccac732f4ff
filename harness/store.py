"""A place where a team keeps finished runs: any fsspec address, or a folder.

    STORE/NAME/manifest.json        names every file with its sha256; written last and only once
    STORE/NAME/<digest>/run.json    the files of the run folder, under the digest of all of them
    STORE/NAME/<digest>/rows.jsonl

A run is made in a folder (harness/record.py) and pushed when it is finished. The name of a file
says what is in it, so two writers never write different bytes to one name; only the manifest can
be fought over, and it is created by a request that fails when it is there already. Without a
manifest nothing is visible, so an upload that was interrupted is none. What is read is compared
with its digest. Why so: docs/decisions/006-run-store.md. Retries, credentials and end points are
those of fsspec. Imports harness.address, harness.errors and harness.fingerprint.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

from harness.address import Place, as_path, create, creates, in_one_line, is_address, opened, put
from harness.errors import DataError, UsageError
from harness.fingerprint import digest, of_file

__all__ = ["as_path", "fetch", "is_address", "is_run", "local", "manifest", "opened", "pull",
           "push", "runs"]  # fmt: skip

SCHEMA = 1
MANIFEST = re.compile(r"manifest(-[0-9a-f]{32})?\.json")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]{0,200}")
_LEFT_OUT = (".html", ".parquet.new")


@dataclass(frozen=True)
class Manifest:
    """What a run in a store consists of."""

    run: str
    """The id of the run."""
    files: dict[str, tuple[str, int]]
    """File name to sha256 and size."""

    @property
    def digest(self) -> str:
        """Hash of the names and contents of all files."""
        return digest([[name, *self.files[name]] for name in sorted(self.files)], 32)

    def to_json(self) -> bytes:
        """Return it as it is written: the same run gives the same bytes."""
        files = {name: {"sha256": s, "size": n} for name, (s, n) in sorted(self.files.items())}
        plain = {"schema": SCHEMA, "run": self.run, "digest": self.digest, "files": files}
        return json.dumps(plain, indent=1).encode("utf-8") + b"\n"


def is_run(path: Path) -> bool:
    """Whether a folder on this machine is a run as a store keeps it, and not a run folder."""
    return not (path / "run.json").exists() and any(path.glob("manifest*.json"))


def runs(place: Path | str) -> list[str]:
    """Return the addresses of the runs in a store: the place itself, or those directly in it.

    They are in the order of their names. Run folders that are in no store are none.
    """
    store = opened(place)
    if store.protocol == "file":
        here = Path(store.path)
        found = [*here.glob("manifest*.json"), *here.glob("*/manifest*.json")]
    else:
        with in_one_line(store.address):
            store.fs.invalidate_cache()
            try:
                found = store.fs.find(store.path)  # one listing, however many runs there are
            except FileNotFoundError:
                return []
    below = [str(path)[len(store.path) :].lstrip("/").split("/") for path in found]
    if any(len(parts) == 1 and MANIFEST.fullmatch(parts[0]) for parts in below):
        return [store.address]
    names = {p[0] for p in below if len(p) == 2 and MANIFEST.fullmatch(p[1])}
    return [(store / name).address for name in sorted(names)]


def manifest(run: Place) -> Manifest | None:
    """Return the manifest of a run, or None where none is visible.

    Raises DataError where it is damaged, or where two writers claim the name with other contents.
    """
    with in_one_line(run.address):
        run.fs.invalidate_cache()
        try:
            listed = [str(name).rsplit("/", 1)[-1] for name in run.fs.ls(run.path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return None
        names = sorted(name for name in listed if MANIFEST.fullmatch(name))
        found = [_parsed(run, name, run.fs.cat_file((run / name).path)) for name in names]
    if len({one.digest for one in found}) > 1:
        raise DataError(
            f"{run.address} was claimed by writers with other contents, "
            f"{' and '.join(one.digest for one in found)}; nothing is overwritten and neither is "
            f"read: remove {' or '.join(names)} and its folder"
        )
    return found[0] if found else None


def _parsed(run: Place, name: str, data: bytes) -> Manifest:
    try:
        plain = json.loads(data)
        if plain["schema"] != SCHEMA:
            raise DataError(
                f"{run.address}: manifest of schema {plain['schema']}, this version reads {SCHEMA}"
            )
        files = {str(n): (str(f["sha256"]), int(f["size"])) for n, f in plain["files"].items()}
        found = Manifest(str(plain["run"]), files)
        if plain["digest"] != found.digest or "run.json" not in files:
            raise ValueError("its digest is not that of its files")
        if bad := [n for n in files if not _FILE.fullmatch(n)]:
            raise ValueError(f"'{bad[0]}' is no name of a file of a run")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{(run / name).address}: damaged manifest ({error})") from error
    return found


def push(folder: Path | str, store: Path | str, name: str = "") -> tuple[str, bool]:
    """Put a finished run into a store; return its address and whether it is new there.

    A run that is there already with the same contents is read again and mended where an object
    is damaged. Raises UsageError for a bad name or a folder that is being written, DataError for
    a run that is unfinished or edited, and where the name is taken by other contents.
    """
    folder = Path(folder)
    name = name or folder.resolve().name
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot name a run in a store: letters, digits and . _ @ + = - ; use --name"
        )
    with _held(folder):
        made = _described(folder)
        place = opened(store) / name
        there = manifest(place)
        if there:
            _refuse_other(place, made, there)
        for file in made.files:
            if not there or not _intact(place, there, file):
                put(folder / file, place / made.digest / file)
        if not there:
            _claim(place, made, folder)
        return place.address, not there


def _described(folder: Path) -> Manifest:
    from harness.record import read
    from harness.seal import check_seal

    record = read(folder)
    if record.address:
        raise UsageError(f"{folder} is a run in a store already; pull it, then push the copy")
    if record.run["status"] not in ("complete", "incomplete"):
        raise DataError(
            f"{folder}: the run is {record.run['status']}, not finished; go on with --resume "
            "before it is pushed"
        )
    check_seal(record.folder, record.run)
    names = sorted(
        (
            path.name
            for path in folder.iterdir()
            if path.is_file() and _FILE.fullmatch(path.name) and not path.name.endswith(_LEFT_OUT)
        ),
        key=lambda name: (name == "run.json", name),  # last: without it a folder is no run
    )
    files = {name: (of_file(folder / name), (folder / name).stat().st_size) for name in names}
    return Manifest(str(record.run["id"]), files)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep writers of a run folder out while it is read."""
    try:
        lock = (folder / ".lock").open("r")
    except OSError:  # nobody ever wrote here by locking it: a copy, or nothing at all
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{folder}: another process is writing this run") from error
        yield


def _refuse_other(place: Place, made: Manifest, there: Manifest) -> None:
    if there.digest != made.digest:
        raise DataError(
            f"{place.address} holds other contents: there {there.digest} (run {there.run}), here "
            f"{made.digest} (run {made.run}). A run in a store never changes; choose another --name"
        )


def _claim(place: Place, made: Manifest, folder: Path) -> None:
    """Write the manifest. Raises DataError when other contents have the name."""
    data = made.to_json()
    own = place / "manifest.json"
    if not creates(place / made.digest / "run.json", folder / "run.json"):
        own = place / f"manifest-{made.digest}.json"
    try:
        with in_one_line(own.address):
            create(own, data)
    except (FileExistsError, DataError) as error:
        if manifest(place) is None:  # not lost to another writer
            raise DataError(f"{own.address} cannot be written: {error}") from error
    there = manifest(place)
    if there is None:
        raise DataError(f"{own.address} was written and is not there; push again")
    _refuse_other(place, made, there)


def _intact(run: Place, told: Manifest, name: str) -> bool:
    """Whether an object is what its manifest says."""
    with in_one_line(run.address):
        try:
            with run.fs.open((run / told.digest / name).path, "rb") as file:
                return _hashed(file)[0] == told.files[name][0]
        except FileNotFoundError:
            return False


def _hashed(file: Any, out: Any = None) -> tuple[str, int]:
    found, size = sha256(), 0
    while block := file.read(1 << 20):
        found.update(block)
        size += len(block)
        if out is not None:
            out.write(block)
    return found.hexdigest(), size


def cache_folder() -> Path:
    """Return where runs of stores are kept once they were read; it can be removed at any time."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "sightline" / "runs"


def fetch(address: Path | str, files: Sequence[str] = ()) -> Path:
    """Return a folder with the files of a run in a store, each with the digest that it must have.

    It lies in the cache under its digest and is not to be written to. `files` fetches only these.
    Raises DataError where there is no such run, or an object is not what the manifest says.
    """
    run = opened(address)
    told = _there(run)
    folder = cache_folder() / told.digest / run.name
    for name in files or told.files:
        if name in told.files:
            path = folder / name
            if not path.is_file() or of_file(path) != told.files[name][0]:
                _get(run, told, name, path)
    return folder


def local(place: Path | str) -> Path:
    """Return a folder on this machine for a run: its own, or where it was fetched to."""
    at = as_path(place)
    return at if isinstance(at, Path) and not is_run(at) else fetch(place)


def pull(address: Path | str, out: Path) -> Path:
    """Copy a run of a store into a new folder, whole or not at all. Raises UsageError, DataError.

    The copy is an ordinary run folder: it can be judged, and pushed under another name.
    """
    run = opened(address)
    told = _there(run)
    if out.exists():
        raise UsageError(f"{out} is there already; name another --out")
    temporary = out.with_name(f".{out.name}.{token_hex(4)}")
    try:
        for name in told.files:
            _get(run, told, name, temporary / name)
        temporary.rename(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error}") from error
    finally:
        if temporary.exists():
            for path in temporary.iterdir():
                path.unlink()
            temporary.rmdir()
    return out


def _there(run: Place) -> Manifest:
    told = manifest(run)
    if told is None:
        here = ", ".join(address.rsplit("/", 1)[-1] for address in runs(run.address)[:8])
        hint = f"; runs in it: {here}" if here else ""
        raise DataError(f"{run.address}: no run in a store (no manifest is there){hint}")
    return told


def _get(run: Place, told: Manifest, name: str, to: Path) -> None:
    """Copy an object, whole or not at all. Raises DataError when it is not what it must be."""
    source = run / told.digest / name
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{name}.{token_hex(4)}")
    try:
        with in_one_line(source.address):
            try:
                with source.fs.open(source.path, "rb") as file, temporary.open("wb") as out:
                    found = _hashed(file, out)
            except FileNotFoundError as error:
                raise DataError(f"{source.address}: the manifest names it; it is gone") from error
        if found != told.files[name]:
            raise DataError(
                f"{source.address} is damaged: sha256 {found[0]} ({found[1]:,} bytes), the "
                f"manifest says {told.files[name][0]} ({told.files[name][1]:,} bytes). Whoever "
                "has the run can mend it by pushing it again"
            )
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)
