"""What the engine does when something goes wrong: memory, masks, architectures, bad samples."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from harness.errors import RunStopped
from harness.models.transformers import make
from harness.types import Answer, Decoding, Failure, Image, Sample

DECODING = Decoding(max_tokens=5)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a tiny LLaVA."""
    torch.set_num_threads(1)
    return tiny_models.make_llava(tmp_path_factory.mktemp("llava"))


def asked(pictures: int = 3, questions: int = 6, choices: tuple[str, ...] = ()) -> list[Sample]:
    images = [Image(f"{i}.png", tiny_models.picture(i)) for i in range(pictures)]
    return [
        Sample(f"{image.name}-{i}", (image, f"Is there a number {i * i} in it?"), choices=choices)
        for image in images
        for i in range(questions)
    ]


def wrap(model: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """Let `change` see and alter the arguments of every forward pass; return the network."""
    network = model._loaded()[0].lm.model
    original = network.forward

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        change(kwargs)
        return original(*args, **kwargs)

    network.forward = forward
    return network


def texts(model: Any, samples: list[Sample], ask: str = "generate") -> list[Any]:
    replies = list(model.answer(samples, ask, DECODING))
    assert sorted(at for at, _ in replies) == list(range(len(samples)))
    replies.sort(key=lambda reply: reply[0])
    return [
        (reply.text, tuple(round(score, 2) for score in reply.scores))
        if isinstance(reply, Answer)
        else reply
        for _, reply in replies
    ]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("engine", ["packed", "batched"])
@pytest.mark.parametrize("ask", ["generate", "rank"])
def test_out_of_memory_makes_batches_smaller(
    llava: Path, engine: str, ask: str, error: type[Exception]
) -> None:
    samples = asked(choices=("Yes", "No", "Perhaps not"))
    expected = texts(make(str(llava), engine=engine), samples, ask)
    model = make(str(llava), engine=engine, workers=0)
    sizes: list[int] = []

    def limited(kwargs: dict[str, Any]) -> None:
        size = kwargs["input_ids"].numel()
        if size > 150:
            raise error("CUDA out of memory. Tried to allocate 2 GiB")
        sizes.append(size)

    wrap(model, limited)
    assert texts(model, samples, ask) == expected
    facts = model.describe()["engine"]
    assert facts["out_of_memory"] >= 1
    assert facts["batch_tokens"] < 4096
    assert facts["ways"] == {"images": engine} and facts["fallbacks"] == []
    assert max(sizes) > 60  # it stopped halving when parts fitted


def test_a_request_that_never_fits_fails_alone(llava: Path) -> None:
    samples = asked(2, 2)
    samples.insert(1, Sample("long", (samples[0].prompt[0], "and a dog " * 60)))
    model = make(str(llava))

    def limited(kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > 120:
            raise torch.OutOfMemoryError("CUDA out of memory")

    wrap(model, limited)
    got = texts(model, samples)
    assert isinstance(got[1], Failure) and "out of memory" in got[1].error
    del got[1], samples[1]
    assert got == texts(make(str(llava)), samples)


def test_a_model_that_ignores_the_mask_is_not_packed(llava: Path) -> None:
    samples = asked()
    model = make(str(llava))

    def ignore(kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.ndim == 4:
            kwargs["attention_mask"] = None

    wrap(model, ignore)
    assert texts(model, samples) == texts(make(str(llava), engine="single"), samples)
    facts = model.describe()["engine"]
    assert facts["ways"] == {"images": "batched"}
    assert facts["parity"]["images"]["passed"] is False
    assert "differ from one by one" in facts["fallbacks"][0]


def test_a_model_that_ignores_positions_is_not_packed(llava: Path) -> None:
    samples = asked()
    model = make(str(llava))
    wrap(model, lambda kwargs: kwargs.pop("position_ids", None))
    assert texts(model, samples) == texts(make(str(llava), engine="single"), samples)
    assert model.describe()["engine"]["ways"] == {"images": "batched"}


def test_packed_on_demand_refuses_where_it_would_be_wrong(llava: Path) -> None:
    model = make(str(llava), engine="packed")
    wrap(model, lambda kwargs: kwargs.pop("position_ids", None))
    with pytest.raises(RunStopped, match="engine=auto"):
        texts(model, asked())


def test_a_model_that_takes_neither_mask_nor_batch_goes_one_by_one(llava: Path) -> None:
    samples = asked()
    model = make(str(llava))

    def alone(kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if kwargs["input_ids"].shape[0] > 1 or (mask is not None and mask.ndim == 4):
            raise NotImplementedError("this network reads one plain sequence")

    wrap(model, alone)
    assert texts(model, samples) == texts(make(str(llava), engine="single"), samples)
    notes = model.describe()["engine"]["fallbacks"]
    assert len(notes) == 2 and all("one plain sequence" in note for note in notes)


def test_attention_without_a_tree_mask_is_batched(llava: Path) -> None:
    samples = asked()
    model: Any = make(str(llava))
    model._loaded()[0].attention = "flash_attention_2"
    assert texts(model, samples) == texts(make(str(llava)), samples)
    assert "takes no tree mask" in model.describe()["engine"]["fallbacks"][0]


def test_eager_attention_is_packed_with_the_same_answers(llava: Path) -> None:
    samples = asked()
    model = make(str(llava), attention="eager")
    assert texts(model, samples) == texts(make(str(llava)), samples)
    assert model.describe()["engine"]["ways"] == {"images": "packed"}
    assert model.describe()["attention"] == "eager"


def test_a_narrow_attention_window_is_never_packed_across(tmp_path: Path) -> None:
    """A tree mask knows no window, so requests longer than the window are asked plainly."""
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = tiny_models.make_tokenizer(template=tiny_models.TEMPLATE)
    network = MistralForCausalLM(
        MistralConfig(vocab_size=len(tokenizer), sliding_window=40, **tiny_models.TEXT_SIZES)
    )
    tiny_models.scale(network, 0)
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    samples = [Sample(str(i), ("Is there a dog? " * (i % 7) + f"And {i}?",)) for i in range(12)]
    model = make(str(tmp_path))
    assert texts(model, samples) == texts(make(str(tmp_path), engine="single"), samples)
    assert model.describe()["engine"]["ways"] == {"text": "packed"}
    assert any("too long" in note for note in model.describe()["engine"]["fallbacks"])


def test_a_keyboard_interrupt_passes_through(llava: Path) -> None:
    model = make(str(llava))

    def interrupt(kwargs: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    wrap(model, interrupt)
    with pytest.raises(KeyboardInterrupt):
        texts(model, asked(1, 1))


def test_a_lost_device_ends_the_run(llava: Path) -> None:
    """After such an error every request would fail; a run that stops can be resumed."""
    model = make(str(llava))

    def lost(kwargs: dict[str, Any]) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    wrap(model, lost)
    with pytest.raises(RuntimeError, match="device-side"):
        texts(model, asked(1, 1))


def test_replies_come_before_all_images_are_encoded(llava: Path) -> None:
    """A run that is killed keeps what was answered, so answers must not wait for the last image."""
    samples = [
        Sample(str(i), (Image(f"{i}.png", tiny_models.picture(i)), "Is it red?")) for i in range(60)
    ]
    model: Any = make(str(llava), batch_tokens=200, workers=1)
    replies = model.answer(samples, "generate", DECODING)
    first = next(iter(replies))
    assert isinstance(first[1], Answer)
    encoded: list[int] = []
    model._loaded()[0].lm.model.model.vision_tower.register_forward_pre_hook(
        lambda _, args: encoded.append(len(args[0]))
    )
    assert len(list(replies)) == 59
    assert sum(encoded) > 30
