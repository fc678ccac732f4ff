"""Hal-COCO, Hal-ADE, Hal-Act: what is asked is true of the annotations; the rule; real files."""

import json
from collections import Counter

import made_coco_spatial
import pytest
from made_hallucination import CLASSES, activitynet, ade
from PIL import Image as Pictures
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from tasks._hallucination_files import coco_words
from tasks.hallucination import question


def test_real_annotations_two_present_and_two_absent():
    folder = shared("coco_images/tinycoco")
    total = 0
    for split in ("train2017", "val2017"):
        path = folder / "annotations" / f"instances_{split}.json"
        document = json.loads(path.read_text())
        names = {c["id"]: c["name"] for c in document["categories"]}
        here = {str(image["id"]): set() for image in document["images"]}
        for row in document["annotations"]:
            here[str(row["image_id"])].add(names[row["category_id"]])
        asked = {}
        for sample in make_task("hallucination", str(path)).samples():
            image, name = sample.id.split("/")
            assert (name in here[image]) == (sample.target == "yes")
            assert name in names.values() and f" {name} in the image?" in sample.prompt[-1]
            assert sample.prompt[0].read()
            asked.setdefault(image, Counter())[sample.target] += 1
        for image, present in here.items():
            count = min(2, len(present))
            assert asked.get(image, Counter()) == (
                Counter(yes=count, no=count) if count else Counter()
            )
        total += sum(sum(counts.values()) for counts in asked.values())
    assert total == 134


def test_coco_has_eighty_names_and_they_are_those_of_the_files():
    path = shared("coco_images/tinycoco") / "annotations" / "instances_val2017.json"
    names = {c["name"] for c in json.loads(path.read_text())["categories"]}
    assert len(names) == 80 and names <= coco_words()


def test_ade_classes_that_coco_has_are_never_asked(tmp_path):
    task = make_task("hallucination/ade", str(ade(tmp_path)))
    kept = {"wall", "sky", "door", "awning", "stairs"}
    samples = list(task.samples())
    assert {s.groups["name"] for s in samples} <= kept and "5 names" in task.notes[0]
    for sample in samples:
        image, name = sample.id.split("/")
        number = next(k for k, known in enumerate(CLASSES, 1) if known.split(",")[0] == name)
        with Pictures.open(tmp_path / "annotations/validation" / f"{image}.png") as mask:
            seen = number in mask.tobytes()
        assert seen == (sample.target == "yes")


@pytest.mark.parametrize("word", ["person", "table", "ball", "plant", "glass", "sofa", "bike"])
def test_words_for_things_of_coco(word):
    assert word in coco_words()


def test_words_that_coco_does_not_have():
    assert coco_words().isdisjoint({"wall", "door", "awning", "lamp", "curtain", "pier", "sky"})


def test_activities_are_of_the_validation_videos_in_eight_frames(tmp_path):
    folder = activitynet(tmp_path)
    database = json.loads((folder / "activity_net.v1-3.min.json").read_text())["database"]
    samples = list(make_task("hallucination/act", str(folder)).samples())
    assert {s.cluster for s in samples} == {
        v for v, e in database.items() if e["subset"] == "validation"
    }
    for sample in samples:
        labels = {a["label"].lower() for a in database[sample.cluster]["annotations"]}
        assert (sample.groups["name"] in labels) == (sample.target == "yes")
        *frames, text = sample.prompt
        assert text == f"Is there {sample.groups['name']} in the video?"
        names = [frame.name.split("/")[1] for frame in frames]
        assert len(names) == 8 and names == sorted(set(names)) and all(f.read() for f in frames)
    few = activitynet(tmp_path / "few", frames=3)
    sample = next(iter(make_task("hallucination/act", str(few)).samples()))
    assert [p.name.split("/")[1] for p in sample.prompt[:-1]] == [
        "0000.jpg",
        "0001.jpg",
        "0002.jpg",
    ]


def test_the_article_is_that_of_the_authors_code():
    assert question("apple", "") == "Is there an apple in the image?"
    assert question("hair drier", "") == "Is there a hair drier in the image?"


def test_numbers_by_what_is_there(tmp_path):
    made_coco_spatial.write(tmp_path)
    values = {}
    for said in ("yes", "No.", "maybe"):
        record = run(f"constant:{said}", "hallucination", data=tmp_path, out=tmp_path / said)
        values[said] = {name: metric["value"] for name, metric in record.metrics.items()}
        assert record.counts["unparsed"] == (48 if said == "maybe" else 0)
    assert values["yes"]["present"] == 100 and values["yes"]["absent"] == 0
    assert values["yes"]["accuracy"] == 50 and values["yes"]["yes_ratio"] == 100
    assert values["No."]["absent"] == 100 and values["No."]["accuracy"] == 50
    assert values["maybe"] == values["yes"]  # POPE's rule: what is not a no is a yes


def test_files_that_cannot_serve_are_named(tmp_path):
    folder = ade(tmp_path / "ade")
    lines = (folder / "objectInfo150.txt").read_text().splitlines()
    (folder / "objectInfo150.txt").write_text("\n".join([*lines[:4], "x y"]))
    with pytest.raises(DataError, match=r"objectInfo150.txt, line 5: expected Idx"):
        make_task("hallucination/ade", str(folder))
    (folder / "objectInfo150.txt").write_text("\n".join(lines))
    mask = folder / "annotations/validation/ADE_val_00000003.png"
    mask.write_bytes(mask.read_bytes()[:40])
    with pytest.raises(DataError, match=r"ADE_val_00000003.png: not a readable mask"):
        make_task("hallucination/ade", str(folder))
    Pictures.new("RGB", (4, 4)).save(mask)
    with pytest.raises(DataError, match=r"a mask of mode RGB"):
        make_task("hallucination/ade", str(folder))
    videos = activitynet(tmp_path / "act")
    path = videos / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"database": {"../x": {"subset": "validation", "annotations": []}}}))
    with pytest.raises(DataError, match="leads out of the data folder"):
        make_task("hallucination/act", str(videos))
    path.write_text(json.dumps({"database": {"a": {"annotations": []}}}))
    with pytest.raises(DataError, match=r"video a: .*'subset'"):
        make_task("hallucination/act", str(videos))
