"""LocVLM's objectives: what they may ask, what they say, and that a seed decides it all."""

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError, SightlineError
from trainers.codecs import Unreadable, codec
from trainers.locating import (
    PROMPTS,
    Captions,
    Item,
    Locating,
    Picture,
    read_instances,
    records,
    thing,
    usable,
)

KINDS = ("dog", "cat", "car", "apple", "umbrella", "sports ball", "clock")


def pictures(seed: int, count: int = 20) -> list[Picture]:
    draw = Random(seed)
    made = []
    for number in range(count):
        size = (draw.randint(50, 640), draw.randint(50, 480))
        items = []
        for id in range(draw.randint(0, 6)):
            left, top = draw.uniform(0, size[0] - 9), draw.uniform(0, size[1] - 9)
            box = (left, top, draw.uniform(left, size[0]), draw.uniform(top, size[1]))
            kind = draw.choice(KINDS[:5])
            items.append(Item(number * 10 + id, kind, box, crowd=draw.random() < 0.1))
        made.append(Picture(str(number), f"{number:06d}.jpg", size, tuple(items)))
    return made


def captions(made: list[Picture]) -> Captions:
    return {
        (picture.id, item.id): f"a shiny {item.kind} number {item.id}."
        for picture in made
        for item in picture.items
    }


def turns(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    said = [turn["value"] for turn in record["conversations"]]
    return list(zip(record["objectives"], said[0::2], said[1::2], strict=True))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    location=st.sampled_from(["point", "bbox", "mixed"]),
    negatives=st.sampled_from(["uniform", "frequency", "adversarial"]),
    frame=st.sampled_from(["image", "square", "crop"]),
    named=st.booleans(),
    per_record=st.integers(1, 5),
)
def test_every_reply_is_true(
    seed: int, location: Any, negatives: Any, frame: str, named: bool, per_record: int
) -> None:
    made = pictures(seed)
    by_file = {picture.file: picture for picture in made}
    coder = codec("ivb", frame=frame)
    how = Locating(coder, location, negatives=negatives, seed=seed, turns=per_record)
    told = captions(made) if named else None
    for record in records(made, KINDS, how, told):
        picture = by_file[record["image"]]
        kinds = Counter(item.kind for item in picture.items)
        assert len(turns(record)) <= per_record
        assert record["conversations"][0]["value"].startswith("<image>\n")
        assert sum(turn["value"].count("<image>") for turn in record["conversations"]) == 1
        for objective, question, reply in turns(record):
            about = question + reply
            mentioned = [kind for kind in KINDS if re.search(rf"\b{kind}\b", about)]
            assert len(mentioned) == 1, about
            (kind,) = mentioned
            if objective == "negpred":
                assert kinds[kind] == 0
                with pytest.raises(Unreadable):
                    coder.decode(reply, picture.size)
                continue
            assert kinds[kind] == 1
            (item,) = [item for item in picture.items if item.kind == kind]
            assert not item.crowd and coder.frame.holds(item.box, picture.size)
            read = coder.decode(reply if objective == "locpred" else question, picture.size)
            left, top, right, bottom = item.box
            right_place = item.box if len(read) == 4 else ((left + right) / 2, (top + bottom) / 2)
            half = max(picture.size) / 224 / 2 + 0.01
            assert all(abs(a - b) <= half for a, b in zip(read, right_place, strict=True))


def test_a_seed_decides_every_byte_and_no_picture_changes_another() -> None:
    made, how = pictures(3), Locating(seed=5)
    first = [json.dumps(record) for record in records(made, KINDS, how)]
    assert first == [json.dumps(record) for record in records(made, KINDS, how)]
    assert first != [json.dumps(record) for record in records(made, KINDS, Locating(seed=6))]
    alone = [json.dumps(record) for record in records(made[4:5], KINDS, how)]
    assert alone == [line for line in first if json.loads(line)["image"] == made[4].file]


def test_switching_an_objective_off_removes_its_questions_and_changes_no_other() -> None:
    made = pictures(1)
    everything = {
        turn for record in records(made, KINDS, Locating(each=9)) for turn in turns(record)
    }
    for off in ("locpred", "negpred", "revloc"):
        kept = tuple(name for name in ("locpred", "negpred", "revloc") if name != off)
        how = Locating(each=9, objectives=kept)
        left = {turn for record in records(made, KINDS, how) for turn in turns(record)}
        assert left == {turn for turn in everything if turn[0] != off}


