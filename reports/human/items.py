"""What people are asked about: answers of runs, or triples of a corpus, as items of a batch.

An item is a question with its pictures and regions and what is to be judged of it. Two runs give
pairs; one or more runs or corpora give single items, and what two sources have in common is asked
once and counts for both. Which samples are taken depends on the seed and the ids alone, so the
same samples are taken of every run. Imports harness records and the reports' own readers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from harness import fingerprint, store
from harness.errors import DataError, UsageError
from harness.record import Row
from reports._page_read import opened
from reports._page_samples import LONG

_PARTS = ("question", "answer", "rationale")


@dataclass(frozen=True)
class Item:
    """One thing that people judge."""

    id: str
    """The sample's, or the triple's."""
    cluster: str
    """The picture: what intervals keep whole."""
    question: str
    texts: tuple[tuple[str, str], ...]
    """What is judged, as (heading, text): the two answers of a pair, or the parts of one item."""
    pictures: tuple[tuple[str, str | None], ...] = ()
    """Name, and hash of the pixels that the run saw."""
    regions: tuple[Mapping[str, Any], ...] = ()
    """`box` (pixels of the original), `label`, `image` (which picture)."""
    sources: tuple[int, ...] = ()
    """Of which sources it is a sample; a pair has none."""

    @property
    def content(self) -> str:
        """Hash of all that a person sees of it, and its id."""
        shown = [self.id, self.question, self.texts, self.pictures, self.regions]
        return fingerprint.digest(json.loads(json.dumps(shown)), length=64)


@dataclass(frozen=True)
class Source:
    """A run or a corpus that items come from."""

    name: str
    address: str
    digest: str
    """sha256 of its rows: a secret between the organiser's files and the seed."""
    items: Sequence[Item] = field(repr=False)
    left_out: Mapping[str, int]
    """Why samples of it cannot be asked about, counted."""
    pictures: str
    """Folder that the data came from."""
    triples: bool = False


def load(address: str) -> Source:
    """Read a run folder, or a file of triples. Raises DataError for anything else."""
    path = store.local(address)
    return _triples(path) if path.is_file() else _run(path)


def _run(folder: Path) -> Source:
    run = opened(folder)
    items, silent = [], 0
    for row in run.rows:
        if row["answer"] is None:
            silent += 1
            continue
        try:
            items.append(_item(row))
        except (TypeError, ValueError) as error:
            raise DataError(f"{folder}: the row of '{row['id']}' is damaged ({error})") from error
    name = f"{run.model} ({run.record.folder.name})"
    digest = fingerprint.of_file(run.record.folder / "rows.jsonl")
    left_out = {f"no answer in {name}": silent} if silent else {}
    where = str(run.info["source"]["address"])
    return Source(name, str(folder), digest, items, left_out, where)


def _item(row: Row) -> Item:
    parts, pictures = [], []
    several = sum(not isinstance(part, str) for part in row["prompt"]) > 1
    for part in row["prompt"]:
        if isinstance(part, str):
            parts.append(part.strip("\n"))
            continue
        pictures.append(str(part["image"]))
        parts += [f"[picture {len(pictures)}]"] if several else []
    hashes = [*(row.get("pixels") or ()), *[None] * len(pictures)]
    return Item(
        row["id"],
        row["cluster"],
        _cut("\n".join(filter(None, parts))),
        (("Answer", said(row)),),
        tuple(zip(pictures, hashes, strict=False)),
        tuple(_region(**one) for one in row.get("regions") or ()),
    )


def _region(box: Sequence[Any], label: str = "", image: int = 0) -> dict[str, Any]:
    """Return a region as forms hold it. Raises ValueError for what no page can draw."""
    corners = [float(x) for x in box]
    if len(corners) != 4 or not all(map(isfinite, corners)):
        raise ValueError(f"the box {box!r} is not four numbers")
    return {"box": corners, "label": str(label), "image": int(image)}


def said(row: Row) -> str:
    """Return what a model said, or the choice that it took where it ranked choices."""
    answer = row["answer"]
    text, at = str(answer.get("text") or ""), answer.get("choice")
    if not text and at is not None and 0 <= at < len(row["choices"]):
        text = str(row["choices"][at])
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= LONG else text[:LONG] + "…"


def _triples(path: Path) -> Source:
    """Read LSKD's corpus (docs/trainers/lskd-teacher.md); regions are those that it mentions."""
    items: dict[str, Item] = {}
    for number, row in _lines(path):
        try:
            item = _triple(row, number)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {number}: no triple ({error!r})") from error
        if item.id in items:
            raise DataError(f"{path}, line {number}: the id '{item.id}' stands twice")
        items[item.id] = item
    if not items:
        raise DataError(f"{path}: no triples in it")
    digest = fingerprint.of_file(path)
    parent = str(path.resolve().parent)
    return Source(path.stem, str(path), digest, list(items.values()), {}, parent, triples=True)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no object")
                yield number, row
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: neither a run folder nor a file of triples ({error})") from error


