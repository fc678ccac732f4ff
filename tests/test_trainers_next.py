"""LLaVA-NeXT's canvases and packing, LLaVA-1.5-HD's geometry, and what their training changes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest
import small_llava
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import write_pope

from harness.api import load
from harness.errors import DataError, UsageError
from trainers import anyres, llava_hd, llava_next
from trainers.builders import llava as builder
from trainers.engine import groups, loop, records
from trainers.engine import llava_hd as hd

TILE, PATCH = 28, 7
SIDE = TILE // PATCH
GOLDEN = [  # (height, width), released canvas, the dissertation's canvas, tokens
    ((336, 336), (336, 672), (336, 672), 1_176),
    ((480, 640), (672, 672), (672, 672), 2_340),
    ((672, 672), (672, 672), (672, 672), 2_928),
    ((336, 1344), (336, 1008), (336, 1344), 1_890),
    ((1344, 336), (1008, 336), (1344, 336), 1_944),
    ((100, 900), (336, 1008), (336, 1008), 1_160),
    ((900, 100), (1008, 336), (1008, 336), 1_224),
    ((2000, 3000), (672, 672), (672, 672), 2_144),
    ((1000, 700), (672, 672), (672, 672), 2_256),
]


def picture(seed: int, size: tuple[int, int]):
    """Return a picture of `size` (width, height)."""
    from PIL import Image

    return Image.open(BytesIO(tiny_models.picture(seed, size)))


# ---- Canvases ----


def by_hand(size: tuple[int, int], canvases: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The rule as it is told: most effective pixels, least waste, first listed."""
    height, width = size

    def worth(canvas):
        scale = min(canvas[0] / height, canvas[1] / width)
        effective = min(int(width * scale) * int(height * scale), width * height)
        return effective, effective - canvas[0] * canvas[1]

    return max(canvases, key=worth)


@pytest.mark.parametrize(("size", "released", "dissertation", "_"), GOLDEN)
def test_canvases(size, released, dissertation, _):
    assert anyres.canvas(size) == released
    assert anyres.canvas(size, anyres.DISSERTATION) == dissertation


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_choice_is_the_rule_and_turns_with_the_picture(height, width):
    for canvases in (anyres.RELEASED, anyres.DISSERTATION):
        chosen = anyres.canvas((height, width), canvases)
        assert chosen == by_hand((height, width), canvases)
        turned = [(wide, high) for high, wide in canvases]
        assert anyres.canvas((width, height), turned) == chosen[::-1]


@given(st.integers(700, 2000), st.integers(700, 2000), st.integers(2, 4))
def test_a_larger_copy_gets_the_same_canvas_when_both_must_shrink(height, width, times):
    first = anyres.canvas((height, width))
    second = anyres.canvas((times * height, times * width))
    if first != second:  # only whole pixels can tip the scales
        worth = [min(c[0] / height, c[1] / width) ** 2 * height * width for c in (first, second)]
        assert worth[0] == pytest.approx(worth[1], rel=5e-3)


def test_the_dissertations_list_changes_a_quarter_of_the_choices():
    lot = Random(0)
    sizes = [(lot.randint(50, 2000), lot.randint(50, 2000)) for _ in range(2_000)]
    other = sum(anyres.canvas(s) != anyres.canvas(s, anyres.DISSERTATION) for s in sizes)
    assert 0.2 < other / len(sizes) < 0.36


def test_unknown_grids_list_the_known_ones():
    with pytest.raises(UsageError, match="did you mean released"):
        llava_next.make(grid="relesed")


# ---- Tokens ----


@pytest.fixture(scope="module")
def full_size():
    """A NeXT processor at the published sizes, around a small tokenizer."""
    _, small = small_llava.model("llava_next")
    images = small.image_processor
    images.size = {"shortest_edge": 336}
    images.crop_size = {"height": 336, "width": 336}
    images.image_grid_pinpoints = [list(canvas) for canvas in anyres.RELEASED]
    small.patch_size = 14
    return small


@pytest.mark.parametrize(("size", "_", "__", "tokens"), GOLDEN)
def test_token_counts(full_size, size, _, __, tokens):
    assert anyres.tile_tokens(size) == tokens
    counted = full_size._get_num_multimodal_tokens(image_sizes=[list(size)])
    assert counted["num_image_tokens"] == [tokens]


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000))
def test_our_count_is_the_processors(full_size, height, width):
    counted = full_size._get_num_multimodal_tokens(image_sizes=[[height, width]])
    assert counted["num_image_tokens"] == [anyres.tile_tokens((height, width))]


