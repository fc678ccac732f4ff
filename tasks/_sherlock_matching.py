"""Sherlock's other two tasks: retrieval and localization, which match many pairs.

Retrieval: in each of 23 splits of about 1,000 (region, inference) pairs, the rank of a region's own
inference among all, and the other way round; each region and inference is encoded once.
Localization: every region of an image scores the image's inferences; regions and inferences are
matched one to one. Where the leaderboard's bundle is given, each inference also picks the best of
the regions that a detector proposed. Rules: judges/sherlock.py, judges/ranking.py.

Regions, inferences and splits are those of the validation corpus, from which the leaderboard's
files were made (tasks/_sherlock_corpus.py). Used by tasks/sherlock.py alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.types import Answer, Image, Metric, Region, Sample, Score, Source, Task
from judges.ranking import features_of, ranks, unit_rows
from judges.sherlock import localized, matched
from tasks._data import file_sha256
from tasks._sherlock_corpus import Instance, Scene, bundle, corpus, scenes
from tasks._sherlock_files import Place, shown

INSTANCES = 22_737
"""Of the published validation corpus."""
Rows = Sequence[Mapping[str, Any]]
Extras = dict[str, dict[str, Any]]


def retrieval(root: Path) -> Task:
    """Make the retrieval task on the validation corpus at `root` (the file, its zip, a folder)."""
    rows, path = corpus(root)
    show = shown(root)
    samples = [sample for row in rows for sample in _both(row, show(row.place, True))]
    sizes = Counter(row.split for row in rows)
    source, notes = _source(root, [path], len(rows))
    return Task(
        name="sherlock/retrieval",
        version="1",
        source=source,
        samples=lambda: samples,
        score=_keep_features,
        scorer="sherlock/retrieval@1",
        metrics=(
            Metric(
                "p_at_1",
                "macro_mean",
                {"kind": "image"},
                options={"value": "first", "over": "split"},
            ),
            *(
                Metric(
                    name,
                    "macro_mean",
                    {"kind": kind},
                    options={"value": "rank", "over": "split"},
                    percent=False,
                    higher_is_better=False,
                )
                for name, kind in (("im2txt", "image"), ("txt2im", "text"))
            ),
        ),
        headline="p_at_1",
        ask="encode",
        chance=100 * sum(1 / size for size in sizes.values()) / len(sizes),
        notes=notes,
        derive=_ranked,
    )


def _both(row: Instance, image: Image) -> Iterator[Sample]:
    """Yield the region and the inference of an instance."""
    common: dict[str, Any] = {"target": row.id, "cluster": row.place.name}
    yield Sample(
        f"image/{row.id}",
        (image,),
        groups={"kind": "image", "split": row.split},
        regions=_regions(row.place),
        **common,
    )
    groups = {"kind": "text", "split": row.split}
    yield Sample(f"text/{row.id}", (row.inference,), groups=groups, **common)


def _keep_features(sample: Sample, answer: Answer) -> Score:
    if not answer.features:
        return Score(None, status="unjudged", reason="retrieval needs features; none were given")
    return Score(None)


def _ranked(rows: Rows) -> Extras:
    """Return each row's rank in its split; `first` only where nothing is as near (P@1)."""
    features = unit_rows([features_of(row) for row in rows])
    places: dict[tuple[int, str], list[int]] = {}
    for at, row in enumerate(rows):
        places.setdefault((row["groups"]["split"], row["groups"]["kind"]), []).append(at)
    found: Extras = {}
    for (split, kind), asked in places.items():
        others = places.get((split, "text" if kind == "image" else "image"), [])
        number = {rows[at]["target"]: n for n, at in enumerate(others)}
        own = [[number[t]] if (t := rows[at]["target"]) in number else [] for at in asked]
        ranked = ranks(features[asked], features[others], own)
        for at, rank in zip(asked, ranked, strict=True):
            if rank is not None:
                first = float(rank.mean == 1.0)
                stats = {"rank": rank.mean, "first": first}
                found[rows[at]["id"]] = {"score": first, "stats": stats}
    return found