def _triple(row: Mapping[str, Any], number: int) -> Item:
    texts = tuple((part.capitalize(), _cut(_words(row[part]))) for part in _PARTS)
    index, source, split = row.get("index", 0), row.get("source") or "", row.get("split") or "train"
    boxes = {str(one["name"]): one["boxes"] for one in row.get("references") or ()}
    regions = [
        _region(box[:4], f"[{region}]")
        for region in row.get("region") or ()
        for box in boxes.get(str(region), ())
    ]
    image = str(row["image"])
    return Item(
        str(row.get("id") or f"{source}/{split}/{index}/{number}"),
        image,
        "",
        texts,
        ((image, None),),
        tuple(regions),
    )


def _words(tokens: Any) -> str:
    """Join tokens as the corpus does: ids of one mention become `[0] , [1]`."""
    if not isinstance(tokens, list) or not tokens:
        raise TypeError("a list of tokens is expected")
    out = []
    for token in tokens:
        ids = [token] if isinstance(token, str) else [f"[{int(id)}]" for id in token]
        out.append(" , ".join(ids))
    return " ".join(out)


@dataclass(frozen=True)
class Drawn:
    """The items of a batch."""

    items: Sequence[Item]
    same: Sequence[Item]
    """Pairs whose answers are the same words: ties that nobody is asked about."""
    eligible: int
    left_out: Mapping[str, int]


def pairs(a: Source, b: Source, samples: int, seed: int) -> Drawn:
    """Draw pairs of answers to the same questions; `texts` are the answer of `a`, then of `b`.

    Raises UsageError for corpora, DataError where the runs asked different things.
    """
    if a.triples or b.triples:
        raise UsageError("pairs are made of two runs; a corpus of triples is rated: --likert")
    theirs = {item.id: item for item in b.items}
    common = [(item, theirs[item.id]) for item in a.items if item.id in theirs]
    for mine, other in common:
        if _asked(mine) != _asked(other) or not _same_pictures(mine, other):
            raise DataError(
                f"the sample '{mine.id}' is another question in {a.address} than in {b.address}: "
                "people can only compare answers to the same question"
            )
    if not common:
        raise DataError(f"{a.address} and {b.address} have no answered sample in common")
    chosen = _chosen([mine for mine, _ in common], samples, seed)
    made = []
    for mine in chosen:
        other = theirs[mine.id]
        texts = (("Answer", mine.texts[0][1]), ("Answer", other.texts[0][1]))
        both_saw = zip(mine.pictures, other.pictures, strict=True)
        pictures = tuple((name, one or two) for (name, one), (_, two) in both_saw)
        made.append(replace(mine, texts=texts, pictures=pictures))
    same = [item for item in made if _plain(item.texts[0][1]) == _plain(item.texts[1][1])]
    left_out = {**a.left_out, **b.left_out}
    kept = {item.id for item in made} - {item.id for item in same}
    return Drawn([item for item in made if item.id in kept], same, len(common), left_out)


def singles(sources: Sequence[Source], samples: int, seed: int) -> Drawn:
    """Draw `samples` of each source; what several of them drew is one item of all of these."""
    found: dict[str, Item] = {}
    left_out: dict[str, int] = {}
    for at, source in enumerate(sources):
        left_out |= source.left_out
        for item in _chosen(source.items, samples, seed):
            before = found.get(item.content, item)
            found[item.content] = replace(before, sources=(*before.sources, at))
    eligible = sum(len(source.items) for source in sources)
    if not found:
        raise DataError("nothing to ask about: no source has an answer")
    return Drawn(list(found.values()), (), eligible, left_out)


def _asked(item: Item) -> Any:
    return item.question, [name for name, _ in item.pictures], list(item.regions)


def _same_pictures(a: Item, b: Item) -> bool:
    """Whether both saw the same pixels; a model that never looks tells no hashes."""
    both = zip(a.pictures, b.pictures, strict=True)
    return all(one == other for (_, one), (_, other) in both if one and other)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _chosen(items: Sequence[Item], samples: int, seed: int) -> list[Item]:
    """Return so many items, by the hashes of seed and id and nothing else."""
    if samples < 1:
        raise UsageError(f"--samples is {samples}; it must be 1 or more")

    def lot(item: Item) -> str:
        return sha256(f"{seed}:{item.id}".encode("utf-8", "surrogatepass")).hexdigest()

    return sorted(items, key=lot)[:samples]
