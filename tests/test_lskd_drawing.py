"""Regions of LSKD: which are drawn, in which colours, and that text and picture agree."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.engine.highlight import SLOTS
from harness.errors import DataError
from trainers.localized import triples
from trainers.localized.augment import varied
from trainers.localized.drawing import drawn, lot, shown
from trainers.localized.triples import Reference, Triple
from trainers.localized.words import numbers, prepared, renumbered, statement

BOXES = tuple((4.0 + 12 * i, 10.0, 14.0 + 12 * i, 40.0) for i in range(8))


def triple(about: tuple[int, ...], every: int = 8, **fields: object) -> Triple:
    """Return a triple whose question mentions `about`, of a picture with `every` regions."""
    made: dict[str, object] = {
        "id": "t",
        "image": "a.png",
        "question": ("What", "is", about, "doing", "?") if about else ("What", "now", "?"),
        "answer": ("Near", about[:1], ".") if about else ("Rain", "."),
        "rationale": ("It", "can", "be", "seen", "."),
        "region": about,
        "region_all": tuple(range(every)),
        "references": tuple(
            Reference(str(i), (box,), "thing") for i, box in enumerate(BOXES[:every])
        ),
        "width": 100,
        "height": 50,
        "style": "ids" if about else "descriptions",
    }
    return Triple(**(made | fields))  # type: ignore[arg-type]  # fields of a test


few = settings(max_examples=30, deadline=None)
abouts = st.lists(st.integers(0, 7), min_size=1, max_size=5, unique=True).map(tuple)


@few
@given(abouts, st.sampled_from(["student", "critic"]), st.integers(0, 10_000))
def test_all_mentioned_regions_are_drawn_and_never_more_than_five(about, choice, seed) -> None:
    one = triple(about)
    ids = shown(one, choice, Random(seed))
    assert set(about) <= set(ids) <= set(range(8))
    assert len(ids) == len(set(ids)) <= 5
    assert shown(one, "mentioned") == about


@few
@given(abouts, st.integers(0, 10_000))
def test_renumbering_follows_the_drawing_and_the_inverse_restores_the_text(about, seed) -> None:
    one = triple(about)
    ids = shown(one, "student", Random(seed))
    there = {id: place for place, id in enumerate(ids)}
    back = {place: id for id, place in there.items()}
    for part in triples.PARTS:
        said = getattr(one, part)
        moved = renumbered(said, there)
        assert renumbered(moved, back) == said
        assert triples.words(moved) == triples.words(said, numbers(ids))
    assert statement(one, ids).startswith(
        "What is " + " , ".join(f"[{there[id]}]" for id in about) + " doing"
    )


@few
@given(abouts, st.integers(0, 10_000))
def test_the_colour_of_a_box_is_that_of_its_number_in_the_text(about, seed) -> None:
    one = triple(about)
    ids = shown(one, "student", Random(seed))
    grey = Image.new("RGB", (100, 50), (128, 128, 128))
    picture = drawn(grey, one, ids)
    for place, id in enumerate(ids):
        left, top, right, bottom = BOXES[id]
        fill, edge = SLOTS[place]
        centre = picture.getpixel((int(left + right) // 2, int(top + bottom) // 2))
        wanted = [round(128 + (colour - 128) * 0x20 / 255) for colour in fill[:3]]
        assert all(abs(a - b) <= 1 for a, b in zip(centre, wanted, strict=True))
        assert picture.getpixel((int(left), int(top))) == edge[:3]
    for id in set(range(8)) - set(ids):
        left, _, right, _ = BOXES[id]
        assert picture.getpixel((int(left + right) // 2, 25)) == (128, 128, 128)
    assert grey.getcolors() == [(5000, (128, 128, 128))]  # the picture itself stays


def test_how_often_only_the_mentioned_are_shown_and_in_which_order() -> None:
    one = triple((6, 2))
    student = [shown(one, "student", lot(0, epoch, "t", "x")) for epoch in range(2000)]
    critic = [shown(one, "critic", lot(0, epoch, "t", "x")) for epoch in range(2000)]
    assert 0.46 < sum(len(ids) == 2 for ids in student) / 2000 < 0.54
    assert 0.56 < sum(len(ids) == 2 for ids in critic) / 2000 < 0.64
    assert {ids for ids in student if len(ids) == 2} == {(6, 2), (2, 6)}
    assert {ids for ids in critic if len(ids) == 2} == {(6, 2)}
    alone = sum(ids == (6, 2) for ids in student) / sum(len(ids) == 2 for ids in student)
    assert 0.45 < alone < 0.55
    others = [len([ids for ids in critic if len(ids) == 5 and id in ids]) for id in range(8)]
    assert min(others[id] for id in (0, 1, 3, 4, 5, 7)) > 300  # of about 800, half each


def test_lots_depend_on_seed_epoch_id_and_purpose_alone() -> None:
    first = lot(1, 2, "three", "four").random()
    assert first == lot(1, 2, "three", "four").random()
    others = [(2, 2, "three", "four"), (1, 3, "three", "four"), (1, 2, "3", "four"),
              (1, 2, "three", "4")]  # fmt: skip
    assert len({first, *(lot(*other).random() for other in others)}) == 5


def test_more_regions_than_colours() -> None:
    many = triple(tuple(range(7)))
    with pytest.raises(DataError, match="about 7 regions; 5 are shown"):
        shown(many)
    assert shown(many, most=0) == tuple(range(7))
    picture = drawn(Image.new("RGB", (100, 50)), many, range(7), "extended")
    edges = {picture.getpixel((int(left), int(top))) for left, top, _, _ in BOXES[:7]}
    assert len(edges) == 7


def test_regions_without_boxes_are_never_drawn_by_lot_and_refused_when_meant() -> None:
    known = triple((0,)).references
    one = triple((0,), references=known[:2])
    assert {id for seed in range(50) for id in shown(one, "student", Random(seed))} == {0, 1}
    with pytest.raises(DataError, match="region 5"):
        drawn(Image.new("RGB", (100, 50)), one, (0, 5))
    with pytest.raises(DataError, match="mentions region 0"):
        statement(one, (1,))


def test_boxes_are_scaled_to_a_picture_of_another_size() -> None:
    half = drawn(Image.new("RGB", (50, 25), (128, 128, 128)), triple((1,)), (1,))
    left, top, _, _ = BOXES[1]
    assert half.getpixel((int(left / 2), int(top / 2))) == SLOTS[0][1][:3]


def test_words_as_the_released_processor_makes_them() -> None:
    said = "What is [0] , [1] doing?  Answer: Running!\n"
    assert prepared(said, "question: ") == "question: what is [0] , [1] doing? answer: running!"
    long = " ".join(f"W{i}" for i in range(90))
    assert prepared(long, "question: ").split(" ") == ["question:", *(f"w{i}" for i in range(70))]
    assert prepared(long, words=0).split(" ")[-1] == "w89"


def coloured() -> Image.Image:
    """Return a picture whose pixels tell where they are."""
    made = Image.new("RGB", (100, 80))
    made.putdata([(x * 2, y * 3, 40) for y in range(80) for x in range(100)])
    return made


@few
@given(st.integers(0, 10_000))
def test_safe_crops_keep_regions_whole_and_upright(seed) -> None:
    marked = Image.new("RGB", (100, 80))
    corners = {(255, 0, 0): (20, 30), (0, 255, 0): (64, 30), (0, 0, 255): (20, 54),
               (255, 255, 0): (64, 54)}  # fmt: skip
    for colour, (x, y) in corners.items():
        marked.paste(colour, (x, y, x + 6, y + 6))
    out = varied(marked, "region_safe", Random(seed), 100, [(20.0, 30.0, 70.0, 60.0)])
    assert out.size == (100, 100)
    places = {colour: near(out, colour) for colour in corners}
    assert all(len(found) > 20 for found in places.values())  # none is cut off
    red, green, blue = (
        [sum(at[axis] for at in places[colour]) / len(places[colour]) for axis in (0, 1)]
        for colour in list(corners)[:3]
    )
    assert red[0] + 20 < green[0] and red[1] + 15 < blue[1]  # left is left, above is above


def near(picture: Image.Image, colour: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return where a picture has about this colour, as (x, y)."""
    far = np.abs(np.asarray(picture, dtype=int) - np.array(colour)).max(axis=2)
    return [(int(x), int(y)) for y, x in np.argwhere(far < 60)]


def test_variations_are_of_the_seed_and_really_vary() -> None:
    made = {how: [varied(coloured(), how, Random(seed), 32).tobytes() for seed in range(8)]
            for how in ("lavis", "region_safe")}  # fmt: skip
    for how, found in made.items():
        assert len(set(found)) == 8
        assert found[3] == varied(coloured(), how, Random(3), 32).tobytes()
    plain = coloured()
    assert varied(plain, "none", Random(0), 32) is plain
    flips = 0
    for seed in range(60):  # in a flipped picture the red of x falls to the right
        out = varied(coloured(), "lavis", Random(seed), 32)
        flips += out.getpixel((4, 16))[0] > out.getpixel((27, 16))[0]
    assert 15 < flips < 45
