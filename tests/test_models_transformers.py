"""`transformers:` models answer as transformers itself does."""

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from PIL import Image as Pictures
from transformers_reference import FAMILIES, QUESTIONS, Reference, answers, images, samples

from harness.errors import UsageError
from harness.models.transformers import make
from harness.types import Answer, Decoding, Failure, Image, Sample


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the directory of a family's tiny checkpoint."""
    torch.set_num_threads(1)

    @cache
    def made(family: str) -> Path:
        return Path(getattr(tiny_models, f"make_{family}")(tmp_path_factory.mktemp(family)))

    return made


@pytest.mark.parametrize("engine", ["packed", "batched", "single"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_transformers(place: Any, family: str, engine: str) -> None:
    reference = Reference(place(family), family)
    eos = [2, *range(100, 150)]  # many end tokens, so that answers differ in length
    model: Any = make(str(place(family)), engine=engine)
    model._loaded()[0].lm.eos = frozenset(eos)
    asked = samples(images())
    got = answers(model.answer(asked, "generate", Decoding(max_tokens=12)))
    expected = [reference.text(sample, 12, eos) for sample in asked]
    assert [a.text for a in got] == expected
    assert len(set(expected)) > len(asked) / 2
    assert {a.stop for a in got} == {"end", "length"}
    assert all(a.tokens_out == 12 for a in got if a.stop == "length")
    assert len({a.tokens_out for a in got}) > 2
    assert [a.tokens_in for a in got] == [
        reference.inputs(sample)["input_ids"].shape[1] for sample in asked
    ]
    assert all(a.seconds > 0 for a in got)
    assert model.describe()["engine"]["ways"] == {"images": engine}


@pytest.mark.parametrize("engine", ["packed", "batched", "single"])
@pytest.mark.parametrize("family", FAMILIES)
def test_ranking_sums_or_averages_log_probabilities(place: Any, family: str, engine: str) -> None:
    reference = Reference(place(family), family)
    choices = ("Yes", "No, there is not.", "A")
    asked = samples(images(2), choices)
    model = make(str(place(family)), engine=engine)
    expected = [[reference.logprobs(s, " " + c) for c in choices] for s in asked]
    got = answers(model.answer(asked, "rank", Decoding()))
    for answer, each in zip(got, expected, strict=True):
        sums = [sum(values) for values in each]
        assert answer.scores == pytest.approx(sums, abs=1e-3)
        assert answer.choice == max(range(3), key=sums.__getitem__)
    means = answers(model.answer(asked, "rank", Decoding(rank_by="mean")))
    for answer, each in zip(means, expected, strict=True):
        assert answer.scores == pytest.approx([sum(v) / len(v) for v in each], abs=1e-3)
    assert model.describe()["preprocessing"]["choice_joiner"] == " "


def test_equal_choices_go_to_the_first(place: Any) -> None:
    asked = [Sample("a", (images(1)[0], "Which?"), choices=("No", "Yes", "Yes", "No"))]
    (answer,) = answers(make(str(place("llava"))).answer(asked, "rank", Decoding()))
    assert answer.scores[0] == answer.scores[3] and answer.scores[1] == answer.scores[2]
    assert answer.choice in (0, 1)


def test_several_images_and_none_in_one_call(place: Any) -> None:
    reference = Reference(place("llava"), "llava")
    one, two, three = images()
    asked = [
        Sample("both", (one, "left, right", two, "Which is red?")),
        Sample("swapped", (two, "left, right", one, "Which is red?")),
        Sample("none", ("Is it red?",)),
        Sample("after", ("Look: ", three, "Is it red?")),
        Sample("before", (three, "Is it red?")),
        Sample("last", ("Is it red?", one)),
    ]
    model = make(str(place("llava")))
    got = answers(model.answer(asked, "generate", Decoding(max_tokens=5)))
    assert [a.text for a in got] == [reference.text(sample, 5, [2]) for sample in asked]
    assert model.describe()["engine"]["ways"] == {"images": "packed", "text": "packed"}


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_order_and_batching_change_nothing(place: Any, temperature: float) -> None:
    asked = samples(images())
    decoding = Decoding(max_tokens=6, temperature=temperature, seed=3)

    def told(order: list[Sample], **options: Any) -> dict[str, str]:
        got = answers(make(str(place("llava")), **options).answer(order, "generate", decoding))
        return {sample.id: answer.text for sample, answer in zip(order, got, strict=True)}

    whole = told(asked, engine="packed")
    assert told(asked[::-1], engine="packed", workers=0) == whole
    assert told(asked, engine="packed", batch_tokens=100) == whole
    assert told(asked[5:6], engine="packed") == {asked[5].id: whole[asked[5].id]}
    assert told(asked, engine="batched", workers=3) == whole
    assert told(asked, engine="single") == whole


def test_sampling_uses_seed_and_temperature(place: Any) -> None:
    model = make(str(place("llava")))

    def told(**options: Any) -> list[str]:
        decoding = Decoding(max_tokens=6, **options)
        return [a.text for a in answers(model.answer(samples(images(1)), "generate", decoding))]

    assert told(temperature=1.0, seed=1) == told(temperature=1.0, seed=1)
    assert told(temperature=1.0, seed=1) != told(temperature=1.0, seed=2)
    assert told(temperature=1e-4, seed=1) == told()


@pytest.mark.parametrize("engine", ["packed", "batched", "single"])
def test_stop_strings_end_an_answer(place: Any, engine: str) -> None:
    asked = samples(images(2))
    model = make(str(place("llava")), engine=engine)
    plain = answers(model.answer(asked, "generate", Decoding(max_tokens=10)))
    stop = next(a.text[2] for a in plain if len(a.text) > 4 and a.text[2].isascii())
    got = answers(model.answer(asked, "generate", Decoding(max_tokens=10, stop=(stop,))))
    for before, after in zip(plain, got, strict=True):
        assert after.text == before.text.partition(stop)[0].strip()
        assert after.stop == ("end" if stop in before.text else before.stop)
        assert after.tokens_out <= before.tokens_out
    assert any(
        after.tokens_out < before.tokens_out for before, after in zip(plain, got, strict=True)
    )


def damaged() -> dict[str, bytes]:
    out = BytesIO()
    Pictures.open(BytesIO(tiny_models.picture(1, (200, 200)))).convert("RGB").save(out, "JPEG")
    whole = out.getvalue()
    return {"short.jpg": whole[: len(whole) // 2], "text.jpg": b"no picture", "empty.jpg": b""}


@pytest.mark.parametrize("name", ["short.jpg", "text.jpg", "empty.jpg", "gone.jpg"])
def test_an_unreadable_image_fails_its_samples_only(place: Any, tmp_path: Path, name: str) -> None:
    bad = Image(name, damaged().get(name, tmp_path / "gone.jpg"))
    asked = samples([images(1)[0], bad])
    got = answers(make(str(place("llava"))).answer(asked, "generate", Decoding(max_tokens=3)))
    for sample, reply in zip(asked, got, strict=True):
        if sample.prompt[0] == bad:
            assert isinstance(reply, Failure) and name in reply.error
        else:
            assert isinstance(reply, Answer) and reply.tokens_out == 3


def test_one_bad_sample_leaves_its_neighbours_alone(place: Any) -> None:
    image = images(1)[0]
    asked = [Sample("a", (image, "Is it red?")), Sample("b", (image, "What is <image> here?"))]
    good, bad = answers(make(str(place("llava"))).answer(asked, "generate", Decoding()))
    assert isinstance(good, Answer)
    assert isinstance(bad, Failure) and "0.png" in bad.error
    asked = [Sample("a", (image, "?"), choices=("x",)), Sample("b", (image, "?"))]
    good, bad = answers(make(str(place("llava"))).answer(asked, "rank", Decoding()))
    assert isinstance(good, Answer)
    assert isinstance(bad, Failure) and "no choices" in bad.error


def test_images_are_read_once_per_group(place: Any) -> None:
    reads: list[int] = []
    data = tiny_models.picture(1)
    image = Image("a.png", lambda: reads.append(1) or data)
    asked = [Sample(str(i), (image, f"Is there a {i}?")) for i in range(20)]
    list(make(str(place("llava"))).answer(asked, "generate", Decoding(max_tokens=2)))
    assert len(reads) == 2  # to tell whether pictures are the same, and to decode


def test_the_same_picture_from_different_readers_is_one_group(place: Any) -> None:
    data = tiny_models.picture(1)
    asked = [Sample(str(i), (Image("a.png", lambda: data), f"Is it {i}?")) for i in range(6)]
    model: Any = make(str(place("llava")))
    network = model._loaded()[0].lm.model
    shapes: list[int] = []
    network.model.vision_tower.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(len(args[0])), with_kwargs=True
    )
    list(model.answer(asked, "rank", Decoding()))
    shapes.clear()
    list(model.answer(asked, "generate", Decoding(max_tokens=1)))
    shapes.clear()  # parity has been checked
    list(model.answer(asked, "generate", Decoding(max_tokens=3)))
    assert shapes == [1]


def test_a_text_only_model_answers_text_and_refuses_images(place: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place("llama"))
    network = AutoModelForCausalLM.from_pretrained(place("llama")).eval()
    asked = [Sample(q, (q,)) for q in QUESTIONS] + [Sample("x", (images(1)[0], "Is it red?"))]
    model = make(str(place("llama")))
    *got, refused = answers(model.answer(asked, "generate", Decoding(max_tokens=6)))
    for question, answer in zip(QUESTIONS, got, strict=True):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        out = network.generate(**inputs, max_new_tokens=6, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1] :]
        assert answer.text == tokenizer.decode(new, skip_special_tokens=True).strip()
    assert isinstance(refused, Failure) and "blind:" in refused.error
    assert model.describe()["engine"]["ways"] == {"text": "packed"}


def test_without_a_template_prompts_are_plain_text(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    where = tiny_models.make_llama(tmp_path, template=None)
    tokenizer = AutoTokenizer.from_pretrained(where)
    model: Any = make(str(where))
    reader = model._loaded()[1]
    asked = Sample("a", ("Is there", " a dog?\nAnswer:"), choices=("Yes", "No"))
    paths = reader.group([(0, asked)], True).paths
    for path, choice in zip(paths, asked.choices, strict=True):
        joint = tuple(tokenizer("Is there a dog?\nAnswer: " + choice)["input_ids"])
        prompt = tokenizer("Is there a dog?\nAnswer:")["input_ids"]
        assert path.tokens == joint
        assert joint[: path.start] == tuple(prompt[: path.start])
    assert model.describe()["preprocessing"]["prompt"] == "plain"
    with pytest.raises(UsageError, match="chat template"):
        list(make(str(where), chat=True).answer([asked], "generate", Decoding()))
    with pytest.raises(UsageError, match="chat template"):
        list(make(str(where), system="Be brief.").answer([asked], "generate", Decoding()))


def test_a_merge_at_the_boundary_is_scored_whole(place: Any) -> None:
    """Where prompt and choice merge into other tokens, what differs from the prompt is scored."""
    model: Any = make(str(place("llava")), chat=False)
    reader = model._loaded()[1]
    image = images(1)[0]
    (path,) = reader.group(
        [(0, Sample("a", (image, " Is there a d"), choices=("og?",)))], True
    ).paths
    (prompt,) = reader.group([(0, Sample("a", (image, " Is there a d")))], False).paths
    assert path.start <= len(prompt.tokens)
    assert path.tokens[: path.start] == prompt.tokens[: path.start]
    assert reader.tokenizer.decode(path.tokens[path.start :]).endswith("og?")
