"""Placing rows on samples: whatever a log keeps of its order, an answer meets its own question."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.importers._log import Log, Logged
from harness.importers._match import place
from harness.types import Image, Sample

SPLITS = ("random", "popular", "adversarial")
THINGS = ("dog", "car", "kite", "cup", "fox")
SHORT = "\nAnswer the question using a single word or phrase."


def samples(images=6):
    """Polls as POPE's: the same few questions on every picture, in splits."""
    draw = random.Random(images)
    made = []
    for part, split in enumerate(SPLITS):
        for at in range(images * 3):
            thing = draw.choice(THINGS)
            made.append(
                Sample(
                    id=str(1000 * part + at),
                    prompt=(
                        Image(f"COCO_val2014_{at // 3:012d}.jpg"),
                        f"Is there a {thing}?" + SHORT,
                    ),
                    target=draw.choice(("yes", "no")),
                    choices=("yes", "no"),
                    groups={"split": split},
                )
            )
    return made


def logged(sample, position=None, **more):
    return Logged(
        where=f"line of {sample.id}",
        text=sample.id,
        prompt=sample.prompt[1],
        question=sample.prompt[1],
        target=sample.target,
        position=position,
        **more,
    )


def log(rows):
    return Log("made", Path("made.jsonl"), {"made.jsonl": "0"}, rows)


def right(placed):
    return {id: row.text for id, row in placed.rows.items()} == {id: id for id in placed.rows}


@settings(deadline=None, max_examples=40)
@given(st.permutations(SPLITS), st.randoms(use_true_random=False), st.integers(2, 8))
def test_any_order_of_the_splits_and_of_the_lines_is_found_out(order, draw, images):
    asked = samples(images)
    file_order = [s for split in order for s in asked if s.groups["split"] == split]
    rows = [logged(sample, at) for at, sample in enumerate(file_order)]
    draw.shuffle(rows)
    try:
        placed = place(log(rows), asked)
    except DataError as error:
        assert "could be several samples" in str(error) and images < 4  # too few to tell apart
    else:
        assert right(placed) and len(placed.rows) == len(asked)


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(1, 17))
def test_shuffled_rows_without_position_or_ids_are_never_placed_wrongly(draw, kept):
    asked = samples()
    rows = [logged(sample) for sample in draw.sample(asked, kept)]
    try:
        placed = place(log(rows), asked)
    except DataError:
        return
    for id, row in placed.rows.items():
        sample = next(s for s in asked if s.id == id)
        assert row.prompt == sample.prompt[1] and row.target == sample.target


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 53), st.integers(0, 53))
def test_two_rows_swapped_in_the_file_are_noticed(a, b):
    asked = samples()
    rows = [logged(sample, at) for at, sample in enumerate(asked)]
    first, second = rows[a], rows[b]
    rows[a] = logged(asked[b], a)
    rows[b] = logged(asked[a], b)
    same = (first.prompt, first.target) == (second.prompt, second.target)
    if same or first.prompt == second.prompt:
        return  # nothing in the log could tell
    with pytest.raises(DataError, match="ask another question"):
        place(log(rows), asked)


def test_pictures_tell_repeated_questions_apart():
    asked = samples()
    adversarial = [s for s in asked if s.groups["split"] == "adversarial"]
    seen, rows = set(), []
    for sample in adversarial:
        key = (sample.prompt[0].name, sample.prompt[1])
        if key not in seen:
            seen.add(key)
            number = int(sample.prompt[0].name[13:25])
            image = f"folder/{number}.png" if number > 99_999 else sample.prompt[0].name
            rows.append(logged(sample, image=image, parts=("adversarial",)))
    placed = place(log(rows), adversarial)
    assert len(placed.rows) >= len(rows)
    by_id = {sample.id: sample for sample in adversarial}
    for id, row in placed.rows.items():
        assert by_id[id].prompt[0].name == row.image and by_id[id].prompt[1] == row.prompt


def test_an_id_with_another_question_is_no_id():
    asked = samples()
    rows = [logged(s, at, ids={"id": str(at)}) for at, s in enumerate(asked)]
    assert right(place(log(rows), asked))  # these ids are row numbers: position places them


def test_rows_that_the_task_lacks_are_refused_or_left_out():
    asked = samples()
    rows = [logged(s, ids={"id": s.id}) for s in asked]
    fewer = [s for s in asked if s.groups["split"] != "popular"]
    with pytest.raises(DataError, match=r"18 of 54 rows ask what none .*--extra ignore"):
        place(log(rows), fewer)
    placed = place(log(rows), fewer, ignore=True)
    assert right(placed) and len(placed.rows) == 36 and len(placed.strangers) == 18


def test_the_same_question_everywhere_has_no_order():
    asked = [Sample(str(i), (Image(f"{i}.jpg"), "Describe it."), f"gold {i}") for i in range(9)]
    rows = [logged(s, at) for at, s in enumerate(asked)]
    with pytest.raises(DataError, match=r"9 of 9 rows could be several samples"):
        place(log(rows), asked)
