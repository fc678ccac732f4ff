"""COCO, POPE, RefCOCO, retrieval, COCO-Spatial, hallucination, ELEVATER: read, true, balanced."""

import gzip
import json
import re
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import world_data
from PIL import Image
from shared_data import shared
from test_world import named

from harness.check import check_task
from harness.find import make_task
from harness.world import lore, wording
from harness.world.formats import _elevater_words as words
from harness.world.formats import elevater, hallucination, pope, refcoco
from tasks._pickle import read_pickle

FORMATS = {
    "coco_captions": ("coco_spatial", "hallucination"),
    "pope": ("pope", "pope/official"),
    "refcoco": ("refcoco",),
    "retrieval": ("retrieval", "retrieval/coco"),
    "coco_spatial": ("coco_spatial", "coco_spatial/icl"),
    "hallucination": ("hallucination", "hallucination/ade", "hallucination/act"),
    "elevater": ("elevater", "elevater/voc-2007-classification", "elevater/gtsrb"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with all formats of this file, and the world that they tell of."""
    out = tmp_path_factory.mktemp("formats")
    for name in FORMATS:
        world_data.write_format(name, out / name)
    return out, world_data.painted_world()


@pytest.mark.parametrize(("name", "task"), [(n, t) for n, tasks in FORMATS.items() for t in tasks])
def test_the_task_reads_it_and_its_checks_pass(home, name, task):
    results = check_task(task, str(home[0] / name))
    assert all(good for _, good, _ in results), results


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_bytes_again(home, name, tmp_path):
    world_data.write_format(name, tmp_path)
    assert world_data.contents(tmp_path, ()) == world_data.contents(home[0] / name, ())


def by_picture(world):
    return {scene.id: scene for scene in world.scenes}


def number_of(text):
    return int(re.findall(r"\d+", text)[-1])


def test_pope_says_yes_where_the_kind_is_and_draws_the_rest_by_rule(home):
    folder, world = home
    scenes = by_picture(world)
    kinds = {s.id: {t.kind for t in s.things} for s in world.split("test")}
    asked_of = [found for found in kinds.values() if len(found) >= 3]
    often = Counter(kind for found in asked_of for kind in found)
    together = Counter(pair for found in asked_of for pair in permutations(found, 2))
    texts = {}
    for split in ("random", "popular", "adversarial"):
        lines = (folder / f"pope/coco_pope_{split}.json").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["question_id"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["label"] for row in rows] == ["yes", "no"] * (len(rows) // 2)
        texts[split] = [row["text"] for row in rows]
        gone: dict[int, set[str]] = {}
        for yes, no in zip(rows[::2], rows[1::2], strict=True):
            scene = number_of(yes["image"])
            assert scenes[scene].split == "test" and list(yes) == [
                "question_id", "image", "text", "label"
            ]  # fmt: skip
            there, absent = (
                re.fullmatch(r"Is there an? (.+) in the image\?", row["text"])[1]
                for row in (yes, no)
            )
            assert there in kinds[scene] and absent not in kinds[scene] | gone.get(scene, set())
            free = set(lore.KINDS) - kinds[scene] - gone.get(scene, set())
            if split == "popular":
                assert often[absent] == max(often[kind] for kind in free)
            elif split == "adversarial":
                assert together[there, absent] == max(together[there, kind] for kind in free)
            gone.setdefault(scene, set()).add(absent)
    assert len({tuple(found) for found in texts.values()}) == 3


def test_coco_boxes_and_captions_are_those_of_the_scenes(home):
    folder, world = home
    scenes = by_picture(world)
    seen = Counter()
    for part, split in (("train2014", "train"), ("val2014", "test")):
        found = json.loads(
            (folder / f"coco_captions/annotations/instances_{part}.json").read_text()
        )
        names = {c["id"]: c["name"] for c in found["categories"]}
        assert names[1] == "person" and names[88] == "teddy bear" and len(names) == len(lore.KINDS)
        ids = {image["id"] for image in found["images"]}
        assert ids == {scene.id for scene in world.split(split)}
        for row in found["annotations"]:
            left, top, width, height = row["bbox"]
            near = [
                t for t in scenes[row["image_id"]].things
                if t.kind == names[row["category_id"]]
                and max(abs(a - b) for a, b in
                        zip(t.box, (left, top, left + width, top + height), strict=True)) < 0.02
            ]  # fmt: skip
            xs, ys = row["segmentation"][0][::2], row["segmentation"][0][1::2]
            assert len(near) == 1 and 0.2 * width * height < row["area"] <= width * height
            assert abs(min(xs) - left) < 0.02 and abs(max(ys) - top - height) < 0.02
            seen[split] += 1
        captions = json.loads(
            (folder / f"coco_captions/annotations/captions_{part}.json").read_text()
        )
        assert Counter(c["image_id"] for c in captions["annotations"]) == dict.fromkeys(ids, 5)
        assert all(
            (folder / "coco_captions" / part / i["file_name"]).exists() for i in found["images"]
        )
    assert sum(seen.values()) == sum(len(scene.things) for scene in world.scenes)


@pytest.mark.parametrize(("dataset", "by"), refcoco.SETS.items())
def test_an_expression_of_refcoco_names_its_region_alone(home, dataset, by):
    folder, world = home
    scenes = by_picture(world)
    refs = read_pickle(folder / "refcoco" / dataset / f"refs({by}).p")
    instances = json.loads((folder / "refcoco" / dataset / "instances.json").read_text())
    boxes = {a["id"]: a["bbox"] for a in instances["annotations"]}
    splits = Counter(ref["split"] for ref in refs)
    wanted = (
        {"train", "val", "test"} if dataset == "refcocog" else {"train", "val", "testA", "testB"}
    )
    assert set(splits) == wanted
    sentences = [s["sent_id"] for ref in refs for s in ref["sentences"]]
    assert len(set(sentences)) == len(sentences)
    for ref in refs:
        scene = scenes[ref["image_id"]]
        assert (ref["split"] == "train") == (scene.split == "train")
        left, top, _, _ = boxes[ref["ann_id"]]
        (thing,) = (t for t in scene.things
                    if abs(t.box[0] - left) + abs(t.box[1] - top) < 0.05
                    and lore.KINDS[t.kind].coco == ref["category_id"])  # fmt: skip
        if ref["split"] in ("testA", "testB"):
            assert bool(thing.person) == (ref["split"] == "testA")
        known = {r.text.lower(): r for r in wording.references(scene, thing)}
        for sentence in ref["sentences"]:
            reference = known[sentence["sent"].removeprefix("the ")]
            if reference.by != "action":
                assert named(scene, reference.text) == [thing]
            if dataset == "refcoco+":
                assert not re.search(r"\b(left|right|middle|above|below|near)\b", sentence["sent"])


def test_retrieval_tells_the_captions_of_both_splits(home):
    folder, world = home
    for which in ("flickr30k", "coco"):
        found = json.loads((folder / f"retrieval/dataset_{which}.json").read_text())["images"]
        assert Counter(row["split"] for row in found) == {"train": 48, "test": 12}
        scenes = by_picture(world)
        for row in found:
            scene = scenes[number_of(row["filename"])]
            assert scene.split == row["split"] and len(row["sentences"]) == 5
            assert row["sentids"] == [s["sentid"] for s in row["sentences"]]
            assert all(s["imgid"] == row["imgid"] for s in row["sentences"])


def test_sides_asked_by_coco_spatial_are_the_sides_of_the_scene(home):
    scenes = by_picture(home[1])
    samples = list(make_task("coco_spatial", str(home[0] / "coco_spatial")).samples())
    assert samples
    for sample in samples:
        scene = scenes[int(sample.id.split("/")[0])]
        asked = sample.prompt[-1]
        found = re.search(r"(?:is the (.+)\?|Is the (.+) above)", asked)
        other = re.search(r"(?:side of|below) the (.+?)(?: is|\?)", asked)
        one, two = (scene.of_kind(word)[0].centre for word in (found[1] or found[2], other[1]))
        side = {"left": one[0] < two[0], "right": one[0] > two[0],
                "above": one[1] < two[1], "below": one[1] > two[1]}  # fmt: skip
        assert scene.split == "test" and side[sample.target]


def test_masks_show_what_the_place_is_made_of(home):
    folder, world = home
    made_of = {
        "kitchen": {"wall", "floor", "windowpane", "countertop"},
        "office": {"wall", "floor", "blind", "countertop"},
        "bedroom": {"wall", "floor", "curtain"},
        "street": {"building", "road", "sidewalk", "sky"},
        "park": {"grass", "tree", "sky"},
        "beach": {"sand", "sea", "sky"},
    }
    numbers = {number: word for word, (number, _) in hallucination.ADE.items()}
    for scene in world.split("test"):
        path = folder / f"hallucination/annotations/validation/ADE_val_{scene.id:08d}.png"
        mask = np.asarray(Image.open(path))
        assert mask.shape == (scene.height, scene.width)
        found = {numbers[value] for value in np.unique(mask) if value}
        assert made_of[scene.place] <= found
        assert not found & (set.union(*made_of.values()) - made_of[scene.place] - {"windowpane"})
        for thing in scene.things:
            x, y = map(int, thing.centre)
            assert thing.kind not in ("car", "bus", "book", "apple", "clock") or mask[y, x] == 0


def test_activities_are_those_of_the_people(home):
    folder, world = home
    found = json.loads((folder / "hallucination/activity_net.v1-3.min.json").read_text())[
        "database"
    ]
    for clip in world.clips:
        labels = {a["label"] for a in found[hallucination.video_name(clip)]["annotations"]}
        doing = {t.person.action for frame in clip.frames for t in frame.people}
        assert len(labels) == len(doing) and ("waving a hand" in labels) == ("wave" in doing)
    assert set(hallucination.ACTIVITIES) == set(lore.ACTIONS)


def test_elevater_uses_the_official_names_of_classes():
    official = json.loads((shared("elevater") / "classes_and_templates.json").read_text())
    for name, classes in words.CLASSES.items():
        theirs = [c if isinstance(c, str) else c[0] for c in official[name]["classes"]]
        assert list(classes) == theirs


def test_elevater_pictures_differ_and_voc_lists_what_is_there(home):
    folder, world = home
    task = make_task("elevater", str(folder / "elevater"))
    pictures = Counter(s.prompt[0].sha256 for s in task.samples() if s.groups["set"] != "mnist")
    assert set(pictures.values()) == {1}
    sets = {sample.groups["set"] for sample in task.samples()}
    assert sets == set(words.CLASSES) and len(sets) == 9
    train = gzip.decompress((folder / "elevater/mnist/train-images-idx3-ubyte.gz").read_bytes())
    test = gzip.decompress((folder / "elevater/mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    images = [raw[16 + at : 16 + at + 784] for raw in (train, test)
              for at in range(0, len(raw) - 16, 784)]  # fmt: skip
    assert len(set(images)) == len(images) == 10 * (6 + 3)
    found = json.loads((folder / "elevater/voc-2007-classification/test.json").read_text())
    names = {c["id"]: c["name"] for c in found["categories"]}
    marked = Counter((a["image_id"], names[a["category_id"]]) for a in found["annotations"])
    for scene in world.split("test"):
        here = {t.kind for t in scene.things}
        said = {name for image, name in marked if image == scene.id}
        assert ("person" in said) == bool(scene.people)
        assert ("pottedplant" in said) == ("potted plant" in here)
        assert said == {elevater.VOC[kind] for kind in here if kind in elevater.VOC}


def test_no_question_of_pope_passes_for_one_about_coco(home):
    task = make_task("pope", str(home[0] / "pope"))
    assert task.source.version == "custom" and "not comparable" in task.notes[0]
    assert not any("COCO_val2014" in pope.file_name(scene) for scene in home[1].scenes)
