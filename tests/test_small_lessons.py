"""What small base models read: told scenes that answer their questions, and the mix of lessons."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from world_data import painted_world, small_world, write_format

from harness.errors import DataError
from harness.world.lore import KINDS
from trainers import small_lessons


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    for name in ("stage1", "region_captions", "reading"):
        write_format(name, out / name, painted_world())
    return out


def read(world: Path) -> list[dict]:
    return json.loads((world / "reading" / "conversations.json").read_text(encoding="utf-8"))


def asked(row: dict) -> tuple[str, list[tuple[str, str]]]:
    """Return what is told, and the questions with their answers."""
    said = [turn["value"] for turn in row["conversations"]]
    told, _, first = said[0].partition("\n")
    return told, list(zip([first, *said[2::2]], said[1::2], strict=True))


def test_what_is_there_or_not_can_be_read_in_what_is_told(world):
    yes, no = 0, 0
    for row in read(world):
        told, turns = asked(row)
        for question, answer in turns:
            found = re.match(r"Is there an? ([a-z ]+) in the (image|picture)\?", question)
            if not found or found[1] not in KINDS or found[1] == "person":
                continue
            here = re.search(rf"\b{found[1]}\b", told) is not None
            assert here == answer.lower().startswith("yes"), (told, question, answer)
            yes, no = yes + here, no + (not here)
    assert yes > 20 and no > 20


def test_colours_that_are_asked_for_are_told(world):
    count = 0
    for row in read(world):
        told, turns = asked(row)
        for question, answer in turns:
            if re.match(r"What (color is|is the color of) the ", question):
                assert answer.rstrip(".").split()[-2 if "shirt" in answer else -1] in told
                count += 1
    assert count > 50


def test_told_scenes_are_of_the_train_split_and_shown_to_nobody(world):
    train = {scene.id for scene in small_world(60, 7).split("train")}
    rows = read(world)
    assert {int(row["id"].split("/")[1].split("-")[0]) for row in rows} <= train
    assert not any("image" in row or "<image>" in str(row) for row in rows)
    short = ["single word or phrase" in row["conversations"][0]["value"] for row in rows]
    assert 0.25 < sum(short) / len(short) < 0.55


def test_lessons_keep_their_shares_and_their_ids(world):
    rows = small_lessons.lessons(world, 4000, 1)
    assert len({row["id"] for row in rows}) == len(rows) == 4000
    kinds = Counter(row["id"].split("/")[0] for row in rows)
    for kind, share in small_lessons.SHARES.items():
        assert kinds[kind] == share * 4000
    assert rows == small_lessons.lessons(world, 4000, 1) != small_lessons.lessons(world, 4000, 2)
    assert all((world / "stage1" / row["image"]).exists() for row in rows if "image" in row)


def test_nobody_is_asked_about_a_picture_but_for_one_of_its_things(world):
    for row in small_lessons.lessons(world, 1000, 0):
        if "image" in row:
            human = [t["value"] for t in row["conversations"] if t["from"] == "human"]
            assert not any(text.startswith(("<image>\nIs ", "Is ", "How many")) for text in human)


def test_what_is_said_of_a_thing_is_what_is_known_of_it(world):
    known = {
        row["image_id"]: {thing["names"][0]: thing["attributes"] for thing in row["attributes"]}
        for row in small_lessons.read(world / "region_captions" / "attributes.json")
    }
    rows = [row for row in small_lessons.lessons(world, 1000, 0) if row["id"].startswith("thing/")]
    there, away = Counter(), Counter()
    for row in rows:
        things = known[int(row["id"].split("/")[1])]
        said = [turn["value"].removeprefix("<image>\n") for turn in row["conversations"]]
        for question, answer in zip(said[::2], said[1::2], strict=True):
            name = question.removeprefix("Describe the ")[:-1]
            if answer == small_lessons.ABSENT:
                assert name not in things
                away[name] += 1
            else:
                assert answer == " ".join(things[name])
                there[name] += 1
    assert len(rows) == 250 and 0.8 < away.total() / there.total() <= 1
    common = [name for name, _ in there.most_common(3)]
    assert all(away[name] for name in common)  # no name alone says that a thing is there


def test_a_world_without_a_part_is_named(tmp_path):
    with pytest.raises(DataError, match=r"chat\.json|blip_laion"):
        small_lessons.lessons(tmp_path, 10, 0)
