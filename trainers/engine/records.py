"""LLaVA records: where they lie, what one must look like, and reading one at a time.

A record is `{"id", "image"?: path or paths, "conversations": [{"from": "human"|"gpt", "value"}]}`;
`<image>` marks where a picture stands (docs/Finetune_Custom_Data.md of haotian-liu/LLaVA). Files
are .json (one list) or .jsonl; a folder of such shards is read in the order of their names. When
streaming, only the byte offsets of the records stay in memory and each is read when it is wanted.
Imports the standard library, yaml inside a function, harness.errors and trainers.recipe.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError, unknown
from trainers.recipe import Part, Recipe, Slot, check

IMAGE, VIDEO = "<image>", "<video>"
HUMAN, REPLY = ("human", "user"), ("gpt", "assistant")
MIXTURES = Path(__file__).resolve().parent.parent / "mixtures"
_CHUNK = 1 << 20


class BadRecord(DataError):
    """A record that cannot be trained on; `reason` is the short name it is counted under."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Name the `reason`, and say what exactly was found."""
        super().__init__(f"{reason}{f': {detail}' if detail else ''}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation. Texts still have their `<image>` marks."""

    id: str
    turns: tuple[tuple[str, str], ...]
    """("user", text) and ("assistant", text), alternating, beginning with the user."""
    images: tuple[str, ...] = ()
    """Paths below the slot's image folder, in the order of their marks."""
    system: str = ""
    video: bool = False
    """Whether `images` are the frames, or the folder, of one video, which has one mark."""


@dataclass
class Shard:
    """One file of records and where each of them is in it."""

    path: Path
    slot: Slot
    image_folder: str
    rows: list[Any] | None = None
    """The records themselves, unless streaming."""
    starts: Sequence[int] = field(default_factory=lambda: array("Q"))
    """Byte offset of each record, and of the end."""
    sha256: str = ""

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.rows) if self.rows is not None else len(self.starts) // 2

    def read(self, at: int) -> Any:
        """Return record `at` as JSON."""
        if self.rows is not None:
            return self.rows[at]
        with self.path.open("rb") as file:
            file.seek(self.starts[2 * at])
            text = file.read(self.starts[2 * at + 1] - self.starts[2 * at])
        return json.loads(text)


@dataclass(frozen=True)
class Records:
    """All records of a mixture under one numbering, slot by slot."""

    shards: tuple[Shard, ...]
    picks: Sequence[tuple[int, int]]
    """(shard, record in it)."""
    notes: tuple[str, ...] = ()
    """What a reader of the run must know, as a count that differs from the published one."""

    def __len__(self) -> int:
        """Return how many records an epoch sees."""
        return len(self.picks)

    def raw(self, at: int) -> Any:
        """Return record `at` as it was written."""
        shard, row = self.picks[at]
        return self.shards[shard].read(row)

    def get(self, at: int) -> tuple[Record, Slot, str]:
        """Return record `at`, its slot and its image folder. Raises BadRecord."""
        shard, row = self.picks[at]
        found = self.shards[shard]
        return parse(found.read(row), f"{found.path.name}:{row}"), found.slot, found.image_folder

    def name(self, at: int) -> str:
        """Return how record `at` is called in messages."""
        shard, row = self.picks[at]
        raw = self.shards[shard].read(row)
        own = f" (id {raw['id']})" if isinstance(raw, Mapping) and "id" in raw else ""
        return f"{self.shards[shard].path.name}:{row}{own}"

    def describe(self) -> list[dict[str, Any]]:
        """Return files, their hashes and counts, for the run's record."""
        taken = [0] * len(self.shards)
        for shard, _ in self.picks:
            taken[shard] += 1
        return [
            {"slot": s.slot.name, "file": s.path.name, "sha256": s.sha256, "records": len(s),
             "taken": taken[i], "license": s.slot.license}
            for i, s in enumerate(self.shards)
        ]  # fmt: skip


