"""Probes of localisation: fixed questions about places, and what replies to them are worth.

Half of them name a thing that is there once, half one that is not, in the wording that is kept for
evaluation (trainers/prompts/locating.json). They are made once, by `sightline teach probes`, and
asked at every checkpoint (trainers/engine/probes.py). May import harness and trainers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import dist
from pathlib import Path
from statistics import median
from typing import Any

from harness.errors import DataError, SightlineError
from trainers.codecs import Codec, Unreadable, codec, iou
from trainers.locating import Captions, Locating, Picture, records, usable

_REFUSAL = re.compile(r"\b(?:no|not|none|nothing|absent|cannot|can't|isn't|don't)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Probe:
    """One question about a place."""

    id: str
    image: str
    """Path below the image folder."""
    question: str
    size: tuple[int, int]
    """Width and height of the picture in pixels."""
    box: tuple[float, float, float, float] | None
    """Where the thing is, in pixels; None: it is not in the picture."""


@dataclass(frozen=True, slots=True)
class Probes:
    """Probes with the codec that replies are read by."""

    codec: Codec
    probes: tuple[Probe, ...]


def make(
    pictures: Sequence[Picture],
    kinds: Sequence[str],
    how: Locating,
    count: int,
    captions: Captions | None = None,
) -> list[Probe]:
    """Return `count` probes (fewer where there is not enough), half of them of absent things.

    Args:
        pictures: With all their annotations. Better none that are trained on.
        kinds: Category names, as for `trainers.locating.records`.
        how: Codec, seed and wording; one question of each objective per picture.
        count: How many.
        captions: Pseudo-captions, as for records.
    """
    found: dict[str, list[Probe]] = {"locpred": [], "negpred": []}
    by_file = {picture.file: picture for picture in pictures}
    for objective in found:
        asked = replace(how, objectives=(objective,), each=1, turns=1, use="eval", location="bbox")
        for record in records(pictures, kinds, asked, captions):
            picture = by_file[record["image"]]
            question, reply = (turn["value"] for turn in record["conversations"])
            box = _asked_box(picture, asked, reply) if objective == "locpred" else None
            name = f"{record['id']}-{objective}"
            words = question.removeprefix("<image>\n")
            found[objective].append(Probe(name, picture.file, words, picture.size, box))
    half = count // 2
    chosen = _some(found["locpred"], count - half, how.seed) + _some(
        found["negpred"], half, how.seed
    )
    return sorted(chosen, key=lambda probe: probe.id)


def _asked_box(
    picture: Picture, how: Locating, reply: str
) -> tuple[float, float, float, float] | None:
    """Return the annotated box that the true reply tells."""
    told = how.codec.decode(reply, picture.size)
    for item in usable(picture, how):
        if how.codec.decode(how.codec.encode(item.box, picture.size), picture.size) == told:
            return item.box
    raise DataError(f"image {picture.id}: no annotated box is {reply}")


def _some(probes: list[Probe], count: int, seed: int) -> list[Probe]:
    def lot(probe: Probe) -> bytes:
        return sha256(f"{seed}/{probe.id}".encode()).digest()

    return sorted(probes, key=lot)[:count]


def write(path: Path, probes: Sequence[Probe], coder: Mapping[str, Any]) -> None:
    """Write a file of probes; `coder` are the arguments of `trainers.codecs.codec`."""
    rows = [
        {"id": p.id, "image": p.image, "question": p.question, "size": p.size, "box": p.box}
        for p in probes
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"codec": {json.dumps(dict(coder))}, "probes": [\n{lines}\n]}}\n'
    path.write_text(text, encoding="utf-8")


def read(path: Path) -> Probes:
    """Read a file of probes. Raises DataError when it is something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        probes = tuple(
            Probe(
                str(row["id"]),
                str(row["image"]),
                str(row["question"]),
                (int(row["size"][0]), int(row["size"][1])),
                None if row["box"] is None else _box(row["box"]),
            )
            for row in document["probes"]
        )
        coder = codec(**document["codec"])
        if not probes:
            raise ValueError("there is none in it")
    except (OSError, ValueError, KeyError, TypeError, IndexError, SightlineError) as error:
        raise DataError(
            f"{path}: no probes ({type(error).__name__}: {error}); make them with "
            "`sightline teach probes`"
        ) from error
    return Probes(coder, probes)


def _box(numbers: Any) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(x) for x in numbers)
    return left, top, right, bottom


def score(probes: Probes, replies: Sequence[str]) -> dict[str, float | None]:
    """Return what the `replies` to `probes` are worth; None where nothing was asked or told.

    In percent, but for `centre_error`:

        iou             mean overlap of things that are there; replies that cannot be read count
                        as 0, points are left out
        hits            share of things that are there whose told centre lies in their box
        centre_error    median distance of told from true centres, in percent of the frame's side
        read            share of replies about things that are there in which a place is told
        refused         share of replies about absent things that deny them and tell no place
        refused_wrongly share of replies about things that are there that do
    """
    overlaps: list[float] = []
    hits: list[bool] = []
    errors: list[float] = []
    refused: dict[bool, list[bool]] = {True: [], False: []}
    for probe, reply in zip(probes.probes, replies, strict=True):
        try:
            told = probes.codec.decode(reply, probe.size)
        except Unreadable as why:
            denies = why.reason == "no location" and bool(_REFUSAL.search(reply))
            refused[probe.box is None].append(denies)
            if probe.box is not None:
                overlaps.append(0.0)
                hits.append(False)
            continue
        refused[probe.box is None].append(False)
        if probe.box is None:
            continue
        if len(told) == 4:
            overlaps.append(iou(told, probe.box))
        left, top, right, bottom = probe.box
        x, y = (told[0] + told[-2]) / 2, (told[1] + told[-1]) / 2
        hits.append(left <= x <= right and top <= y <= bottom)
        side = max(probes.codec.frame.window(probe.size)[2:])
        errors.append(dist((x, y), ((left + right) / 2, (top + bottom) / 2)) / side)
    present = len(refused[False])
    return {
        "iou": _percent(overlaps),
        "hits": _percent(hits),
        "centre_error": 100 * median(errors) if errors else None,
        "read": 100 * len(errors) / present if present else None,
        "refused": _percent(refused[True]),
        "refused_wrongly": _percent(refused[False]),
    }


def _percent(values: Sequence[float]) -> float | None:
    return 100 * sum(values) / len(values) if values else None
