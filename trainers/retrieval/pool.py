"""Image-text pairs on the disk: webdataset shards, parquet files, or a folder of pictures.

    POOL/**/*.tar          KEY.jpg|jpeg|png|webp, KEY.txt, KEY.json beside each other
    POOL/**/*.parquet      columns image, caption, url, key, or what NAMES lists for them
    POOL/**/NAME.jpg ...   NAME.txt beside it, NAME.json where there is one

Tars are taken before parquet files, and those before pictures, since downloaders write tables of
what they did beside the shards. What a shard says is text: a name is never opened but in a folder,
where it was listed. A shard that breaks off is refused as a whole. pyarrow is imported inside.
"""

import json
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from harness.errors import DataError, UsageError
from harness.fingerprint import digest

PICTURES = ("jpg", "jpeg", "png", "webp")
NAMES = {
    "image": ("image", "jpg", "jpeg", "png", "webp", "image_bytes"),
    "caption": ("caption", "text", "txt"),
    "url": ("url", "image_url"),
    "key": ("key", "id", "__key__"),
}
"""Columns of a parquet file by what they hold, case aside; the first that is there counts."""
PER_SHARD = 1_000
"""Pictures of a folder that make one shard."""
LARGEST = 64 * 2**20
"""Bytes of a picture or a text; what is larger is no picture of the web."""
_BATCH = 256
_BLOCK = 512


@dataclass(frozen=True)
class Pair:
    """A picture and its caption, as found."""

    key: str
    at: int
    """Where the shard has the picture: an offset, a row, a place in a list."""
    image: bytes = field(repr=False)
    caption: str
    url: str = ""


@dataclass(frozen=True)
class Bad:
    """A pair that cannot be used."""

    key: str
    why: str


class Shard(Protocol):
    """Some pairs of a pool."""

    @property
    def name(self) -> str:
        """The file, from the pool's folder on, without its ending."""

    def mark(self) -> str:
        """Return what changes when the shard does, without reading it."""

    def pairs(self) -> Iterator[Pair | Bad]:
        """Yield all pairs in their order. Raises DataError where the shard cannot be read."""

    def images(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the pictures at (at, size), which rise. Raises DataError."""


def shards(folder: Path) -> list[Shard]:
    """Return the shards of a pool in the order of their names.

    Raises UsageError when there are none.
    """
    if not folder.is_dir():
        raise UsageError(f"the pool {folder} is no folder; give the one that holds the shards")
    if tars := _listed(folder, ("tar",)):
        return [Tar(path, _name(path, folder)) for path in tars]
    if tables := _listed(folder, ("parquet",)):
        return [Table(path, _name(path, folder)) for path in tables]
    pictures = _listed(folder, PICTURES)
    if not pictures:
        raise UsageError(
            f"{folder} holds no .tar, no .parquet and no picture ({', '.join(PICTURES)})"
        )
    starts = range(0, len(pictures), PER_SHARD)
    return [
        Loose(f"pictures-{at // PER_SHARD:05d}", folder, tuple(pictures[at : at + PER_SHARD]))
        for at in starts
    ]


def _listed(folder: Path, endings: Sequence[str]) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.suffix[1:].lower() in endings and p.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


@dataclass(frozen=True)
class Tar:
    """A webdataset shard, not compressed."""

    path: Path
    name: str

    def mark(self) -> str:
        """Return its size in bytes."""
        return f"{self.path.stat().st_size} bytes"

    def pairs(self) -> Iterator[Pair | Bad]:
        """Yield pairs: neighbours that are called the same up to the first dot."""
        try:
            with tarfile.open(self.path, "r:") as tar:
                seen: set[str] = set()
                files = (member for member in tar if member.isfile())
                for key, members in groupby(files, lambda member: _split(member.name)[0]):
                    yield Bad(key, "key twice") if key in seen else _of_tar(tar, key, [*members])
                    seen.add(key)
                self._whole(tar.offset)
        except (OSError, tarfile.TarError, EOFError) as error:
            raise DataError(f"{self.path} is truncated or no tar ({error})") from error

    def _whole(self, end: int) -> None:
        """Raise TarError unless an empty block follows: tarfile ends quietly without one too."""
        with self.path.open("rb") as file:
            file.seek(end)
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError(f"no end mark at byte {end:,}")

    def images(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield pictures by their offsets."""
        try:
            with self.path.open("rb") as file:
                for at, size in places:
                    file.seek(at)
                    yield file.read(size)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read any more ({error})") from error


def _split(name: str) -> tuple[str, str]:
    """Return what a member belongs to and its ending: the first dot of the last part divides."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def _of_tar(tar: tarfile.TarFile, key: str, members: Sequence[tarfile.TarInfo]) -> Pair | Bad:
    by_ending = {_split(member.name)[1]: member for member in members}
    ending = next((ending for ending in PICTURES if ending in by_ending), None)
    if ending is None:
        return Bad(key, "no picture")
    if any(member.size > LARGEST for member in by_ending.values()):
        return Bad(key, "too large")

    def read(name: str) -> bytes | None:
        opened = tar.extractfile(by_ending[name]) if name in by_ending else None
        return opened.read() if opened else None

    picture = by_ending[ending]
    return _pair(key, picture.offset_data, read(ending), read("txt"), read("json"))


def _pair(
    key: str, at: int, image: Any, caption: bytes | str | None, facts: bytes | str | None,
    url: Any = None,
) -> Pair | Bad:  # fmt: skip
    """Make a pair of what was read; the caption's white space becomes single spaces."""
    if not isinstance(image, bytes) or not image:
        return Bad(key, "no picture")
    if len(image) > LARGEST:
        return Bad(key, "too large")
    try:
        told: Any = json.loads(facts) if facts else {}
    except (ValueError, RecursionError):
        return Bad(key, "json that cannot be read")
    told = told if isinstance(told, Mapping) else {}
    text = told.get("caption") if caption is None else caption
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str) or not text.strip():
        return Bad(key, "no caption")
    found = told.get("url") if url is None else url
    return Pair(key, at, image, _clean(text), _clean(found) if isinstance(found, str) else "")


