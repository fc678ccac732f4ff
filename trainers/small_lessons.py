"""What a small base model reads: captions of pictures, their things one by one, and told scenes.

Four kinds of records, mixed by SHARES. Captions are stage1's, one to a record: a second one of the
same picture could be copied from the first without looking. `list` and `thing` are made from
Visual Genome's attributes (harness/world/formats/region_captions.py): the noun comes first or is
asked for, so that what follows can only be told by looking at that one thing, which captions of
whole pictures ("a red dog") do not teach. `reading` is text alone (formats/reading.py): what a chat
model can do before it sees pictures. No record asks a question about a picture.
Imports harness.errors.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError

Record = dict[str, Any]
CAPTIONS = ("blip_laion_cc_sbu_558k.json", "chat.json")
"""Below stage1/ of a world."""
SHARES: Mapping[str, float] = {"caption": 0.15, "list": 0.15, "thing": 0.25, "reading": 0.45}
ABSENT = "none"
"""What is said of a thing that is not in the picture."""
_EACH = 6
"""Lists of a picture, and orders in which its things are asked about."""


def lessons(world: Path, count: int, seed: int) -> list[Record]:
    """Return `count` records in a drawn order; where a kind has too few, some come again.

    Args:
        world: Folder of `sightline world` with stage1, region_captions and reading.
        count: Of records.
        seed: Of what is drawn.

    Raises:
        DataError: The world lacks a part.
    """
    captions = [  # both files number theirs alike
        {**row, "id": f"caption/{place}/{row['id']}"}
        for place, name in enumerate(CAPTIONS)
        for row in read(world / "stage1" / name)
    ]
    images = {int(Path(row["image"]).stem): row["image"] for row in captions}
    every = {
        "caption": captions,
        "list": list(_lists(world, images, Random(f"list {seed}"))),
        "thing": list(_things(world, images, Random(f"thing {seed}"))),
        "reading": read(world / "reading" / "conversations.json"),
    }
    draw = Random(f"lessons {seed}")
    found: list[Record] = []
    for kind, share in SHARES.items():
        if not every[kind]:
            raise DataError(f"{world}: no records of the kind {kind}; make a larger world")
        found += _drawn(every[kind], round(share * count), draw)
    draw.shuffle(found)
    return found


def _drawn(rows: Sequence[Record], count: int, draw: Random) -> Iterator[Record]:
    """Yield so many records, all before any comes again; ids stay unique."""
    for turn in range(-(-count // len(rows))):
        for row in draw.sample(rows, min(len(rows), count - turn * len(rows))):
            yield {**row, "id": f"{row['id']}#{turn}"} if turn else row


def _lists(world: Path, images: Mapping[int, str], draw: Random) -> Iterator[Record]:
    """Yield "dog red small, cup white large"."""
    for number, image, things in _alone(world, images):
        alone = [" ".join((name, *told)) for name, told in things if told is not None]
        for turn in range(_EACH):
            told = ", ".join(draw.sample(alone, len(alone)))
            said = [("Describe each thing.", told)]
            yield _record(f"list/{number}/{turn}", image, said)


def _things(world: Path, images: Mapping[int, str], draw: Random) -> Iterator[Record]:
    """Yield "Describe the dog." and "red small", for every thing of a picture.

    As many are asked for that are not there, drawn as often as they are there elsewhere: nothing
    but the picture tells which. The answer is ABSENT.
    """
    every = [
        thing["names"][0]
        for row in read(world / "region_captions" / "attributes.json")
        for thing in row["attributes"]
    ]
    for number, image, things in _alone(world, images):
        here = {name for name, _ in things}
        for turn in range(_EACH):
            said = [(name, " ".join(told)) for name, told in things if told is not None]
            others = (draw.choice(every) for _ in range(4 * len(said)))
            away = [name for name in dict.fromkeys(others) if name not in here][: len(said)]
            said += [(name, ABSENT) for name in away]
            asked = [(f"Describe the {name}.", told) for name, told in said]
            yield _record(f"thing/{number}/{turn}", image, draw.sample(asked, len(asked)))


def _alone(
    world: Path, images: Mapping[int, str]
) -> Iterator[tuple[int, str, list[tuple[str, list[str] | None]]]]:
    """Yield pictures with their things and what is known of them; None where two share a name."""
    for row in read(world / "region_captions" / "attributes.json"):
        names = [thing["names"][0] for thing in row["attributes"]]
        things = [
            (name, thing["attributes"] if names.count(name) == 1 else None)
            for name, thing in zip(names, row["attributes"], strict=True)
        ]
        if any(told is not None for _, told in things):
            yield row["image_id"], images[row["image_id"]], things


def _record(id: str, image: str, said: Sequence[tuple[str, str]]) -> Record:
    turns = [
        {"from": who, "value": text}
        for turn in said
        for who, text in zip(("human", "gpt"), turn, strict=True)
    ]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return {"id": id, "image": image, "conversations": turns}


def read(path: Path) -> list[Record]:
    """Return the records of a file of a world. Raises DataError where it cannot be read."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: {error}. Make the world with `sightline world --out DIR` first"
        ) from error