def localization(root: Path) -> Task:
    """Make the localization task on the leaderboard's bundle or the validation corpus.

    The corpus has no proposals of a detector, so `auto` and `oracle` need the bundle.
    """
    found = bundle(root)
    if found is None:
        rows, path = corpus(root)
        found = scenes(rows), [path]
    images, files = found
    show = shown(root)
    samples = [sample for scene in images for sample in _of_scene(scene, show)]
    source, notes = _source(root, files, sum(len(scene.ids) for scene in images))
    auto = any(scene.proposals for scene in images)
    if not auto:
        notes = (*notes, "no auto, oracle: proposals of a detector are in the leaderboard's bundle")
    return Task(
        name="sherlock/localization",
        version="1",
        source=source,
        samples=lambda: samples,
        score=_keep_scores,
        scorer="sherlock/localization@1",
        metrics=(
            Metric("gt", "macro_mean", {"kind": "gt"}),
            *(
                Metric(name, "macro_mean", {"kind": "gt"}, options={"value": name})
                for name in ("auto", "oracle")
                if auto
            ),
        ),
        headline="gt",
        ask="rank",
        chance=100 * sum(1 / len(scene.ids) for scene in images) / len(images),
        notes=notes,
        derive=_matched,
    )


def _of_scene(scene: Scene, show: Callable[[Place, bool], Image]) -> Iterator[Sample]:
    """Yield people's regions, each with its own inference, and the detector's with overlaps."""
    sizes = {"regions": len(scene.ids), "proposals": len(scene.proposals)}
    for number, (id, place) in enumerate(zip(scene.ids, scene.places, strict=True)):
        yield Sample(
            f"gt/{id}",
            (show(place, True),),
            target=scene.inferences[number],
            choices=tuple(scene.inferences),
            relevance=tuple(float(k == number) for k in range(len(scene.ids))),
            cluster=scene.name,
            groups={"kind": "gt"},
            facts={**sizes, "own": number},
            regions=_regions(place),
        )
    for number, (place, overlaps) in enumerate(scene.proposals.items()):
        best = max(range(len(overlaps)), key=overlaps.__getitem__)
        yield Sample(
            f"auto/{scene.name}/{number}",
            (show(place, True),),
            target=scene.inferences[best],
            choices=tuple(scene.inferences),
            relevance=tuple(overlaps),
            cluster=scene.name,
            groups={"kind": "auto"},
            facts={**sizes, "own": number},
            regions=_regions(place),
        )


def _keep_scores(sample: Sample, answer: Answer) -> Score:
    if not answer.scores:
        return Score(None, status="unjudged", reason="localization needs a score per inference")
    stats = {**sample.facts, "relevance": list(sample.relevance)}
    return Score(None, stats=stats)


def _matched(rows: Rows) -> Extras:
    """Return for each of people's regions whether it was matched, and its inference's pick.

    An image of which a region failed has no value: the rest would be easier.
    """
    import numpy as np

    images: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        kinds = images.setdefault(row["cluster"], {"gt": [], "auto": []})
        kinds[row["groups"]["kind"]].append(row)
    found: Extras = {}
    for name, kinds in images.items():
        people, proposed = (
            sorted(kinds[kind], key=lambda row: int(row["stats"]["own"])) for kind in ("gt", "auto")
        )
        if not people or len(people) < people[0]["stats"]["regions"]:
            continue
        hits = matched(np.array([row["answer"]["scores"] for row in people]), name)
        for row, hit in zip(people, hits.tolist(), strict=True):
            found[row["id"]] = {"score": float(hit)}
        if proposed and len(proposed) == people[0]["stats"]["proposals"]:
            scores = np.array([row["answer"]["scores"] for row in proposed])
            overlaps = np.array([row["stats"]["relevance"] for row in proposed])
            picks, possible = localized(scores, overlaps)
            taken = scores.argmax(axis=0).tolist()
            for k, (row, pick, could) in enumerate(
                zip(people, picks.tolist(), possible.tolist(), strict=True)
            ):
                boxes = proposed[taken[k]].get("regions", [])  # drawn in reports
                found[row["id"]]["stats"] = {
                    "auto": float(pick),
                    "oracle": float(could),
                    "boxes": boxes,
                }
    return found


def _regions(place: Place) -> tuple[Region, ...]:
    return tuple(Region(box) for box in place.boxes)


def _source(root: Path, files: Sequence[Path], count: int) -> tuple[Source, tuple[str, ...]]:
    """Return the source, and a note where it is not the published validation corpus."""
    published = count == INSTANCES
    note = f"{count:,} instances, published are {INSTANCES:,}: not comparable with published ones"
    version = "val v1.1" if published else "custom"
    hashes = {path.name: file_sha256(path) for path in files}
    return Source(str(root), version, "validation", "CC BY 4.0", hashes), () if published else (
        note,
    )


TASKS: dict[str, Callable[[Path], Task]] = {"retrieval": retrieval, "localization": localization}
