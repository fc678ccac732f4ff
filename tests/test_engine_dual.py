"""CLIP, SigLIP and SigLIP 2 as models: the scores of transformers, each image and text once."""

import random
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil
from tiny_encoders import TEXTS, make_clip, make_siglip, make_siglip2, make_siglip_1, picture

from harness.engine.dual import DualEncoder
from harness.engine.images import Recent
from harness.engine.load import Settings
from harness.errors import DataError, MissingExtra, RunStopped, UsageError
from harness.types import Answer, Decoding, Failure, Image, Sample

MAKERS = {"clip": make_clip, "siglip": make_siglip, "siglip2": make_siglip2}
CPU = Settings(device="cpu", dtype="float32", batch=3)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


def ask(model: Any, samples: list[Sample], how: str = "rank") -> list[Answer | Failure]:
    """Return the replies in the order of the samples, each position exactly once."""
    replies = list(model.answer(samples, how, Decoding()))
    assert sorted(position for position, _ in replies) == list(range(len(samples)))
    return [reply for _, reply in sorted(replies, key=lambda reply: reply[0])]


def sample(image: Image, choices: tuple[str, ...] = TEXTS, *text: str) -> Sample:
    return Sample(id="s", prompt=(image, *text), choices=choices)


def directly(path: Path, data: bytes, texts: list[str]) -> list[float]:
    """Score as the model's documentation says: processor, forward pass, logits_per_image."""
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(path), AutoProcessor.from_pretrained(path)
    padding: dict[str, Any] = {"padding": True}
    if "siglip" in model.config.model_type:
        padding = {"padding": "max_length", "max_length": 16}
    inputs = processor(
        images=[Pil.open(BytesIO(data)).convert("RGB")],
        text=texts,
        truncation=True,
        return_tensors="pt",
        **padding,
    )
    with torch.no_grad():
        scores: list[float] = model.eval()(**inputs).logits_per_image[0].tolist()
    return scores


def scores(reply: Answer | Failure) -> tuple[float, ...]:
    assert isinstance(reply, Answer), reply
    return reply.scores


def test_scores_are_those_of_transformers(checkpoint: Path) -> None:
    pictures = [picture(i, 40 + 9 * i, 61 - 5 * i, "JPEG" if i % 2 else "PNG") for i in range(7)]
    model = DualEncoder(str(checkpoint), CPU)
    samples = [
        sample(Image(str(i), data), TEXTS[i % 3 :], *(["a photo of"] if i == 4 else []))
        for i, data in enumerate(pictures)
    ]
    replies = ask(model, samples)
    for i, (asked, reply) in enumerate(zip(samples, replies, strict=True)):
        texts = [f"a photo of {c}" if i == 4 else c for c in asked.choices]
        expected = directly(checkpoint, pictures[i], texts)
        assert scores(reply) == pytest.approx(expected, abs=1e-5, rel=1e-5)
        assert isinstance(reply, Answer) and reply.choice == expected.index(max(expected))


def test_the_ranking_depends_on_the_picture(checkpoint: Path) -> None:
    model = DualEncoder(str(checkpoint), CPU)
    replies = ask(model, [sample(Image(str(i), picture(i))) for i in range(12)])
    orders = {tuple(sorted(range(6), key=scores(reply).__getitem__)) for reply in replies}
    assert len(orders) > 2


def test_each_image_and_text_is_encoded_once(clip: Path) -> None:
    model = DualEncoder(str(clip), CPU)
    seen = {"images": 0, "texts": 0}
    model.towers().model.vision_model.register_forward_pre_hook(
        lambda _, __, inputs: seen.update(images=seen["images"] + len(inputs["pixel_values"])),
        with_kwargs=True,
    )
    model.towers().model.text_model.register_forward_pre_hook(
        lambda _, __, inputs: seen.update(texts=seen["texts"] + len(inputs["input_ids"])),
        with_kwargs=True,
    )
    # Four pictures in turn, ten times; the last round under other names.
    names = [f"{i % 4}" if i < 36 else f"copy of {i % 4}" for i in range(40)]
    samples = [sample(Image(name, picture(i % 4))) for i, name in enumerate(names)]
    first = ask(model, samples)
    assert seen == {"images": 4, "texts": 6}
    assert ask(model, samples) == first
    assert seen == {"images": 4, "texts": 6}


