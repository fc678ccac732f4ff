"""The forms in which image-classification sets come, for tasks/_elevater_files.py.

    index    the toolkit's (vision-datasets): test.txt with lines `test.zip@a/1.jpg 3`
    coco     the same package's COCO-like test.json, naming zip_file and file_name
    idx      MNIST's own: t10k-images-idx3-ubyte and -labels-idx1-ubyte, gzipped or not
    tables   Hugging Face parquet or arrow files with the columns image and label
    trees    a folder per class: test/<class>/1.jpg, on disk or in a zip

Labels of the first three are positions in the list of classes; tables and trees are matched by
name. Source: microsoft/vision-datasets 0.2.17. Imports the harness and tasks/_data and _hub.
"""

import gzip
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from harness.errors import DataError
from tasks._data import inside, read_json, read_text
from tasks._elevater_sets import IMAGENET, SPLITS, DataSet
from tasks._hub import Table, find_tables

Bytes = Path | bytes | Callable[[], bytes] | None
Found = tuple[str, tuple[int, ...], Bytes]
"""A picture's name within its split, the positions of its classes, where its bytes are."""
Layout = Callable[[Path, DataSet, Sequence[str], str], list[Found]]
"""(folder, data set, class names, split) -> its pictures in order; [] where the form is another."""

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")
_LABELS = ("label", "labels", "fine_label")
_WNID = re.compile(r"n\d{8}")


def lines_of(path: Path) -> tuple[str, ...]:
    """Return the lines of a text file that hold anything, without outer space."""
    return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())


def _index(folder: Path, one: DataSet, classes: Sequence[str], split: str) -> list[Found]:
    """Read an index: a path, a space, labels by commas."""
    path = _first(folder, (f"{split}.txt", f"{split}_ic.txt", f"{split}_images.txt"))
    if path is None:
        return []
    zips = _Zips(folder)
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, labels = line.strip().rpartition(" ")
        try:
            places = tuple(int(label) for label in labels.split(","))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: expected 'path label' or 'path.zip@path label' with "
                f"whole numbers as labels, found {line[:60]!r}"
            ) from error
        found.append((name, places, zips.source(name)))
    return found


