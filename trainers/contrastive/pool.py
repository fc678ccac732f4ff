"""Pairs of a picture and a caption, read one by one: what contrastive training learns from.

Three forms: a folder of webdataset tars (`KEY.jpg`, `KEY.txt`, perhaps `KEY.json`), as retrieval
writes and img2dataset downloads; parquet with the pictures' bytes or paths; JSON lines with paths.
Tars are read in place: only keys, captions and offsets stay in memory. Imports the standard
library, Pillow and pyarrow inside functions, harness and trainers._keys.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError, UsageError
from tasks._data import inside

Check = Literal["none", "headers", "decode"]
PICTURES = ("jpg", "jpeg", "png", "webp")
CAPTIONS = ("caption", "text", "TEXT")
IDS = ("id", "key")
FOLDERS = ("", "shards")
"""Where below --data tars are looked for."""


@dataclass(frozen=True)
class Place:
    """Where a picture's bytes lie: a file, or a part of it."""

    path: Path
    start: int = 0
    size: int = -1
    """Bytes; -1: all of the file."""

    def read(self) -> bytes:
        """Return the bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


@dataclass(frozen=True)
class Pair:
    """One picture with its caption."""

    id: str
    caption: str
    picture: Place | bytes
    classes: tuple[str, ...] = ()
    """Classes that it was retrieved for: `labels` or `classes` of its record."""

    def read(self) -> bytes:
        """Return the picture's file."""
        return self.picture if isinstance(self.picture, bytes) else self.picture.read()


