"""Files of training data and the cards beside them: what `sightline teach` writes.

Output depends on input and seed alone, byte for byte. Each file FILE.json has a FILE.md with
counts, what was dropped and why, where it comes from, the licences, and the check that held-out
images are not in it. May import harness and trainers.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError, UsageError
from trainers.locating import OBJECTIVES, Captions, Picture
from trainers.pseudo import Caption


@dataclass
class Made:
    """What a card says."""

    title: str
    records: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """What is in the file, by kind."""
    dropped: Counter[str] = field(default_factory=Counter)
    settings: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    """What each input file is, and where it lies."""
    teacher: Mapping[str, Any] = field(default_factory=dict)
    licenses: Sequence[str] = ()
    excluded: int | None = None
    """Images of the deny-list that were taken out; None: there was no list."""
    notes: list[str] = field(default_factory=list)


def key_of(name: str) -> str:
    """Return what an image is recognised by: COCO's number, else the file's name without suffix.

    `COCO_val2014_000000391895.jpg`, `train2017/000000391895.jpg` and `391895` are one picture.
    """
    stem = Path(name).name
    stem = stem.rpartition(".")[0] or stem
    tail = stem.rpartition("_")[2]
    return str(int(tail)) if tail.isascii() and tail.isdecimal() else stem


def read_exclude(path: Path) -> frozenset[str]:
    """Read a deny-list: ids or file names of images, one on a line, or a JSON list of them.

    Raises DataError when it is something else, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            rows = json.loads(text)
            if not all(isinstance(row, str | int) for row in rows):
                raise ValueError("a JSON list of ids or file names is expected")
            names = [str(row) for row in rows]
        else:
            names = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no list of images ({error})") from error
    if not names:
        raise DataError(f"{path}: the list of held-out images is empty")
    return frozenset(key_of(name) for name in names)


def keep(
    pictures: Sequence[Picture], exclude: frozenset[str] | None, images: Path | None, made: Made
) -> list[Picture]:
    """Return the pictures that may be used; count the others in `made`.

    Args:
        pictures: All of a file.
        exclude: Keys of held-out images.
        images: Folder of the picture files; those that are missing, do not open or have another
            size than the annotations say are left out. None: nothing is opened.
        made: Where counts go.
    """
    from PIL import Image

    kept = []
    for picture in pictures:
        if exclude and {key_of(picture.id), key_of(picture.file)} & exclude:
            made.dropped["image is held out"] += 1
            continue
        if images is not None:
            try:
                with Image.open(images / picture.file) as opened:
                    size = opened.size
            except FileNotFoundError:
                made.dropped["image is missing"] += 1
                continue
            except Exception:  # PIL raises half a dozen kinds for files that are not pictures
                made.dropped["image does not open"] += 1
                continue
            if size != picture.size:
                made.dropped["image has another size than its annotations"] += 1
                continue
        kept.append(picture)
    if exclude is not None:
        made.excluded = made.dropped["image is held out"]
    if not kept:
        reasons = ", ".join(f"{why}: {n}" for why, n in made.dropped.items() if n)
        raise DataError(f"no picture is left of {len(pictures)} ({reasons})")
    return kept


def sampled(
    rows: Sequence[dict[str, Any]], count: int, ratio: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    """Return `count` records with objectives in the shares of `ratio`, drawn from the seed.

    Where there are too few records of one objective all of them are taken and there are fewer
    records in total; a smaller count is a part of a larger one.

    Raises UsageError when records hold several objectives.
    """
    if any(len(row["objectives"]) != 1 for row in rows):
        raise UsageError("--count and --ratio need records of one question each: --turns 1")
    if not any(ratio.values()):
        raise UsageError("--ratio must be above 0 for at least one of the objectives")

    def lot(row: dict[str, Any]) -> bytes:
        return sha256(f"{seed}/{row['id']}".encode()).digest()

    whole = sum(ratio.values())
    chosen: set[str] = set()
    for name, share in ratio.items():
        some = [row for row in rows if row["objectives"] == [name]]
        wanted = round(count * share / whole)
        chosen.update(row["id"] for row in sorted(some, key=lot)[:wanted])
    return [row for row in rows if row["id"] in chosen]


def shares(text: str, objectives: Sequence[str]) -> dict[str, float]:
    """Read `1:1:1`, in the order of `objectives`. Raises UsageError."""
    try:
        found = [float(word) for word in text.split(":")]
        if len(found) != len(objectives) or any(not 0 <= x < 1e9 for x in found):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--ratio needs {len(objectives)} numbers with colons between them, for "
            f"{', '.join(objectives)}; found '{text}'"
        ) from None
    return dict(zip(objectives, found, strict=True))


