"""LSKD's critic: losses, what trains, the exported model, scores of a corpus."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_blip2
import torch
from PIL import Image
from safetensors.torch import load_file

from harness.errors import DataError, UsageError
from trainers import recipe as recipes
from trainers.engine.objective_loop import declare, train
from trainers.localized import blip2, critic, triples
from trainers.localized.score import Scorer, score


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_blip2.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_blip2.squares(tmp_path_factory.mktemp("corpus"))


def chosen(variant: str = "critic", **changes: Any) -> Any:
    """Return a recipe at the size of a test."""
    small = {
        "precision": "fp32", "options.image_size": None, "options.augment": "none",
        "options.regions": "mentioned", "batch_size": 4, "micro_batch": 4, "warmup": 0,
        "epochs": 1, "activation_checkpointing": False,
    }  # fmt: skip
    return recipes.find(f"lskd/{variant}", {**small, **changes})


def made(base: Path, corpus: Path, variant: str = "critic", **changes: Any) -> critic.Training:
    """Return the objective, ready to train."""
    recipe = chosen(variant, **changes)
    objective = critic.make(recipe, base, corpus, corpus / "images")
    declare(objective, recipe)
    return objective


def batch(objective: critic.Training, epoch: int = 0) -> dict[str, Any]:
    return objective.collate([objective.read(i, epoch) for i in range(len(objective))])


# ---- The model ----


def test_the_loss_against_numpy(base: Path, corpus: Path) -> None:
    logits = torch.tensor([[0.2, 1.1], [0.5, -0.3], [2.0, 0.0]])
    qa, r = torch.tensor([0.1, 0.6, 0.9]), torch.tensor([0.4, 0.2, 0.7])
    accept = torch.tensor([1, 0, 0])
    y_qa, y_r = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.0, 0.8, 0.3])
    z = logits.numpy().astype(float)
    own = z[[0, 1, 2], accept.numpy()]
    binary = np.mean(np.log(np.exp(z).sum(1)) - own)
    mse_qa = np.mean((qa.numpy() - y_qa.numpy()) ** 2)
    mse_r = np.mean((r.numpy() - y_r.numpy()) ** 2)
    bug = np.mean((r.numpy() - y_qa.numpy()) ** 2)
    for changes, expected in (
        ({}, binary + 0.5 * mse_qa + 0.5 * mse_r),
        ({"qa_weight": 0, "r_weight": 0}, binary),
        ({"r_weight": 0}, binary + 0.5 * mse_qa),
        ({"compat_r_target_bug": True}, binary + 0.5 * mse_qa + 0.5 * bug),
    ):
        options = critic.Options.model_validate(changes)
        total, parts = critic.loss((logits, qa, r), accept, y_qa, y_r, options)
        assert float(total) == pytest.approx(expected, rel=1e-6)
        assert parts["binary"] == pytest.approx(binary, rel=1e-6)
        assert ("qa" in parts) == bool(options.qa_weight)
    assert bug != pytest.approx(mse_r)


def test_the_released_fault_trains_the_rationale_towards_the_other_target(
    base: Path, corpus: Path
) -> None:
    """With the flag, what the rationale's target says makes no difference to any gradient."""

    def gradient(bug: bool, r: float) -> torch.Tensor:
        objective = made(base, corpus, **{"options.compat_r_target_bug": bug})
        inputs = batch(objective)
        inputs["r"] = torch.full_like(inputs["r"], r)
        objective.loss(objective.model, inputs)[0].backward()
        return objective.model.r_head[0].weight.grad.clone()

    assert torch.equal(gradient(True, 0.0), gradient(True, 0.9))
    assert not torch.allclose(gradient(False, 0.0), gradient(False, 0.9))


def test_every_declared_parameter_gets_a_gradient_and_no_other(base: Path, corpus: Path) -> None:
    for variant in ("critic", "critic-binary", "critic-qa", "critic-rationale", "critic-frozen"):
        changes = {"options.cache_features": False} if variant == "critic-frozen" else {}
        objective = made(base, corpus, variant, **changes)
        declared = set(declare(objective, objective.recipe))
        objective.loss(objective.model, batch(objective))[0].backward()
        reached = {n for n, p in objective.model.named_parameters() if p.grad is not None}
        assert reached == declared, variant
        tower = [name for name in declared if name.startswith(critic.TOWER)]
        assert bool(tower) == (variant != "critic-frozen")
        assert "blip2.vision_model.post_layernorm.weight" in declared