@pytest.mark.parametrize("kind", ["llava_next", "llava_hd"])
def test_the_processors_count_is_the_models_for_a_thousand_sizes(kind):
    import torch

    model, processor = small_llava.model(kind)
    config, lot = model.config, Random(0)
    for _ in range(1_000):
        size = (lot.randint(3, 300), lot.randint(3, 300))
        shown = (max(size),) * 2 if kind == "llava_hd" else size
        best = anyres.canvas(shown, [tuple(c) for c in config.image_grid_pinpoints])
        tiles = 1 + best[0] * best[1] // TILE**2
        features = [torch.zeros(tiles, SIDE**2, 4)]
        newline = None if kind == "llava_hd" else torch.zeros(4)
        packed, lengths = model.model.pack_image_features(
            features, [torch.tensor(shown)], "default", newline
        )
        counted = processor._get_num_multimodal_tokens(image_sizes=[list(size)])
        assert counted["num_image_tokens"] == lengths.tolist() == [len(packed[0])]


@pytest.mark.parametrize("kind", ["llava_next", "llava_hd"])
def test_real_pictures_of_many_shapes_go_through_the_model(kind):
    import torch

    model, processor = small_llava.model(kind)
    sizes = [(28, 28), (300, 20), (20, 300), (57, 55), (90, 60), (5, 5), (200, 199)]
    pictures = [picture(i, size) for i, size in enumerate(sizes)]
    text = ["<s><image>\nred"] * len(sizes)
    inputs = processor(images=pictures, text=text, padding=True, return_tensors="pt")
    with torch.no_grad():
        together = model(**inputs).logits[:, -1]
        for at, one in enumerate(pictures):
            alone = processor(images=[one], text=text[0], return_tensors="pt")
            assert torch.allclose(model(**alone).logits[0, -1], together[at], atol=1e-4)


# ---- Packing ----


def coded(high: int, wide: int, side: int):
    """Features of tiles whose value is the row and column of the whole map they come from."""
    import torch

    tiles = torch.empty(high * wide, side * side, 2)
    for row, column, y, x in product(range(high), range(wide), range(side), range(side)):
        place = torch.tensor([row * side + y, column * side + x], dtype=torch.float32)
        tiles[row * wide + column, y * side + x] = place
    return tiles


def test_next_packs_rows_in_raster_order_with_one_newline_each():
    import torch

    model, _ = small_llava.model("llava_next")
    newline = torch.tensor([-1.0, -1.0])
    base = torch.full((1, SIDE**2, 2), -2.0)
    for high, wide in ((2, 2), (1, 2), (2, 1), (3, 1), (1, 3)):
        features = torch.cat((base, coded(high, wide, SIDE)))
        shown = [torch.tensor([TILE * high, TILE * wide])]
        (packed,), _ = model.model.pack_image_features([features], shown, "default", newline)
        assert (packed[: SIDE**2] == -2).all()
        rows = packed[SIDE**2 :].reshape(high * SIDE, wide * SIDE + 1, 2)
        assert (rows[:, -1] == -1).all() and (packed == -1).all(dim=1).sum() == high * SIDE
        for y, x in product(range(high * SIDE), range(wide * SIDE)):
            assert rows[y, x].tolist() == [y, x]


def test_next_cuts_the_padding_away_and_keeps_the_middle():
    import torch

    model, _ = small_llava.model("llava_next")
    features = torch.cat((torch.zeros(1, SIDE**2, 2), coded(2, 2, SIDE)))
    wide = [torch.tensor([28, 56])]  # half of the square canvas is padding
    model.config.image_grid_pinpoints = [[56, 56]]
    (packed,), _ = model.model.pack_image_features(
        [features], wide, "default", torch.tensor([-1.0, -1.0])
    )
    rows = packed[SIDE**2 :].reshape(SIDE, 2 * SIDE + 1, 2)
    assert rows[:, 0, 0].tolist() == [2, 3, 4, 5]