def objectives(text: str) -> tuple[str, ...]:
    """Read names of objectives with commas between them, in the order of the paper."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return (*(n for n in OBJECTIVES if n in names), *(n for n in names if n not in OBJECTIVES))


def count_objectives(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many questions of each objective there are."""
    found = Counter(name for row in rows for name in row["objectives"])
    return {name: found[name] for name in OBJECTIVES if found[name]}


def write_captions(path: Path, captions: Sequence[Caption]) -> None:
    """Write pseudo-captions with where each comes from."""
    rows = [
        {"image": c.image, "item": c.item, "kind": c.kind, "text": c.text, "related": c.related,
         "source": dict(c.source)}
        for c in sorted(captions, key=lambda c: (c.image, c.item, c.related))
    ]  # fmt: skip
    write_json(path, rows)


def read_captions(path: Path) -> Captions:
    """Read pseudo-captions; the relational one of an object wins. Raises DataError."""
    found: dict[tuple[str, int], str] = {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in sorted(rows, key=lambda row: bool(row["related"])):
            found[str(row["image"]), int(row["item"])] = str(row["text"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: no captions ({type(error).__name__}: {error}); make them with "
            "`sightline teach captions`"
        ) from error
    return found


def instances(pictures: Sequence[Picture], kinds: Sequence[str]) -> dict[str, Any]:
    """Return pictures as COCO instances, so that boxes of a detector can be used like people's."""
    numbers = {kind: n for n, kind in enumerate(kinds, 1)}
    annotations = []
    for picture in pictures:
        for item in picture.items:
            left, top, right, bottom = item.box
            box = [left, top, round(right - left, 4), round(bottom - top, 4)]
            annotations.append(
                {"id": item.id, "image_id": _number(picture.id), "category_id": numbers[item.kind],
                 "bbox": box, "iscrowd": int(item.crowd)}
            )  # fmt: skip
    images = [
        {"id": _number(p.id), "file_name": p.file, "width": p.size[0], "height": p.size[1]}
        for p in pictures
    ]
    categories = [{"id": numbers[kind], "name": kind} for kind in kinds]
    return {"images": images, "annotations": annotations, "categories": categories}


def _number(id: str) -> int | str:
    return int(id) if id.isascii() and id.isdecimal() and str(int(id)) == id else id


def read_pairs(path: Path) -> list[tuple[str, str, str]]:
    """Read (id, image file, caption) for stage 1.

    Takes COCO's captions_<split>.json (the first caption of each image), or a list of rows with
    `image` and `caption` (and `id`). Raises DataError.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, Mapping):
            files = {row["id"]: str(row["file_name"]) for row in document["images"]}
            first: dict[Any, str] = {}
            for row in document["annotations"]:
                first.setdefault(row["image_id"], " ".join(str(row["caption"]).split()))
            return [(str(id), files[id], said) for id, said in sorted(first.items())]
        return [
            (str(row.get("id", n)), str(row["image"]), " ".join(str(row["caption"]).split()))
            for n, row in enumerate(document)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no captions ({type(error).__name__}: {error}); expected COCO's captions, or "
            "a list of rows with `image` and `caption`"
        ) from error


def write_json(path: Path, document: Any) -> None:
    """Write a list with a row on each line, or one object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(document, list):
        text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in document) + "\n]\n"
    else:
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    part.replace(path)


def write_card(path: Path, made: Made) -> Path:
    """Write the card of the data at `path`; returns where it lies."""
    digest = sha256(path.read_bytes()).hexdigest()
    lines = [f"# {made.title}", "", f"`{path.name}`, sha256 `{digest}`."]
    lines += _part("Counts", _table({"records": made.records} | made.counts))
    dropped = {why: n for why, n in sorted(made.dropped.items()) if n}
    lines += _part("Dropped", _table(dropped) if dropped else ["Nothing."])
    origin = [
        f"- {what}: `{source.name}`, sha256 `{sha256(source.read_bytes()).hexdigest()}`"
        for what, source in made.sources.items()
    ]
    if made.teacher:
        origin.append(
            f"- written by `{made.teacher['name']}` (fingerprint `{made.teacher['fingerprint']}`)"
        )
    lines += _part("Where it comes from", origin)
    lines += _part("Settings", [f"- {name}: {value}" for name, value in made.settings.items()])
    lines += _part("Licences", [f"- {one}" for one in made.licenses] or ["Not stated."])
    checked = (
        "No list of held-out images was given (`--exclude`): nothing was checked."
        if made.excluded is None
        else f"{made.excluded:,} images of the list were in the source; none of them is in this "
        "file."
    )
    lines += _part("Held-out images", [checked])
    lines += _part("Notes", [f"- {note}" for note in made.notes]) if made.notes else []
    card = path.with_suffix(".md")
    card.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return card


def _part(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _table(counts: Mapping[str, int]) -> list[str]:
    return ["| what | how many |", "|---|---|", *(f"| {k} | {v:,} |" for k, v in counts.items())]
