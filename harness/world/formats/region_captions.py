"""A phrase for every thing of the training scenes, in Visual Genome's files.

`region_descriptions.json`, `attributes.json` and `image_data.json` as visualgenome.org gives them
(version 1.2), and the pictures below VG_100K/. Each thing has one phrase that says all that can be
seen of it; one more, for the whole picture, says where and when it is. A vision tower learns from
the phrases (trainers/engine/tower.py), a base model from the attributes too (trainers/small.py).
Train split alone. Imports harness.world alone.
"""

from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._paper import document
from harness.world.scene import Scene, Thing, World

_MOODS = ("looks", "seems")


def write(world: World, folder: Path) -> None:
    """Write the phrases and the pictures."""
    phrases, attributes, pictures = [], [], []
    for scene, draw in world.each("train", "region_captions"):
        phrases.append({"id": scene.id, "regions": _regions(scene, draw)})
        attributes.append({"image_id": scene.id, "attributes": _attributes(scene)})
        pictures.append(_picture(scene))
        world.place(scene, folder / "VG_100K" / f"{scene.id}.jpg")
    document(folder / "region_descriptions.json", phrases)
    document(folder / "attributes.json", attributes)
    document(folder / "image_data.json", pictures)


def _picture(scene: Scene) -> dict[str, Any]:
    return {
        "width": scene.width,
        "url": f"https://cs.stanford.edu/people/rak248/VG_100K/{scene.id}.jpg",
        "height": scene.height,
        "image_id": scene.id,
        "coco_id": scene.id,
        "flickr_id": None,
    }


def _regions(scene: Scene, draw: Random) -> list[dict[str, Any]]:
    whole = (0.0, 0.0, float(scene.width), float(scene.height))
    told = [(thing.box, phrase(thing, draw)) for thing in scene.things]
    told.append((whole, f"a scene {wording.place(scene)} {wording.time(scene)}"))
    return [
        {
            "region_id": scene.id * 1000 + number,
            "width": round(right - left),
            "height": round(bottom - top),
            "image_id": scene.id,
            "phrase": text,
            "y": round(top),
            "x": round(left),
        }
        for number, ((left, top, right, bottom), text) in enumerate(told)
    ]


def _attributes(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "synsets": [],
            "h": round(bottom - top),
            "object_id": scene.id * 1000 + thing.id,
            "names": [wording.noun(thing)],
            "w": round(right - left),
            "attributes": looks(thing),
            "y": round(top),
            "x": round(left),
        }
        for thing in scene.things
        for left, top, right, bottom in (thing.box,)
    ]


def looks(thing: Thing) -> list[str]:
    """Return all that can be seen of a thing, the most telling first: "red", "striped", "small"."""
    if thing.person:
        shirt = f"in {wording.article(thing.person.shirt)} shirt"
        return [shirt, f"with {thing.person.hair} hair", thing.person.mood]
    return [thing.colour, *(() if thing.material == "plain" else (thing.material,)), thing.size]


def phrase(thing: Thing, draw: Random) -> str:
    """Say all that can be seen: "a woman with red hair in a blue shirt who looks sad"."""
    text = wording.article(wording.full_look(thing))
    if thing.person:
        return f"{text} who {draw.choice(_MOODS)} {thing.person.mood}"
    return f'{text} with the word "{thing.text}"' if thing.text else text
