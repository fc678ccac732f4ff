"""Templates, masks, tokens: the target is the reply with its end; prompts are the harness's."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import make_llava, make_llava_next, picture
from train_data import write_pictures

from harness.engine.inputs import Reader
from harness.errors import DataError
from harness.types import Image, Sample
from trainers.engine import model, templates
from trainers.engine.images import configure
from trainers.engine.records import BadRecord, Record
from trainers.engine.samples import IGNORED, Encoder, lot
from trainers.recipe import ImageSettings, Recipe, Slot

torch.set_num_threads(1)
ENDS = {"plain": "\n", "v0": "\n###", "v1": "</s>", "mistral": "</s>", "chatml": "<|im_end|>"}
GAPS = {"plain": "", "v0": " ", "v1": " ", "mistral": " ", "chatml": ""}
SLOT = Slot.model_validate({"name": "s"})


@pytest.fixture(scope="module")
def processors(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_pictures(root / "img", 4)
    made = {"llava": make_llava(root / "llava"), "next": make_llava_next(root / "next")}
    return {kind: model.load(str(path))[1] for kind, path in made.items()}, root / "img"


def encoder(processors, template="v1", kind="llava", **changes):
    found, folder = processors
    recipe = Recipe.model_validate({"name": "r", "template": template}).changed(changes)
    configure(found[kind], recipe.images)
    templates.install(found[kind], recipe)
    return Encoder(recipe, found[kind], folder)


def record(*texts, images=(), id="a", system=""):
    roles = ("user", "assistant")
    return Record(id, tuple((roles[i % 2], text) for i, text in enumerate(texts)), images, system)


def spans(sample):
    """Return the runs of target tokens."""
    on = np.flatnonzero(sample.labels != IGNORED)
    return [
        sample.tokens[run].tolist() for run in np.split(on, np.flatnonzero(np.diff(on) > 1) + 1)
    ]


words = st.text(st.sampled_from("abcXYZ 09.,!?'\n-#:äß日"), min_size=1, max_size=30).filter(
    str.strip
)
many = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("template", ENDS)
@many
@given(st.lists(st.tuples(words, words), min_size=1, max_size=3), st.booleans())
def test_the_target_is_the_reply_and_what_ends_it(processors, template, rounds, pictured):
    maker = encoder(processors, template)
    texts = [text for pair in rounds for text in pair]
    images = ("0000.png",) if pictured else ()
    texts[0] = ("<image>\n" if pictured else "") + texts[0]
    sample = maker.encode(record(*texts, images=images), SLOT)
    decode = maker.tokenizer.decode
    said = [decode(run) for run in spans(sample)]
    wanted = [GAPS[template] + text.strip() + ENDS[template] for text in texts[1::2]]
    assert "".join(said) == "".join(wanted)
    assert template == "plain" or said == wanted
    assert (sample.tokens == maker.tokenizer.bos_token_id).sum() == 1
    assert sample.targets == (sample.labels != IGNORED).sum()


@pytest.mark.parametrize("kind", ["llava", "next"])
def test_tokens_and_mask_are_those_of_the_processor(processors, kind):
    from PIL import Image as Pictures

    maker = encoder(processors, "v1", kind)
    for i in range(4):
        name = f"{i:04d}.png"
        texts = ("<image>\nWhat is it?", "A dog.", "Sure?", "Yes, a dog.")
        sample = maker.encode(record(*texts, images=(name,), id=name), SLOT)
        turn = [{"type": "image", "image": Pictures.open(processors[1] / name).convert("RGB")},
                {"type": "text", "text": "What is it?"}]  # fmt: skip
        chat = [{"role": "user", "content": turn}]
        for j, text in enumerate(texts[1:]):
            role = ("assistant", "user")[j % 2]
            chat.append({"role": role, "content": [{"type": "text", "text": text}]})
        out = maker.processor.apply_chat_template(
            chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            return_tensors="pt",
        )  # fmt: skip
        assert out["input_ids"][0].tolist() == sample.tokens.tolist()
        assert (out["assistant_masks"][0].numpy() == (sample.labels != IGNORED)).all()
        ours = maker.pictures.pixels(name)
        assert torch.equal(ours["pixel_values"], out["pixel_values"])


@pytest.mark.parametrize("template", ["v0", "v1", "mistral", "chatml"])
def test_the_harness_asks_as_training_did(processors, template):
    maker = encoder(processors, template)
    sample = maker.encode(record("<image>\nWhat is it?", "A dog.", images=("0000.png",)), SLOT)
    reader = Reader(maker.processor, maker.image_token, "auto", None)
    image = Image("0000.png", picture(0, (40, 32)))
    (path,) = reader.group([(0, Sample("a", (image, "What is it?")))], False).paths
    start = int(np.flatnonzero(sample.labels != IGNORED)[0])
    assert list(path.tokens) == sample.tokens[:start].tolist()


def test_the_templates_to_the_letter(processors):
    def text(template, **options):
        maker = encoder(processors, template, **options)
        chat = maker._messages(record("<image>\nQ?", "A.", "R?", "B."), SLOT, 0)
        return templates.render(maker.template, chat, maker.tokenizer.special_tokens_map)

    rendered, found = text("v1")
    assert (
        rendered
        == f"<s>{templates.CURIOUS} USER: <image>\nQ? ASSISTANT: A.</s>USER: R? ASSISTANT: B.</s>"
    )
    assert [rendered[a:b] for a, b in found] == [" A.</s>", " B.</s>"]
    rendered, _ = text("v0", system="S.")
    assert rendered == (
        "<s>S.\n\n### Human: <image>\nQ?\n### Assistant: A.\n### Human: R?\n### Assistant: B.\n###"
    )
    assert text("v0", system="S.", header_loss=True)[0] == rendered
    rendered, found = text("v0", system="S.", header_loss=True)
    assert [rendered[a:b] for a, b in found] == [
        "###",
        "### Assistant: A.\n###",
        "### Assistant: B.\n###",
    ]
    assert text("plain")[0] == "<s><image>A.\nB.\n"
    assert text("v1", system="")[0].startswith("<s>USER: <image>")
    assert (
        text("mistral", system="Hi")[0]
        == "<s>[INST] Hi\n<image>\nQ? [/INST] A.</s>[INST] R? [/INST] B.</s>"
    )


def test_a_template_without_marks_is_refused(processors):
    with pytest.raises(DataError, match="does not mark what the assistant says"):
        found = processors[0]["llava"]
        found.chat_template = found.tokenizer.chat_template = "{{ messages[0].content }}"
        templates.install(found, Recipe.model_validate({"name": "r", "template": "checkpoint"}))


@pytest.mark.parametrize(("template", "end"), [("v1", "</s>"), ("v0", "###"), ("plain", "\n")])
def test_the_end_of_a_reply_ends_generation(processors, template, end):
    maker = encoder(processors, template)
    ids = model.end_tokens(maker.processor)
    last = maker.encode(record("Q", "A."), SLOT).tokens[-1]
    assert maker.tokenizer.decode([ids[-1]]) == end or last not in ids
    assert ids[0] == maker.tokenizer.eos_token_id


def test_long_samples_lose_text_and_never_a_part_of_a_picture(processors):
    texts = ("<image>\nWhat?", "It is " + "very " * 40 + "red.")
    whole = encoder(processors).encode(record(*texts, images=("0000.png",)), SLOT)
    assert not whole.cut
    for limit in range(8, len(whole.tokens)):
        maker = encoder(processors, max_length=limit)
        count = maker.pictures.tokens("0000.png")
        last = int(np.flatnonzero(whole.tokens == maker.image_token)[-1])
        try:
            sample = maker.encode(record(*texts, images=("0000.png",)), SLOT)
        except BadRecord as error:
            cut = limit <= last
            assert error.reason == (
                "image cut by max_length" if cut else "no target within max_length"
            )
            continue
        assert len(sample.tokens) == limit and sample.cut and sample.targets > 0
        assert (sample.tokens == maker.image_token).sum() == count


def test_where_the_picture_stands(processors):
    def at(position, text, epoch=0, id="a"):
        maker = encoder(processors, "v1", **{"images.position": position})
        sample = maker.encode(record(text, "A", images=("0000.png",), id=id), SLOT, epoch=epoch)
        return (
            maker.tokenizer.decode(sample.tokens)
            .replace("<image>" * 16, "<image>")
            .split("USER: ")[1]
        )

    assert at("first", "one <image>").startswith("<image>\none ASSISTANT")
    assert at("keep", "one <image>").startswith("one\n<image> ASSISTANT")
    assert at("keep", "one\n<image>\ntwo").startswith("one\n<image>\ntwo ASSISTANT")
    drawn = {(e, i): at("random", "<image>\none", e, i) for e in range(4) for i in "abcdefgh"}
    assert len({v[:5] for v in drawn.values()}) == 2
    assert drawn == {(e, i): at("random", "<image>\none", e, i) for e, i in drawn}
    assert any(drawn[0, i] != drawn[2, i] for i in "abcdefgh")


def test_the_lot_is_a_function_of_seed_epoch_and_name():
    values = [lot(s, e, n) for s in range(3) for e in range(3) for n in map(str, range(40))]
    assert len(set(values)) == len(values) and 0.4 < np.mean(values) < 0.6
    assert lot(1, 2, "x") == lot(1, 2, "x")


def test_response_format_sentences_are_added(processors):
    slot = Slot.model_validate({"name": "s", "suffix": "Answer with one word."})
    maker = encoder(processors)
    text = maker.tokenizer.decode(maker.encode(record("Q?", "A"), slot).tokens)
    assert "USER: Q?\nAnswer with one word. ASSISTANT: A</s>" in text


def test_any_size_of_picture_takes_the_tokens_that_the_model_gives(processors):
    maker = encoder(processors, kind="next")
    draw = np.random.default_rng(0)
    from PIL import Image as Pictures

    for _ in range(60):
        width, height = (int(x) for x in draw.integers(8, 200, 2))
        shot = Pictures.new("RGB", (width, height))
        out = maker.processor(text="<image>", images=[shot], add_special_tokens=False)
        assert len(out["input_ids"][0]) == maker.pictures.tokens_of((height, width))


def test_settings_that_a_processor_cannot_have_are_refused(processors):
    for kind, fields in (("llava", {"aspect": "anyres"}), ("llava", {"grid": ((1, 1),)}),
                         ("llava", {"aspect": "pad"}), ("next", {"aspect": "square"})):  # fmt: skip
        with pytest.raises(DataError):
            configure(processors[0][kind], ImageSettings.model_validate(fields))


def test_a_picture_outside_the_folder_or_broken_is_a_bad_record(processors):
    maker = encoder(processors)
    (processors[1] / "broken.png").write_bytes(b"no picture")
    whole = (processors[1] / "0001.png").read_bytes()
    (processors[1] / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, reason in (("../x.png", "image missing"), ("gone.png", "image missing"),
                         ("broken.png", "image does not open")):  # fmt: skip
        with pytest.raises(BadRecord) as caught:
            maker.encode(record("<image>Q", "A", images=(name,)), SLOT)
        assert caught.value.reason == reason
    with pytest.raises(BadRecord, match=r"half\.png"):
        maker.pictures.pixels("half.png")