def test_captions_take_the_place_of_names_and_absent_things_borrow_captions_of_others() -> None:
    made = pictures(2, count=60)
    told = captions(made)
    said = [turn for r in records(made, KINDS, Locating(), told) for turn in turns(r)]
    assert {turn[0] for turn in said} == {"locpred", "negpred", "revloc"}
    for objective, question, reply in said:
        if objective == "revloc":
            assert reply in told.values()
        elif objective == "locpred":
            assert "the shiny" in question
    # categories that nothing is captioned with keep their names
    assert any("the clock" in question for kind, question, _ in said if kind == "negpred")
    assert any("the shiny" in question for kind, question, _ in said if kind == "negpred")


def test_training_and_evaluation_share_no_template() -> None:
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))
    for uses in prompts.values():
        assert not set(uses["train"]) & set(uses["eval"])
    for name in ("locate", "describe"):
        assert len(prompts[name]["train"]) >= 10
        assert not set(prompts[name]["train"].values()) & set(prompts[name]["eval"].values())


def test_crowds_doubles_slivers_and_what_is_cropped_away_are_not_asked_about() -> None:
    items = (
        Item(1, "dog", (10, 10, 20, 20)),
        Item(2, "cat", (100, 10, 120, 30)),
        Item(3, "cat", (150, 10, 170, 30), crowd=True),
        Item(4, "car", (100, 50, 100.5, 50.5)),
        Item(5, "apple", (90, 40, 110, 60)),
    )
    picture = Picture("1", "a.jpg", (200, 100), items)
    assert [item.kind for item in usable(picture, Locating())] == ["dog", "apple"]
    cropped = Locating(codec("ivb", frame="crop"))
    assert [item.kind for item in usable(picture, cropped)] == ["apple"]
    made = list(records([picture], KINDS, Locating(objectives=("negpred",), each=9)))
    assert made and all("cat" not in turn[1] for record in made for turn in turns(record))


def test_adversarial_absence_is_what_usually_comes_along() -> None:
    def picture(id: int, *kinds: str) -> Picture:
        box = (0.0, 0.0, 50.0, 50.0)
        found = tuple(Item(id * 10 + n, kind, box) for n, kind in enumerate(kinds))
        return Picture(str(id), f"{id}.jpg", (100, 100), found)

    made = [picture(n, "dog", "car") for n in range(5)] + [picture(9, "dog"), picture(8, "cat")]
    how = Locating(objectives=("negpred",), negatives="adversarial", each=1)
    asked = [turns(r)[0] for r in records(made, KINDS, how) if r["image"] == "9.jpg"]
    assert len(asked) == 1 and "car" in asked[0][1]


def test_braces_in_a_caption_stay_text() -> None:
    made = [Picture("1", "a.jpg", (100, 100), (Item(1, "dog", (0.0, 0.0, 50.0, 50.0)),))]
    told = {("1", 1): "a {place} {0} dog"}
    said = [turn for r in records(made, KINDS, Locating(), told) for turn in turns(r)]
    assert any("{place} {0}" in question + reply for _, question, reply in said)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("a red dog.", "the red dog"), ("An apple", "the apple"), ("", "the dog")],
)
def test_things_are_definite(said: str, meant: str) -> None:
    assert thing("dog", said) == meant


def test_instances_are_read_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "instances_train2014.json"
    document: dict[str, Any] = {
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "images": [{"id": 7, "file_name": "x.jpg", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 2, 30, 40], "iscrowd": 1}
        ],
    }
    path.write_text(json.dumps(document))
    found, kinds = read_instances(path)
    assert kinds == ("car", "dog")
    assert found == [Picture("7", "x.jpg", (64, 48), (Item(1, "dog", (1, 2, 31, 42), True),))]
    document["annotations"][0]["bbox"] = [1, 2, -3, 4]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="annotation 1"):
        read_instances(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="not COCO instances"):
        read_instances(path)


@pytest.mark.parametrize(
    "wrong", [{"objectives": ("locprd",)}, {"negatives": "even"}, {"objectives": ()}, {"turns": 0}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SightlineError):
        Locating(**wrong)
