"""The world's VCR: true answers, false options, nothing to be had from the words alone."""

import json
import re
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from small_data import picture
from world_data import contents

from harness.check import check_task
from harness.find import entries
from harness.world.build import draw_world
from harness.world.lore import ACTIONS, PLACES
from harness.world.scene import World

HELD = []
VARIANTS = next(entry.variants for entry in entries("task") if entry.name == "vcr")


def folder() -> Path:
    HELD.append(TemporaryDirectory())
    return Path(HELD[-1].name)


@cache
def world() -> World:
    """Return 240 scenes with one small picture in the place of all renderings."""
    made = draw_world(folder(), 240, 5)
    for scene in made.scenes:
        path = made.picture(scene)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(0))
    return made


@cache
def written() -> Path:
    home = folder() / "vcr"
    import_module("harness.world.formats.vcr").write(world(), home)
    return home


@cache
def rows(name: str):
    return [json.loads(line) for line in (written() / f"{name}.jsonl").read_text().splitlines()]


def scene_of(row):
    number = int(re.search(r"(\d+)@0\.jpg$", row["img_fn"])[1])
    return next(scene for scene in world().scenes if scene.id == number)


def things_of(row):
    scene = scene_of(row)
    return [*scene.people, *scene.objects]


def words(tokens):
    return " ".join(token if isinstance(token, str) else "#" for token in tokens)


@pytest.mark.parametrize("name", ["vcr", *(f"vcr/{variant}" for variant in VARIANTS)])
def test_task_reads_it_and_floors_hold(name):
    assert [found for found in check_task(name, str(written())) if not found[1]] == []


def test_same_seed_same_bytes():
    again = folder() / "vcr"
    import_module("harness.world.formats.vcr").write(world(), again)
    assert contents(again) == contents(written())


def test_splits_keep_to_their_scenes_and_films():
    films = {}
    for name, split in (("train", "train"), ("val", "test")):
        assert rows(name)
        assert {scene_of(row).split for row in rows(name)} == {split}
        films[name] = {row["movie"] for row in rows(name)}
        assert [row["annot_id"] for row in rows(name)] == [
            f"{name}-{n}" for n in range(len(rows(name)))
        ]
    assert not films["train"] & films["val"]


def test_metadata_has_a_box_and_an_outline_per_object():
    for row in rows("val"):
        meta = json.loads((written() / "vcr1images" / row["metadata_fn"]).read_text())
        assert meta["names"] == row["objects"]
        assert [t.kind.replace(" ", "") for t in things_of(row)] == row["objects"]
        for thing, box in zip(things_of(row), meta["boxes"], strict=True):
            assert box[:4] == pytest.approx(list(thing.box), abs=0.01)
        assert len(meta["segms"]) == len(meta["boxes"])


@pytest.mark.parametrize("stage", ["answer", "rationale"])
@pytest.mark.parametrize("name", ["train", "val"])
def test_every_answer_is_right_once_and_wrong_three_times(name, stage):
    used = Counter()
    for at, row in enumerate(rows(name)):
        label = row[f"{stage}_label"]
        assert row[f"{stage}_sources"][label] == at
        assert sorted(row[f"{stage}_match_iter"]) == [0, 1, 2, 3]
        used.update(s for n, s in enumerate(row[f"{stage}_sources"]) if n != label)
        texts = {words(choice) + str(choice) for choice in row[f"{stage}_choices"]}
        assert len(texts) == 4
    assert used == Counter({at: 3 for at in range(len(rows(name)))})


def test_wrong_answers_are_the_right_ones_of_their_sources():
    found = rows("train")
    for row in found:
        for source, choice in zip(row["answer_sources"], row["answer_choices"], strict=True):
            giver = found[source]
            assert words(choice) == words(giver["answer_choices"][giver["answer_label"]])


def test_where_doing_and_gaze_answers_are_true_and_the_others_false():
    checked = Counter()
    for row in rows("val") + rows("train"):
        things, scene = things_of(row), scene_of(row)
        asked = words(row["question"])
        subject = things[next(t for t in row["question"] if isinstance(t, list))[0]].person
        for n, choice in enumerate(row["answer_choices"]):
            right = n == row["answer_label"]
            if asked in ("Where are # ?", "In what place are # ?"):
                assert (words(choice) == f"They are {PLACES[scene.place].name} .") == right
                checked["where"] += 1
            elif asked in ("What is # doing ?", "What is going on with # ?"):
                form = re.escape(ACTIONS[subject.action].phrase).replace(r"\{object\}", "(.+)")
                match = re.fullmatch(rf"# is {form} \.", words(choice))
                if right or not match:
                    assert bool(match) == right
                elif match.re.groups and match[1] == "#":
                    assert things[choice[-2][0]].id != subject.object
                else:
                    own = scene.thing(subject.object)
                    assert f"{own.colour} {own.kind}" not in match[1]
                checked["doing"] += 1
            elif asked in ("What is # looking at ?", "Where do the eyes of # go ?"):
                if isinstance(choice[-2], list):
                    assert (things[choice[-2][0]].id == subject.gaze) == right
                else:
                    seen = scene.thing(subject.gaze)
                    assert words(choice).endswith(f" {seen.colour} {seen.kind} .") == right
                checked["gaze"] += 1
    assert min(checked.values()) > 100


def test_rationales_say_one_thing_that_only_the_picture_tells():
    moods, seen = ("happy", "sad", "surprised"), 0
    for row in rows("val"):
        first = {words(choice).split(" , and ")[0] for choice in row["rationale_choices"]}
        assert len(first) == 1
        for n, choice in enumerate(row["rationale_choices"]):
            detail = words(choice).split(" , and ")[1]
            body = things_of(row)[choice[choice.index(",") + 2][0]].person
            facts = {
                "mood": next((m for m in moods if m in detail), None) in (None, body.mood),
                "hair": "hair" not in detail or f"{body.hair} hair" in detail,
                "shirt": "shirt" not in detail or f"{body.shirt} shirt" in detail,
            }
            assert all(facts.values()) == (n == row["rationale_label"]), detail
            seen += 1
    assert seen > 100
