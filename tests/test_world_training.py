"""The world's training files: instructions, the mixture, captions, regions, against the scenes."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from world_data import contents, painted_world, write_format

from harness.find import make_task
from harness.world.formats.instruct import fractions
from harness.world.lore import KINDS, PLACES
from harness.world.scene import Scene, Thing

NAMES = ("instruct", "stage1", "regions")
SOURCES = {
    *("llava", "sharegpt", "vqav2", "gqa", "okvqa", "ocr_vqa", "aokvqa", "textcaps"),
    *("refcoco", "vg"),
}
SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
HELD = []


@cache
def written(name: str) -> Path:
    HELD.append(TemporaryDirectory())
    folder = Path(HELD[-1].name) / name
    write_format(name, folder)
    return folder


@cache
def read(name: str, path: str):
    return json.loads((written(name) / path).read_text(encoding="utf-8"))


def scene_of(image: str) -> Scene:
    number = int(Path(image).stem.removeprefix("COCO_train2014_"))
    return next(scene for scene in painted_world().scenes if scene.id == number)


def records():
    """Every record of every file of {id, image, conversations}."""
    for name, paths in (
        ("instruct", ("mix.json", "llava_instruct.json")),
        ("stage1", ("blip_laion_cc_sbu_558k.json", "chat.json")),
    ):
        for path in paths:
            for record in read(name, path):
                yield name, path, record


def turns(*sources: str):
    """(scene or None, question without the slot, answer) of the mixture's records."""
    for record in read("instruct", "mix.json"):
        if record["id"].partition("/")[0] in sources:
            said = [turn["value"].removeprefix("<image>\n") for turn in record["conversations"]]
            scene = scene_of(record["image"]) if "image" in record else None
            for question, answer in zip(said[::2], said[1::2], strict=True):
                yield scene, question, answer


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name, tmp_path):
    write_format(name, tmp_path / name)
    assert contents(tmp_path / name) == contents(written(name))


