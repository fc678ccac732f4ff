"""VisualCOMET's files: val_annots.json, the candidates to rank, and VCR's frames.

`visualcomet.zip` has `{train,val,test}_annots.json`. The 50 candidates of a group come from the
published `val_rank_random_50.json` where it lies beside the annotations (the output of the
official `scripts/run_rank.py`); the script's own draw cannot be repeated (it draws with Python's
generator and seeds the others), so without that file they are drawn here, once and for all, with a
fixed seed. Used by tasks/visualcomet.py alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from harness.types import Source
from tasks._data import file_sha256, read_json
from tasks._vcr_files import LICENSE, Frames, root_of

RELATIONS = ("intent", "before", "after")
"""In the order in which the official parser makes records of them."""
CANDIDATES = 50
SEED = 0
RELEASED = "val_rank_random_50.json"
PUBLISHED = {"events": 13_768, "inferences": 146_332}
"""Not from an official file: the three splits add up to the published totals."""
PLACES = ("val_annots.json", "visualcomet/val_annots.json", "annotations/val_annots.json")

Key = tuple[str, str, str]
"""Frame, event, relation: what the official script calls one inference."""


@dataclass(frozen=True, slots=True)
class Inference:
    """One record: a sentence and the relation that it was written for."""

    text: str
    relation: str


@dataclass(slots=True)
class Group:
    """All that belongs to one frame, event and relation; `gold` and `candidates` are records."""

    id: str
    """`<position of the event in the file>/<relation>`."""
    frame: str
    metadata: str
    movie: str
    place: str
    event: str
    relation: str
    gold: list[int] = field(default_factory=list)
    candidates: tuple[int, ...] = ()
    """The gold ones first, as published."""


@dataclass(frozen=True)
class Events:
    """The groups in the order of the file."""

    records: list[Inference]
    groups: list[Group]
    source: Source
    frames: Frames
    notes: tuple[str, ...] = ()


def load(data: str | None) -> Events:
    """Read the validation events of a folder, or of a .json file in the official format.

    Raises DataError for files that are not what they claim to be, and for published candidates
    that belong to other annotations.
    """
    root = root_of(
        data, "visualcomet", "val_annots.json of visualcomet.zip and the folder vcr1images of VCR"
    )
    path = _file(root)
    records, groups, counts = _read(path)
    if not groups:
        raise DataError(f"{path}: no inferences in it; the test split withholds them, use val")
    files = {path.name: file_sha256(path)}
    notes = [_counted(counts)]
    released = path.parent / RELEASED
    if released.is_file():
        _take(released, groups, len(records))
        files[RELEASED] = file_sha256(released)
        version = "val, published candidates"
    else:
        files[f"candidates drawn with seed {SEED}"] = _draw(groups, len(records))
        version = "val, candidates of our own"
        notes.append(
            f"candidates were drawn with the seed {SEED}, because {RELEASED} is not beside "
            f"{path.name}: they are not the published draw"
        )
    fewest = min(len(group.candidates) for group in groups)
    if fewest < CANDIDATES:
        notes.append(f"there are too few inferences for {CANDIDATES} candidates: {fewest} at least")
    source = Source(str(root), version, "val", LICENSE, files)
    return Events(records, groups, source, Frames(path.parent), tuple(notes))


def _counted(counts: Mapping[str, int]) -> str:
    """Say what was read. The published counts are not from an official file: nothing is refused."""
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    if all(counts[name] == count for name, count in PUBLISHED.items()):
        return f"read {said}: the size of the published validation split"
    known = ", ".join(f"{count:,} {name}" for name, count in PUBLISHED.items())
    return f"read {said}; the published split has {known}: not comparable with published numbers"


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    found = next((path for name in PLACES if (path := root / name).is_file()), None)
    if found is None:
        others = sorted(str(path.relative_to(root)) for path in root.glob("*.json"))[:5]
        hint = f". It has {', '.join(others)}: name one of them with --data" if others else ""
        raise DataError(
            f"{root}: no VisualCOMET events. Expected val_annots.json (visualcomet.zip), with "
            f"vcr1images/ of VCR beside it{hint}"
        )
    return found


def _read(path: Path) -> tuple[list[Inference], list[Group], dict[str, int]]:
    """Make records as the official parser does, and the groups that they form."""
    records: list[Inference] = []
    groups: dict[Key, Group] = {}
    rows = read_json(path, list)
    for number, row in enumerate(rows):
        where = f"{path}, entry {number + 1}"
        _check(where, row)
        for relation in RELATIONS:
            for text in row.get(relation) or ():
                key = row["img_fn"], row["event"], relation
                if key not in groups:
                    groups[key] = _group(f"{number}/{relation}", row, relation)
                groups[key].gold.append(len(records))
                records.append(Inference(text, relation))
    counts = {
        "events": len(rows),
        "inferences": len(records),
        "images": len({row["img_fn"] for row in rows}),
    }
    return records, list(groups.values()), counts


def _group(id: str, row: Mapping[str, Any], relation: str) -> Group:
    return Group(
        id=id,
        frame=row["img_fn"],
        metadata=row["metadata_fn"],
        movie=row["movie"],
        place=row["place"],
        event=row["event"],
        relation=relation,
    )


def _check(where: str, row: Any) -> None:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found a {type(row).__name__}")
    for name in ("img_fn", "metadata_fn", "movie", "place", "event"):
        if not isinstance(row.get(name), str):
            raise DataError(f"{where}: '{name}' is {row.get(name)!r}, expected a text")
    for relation in RELATIONS:
        listed = row.get(relation) or []
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            raise DataError(f"{where}: '{relation}' is no list of texts")


def _draw(groups: list[Group], records: int) -> str:
    """Give each group its gold records and others drawn by lot; return the hash of all lists.

    Each group draws with a generator of its own, and only with `random()`, whose sequence Python
    keeps across versions. As in the official script nothing is said about equal texts: a candidate
    may read like a gold one.
    """
    for group in groups:
        generator = Random(f"{SEED}/{group.frame}/{group.event}/{group.relation}")
        taken = dict.fromkeys(group.gold)
        wanted = min(max(CANDIDATES, len(group.gold)), records)
        while len(taken) < wanted:
            taken[int(generator.random() * records)] = None
        group.candidates = tuple(taken)
    lists = json.dumps([[group.id, *group.candidates] for group in groups])
    return sha256(lists.encode()).hexdigest()


def _take(path: Path, groups: list[Group], records: int) -> None:
    """Take the published candidates, after checking that they are about these records."""
    document = read_json(path, dict)
    found: dict[Key, tuple[int, ...]] = {}
    for number, row in enumerate(document.get("results") or (), 1):
        try:
            key = row["img_fn"], row["event"], row["inference_relation"]
            found[key] = tuple(row["inference_candidate_indices"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}, result {number}: expected img_fn, event, inference_relation and "
                f"inference_candidate_indices as run_rank.py writes them ({error!r})"
            ) from error
    for group in groups:
        listed = found.get((group.frame, group.event, group.relation))
        if listed is None:
            raise DataError(
                f"{path}: no candidates for the {group.relation} of {group.event!r} in "
                f"{group.frame}; the file belongs to other annotations"
            )
        whole = all(type(at) is int and 0 <= at < records for at in listed)
        count = len(group.gold)
        if not whole or len(set(listed)) < len(listed) or sorted(listed[:count]) != group.gold:
            raise DataError(
                f"{path}: the candidates for the {group.relation} of {group.event!r} in "
                f"{group.frame} do not begin with its {count} inferences, each once; the file "
                "belongs to other annotations"
            )
        group.candidates = listed
    if len(found) > len(groups):
        raise DataError(
            f"{path}: {len(found):,} groups, the annotations have {len(groups):,}; the file "
            "belongs to other annotations"
        )
