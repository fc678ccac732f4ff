"""Sherlock's validation corpus, and the leaderboard's localization bundle.

The corpus is a list of {instance_id, split_idx, inputs {image, bboxes, clue}, targets {inference}}
(`sherlock_val_with_split_idxs_v1_1.json`, as it is or zipped). The bundle is
`val_localization_{instances,answer_key}.json`: one entry per pair of region and inference, with
`type` "gt" (people's regions) or "auto" (a detector's). Used by tasks/_sherlock_matching.py alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from harness.errors import DataError
from tasks._data import read_json, unique
from tasks._sherlock_files import Place, place_of

CORPUS = "sherlock_val_with_split_idxs*"
SCORE_PAIRS = "expected {test_id: {type, image, inst_id, bbox_idx, correct or IoU}}"


@dataclass(frozen=True, slots=True)
class Instance:
    """A region with the inference that somebody wrote about it."""

    id: str
    split: int
    place: Place
    inference: str


@dataclass(slots=True)
class Scene:
    """One image: its regions and inferences, which belong together by position."""

    name: str
    ids: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    inferences: list[str] = field(default_factory=list)
    proposals: dict[Place, list[float]] = field(default_factory=dict)
    """Regions of a detector, each with its overlap with every one of `places`."""


def corpus(root: Path) -> tuple[list[Instance], Path]:
    """Read the validation corpus; `root` is the file or a folder with it.

    Raises DataError when it is not there, damaged, or an entry lacks what it needs.
    """
    found = [root] if root.is_file() else sorted(root.glob(CORPUS))
    found = [path for path in found if path.suffix in (".json", ".zip")]
    if not found:
        raise DataError(
            f"{root}: no validation corpus. Expected sherlock_val_with_split_idxs_v1_1.json or its "
            "zip (github allenai/sherlock)"
        )
    path = found[0]
    rows = []
    for number, row in enumerate(_zipped(path) if path.suffix == ".zip" else _listed(path), 1):
        try:
            place = place_of(row["inputs"]["image"], row["inputs"]["bboxes"])
            inference, split = str(row["targets"]["inference"]), int(row["split_idx"])
            rows.append(Instance(str(row["instance_id"]), split, place, inference))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, entry {number}: not an instance ({type(error).__name__}: {error}); "
                "expected instance_id, split_idx, inputs {image, bboxes}, targets {inference}"
            ) from error
    unique((row.id for row in rows), str(path))
    return rows, path


def _listed(path: Path) -> list[Any]:
    rows: list[Any] = read_json(path, list)
    return rows


def _zipped(path: Path) -> list[Any]:
    try:
        with ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".json") and "__MACOSX" not in n]
            rows = json.loads(archive.read(names[0])) if len(names) == 1 else None
    except (BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); fetch the file again") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected one JSON list in it, found {', '.join(names) or 'none'}")
    return rows


def scenes(rows: list[Instance]) -> list[Scene]:
    """Return the images of the corpus with their instances, in the order of the file."""
    found: dict[str, Scene] = {}
    for row in rows:
        scene = found.setdefault(row.place.name, Scene(row.place.name))
        scene.ids.append(row.id)
        scene.places.append(row.place)
        scene.inferences.append(row.inference)
    return list(found.values())


def bundle(root: Path) -> tuple[list[Scene], list[Path]] | None:
    """Read the localization bundle below `root`; None where it is not there.

    Raises DataError when it is damaged or a pair of an image lacks.
    """
    if root.is_file():
        return None
    folder = next(
        (f for f in (root, root / "val_localization") if any(f.glob("val_localization_*key.json"))),
        None,
    )
    if folder is None:
        return None
    key_path = folder / "val_localization_answer_key.json"
    path = folder / "val_localization_instances.json"
    instances = {}
    for number, row in enumerate(_listed(path), 1):
        try:
            place = place_of(row["image"], row["region"])
            instances[row["test_id"]] = place, str(row["inference"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, entry {number}: not an instance ({type(error).__name__}: {error})"
            ) from error
    pairs: dict[str, list[tuple[Mapping[str, Any], Place, str]]] = {}
    test_id = ""
    try:
        for test_id, pair in read_json(key_path, dict).items():
            pairs.setdefault(str(pair["image"]), []).append((pair, *instances[test_id]))
        return [_scene(pairs[test_id]) for test_id in pairs], [key_path, path]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{key_path}, at {test_id!r}: not a localization key for {path.name} "
            f"({type(error).__name__}: {error}); {SCORE_PAIRS}"
        ) from error


def _scene(pairs: list[tuple[Mapping[str, Any], Place, str]]) -> Scene:
    """Put the pairs of one image together. Raises ValueError where one lacks."""
    scene = Scene(pairs[0][1].name)
    people = [entry for entry in pairs if entry[0]["type"] == "gt"]
    own = [entry for entry in people if entry[0]["correct"]]
    if len(own) ** 2 != len(people):
        raise ValueError(f"{len(people)} pairs of {len(own)} regions and inferences")
    for pair, place, inference in sorted(own, key=lambda entry: int(entry[0]["bbox_idx"])):
        scene.ids.append(str(pair["inst_id"]))
        scene.places.append(place)
        scene.inferences.append(inference)
    at = {id: number for number, id in enumerate(scene.ids)}
    proposed: dict[Place, dict[int, float]] = {}
    for pair, place, _ in pairs:
        if pair["type"] == "auto":
            iou = float(pair["IoU"])
            if not isfinite(iou):
                raise ValueError(f"an IoU of {iou}")
            proposed.setdefault(place, {})[at[str(pair["inst_id"])]] = iou
    for place, overlaps in proposed.items():
        scene.proposals[place] = [overlaps[number] for number in range(len(scene.ids))]
    return scene
