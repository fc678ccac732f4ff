"""LSKD's students that write: what moves, their loss, and what the harness hears."""

from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
import small_writers
import torch
from hypothesis import given
from hypothesis import strategies as st
from lskd_students_data import COLOURS, batch_of, made, make_world, recipe
from PIL import Image as Pictures

from harness.errors import UsageError
from harness.find import make_model
from harness.types import Answer, Decoding, Failure, Image, Sample
from trainers.engine.objective_loop import train
from trainers.localized import generative, items


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("students"))


# ---- Students that write ----


@pytest.fixture(scope="module", params=["t5", "llama"])
def writer(request: Any, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = request.param
    base = small_writers.make(tmp_path_factory.mktemp(kind) / "base", kind)
    out = tmp_path_factory.mktemp(kind) / "out"
    told = recipe(f"generative-{kind}", options={"image_size": 48, "augment": "lavis"})
    told = told.changed({"activation_checkpointing": True})
    result = train(told, base, world / "triples.jsonl", out, images=world / "images", quiet=True)
    objective = generative.make(told, base, world / "triples.jsonl", world / "images")
    return kind, result, objective


def test_of_a_writer_only_the_q_former_and_its_joints_move(writer: Any) -> None:
    _, result, _ = writer
    changes = result.run["manifest"]
    assert changes["undeclared_changes"] == []
    moved = {n for n, facts in changes["tensors"].items() if facts["before"] != facts["after"]}
    parts = {name.removeprefix("blip2.").split(".")[0] for name in moved}
    assert parts == {"qformer", "query_tokens", "language_projection", "vision_model"}
    norm = "blip2.vision_model.post_layernorm"
    assert {n for n in moved if "vision_model" in n} == {f"{norm}.weight", f"{norm}.bias"}


def test_a_writers_loss_is_the_models_own_after_the_export(writer: Any, world: Path) -> None:
    from transformers import Blip2ForConditionalGeneration

    _, result, objective = writer
    model = Blip2ForConditionalGeneration.from_pretrained(result.model).eval()
    assert model.config.vision_config.image_size == 48
    objective.model.blip2.load_state_dict(model.state_dict())
    objective.model.eval()
    batch = batch_of(objective, range(4))
    with torch.no_grad():
        total, _ = objective.loss(objective.model, batch)
        theirs = model(
            pixel_values=batch["pixels"], input_ids=batch["ids"],
            attention_mask=batch["mask"], labels=batch["labels"],
        ).loss  # fmt: skip
    assert float(total) == pytest.approx(float(theirs), rel=1e-5)


def test_a_writer_is_asked_with_the_tokens_that_it_was_trained_on(writer: Any) -> None:
    from transformers import Blip2Processor

    kind, result, objective = writer
    processor = Blip2Processor.from_pretrained(result.model)
    picture = Pictures.new("RGB", (64, 64))
    item = objective.read(2, 0)
    view = objective.reader.view(2, 0)
    said, _ = generative.parted(view, objective.split, objective.options)
    if kind == "llama":
        turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": said}]}]
        template = processor.tokenizer.apply_chat_template
        said = template(turn, tokenize=False, add_generation_prompt=True)
    asked = processor(images=picture, text=said, return_tensors="pt")["input_ids"][0].tolist()
    assert item["ids"][: len(asked)] == asked
    if kind == "llama":
        assert [x for x in item["labels"] if x >= 0] == item["ids"][len(asked) :]


def test_the_harness_hears_what_transformers_writes(writer: Any, world: Path) -> None:
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    kind, result, _ = writer
    said = [f"what is [0] ? answer: {colour}" for colour in COLOURS[:3]]
    images = [Image(f"{i}.png", world / "images" / f"{i % 2}.png") for i in range(3)]
    samples = [Sample(str(i), (images[i], said[i] + " it" * i)) for i in range(3)]
    replies = dict(
        make_model(f"transformers:{result.model}").answer(
            samples, "generate", Decoding(max_tokens=6)
        )
    )
    model = Blip2ForConditionalGeneration.from_pretrained(result.model).eval()
    processor = Blip2Processor.from_pretrained(result.model)
    for at, sample in enumerate(samples):
        text = str(sample.prompt[1])
        if kind == "llama":
            text = "###Human: <Img>" + "<image>" * 4 + f"</Img> {text} ###Assistant:"
        picture = Pictures.open(BytesIO(images[at].read())).convert("RGB")
        inputs = processor(images=picture, text=text, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0]
        new = tokens[inputs["input_ids"].shape[1] :] if kind == "llama" else tokens
        reply = replies[at]
        assert isinstance(reply, Answer)
        assert reply.text == processor.tokenizer.decode(new, skip_special_tokens=True)


def test_an_encoder_decoder_ranks_by_the_models_own_loss(writer: Any, world: Path) -> None:
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    kind, result, _ = writer
    if kind != "t5":
        return
    image = Image("1.png", world / "images" / "1.png")
    choices = ("a red square", "a yellow circle on the left", "no")
    sample = Sample("1", (image, "what is [0] ? answer:"), choices=choices)
    asked = make_model(f"transformers:{result.model}")
    none = Sample("2", (image, "what?"))
    replies = dict(asked.answer([sample, none], "rank", Decoding(rank_by="mean")))
    model = Blip2ForConditionalGeneration.from_pretrained(result.model).eval()
    processor = Blip2Processor.from_pretrained(result.model)
    picture = Pictures.open(BytesIO(image.read())).convert("RGB")
    inputs = processor(images=picture, text="what is [0] ? answer:", return_tensors="pt")
    wanted = []
    for choice in choices:
        labels = processor.tokenizer(choice, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            wanted.append(-float(model(**inputs, labels=labels).loss))
    reply = replies[0]
    assert isinstance(reply, Answer) and reply.scores == pytest.approx(wanted, abs=1e-5)
    assert isinstance(replies[1], Failure)
    with pytest.raises(UsageError, match="greedily"):
        asked.answer([sample], "generate", Decoding(temperature=0.7))
    with pytest.raises(UsageError, match="no features"):
        asked.answer([sample], "encode", Decoding())


@given(seed=st.integers(0, 1000), count=st.integers(1, 20))
def test_a_random_split_loses_no_word(seed: int, count: int) -> None:
    words = [f"w{i}" for i in range(count)]
    view = items.View(None, (), " ".join(words), Random(seed))  # type: ignore[arg-type]
    seen = items.Seen(prefix="question: ")
    said, written = generative.parted(view, "random", seen)
    assert said and written
    if count > 1:
        read = said.removeprefix("question: ").split()
        assert [*read, *written.split()] == words and 1 <= len(read) <= max(1, count // 2)


def test_an_answer_split_ends_with_the_question(world: Path, tmp_path: Path) -> None:
    objective = made(world, options={"regions": "mentioned", "rationale": 1.0, "image_size": 32,
                                     "augment": "none"})  # fmt: skip
    view = objective.reader.view(0, 0)
    said, written = generative.parted(view, "answer", objective.options)
    assert said == "question: what is [0] ? answer:"
    assert written == "a red square . rationale: it can be seen ."
