"""REACT's parts: reading pairs, changing pictures, weights of open_clip and of the release."""

import json
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from react_data import COLOURS, PAIRS, inputs, logits, make_world, write_tar
from transformers import CLIPConfig, CLIPModel

from harness.errors import DataError, UsageError
from trainers.contrastive import augment, export, importer, pool
from trainers.engine.gated import customise

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("react"))


# ---- Pairs ----


def test_every_form_gives_the_same_pairs(world, tmp_path):
    (tmp_path / "img").mkdir()
    rows = []
    for key, caption, picture, colour in PAIRS:
        (tmp_path / "img" / f"{key}.png").write_bytes(picture)
        rows.append({"id": key, "image": f"{key}.png", "caption": caption, "classes": [colour]})
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    inner = [{**row, "image": {"bytes": pair[2], "path": None}}
             for row, pair in zip(rows, PAIRS, strict=True)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(inner), tmp_path / "d.parquet")
    found = [
        pool.read(world / "tars", None, bad_cap=0),
        pool.read(tmp_path / "d.jsonl", tmp_path / "img", bad_cap=0),
        pool.read(tmp_path / "d.parquet", None, bad_cap=0),
    ]
    wanted = [(caption, picture, (colour,)) for _, caption, picture, colour in PAIRS]
    for one in found:
        assert [(p.caption, p.read(), p.classes) for p in one.pairs] == wanted
        facts = one.describe()
        assert facts["pairs"] == 64 and facts["captions"] == 16
        assert facts["per_class"] == dict.fromkeys(sorted(COLOURS), 16)
    assert {one.kind for one in found} == {"tar", "jsonl", "parquet"}


def test_a_tar_that_is_cut_off_is_named(tmp_path):
    whole = write_tar(tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"0\.tar"):
        pool.read(tmp_path, None, check="none", bad_cap=0)
    found = pool.read(tmp_path, None, bad_cap=0.2)
    assert 20 < len(found.pairs) < 40 and sum(found.bad.values()) in (1, 2)
    assert all(pair.read() == PAIRS[int(pair.id[-4:])][2] for pair in found.pairs)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "a.png"}, "has no caption"),
        ({"image": "b.png", "caption": "x"}, "there is no b.png"),
        ({"image": "bad.png", "caption": "x"}, "cannot be opened"),
        ({"image": "../../etc/passwd", "caption": "x"}, "leads out of"),
        ({"caption": "x"}, "has no picture"),
        ({"id": "one", "image": "a.png", "caption": "x"}, "two pairs have the id 'one'"),
    ],
)
def test_bad_records_are_named(tmp_path, row, said):
    (tmp_path / "a.png").write_bytes(PAIRS[0][2])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good = {"id": "one", "image": "a.png", "caption": "good"}
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, (good, row))))
    with pytest.raises(DataError, match=said):
        pool.read(tmp_path / "d.jsonl", None, bad_cap=0)


def test_a_picture_broken_inside_is_found_by_decoding(tmp_path):
    (tmp_path / "a.png").write_bytes(PAIRS[0][2])
    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    (tmp_path / "b.jpg").write_bytes(file.getvalue()[:-2000])
    rows = [{"id": name, "image": name, "caption": "x"} for name in ("a.png", "b.jpg")]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len(pool.read(tmp_path, None).pairs) == 2
    with pytest.raises(DataError, match=r"b\.jpg: its picture cannot be opened"):
        pool.read(tmp_path, None, check="decode")


def test_data_without_pairs_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no \.tar, \.parquet or \.jsonl"):
        pool.read(tmp_path, None, bad_cap=0)
    (tmp_path / "d.jsonl").write_text(json.dumps({"url": "https://x", "caption": "x"}))
    with pytest.raises(UsageError, match="download them first"):
        pool.read(tmp_path, None, bad_cap=0)
    (tmp_path / "d.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="no JSON object"):
        pool.read(tmp_path, None, bad_cap=0)


# ---- Changes of pictures ----


def test_changes_follow_seed_epoch_and_id_alone():
    picture = Image.open(BytesIO(PAIRS[0][2])).convert("RGB")

    def changed(*key):
        return augment.changed(picture, 32, (0.5,) * 3, (0.25,) * 3, augment.generator(*key))

    first = changed(0, 1, "a")
    np.random.seed(5)
    torch.manual_seed(5)
    assert np.array_equal(first, changed(0, 1, "a"))
    assert first.shape == (3, 32, 32) and first.dtype == np.float32
    for other in ((1, 1, "a"), (0, 2, "a"), (0, 1, "b")):
        assert not np.array_equal(first, changed(*other))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(3, 200), height=st.integers(3, 200))