def test_a_picture_without_tiles_is_the_base_view_and_one_newline():
    import torch

    model, _ = small_llava.model("llava_next")
    (packed,), lengths = model.model.pack_image_features(
        [torch.zeros(1, SIDE**2, 2)], [torch.tensor([5, 5])], "default", torch.tensor([1.0, 1.0])
    )
    assert lengths.tolist() == [SIDE**2 + 1] and packed.sum(dim=1).tolist() == [0.0] * 16 + [2.0]


def test_the_newline_vector_has_the_size_of_an_embedding():
    model, _ = small_llava.model("llava_next", language="scratch:base")
    newline = model.model.image_newline
    assert newline.shape == (512,) and 0.8 < newline.norm().item() < 1.2


# ---- LLaVA-1.5-HD ----


@pytest.mark.parametrize(("high", "wide"), [(2, 2), (3, 3), (2, 3)])
def test_tiles_merge_in_raster_order(high, wide):
    merged = hd.merge_tiles(coded(high, wide, SIDE), high, wide, SIDE)
    order = list(product(range(high * SIDE), range(wide * SIDE)))
    assert [tuple(map(int, place)) for place in merged.tolist()] == order


def test_hd_puts_the_global_view_first_and_has_no_newline():
    import torch

    model, processor = small_llava.model("llava_hd")
    assert model.model.image_newline is None
    assert not [name for name in model.state_dict() if "newline" in name]
    base = torch.full((1, SIDE**2, 2), -2.0)
    features = torch.cat((base, coded(2, 2, SIDE)))
    (packed,), lengths = model.model.pack_image_features([features], None)
    assert lengths.tolist() == [5 * SIDE**2] and (packed[: SIDE**2] == -2).all()
    assert packed[SIDE**2 :].tolist() == hd.merge_tiles(features[1:], 2, 2, SIDE).tolist()
    alone, counts = small_llava.model("llava_hd", global_view=False)
    (packed,), _ = alone.model.pack_image_features([features], None)
    assert packed.tolist() == hd.merge_tiles(features[1:], 2, 2, SIDE).tolist()
    counted = counts._get_num_multimodal_tokens(image_sizes=[[9, 30]])
    assert counted["num_image_tokens"] == [4 * SIDE**2]
    assert processor.global_view and not counts.global_view


