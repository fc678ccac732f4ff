"""REACT's customisation: pairs, changes of pictures, modes, losses, export, import, the command."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from react_data import PAIRS, inputs, logits, make_world
from safetensors.torch import load_file
from train_process import kill_after_a_checkpoint, launch
from transformers import CLIPModel, SiglipModel

from harness.engine.dual import DualEncoder
from harness.engine.load import Settings
from harness.errors import DataError, UsageError
from harness.types import Decoding, Sample
from harness.types import Image as Shown
from trainers.contrastive import export
from trainers.contrastive.objective import Options, make
from trainers.engine.contrast import pairwise
from trainers.engine.gated import MODES, customise, gates
from trainers.engine.objective_loop import forecast, train
from trainers.recipe import find, names

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("react"))


SMALL = {"batch_size": 16, "micro_batch": 16, "epochs": 1, "warmup": 0.1, "lr": 5e-3, "workers": 0,
         "precision": "fp32", "save_every": 0, "activation_checkpointing": False, "log_every": 1,
         "options.gates": 1, "options.augment": "none"}  # fmt: skip


def recipe(variant="", **changes):
    return find(f"react/{variant}" if variant else "react", SMALL | changes)


def run(world, out, variant="", model="clip", resumed=False, **changes):
    return train(recipe(variant, **changes), world / model, world / "tars", out,
                 resumed=resumed, quiet=True)  # fmt: skip


# ---- Training ----


@pytest.mark.parametrize("mode", [*MODES])
def test_exactly_what_a_mode_declares_changes(world, tmp_path, mode):
    result = run(world, tmp_path / "o", mode, max_steps=3)
    manifest = result.run["manifest"]
    assert manifest["undeclared_changes"] == [] and manifest["declared_unchanged"] == []
    changed = {n for n, t in manifest["tensors"].items() if t["before"] != t["after"]}
    towers = {"text" if n.startswith("text_") else "image" for n in changed - {"logit_scale"}}
    wanted = {"locked-text": {"image"}, "locked-image": {"text"}, "full": {"image", "text"}}
    assert towers == wanted.get(mode, set(MODES[mode])) and "logit_scale" in changed
    plain = CLIPModel.from_pretrained(result.model)
    for name, tower in (("image", plain.vision_model), ("text", plain.text_model)):
        assert len(tower.encoder.layers) == 2 + (name in MODES[mode])
    if MODES[mode]:
        assert all(".block." in name or name == "logit_scale" for name in changed)
        assert set(result.log[-1]["state"]) > {"logit_scale"}


def test_the_finished_model_is_the_trained_one_and_the_base_is_untouched(world, tmp_path):
    result = run(world, tmp_path / "o", max_steps=4)
    batch = inputs(world)
    plain = CLIPModel.from_pretrained(result.model)
    loaded = export.load(str(result.model))
    export.unfold(loaded, result.model, "locked-text-gated-image", 1, True)
    assert any(abs(value) > 1e-4 for value in gates(loaded.model).values())
    assert (logits(plain, batch) - logits(loaded.model, batch)).abs().max() < 1e-4
    base = CLIPModel.from_pretrained(world / "clip")
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if name.endswith("_gate"):
                weight.zero_()
        loaded.model.logit_scale.copy_(base.logit_scale)
    assert torch.equal(logits(loaded.model, batch), logits(base, batch))


def accuracy(address):
    """Return the share of pictures whose own caption ranks first, as the harness scores."""
    choices = tuple(dict.fromkeys(pair[1] for pair in PAIRS))
    samples = [
        Sample(id=key, prompt=(Shown(f"{key}.png", picture),), choices=choices, target=caption)
        for key, caption, picture, _ in PAIRS
    ]
    model = DualEncoder(str(address), Settings(dtype="float32", device="cpu", workers=0))
    found = dict(model.answer(samples, "rank", Decoding()))
    return np.mean([choices[found[i].choice] == pair[1] for i, pair in enumerate(PAIRS)])


def test_customising_raises_zero_shot_accuracy(world, tmp_path):
    before = accuracy(world / "clip")
    result = run(world, tmp_path / "o", epochs=25, batch_size=32, micro_batch=32, lr=2e-2,
                 **{"options.gates": 2, "options.gamma": 1.0})  # fmt: skip
    after = accuracy(result.model)
    assert before < 0.25 and after > before + 0.3, (before, after)


def test_texts_kept_are_texts_computed_anew(world, tmp_path):
    logs = [
        run(world, tmp_path / str(kept), max_steps=3, **{"options.cache_texts": kept}).log
        for kept in (True, False)
    ]
    for one, two in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["parts"] == two["parts"]


@pytest.mark.parametrize("kept", [True, False])
def test_positives_come_from_the_tower_of_the_start(world, kept):
    made = make(
        recipe("full", **{"options.cache_texts": kept}), world / "clip", world / "tars", None
    )
    batch = made.collate([made.read(place, 0) for place in range(5)])
    start = made.features(made.model, batch)
    assert torch.allclose(start["unmoved"], start["texts"], atol=1e-6)
    with torch.no_grad():
        made.model.text_projection.weight.mul_(torch.randn(made.model.text_projection.weight.shape))
    moved = made.features(made.model, batch)
    assert torch.equal(start["unmoved"], moved["unmoved"])
    assert not torch.allclose(start["texts"], moved["texts"], atol=1e-2)


def test_at_the_first_step_blocks_move_by_weight_decay_alone(world, tmp_path):
    result = run(world, tmp_path / "o", max_steps=1, warmup=0, schedule="constant", lr=1e-2)
    state = load_file(result.model / "unfolded.safetensors")
    torch.manual_seed(0)
    start = customise(CLIPModel.from_pretrained(world / "clip"), last=1).state_dict()
    blocks = [name for name in state if ".block.layer." in name]
    assert len(blocks) == 16
    for name in blocks:
        kept = start[name] * (1 - 1e-2 * 0.1) if start[name].ndim > 1 else start[name]
        torch.testing.assert_close(state[name], kept, rtol=1e-6, atol=1e-8)
    for name, tensor in state.items():
        if name.endswith("_gate"):
            assert abs(abs(float(tensor)) - 1e-2) < 1e-4  # Adam's first step is the rate


def test_the_scale_is_clamped_and_can_be_locked(world, tmp_path):
    model = CLIPModel.from_pretrained(world / "clip")
    with torch.no_grad():
        model.logit_scale.fill_(4.9)
    loaded = export.load(str(world / "clip"))
    export.save(export.Loaded(model, loaded.image_processor, loaded.tokenizer), tmp_path / "hot",
                torch.float32, "locked-text", 1, True)  # fmt: skip
    result = train(
        recipe(max_steps=1), tmp_path / "hot", world / "tars", tmp_path / "o", quiet=True
    )
    assert result.log[-1]["state"]["logit_scale"] == pytest.approx(100, rel=1e-4)
    locked = train(recipe(max_steps=1, **{"options.train_logit_scale": False}), tmp_path / "hot",
                   world / "tars", tmp_path / "p", quiet=True)  # fmt: skip
    assert locked.log[-1]["state"]["logit_scale"] == pytest.approx(np.exp(4.9), rel=1e-4)
    assert not locked.run["manifest"]["tensors"]["logit_scale"]["declared"]


def test_layers_below_the_first_gate_need_no_backward_pass(world):
    made = make(recipe(), world / "clip", world / "tars", None)
    seen = {}
    for place, layer in enumerate(made.model.vision_model.encoder.layers):
        layer.register_forward_hook(
            lambda module, given, shown, place=place: seen.update({place: shown.requires_grad})
        )
    made.features(made.model, made.collate([made.read(0, 0)]))
    assert seen == {0: False, 1: True}


def test_it_goes_on_from_gates_kept_beside_a_model(world, tmp_path):
    first = run(world, tmp_path / "one", max_steps=3)
    second = make(recipe(**{"options.resume_gates": True}), first.model, world / "tars", None)
    batch = inputs(world)
    assert len(second.model.vision_model.encoder.layers) == 2
    plain = CLIPModel.from_pretrained(first.model)
    assert (logits(second.model, batch) - logits(plain, batch)).abs().max() < 1e-4
    with pytest.raises(UsageError, match="was trained as mode"):
        make(
            recipe("gated-both", **{"options.resume_gates": True}),
            first.model,
            world / "tars",
            None,
        )
    with pytest.raises(DataError, match="not trained with gates"):
        make(recipe(**{"options.resume_gates": True}), world / "clip", world / "tars", None)


def test_bfloat16_pieces_augmentation_and_checkpointing_work_together(world, tmp_path):
    result = run(world, tmp_path / "o", max_steps=2, precision="bf16", micro_batch=6,
                 activation_checkpointing=True, **{"options.augment": "react"})  # fmt: skip
    assert result.steps == 2 and result.run["manifest"]["undeclared_changes"] == []
    assert np.isfinite(result.loss)


# ---- SigLIP ----


def test_siglips_loss_is_the_formula_written_out():
    draw = np.random.default_rng(0)
    images, texts = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in draw.normal(size=(2, 5, 4))
    )
    total = 0.0
    for i in range(5):
        for j in range(5):
            sign = 1 if i == j else -1
            total += np.log1p(np.exp(-sign * (7.0 * images[i] @ texts[j] - 3.0)))
    found = pairwise(
        torch.tensor(images), torch.tensor(texts), torch.tensor(7.0), torch.tensor(-3.0)
    )
    assert float(found) == pytest.approx(total / 5, rel=1e-5)


def test_a_siglip_is_customised_and_scored(world, tmp_path):
    result = run(world, tmp_path / "o", "siglip", model="siglip", max_steps=3)
    manifest = result.run["manifest"]
    assert manifest["undeclared_changes"] == manifest["declared_unchanged"] == []
    assert manifest["tensors"]["logit_bias"]["declared"]
    plain = SiglipModel.from_pretrained(result.model)
    assert len(plain.vision_model.encoder.layers) == 3
    assert 0 <= accuracy(result.model) <= 1


def test_siglips_loss_trains_a_clip_that_stays_a_clip(world, tmp_path):
    result = run(world, tmp_path / "o", max_steps=2, **{"options.loss": "siglip"})
    assert result.run["manifest"]["tensors"]["logit_bias"]["declared"]
    assert not hasattr(CLIPModel.from_pretrained(result.model), "logit_bias")
    assert "logit_bias" in load_file(result.model / "unfolded.safetensors")


# ---- Recipes and the command ----


def test_recipes_state_what_was_published():
    assert set(names()["react"]) == {*MODES, "siglip", "retrieval"}
    default = find("react")
    assert default.name == "react/locked-text-gated-image" and default.lr == 5e-4
    assert (default.batch_size, default.betas, default.eps, default.weight_decay, default.warmup,
            default.epochs) == (4096, (0.9, 0.98), 1e-6, 0.1, 5000, 32)  # fmt: skip
    assert find("react/locked-text").lr == 5e-5
    assert 68.6 in [target.value for target in default.targets]
    merged = find("react/full", {"options": {"gamma": 0.8}})
    assert merged.options["mode"] == "full" and merged.options["gamma"] == 0.8
    for variant in names()["react"]:
        Options.model_validate(dict(find(f"react/{variant}").options))


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"options.gama": 0.5}, UsageError, "did you mean gamma"),
        ({"options.mode": "gated-txt"}, UsageError, "did you mean gated-text"),
        ({"options.gates": 9}, UsageError, "2 layers, not 9"),
        ({"options.gamma": 0}, UsageError, "greater than 0"),
    ],
)
def test_wrong_options_are_named(world, tmp_path, changes, kind, said):
    with pytest.raises(kind, match=said):
        run(world, tmp_path / "o", **changes)


def test_a_base_must_be_there_and_of_its_kind(world, tmp_path):
    with pytest.raises(UsageError, match="give it as --model"):
        train(recipe(), None, world / "tars", tmp_path / "o", quiet=True)
    with pytest.raises(DataError, match="cannot load"):
        run(world, tmp_path / "p", model="nothing")


def test_a_forecast_counts_what_trains(world):
    said = "\n".join(forecast(recipe(micro_batch=4), world / "clip", world / "tars", None, 2))
    assert "2 forward passes of 4 on each of 2, made twice" in said and "items    64" in said


def command(world, out, *words):
    changes = [w for key, value in SMALL.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    return [sys.executable, "-m", "harness", "train", "react", *changes,
            "--set", "epochs=6", "--set", "save_every=4", "--set", "micro_batch=6",
            "--set", "options.augment=react", "--model", str(world / "clip"),
            "--data", str(world / "tars"), "--out", str(out), *words]  # fmt: skip


def test_a_killed_process_goes_on_where_it_was(world, tmp_path):
    out = tmp_path / "o"
    kill_after_a_checkpoint(launch(command(world, out)), out)
    again = launch(command(world, out, "--resume"))
    said, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert "next: sightline run" in said
    whole = run(world, tmp_path / "whole", epochs=6, save_every=4, micro_batch=6,
                **{"options.augment": "react"})  # fmt: skip
    for file in ("model.safetensors", "unfolded.safetensors"):
        one = load_file(out / "model" / file)
        for name, tensor in load_file(whole.model / file).items():
            assert torch.equal(tensor, one[name]), name