def test_blank_prompt_text_is_left_out(clip: Path) -> None:
    model = DualEncoder(str(clip), CPU)
    image = Image("x", picture(1))
    prompt = ("a photo", image, " of the ", "\n", "")
    parts, whole, bare = ask(
        model,
        [
            Sample("a", prompt, choices=("cat", "dog")),
            sample(image, ("a photo of the cat", "a photo of the dog")),
            Sample("c", (image, " \n"), choices=("cat", "dog")),
        ],
    )
    assert scores(parts) == scores(whole)
    assert scores(bare) == scores(ask(model, [sample(image, ("cat", "dog"))])[0])
    assert scores(bare) != scores(parts)


def test_long_texts_are_cut_and_counted(checkpoint: Path) -> None:
    model = DualEncoder(str(checkpoint), CPU)
    long = "a photo of the cat on the mat " * 4
    image = Image("x", picture(2))
    replies = ask(model, [sample(image, ("yes", long)), sample(image, (long, "two dogs"))])
    assert scores(replies[0]) == pytest.approx(
        directly(checkpoint, picture(2), ["yes", long]), abs=1e-5, rel=1e-5
    )
    assert model.describe()["text"]["truncated"] == 1
    assert model.describe()["text"]["max_tokens"] == 16


def test_siglip_text_is_lower_cased_whatever_its_tokenizer_does(tmp_path: Path) -> None:
    path = make_siglip(tmp_path, lower=False)
    texts, capitals = ["a red cube", "two dogs"], ["A Red CUBE", "Two dogs"]
    # Without the rule, the published tokenizer kind would score other texts than in training.
    assert directly(path, picture(0), texts) != pytest.approx(
        directly(path, picture(0), capitals), abs=1e-3
    )
    (reply,) = ask(DualEncoder(str(path), CPU), [sample(Image("x", picture(0)), tuple(capitals))])
    assert scores(reply) == pytest.approx(directly(path, picture(0), texts), abs=1e-5, rel=1e-5)


def has_protobuf() -> bool:
    return find_spec("google") is not None and find_spec("google.protobuf") is not None


@pytest.mark.skipif(not has_protobuf(), reason="SigLIP's first tokenizer needs protobuf")
def test_siglip_1_with_its_own_tokenizer(tmp_path: Path) -> None:
    path = make_siglip_1(tmp_path)
    (reply,) = ask(DualEncoder(str(path), CPU), [sample(Image("x", picture(0)))])
    expected = directly(path, picture(0), list(TEXTS))
    assert scores(reply) == pytest.approx(expected, abs=1e-5, rel=1e-5)


@pytest.mark.skipif(has_protobuf(), reason="shows what happens without protobuf")
def test_siglip_1_says_which_package_its_tokenizer_needs(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match="pip install sentencepiece protobuf"):
        DualEncoder(str(make_siglip_1(tmp_path)), CPU).towers()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_costs_its_own_samples_only(clip: Path, tmp_path: Path, workers: int) -> None:
    good = Image("good", picture(0))
    bad = [
        Image("text", b"not a picture"),
        Image("empty", b""),
        Image("half", picture(1, kind="JPEG")[:400]),
        Image("cut", picture(1)[:80]),
        Image("gone", tmp_path / "gone.png"),
        Image("nowhere", None),
        Image("broken source", lambda: {}["no such row"]),
    ]
    model = DualEncoder(str(clip), Settings(device="cpu", batch=2, workers=workers))
    images = [image for one in bad for image in (one, good, one)]
    replies = ask(model, [sample(image) for image in images])
    alone = scores(ask(DualEncoder(str(clip), CPU), [sample(good)])[0])
    for image, reply in zip(images, replies, strict=True):
        if image is good:
            assert scores(reply) == pytest.approx(alone, abs=1e-5)
        else:
            assert isinstance(reply, Failure) and f"image {image.name}: " in reply.error
    assert isinstance(ask(model, [sample(bad[0])], "encode")[0], Failure)


