"""COCO-Spatial: the construction rule checked on its results, the parser, real annotations."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_coco_spatial import instances, write
from shared_data import shared

from harness.api import run
from harness.errors import DataError
from harness.find import make_task
from tasks._coco_instances import Scene, Thing, load
from tasks.coco_spatial import AXES, questions, said_side

NAMES = "abcdefg"


def made(*things, size=(100, 100)):
    return Scene("7", "7.jpg", *size, tuple(Thing(name, box) for name, *box in things))


edges = st.tuples(st.integers(0, 90), st.integers(1, 60)).map(lambda p: (p[0], p[0] + p[1]))
things = st.lists(
    st.tuples(st.sampled_from(NAMES), edges, edges).map(
        lambda t: Thing(t[0], (t[1][0], t[2][0], t[1][1], t[2][1]))
    ),
    max_size=9,
)


def half(low, high, size):
    return "first" if high <= size / 2 else "second" if low >= size / 2 else "across"


@given(things)
def test_every_question_keeps_the_rule_of_the_paper(found):
    scene = Scene("1", "1.jpg", 120.0, 100.0, tuple(found))
    often = Counter(thing.name for thing in found)
    box = {thing.name: thing.box for thing in found}
    asked = list(questions(scene))
    for question in asked:
        start = 0 if question.axis == "left_right" else 1
        size = 120.0 if start == 0 else 100.0
        triplet = (question.thing, question.other, question.third)
        assert len(set(triplet)) == 3 and all(often[name] == 1 for name in triplet)
        sides = [half(box[name][start], box[name][start + 2], size) for name in triplet]
        assert "across" not in sides
        assert sides[0] != sides[1] and sides[0] == sides[2]
        assert sides[0] == ("first", "second")[question.side]
    for axis in AXES:
        ours = [q for q in asked if q.axis == axis]
        assert len(ours) in (0, 2)
        if ours:
            assert (ours[0].thing, ours[0].third) == (ours[1].third, ours[1].thing)
    for start, (axis, size) in enumerate((("left_right", 120.0), ("above_below", 100.0))):
        sides = [half(b[start], b[start + 2], size) for n, b in box.items() if often[n] == 1]
        possible = "first" in sides and "second" in sides and len(sides) - sides.count("across") > 2
        assert possible == any(q.axis == axis for q in asked)


def test_a_box_across_the_middle_a_second_instance_and_a_third_object_too_few():
    left, right, low = (0, 0, 20, 90), (60, 5, 90, 95), (10, 10, 50, 80)
    good = made(("cat", *left), ("dog", *right), ("cup", *low))
    assert {(q.axis, q.thing, q.other) for q in questions(good)} == {
        ("left_right", "cat", "dog"),
        ("left_right", "cup", "dog"),
    }
    assert not list(questions(made(("cat", *left), ("dog", *right), ("cup", 10, 10, 51, 80))))
    assert not list(questions(made(("cat", *left), ("dog", *right), ("cat", *low))))
    assert not list(questions(made(("cat", *left), ("dog", *right))))
    assert not list(questions(made(("cat", *left), ("dog", *left), ("cup", *low))))


def test_the_words_of_both_kinds_of_asking(tmp_path):
    scene = [(1, [2, 2, 20, 15]), (2, [50, 2, 20, 15]), (3, [5, 40, 20, 15])]
    instances(tmp_path, [[(c, [float(x) for x in box]) for c, box in scene]], "val2014")
    direct = {s.id: s for s in make_task("coco_spatial", str(tmp_path)).samples()}
    asked = ("left_right/cup", "left_right/person", "above_below/dog", "above_below/person")
    assert list(direct) == [f"100/{name}" for name in asked]
    assert direct["100/left_right/cup"].prompt[1] == "Which side of the dog is the cup?"
    assert direct["100/left_right/cup"].target == "left"
    assert direct["100/above_below/person"].prompt[1] == "Is the person above or below the cup?"
    assert direct["100/above_below/person"].target == "above"
    icl = {s.id: s for s in make_task("coco_spatial/icl", str(tmp_path)).samples()}
    lines = icl["100/left_right/cup"].prompt[1].split("\n")
    assert lines[-1] == "Which side of the dog is the cup?" and len(lines) == 5
    assert {tuple(lines[0:2]), tuple(lines[2:4])} == {
        ("Which side of the dog is the person?", "The person is on the left side of the dog."),
        ("Which side of the person is the dog?", "The dog is on the right side of the person."),
    }
    assert icl["100/left_right/cup"].facts["question"] == lines[-1]
    below = icl["100/above_below/dog"].prompt[1].split("\n")
    assert (
        "The cup is below the person." in below
        and below[-1] == "Is the dog above or below the cup?"
    )


def test_worked_examples_never_give_the_pair_that_is_asked(tmp_path):
    write(tmp_path)
    for sample in make_task("coco_spatial/icl", str(tmp_path)).samples():
        *worked, asked = sample.prompt[1].rstrip("?").split("\n")
        asks = [set(line.rstrip("?").split()) for line in worked[::2]]
        assert len(asks) == 2 and set(asked.split()) not in asks
        sides = AXES[sample.groups["axis"]].sides
        said = [said_side(line, AXES[sample.groups["axis"]]) for line in worked[1::2]]
        assert sorted(said) == sorted(sides)  # one example of each answer


@pytest.mark.parametrize(
    ("axis", "text", "side"),
    [
        ("left_right", "The dog is on the LEFT side of the cup.", "left"),
        ("left_right", "right", "right"),
        ("left_right", "It is left, not right.", None),
        ("left_right", "The bright leftover", None),
        ("left_right", "", None),
        ("above_below", "Above", "above"),
        ("above_below", "The cup is on top of the dog", "above"),
        ("above_below", "underneath.", "below"),
        ("above_below", "above or below", None),
        ("above_below", "The laptop", None),
        ("above_below", "left", None),
    ],
)
def test_the_parser(axis, text, side):
    assert said_side(text, AXES[axis]) == side


def test_numbers_per_side_and_unparsed_answers_count_as_wrong(tmp_path):
    write(tmp_path)
    left = run("constant:left", "coco_spatial", data=tmp_path, out=tmp_path / "a")
    values = {name: metric["value"] for name, metric in left.metrics.items()}
    assert (values["left"], values["right"]) == (100, 0)
    assert (values["above_below"], values["above"], values["below"]) == (0, 0, 0)
    counts = Counter(row["groups"]["side"] for row in left.rows())
    share = counts["left"] / (counts["left"] + counts["right"])
    assert values["left_right"] == pytest.approx(100 * share)
    assert left.counts["unparsed"] == counts["above"] + counts["below"]
    assert f"left {counts['left']}" in left.run["task"]["notes"][0]


def test_the_draw_is_the_same_whatever_the_order_of_the_file(tmp_path):
    write(tmp_path / "a")
    path = tmp_path / "a/annotations/instances_val2014.json"
    before = [(s.id, s.prompt[1]) for s in make_task("coco_spatial/icl", str(path)).samples()]
    document = json.loads(path.read_text())
    document["annotations"].reverse()
    document["images"].reverse()
    path.write_text(json.dumps(document))
    assert [
        (s.id, s.prompt[1]) for s in make_task("coco_spatial/icl", str(path)).samples()
    ] == before


def test_real_annotations_give_right_answers():
    """Each question on tinycoco is checked against the boxes in the file itself."""
    path = shared("coco_images/tinycoco") / "annotations" / "instances_train2017.json"
    task = make_task("coco_spatial", str(path))
    document = json.loads(path.read_text())
    names = {c["id"]: c["name"] for c in document["categories"]}
    samples = list(task.samples())
    assert len(samples) == 12 and len({s.cluster for s in samples}) == 5
    for sample in samples:
        image, axis, thing = sample.id.split("/")
        box = {
            names[a["category_id"]]: a["bbox"]
            for a in document["annotations"]
            if a["image_id"] == int(image)
        }
        words = sample.facts["question"].rstrip("?")
        (other,) = [n for n in box if n != thing and f"the {n}" in words and n not in thing]
        near = 0 if axis == "left_right" else 1
        centre = {name: b[near] + b[near + 2] / 2 for name, b in box.items()}
        first = AXES[axis].sides[0]
        assert (sample.target == first) == (centre[thing] < centre[other])
        sample.prompt[0].read()


def test_files_that_cannot_serve_are_named(tmp_path):
    write(tmp_path / "two")
    folder = tmp_path / "two" / "annotations"
    (folder / "instances_val2014.json").rename(folder / "instances_x.json")
    instances(tmp_path / "two", [[]], "y")
    with pytest.raises(DataError, match=r"found instances_x.json, instances_y.json; name the file"):
        make_task("coco_spatial", str(tmp_path / "two"))
    with pytest.raises(DataError, match=r"none of 1 images has three objects"):
        make_task("coco_spatial", str(folder / "instances_y.json"))
    document = json.loads((folder / "instances_x.json").read_text())
    document["annotations"][3]["bbox"] = [1, 2, -3, 4]
    (folder / "instances_x.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"instances_x.json, annotation 3: .*-3"):
        load(str(folder / "instances_x.json"), "coco_spatial")
    document["annotations"][3] |= {"bbox": [1, 2, 3, 4], "image_id": 5}
    (folder / "instances_x.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"annotation 3: .*KeyError: 5"):
        load(str(folder / "instances_x.json"), "coco_spatial")
