"""The world's questions on pictures: GQA, VQAv2, A-OKVQA, Visual7W, SNLI-VE, ScienceQA."""

import json
import re
from collections import Counter, defaultdict
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_data import picture
from world_data import contents

from harness import run as loop
from harness.check import check_task
from harness.find import entries, make_model, make_task
from harness.world.build import draw_world
from harness.world.formats._deal import deal, even, pairs, thin
from harness.world.lore import ACTIONS, PLACES
from harness.world.scene import World
from harness.world.wording import noun

NAMES = ("gqa", "vqav2", "aokvqa", "visual7w", "snli_ve", "scienceqa")
HELD = []


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
def written(name: str) -> Path:
    home = folder() / name
    import_module(f"harness.world.formats.{name}").write(world(), home)
    return home


@cache
def load(name: str, file: str):
    text = (written(name) / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if file[-1] == "l" else json.loads(text)


def scene_of(number):
    return next(scene for scene in world().scenes if scene.id == int(number))


VARIANTS = [
    f"{entry.name}/{variant}" if variant else entry.name
    for entry in entries("task")
    if entry.name in NAMES
    for variant in ("", *entry.variants)
]


@pytest.mark.parametrize("name", VARIANTS)
def test_task_reads_it_and_floors_hold(name):
    findings = list(check_task(name, str(written(name.partition("/")[0]))))
    assert [finding for finding in findings if not finding[1]] == []


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name):
    again = folder() / name
    import_module(f"harness.world.formats.{name}").write(world(), again)
    assert contents(again) == contents(written(name))


TRAIN_AND_TEST = {
    "gqa": lambda: (
        {q["imageId"] for q in load("gqa", f"{tier}_balanced_questions.json").values()}
        for tier in ("train", "testdev")
    ),
    "vqav2": lambda: (
        {
            q["image_id"]
            for q in load("vqav2", f"v2_OpenEnded_mscoco_{part}2014_questions.json")["questions"]
        }
        for part in ("train", "val")
    ),
    "aokvqa": lambda: (
        {q["image_id"] for q in load("aokvqa", f"aokvqa_v1p0_{part}.json")}
        for part in ("train", "val")
    ),
    "visual7w": lambda: (
        {i["image_id"] for i in v7w() if (i["split"] == "train") is train}
        for train in (True, False)
    ),
    "snli_ve": lambda: (
        {int(row["Flickr30K_ID"]) % 10**6 for p in parts for row in load("snli_ve", p)}
        for parts in (["snli_ve_train.jsonl"], ["snli_ve_dev.jsonl", "snli_ve_test.jsonl"])
    ),
}


@pytest.mark.parametrize("name", TRAIN_AND_TEST)
def test_splits_keep_to_their_scenes(name):
    train, test = TRAIN_AND_TEST[name]()
    assert train and {scene_of(id).split for id in train} == {"train"}
    assert test and {scene_of(id).split for id in test} == {"test"}


# GQA


def gqa(tier="testdev"):
    return load("gqa", f"{tier}_balanced_questions.json")


def test_gqa_prints_every_metric_and_gold_answers_get_all_of_them(tmp_path):
    task = make_task("gqa", str(written("gqa")))
    record = loop.run(loop.plan(task, make_model("oracle")), tmp_path / "r")
    found = {name: record.metrics[name]["value"] for name in record.metrics}
    for name in ("accuracy", "binary", "open", "consistency", "validity", "plausibility"):
        assert found[name] == 100, name
    assert found["distribution"] == 0
    assert {f"structural.{s}" for s in ("query", "verify", "logical", "choose", "compare")} <= set(
        found
    )


def test_gqa_yes_and_no_are_as_common_for_every_kind_of_question():
    for tier in ("train", "testdev"):
        counts = defaultdict(Counter)
        for q in gqa(tier).values():
            if q["answer"] in ("yes", "no"):
                counts[q["types"]["structural"], q["types"]["semantic"]][q["answer"]] += 1
        assert len(counts) >= 5
        assert all(found["yes"] == found["no"] for found in counts.values()), counts


