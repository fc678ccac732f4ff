"""The loop on tiny models: what trains, what a loss is, what a checkpoint holds."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_llava, make_llava_next
from train_data import make_records, write_pictures, write_records

from harness.errors import DataError, MissingExtra, UsageError
from trainers.engine import attention, groups, manifest, model, records, samples
from trainers.engine.collate import Collator, Rows
from trainers.engine.loop import arguments, train
from trainers.engine.sampler import Plan
from trainers.recipe import Recipe, find

torch.set_num_threads(1)
SGD = {"optimizer": "sgd", "lr": 1e-2}  # Adam divides by what rounding leaves of small gradients
PROJECTOR = r".*multi_modal_projector.*"
LANGUAGE = r"(.*language_model.*|lm_head.*)"
VISION = r".*vision_tower.*"
UNREACHED = (r".*vision_tower.*layers\.1\..*", r".*vision_tower.*post_layernorm.*")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    make_llava(root / "base")
    make_llava_next(root / "next")
    names = write_pictures(root / "img", 6)
    write_records(root / "d.json", make_records(names, 20, text_only=0.3))
    return root


def recipe(**changes):
    common = {"batch_size": 8, "micro_batch": 4, "precision": "fp32", "lr": 1e-3, "warmup": 0,
              "images.cache": "ram", "max_length": 512}  # fmt: skip
    return find("finetune", common | changes)


def run(world, out, source="base", **changes):
    made = recipe(**changes)
    return train(made, world / source, world / "d.json", out, images=world / "img", quiet=True)


def batch(world, ready, made, count=6, skip=()):
    """Return rows of loaded samples of the training set."""
    encoder = samples.Encoder(made, ready.processor, world / "img")
    dataset = samples.Dataset(records.read(made, world / "d.json"), encoder)
    rows = Rows(dataset, dataset.index())
    return [rows[((0, at, True),)][0] for at in range(count) if at not in skip]


def loss_of(ready, batch):
    """Return the summed loss over targets, as plain as can be."""
    inputs = {k: v for k, v in batch.items() if k not in ("facts", "labels")}
    logits = ready.model(**inputs, use_cache=False).logits.double()
    shifted = batch["labels"][:, 1:]
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), shifted.reshape(-1), reduction="sum",
        ignore_index=-100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trainable", "frozen", "parts"),
    [
        ((PROJECTOR,), (), {"projector"}),
        ((PROJECTOR, LANGUAGE), (), {"projector", "language"}),
        ((".*",), UNREACHED, {"projector", "language", "vision"}),
    ],
)
def test_exactly_the_declared_tensors_change(world, tmp_path, trainable, frozen, parts):
    result = run(world, tmp_path / "o", trainable=trainable, frozen=frozen, lr=1e-2)
    found = result.run["manifest"]
    assert not found["undeclared_changes"]
    before = load_file(world / "base/model.safetensors")
    after = load_file(result.model / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kinds = {"vision" if "vision" in n else "projector" if "projector" in n else "language"
             for n in changed}  # fmt: skip
    assert kinds == parts
    assert len(changed) == found["declared"] - len(found["declared_unchanged"])
    assert not any("layers.1." in n or "post_layernorm" in n for n in changed if "vision" in n)


def test_a_finished_model_loads_and_computes_the_same(world, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    made = recipe(save_every=1, max_steps=2)
    result = train(made, world / "base", world / "d.json", tmp_path / "o", images=world / "img",
                   quiet=True)  # fmt: skip
    final = AutoModelForImageTextToText.from_pretrained(result.model).eval()
    last = AutoModelForImageTextToText.from_pretrained(tmp_path / "o/checkpoint-2").eval()
    ready = model.prepare(made, world / "base")
    inputs = Collator(ready.image_token, 0, False, None)(
        [[one] for one in batch(world, ready, made)])  # fmt: skip
    inputs = {k: v for k, v in inputs.items() if k not in ("facts", "labels")}
    with torch.no_grad():
        assert torch.equal(final(**inputs).logits, last(**inputs).logits)
    assert AutoProcessor.from_pretrained(result.model).chat_template == result.run["template"]
    assert (result.model / "README.md").read_text().startswith("---\nlibrary_name: transformers")
    assert json.loads((result.model / "run.json").read_text())["status"] == "complete"
    assert (result.model / "trainer_state.json").is_file()
    lines = result.log
    assert [line["step"] for line in lines] == [1, 2]
    assert set(lines[0]) >= {"step", "samples", "tokens", "loss", "grad_norm", "lr", "tokens_per_s",
                             "mfu", "seconds", "target_fraction", "dropped"}  # fmt: skip
    assert lines[-1]["samples"] == 16 and lines[0]["lr"] == {"base": pytest.approx(1e-3)}


def test_the_loss_falls_on_few_samples(world, tmp_path):
    result = run(world, tmp_path / "o", max_steps=60, lr=3e-3, batch_size=4, fraction=0.2)
    losses = [line["loss"] for line in result.log]
    assert losses[-1] < 0.1 * losses[0]


def test_accumulated_micro_batches_are_one_batch(world, tmp_path):
    runs = [run(world, tmp_path / str(micro), micro_batch=micro, max_steps=3, **SGD).model
            for micro in (1, 3, 8)]  # fmt: skip
    weights = [load_file(path / "model.safetensors") for path in runs]
    for other in weights[1:]:
        for name, tensor in weights[0].items():
            torch.testing.assert_close(tensor, other[name], rtol=0, atol=2e-5)


def test_packed_rows_compute_the_token_weighted_mean_of_unpacked_ones(world):
    made = recipe(packing=True)
    for source in ("base", "next"):
        ready = model.prepare(made, world / source)
        assert ready.model.model.language_model.config._attn_implementation == attention.NAME
        ready.model.eval()
        rows = batch(world, ready, made)
        packed = Collator(ready.image_token, 0, True, None)([rows])
        single = [Collator(ready.image_token, 0, False, None)([[one]]) for one in rows]
        with torch.no_grad():
            together = loss_of(ready, packed)
            model.set_attention(ready.model, recipe())
            apart = sum(loss_of(ready, one) for one in single)
            dense = loss_of(
                ready, {k: v for k, v in packed.items() if not k.endswith(("_q", "_k"))}
            )
        assert packed["facts"]["targets"] == sum(one["facts"]["targets"] for one in single)
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=0)
        torch.testing.assert_close(dense, apart, rtol=1e-5, atol=0)


def test_packing_trains_as_padding_does(world, tmp_path):
    plain = run(world, tmp_path / "a", max_steps=3, sampler="sequential", **SGD)
    packed = run(world, tmp_path / "b", max_steps=3, sampler="sequential", packing=True,
                 pack_length=2048, micro_batch=1, **SGD)  # fmt: skip
    one, two = (load_file(r.model / "model.safetensors") for r in (plain, packed))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=0, atol=2e-5)
    assert json.loads((packed.model / "config.json").read_text()).get("attn_implementation") is None


def test_a_batch_without_pictures_gives_the_projector_a_gradient_of_zero(world):
    made = recipe()
    for source, packing in (("base", False), ("base", True), ("next", False)):
        used = recipe(packing=packing)
        ready = model.prepare(used, world / source)
        ready.model.double()
        found = batch(world, ready, made, 20)
        rows = [one for one in found if not one.pixels][:3]
        blank = samples.Encoder(used, ready.processor, world / "img").pictures.blank
        losses = {}
        for name, term in (("with", blank), ("without", None)):
            ready.model.zero_grad(set_to_none=True)
            collator = Collator(ready.image_token, 0, packing, term)
            made_batch = collator([rows] if packing else [[one] for one in rows])
            if term is not None:
                made_batch["pixel_values"] = made_batch["pixel_values"].double()
            loss = loss_of(ready, made_batch)
            loss.backward()
            grads = {n: p.grad for n, p in ready.model.named_parameters() if p.requires_grad}
            losses[name] = (loss.detach(), grads)
        torch.testing.assert_close(losses["with"][0], losses["without"][0], rtol=1e-9, atol=0)
        for name, grad in losses["without"][1].items():
            if "projector" in name or "newline" in name:
                assert grad is None and not losses["with"][1][name].any()
            else:
                torch.testing.assert_close(grad, losses["with"][1][name], rtol=1e-5, atol=1e-8)


def test_token_local_is_the_mean_of_micro_batch_means(world, tmp_path):
    made = recipe(loss_norm="token_local", max_steps=1, sampler="sequential", lr=1e-9)
    result = train(made, world / "base", world / "d.json", tmp_path / "o", images=world / "img",
                   quiet=True)  # fmt: skip
    ready = model.prepare(made, world / "base")
    encoder = samples.Encoder(made, ready.processor, world / "img")
    dataset = samples.Dataset(records.read(made, world / "d.json"), encoder)
    index = dataset.index()
    plan, rows = Plan(made, index), Rows(dataset, index)
    collator = Collator(ready.image_token, 0, False, None)
    means, total, count = [], 0.0, 0
    with torch.no_grad():
        for part in plan.split(0, plan.epoch(0)[0]):
            found = collator([rows[row] for row in part])
            loss, targets = float(loss_of(ready, found)), found["facts"]["targets"]
            means.append(loss / targets)
            total, count = total + loss, count + targets
    assert result.log[0]["loss"] == pytest.approx(sum(means) / len(means), rel=1e-5)
    other = run(world, tmp_path / "g", max_steps=1, sampler="sequential", lr=1e-9)
    assert other.log[0]["loss"] == pytest.approx(total / count, rel=1e-5)


def test_groups_have_their_rates_and_norms_and_biases_do_not_decay(world):
    made = recipe(
        trainable=[".*"], frozen=UNREACHED, weight_decay=0.1,
        groups=[{"name": "vision", "pattern": "vision_tower", "lr": 2e-6},
                {"name": "projector", "pattern": "projector", "lr": 3e-4, "weight_decay": 0.0}],
    )  # fmt: skip
    ready = model.prepare(made, world / "base")
    found = groups.optimizer_groups(ready.model, ready.members)
    groups.check(found, ready.members)
    assert {(g["name"], g["lr"]) for g in found} == {
        ("vision", 2e-6),
        ("projector", 3e-4),
        ("base", 1e-3),
    }
    for group in found:
        for name in group["names"]:
            plain = name.endswith("bias") or "norm" in name
            decays = not plain and group["name"] != "projector"
            assert group["weight_decay"] == (0.1 if decays else 0.0), name
    with pytest.raises(DataError, match="does not hold"):
        groups.check(found[1:], ready.members)


def test_patterns_that_match_nothing_are_refused(world):
    for changes, said in (
        ({"trainable": ["mm_projector.*"]}, "matches no parameter"),
        ({"frozen": ["nothing"]}, "matches no parameter"),
        ({"groups": [{"name": "v", "pattern": "vision", "lr": 1e-6}]}, "has no parameter"),
        ({"frozen": [".*"]}, "nothing would be trained"),
        ({"model_types": ["llava_next"]}, "it is a llava"),
        ({"needs": ["vision_config.image_size=336"]}, "image_size is 28, not 336"),
    ):
        with pytest.raises(DataError, match=said):
            model.prepare(recipe(**changes), world / "base")


def test_parameters_that_no_gradient_reaches_are_named(world, tmp_path):
    with pytest.raises(DataError, match=r"post_layernorm"):
        run(world, tmp_path / "o", trainable=[VISION])


def test_adapters_train_alone_and_merge(world, tmp_path):
    result = run(world, tmp_path / "o", trainable=[PROJECTOR], max_steps=3, lr=1e-2,
                 **{"lora.r": 4, "lora.pattern": r".*language_model.*\.(q|v)_proj"})  # fmt: skip
    declared = [n for n, one in result.run["manifest"]["tensors"].items() if one["declared"]]
    assert declared and all("lora_" in n or "multi_modal_projector" in n for n in declared)
    assert not result.run["manifest"]["undeclared_changes"]
    before = load_file(world / "base/model.safetensors")
    after = load_file(result.model / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all("q_proj" in n or "v_proj" in n or "projector" in n for n in changed) and changed
    adapter = load_file(tmp_path / "o/adapter/adapter_model.safetensors")
    for name in sorted(n for n in changed if "q_proj" in n):
        stem = name.split("layers.")[1].removesuffix(".weight")
        low = [t for n, t in adapter.items() if f"layers.{stem}.lora_A" in n]
        high = [t for n, t in adapter.items() if f"layers.{stem}.lora_B" in n]
        merged = before[name] + 256 / 4 * (high[0] @ low[0])
        torch.testing.assert_close(after[name], merged, rtol=0, atol=1e-5)


def test_bf16_keeps_float32_weights_where_it_trains(world):
    ready = model.prepare(recipe(precision="bf16", trainable=[PROJECTOR]), world / "base")
    kinds = {("projector" in n): p.dtype for n, p in ready.model.named_parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
def test_bf16_runs_and_is_saved_as_such(world, tmp_path, precision):
    result = run(world, tmp_path / "o", precision=precision, max_steps=2,
                 activation_checkpointing=True)  # fmt: skip
    found = load_file(result.model / "model.safetensors")
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert json.loads((result.model / "config.json").read_text())["dtype"] == "bfloat16"


def test_checkpointing_activations_changes_nothing(world, tmp_path):
    one, two = (run(world, tmp_path / str(on), max_steps=2, activation_checkpointing=on)
                for on in (False, True))  # fmt: skip
    assert [x["loss"] for x in one.log] == pytest.approx([x["loss"] for x in two.log], rel=1e-6)


def test_parallel_settings_become_arguments(world, tmp_path):
    ready_index = samples.Index(*(torch.ones(8).numpy().astype(k) for k in ("i8", "i8", "i8", "?")))
    made = recipe(parallel="fsdp2", activation_checkpointing=True)
    found = arguments(made, Plan(made, ready_index, 2), tmp_path)
    assert found.fsdp and found.fsdp_plugin_args["fsdp_version"] == 2
    assert found.fsdp_plugin_args["activation_checkpointing"] and not found.activation_checkpointing
    assert not arguments(made, Plan(made, ready_index, 1), tmp_path).fsdp


def test_trackers_are_wanted_before_anything_is_done(world, tmp_path):
    with pytest.raises(MissingExtra, match="pip install wandb"):
        run(world, tmp_path / "o", report_to=["wandb"])
    assert not (tmp_path / "o").exists()


def test_an_output_folder_is_never_written_over(world, tmp_path):
    (tmp_path / "kept").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        run(world, tmp_path)


def test_the_manifest_names_what_should_not_have_changed():
    one, two = torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16)
    before = manifest.checksums([("a", one), ("b", one), ("c", two)])
    after = manifest.checksums([("a", one + 1), ("b", one), ("c", two.float())])
    found = manifest.Manifest(before, after, frozenset({"b"}))
    assert found.undeclared == ["a", "c"] and found.unchanged == ["b"]
    assert manifest.checksum(one) != manifest.checksum(one.reshape(1, 2))


def test_a_builder_can_be_given(world, tmp_path):
    def build(found: Recipe):
        return model.load(str(world / "base"))

    result = train(recipe(max_steps=1), build, world / "d.json", tmp_path / "o",
                   images=world / "img", quiet=True)  # fmt: skip
    assert result.steps == 1
    with pytest.raises(UsageError, match="--model"):
        model.prepare(recipe(), None)


def test_streaming_workers_and_caches_change_nothing(world, tmp_path):
    made = [dict(one, id="the same") for one in make_records(["0000.png", "0001.png"], 12)]
    data = write_records(tmp_path / "d.jsonl", made)
    weights = []
    for i, changes in enumerate(
        ({}, {"streaming": True}, {"workers": 2}, {"images.cache": "none"}, {"log_every": 2})
    ):
        result = train(recipe(epochs=2, **changes), world / "base", data, tmp_path / str(i),
                       images=world / "img", quiet=True)  # fmt: skip
        weights.append(load_file(result.model / "model.safetensors"))
    for other in weights[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in weights[0].items())
