"""REACT's gated CLIP and its losses, on small random models."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from harness.errors import UsageError
from trainers.engine.contrast import contrast, positives
from trainers.engine.gated import MODES, clamp, customise, fold, gates, trainable

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


def small(seed: int = 0, layers: int = 3) -> CLIPModel:
    torch.manual_seed(seed)
    text = CLIPTextConfig(
        **SIZES, vocab_size=60, num_hidden_layers=layers, max_position_embeddings=16,
        eos_token_id=2, hidden_act="quick_gelu",
    )  # fmt: skip
    vision = CLIPVisionConfig(
        **SIZES, num_hidden_layers=layers, image_size=16, patch_size=8, hidden_act="quick_gelu"
    )
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16
    )
    return CLIPModel(config).eval()


def batch(count: int = 4) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    words = torch.randint(3, 60, (count, 8), generator=draw)
    words[:, -1] = 2
    pixels = torch.randn(count, 3, 16, 16, generator=draw)
    return {"input_ids": words, "pixel_values": pixels}


def features(model: CLIPModel, **inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shown = model(**inputs)
    return shown.image_embeds, shown.text_embeds


@pytest.mark.parametrize("mode", MODES)
def test_a_customised_model_starts_as_the_base_bit_for_bit(mode: str) -> None:
    base, model = small(), customise(small(), mode, last=2)
    with torch.no_grad():
        for one, other in zip(features(base, **batch()), features(model, **batch()), strict=True):
            assert torch.equal(one, other)


def open_gates(model: CLIPModel) -> None:
    with torch.no_grad():
        for number, (name, weight) in enumerate(model.named_parameters()):
            if name.endswith("_gate"):
                weight.fill_(0.3 + 0.2 * number)


@pytest.mark.parametrize("mode", ["locked-text-gated-image", "gated-text", "gated-both"])
def test_gates_fold_into_layers_and_load_as_a_plain_clip(mode: str, tmp_path: Path) -> None:
    model = customise(small(), mode, last=2)
    open_gates(model)
    plain = fold(model)
    plain.save_pretrained(tmp_path)
    loaded = CLIPModel.from_pretrained(tmp_path).eval()
    gated = MODES[mode]
    assert loaded.config.vision_config.num_hidden_layers == 3 + 2 * ("image" in gated)
    assert loaded.config.text_config.num_hidden_layers == 3 + 2 * ("text" in gated)
    with torch.no_grad():
        before = features(model, **batch())
        for after in (features(plain, **batch()), features(loaded, **batch())):
            for one, other in zip(before, after, strict=True):
                assert (one - other).abs().max() < 1e-5
        base = features(small(), **batch())
    assert any((one - other).abs().max() > 1e-3 for one, other in zip(base, before, strict=True))


def test_block_counts_are_those_of_table_2_6() -> None:
    with torch.device("meta"):
        model = customise(CLIPModel(CLIPConfig()), "gated-both", last=6)
    counted = {"vision_model": 0, "text_model": 0}
    for name, weight in model.named_parameters():
        if ".block." in name or name.endswith("_gate"):
            counted[name.partition(".")[0]] += weight.numel()
    assert counted == {"vision_model": 42_527_244, "text_model": 18_914_316}


@pytest.mark.parametrize(
    ("mode", "moves", "stays"),
    [
        ("locked-text-gated-image", ("vision_model.encoder.layers.2.block",), ("text_", "visual_")),
        ("locked-text", ("vision_model.", "visual_projection"), ("text_",)),
        ("locked-image", ("text_model.", "text_projection"), ("vision", "visual_")),
        ("gated-text", ("text_model.encoder.layers.2.block",), ("vision", "visual_")),
        ("full", ("text_", "vision"), ()),
    ],
)
def test_exactly_the_declared_weights_change(
    mode: str, moves: tuple[str, ...], stays: tuple[str, ...]
) -> None:
    model = customise(small(), mode, last=1)
    open_gates(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=1e-2
    )
    for _ in range(2):
        images, texts = features(model, **batch())
        contrast(images, texts, model.logit_scale.exp()).backward()
        optimizer.step()
        optimizer.zero_grad()
        clamp(model)
    changed = {
        name for name, old in before.items() if not torch.equal(old, model.state_dict()[name])
    }
    assert changed <= set(trainable(model, mode))
    assert "logit_scale" in changed
    for prefix in moves:
        assert any(name.startswith(prefix) for name in changed), prefix
    assert not any(name.startswith(stays) for name in changed) if stays else True
    for name in changed:
        if mode.startswith(("locked-text-gated", "gated")):
            assert ".block." in name or name.endswith("_gate") or name == "logit_scale"


def test_closed_gates_let_only_themselves_and_the_scale_feel_a_gradient() -> None:
    model = customise(small(), last=2)
    images, texts = features(model, **batch())
    contrast(images, texts, model.logit_scale.exp()).backward()
    felt = {
        name
        for name, weight in model.named_parameters()
        if weight.grad is not None and weight.grad.abs().max() > 0
    }
    assert felt == {"logit_scale", *gates(model)}
    assert set(gates(model).values()) == {0.0}


def test_the_scale_stays_below_a_hundred() -> None:
    model = small()
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    clamp(model)
    assert float(model.logit_scale.detach().exp()) == pytest.approx(100.0, rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "last", "named"), [("locked-tex", 1, "locked-text"), ("gated-text", 9, "3 layers")]
)
def test_what_cannot_be_is_named(mode: str, last: int, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        customise(small(), mode, last)
    with pytest.raises(UsageError, match="already"):
        customise(customise(small(), last=1), last=1)
    with pytest.raises(UsageError, match="gamma"):
        positives(torch.ones(1, 2), 0.0)


def unit(count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=draw).double(), dim=1)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 7), seed=st.integers(0, 999), gamma=st.floats(0.05, 0.95))
def test_the_loss_is_the_formula_written_out(count: int, seed: int, gamma: float) -> None:
    images, texts, scale = unit(count, seed), unit(count, seed + 1), torch.tensor(7.0).double()
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i in range(count):
            scores = [float(scale * rows[i] @ columns[j]) for j in range(count)]
            whole = float(torch.tensor(scores).double().logsumexp(0))
            mine = [k for k in range(count) if k == i or float(texts[k] @ texts[i]) >= gamma]
            total += sum(whole - scores[k] for k in mine) / len(mine)
    found = contrast(images, texts, scale, positives(texts, gamma))
    assert float(found) == pytest.approx(total / count / 2, rel=1e-4, abs=1e-5)


def test_without_other_positives_it_is_clips_loss() -> None:
    images, texts, scale = unit(6, 1), unit(6, 2), torch.tensor(10.0).double()
    clip = contrast(images, texts, scale)
    assert torch.equal(contrast(images, texts, scale, positives(texts, 1.0)), clip)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    assert float(contrast(images[order], texts[order], scale)) == pytest.approx(float(clip))
    target = torch.arange(6)
    logits = scale * images @ texts.T
    halves = [torch.nn.functional.cross_entropy(x, target) for x in (logits, logits.T)]
    assert float(clip) == pytest.approx(float(sum(halves)) / 2, rel=1e-5)


def test_neighbourhoods_are_not_transitive_and_own_similarity_is_forced() -> None:
    angles = torch.tensor([0.0, 20.0, 40.0]).deg2rad()
    texts = torch.stack([angles.cos(), angles.sin()], dim=1)
    same = positives(texts, 0.9)
    assert same[0, 1] and same[1, 2] and not same[0, 2]
    assert positives(torch.full((1, 3), 0.5773).half(), 1.0).all()


def test_two_processes_see_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch, torch.distributed as d\n"
        "from trainers.engine.contrast import contrast, gathered\n"
        "d.init_process_group('gloo')\n"
        "r = d.get_rank(); g = torch.Generator().manual_seed(5)\n"
        "x, y = (torch.nn.functional.normalize(torch.randn(6, 4, generator=g), dim=1) "
        "for _ in range(2))\n"
        "w = torch.eye(4, requires_grad=True)\n"
        "mine = slice(3 * r, 3 * r + 3)\n"
        "loss = contrast(gathered(x[mine] @ w), gathered(y[mine]), torch.tensor(5.0))\n"
        "loss.backward(); d.all_reduce(w.grad); w.grad /= d.get_world_size()\n"
        "v = torch.eye(4, requires_grad=True)\n"
        "whole = contrast(x @ v, y, torch.tensor(5.0)); whole.backward()\n"
        "assert torch.allclose(loss, whole, atol=1e-6), (loss, whole)\n"
        "assert torch.allclose(w.grad, v.grad, atol=1e-5), (w.grad, v.grad)\n"
        "d.destroy_process_group()\n"
    )
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, timeout=120,
        env={**__import__("os").environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
