"""BLIP-2 as a model: the scores of its own forward pass, with one vision pass per image."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pil
from tiny_encoders import TEXTS, make_blip2, picture

from harness.engine.blip2 import ImageTextMatcher
from harness.engine.load import Settings
from harness.errors import RunStopped, UsageError
from harness.types import Answer, Ask, Decoding, Failure, Image, Sample

CPU = Settings(device="cpu", dtype="float32", batch=4)


@pytest.fixture(scope="module", params=[True, False], ids=["image token", "no image token"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blip2(tmp_path_factory.mktemp("blip2"), image_token=request.param)


@pytest.fixture(scope="module")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_blip2(tmp_path_factory.mktemp("blip2"))


def ask(model: Any, samples: list[Sample], how: Ask = "rank") -> list[Answer | Failure]:
    """Return the replies in the order of the samples, each position exactly once."""
    replies = list(model.answer(samples, how, Decoding()))
    assert sorted(position for position, _ in replies) == list(range(len(samples)))
    return [reply for _, reply in sorted(replies, key=lambda reply: reply[0])]


def sample(i: int, choices: tuple[str, ...] = TEXTS, *text: str) -> Sample:
    return Sample(id=str(i), prompt=(Image(str(i), picture(i)), *text), choices=choices)


def directly(path: Path, data: bytes, texts: list[str], itm: bool) -> list[float]:
    """Score one text at a time with the processor and the model's own forward pass."""
    from transformers import Blip2ForImageTextRetrieval, Blip2Processor

    model = Blip2ForImageTextRetrieval.from_pretrained(path).eval()
    processor = Blip2Processor.from_pretrained(path)
    image = Pil.open(BytesIO(data)).convert("RGB")
    found = []
    for text in texts:
        inputs = processor(images=image, text=text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs, use_image_text_matching_head=itm).logits_per_image
        found.append(float(logits.softmax(dim=1)[0, 1] if itm else logits[0, 0]))
    return found


def scores(reply: Answer | Failure) -> tuple[float, ...]:
    assert isinstance(reply, Answer), reply
    return reply.scores


@pytest.mark.parametrize("itm", [True, False])
def test_scores_are_those_of_the_forward_pass(checkpoint: Path, itm: bool) -> None:
    samples = [sample(i, TEXTS[i % 3 :], *(["is there"] if i == 4 else [])) for i in range(6)]
    model = ImageTextMatcher(str(checkpoint), CPU, use_itm=itm)
    for i, reply in enumerate(ask(model, samples)):
        texts = [f"is there {c}" if i == 4 else c for c in samples[i].choices]
        expected = directly(checkpoint, picture(i), texts, itm)
        assert scores(reply) == pytest.approx(expected, abs=1e-5)
        assert isinstance(reply, Answer) and reply.choice == expected.index(max(expected))
    assert model.describe()["score"] == ("itm" if itm else "itc")


@pytest.mark.parametrize("itm", [True, False])
def test_the_scores_depend_on_the_picture_and_the_text(blip2: Path, itm: bool) -> None:
    model = ImageTextMatcher(str(blip2), CPU, use_itm=itm)
    replies = ask(model, [sample(i) for i in range(12)])
    orders = {tuple(sorted(range(6), key=scores(reply).__getitem__)) for reply in replies}
    assert len(orders) > 2


def test_the_vision_tower_sees_each_image_once(blip2: Path) -> None:
    model = ImageTextMatcher(str(blip2), CPU)
    seen: list[int] = []
    model.matcher().model.vision_model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(len(inputs["pixel_values"])), with_kwargs=True
    )
    samples = [sample(i % 3) for i in range(12)]
    replies = ask(model, samples)
    assert sum(seen) == 3
    for i, reply in enumerate(replies):
        assert scores(reply) == pytest.approx(scores(replies[i % 3]), abs=1e-5)


def test_a_bad_picture_costs_its_own_samples_only(blip2: Path) -> None:
    bad = Sample("bad", (Image("torn", picture(0)[:90]),), choices=TEXTS)
    two = Sample("two", (Image("a", picture(0)), Image("b", picture(1))), choices=TEXTS)
    for itm in (True, False):
        model = ImageTextMatcher(str(blip2), CPU, use_itm=itm)
        replies = ask(model, [sample(0), bad, sample(1), two, bad])
        assert isinstance(replies[1], Failure) and "image torn" in replies[1].error
        assert isinstance(replies[4], Failure)
        assert isinstance(replies[3], Failure) and "2 images" in replies[3].error
        assert scores(replies[2]) == pytest.approx(scores(ask(model, [sample(1)])[0]), abs=1e-5)


def test_out_of_memory_halves_the_batch_and_goes_on(blip2: Path) -> None:
    def full(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        if len(inputs["query_embeds"]) > room:
            raise torch.OutOfMemoryError("tried to allocate more than there is")

    samples = [sample(i) for i in range(3)]
    roomy = ask(ImageTextMatcher(str(blip2), CPU), samples)
    model = ImageTextMatcher(str(blip2), Settings(device="cpu", batch=16))
    model.matcher().model.qformer.register_forward_pre_hook(full, with_kwargs=True)
    room = 5
    for tight, wide in zip(ask(model, samples), roomy, strict=True):
        assert scores(tight) == pytest.approx(scores(wide), abs=1e-5)
    assert model.describe()["out_of_memory"] == 2
    assert model.describe()["batch"]["pairs"] == 4
    room = 0
    with pytest.raises(RunStopped, match="batch of one"):
        ask(model, samples)


def test_encode_returns_contrastive_features(blip2: Path) -> None:
    from transformers import Blip2ForImageTextRetrieval, Blip2Processor

    model = Blip2ForImageTextRetrieval.from_pretrained(blip2).eval()
    inputs = Blip2Processor.from_pretrained(blip2)(
        images=Pil.open(BytesIO(picture(2))), text="two dogs running", return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(**inputs, use_image_text_matching_head=False)
    image, text, none = ask(
        ImageTextMatcher(str(blip2), CPU),
        [sample(2), Sample("t", ("two dogs", "running")), Sample("n", ())],
        "encode",
    )
    assert isinstance(image, Answer) and isinstance(text, Answer)
    assert image.features == pytest.approx(expected.image_embeds[0].mean(0).tolist(), abs=1e-5)
    assert text.features == pytest.approx(expected.text_embeds[0].tolist(), abs=1e-5)
    assert isinstance(none, Failure)


def test_long_texts_are_cut_and_counted(blip2: Path) -> None:
    model = ImageTextMatcher(str(blip2), CPU)
    long = "a photo of the cat on the mat " * 4
    (reply,) = ask(model, [sample(0, (long, long + "yes", "yes"))])
    # What differs lies behind the limit.
    assert scores(reply)[0] == pytest.approx(scores(reply)[1], abs=1e-6)
    assert model.describe()["text"]["truncated"] == 2


def test_half_precision_is_near(blip2: Path) -> None:
    samples = [sample(i) for i in range(3)]
    for itm in (True, False):
        model = ImageTextMatcher(str(blip2), Settings(device="cpu", dtype="bfloat16"), use_itm=itm)
        exact = ask(ImageTextMatcher(str(blip2), CPU, use_itm=itm), samples)
        for half, full in zip(ask(model, samples), exact, strict=True):
            assert scores(half) == pytest.approx(scores(full), abs=0.1)


def test_it_cannot_write_text(blip2: Path) -> None:
    with pytest.raises(UsageError, match="cannot write text"):
        ImageTextMatcher(str(blip2), CPU).answer([sample(0)], "generate", Decoding())