def _coco(folder: Path, one: DataSet, classes: Sequence[str], split: str) -> list[Found]:
    """Read a COCO-like file; classes are numbered in the order of the ids of its categories."""
    path = _first(folder, (f"{split}.json", f"{split}_meta.json"))
    if path is None:
        return []
    document = read_json(path, dict)
    labels: dict[object, list[int]] = {}
    try:
        order = {id: at for at, id in enumerate(sorted(c["id"] for c in document["categories"]))}
        for mark in document["annotations"]:
            labels.setdefault(mark["image_id"], []).append(order[mark["category_id"]])
        named = [
            (f"{zip}@{i['file_name']}" if (zip := i.get("zip_file")) else i["file_name"], i["id"])
            for i in document["images"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected images, annotations and categories as in a COCO file ({error!r})"
        ) from error
    zips = _Zips(folder)
    return [(name, tuple(labels.get(id, ())), zips.source(name)) for name, id in named]


def _idx(folder: Path, one: DataSet, classes: Sequence[str], split: str) -> list[Found]:
    """Read MNIST's own files; a picture becomes a PNG, without loss, when it is looked at."""
    word = {"test": "t10k"}.get(split, split)
    images, labels = (
        _first(folder, (f"*{word}*-{kind}-ubyte", f"*{word}*-{kind}-ubyte.gz"))
        for kind in ("images-idx3", "labels-idx1")
    )
    if images is None or labels is None:
        return []
    (count, rows, columns), pixels = _unpack(images, 3)
    (marked,), marks = _unpack(labels, 1)
    if marked != count:
        raise DataError(f"{labels}: {marked:,} labels for the {count:,} images of {images.name}")
    size = rows * columns
    return [
        (
            f"{i:05d}.png",
            (marks[i],),
            partial(_png, pixels[i * size : (i + 1) * size], columns, rows),
        )
        for i in range(count)
    ]


def _unpack(path: Path, dimensions: int) -> tuple[tuple[int, ...], memoryview]:
    """Return the sizes and the values of an idx file of unsigned bytes."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    head = 4 + 4 * dimensions
    if len(raw) < head or raw[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"{path}: not an idx file of bytes with {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", raw[4:head])
    if len(raw) - head != math.prod(sizes):
        raise DataError(
            f"{path}: {len(raw) - head:,} values, its header promises {math.prod(sizes):,}; the "
            "file is cut off or damaged"
        )
    return sizes, memoryview(raw)[head:]


def _png(pixels: memoryview, width: int, height: int) -> bytes:
    from PIL import Image as Pictures

    out = BytesIO()
    Pictures.frombytes("L", (width, height), bytes(pixels)).save(out, "PNG")
    return out.getvalue()


def _tables(folder: Path, one: DataSet, classes: Sequence[str], split: str) -> list[Found]:
    """Read Hugging Face tables. Labels are matched by the names in the schema, if it has any."""
    files = find_tables(folder, split=split)
    if not files or (split != "test" and files == find_tables(folder, split="no split")):
        return []  # files that name no split are the test split
    table, names = Table(files), _label_names(files[0])
    places = _places(names, one, classes, folder, ordered=True) if names else {}
    found = []
    for at, row in table.rows():
        try:
            raw = next(row[column] for column in _LABELS if column in row)
            marks = [int(x) for x in (raw if isinstance(raw, list) else [raw])]
            if min(marks, default=0) < 0:
                raise ValueError("the labels of this split are hidden")
            labels = tuple(places[names[x]] if names else x for x in marks)
        except (StopIteration, ValueError, TypeError, IndexError) as error:
            raise DataError(
                f"{files[0]}, row {at}: expected whole labels in one of the columns "
                f"{', '.join(_LABELS)}; found {row!r:.80} ({error})"
            ) from error
        name = f"{at:06d}"
        image = table.image(at, "image", name) or table.image(at, "img", name)
        found.append((name, labels, image.source if image else None))
    return found


def _label_names(file: Path) -> list[str]:
    """Return the class names that a table of `datasets` carries in its schema; [] for none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            schema = pq.read_schema(file)
        else:
            with pa.memory_map(str(file)) as source:
                schema = pa.ipc.open_stream(source).schema
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        known = described.get("info", {}).get("features", {})
    except (pa.ArrowInvalid, OSError, ValueError, AttributeError):
        return []  # whoever reads the rows says what is wrong with the file
    for column in _LABELS:
        feature = known.get(column)
        if isinstance(feature, dict):
            inner = feature.get("feature", feature)
            if isinstance(inner, dict) and inner.get("names"):
                return [str(name) for name in inner["names"]]
    return []


def _trees(folder: Path, one: DataSet, classes: Sequence[str], split: str) -> list[Found]:
    """Read a folder per class below <split>/, or below any folder where none is called a split."""
    members = [(parts, source) for parts, source in _members(folder) if len(parts) > 1]
    if any(word in parts[:-2] for parts, _ in members for word in SPLITS):
        members = [(parts, source) for parts, source in members if split in parts[:-2]]
    elif split != "test":
        return []
    places = _places(sorted({parts[-2] for parts, _ in members}), one, classes, folder)
    members.sort(key=lambda member: member[0])
    return [("/".join(parts), (places[parts[-2]],), source) for parts, source in members]


def _members(folder: Path) -> Iterator[tuple[tuple[str, ...], Bytes]]:
    """Yield every picture below a folder and in its zip files: path parts, where its bytes are."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURES and path.is_file():
            below = path.relative_to(folder)
            yield below.parts, inside(folder, str(below))
    zips = _Zips(folder)
    for path in sorted(folder.glob("*.zip")):
        for name in zips.names(path):
            if name.lower().endswith(PICTURES):
                parts = tuple(name.split("/"))
                named = path.stem in SPLITS and path.stem not in parts
                yield (path.stem, *parts) if named else parts, partial(zips.read, path, name)


def _places(
    names: Sequence[str],
    one: DataSet,
    classes: Sequence[str],
    folder: Path,
    *,
    ordered: bool = False,
) -> dict[str, int]:
    """Return the class position of each name. Raises DataError naming those that are no class.

    labels.txt beside the data settles it: one name a line in the order of the classes. Without it
    names are compared regardless of case, spaces and punctuation; a full set of numbers from 0,
    and ImageNet's, are positions. `ordered`: the names come in the order of the labels.
    """
    listed = folder / "labels.txt"
    if not listed.is_file() and len(names) == one.classes:
        if {name.lstrip("0") or "0" for name in names} == set(map(str, range(one.classes))):
            return {name: int(name) for name in names}
        if one is IMAGENET and all(map(_WNID.fullmatch, names)):
            return {name: at for at, name in enumerate(sorted(names))}
        if one is IMAGENET and ordered:
            return {name: at for at, name in enumerate(names)}
    known = lines_of(listed) if listed.is_file() else classes
    order = {_plain(name): at for at, name in enumerate(known)}
    strangers = [name for name in names if _plain(name) not in order]
    if strangers:
        raise DataError(
            f"{folder}: {len(strangers)} of {len(names)} names are no class of {one.name}: "
            f"{', '.join(strangers[:5])}. Its classes are {', '.join(known[:5])}, ...; write the "
            f"{one.classes} names that your files use, in the order of the classes, one a line, "
            f"into {listed}"
        )
    return {name: order[_plain(name)] for name in names}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


class _Zips:
    """Zip files of a folder, each opened once; members are read when they are looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[Path, ZipFile] = {}

    def source(self, name: str) -> Bytes:
        """Return where the bytes of `file` or `archive.zip@member` are."""
        archive, at, member = name.partition(".zip@")
        if not at:
            return inside(self._folder, name)
        return partial(self.read, inside(self._folder, f"{archive}.zip"), member)

    def names(self, path: Path) -> list[str]:
        return sorted(self._zip(path).namelist())

    def read(self, path: Path, member: str) -> bytes:
        try:
            return self._zip(path).read(member)
        except (KeyError, BadZipFile, OSError, RuntimeError, zlib.error) as error:
            raise DataError(f"{path}: cannot read {member}: {error}") from error

    def _zip(self, path: Path) -> ZipFile:
        if path not in self._open:
            try:
                self._open[path] = ZipFile(path)
            except (BadZipFile, OSError) as error:
                raise DataError(f"{path}: not a readable zip file ({error})") from error
        return self._open[path]


def _first(folder: Path, patterns: Iterable[str]) -> Path | None:
    return next((path for p in patterns for path in sorted(folder.glob(p)) if path.is_file()), None)


LAYOUTS: tuple[Layout, ...] = (_index, _coco, _idx, _tables, _trees)