def test_a_crop_has_an_allowed_area_and_shape(seed, width, height):
    """Colours say where a pixel came from: red its column, green its row."""
    columns = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    rows = np.tile(np.arange(height, dtype=np.uint8)[:, None], (1, width))
    picture = Image.fromarray(np.stack([columns, rows, rows], axis=2), "RGB")
    boxes = []
    resize = picture.resize
    picture.resize = lambda size, kind, box: (boxes.append(box), resize(size, kind, box))[1]
    shown = augment.crop(picture, 8, np.random.default_rng(seed))
    left, top, right, bottom = boxes[0]
    w, h = right - left, bottom - top
    assert shown.size == (8, 8) and left >= 0 and top >= 0 and right <= width and bottom <= height
    if min(w, h) > 15:
        assert 0.7 < w / h < 1.43 and w * h >= 0.07 * width * height
    values = np.asarray(shown)
    assert left - 2 <= values[..., 0].min() and values[..., 0].max() <= right + 2


@pytest.mark.parametrize("at", range(len(augment.OPERATIONS)))
@pytest.mark.parametrize("level", [0.0, 0.9, 1.0])
def test_each_change_keeps_size_and_kind(at, level):
    picture = Image.open(BytesIO(PAIRS[3][2])).convert("RGB")
    shown = augment.OPERATIONS[at](picture, level, np.random.default_rng(1), (1, 2, 3))
    assert shown.size == picture.size and shown.mode == "RGB"
    geometric = at == 3 or at > 10
    if level == 0 and geometric:
        assert np.array_equal(np.asarray(shown), np.asarray(picture))


def test_a_solarised_pixel_is_the_published_formula():
    row = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(1, 256).repeat(3, 0)).convert(
        "RGB"
    )
    solarize, add, posterize = (augment.OPERATIONS[i] for i in (5, 6, 4))
    values = np.arange(256)
    for made, wanted in (
        (solarize, np.where(values < 256 - int(0.9 * 256), values, 255 - values)),
        (add, np.where(values < 128, np.minimum(255, values + 99), values)),
        (posterize, values & 0b10000000),
    ):
        found = np.asarray(made(row, 0.9, np.random.default_rng(0), (0, 0, 0)))[0, :, 0]
        assert np.array_equal(found, wanted)


def test_erasing_changes_a_rectangle_in_a_quarter_of_pictures():
    erased = 0
    for seed in range(400):
        found = augment.erase(np.zeros((3, 20, 20), np.float32), np.random.default_rng(seed))
        rows, columns = np.nonzero(found[0])
        if len(rows):
            erased += 1
            h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert len(rows) == h * w and h * w <= 0.4 * 400
    assert 70 < erased < 130


# ---- Weights of others ----


OPEN_CLIP = {
    "visual.conv1.weight", "visual.class_embedding", "visual.positional_embedding", "visual.proj",
    "visual.ln_pre.weight", "visual.ln_post.bias", "token_embedding.weight", "logit_scale",
    "positional_embedding", "ln_final.weight", "text_projection",
    "visual.transformer.resblocks.0.ln_1.weight", "transformer.resblocks.1.ln_2.bias",
    "transformer.resblocks.0.attn.in_proj_weight", "transformer.resblocks.0.attn.in_proj_bias",
    "visual.transformer.resblocks.1.attn.out_proj.weight",
    "visual.transformer.resblocks.1.mlp.c_fc.weight", "transformer.resblocks.1.mlp.c_proj.bias",
}  # fmt: skip
"""Names in the files of open_clip, as its src/open_clip/transformer.py makes them."""