def test_matching_is_that_of_the_class_itself(base: Path, corpus: Path) -> None:
    from transformers import Blip2ForImageTextRetrieval

    objective = made(base, corpus)
    inputs = batch(objective)
    theirs = Blip2ForImageTextRetrieval.from_pretrained(base).eval()
    queries = theirs.config.num_query_tokens  # the class wants image tokens before the text
    ids = torch.cat([torch.full((16, queries), 4), inputs["input_ids"]], dim=1)
    mask = torch.cat([torch.ones(16, queries, dtype=torch.long), inputs["attention_mask"]], dim=1)
    with torch.no_grad():
        expected = theirs(
            pixel_values=inputs["pixel_values"], input_ids=ids, attention_mask=mask,
            use_image_text_matching_head=True,
        ).logits_per_image  # fmt: skip
        found = objective.model.eval()(
            inputs["input_ids"], inputs["attention_mask"], inputs["pixel_values"]
        )[0]
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(expected.std(0).min()) > 1e-4  # not one number for all


def test_kept_features_give_the_same_loss_and_each_picture_is_seen_once(
    base: Path, corpus: Path
) -> None:
    plain = made(base, corpus, "critic-frozen", **{"options.cache_features": False})
    kept = made(base, corpus, "critic-frozen")
    kept.model.load_state_dict(plain.model.state_dict())
    for epoch in (0, 1):
        one, _ = plain.loss(plain.model, batch(plain, epoch))
        other, _ = kept.loss(kept.model, batch(kept, epoch))
        assert float(one.detach()) == pytest.approx(float(other.detach()), abs=1e-5)
    assert kept.features is not None and kept.features.computed == 16
    with pytest.raises(UsageError, match="frozen tower"):
        made(base, corpus, **{"options.cache_features": True})
    with pytest.raises(UsageError, match="`workers` 0"):
        made(base, corpus, "critic-frozen", workers=1)


def test_a_critic_is_made_alike_whatever_was_drawn_before(base: Path, corpus: Path) -> None:
    """A resumed run makes its model anew."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = made(base, corpus)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two = made(base, corpus)
    other = made(base, corpus, seed=7)
    weights = [found.model.qa_head[0].weight for found in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_another_image_size_stretches_positions_and_loads_without_our_code(
    base: Path, tmp_path: Path
) -> None:
    from transformers import AutoProcessor, Blip2ForImageTextRetrieval

    model, processor = blip2.load(base, 60)  # 7 patches of 8 a side, 4 pixels over
    before = Blip2ForImageTextRetrieval.from_pretrained(base).vision_model.embeddings
    table = model.vision_model.embeddings.position_embedding[0]
    assert table.shape == (50, 32)
    assert torch.equal(table[0], before.position_embedding[0, 0])
    flat, _ = blip2.load(base)
    flat.vision_model.embeddings.position_embedding.data[:, 1:] = 0.25
    blip2.set_image_size(flat, processor, 60)  # what is the same everywhere stays the same
    assert torch.allclose(
        flat.vision_model.embeddings.position_embedding[0, 1:], torch.tensor(0.25)
    )
    blip2.save(model, processor, tmp_path / "out", blip2.Asked())
    loaded = Blip2ForImageTextRetrieval.from_pretrained(tmp_path / "out")
    assert loaded.config.vision_config.image_size == 60
    assert torch.equal(loaded.vision_model.embeddings.position_embedding[0], table)
    again = AutoProcessor.from_pretrained(tmp_path / "out")
    picture = blip2.pixels(again, Image.new("RGB", (20, 90), (9, 9, 9)))
    assert picture.shape == (3, 60, 60)
    with torch.no_grad():
        assert blip2.before_norm(loaded, picture[None]).shape == (1, 50, 32)
    same, _ = blip2.load(base, small_blip2.SIDE)
    assert torch.equal(same.vision_model.embeddings.position_embedding, before.position_embedding)


def test_bases_that_are_no_critic(tmp_path: Path, base: Path, corpus: Path) -> None:
    from tiny_encoders import make_clip

    with pytest.raises(DataError, match="is a clip, not a BLIP-2"):
        blip2.load(make_clip(tmp_path / "clip"))
    with pytest.raises(UsageError, match="give --model"):
        critic.make(chosen(), None, corpus, corpus / "images")
    with pytest.raises(UsageError, match="weight 0"):
        made(base, corpus, "critic-binary", **{"options.binary_weight": 0})
    with pytest.raises(UsageError, match="qa_weight"):
        made(base, corpus, **{"options.qa_wieght": 0})
    with pytest.raises(DataError, match=r"regions\.json"):
        Scorer(base, None)


def test_lines_that_cannot_be_trained_on(base: Path, corpus: Path, tmp_path: Path) -> None:
    good = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    boxes = [small_blip2.LEFT] * 6
    wide = small_blip2.line(
        "wide", good[0]["image"], boxes, [[0, 1, 2, 3, 4, 5], "are", "red"], accept=1, qa_score=1,
        r_score=1, region=[0, 1, 2, 3, 4, 5],
    )  # fmt: skip
    path = small_blip2.write(tmp_path / "some.jsonl", [*good, wide])
    objective = critic.make(chosen(), base, path, corpus / "images")
    assert len(objective) == 16 and sum(objective.left_out.values()) == 1
    more = critic.make(
        chosen(**{"options.palette": "extended", "options.most": 0}), base, path, corpus / "images"
    )
    assert len(more) == 17
    for line, words in (
        ({**good[0], "accept": None}, "has no labels"),
        ({**good[0], "image": "../train.jsonl"}, "outside"),
        ({**good[0], "image": "none.png"}, "does not exist"),
    ):
        path = small_blip2.write(tmp_path / "bad.jsonl", [line])
        with pytest.raises(DataError, match=words):
            critic.make(chosen(), base, path, corpus / "images")


# ---- Training ----


def fitted(base: Path, corpus: Path, draw: bool, steps: int) -> tuple[critic.Training, float]:
    """Return the objective after `steps` on all triples, and its accuracy then."""
    objective = made(base, corpus, **{"options.draw": draw})
    weights = [p for p in objective.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-3)
    inputs = batch(objective)
    for _ in range(steps):
        loss, parts = objective.loss(objective.model, inputs)
        if parts["accuracy"] == 1 and parts["binary"] < 0.1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return objective, parts["accuracy"]


@pytest.fixture(scope="module")
def learned(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A critic that was fitted to the corpus, and its export."""
    objective, accuracy = fitted(base, corpus, True, 90)
    folder = tmp_path_factory.mktemp("critic")
    objective.export(folder)
    return objective, accuracy, folder


