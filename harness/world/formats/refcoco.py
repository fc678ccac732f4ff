"""RefCOCO, RefCOCO+ and RefCOCOg: refs(unc).p, refs(umd).p and instances.json.

Yu et al. 2016 and Mao et al. 2016; the layout of github lichengunc/refer: a folder per data set,
the pickle a list of plain dicts, all pictures called train2014. RefCOCO's expressions may use
location, RefCOCO+'s may not, RefCOCOg's are whole phrases. Of the test scenes every other is val,
the rest testA (several people; people are asked for) or testB (things are). Every expression names
one thing only. Imports harness.world.
"""

import json
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.world import lore, wording
from harness.world.formats import _coco
from harness.world.scene import Scene, Thing, World

SETS = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
MOST = {"val": 1_200, "testA": 900, "testB": 850, "test": 2_400}
"""Regions at most: below half of the published sets, so that nobody takes these for them."""
SENTENCES = 3
Known = Mapping[tuple[int, int], Sequence[wording.Reference]]
"""What names each thing alone, by the ids of scene and thing."""


def write(world: World, folder: Path) -> None:
    """Write the three data sets and the pictures they share into `folder`."""
    known: Known = {
        (scene.id, thing.id): wording.references(scene, thing)
        for scene in world.scenes
        for thing in scene.things
    }
    for dataset, by in SETS.items():
        refs = _refs(world, dataset, known)
        used = {ref["image_id"] for ref in refs}
        scenes = [scene for scene in world.scenes if scene.id in used]
        _coco.dump(_coco.instances(scenes, file_name), folder / dataset / "instances.json")
        plain = json.loads(json.dumps(refs))  # equal texts become one object: the same bytes always
        (folder / dataset / f"refs({by}).p").write_bytes(pickle.dumps(plain, protocol=2))
    for scene in world.scenes:
        world.place(scene, folder / "images/mscoco/images/train2014" / file_name(scene))


def file_name(scene: Scene) -> str:
    """Return what the picture is called: all of RefCOCO's are train2014."""
    return f"COCO_train2014_{scene.id:012d}.jpg"


def _refs(world: World, dataset: str, known: Known) -> list[dict[str, Any]]:
    refs: list[dict[str, Any]] = []
    room = dict(MOST)
    sentences = 0
    for scene in world.scenes:
        split = _split(scene, dataset)
        for thing in _asked(scene, split):
            draw = world.draw("refcoco", dataset, scene.id, thing.id)
            said = list(_expressions(known[scene.id, thing.id], dataset))
            if not said or not room.get(split, 1):
                continue
            room[split] = room.get(split, 0) - 1
            texts = draw.sample(said, min(SENTENCES, len(said)))
            ids = list(range(sentences, sentences + len(texts)))
            sentences += len(texts)
            refs.append(_ref(scene, thing, split, len(refs), ids, texts))
    return refs


def _split(scene: Scene, dataset: str) -> str:
    if scene.split == "train":
        return "train"
    if scene.id // 5 % 2:
        return "val"
    if dataset == "refcocog":
        return "test"
    return "testA" if len(scene.people) > 1 else "testB"


def _asked(scene: Scene, split: str) -> Sequence[Thing]:
    return {"testA": scene.people, "testB": scene.objects}.get(split, scene.things)


def _expressions(known: Sequence[wording.Reference], dataset: str) -> Iterator[str]:
    """Yield what the data set's rules allow people to say; each names this thing alone."""
    for reference in known:
        located = reference.by in ("side", "relation")
        if dataset == "refcoco+" and located:
            continue
        if dataset == "refcocog":
            if reference.by not in ("noun", "side") and " " in reference.text:
                yield f"the {reference.text}"
        elif reference.by != "relation" or reference.text.count(" ") < 8:
            yield reference.text


def _ref(
    scene: Scene, thing: Thing, split: str, number: int, ids: list[int], texts: list[str]
) -> dict[str, Any]:
    mark = _coco.annotation_id(scene, thing)
    return {
        "sent_ids": ids,
        "file_name": f"{file_name(scene)[:-4]}_{number}.jpg",
        "ann_id": mark,
        "ref_id": number,
        "image_id": scene.id,
        "split": split,
        "sentences": [
            {
                "tokens": re.findall(r"[a-z0-9]+", text.lower()),
                "raw": text,
                "sent_id": at,
                "sent": text.lower(),
            }
            for at, text in zip(ids, texts, strict=True)
        ],
        "category_id": lore.KINDS[thing.kind].coco,
    }