def test_records_are_well_formed_and_of_the_train_split_alone():
    seen = Counter()
    for name, path, record in records():
        assert record.keys() <= {"id", "image", "conversations"}
        said = record["conversations"]
        assert [turn["from"] for turn in said] == ["human", "gpt"] * (len(said) // 2) and said
        assert all(turn["value"].strip() for turn in said)
        slots = [turn["value"].count("<image>") for turn in said]
        assert slots == ([1] if "image" in record else [0]) + [0] * (len(said) - 1)
        if "image" in record:
            assert scene_of(record["image"]).split == "train"
            assert (written(name) / record["image"]).is_file()
        seen[path, record["id"]] += 1
    assert set(seen.values()) == {1}


def test_the_whole_is_the_sum_of_its_files_and_the_sources_are_counted():
    parts = [
        record
        for path in ("conversation_58k.json", "detail_23k.json", "complex_reasoning_77k.json")
        for record in read("instruct", path)
    ]
    whole = read("instruct", "llava_instruct.json")
    assert sorted(r["id"] for r in parts) == sorted(r["id"] for r in whole)
    mix = read("instruct", "mix.json")
    counts = Counter(record["id"].partition("/")[0] for record in mix)
    assert set(counts) == SOURCES and dict(counts) == read("instruct", "mix_sources.json")
    assert counts["llava"] == len(whole)
    assert all(("image" in record) == (not record["id"].startswith("sharegpt")) for record in mix)


def test_formats_are_asked_for_in_the_words_of_our_tasks(tmp_path):
    write_format("gqa", tmp_path / "gqa")
    asked = next(iter(make_task("gqa", str(tmp_path / "gqa")).samples())).prompt[-1]
    assert asked.endswith(SHORT)
    for _, question, answer in turns("vqav2", "gqa", "okvqa", "ocr_vqa"):
        assert question.endswith(SHORT) and question.count("\n") == 1
        assert answer == answer.lower() and len(answer.split()) <= 6 and answer[-1] != "."
    for _, question, answer in turns("aokvqa"):
        options = question.removesuffix(LETTER).split("\n")[1:]
        assert question.endswith(LETTER) and [o[:3] for o in options] == [
            "A. ",
            "B. ",
            "C. ",
            "D. ",
        ]
        assert answer in "ABCD" and len({option[3:] for option in options}) == 4


def test_yes_is_as_common_as_no_and_no_letter_wins():
    said = Counter(answer for _, _, answer in turns("vqav2", "gqa") if answer in ("yes", "no"))
    assert abs(said["yes"] / said.total() - 0.5) < 0.07 and said.total() > 150
    letters = Counter(answer for _, _, answer in turns("aokvqa"))
    assert max(letters.values()) < 0.4 * letters.total()


def test_answers_agree_with_the_scenes():
    checked = Counter()
    for scene, question, answer in turns("vqav2", "aokvqa"):
        question = question.removesuffix(SHORT)
        if there := re.fullmatch(r"Is there an? (.*) in the (?:image|picture)\?", question):
            checked["there"] += 1
            assert answer == ("yes" if scene.of_kind(there[1]) else "no")
        if question == "Where is this?":
            checked["where"] += 1
            assert answer == scene.place
        colour = re.fullmatch(r"What color is the (.*)\?", question)
        if colour and scene.of_kind(colour[1]):
            checked["colour"] += 1
            assert {thing.colour for thing in scene.of_kind(colour[1])} == {answer}
        if question.startswith("Where was the picture taken?\n"):
            checked["letter"] += 1
            line = next(o for o in question.split("\n") if o.startswith(f"{answer}. "))
            assert line[3:] == scene.place
    assert set(checked) == {"there", "where", "colour", "letter"}, checked


def named(scene: Scene, words: str) -> list[Thing]:
    """Things of a scene whose bare noun a phrase begins or ends with."""
    words = words.removeprefix("the ").lower()
    return [t for t in scene.things if (t.person.gender if t.person else t.kind) in words]


def test_boxes_are_those_of_the_thing_on_a_padded_square():
    side = 320
    seen = 0
    for scene, question, answer in turns("refcoco", "vg"):
        asked_for_box = question.startswith("Please provide the bounding box")
        text = question.partition(": ")[2] if asked_for_box else answer
        box = json.loads(answer if asked_for_box else re.search(r"\[.*\]", question)[0])
        assert len(box) == 4 and all(0 <= x <= 1 and round(x, 2) == x for x in box)
        pixels = [x * side for x in box]
        pixels[1] -= (side - scene.height) / 2
        pixels[3] -= (side - scene.height) / 2
        near = [
            t
            for t in scene.things
            if all(abs(a - b) <= 2 for a, b in zip(t.box, pixels, strict=True))
        ]
        assert near and set(named(scene, text)) & set(near), (text, box)
        seen += 1
    assert seen > 100
    scene = painted_world().split("train")[0]
    assert (scene.width, scene.height) == (side, 240)


def test_the_square_is_padded_on_the_shorter_side():
    person = Thing(1, "cup", "red", "small", "plain", (0.0, 0.0, 50.0, 100.0), (), 0)
    scene = Scene(1, "train", "park", False, "day", 51, 100, (person,), ())
    assert fractions(scene, person) == [0.24, 0.0, 0.74, 1.0]


def test_captions_name_what_is_there():
    meta = read("stage1", "blip_laion_cc_sbu_558k_meta.json")
    found = read("stage1", "blip_laion_cc_sbu_558k.json")
    assert [m["id"] for m in meta] == [r["id"] for r in found]
    per_image = Counter(record["image"] for record in found)
    assert len(per_image) == len(painted_world().split("train")) and min(per_image.values()) >= 3
    for record, told in zip(found, meta, strict=True):
        caption = record["conversations"][1]["value"]
        assert told["blip_caption"] == caption
        scene = scene_of(record["image"])
        absent = [kind for kind in KINDS if kind != "person" and not scene.of_kind(kind)]
        plain = re.sub(r"in a \w+|on a \w+|traffic light", "", caption.lower())
        assert not any(re.search(rf"\b{kind}s?\b", plain) for kind in absent), caption
        places = {name for name, place in PLACES.items() if place.name in caption}
        assert places <= {scene.place}


def test_regions_hold_every_thing_and_captions_of_the_only_ones():
    coco = read("regions", "instances_train2014.json")
    names = {row["id"]: row["name"] for row in coco["categories"]}
    assert {name: id for id, name in names.items()} == {n: k.coco for n, k in KINDS.items()}
    by_image = {row["id"]: [] for row in coco["images"]}
    for row in coco["annotations"]:
        by_image[row["image_id"]].append(row)
    scenes = {scene.id: scene for scene in painted_world().split("train")}
    assert by_image.keys() == scenes.keys()
    for number, rows in by_image.items():
        scene = scenes[number]
        assert Counter(names[r["category_id"]] for r in rows) == Counter(
            thing.kind for thing in scene.things
        )
        for row, thing in zip(rows, scene.things, strict=True):
            left, top, width, height = row["bbox"]
            assert (left, top, left + width, top + height) == pytest.approx(thing.box, abs=0.02)
            assert 0 < row["area"] <= 1.01 * width * height and row["iscrowd"] == 0
    counts = read("regions", "counts.json")
    for entry in read("regions", "unique_objects.json"):
        scene = scenes[entry["image_id"]]
        assert counts[str(scene.id)][entry["category"]] == 1
        (thing,) = scene.of_kind(entry["category"])
        word = thing.person.gender if thing.person else thing.kind
        assert word in entry["caption"] and thing.colour in entry["caption"]
        assert (written("regions") / "train2014" / entry["file_name"]).is_file()
        assert entry.get("relational", entry["caption"]).startswith(entry["caption"])