def test_squares_are_told_apart_only_where_regions_are_drawn(
    base: Path, corpus: Path, learned: Any
) -> None:
    assert learned[1] == 1.0
    blind, accuracy = fitted(base, corpus, False, 3)
    assert accuracy == 0.5
    one, other = blind.read(0, 0), blind.read(1, 0)
    assert one["accept"] != other["accept"] and one["text"] == other["text"]
    assert torch.equal(one["pixel_values"], other["pixel_values"])  # so no training would help


def test_the_exported_critic_scores_as_in_training(learned: Any, corpus: Path) -> None:
    objective, _, folder = learned
    inputs = batch(objective)
    with torch.no_grad():
        logits = objective.model.eval()(
            inputs["input_ids"], inputs["attention_mask"], inputs["pixel_values"]
        )[0]
    expected = logits.softmax(1)[:, 1]
    found = list(triples.read(corpus / "train.jsonl"))
    scorer = Scorer(folder, corpus / "images")
    assert scorer.score(found) == pytest.approx(expected.tolist(), abs=1e-5)
    assert [scorer.score([one])[0] for one in found[:3]] == pytest.approx(
        expected[:3].tolist(), abs=1e-5
    )
    heads = load_file(folder / critic.HEADS)
    assert torch.equal(heads["qa_head.0.weight"], objective.model.qa_head[0].weight)
    assert len(heads) == 8
    card = json.loads((folder / blip2.CARD).read_text())
    assert card["palette"] == "lskd" and card["image_size"] == 32 and card["prefix"] == ""


def test_a_bfloat16_export_keeps_the_q_former_exact(learned: Any, tmp_path: Path) -> None:
    from transformers import Blip2ForImageTextRetrieval

    objective = learned[0]
    blip2.save(objective.model.blip2, objective.processor, tmp_path, blip2.Asked(), torch.bfloat16)
    exact = objective.model.blip2.query_tokens.detach()
    whole = Blip2ForImageTextRetrieval.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(whole.query_tokens, exact)
    tower = objective.model.blip2.vision_model.embeddings.class_embedding.detach()
    assert torch.equal(whole.vision_model.embeddings.class_embedding, tower.bfloat16().float())
    half = Blip2ForImageTextRetrieval.from_pretrained(tmp_path, dtype="auto")
    assert half.dtype == torch.bfloat16