def as_open_clip(model):
    """Return the tensors of a customised CLIPModel under open_clip's names."""
    own, out = dict(model.state_dict()), {}
    plain = {new: old for old, new in importer._PLAIN.items()}
    for name, tensor in own.items():
        if name in plain:
            out[plain[name]] = tensor
        elif name == "visual_projection.weight":
            out["visual.proj"] = tensor.T
        elif name == "text_projection.weight":
            out["text_projection"] = tensor.T
    for name in own:
        if ".layers." not in name or (not name.endswith("q_proj.weight") and "q_proj" in name):
            continue
        head, _, tail = name.partition(".encoder.layers.")
        number, _, inner = tail.partition(".")
        place = f"{'visual.' if head == 'vision_model' else ''}transformer.resblocks.{number}."
        if inner.startswith("block."):
            place += "gated_attn_block."
        inner = inner.removeprefix("block.").removeprefix("layer.").removeprefix("base.")
        prefix = name[: -len(inner)]
        simple = {new: old for old, new in importer._INNER.items()}
        stem, _, kind = inner.rpartition(".")
        if inner == "attention_gate":
            out[place + "alpha_attn"] = own[name]
        elif inner == "mlp_gate":
            out[place + "alpha_dense"] = own[name]
        elif stem in simple:
            out[f"{place}{simple[stem]}.{kind}"] = own[name]
        elif inner == "self_attn.q_proj.weight":
            for kind in ("weight", "bias"):
                three = [own[f"{prefix}self_attn.{part}_proj.{kind}"] for part in "qkv"]
                out[f"{place}attn.in_proj_{kind}"] = torch.cat(three)
    return out


@pytest.mark.parametrize(
    ("mode", "last"), [("locked-text", 0), ("locked-text-gated-image", 1), ("gated-both", 2)]
)
def test_weights_of_open_clip_and_of_the_release_are_read(world, tmp_path, mode, last):
    torch.manual_seed(4)
    config = CLIPConfig.from_pretrained(world / "clip")
    config.vision_config.intermediate_size = 150  # more than 4 x width, as bigG's
    model = CLIPModel(config)
    loaded = export.load(str(world / "clip"))
    base = export.Loaded(model, loaded.image_processor, loaded.tokenizer)
    (tmp_path / "base").mkdir()
    export.save(base, tmp_path / "base", torch.float32, "locked-text", 1, True)
    model = customise(model, mode, max(last, 1))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
            if name.endswith("_gate"):
                weight.fill_(0.7)
    state = {f"module.{k}": v for k, v in as_open_clip(model).items()}
    assert {f"module.{name}" for name in OPEN_CLIP} <= set(state)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pt")
    said = importer.main([str(tmp_path / "w.pt"), "--base", str(tmp_path / "base"),
                          "--out", str(tmp_path / "out")])  # fmt: skip
    assert said == 0
    plain = CLIPModel.from_pretrained(tmp_path / "out")
    assert len(plain.vision_model.encoder.layers) == 2 + last
    batch = inputs(world)
    assert (logits(plain, batch) - logits(model, batch)).abs().max() < 2e-4
    assert (tmp_path / "out/unfolded.safetensors").is_file() == bool(last)


def test_weights_that_do_not_fit_are_named(world, tmp_path, capsys):
    state = as_open_clip(customise(CLIPModel.from_pretrained(world / "clip"), "full", 1))
    words = ["--base", str(world / "clip"), "--out", str(tmp_path / "out")]

    def told(changes, without=()):
        kept = {k: v for k, v in state.items() if k not in without}
        torch.save(kept | changes, tmp_path / "w.pt")
        assert importer.main([str(tmp_path / "w.pt"), *words]) == 3
        return capsys.readouterr().err

    assert "visual.extra" in told({"visual.extra": torch.ones(1)})
    assert "logit_scale is missing" in told({}, ["logit_scale"])
    assert "visual_projection.weight is (2, 3)" in told({"visual.proj": torch.ones(3, 2)})
    block = "visual.transformer.resblocks.0.gated_attn_block.alpha_attn"
    assert "not the last" in told({block: torch.zeros(())})
    (tmp_path / "w.pt").write_bytes(b"no weights")
    assert importer.main([str(tmp_path / "w.pt"), *words]) == 3
    assert "no file of tensors" in capsys.readouterr().err