def test_gqa_answers_are_true():
    checked = Counter()
    for q in {**gqa("train"), **gqa()}.values():
        scene, text, answer = scene_of(q["imageId"]), q["question"], q["answer"]
        nouns = [noun(thing) for thing in scene.things]
        only = {n: t for n, t in zip(nouns, scene.things, strict=True) if nouns.count(n) == 1}
        if found := re.fullmatch(r"(?:What|Which) color is the ([a-z ]+)\?", text):
            if found[1] in only:
                assert only[found[1]].colour == answer
                checked["color"] += 1
        elif found := re.fullmatch(
            r"(?:Is there|Do you see) an? ([a-z ]+?)( in the picture)?\?", text
        ):
            name = found[1]
            if q["types"]["detailed"] == "exist" and not q["question"].endswith("this photo?"):
                assert (name in nouns) == (answer == "yes")
                checked["exist"] += 1
        elif found := re.fullmatch(
            r"Is the ([a-z ]+) (to the left of|above) the ([a-z ]+)\?", text
        ):
            if found[1] in only and found[3] in only:
                one, two = only[found[1]], only[found[3]]
                axis = 0 if "left" in found[2] else 1
                assert (one.centre[axis] < two.centre[axis]) == (answer == "yes")
                checked["order"] += 1
        elif found := re.fullmatch(r"What is the (man|woman) looking at\?", text):
            (person,) = (t for t in scene.people if t.person.gender == found[1])
            assert noun(scene.thing(person.person.gaze)) == answer
            checked["gaze"] += 1
        elif q["types"]["detailed"] == "place":
            assert answer == scene.place
            checked["place"] += 1
    assert min(checked[k] for k in ("color", "exist", "order", "gaze", "place")) > 10


def test_gqa_links_programs_and_choices_fit_together():
    questions, choices = gqa(), load("gqa", "testdev_choices.json")
    linked = 0
    for id, q in questions.items():
        assert id in q["equivalent"] and id not in q["entailed"]
        assert set(q["equivalent"]) <= {id, *q["entailed"]}
        for other in q["entailed"]:
            assert questions[other]["imageId"] == q["imageId"]
            linked += 1
        for other in q["equivalent"]:
            assert id in questions[other]["equivalent"]
        for at, step in enumerate(q["semantic"]):
            assert all(use < at for use in step["dependencies"])
        assert q["semanticStr"].count("->") == len(q["semantic"]) - 1
        assert q["answer"] in choices[id]["valid"]
        assert q["answer"] in choices[id]["plausible"]
    assert linked > len(questions) / 2


def test_gqa_no_never_tells_what_is_instead():
    """An entailed open question must be answered by the question that entails it."""
    questions = gqa("train")
    for q in questions.values():
        if q["answer"] == "no" and q["types"]["structural"] == "verify":
            open_ones = [o for o in q["entailed"] if questions[o]["types"]["structural"] == "query"]
            assert open_ones == [], q["question"]


def test_gqa_scene_graphs_hold_the_boxes_and_relations():
    graphs = load("gqa", "testdev_sceneGraphs.json")
    assert set(graphs) == {str(scene.id) for scene in world().split("test")}
    for id, graph in graphs.items():
        scene = scene_of(id)
        assert len(graph["objects"]) == len(scene.things)
        assert sum(len(o["relations"]) for o in graph["objects"].values()) == len(scene.relations)


# VQAv2


def test_vqav2_asks_every_question_of_two_pictures_with_two_answers():
    for part in ("train", "val"):
        rows = load("vqav2", f"v2_OpenEnded_mscoco_{part}2014_questions.json")["questions"]
        notes = load("vqav2", f"v2_mscoco_{part}2014_annotations.json")["annotations"]
        text = {row["question_id"]: (row["question"], row["image_id"]) for row in rows}
        said = {note["question_id"]: note["multiple_choice_answer"] for note in notes}
        joined = load("vqav2", f"v2_mscoco_{part}2014_complementary_pairs.json")
        assert sorted(id for pair in joined for id in pair) == sorted(text) == sorted(said)
        for one, two in joined:
            assert text[one][0] == text[two][0] and text[one][1] != text[two][1]
            assert said[one] != said[two]