def test_samples_that_cannot_be_ranked_say_why(clip: Path) -> None:
    image = Image("x", picture(0))
    two, none, mute, fine = ask(
        DualEncoder(str(clip), CPU),
        [
            Sample("a", (image, Image("y", picture(1))), choices=TEXTS),
            Sample("b", ("words",), choices=TEXTS),
            Sample("c", (image,)),
            sample(image),
        ],
    )
    assert isinstance(two, Failure) and "2 images" in two.error
    assert isinstance(none, Failure) and "0 images" in none.error
    assert isinstance(mute, Failure) and "no choices" in mute.error
    assert isinstance(fine, Answer)


def limited(limit: int) -> Any:
    """Return a hook that lets a module run on at most `limit` items, as a full device would."""

    def hook(_: Any, __: Any, inputs: dict[str, torch.Tensor]) -> None:
        if any(len(value) > limit for value in inputs.values() if torch.is_tensor(value)):
            raise torch.OutOfMemoryError("tried to allocate more than there is")

    return hook


def test_out_of_memory_halves_the_batch_and_goes_on(clip: Path) -> None:
    samples = [sample(Image(str(i), picture(i)), (*TEXTS, f"{i} cats")) for i in range(20)]
    roomy = ask(DualEncoder(str(clip), Settings(device="cpu", batch=16)), samples)
    model = DualEncoder(str(clip), Settings(device="cpu", batch=16))
    model.towers().model.vision_model.register_forward_pre_hook(limited(5), with_kwargs=True)
    model.towers().model.text_model.register_forward_pre_hook(limited(3), with_kwargs=True)
    for tight, wide in zip(ask(model, samples), roomy, strict=True):
        assert scores(tight) == pytest.approx(scores(wide), abs=1e-5)
    assert model.describe()["batch"] == {"images": 4, "texts": 2}
    assert model.describe()["out_of_memory"] == 5


def test_a_model_that_never_fits_ends_the_run(clip: Path) -> None:
    model = DualEncoder(str(clip), CPU)
    model.towers().model.vision_model.register_forward_pre_hook(limited(0), with_kwargs=True)
    with pytest.raises(RunStopped, match="batch of one"):
        ask(model, [sample(Image("x", picture(0)))])


def test_replies_do_not_depend_on_the_order(clip: Path) -> None:
    samples = [
        sample(Image(str(i % 5), picture(i % 5)), TEXTS[i % 4 :], *["is there"][: i % 2])
        for i in range(15)
    ]
    expected = [scores(reply) for reply in ask(DualEncoder(str(clip), CPU), samples)]
    for seed in range(3):
        order = random.Random(seed).sample(range(15), 15)
        replies = ask(DualEncoder(str(clip), CPU), [samples[i] for i in order])
        for i, reply in zip(order, replies, strict=True):
            assert scores(reply) == pytest.approx(expected[i], abs=1e-5)


def test_encode_returns_the_projected_features(checkpoint: Path) -> None:
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    image = Image("x", picture(3))
    replies = ask(
        DualEncoder(str(checkpoint), CPU),
        [
            Sample("a", (image, "what is it?")),
            Sample("b", ("two", "dogs")),
            Sample("c", (image, image)),
            Sample("d", ()),
        ],
        "encode",
    )
    with torch.no_grad():
        pixels = processor.image_processor(Pil.open(BytesIO(picture(3))), return_tensors="pt")
        of_image = model.get_image_features(**pixels).pooler_output[0]
        padding = "max_length" if "siglip" in model.config.model_type else False
        words = processor.tokenizer(
            ["two dogs"], padding=padding, max_length=16, truncation=True, return_tensors="pt"
        )
        of_text = model.get_text_features(**words).pooler_output[0]
    for reply, expected in zip(replies, (of_image, of_text), strict=False):
        assert isinstance(reply, Answer)
        assert reply.features == pytest.approx(expected.tolist(), abs=1e-5)
    assert float(of_image.norm()) != pytest.approx(1.0, abs=1e-3)
    assert isinstance(replies[2], Failure) and isinstance(replies[3], Failure)