def parse(raw: Any, where: str) -> Record:
    """Return `raw` as a Record. Raises BadRecord saying what is wrong with it."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("conversations"), list):
        raise BadRecord("not a record", "it needs a list called 'conversations'")
    video = bool(raw.get("video"))
    if video and raw.get("image"):
        raise BadRecord("not a record", "'image' and 'video' exclude each other")
    images = raw.get("video") or raw.get("image") or ()
    images = (images,) if isinstance(images, str | int | float | Mapping) else tuple(images)
    if not all(isinstance(name, str) and name for name in images):
        raise BadRecord("not a record", f"'image' must be a path or paths, found {images!r}")
    system = ""
    turns: list[tuple[str, str]] = []
    for turn in raw["conversations"]:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
            raise BadRecord("not a record", "each turn needs 'from' and a text 'value'")
        role = turn.get("from")
        if role == "system" and not turns:
            system = turn["value"]
        elif role in HUMAN or role in REPLY:
            text = turn["value"].replace(VIDEO, IMAGE) if video else turn["value"]
            turns.append(("user" if role in HUMAN else "assistant", text))
        else:
            raise BadRecord("not a record", f"unknown speaker {role!r}")
    if turns and turns[0][0] == "assistant":
        turns = turns[1:]
    if turns and turns[-1][0] == "user":
        turns = turns[:-1]
    if not any(text.strip() for role, text in turns if role == "assistant"):
        raise BadRecord("no target", "no turn of the assistant says anything after a question")
    if any(role != ("user", "assistant")[i % 2] for i, (role, _) in enumerate(turns)):
        raise BadRecord("turns do not alternate")
    if any(IMAGE in text for role, text in turns if role == "assistant"):
        raise BadRecord("image mark in a reply")
    marks = sum(text.count(IMAGE) for _, text in turns)
    wanted = 1 if video else len(images)
    if images and not marks:
        turns[0] = ("user", IMAGE * wanted + turns[0][1])
    elif marks != wanted:
        raise BadRecord("image marks", f"{marks} marks for {wanted} images")
    return Record(str(raw.get("id", where)), tuple(turns), images, system, video)


class Mixture(Part):
    """A file in trainers/mixtures: which sets of records, and how much of each."""

    summary: str = ""
    source: str = ""
    slots: tuple[Slot, ...]


def mixture(name: str) -> Mixture:
    """Read the mixture called `name`. Raises UsageError with near names."""
    import yaml

    known = {path.stem: path for path in MIXTURES.glob("*.yaml")}
    if name not in known:
        raise unknown("mixture", name, known)
    return check(Mixture, yaml.safe_load(known[name].read_text("utf-8")), f"mixture {name}")


def slots(recipe: Recipe) -> tuple[Slot, ...]:
    """Return the sets of records that `recipe` names; none: everything at --data."""
    return mixture(recipe.mixture).slots if recipe.mixture else recipe.data


def read(recipe: Recipe, data: Path) -> Records:
    """Find and open all records of `recipe` below `data`.

    Raises:
        DataError: A file is missing (all missing ones are named), empty, or no JSON.
    """
    wanted = slots(recipe) or (Slot.model_validate({"name": data.stem}),)
    alone = not slots(recipe)
    missing = []
    found: list[tuple[Slot, list[Path]]] = []
    for slot in wanted:
        files = _files(data if alone else data / (slot.file or slot.name))
        missing += [] if files else [f"{slot.name} ({slot.file or slot.name} below {data})"]
        found.append((slot, files))
    if missing:
        raise DataError(
            f"{data}: no records for {', '.join(missing)}; looked for .json, .jsonl and folders of "
            "such files of these names"
        )
    shards: list[Shard] = []
    picks: list[tuple[int, int]] = []
    notes: list[str] = []
    for slot, files in found:
        first = len(shards)
        shards += [_open(path, slot, recipe.streaming) for path in files]
        rows = [(i, j) for i in range(first, len(shards)) for j in range(len(shards[i]))]
        if slot.records is not None and len(rows) != slot.records:
            notes.append(f"{slot.name}: {len(rows):,} records, published {slot.records:,}")
        share = slot.fraction * recipe.fraction
        picks += _share(shards, rows, share, recipe.seed) * slot.repeat
    if not picks:
        raise DataError(f"{data}: the files hold no records")
    return Records(tuple(shards), picks, tuple(notes))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix in (".json", ".jsonl"))
    tries = (path, path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.jsonl"))
    return (
        [next((p for p in tries if p.is_file()), Path())] if any(map(Path.is_file, tries)) else []
    )


def _share(
    shards: Sequence[Shard], rows: list[tuple[int, int]], share: float, seed: int
) -> list[tuple[int, int]]:
    """Return the `share` of `rows` of lowest hash: a smaller share lies in a larger one."""
    if share >= 1 or not rows:
        return rows

    def lot(row: tuple[int, int]) -> bytes:
        raw = shards[row[0]].read(row[1])
        own = raw.get("id", row[1]) if isinstance(raw, Mapping) else row[1]
        return sha256(f"{seed}/{shards[row[0]].slot.name}/{own}".encode()).digest()

    kept = sorted(sorted(rows, key=lot)[: max(1, round(share * len(rows)))])
    return kept


def _open(path: Path, slot: Slot, streaming: bool) -> Shard:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    shard = Shard(path, slot, slot.images, sha256=digest.hexdigest())
    try:
        if streaming:
            shard.starts = _offsets(path)
        elif path.suffix == ".jsonl":
            with path.open("rb") as lines:
                shard.rows = [json.loads(line) for line in lines if line.strip()]
        else:
            shard.rows = json.loads(path.read_bytes())
            if not isinstance(shard.rows, list):
                raise DataError(f"{path}: a .json file of records must be one list")
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    return shard


def _offsets(path: Path) -> Sequence[int]:
    """Return start and end, in bytes, of every record of a file, reading it once in pieces."""
    out = array("Q")
    if path.suffix == ".jsonl":
        at = 0
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    out.extend((at, at + len(line)))
                at += len(line)
        return out
    for start, end in _elements(path):
        out.extend((start, end))
    return out


def _elements(path: Path) -> Iterator[tuple[int, int]]:
    """Yield start and end of each element of a file that is one JSON list of objects."""
    depth, inside, escaped, start, at = 0, False, False, 0, 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            for offset, byte in enumerate(block, at):
                if inside:  # a string: only its end matters
                    if escaped:
                        escaped = False
                    elif byte == 0x5C:
                        escaped = True
                    elif byte == 0x22:
                        inside = False
                elif byte == 0x22:
                    inside = True
                elif byte in b"[{":
                    if depth == 1:
                        start = offset
                    depth += 1
                elif byte in b"]}":
                    depth -= 1
                    if depth == 1:
                        yield start, offset + 1
            at += len(block)
    if depth:
        raise DataError(f"{path}: the list of records does not end; the file is cut off")
