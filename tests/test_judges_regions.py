"""Drawing regions: colours, order, widths, what stays untouched, what is refused."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from small_data import picture

from harness.errors import DataError, UsageError
from judges.regions import drawn, lskd_colours

GREY = (100, 100, 100)


def flat(size=(60, 40), mode="RGB", colour=GREY) -> bytes:
    out = BytesIO()
    Image.new(mode, size, colour).save(out, "PNG")
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def blended(fill: str, below=GREY) -> tuple[int, ...]:
    """Source-over of an RRGGBBAA colour on an opaque one, to the nearest whole number."""
    *rgb, alpha = bytes.fromhex(fill)
    return tuple(
        round((c * alpha + b * (255 - alpha)) / 255) for c, b in zip(rgb, below, strict=True)
    )


def near(found, expected):
    """PIL rounds the blend in fixed point: one step either way."""
    return all(abs(f - e) <= 1 for f, e in zip(found, expected, strict=True))


LSKD = [
    ("ff05cd20", "05ff37"),
    ("ff800020", "99ccff"),
    ("862d2d20", "cc99ff"),
    ("ff800020", "f5ad42"),
    ("862d2d20", "f55d42"),
    ("67666620", "676666"),  # the sixth on: (103, 102, 102) from the hash formula
]


@pytest.mark.parametrize(("slot", "fill", "edge"), [(i, *c) for i, c in enumerate(LSKD)])
def test_lskd_palette_by_position(slot, fill, edge):
    away = (50, 30, 58, 38)
    boxes = [away] * slot + [(10, 10, 30, 30)]
    picture = opened(drawn(flat(), boxes, "lskd"))
    assert picture.mode == "RGB" and picture.size == (60, 40) and picture.format == "PNG"
    assert near(picture.getpixel((20, 20)), blended(fill))
    for inside_edge in ((10, 20), (11, 20), (30, 20), (29, 20), (20, 10), (20, 29)):
        assert picture.getpixel(inside_edge) == tuple(bytes.fromhex(edge))
    assert near(picture.getpixel((12, 20)), blended(fill))  # two pixels wide and no more
    assert picture.getpixel((9, 20)) == picture.getpixel((31, 20)) == GREY


def test_slots_choose_the_colour():
    picture = opened(drawn(flat(), [(10, 10, 30, 30)], "lskd", slots=[2]))
    assert near(picture.getpixel((20, 20)), blended("862d2d20"))
    assert lskd_colours(15)[1] == (105, 102, 102, 255)
    with pytest.raises(DataError, match="1 boxes and 2 slots"):
        drawn(flat(), [(1, 1, 2, 2)], "lskd", slots=[0, 1])


def test_lskd_blends_where_boxes_overlap_and_sherlock_replaces():
    boxes = [(0, 0, 40, 39), (10, 10, 50, 39)]
    lskd = opened(drawn(flat(), boxes, "lskd")).getpixel((20, 20))
    assert near(lskd, blended("ff800020", blended("ff05cd20")))
    sherlock = opened(drawn(flat(), boxes, "sherlock"))
    assert near(sherlock.getpixel((20, 20)), blended("ff05cd3c"))
    assert near(sherlock.getpixel((5, 5)), blended("ff05cd3c"))


def test_sherlock_style():
    picture = opened(drawn(flat(), [(10, 10, 30, 30)], "sherlock"))
    for edge in (10, 11, 12, 28, 29, 30):
        assert picture.getpixel((edge, 20)) == (0x05, 0xFF, 0x37)
    assert near(picture.getpixel((13, 20)), blended("ff05cd3c"))
    assert picture.getpixel((9, 20)) == GREY and picture.mode == "RGB"


@pytest.mark.parametrize("style", ["lskd", "sherlock"])
def test_without_boxes_the_pixels_are_untouched(style):
    before = picture(3)
    after = drawn(before, [], style)
    assert opened(after).tobytes() == opened(before).convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_any_mode_becomes_rgb(mode):
    out = BytesIO()
    Image.new("RGB", (60, 40), GREY).convert(mode).save(out, "TIFF")
    found = opened(drawn(out.getvalue(), [(10, 10, 30, 30)], "lskd"))
    assert found.mode == "RGB" and found.getpixel((10, 20)) == (0x05, 0xFF, 0x37)


BOXES = st.lists(
    st.tuples(*[st.floats(-50, 120)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    ),
    max_size=7,
)


@settings(max_examples=30, deadline=None)
@given(BOXES, st.sampled_from(["lskd", "sherlock"]))
def test_pixels_outside_every_box_never_change(boxes, style):
    before, after = opened(flat()), opened(drawn(flat(), boxes, style))
    for x in range(0, 60, 7):
        for y in range(0, 40, 7):
            out = all(
                x < left - 1 or x > right + 1 or y < top - 1 or y > bottom + 1
                for left, top, right, bottom in boxes
            )
            if out:
                assert before.getpixel((x, y)) == after.getpixel((x, y))


def whole_overlay(data, boxes, style):
    """The official way: an overlay of the whole picture, per box (LSKD) or for all (Sherlock)."""
    image = opened(data).convert("RGBA" if style == "sherlock" else "RGB")
    colours = [lskd_colours(i) for i in range(len(boxes))]
    batches = [[(b, c, 2)] for b, c in zip(boxes, colours, strict=True)]
    if style == "sherlock":
        batches = [[(b, ((255, 5, 205, 60), (5, 255, 55, 255)), 3) for b in boxes]]
    for batch in batches:
        overlay = Image.new("RGBA", image.size, "#00000000")
        pen = ImageDraw.Draw(overlay, "RGBA")
        for (left, top, right, bottom), (fill, edge), width in batch:
            pen.rectangle([(left, top), (right, bottom)], fill=fill, outline=edge, width=width)
        image = Image.alpha_composite(image.convert("RGBA"), overlay)
        image = image if style == "sherlock" else image.convert("RGB")
    return image.convert("RGB")


@settings(max_examples=150, deadline=None)
@given(BOXES, st.sampled_from(["lskd", "sherlock"]), st.booleans())
def test_drawing_a_part_gives_the_pixels_of_drawing_the_whole(boxes, style, alpha):
    data = flat(mode="RGBA", colour=(90, 120, 30, 128)) if alpha else picture(1)
    assert (
        opened(drawn(data, boxes, style)).tobytes() == whole_overlay(data, boxes, style).tobytes()
    )


def test_what_is_refused():
    with pytest.raises(DataError, match="ends before it begins"):
        drawn(flat(), [(30, 10, 10, 30)], "lskd")
    with pytest.raises(DataError, match="ends before it begins"):
        drawn(flat(), [(float("nan"), 1, 2, 3)], "lskd")
    with pytest.raises(DataError, match="no picture"):
        drawn(b"not a picture", [], "lskd")
    with pytest.raises(DataError, match="no picture"):
        drawn(flat()[:60], [], "lskd")
    with pytest.raises(UsageError, match="did you mean sherlock"):
        drawn(flat(), [], "sherlok")