@dataclass
class Pool:
    """All pairs that can be trained on, and what was left out."""

    kind: str
    pairs: list[Pair]
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return what run.json says of the pairs; another digest means other pairs."""
        digest = sha256()
        for pair in self.pairs:
            size = len(pair.picture) if isinstance(pair.picture, bytes) else pair.picture.size
            digest.update(
                f"{len(pair.id)} {pair.id} {len(pair.caption)} {pair.caption} {size}".encode()
            )
        classes = Counter(name for pair in self.pairs for name in pair.classes)
        return {
            "kind": self.kind,
            "pairs": len(self.pairs),
            "captions": len({pair.caption for pair in self.pairs}),
            "digest": digest.hexdigest()[:16],
            "left_out": dict(self.bad),
            "examples": self.examples[:8],
            "per_class": dict(sorted(classes.items())),
        }


Fault = Callable[[str, str], None]
"""Takes a reason and what it is about."""


def read(
    data: Path, images: Path | None, *, check: Check = "headers", bad_cap: float = 0.0
) -> Pool:
    """Read the pairs at `data`.

    Args:
        data: A folder of tars, parquet files or .jsonl files, or one such file.
        images: Folder that image paths of records start from; the folder of the file if None.
        check: Open every picture and read its header, or decode it, or neither.
        bad_cap: Share of pairs (and of tars) that may be bad; 0: the first one ends it.

    Raises:
        DataError: There are no pairs, more are bad than allowed, or two have one id.
        UsageError: The files have neither pictures nor paths.
    """
    kind, files = _files(data)
    pool = Pool(kind, [])

    def fault(reason: str, what: str) -> None:
        pool.bad[reason] += 1
        pool.examples.append(f"{what}: {reason}")
        if bad_cap == 0:
            raise DataError(
                f"{what}: {reason}. `options.bad_cap` is the share of pairs that may be left out"
            )

    for pair in _READERS[kind](files, images, fault):
        if check != "none" and (reason := _broken(pair, check)):
            fault(reason, pair.id)
        else:
            pool.pairs.append(pair)
    total = len(pool.pairs) + sum(pool.bad.values())
    if sum(pool.bad.values()) > bad_cap * total:
        raise DataError(
            f"{sum(pool.bad.values()):,} of {total:,} pairs are bad, more than `options.bad_cap: "
            f"{bad_cap}` allows: {'; '.join(pool.examples[:3])}"
        )
    if not pool.pairs:
        raise DataError(f"{data} holds no pair of a picture and a caption")
    if len({pair.id for pair in pool.pairs}) < len(pool.pairs):
        twice = Counter(pair.id for pair in pool.pairs).most_common(1)[0][0]
        raise DataError(f"{data}: two pairs have the id '{twice}'")
    return pool


def _files(data: Path) -> tuple[str, list[Path]]:
    """Return the form of the data and its files, in the order of their names."""
    if data.is_file():
        kind = {".tar": "tar", ".parquet": "parquet", ".jsonl": "jsonl"}.get(data.suffix)
        if kind:
            return kind, [data]
        raise UsageError(f"--data {data}: pairs are .tar, .parquet or .jsonl")
    for kind in ("tar", "parquet", "jsonl"):
        found = [p for name in FOLDERS for p in sorted((data / name).glob(f"*.{kind}"))]
        if found:
            return kind, found
    raise DataError(f"--data {data}: there are no .tar, .parquet or .jsonl files in it")


def _tars(files: Iterable[Path], images: Path | None, fault: Fault) -> Iterator[Pair]:
    for path in files:
        members: dict[str, dict[str, Place]] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                end = path.stat().st_size
                for member in tar:
                    key, _, ending = Path(member.name).name.partition(".")
                    key = str(Path(member.name).parent / key)
                    if member.isfile() and member.offset_data + member.size <= end:
                        place = Place(path, member.offset_data, member.size)
                        members.setdefault(key, {})[ending.lower()] = place
                    elif member.isfile():
                        fault("the tar is cut off", f"{path.name}/{member.name}")
        except (tarfile.TarError, OSError) as error:
            fault(f"the tar cannot be read to its end ({error})", path.name)
        yield from _grouped(path, members, fault)


def _grouped(
    path: Path, members: Mapping[str, Mapping[str, Place]], fault: Fault
) -> Iterator[Pair]:
    for key, parts in members.items():
        picture = next((parts[kind] for kind in PICTURES if kind in parts), None)
        if picture is None or "txt" not in parts:
            if picture is not None or "txt" in parts:
                missing = "caption" if picture is not None else "picture"
                fault(f"it has no {missing}", f"{path.name}/{key}")
            continue
        caption = parts["txt"].read().decode("utf-8", "replace").strip()
        facts = _facts(parts["json"].read()) if "json" in parts else {}
        if caption:
            yield Pair(f"{path.stem}/{key}", caption, picture, _classes(facts))
        else:
            fault("its caption is empty", f"{path.name}/{key}")


def _parquet(files: Iterable[Path], images: Path | None, fault: Fault) -> Iterator[Pair]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            rows = pq.read_table(path).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        yield from _records(path, rows, images, fault)


def _jsonl(files: Iterable[Path], images: Path | None, fault: Fault) -> Iterator[Pair]:
    for path in files:
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            row = _facts(line)
            if row:
                rows.append(row)
            elif line.strip():
                fault("no JSON object", f"{path.name} line {number}")
        yield from _records(path, rows, images, fault)


def _records(
    path: Path, rows: Iterable[Mapping[str, Any]], images: Path | None, fault: Fault
) -> Iterator[Pair]:
    for number, row in enumerate(rows):
        id = next((str(row[name]) for name in IDS if row.get(name) is not None), "")
        id = id or f"{path.stem}/{number}"
        caption = next((row[name] for name in CAPTIONS if row.get(name)), None)
        if not isinstance(caption, str) or not caption.strip():
            fault("it has no caption", id)
            continue
        picture = _picture(path, row, images)
        if isinstance(picture, str):
            fault(picture, id)
        else:
            yield Pair(id, caption.strip(), picture, _classes(row))


def _picture(path: Path, row: Mapping[str, Any], images: Path | None) -> Place | bytes | str:
    """Return where a record's picture is, or what is wrong with it."""
    found = next((row[k] for k in ("image", "image_path", "path") if row.get(k)), None)
    if isinstance(found, Mapping):
        found = found.get("bytes") or found.get("path")
    if isinstance(found, bytes):
        return found
    if isinstance(found, str):
        file = inside(images or path.parent, found)
        return Place(file, 0, file.stat().st_size) if file.is_file() else f"there is no {found}"
    if any(key.lower() == "url" for key in row):
        raise UsageError(f"{path} has addresses of pictures and none of them; download them first")
    return "it has no picture"


def _facts(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _classes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    found = facts.get("labels") or facts.get("classes")
    if isinstance(found, str):
        found = [found]
    return tuple(str(name) for name in found) if isinstance(found, list | tuple) else ()


def _broken(pair: Pair, check: Check) -> str:
    """Return what is wrong with a picture; "" if nothing."""
    from PIL import Image

    try:
        with Image.open(BytesIO(pair.read())) as picture:
            picture.load() if check == "decode" else picture.verify()
    except Exception as error:  # Pillow raises of all kinds for broken files
        return f"its picture cannot be opened ({type(error).__name__})"
    return ""


_READERS: Mapping[str, Callable[[Iterable[Path], Path | None, Fault], Iterator[Pair]]] = {
    "tar": _tars,
    "parquet": _parquet,
    "jsonl": _jsonl,
}
