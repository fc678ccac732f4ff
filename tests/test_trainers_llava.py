"""LLaVA and LLaVA-1.5: recipes, and what their training changes."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import small_llava

from harness.errors import DataError, UsageError
from trainers import _llava_common, llava, llava15, llava_next
from trainers.builders import llava as builder
from trainers.engine import loop, records, samples, templates
from trainers.recipe import Recipe


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    return small_llava.directories(tmp_path_factory.mktemp("parts"))


# ---- Recipes ----


@pytest.mark.parametrize(
    ("module", "variant"), [(m, v) for m in (llava, llava15) for v in ("", *m.VARIANTS)]
)
def test_every_recipe_says_where_its_numbers_come_from(module, variant):
    recipe = module.make(variant)
    assert recipe.name == f"{module.__name__.rpartition('.')[2]}/{variant or 'stage2'}"
    assert recipe.sources and recipe.paper and recipe.summary
    assert (recipe.schedule, recipe.warmup, recipe.weight_decay) == ("cosine", 0.03, 0.0)
    if recipe.mixture:
        assert records.mixture(recipe.mixture).slots
    assert builder.KINDS  # the builder that it names is there
    assert recipe.builder == "llava"


def test_published_hyper_parameters():
    def facts(recipe):
        return (recipe.lr, recipe.batch_size, recipe.epochs, recipe.template, recipe.images.aspect)

    assert facts(llava.make("stage1")) == (2e-3, 128, 1, "v0", "square")
    assert facts(llava.make("stage1", stage1_format="plain"))[3] == "plain"
    assert facts(llava.make("stage1", template="v1"))[3] == "v1"
    assert facts(llava.make("stage2")) == (2e-5, 32, 3, "v0", "square")
    assert facts(llava.make("scienceqa")) == (2e-5, 128, 12, "v0", "square")
    assert facts(llava15.make("stage1")) == (1e-3, 256, 1, "plain", "square")
    assert facts(llava15.make("stage2")) == (2e-5, 128, 1, "v1", "pad")
    hours = [llava15.make(v).a100_hours for v in ("stage1", "stage2", "stage1-13b", "stage2-13b")]
    assert sum(hours[:2]) == 108 and sum(hours[2:]) == 204
    lora = llava15.make("lora")
    assert (lora.lora.r, lora.lora.alpha, lora.lr, lora.groups[0].lr) == (128, 256, 2e-4, 2e-5)
    assert llava.make("stage2", image_position="random").images.position == "random"
    assert llava.make("scienceqa").images.position == "keep"


def test_steps_of_an_epoch_are_the_published_ones():
    def steps(recipe):
        count = sum(slot.records for slot in records.mixture(recipe.mixture).slots)
        return -(-count // recipe.batch_size)

    assert steps(llava15.make("stage1")) == 2_181
    assert steps(llava15.make("stage2")) == 5_198


def test_targets_are_the_tables_numbers():
    found = {(t.row, t.metric): t.value for t in llava15.make("stage2-13b").targets}
    assert found["LLaVA-1.5-13B", "GQA"] == 63.3 and found["LLaVA-1.5-13B", "MME"] == 1531.3
    assert [t.value for t in llava.make("conv").targets] == [73.8]
    table = {t.metric: t.value for t in llava.make("scienceqa").targets}
    assert table["average"] == 90.92 and table["SOC"] == 95.95
    assert [t.value for t in llava.make("scienceqa-scratch").targets] == [85.81]


def test_unknown_names_list_near_ones():
    for module, options in (
        (llava, {"variant": "stage3"}),
        (llava15, {"variant": "rung10"}),
        (llava, {"stage1_format": "plian"}),
        (llava, {"image_position": "last"}),
        (llava15, {"image_position": "last"}),
        (llava, {"template": "v2"}),
    ):
        with pytest.raises(UsageError, match=r"did you mean|known:"):
            module.make(**options)


@pytest.mark.parametrize("layers", [2, 3, 24])
@pytest.mark.parametrize("layer", [-1, -2, -3])
def test_weights_without_gradient_are_named_by_their_layers(layers, layer):
    import re

    (pattern,) = _llava_common.unused(layers, layer)
    names = {f"model.vision_tower.encoder.layers.{i}.mlp.fc1.weight": i for i in range(layers)}
    found = {i for name, i in names.items() if re.fullmatch(pattern, name)}
    assert found == set(range(layers + 1 + layer, layers))
    assert not re.fullmatch(pattern, "model.language_model.layers.23.mlp.up_proj.weight")
    assert not re.fullmatch(pattern, "model.vision_tower.pre_layrnorm.weight")


@pytest.mark.parametrize("tower", ["clip", "siglip", "dinov2"])
def test_the_named_weights_are_those_that_no_gradient_reaches(directories, tower):
    import re

    model, _ = builder.assemble(
        vision=str(directories / tower), language=str(directories / "llama")
    )
    (pattern,) = _llava_common.unused(3)
    names = [name for name, _ in model.named_parameters() if "vision_tower" in name]
    named = {name for name in names if re.fullmatch(pattern, name)}
    assert named == set(builder.without_gradient(model)) and named


# ---- Training ----


def changed(result):
    found = result.run["manifest"]
    assert found["undeclared_changes"] == [] and found["declared_unchanged"] == []
    return {name for name, one in found["tensors"].items() if one["before"] != one["after"]}


def run(recipe, source, tmp_path, where="run", **data):
    rows, images = small_llava.write(tmp_path / f"{where}-data", **data)
    return loop.train(recipe, source, rows, tmp_path / where, images=images, quiet=True)


def built(recipe):
    return small_llava.model(**{k: recipe.builder_options[k] for k in ("connector", "kind")})


@pytest.mark.parametrize(
    ("recipe", "outside"),
    [
        (llava.make("stage1"), "linear_1"),
        (llava15.make("stage1"), "multi_modal_projector"),
    ],
    ids=["linear", "mlp"],
)
def test_stage_one_changes_the_connector_and_nothing_else(recipe, outside, tmp_path):
    made, _ = built(recipe)
    wanted = {n for n in made.state_dict() if "multi_modal_projector" in n and outside in n}
    result = run(small_llava.small(recipe), built, tmp_path)
    assert changed(result) == wanted and len(wanted) == (2 if outside == "linear_1" else 4)


@pytest.mark.parametrize("recipe", [llava.make("stage2"), llava15.make("stage2")],
                         ids=["linear", "mlp"])  # fmt: skip
def test_stage_two_changes_connector_and_language_model_never_the_tower(recipe, tmp_path):
    made, _ = built(recipe)
    result = run(small_llava.small(recipe), built, tmp_path, count=8, text_only=4)
    found = changed(result)
    wanted = {n for n in made.state_dict() if "language_model" in n or "lm_head" in n}
    second = {"model.multi_modal_projector.linear_2.weight",
              "model.multi_modal_projector.linear_2.bias"}  # fmt: skip
    connector = {n for n in made.state_dict() if "multi_modal_projector" in n}
    linear = recipe.name.startswith("llava/")
    assert found == wanted | (connector - second if linear else connector)


def test_stage_two_goes_on_from_the_directory_that_stage_one_left(tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    one = run(
        small_llava.small(llava15.make("stage1"), save_dtype="float32"), built, tmp_path, "one"
    )
    recipe = small_llava.small(llava15.make("stage2"), save_dtype="float32", lr=5e-3, epochs=20)
    two = run(recipe, one.model, tmp_path, "two")
    losses = [line["loss"] for line in two.log if "loss" in line]
    assert losses[-1] < losses[0] / 2
    model, info = AutoModelForImageTextToText.from_pretrained(two.model, output_loading_info=True)
    assert not any(info.values())
    processor = AutoProcessor.from_pretrained(two.model)
    assert processor.chat_template == templates.text("v1")
    assert processor.image_processor.do_pad is True
    first = small_llava.logits(model, small_llava.asked(processor))
    model.save_pretrained(tmp_path / "again")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "again")
    assert torch.equal(small_llava.logits(again, small_llava.asked(processor)), first)


def test_stage_two_refuses_a_base_with_another_connector(tmp_path):
    model, processor = small_llava.model(connector="linear")
    model.save_pretrained(tmp_path / "linear")
    processor.save_pretrained(tmp_path / "linear")
    wanted = {"needs": ("projector_hidden_act=gelu",)}
    with pytest.raises(DataError, match="projector_hidden_act is linear, not gelu"):
        run(small_llava.small(llava15.make("stage2"), **wanted), tmp_path / "linear", tmp_path)


def test_text_alone_reaches_the_connector_with_a_gradient_of_zero(tmp_path):
    recipe = small_llava.small(llava15.make("stage2"), epochs=3)
    result = run(recipe, built, tmp_path, count=0, text_only=4)
    found = result.run["manifest"]
    assert found["undeclared_changes"] == []
    assert all("multi_modal_projector" in name for name in found["declared_unchanged"])
    assert len(found["declared_unchanged"]) == 4


@pytest.mark.parametrize("variant", ["lora"])
@pytest.mark.parametrize("module", [llava, llava15])
def test_lora_changes_adapters_and_connector_and_merges(module, variant, tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText

    pytest.importorskip("peft")
    made, _ = built(module.make(variant))
    changes = {"lora.r": 4, "lora.alpha": 8, "save_dtype": "float32"}
    result = run(small_llava.small(module.make(variant), **changes), built, tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(result.model)
    moved = {
        name
        for name, weight in model.state_dict().items()
        if not torch.equal(weight, made.state_dict()[name])
    }
    attention = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    linears = {
        n for n in made.state_dict()
        if "language_model" in n and any(f".{a}.weight" in n for a in attention)
    }  # fmt: skip
    layers = ("linear_1",) if module is llava else ("linear_1", "linear_2")
    connector = {n for n in made.state_dict() if "projector" in n and any(x in n for x in layers)}
    assert moved == linears | connector


@pytest.mark.parametrize(
    ("recipe", "billions", "said"),
    [
        (llava15.make("stage2"), 7.06, "published 80 A100 hours"),
        (llava_next.make("yi-34b"), 34.75, "published 768 A100 hours"),
    ],
    ids=["7b", "34b"],
)
def test_the_published_sizes_are_forecast_without_any_weights(recipe, billions, said, tmp_path):
    from trainers.engine.estimate import forecast

    rows, images = small_llava.write(tmp_path)
    lines = forecast(recipe.changed({"mixture": ""}), None, rows, images, 8)
    (weights,) = [line.split() for line in lines if line.startswith("weights")]
    assert round(int(weights[1].replace(",", "")) / 1e9, 2) == billions
    assert said in lines


def test_sizes_alone_are_not_trained_by_mistake(tmp_path):
    rows, images = small_llava.write(tmp_path)
    recipe = llava15.make("stage1").changed({"mixture": ""})
    with pytest.raises(UsageError, match="names sizes, not weights"):
        loop.train(recipe, None, rows, tmp_path / "run", images=images, quiet=True)


def test_the_recipes_builder_is_found_by_name_and_trains_from_records(tmp_path):
    rows, images = small_llava.write(tmp_path)
    recipe = small_llava.small(
        llava15.make("stage1"), **{"builder_options.texts": str(rows), "max_steps": 1}
    )
    result = loop.train(recipe, None, rows, tmp_path / "run", images=images, quiet=True)
    assert result.steps == 1
    wrong = recipe.changed({"builder_options.colour": "red"})
    with pytest.raises(UsageError, match=r"builder_options of llava: .*colour"):
        loop.train(wrong, None, rows, tmp_path / "other", images=images, quiet=True)


def test_the_gpu_benchmark_runs_at_a_small_size_without_a_gpu():
    script = Path(__file__).resolve().parent.parent / "benchmarks/train_gpu.py"
    words = ["--tiny", "--steps", "1", "--stage", "2"]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:4] for line in done.stdout.splitlines()[-2:]]
    assert [row[1].strip() for row in rows] == ["plain", "packed"]
    assert all(float(row[2]) > 0 for row in rows)


# ---- Templates on our tokenizers ----


def dialogue(lot):
    turns = []
    for at in range(lot.randint(1, 4)):
        mark = "<image>\n" if at == 0 else ""
        question = " ".join(lot.choices(small_llava.WORDS, k=lot.randint(1, 9)))
        answer = " ".join(lot.choices(small_llava.WORDS, k=lot.randint(1, 9)))
        turns += [{"from": "human", "value": mark + question}, {"from": "gpt", "value": answer}]
    return turns


@pytest.mark.parametrize("template", ["plain", "v0", "v1", "mistral", "chatml"])
def test_targets_are_the_replies_with_what_ends_them(template, tmp_path):
    _, processor = small_llava.model()
    rows, images = small_llava.write(tmp_path, count=1)
    recipe = Recipe.model_validate({"name": "x", "template": template, "max_length": 4096})
    templates.install(processor, recipe)
    encoder = samples.Encoder(recipe, processor, images)
    tokenizer, lot = processor.tokenizer, Random(0)
    ends = {"plain": "\n", "v0": "\n###", "chatml": "<|im_end|>"}
    end = ends.get(template, tokenizer.eos_token)
    slot = records.Slot.model_validate({"name": "x"})
    for at in range(40):
        turns = dialogue(lot)
        raw = {"id": str(at), "image": "0.png", "conversations": turns}
        sample = encoder.encode(records.parse(raw, "x"), slot)
        kept = sample.labels[sample.labels != samples.IGNORED]
        said = tokenizer.decode(kept, clean_up_tokenization_spaces=False)
        replies = [turn["value"] for turn in turns if turn["from"] == "gpt"]
        wanted = "".join(
            f"{'' if template in ('plain', 'chatml') else ' '}{r}{end}" for r in replies
        )
        assert said == wanted and sample.targets > 0
        assert (sample.tokens == tokenizer.bos_token_id).sum() == 1
        assert (sample.tokens == encoder.image_token).sum() == 16
    assert rows.exists()


def test_a_question_may_be_cut_and_a_picture_never(tmp_path):
    _, processor = small_llava.model()
    _, images = small_llava.write(tmp_path, count=1)
    for limit in range(8, 120, 3):
        recipe = Recipe.model_validate({"name": "x", "template": "v1", "max_length": limit})
        templates.install(processor, recipe)
        encoder = samples.Encoder(recipe, processor, images)
        raw = {"id": "a", "image": "0.png", "conversations": dialogue(Random(3))}
        try:
            found = encoder.encode(
                records.parse(raw, "x"), records.Slot.model_validate({"name": "x"})
            )
        except records.BadRecord:
            continue
        assert (found.tokens == encoder.image_token).sum() == 16 and len(found.tokens) <= limit


def test_the_harness_asks_with_the_words_of_training(tmp_path):
    from harness.engine.inputs import Reader
    from harness.engine.load import Settings, read_processor
    from harness.types import Image as Picture
    from harness.types import Sample

    model, processor = small_llava.model(images=small_llava.settings(aspect="pad"))
    model.save_pretrained(tmp_path / "m")
    processor.save_pretrained(tmp_path / "m")
    rows, images = small_llava.write(tmp_path / "d", count=1)
    recipe = Recipe.model_validate({"name": "x", "template": "v1"})
    encoder = samples.Encoder(recipe, processor, images)
    record = records.parse(json.loads(rows.read_text())[0], "x")
    trained = encoder.encode(record, records.Slot.model_validate({"name": "x"})).tokens
    reader = Reader(
        read_processor(str(tmp_path / "m"), model.config, Settings()),
        model.config.image_token_index, "auto", None,
    )  # fmt: skip
    question = record.turns[0][1].replace("<image>\n", "")
    sample = Sample("a", (Picture("0.png", images / "0.png"), question))
    asked = reader.group([(0, sample)], False).paths[0].tokens
    assert list(asked) == trained[: len(asked)].tolist()
    assert processor.tokenizer.decode(asked[-3:]).endswith("ASSISTANT:")
