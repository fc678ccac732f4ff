"""Records: what is read, what is refused, and that reading in pieces finds the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_data import make_records, write_records

from harness.errors import DataError, UsageError
from trainers.engine import records
from trainers.engine.records import BadRecord, parse
from trainers.recipe import Recipe, Slot


def recipe(**changes):
    return Recipe.model_validate({"name": "r", "summary": ""}).changed(changes)


def turns(*texts):
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def test_a_record_keeps_its_order_of_pictures_and_turns():
    said = turns("<image> and <image>?", "Two.", "Sure?", "Yes.")
    found = parse({"id": 7, "image": ["a.png", "b.png"], "conversations": said}, "x")
    assert found.id == "7" and found.images == ("a.png", "b.png")
    assert [role for role, _ in found.turns] == ["user", "assistant"] * 2


def test_a_first_turn_of_the_assistant_and_a_last_question_are_left_out():
    raw = {"conversations": [{"from": "gpt", "value": "Hello"}, *turns("Q", "A", "again?")]}
    assert parse(raw, "f:3").turns == (("user", "Q"), ("assistant", "A"))
    assert parse(raw, "f:3").id == "f:3"


def test_a_picture_without_a_mark_stands_first():
    assert (
        parse({"image": "a.png", "conversations": turns("Q", "A")}, "x").turns[0][1] == "<image>Q"
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("text", "not a record"),
        ({"conversations": "text"}, "not a record"),
        ({"conversations": [{"from": "human"}]}, "not a record"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "not a record"),
        ({"image": [1], "conversations": turns("<image>Q", "A")}, "not a record"),
        ({"conversations": []}, "no target"),
        ({"conversations": turns("Q")}, "no target"),
        ({"conversations": turns("Q", "  ")}, "no target"),
        ({"conversations": [*turns("Q", "A"), *turns("Q", "A")[1:]]}, "turns do not alternate"),
        ({"conversations": turns("<image>Q", "A")}, "image marks"),
        ({"image": "a.png", "conversations": turns("<image><image>Q", "A")}, "image marks"),
        ({"image": "a.png", "conversations": turns("<image>", "<image>")}, "image mark in a reply"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named(raw, reason):
    with pytest.raises(BadRecord) as caught:
        parse(raw, "x")
    assert caught.value.reason == reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


objects = st.dictionaries(st.text(max_size=4), json_values, max_size=3)


@given(
    st.lists(objects, min_size=1, max_size=6),
    st.sampled_from(["json", "jsonl"]),
    st.sampled_from([None, 2]),
)
def test_streaming_reads_the_very_records(tmp_path_factory, found, kind, indent):
    path = tmp_path_factory.mktemp("s") / f"d.{kind}"
    if kind == "json":
        path.write_text(json.dumps(found, indent=indent, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(x) + "\n\n" for x in found), encoding="utf-8")
    streamed = records.read(recipe(streaming=True), path)
    assert streamed.shards[0].rows is None
    assert [streamed.raw(i) for i in range(len(streamed))] == found


def test_a_list_that_is_cut_off_is_refused_when_streaming(tmp_path):
    path = tmp_path / "d.json"
    path.write_text('[{"a": 1}, {"b": [2')
    with pytest.raises(DataError, match="cut off"):
        records.read(recipe(streaming=True), path)


def test_a_folder_of_shards_is_one_set(tmp_path):
    made = make_records(["a.png"], 5)
    write_records(tmp_path / "set/1.jsonl", made[:3])
    write_records(tmp_path / "set/0.json", made[3:])
    found = records.read(recipe(data=[{"name": "set"}]), tmp_path)
    assert [found.raw(i)["id"] for i in range(5)] == ["r3", "r4", "r0", "r1", "r2"]
    assert [one["taken"] for one in found.describe()] == [2, 3]


def test_all_missing_sets_are_named(tmp_path):
    write_records(tmp_path / "here.json", make_records(["a.png"], 1))
    slots = [{"name": "here"}, {"name": "gone"}, {"name": "lost", "file": "x/y.json"}]
    with pytest.raises(DataError, match=r"gone .*lost \(x/y.json"):
        records.read(recipe(data=slots), tmp_path)


def test_an_unknown_mixture_names_near_ones():
    with pytest.raises(UsageError, match="there is no mixture"):
        records.mixture("no-such-mixture")


def test_a_smaller_share_lies_in_a_larger_one_and_counts_are_exact(tmp_path):
    path = write_records(tmp_path / "d.json", make_records(["a.png"], 40))

    def ids(share):
        found = records.read(recipe(fraction=share), path)
        return [found.raw(i)["id"] for i in range(len(found))]

    small, large = ids(0.25), ids(0.5)
    assert (len(small), len(large)) == (10, 20) and set(small) < set(large)
    assert ids(0.25) == small


def test_repeats_and_published_counts(tmp_path):
    path = write_records(tmp_path / "a.json", make_records(["a.png"], 3))
    slot = {"name": "a", "repeat": 2, "records": 4}
    found = records.read(recipe(data=[slot]), path.parent)
    assert len(found) == 6 and found.notes == ("a: 3 records, published 4",)
    assert Slot.model_validate(slot).repeat == 2