def test_vqav2_answers_are_true_and_ten():
    rows = load("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json")["questions"]
    text = {row["question_id"]: row["question"] for row in rows}
    checked = Counter()
    for note in load("vqav2", "v2_mscoco_val2014_annotations.json")["annotations"]:
        scene, usual = scene_of(note["image_id"]), note["multiple_choice_answer"]
        people = [answer["answer"] for answer in note["answers"]]
        assert len(people) == 10 and Counter(people).most_common(1)[0][0] == usual
        question = text[note["question_id"]]
        if question == "How many people are there?":
            assert usual == str(len(scene.people))
            checked["count"] += 1
        elif found := re.fullmatch(r"Is there an? ([a-z ]+) in the picture\?", question):
            assert (usual == "yes") == bool(scene.of_kind(found[1]))
            checked["there"] += 1
        elif found := re.fullmatch(r"What color is the (man|woman)'s shirt\?", question):
            assert usual in {p.colour for p in scene.people if p.person.gender == found[1]}
            checked["shirt"] += 1
        elif question == "Is this indoors?":
            assert (usual == "yes") == PLACES[scene.place].indoors
            checked["indoors"] += 1
    assert min(checked[k] for k in ("count", "there", "shirt", "indoors")) > 3


# Choices


def v7w():
    return load("visual7w", "dataset_v7w_telling.json")["images"]


def choices_of(name, split):
    if name == "visual7w":
        for image in v7w():
            for q in image["qa_pairs"] if image["split"] == split else ():
                yield q["answer"], q["multiple_choices"]
    else:
        for q in load("aokvqa", f"aokvqa_v1p0_{split}.json"):
            gold = q["choices"][q["correct_choice_idx"]]
            yield gold, [choice for choice in q["choices"] if choice != gold]


@pytest.mark.parametrize(
    "name, split", [("visual7w", "val"), ("visual7w", "test"), ("aokvqa", "val")]
)
def test_every_answer_is_wrong_three_times_as_often_as_right(name, split):
    right, wrong = Counter(), Counter()
    for gold, others in choices_of(name, split):
        assert len({gold, *others}) == 4
        right[gold] += 1
        wrong.update(others)
    assert sum(right.values()) > 40
    assert wrong == Counter({answer: 3 * count for answer, count in right.items()})


def test_visual7w_places_and_colors_are_true_and_wrong_ones_false():
    checked = 0
    for image in v7w():
        scene = scene_of(image["image_id"])
        for q in image["qa_pairs"]:
            if q["type"] == "where":
                assert q["answer"].lower() == f"{PLACES[scene.place].name}."
                checked += 1
            elif found := re.fullmatch(r"What color is the ([a-z ]+)\?", q["question"]):
                (thing,) = scene.of_kind(found[1])
                assert q["answer"] == f"{thing.colour.capitalize()}."
                checked += 1
    assert checked > 100


def test_aokvqa_direct_answers_agree_with_the_choice():
    rows = load("aokvqa", "aokvqa_v1p0_val.json")
    for row in rows:
        gold = row["choices"][row["correct_choice_idx"]]
        assert len(row["direct_answers"]) == 10 and len(row["rationales"]) == 3
        assert row["direct_answers"].count(gold) >= 6
        wrong = set(row["choices"]) - {gold}
        assert not wrong & set(row["direct_answers"])
    assert {row["difficult_direct_answer"] for row in rows} == {True, False}


# SNLI-VE


