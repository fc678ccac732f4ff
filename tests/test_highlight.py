"""Region highlights, and asking a model that was trained on them: colours, numbers, pictures."""

import json
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from harness.engine.highlight import PALETTES, SLOTS, colours, highlight
from harness.engine.shown import Rules, Shower, numbered, renamed, rules, undrawn
from harness.errors import DataError, UsageError
from harness.types import Image, Region, Sample
from judges.regions import drawn

GREY = (128, 128, 128)


def picture(width: int = 80, height: int = 60) -> Any:
    return Pictures.new("RGB", (width, height), GREY)


def png(made: Any) -> bytes:
    out = BytesIO()
    made.save(out, "PNG")
    return out.getvalue()


def blended(under: int, over: int, alpha: int) -> float:
    return under + (over - under) * alpha / 255


def test_fill_and_outline_are_the_published_colours_at_each_position() -> None:
    boxes = [(2.0 + 15 * i, 5.0, 12.0 + 15 * i, 40.0) for i in range(5)]
    made = highlight(picture(), boxes)
    published = [  # by hand, from the released file
        ("ff05cd", 0x20, "05ff37"),
        ("ff8000", 0x20, "99ccff"),
        ("862d2d", 0x20, "cc99ff"),
        ("ff8000", 0x20, "f5ad42"),
        ("862d2d", 0x20, "f55d42"),
    ]
    for (left, top, right, bottom), (fill, alpha, edge) in zip(boxes, published, strict=True):
        middle = made.getpixel((int(left + right) // 2, int(top + bottom) // 2))
        wanted = [blended(128, over, alpha) for over in bytes.fromhex(fill)]
        assert middle == pytest.approx(wanted, abs=1)
        for at in ((int(left), 20), (int(left) + 1, 20), (int(right), 20), (int(right) - 1, 20)):
            assert made.getpixel(at) == tuple(bytes.fromhex(edge))
        assert made.getpixel((int(left) + 2, 20)) != tuple(bytes.fromhex(edge))  # two pixels wide
    assert made.getpixel((0, 0)) == GREY and made.getpixel((40, 55)) == GREY


def test_the_picture_that_is_drawn_on_stays_as_it_is() -> None:
    before = picture()
    after = highlight(before, [(1, 1, 50, 50)])
    assert after.mode == "RGB" and before.tobytes() == picture().tobytes() != after.tobytes()
    assert highlight(before, []).tobytes() == before.tobytes()


@given(
    boxes=st.lists(
        st.tuples(st.floats(-20, 90), st.floats(-20, 70), st.floats(0, 60), st.floats(0, 60)),
        max_size=7,
    )
)
def test_drawing_is_that_of_the_tasks(boxes: list[tuple[float, float, float, float]]) -> None:
    """What a student is trained on is pixel for pixel what VCR and VisualCOMET show it."""
    made = [(left, top, left + width, top + height) for left, top, width, height in boxes]
    theirs = Pictures.open(BytesIO(drawn(png(picture()), made, "lskd"))).convert("RGB")
    assert highlight(picture(), made).tobytes() == theirs.tobytes()


def test_slots_give_the_boxes_of_one_region_one_colour() -> None:
    made = highlight(picture(), [(2, 2, 20, 20), (40, 2, 60, 20)], slots=[1, 1])
    assert made.getpixel((10, 10)) == made.getpixel((50, 10))
    assert made.getpixel((2, 10)) == SLOTS[1][1][:3]


def test_from_the_sixth_position_on_the_published_colours_are_nearly_one() -> None:
    assert [colours(slot)[1] for slot in (5, 6, 7)] == [(103, 102, 102, 255)] * 3
    assert colours(15) == ((105, 102, 102, 0x20), (105, 102, 102, 255))


def test_the_extended_palette_keeps_positions_apart() -> None:
    edges = [colours(slot, "extended")[1][:3] for slot in range(16)]
    assert edges[:5] == [edge[:3] for _, edge in SLOTS]
    near = min(
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for i, one in enumerate(edges[5:])
        for other in edges[5:][:i]
    )
    assert near > 40


def test_bad_boxes_and_palettes_are_named() -> None:
    with pytest.raises(DataError, match="ends before it begins"):
        highlight(picture(), [(10, 10, 5, 20)])
    with pytest.raises(DataError, match="2 boxes and 1 slots"):
        highlight(picture(), [(1, 1, 5, 5)] * 2, slots=[0])
    with pytest.raises(UsageError, match=r"palette.*'lskt'.*lskd"):
        highlight(picture(), [(1, 1, 5, 5)], "lskt")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the first is 0"):
        colours(-1)
    assert set(PALETTES) == {"lskd", "extended"}


# ---- Asking ----


def region(label: str, left: float = 5) -> Region:
    return Region((left, 5, left + 20, 30), label)


def asked(prompt: tuple[Any, ...], choices: tuple[str, ...], *regions: Region) -> Sample:
    return Sample("1", prompt, choices=choices, regions=regions)


def shown(image: Image) -> Any:
    return Pictures.open(BytesIO(image.read())).convert("RGB")


def test_regions_are_numbered_drawn_and_called_by_their_numbers() -> None:
    image = Image("a.png", png(picture()))
    sample = asked(
        (image, "Why does [7]  smile at [person3]?"),
        ("[person3] waves", "[7] is alone"),
        region("[7]"), region("[person3]", 50),
    )  # fmt: skip
    show = Shower(Rules())
    found = show(sample)
    assert found.choices == (
        "question: why does [0] smile at [1]? [1] waves",
        "question: why does [0] smile at [1]? [0] is alone",
    )
    (picture_of,) = found.prompt
    assert isinstance(picture_of, Image)
    boxes = [r.box for r in sample.regions]
    assert shown(picture_of).tobytes() == highlight(picture(), boxes).tobytes()
    assert show(sample).prompt == found.prompt  # one picture, so that it is encoded once
    assert show.facts()["drawn"] == 2 and found.id == sample.id


def test_a_picture_that_the_task_drew_is_drawn_anew_from_the_published_one() -> None:
    plain = Image("a.png", png(picture()))
    task = Image("a.png#x", partial(_other, plain, [(5, 5, 25, 30)]))
    (found,) = Shower(Rules(palette="extended"))(asked((task,), ("yes",), region(""))).prompt
    assert isinstance(found, Image) and undrawn(task) == plain
    assert shown(found).tobytes() == highlight(picture(), [(5, 5, 25, 30)], "extended").tobytes()
    other = Image("a.png#x", png(picture()))  # drawn by who knows whom
    show = Shower(Rules())
    assert show(asked((other,), ("yes",), region(""))).prompt == (other,)
    assert show.facts()["drawn_by_the_task"] == 1
    without = Shower(Rules(draw=False))(asked((task,), ("yes",), region("")))
    assert without.prompt == (plain,)


def _other(image: Image, boxes: Any) -> bytes:
    return drawn(image.read(), boxes, "sherlock")


def test_boxes_without_a_name_are_one_region_and_names_are_shared() -> None:
    assert numbered([region(""), region("", 40)]) == [0, 0]
    assert numbered([region("[2]"), region("[0]"), region("[2]", 40)]) == [0, 1, 0]


def test_numbers_of_what_is_not_drawn_go_on_behind_those_that_are() -> None:
    assert renamed(["[4] sees [0]", "[9] , [4]"], ["[4]", "[2]"], [0, 1]) == [
        "[0] sees [2]",
        "[3] , [0]",
    ]


@given(st.permutations(range(5)))
def test_renumbering_is_one_to_one(order: list[int]) -> None:
    names = [f"[{i}]" for i in order]
    (found,) = renamed([" ".join(names)], names, list(range(5)))
    assert found == "[0] [1] [2] [3] [4]"


def test_only_names_that_look_like_references_are_replaced() -> None:
    assert renamed(["a dog sees person1, not person12"], ["dog", "person1"], [0, 1]) == [
        "a dog sees [1], not person12"
    ]
    assert renamed(["{0} %s \\1 [a.c]"], ["[a.c]"], [0]) == ["{0} %s \\1 [0]"]
    assert renamed(["[abc]"], ["[a.c]"], [0]) == ["[abc]"]


def test_texts_are_put_into_the_form_of_the_training_once() -> None:
    show = Shower(Rules(words=4))
    assert (
        show.text("Question: What  is [0] doing?  Answer: it ran") == "question: what is [0] doing?"
    )
    assert show.text("A B") == "question: a b"
    assert Shower(Rules(prefix="", words=0)).text("One two " * 60).count(" ") == 119


def test_rules_are_read_from_beside_the_weights(tmp_path: Path) -> None:
    assert rules(str(tmp_path)) == Rules()
    card = {"palette": "extended", "draw": False, "prefix": "", "words": 3, "most": 0}
    (tmp_path / "regions.json").write_text(json.dumps(card))
    assert rules(str(tmp_path)) == Rules("extended", False, "", 3)
    for bad in ("{", "[]", json.dumps(card | {"palette": "pink"}), '{"palette": "lskd"}'):
        (tmp_path / "regions.json").write_text(bad)
        with pytest.raises(DataError, match=r"regions\.json: does not say"):
            rules(str(tmp_path))


def test_samples_that_cannot_be_shown_come_back_as_they_are() -> None:
    image = Image("a.png", png(picture()))
    two = asked((image, image), ("a",), region("[0]"))
    none = asked((image, "what?"), (), region("[0]"))
    assert Shower(Rules())(two) is two and Shower(Rules())(none) is none