def test_it_cannot_write_text(clip: Path) -> None:
    with pytest.raises(UsageError, match="cannot write text"):
        DualEncoder(str(clip), CPU).answer([sample(Image("x", b""))], "generate", Decoding())


def test_other_models_are_refused(tmp_path: Path, clip: Path) -> None:
    from transformers import CLIPModel

    tower = copytree(clip, tmp_path / "tower")
    CLIPModel.from_pretrained(clip).vision_model.save_pretrained(tower)
    with pytest.raises(UsageError, match=r"not a dual encoder.* no get_image_features"):
        DualEncoder(str(tower), CPU).towers()
    model = DualEncoder(str(clip), CPU)
    model.towers().bias = 1.0  # as if the model scored in another way
    with pytest.raises(UsageError, match="cannot score"):
        model.towers().check()


def test_a_checkpoint_without_all_weights_is_refused(clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    part = copytree(clip, tmp_path / "part")
    weights = load_file(part / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lacks 1 weights of a CLIPModel \(text_projection"):
        DualEncoder(str(part), CPU).towers()
    with pytest.raises(DataError, match="cannot load"):
        DualEncoder(str(tmp_path / "nowhere"), CPU).towers()


# peft asks transformers by a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_changes_the_scores(clip: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    adapted = get_peft_model(
        AutoModel.from_pretrained(clip), LoraConfig(target_modules=["visual_projection"])
    )
    for name, parameter in adapted.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path)
    data = picture(0)
    model = DualEncoder(str(clip), Settings(device="cpu", adapter=str(tmp_path)))
    (reply,) = ask(model, [sample(Image("x", data))])
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    for file in clip.iterdir():
        if not (tmp_path / "merged" / file.name).exists():
            copyfile(file, tmp_path / "merged" / file.name)
    expected = directly(tmp_path / "merged", data, list(TEXTS))
    assert scores(reply) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(directly(clip, data, list(TEXTS)), abs=1e-2)


def test_scores_that_are_no_numbers_become_failures(clip: Path) -> None:
    model = DualEncoder(str(clip), CPU)
    torch.nn.init.constant_(model.towers().model.visual_projection.weight, float("nan"))
    for how in ("rank", "encode"):
        (reply,) = ask(model, [sample(Image("x", picture(0)))], how)
        assert isinstance(reply, Failure) and "finite" in reply.error


def test_half_precision_is_near_and_recorded(clip: Path) -> None:
    samples = [sample(Image(str(i), picture(i))) for i in range(4)]
    model = DualEncoder(str(clip), Settings(device="cpu", dtype="bfloat16"))
    exact = ask(DualEncoder(str(clip), CPU), samples)
    for half, full in zip(ask(model, samples), exact, strict=True):
        assert scores(half) == pytest.approx(scores(full), abs=0.4)
    described = model.describe()
    assert described["dtype"] == "bfloat16"
    assert described["image_processor"].endswith("Pil")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=60), st.integers(1, 5))
def test_recent_keeps_what_was_used_last(steps: list[tuple[int, bool]], room: int) -> None:
    kept: Recent[int] = Recent(limit=8 * room)
    used: list[int] = []
    for key, put in steps:
        if put:
            kept.put(key, torch.full((2,), float(key)))
        found = kept.get(key)
        assert (found is not None) == (put or key in used[-room:])
        if found is not None:
            assert found.tolist() == [key, key]
            used = [*(k for k in used if k != key), key][-room:]
        assert {k for k in range(7) if k in kept} == set(used)
