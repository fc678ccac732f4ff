"""Coordinate codecs: what they lose, at the edges, between frames, and on hostile text."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from trainers.codecs import FRAMES, REASONS, Frame, Unreadable, codec, iou

SIZES = st.tuples(st.integers(1, 2000), st.integers(1, 2000))
GRIDS = {224: (4, 7, 8, 14), 336: (4, 7, 8, 14)}


def boxes(size: tuple[int, int]) -> st.SearchStrategy[tuple[float, ...]]:
    def axis(length: int) -> st.SearchStrategy[list[float]]:
        cents = st.integers(0, length * 100)
        return st.tuples(cents, cents).map(lambda pair: [n / 100 for n in sorted(pair)])

    return st.tuples(axis(size[0]), axis(size[1])).map(
        lambda axes: (axes[0][0], axes[1][0], axes[0][1], axes[1][1])
    )


def all_codecs() -> list[tuple[str, dict[str, object]]]:
    found: list[tuple[str, dict[str, object]]] = [("nfp", {})]
    for bins, grids in GRIDS.items():
        found.append(("ivb", {"bins": bins}))
        found += [("diga", {"bins": bins, "grid": grid}) for grid in grids]
    return found


@pytest.mark.parametrize("frame", ["image", "square"])
@pytest.mark.parametrize("brackets", ["[]", "()"])
@pytest.mark.parametrize(("name", "options"), all_codecs())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_lost_is_at_most_half_a_bin_and_nothing_the_second_time(
    name: str, options: dict[str, int], brackets: str, frame: str, data: st.DataObject
) -> None:
    size = data.draw(SIZES)
    box = data.draw(boxes(size))
    coder = codec(name, frame=frame, brackets=brackets, **options)
    for location in (box, box[:2]):
        text = coder.encode(location, size)
        back = coder.decode(f"It is at {text}.", size)
        _, _, width, height = coder.frame.window(size)
        for place, (value, read) in enumerate(zip(location, back, strict=True)):
            side = height if place % 2 else width
            bound = side * (5e-5 if name == "nfp" else 0.5 / options["bins"])
            assert abs(value - read) <= bound + 0.0051, text
        assert coder.encode(back, size) == text or name == "nfp"


@pytest.mark.parametrize("bins", [224, 336])
def test_a_pixel_on_the_edge_of_a_bin_falls_into_the_bin_that_begins_there(bins: int) -> None:
    coder = codec("ivb", bins=bins, frame="image")
    for step in range(bins):
        size = (bins * 3, bins * 7)
        first, second = coder.encode((step * 3, step * 7), size).strip("[]").split(", ")
        assert (int(first), int(second)) == (step, step)


def test_the_far_edges_belong_to_the_last_bin() -> None:
    coder = codec("ivb", bins=224, frame="image")
    assert coder.encode((0, 0, 640, 480), (640, 480)) == "[0, 0, 223, 223]"
    assert coder.encode((-5, -5, 999, 999), (640, 480)) == "[0, 0, 223, 223]"


def test_bins_never_run_backwards() -> None:
    coder = codec("ivb", bins=336)
    size, last = (517, 333), -1
    for cents in range(0, 51_701, 7):
        number = int(coder.encode((cents / 100, 0), size).strip("[]").split(",")[0])
        assert number >= last
        last = number


def test_diga_names_the_cell_of_the_centre_and_deviates_from_its_middle() -> None:
    coder = codec("diga", bins=224, grid=7, frame="image")
    assert coder.encode((112.5, 112.5), (224, 224)) == "[24: +0, +0]"
    assert coder.encode((100, 104, 130, 120), (224, 224)) == "[24: -12, -8, +18, +8]"
    assert coder.encode((1, 223), (224, 224)) == "[42: -15, +15]"


@settings(max_examples=200, deadline=None)
@given(size=SIZES, data=st.data())
def test_frames_are_inverse_and_agree_with_the_padding_of_pictures(
    size: tuple[int, int], data: st.DataObject
) -> None:
    box = data.draw(boxes(size))
    for kind in FRAMES:
        _, _, width, height = Frame(kind).window(size)
        if kind != "image":
            assert width == height == (max(size) if kind == "square" else min(size))
        if not Frame(kind).holds(box, size):
            assert kind == "crop"
            continue
        coder = codec("nfp", frame=kind)
        back = coder.decode(coder.encode(box, size), size)
        assert max(abs(a - b) for a, b in zip(box, back, strict=True)) <= max(width, height) * 1e-4


@pytest.mark.parametrize("size", [(60, 20), (20, 60), (33, 20), (20, 33), (41, 41)])
def test_a_dot_is_found_where_the_codec_says_after_padding(size: tuple[int, int]) -> None:
    """CLIP's PIL processor pads as the frame `square` assumes: the dot is where it was told."""
    from PIL import Image
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    picture = Image.new("RGB", size, (0, 0, 0))
    dot = (size[0] - 3, size[1] - 2)
    picture.putpixel(dot, (255, 255, 255))
    side = max(size)
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side},
        do_normalize=False, do_rescale=False, image_mean=[0, 0, 0],
    )  # fmt: skip
    pixels = processor(picture, return_tensors="np")["pixel_values"][0][0]
    row, column = divmod(int(pixels.argmax()), side)
    coder = codec("ivb", bins=side, frame="square")
    assert coder.encode((dot[0] + 0.5, dot[1] + 0.5), size) == f"[{column}, {row}]"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("ivb", "nowhere", "no location"),
        ("ivb", "[1, 2, 3]", "wrong arity"),
        ("ivb", "[1, 2, 3, 4, 5]", "wrong arity"),
        ("ivb", "[1, 224]", "out of range"),
        ("ivb", "[9, 9, 3, 12]", "corners swapped"),
        ("ivb", "[0.5, 0.25]", "wrong form"),
        ("ivb", "[3: 1, 2]", "wrong form"),
        ("ivb", f"[1, {'9' * 5000}]", "out of range"),
        ("nfp", "[0.5, 1.5]", "out of range"),
        ("nfp", "[2: 0.5, 0.5]", "wrong form"),
        ("diga", "[5, 6]", "wrong form"),
        ("diga", "[99: +1, +1]", "out of range"),
        ("diga", "[0: -99, +1]", "out of range"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        codec(name).decode(text, (640, 480))
    assert caught.value.reason == reason


def test_both_brackets_any_spacing_and_the_first_location_are_read() -> None:
    coder = codec("ivb", frame="image")
    told = ("[10,20]", "( 10 , 20 )", "at (10, 20) or [30, 40]", "[10,\t20]")
    assert {coder.decode(text, (224, 224)) for text in told} == {(10.5, 20.5)}
    with pytest.raises(Unreadable, match="arity"):
        coder.decode("[10, 20]", (224, 224), numbers=4)


def test_no_text_breaks_the_parser() -> None:
    draw = Random(0)
    letters = [
        *"[]()0123456789,.:;+- \n\x00eé\U0001f600٣",
        "[7, 9, ",
        "12, 3]",
        "0.5, ",
        "(3: +1, ",
    ]
    coders = [codec("nfp"), codec("ivb"), codec("diga", bins=336, grid=14)]
    reasons = set()
    for _ in range(100_000):
        text = "".join(draw.choices(letters, k=draw.randint(0, 24)))
        try:
            found = draw.choice(coders).decode(text, (640, 427))
        except Unreadable as error:
            reasons.add(error.reason)
        else:
            assert len(found) in (2, 4) and all(map(math.isfinite, found))
    assert reasons == set(REASONS)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("ivbb", {}, "ivb"),
        ("ivb", {"frame": "imagee"}, "image"),
        ("ivb", {"bins": 0}, "bin"),
        ("diga", {"grid": 9}, "224"),
        ("nfp", {"brackets": "<>"}, "brackets"),
    ],
)
def test_wrong_settings_are_named(name: str, options: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        codec(name, **options)


@pytest.mark.parametrize("location", [(1.0,), (1.0, 2.0, 3.0), (5.0, 1.0, 2.0, 3.0)])
def test_what_is_no_location_is_not_written(location: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        codec("ivb").encode(location, (10, 10))


def test_overlap_of_boxes() -> None:
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (1, 1, 2, 2)) == iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