def test_snli_ve_says_every_sentence_once_with_each_label():
    for part in ("train", "dev", "test"):
        labels = defaultdict(list)
        for row in load("snli_ve", f"snli_ve_{part}.jsonl"):
            labels[row["sentence2"]].append((row["gold_label"], row["Flickr30K_ID"]))
        assert len(labels) > 5
        for found in labels.values():
            counts = Counter(label for label, _ in found)
            assert len(counts) == 3 and len(set(counts.values())) == 1
            assert len({image for _, image in found}) == len(found)


def test_snli_ve_labels_follow_from_people_and_what_they_do():
    for row in load("snli_ve", "snli_ve_train.jsonl"):
        scene, text = scene_of(int(row["Flickr30K_ID"]) % 10**6), row["sentence2"]
        gender = "woman" if text.startswith("A woman") else "man"
        shirt = re.search(r"in an? ([a-z]+) shirt", text)
        hair = re.search(r"with ([a-z]+) hair", text)
        meant = [
            p.person
            for p in scene.people
            if p.person.gender == gender
            and (not shirt or p.person.shirt == shirt[1])
            and (not hair or p.person.hair == hair[1])
        ]
        assert (row["gold_label"] == "contradiction") == (not meant), text
        known = [body for body in meant if any(_claimed(body.action, text))]
        if row["gold_label"] == "entailment":
            assert known, text


def _claimed(action, text):
    act = ACTIONS[action]
    for claim in (*act.before, *act.after, *act.intent, act.inference):
        yield re.search(re.escape(claim).replace(re.escape("{object}"), ".+") + r"\.$", text)


# ScienceQA


def test_scienceqa_has_every_column_and_its_pictures():
    problems, splits = load("scienceqa", "problems.json"), load("scienceqa", "pid_splits.json")
    assert sorted(id for part in ("train", "val", "test") for id in splits[part]) == sorted(
        problems
    )
    test = [problems[id] for id in splits["test"]]
    assert {p["subject"].split()[0] for p in test} == {"natural", "social", "language"}
    shapes = {(bool(p["hint"]), bool(p["image"])) for p in test}
    assert shapes == {(True, True), (True, False), (False, True), (False, False)}
    for id, p in problems.items():
        path = written("scienceqa") / "images" / p["split"] / id / "image.png"
        assert path.is_file() == bool(p["image"])
        assert p["lecture"] and p["solution"] and len(set(p["choices"])) == len(p["choices"])


def test_scienceqa_words_decide_where_there_is_no_picture():
    checked = 0
    for p in load("scienceqa", "problems.json").values():
        gold = p["choices"][p["answer"]]
        if p["question"] == "Which word comes first in a dictionary?":
            assert gold == min(p["choices"])
            checked += 1
        elif p["question"].startswith("Who is "):
            assert f"{gold} is {p['question'][7:-1]}." in p["hint"]
            checked += 1
    assert checked > 50


# Dealing


@given(st.integers(0, 60), st.integers(4, 9), st.integers(0, 5))
def test_deal_gives_each_answer_out_three_times(size, kinds, seed):
    answers = [n % kinds for n in range(size)]
    hands = deal(size, lambda i, j: answers[j], Random(seed))
    kept = [i for i in range(size) if hands[i] is not None]
    for i in kept:
        assert len({answers[i], *(answers[j] for j in hands[i])}) == 4
    assert Counter(j for i in kept for j in hands[i]) == Counter({i: 3 for i in kept})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2))))
def test_even_leaves_each_answer_as_often(items):
    kept = even(items, lambda item: item[0], lambda item: item[1])
    for key in {item[0] for item in kept}:
        counts = Counter(item[1] for item in kept if item[0] == key)
        assert len(counts) >= 2 and len(set(counts.values())) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2))), st.integers(0, 9))
def test_pairs_differ_and_thin_keeps_order(items, most):
    joined = pairs(items, lambda item: item[0], lambda item: item[1], Random(0))
    assert all(a[0] == b[0] and a[1] != b[1] for a, b in joined)
    assert not Counter(x for pair in joined for x in pair) - Counter(items)
    few = thin(range(len(items)), most, Random(0))
    assert few == sorted(few) and len(few) == min(most, len(items))