def test_tiling_with_a_patch_local_encoder_is_encoding_the_whole_picture():
    """Each patch is described by its own pixels, so tiles must show what the whole shows."""
    import torch

    _, processor = small_llava.model("llava_hd")
    images = processor.image_processor
    shown = picture(3, (50, 31))
    found = images(images=[shown], return_tensors="pt")["pixel_values"][0]
    assert found.shape == (5, 3, TILE, TILE)

    def patches(pixels):
        blocks = pixels.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)
        return blocks.permute(1, 2, 0, 3, 4).reshape(-1, 3 * PATCH * PATCH)

    tiles = torch.stack([patches(tile) for tile in found[1:]])
    merged = hd.merge_tiles(tiles, 2, 2, SIDE)
    whole = torch.cat(
        [torch.cat(list(row), dim=2) for row in found[1:].reshape(2, 2, 3, TILE, TILE)], dim=1
    )
    assert torch.equal(merged, patches(whole))
    # and the whole is the padded square at the canvas's size, as LLaVA-1.5 prepares a picture
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    side = 2 * TILE
    plain = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    expected = plain(images=[shown], return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(whole, expected, atol=1e-5)
    plain.size, plain.crop_size = {"shortest_edge": TILE}, {"height": TILE, "width": TILE}
    small = plain(images=[shown], return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(found[0], small, atol=1e-5)


def test_published_token_counts_of_hd():
    assert llava_hd.tokens(448) == 1_280 and llava_hd.tokens(448, global_view=False) == 1_024
    with pytest.raises(UsageError, match="multiple of 224"):
        llava_hd.make(resolution=500)


def test_padding_a_picture_is_centred_and_keeps_squares():
    image = np.arange(3 * 2 * 5, dtype=np.uint8).reshape(3, 2, 5)
    padded = hd.square(image, [9, 8, 7])
    assert padded.shape == (3, 5, 5) and (padded[:, 1:3] == image).all()
    assert padded[:, 0, 0].tolist() == padded[:, 4, 4].tolist() == [9, 8, 7]
    assert hd.square(padded, [0, 0, 0]) is padded


def test_an_hd_checkpoint_loads_without_this_package(tmp_path):
    """The file that defines it travels in the directory."""
    import torch

    model, processor = small_llava.model("llava_hd")
    folder = tmp_path / "hd"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    inputs = processor(images=[picture(1, (50, 31))], text="<image>\nred", return_tensors="pt")
    with torch.no_grad():
        np.save(tmp_path / "logits.npy", model(**inputs).logits.numpy())
    (tmp_path / "picture.png").write_bytes(tiny_models.picture(1, (50, 31)))
    code = (
        "import numpy as np, sys, torch\n"
        "from PIL import Image\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        "known = {'trust_remote_code': True}\n"
        "model = AutoModelForImageTextToText.from_pretrained('hd', **known).eval()\n"
        "processor = AutoProcessor.from_pretrained('hd', **known)\n"
        "shown = [Image.open('picture.png')]\n"
        "x = processor(images=shown, text='<image>\\nred', return_tensors='pt')\n"
        "with torch.no_grad(): found = model(**x).logits.numpy()\n"
        "assert np.array_equal(found, np.load('logits.npy'))\n"
        "assert not any(n == 'trainers' or n.startswith('trainers.') for n in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# ---- Recipes and training ----


@pytest.mark.parametrize(
    ("module", "variant"), [(m, v) for m in (llava_hd, llava_next) for v in ("", *m.VARIANTS)]
)
def test_every_recipe_is_complete(module, variant):
    recipe = module.make(variant)
    assert recipe.name == f"{module.__name__.rpartition('.')[2]}/{variant or 'stage2'}"
    assert recipe.sources and recipe.paper and records.mixture(recipe.mixture).slots
    if recipe.images.aspect == "anyres":
        assert recipe.unverified and recipe.max_length > 2_048


def test_recipes_carry_the_published_numbers():
    yi = llava_next.make("yi-34b")
    assert yi.a100_hours == 768 and yi.template == "chatml"
    assert {t.metric: t.value for t in yi.targets}["MMMU"] == 51.1
    assert llava_next.make("mistral-7b").template == "mistral"
    assert llava_next.make().images.grid == anyres.RELEASED
    assert llava_next.make(grid="dissertation").images.grid == anyres.DISSERTATION
    ablation = [
        {t.metric: t.value for t in llava_hd.make(v).targets} for v in ("tiles-only", "stage2-7b")
    ]
    assert [one["GQA"] for one in ablation] == [62.9, 63.8]
    assert [llava_hd.make(v).builder_options["global_view"] for v in ("tiles-only", "")] == [
        False,
        True,
    ]
    assert {t.metric: t.value for t in llava_hd.make().targets}["VQAv2"] == 81.8
    assert max(anyres.tile_tokens(size) for size in product((336, 672, 1008), repeat=2)) == 2_928


def built(recipe):
    grid = recipe.images.grid
    images = (
        small_llava.settings(grid=grid) if recipe.builder_options["kind"] != "llava_hd" else None
    )
    return small_llava.model(recipe.builder_options["kind"], images=images)


def carried_out(recipe, tmp_path: Path, **changes):
    rows, images = small_llava.write(tmp_path / "data", count=8, text_only=4)
    grid = (
        ((2 * TILE, 2 * TILE),) if "hd" in recipe.name else ((2 * TILE, 2 * TILE), (TILE, 2 * TILE))
    )
    small = small_llava.small(recipe, **{"images.grid": grid} | changes)
    return small, loop.train(small, built, rows, tmp_path / "run", images=images, quiet=True)


def changed(result):
    found = result.run["manifest"]
    assert found["undeclared_changes"] == [] and found["declared_unchanged"] == []
    return {name for name, one in found["tensors"].items() if one["before"] != one["after"]}


def test_next_trains_everything_that_gradients_reach_in_three_groups(tmp_path):
    recipe = llava_next.make(vision_layers=2)
    small, result = carried_out(recipe, tmp_path)
    model, _ = built(small)
    names = {name for name, _ in model.named_parameters()}
    unreached = set(builder.without_gradient(model))
    assert (
        all("layers.1." in n or "post_layernorm" in n for n in unreached) and len(unreached) == 18
    )
    assert changed(result) == names - unreached
    members = groups.declare(model, small)
    sets = {
        name: {member.name for member in members.values() if member.group == name}
        for name in ("vision", "connector", "language")
    }
    assert set().union(*sets.values()) == names - unreached
    assert sets["vision"] == {n for n in names - unreached if "vision_tower" in n}
    assert {n for n in sets["connector"] if "projector" not in n} == {"model.image_newline"}
    assert {m.lr for m in members.values() if m.group == "vision"} == {2e-6}


def test_a_tower_declared_whole_is_refused(tmp_path):
    recipe = llava_next.make(vision_layers=2).changed({"frozen": ()})
    with pytest.raises(DataError, match="no gradient reaches them"):
        carried_out(recipe, tmp_path)


def test_hd_trains_connector_and_language_model_and_overfits(tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    recipe, result = carried_out(
        llava_hd.make("stage2-7b"), tmp_path, lr=5e-3, epochs=20, save_dtype="float32"
    )
    losses = [line["loss"] for line in result.log if "loss" in line]
    assert losses[-1] < losses[0] / 2
    model, _ = built(recipe)
    wanted = {n for n in model.state_dict() if "vision_tower" not in n}
    assert changed(result) == wanted
    again = AutoModelForImageTextToText.from_pretrained(result.model)
    processor = AutoProcessor.from_pretrained(result.model)
    assert type(again).__name__ == "LlavaHDForConditionalGeneration"
    inputs = processor(images=[picture(1, (50, 31))], text="<image>\nred", return_tensors="pt")
    with torch.no_grad():
        first = again.eval()(**inputs).logits
        again.save_pretrained(tmp_path / "copy")
        copy = AutoModelForImageTextToText.from_pretrained(tmp_path / "copy").eval()
        assert torch.equal(copy(**inputs).logits, first)


def test_next_overfits_and_its_export_loads_as_transformers_own_class(tmp_path):
    import torch
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

    _, result = carried_out(
        llava_next.make(vision_layers=2), tmp_path, lr=5e-3, epochs=20, save_dtype="float32",
        groups=(),
    )  # fmt: skip
    losses = [line["loss"] for line in result.log if "loss" in line]
    assert losses[-1] < losses[0] / 2
    model, info = LlavaNextForConditionalGeneration.from_pretrained(
        result.model, output_loading_info=True
    )
    assert not any(info.values())
    processor = LlavaNextProcessor.from_pretrained(result.model)
    grid = [[2 * TILE, 2 * TILE], [TILE, 2 * TILE]]
    assert (
        processor.image_processor.image_grid_pinpoints == model.config.image_grid_pinpoints == grid
    )
    inputs = processor(images=[picture(1, (90, 31))], text="<image>\nred", return_tensors="pt")
    with torch.no_grad():
        first = model.eval()(**inputs).logits
        model.save_pretrained(tmp_path / "copy")
        copy = LlavaNextForConditionalGeneration.from_pretrained(tmp_path / "copy").eval()
        assert torch.equal(copy(**inputs).logits, first)


def test_the_newline_variant_is_a_class_that_transformers_has(tmp_path):
    from transformers import LlavaNextForConditionalGeneration

    recipe = llava_hd.make("newline")
    assert recipe.builder_options["kind"] == "llava_next"
    _, result = carried_out(recipe, tmp_path)
    model = LlavaNextForConditionalGeneration.from_pretrained(result.model)
    assert "model.image_newline" in changed(result)
    assert model.config.image_grid_pinpoints == [[2 * TILE, 2 * TILE]]


@pytest.mark.parametrize("kind", ["llava_next", "llava_hd"])
def test_the_harness_scores_what_was_built(kind, tmp_path):
    model, processor = small_llava.model(kind)
    model.save_pretrained(tmp_path / "m")
    processor.save_pretrained(tmp_path / "m")
    write_pope(tmp_path / "pope", images=1)
    command = ["run", "-m", "transformers:m", "-t", "pope", "-d", "pope", "--out", "run"]
    trust = ["-o", "trust_remote_code=true"] if kind == "llava_hd" else []
    done = subprocess.run(
        [sys.executable, "-m", "harness", *command, *trust],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1",
             "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = load(tmp_path / "run").counts
    assert counts["total"] == 18 and not counts["failed"]


def test_canvases_that_are_not_whole_tiles_are_refused():
    with pytest.raises(UsageError, match="not made of whole tiles of 28 x 28"):
        small_llava.model("llava_next", images=small_llava.settings(grid=((28, 50),)))