def test_training_end_to_end_through_the_engine(base: Path, corpus: Path, tmp_path: Path) -> None:
    """The engine trains, checkpoints, notes what changed and exports; kept features as well."""
    own = {
        "critic": {"activation_checkpointing": True},
        "critic-frozen": {"precision": "bf16", "micro_batch": 2},
    }
    for variant, changes in own.items():
        recipe = chosen(variant, lr=1e-3, save_every=2, max_steps=3, **changes)
        out = tmp_path / variant
        found = train(recipe, base, corpus, out, images=corpus / "images", quiet=True)
        log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
        assert found.steps == 3 and {"binary", "qa", "rationale"} <= set(log[0]["parts"])
        assert (found.model / "config.json").is_file()
        before = load_file(base / "model.safetensors")
        after = load_file(found.model / "model.safetensors")
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        tower = {
            name for name in moved if name.startswith(("vision_model.emb", "vision_model.enc"))
        }
        assert bool(tower) == (variant == "critic")
        assert "vision_model.post_layernorm.weight" in moved and "itm_head.weight" in moved
        assert not {name for name in moved if "projection." in name and "self_attn" not in name}
        scores = Scorer(found.model, corpus / "images").score(
            list(triples.read(corpus / "train.jsonl"))
        )
        assert all(isinstance(one, float) and 0 < one < 1 for one in scores)


# ---- Scores of a corpus ----


def test_scoring_a_corpus_goes_on_after_kill(learned: Any, corpus: Path, tmp_path: Path) -> None:
    folder, out = learned[2], tmp_path / "scores"
    words = ["critic", "score", "--corpus", str(corpus / "train.jsonl"), "--critic", str(folder),
             "--images", str(corpus / "images"), "--out", str(out), "--batch", "1"]  # fmt: skip
    home = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *words],
        env={**os.environ, "PYTHONPATH": home, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    lines = out / "scores.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if lines.is_file() and lines.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = lines.read_bytes()
    assert 3 <= kept.count(b"\n") < 16 and not (out / "scored.jsonl").exists()
    lines.write_bytes(kept + b'{"id": "half')
    found = score(corpus / "train.jsonl", folder, corpus / "images", out)
    assert found.triples == 16 and not found.failed
    assert lines.read_bytes().startswith(kept) and lines.read_bytes().count(b"\n") == 16
    whole = score(corpus / "train.jsonl", folder, corpus / "images", tmp_path / "whole")
    ours, theirs = (
        [one.prediction for one in triples.read(result.scored)] for result in (found, whole)
    )
    assert ours == pytest.approx(theirs, abs=1e-5)
    with pytest.raises(UsageError, match="corpus differ"):
        other = tmp_path / "other.jsonl"
        triples.write(other, list(triples.read(corpus / "train.jsonl"))[:3])
        score(other, folder, corpus / "images", out)


SLOW = """
import sys, time
from trainers.localized import score
run = score.Scorer.score
def slow(self, batch):
    time.sleep(0.3)
    return run(self, batch)
score.Scorer.score = slow
from harness.cli import main
sys.argv[0] = "sightline"
main()
"""


def test_what_cannot_be_scored_has_a_reason_and_no_score(
    learned: Any, corpus: Path, tmp_path: Path
) -> None:
    found = list(triples.read(corpus / "train.jsonl"))[:4]
    images = tmp_path / "images"
    images.mkdir()
    for one in found:
        (images / one.image).write_bytes((corpus / "images" / one.image).read_bytes())
    missing = replace(found[0], id="missing", image="nowhere.png")
    outside = replace(found[0], id="outside", image="../train.jsonl")
    torn = replace(found[0], id="torn", image="torn.png")
    (images / "torn.png").write_bytes(b"\x89PNG no picture")
    triples.write(tmp_path / "corpus.jsonl", [missing, *found, outside, torn])
    out = tmp_path / "out"
    result = score(tmp_path / "corpus.jsonl", learned[2], images, out)
    scores = {one.id: one.prediction for one in triples.read(result.scored)}
    assert result.triples == 7 and sum(result.failed.values()) == 3
    assert {id for id, one in scores.items() if one is None} == {"missing", "outside", "torn"}
    (images / "nowhere.png").write_bytes((images / found[0].image).read_bytes())
    again = score(tmp_path / "corpus.jsonl", learned[2], images, out)
    assert sum(again.failed.values()) == 2  # what was missing is there now, and was tried again
