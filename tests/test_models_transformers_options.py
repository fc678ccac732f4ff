"""Options of `transformers:` models, what they refuse, and what they say about themselves."""

import json
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from transformers_reference import QUESTIONS, Reference, answers, images, samples

from harness.errors import DataError, MissingExtra, UsageError
from harness.find import make_model
from harness.models.transformers import make
from harness.types import Answer, Decoding, Failure, Sample


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the directory of a family's tiny checkpoint."""
    torch.set_num_threads(1)

    @cache
    def made(family: str) -> Path:
        return Path(getattr(tiny_models, f"make_{family}")(tmp_path_factory.mktemp(family)))

    return made


def test_system_message_and_chat_switch_change_the_prompt(place: Any) -> None:
    asked = [Sample("a", (images(1)[0], "Is it red?"))]

    def length(**options: Any) -> int:
        (answer,) = answers(
            make(str(place("llava")), **options).answer(asked, "generate", Decoding())
        )
        return int(answer.tokens_in)

    assert length(system="Answer in one word.") > length() > length(chat=False)


def test_an_adapter_changes_the_answers(place: Any, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(place("llava"))
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # peft asks transformers by a name that its next major release drops.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(base, lora)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(tmp_path)
    asked = samples(images(2))
    plain = make(str(place("llava")))
    model = make(str(place("llava")), adapter=str(tmp_path))
    got = [a.text for a in answers(model.answer(asked, "generate", Decoding(max_tokens=5)))]
    assert got != [a.text for a in answers(plain.answer(asked, "generate", Decoding(max_tokens=5)))]
    reference = Reference(place("llava"), "llava")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        reference.model = PeftModel.from_pretrained(reference.model, tmp_path).eval()
    assert got == [reference.text(sample, 5, [2]) for sample in asked]
    facts = model.describe()
    assert facts["adapter"] == str(tmp_path) and facts["adapter_weights"]
    assert facts["engine"]["ways"] == {"images": "packed"}
    with pytest.raises(UsageError, match="adapter="):
        make(str(tmp_path))


def test_a_missing_peft_says_how_to_get_it(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    model = make(str(place("llava")), adapter=str(tmp_path))
    with pytest.raises(MissingExtra, match="pip install"):
        list(model.answer(samples(images(1)), "generate", Decoding()))


def test_code_in_a_checkpoint_is_not_run_unless_asked(place: Any, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    config = json.loads((place("llama") / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    with pytest.raises(UsageError, match="trust_remote_code"):
        make(str(tmp_path))
    with pytest.raises(UsageError, match="trust_remote_code"):
        make(str(tmp_path), trust_remote_code="false")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "fast"}, "engine must be one of auto, packed"),
        ({"dtype": "int3"}, "dtype must be one of"),
        ({"device": "toaster"}, "device"),
        ({"device": "cuda:7"}, "CUDA devices"),
        ({"batch_tokens": -5}, "batch_tokens"),
        ({"batch_tokens": "many"}, "batch_tokens"),
        ({"workers": -1}, "workers"),
        ({"workers": True}, "workers"),
        ({"trust_remote_code": "perhaps"}, "trust_remote_code"),
        ({"chat": "maybe"}, "chat must be true or false"),
    ],
)
def test_wrong_options(place: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(str(place("llava")), **options)


def test_unknown_options_and_addresses(place: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_tokens"):
        make_model(f"transformers:{place('llava')}", {"batch_token": 5})
    with pytest.raises(UsageError, match="address"):
        make("")
    with pytest.raises(DataError, match="cannot load"):
        make(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UsageError, match="'vit'"):
        make(str(tmp_path))


def test_questions_that_a_decoder_cannot_answer(place: Any) -> None:
    model = make(str(place("llava")))
    with pytest.raises(UsageError, match="features"):
        model.answer(samples(images(1)), "encode", Decoding())
    with pytest.raises(UsageError, match="max_tokens"):
        model.answer(samples(images(1)), "generate", Decoding(max_tokens=0))


def test_the_description_is_json_and_loads_nothing(place: Any) -> None:
    model: Any = make(str(place("llava")))
    before = json.loads(json.dumps(model.describe()))
    assert model._engine is None
    list(model.answer(samples(images(1)), "generate", Decoding(max_tokens=2)))
    after = json.loads(json.dumps(model.describe()))
    assert before.pop("engine") is None
    assert all(after[name] == value for name, value in before.items())
    assert before["weights"] and before["options"]["dtype"] == "auto"
    assert before["preprocessing"]["image_processor"] == "CLIPImageProcessorPil"
    assert after["architecture"] == "LlavaForConditionalGeneration"
    assert after["dtype"] == "float32" and after["parameters"] > 10**5
    assert after["engine"]["parity"]["images"]["passed"] is True
    assert after["engine"]["fallbacks"] == [] and after["engine"]["out_of_memory"] == 0


def test_settings_of_the_checkpoint_do_not_change_decoding(place: Any, tmp_path: Path) -> None:
    """A repetition penalty of the publisher would make another benchmark of it; it is recorded."""
    shutil.copytree(place("llava"), tmp_path / "penalised")
    where = tmp_path / "penalised" / "generation_config.json"
    found = json.loads(where.read_text())
    where.write_text(json.dumps(found | {"repetition_penalty": 1.9, "do_sample": True, "top_k": 3}))
    asked = samples(images(2))
    for engine in ("packed", "single"):
        model = make(str(tmp_path / "penalised"), engine=engine)
        plain = make(str(place("llava")), engine=engine)
        got = answers(model.answer(asked, "generate", Decoding(max_tokens=8)))
        expected = answers(plain.answer(asked, "generate", Decoding(max_tokens=8)))
        assert [a.text for a in got] == [a.text for a in expected]
        aside = model.describe()["generation_settings_put_aside"]
        assert aside["repetition_penalty"] == 1.9 and aside["top_k"] == 3


def test_the_system_message_of_a_sample_goes_before_that_of_the_model(place: Any) -> None:
    model: Any = make(str(place("llava")), system="Be brief.")
    reader = model._read()
    image = images(1)[0]
    own, options = (
        reader.group([(0, Sample("a", (image, "Is it red?"), system=words))], False).paths[0]
        for words in ("Judge it.", "")
    )
    told = [reader.tokenizer.decode(path.tokens) for path in (own, options)]
    assert "Judge it." in told[0] and "Be brief." not in told[0]
    assert "Be brief." in told[1]


def test_a_prompt_longer_than_the_model_is_a_failure(place: Any) -> None:
    model: Any = make(str(place("llama")))
    model._loaded()[0].lm.longest = 40
    asked = [Sample("short", ("Why?",)), Sample("long", ("Why? " * 60,))]
    short, long = answers(model.answer(asked, "generate", Decoding(max_tokens=2)))
    assert isinstance(short, Answer)
    assert isinstance(long, Failure) and "at most 40" in long.error


def test_encoders_are_recognised_by_their_configuration(tmp_path: Path) -> None:
    import tiny_encoders

    from harness.engine.blip2 import ImageTextMatcher
    from harness.engine.dual import DualEncoder

    for name, kind in (("clip", DualEncoder), ("siglip", DualEncoder), ("blip2", ImageTextMatcher)):
        getattr(tiny_encoders, f"make_{name}")(tmp_path / name)
        assert type(make(str(tmp_path / name), batch=3)) is kind


def test_a_llama_cpp_file_is_asked_like_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from test_engine_gguf import tiny_llama, write_gguf

    where = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    asked = [Sample(question, (question,), choices=("yes", "no")) for question in QUESTIONS]
    packed, single = (
        make(str(where), engine="packed"),
        make(str(tmp_path), gguf_file="tiny.gguf", engine="single"),
    )
    got = answers(packed.answer(asked, "rank", Decoding()))
    for one, other in zip(got, answers(single.answer(asked, "rank", Decoding())), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-3)
    assert len({answer.scores for answer in got}) == len(asked)
    assert packed.describe()["kind"] == "gguf" and packed.describe()["weights"]
