"""Reading the official files of a benchmark: the only helper that all tasks share.

Every error names the file and the line or key, what was expected and what to do. Names that come
out of annotation files can never leave the data folder. Hugging Face tables are in tasks/_hub.py.
"""

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image

Row = dict[str, Any]


def data_folder(data: str | None, task: str, *, hub: str = "") -> Path:
    """Return the folder (or file) that holds the data of `task`.

    `data` wins; without it `$SIGHTLINE_DATA/<task>` is used. `hub` is the Hugging Face address
    that the error offers; without one the task reads files only. Raises DataError when there is
    nothing.
    """
    if data is None:
        root = os.environ.get("SIGHTLINE_DATA")
        if root is None or not (Path(root) / task).exists():
            online = f"--data hf:{hub} to read them from the Hugging Face Hub, " if hub else ""
            raise DataError(
                f"{task}: no data was named. Give --data FOLDER with the official files, {online}"
                f"or set SIGHTLINE_DATA to a folder that has a '{task}' folder in it"
            )
        data = str(Path(root) / task)
    if data.startswith("hf:") and not hub:
        raise DataError(f"{task}: cannot be read from {data}; give --data FOLDER with the files")
    if data.startswith("hf:"):
        from tasks._hub import fetch

        return fetch(data)
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"{task}: there is no file or folder {path}")
    return path


def read_text(path: Path) -> str:
    """Return a UTF-8 text file (gzip by its name). Raises DataError with the byte that is wrong."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return raw.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; fetch the file again") from error


def read_json(path: Path, expect: type | None = None) -> Any:
    """Return one JSON document. Raises DataError with the line; `expect` is dict or list."""
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); the file is cut off or damaged"
        ) from error
    if expect is not None and not isinstance(found, expect):
        raise DataError(
            f"{path}: expected a JSON {expect.__name__}, found a {type(found).__name__}"
        )
    return found


def read_jsonl(path: Path, need: Iterable[str] = ()) -> Iterator[tuple[int, Row]]:
    """Yield (line number from 1, object) of a JSON-lines file; blank lines are passed over.

    Raises DataError naming file and line for broken JSON, a line that is no object, or one that
    lacks a field of `need`.
    """
    need = tuple(need)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: not JSON ({error.msg}); the line is cut off or damaged"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, found {line[:40]!r}")
        for field in need:
            if field not in row:
                raise DataError(
                    f"{path}, line {number}: no field '{field}'; it has {', '.join(row)}"
                )
        yield number, row


def file_sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """Return `folder / name`, refusing a name that leaves the folder (also through a link)."""
    root = folder.resolve()
    path = (root / name).resolve()
    if "\x00" in name or not path.is_relative_to(root):
        raise DataError(
            f"{name!r} leads out of the data folder {folder}; an annotation file may only name "
            "files inside it"
        )
    return path


def image_finder(root: Path, folders: Iterable[str]) -> Callable[[str], Image]:
    """Return a function from an image's file name to the Image, looked for in `folders` of `root`.

    Folders that do not exist are passed over. Where none exists the images are without bytes:
    recorded answers and floors can be scored, models that look say what is missing.
    """
    here = [folder for name in folders if (folder := root / name).is_dir()]
    known: dict[str, Image] = {}

    def find(name: str) -> Image:
        if name not in known:
            known[name] = Image(name, _locate(here, name))
        return known[name]

    return find


def _locate(folders: list[Path], name: str) -> Path | None:
    paths = [inside(folder, name) for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0] if paths else None)


def unique(ids: Iterable[str], what: str) -> None:
    """Raise DataError naming the first id that comes twice, or that nothing is there."""
    seen: set[str] = set()
    for found in ids:
        if found in seen:
            raise DataError(f"{what}: the id '{found}' comes twice; ids must be unique")
        seen.add(found)
    if not seen:
        raise DataError(f"{what}: no questions in it; the split is empty")


def expect_counts(what: str, expected: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raise DataError with an expected-versus-found table where a count differs."""
    if all(found.get(key, 0) == count for key, count in expected.items()):
        return
    width = max(len(key) for key in expected)
    lines = [
        f"  {key:<{width}}  expected {count:>7,}  found {found.get(key, 0):>7,}"
        + ("" if found.get(key, 0) == count else "   <-")
        for key, count in expected.items()
    ]
    raise DataError(f"{what}: not the published set; fetch the files again\n" + "\n".join(lines))