def _clean(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


@dataclass(frozen=True)
class Table:
    """A parquet file that holds the pictures themselves."""

    path: Path
    name: str

    def mark(self) -> str:
        """Return its size in bytes."""
        return f"{self.path.stat().st_size} bytes"

    def pairs(self) -> Iterator[Pair | Bad]:
        """Yield the rows as pairs; a row without a key is called by its number."""
        seen: set[str] = set()
        for at, row in self._rows(("image", "caption", "url", "key")):
            key = str(at if row.get("key") is None else row["key"])
            told = row.get("caption"), None, row.get("url")
            yield Bad(key, "key twice") if key in seen else _pair(key, at, _bytes(row), *told)
            seen.add(key)

    def images(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield pictures by the numbers of their rows; other row groups are not read."""
        wanted = {at for at, _ in places}
        for at, row in self._rows(("image",), wanted):
            if at in wanted:
                yield _bytes(row) or b""

    def _rows(
        self, what: Sequence[str], wanted: Collection[int] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                names = self._names(file.schema_arrow.names)
                columns = {names[one]: one for one in what if one in names}
                at = 0
                for group in range(file.num_row_groups):
                    end = at + file.metadata.row_group(group).num_rows
                    if wanted is None or any(at <= one < end for one in wanted):
                        for row in _of_group(file, group, list(columns)):
                            yield at, {columns[name]: value for name, value in row.items()}
                            at += 1
                    at = end
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.path} is truncated or no parquet file ({error})") from error

    def _names(self, there: Sequence[str]) -> dict[str, str]:
        by_lower = {name.lower(): name for name in reversed(there)}
        found = {
            what: by_lower[name]
            for what, names in NAMES.items()
            for name in reversed(names)
            if name in by_lower
        }
        for what in ("image", "caption"):
            if what not in found:
                raise DataError(
                    f"{self.path} has no column of the {what} ({', '.join(NAMES[what])}); it has "
                    f"{', '.join(there)}. A table of addresses has to be downloaded first"
                )
        return found


def _of_group(file: Any, group: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
        yield from batch.to_pylist()


def _bytes(row: Mapping[str, Any]) -> bytes | None:
    """Return the picture of a row: bytes, or Hugging Face's struct with bytes in it."""
    found = row.get("image")
    found = found.get("bytes") if isinstance(found, Mapping) else found
    return found if isinstance(found, bytes) else None


@dataclass(frozen=True)
class Loose:
    """Pictures in a folder, each with its text beside it."""

    name: str
    folder: Path
    paths: tuple[Path, ...]

    def mark(self) -> str:
        """Return a hash of names and sizes."""
        return digest([[self._key(path), path.stat().st_size] for path in self.paths])

    def pairs(self) -> Iterator[Pair | Bad]:
        """Yield the pictures; a key is the path from the folder on, without its ending."""
        seen: set[str] = set()
        for at, path in enumerate(self.paths):
            key = self._key(path)
            yield Bad(key, "key twice") if key in seen else self._one(key, at, path)
            seen.add(key)

    def images(self, places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield pictures by their places."""
        for at, _ in places:
            try:
                yield self.paths[at].read_bytes()
            except OSError as error:
                raise DataError(f"{self.paths[at]} cannot be read any more ({error})") from error

    def _key(self, path: Path) -> str:
        return _name(path, self.folder)

    def _one(self, key: str, at: int, path: Path) -> Pair | Bad:
        def read(ending: str) -> bytes | None:
            beside = path.with_suffix(ending)
            return beside.read_bytes() if beside.is_file() else None

        try:
            return _pair(key, at, path.read_bytes(), read(".txt"), read(".json"))
        except OSError:
            return Bad(key, "file that cannot be read")
