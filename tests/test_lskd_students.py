"""LSKD's students: masks, losses, negatives, what moves, and scores that survive the export."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_blip2
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lskd_students_data import BOXES, COLOURS, batch_of, made, make_world, recipe

from harness.errors import DataError, UsageError
from harness.find import make_model
from harness.types import Answer, Decoding, Image, Region, Sample
from trainers.engine.objective_loop import train
from trainers.localized import blip2, generative, items, losses, stage1, student


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("students"))


# ---- The mask of writing ----


def test_the_mask_lets_queries_see_no_text_and_words_no_later_word() -> None:
    mask = losses.itg_mask(2, torch.tensor([[1, 1, 1, 0]]))[0, 0].int()
    assert mask.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],  # padding: itself too, so that no row is empty
    ]


def test_queries_under_the_mask_are_those_of_the_picture_alone(world: Path) -> None:
    objective = made(world)
    network, batch = objective.model.eval(), batch_of(objective, range(4))
    model = network.blip2
    with torch.no_grad():
        hidden = network.seen(batch)
        images, _, states = network.features(hidden, batch["ids"], batch["mask"])
        alone = blip2.queries_of(model, blip2.normed(model, hidden))
        wanted = torch.nn.functional.normalize(model.vision_projection(alone), dim=-1)
        assert torch.allclose(images, wanted, atol=1e-6)
        changed = batch["ids"].clone()
        changed[:, 6:] = 9
        other, _, later = network.features(hidden, changed, batch["mask"])
        assert torch.equal(other, images)
        assert torch.equal(later[:, :6], states[:, :6])
        assert not torch.allclose(later[:, 6:], states[:, 6:], atol=1e-2)
        # words do see the picture
        assert not torch.allclose(network.features(hidden.flip(0), *_words(batch))[2], states)


def _words(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return batch["ids"], batch["mask"]


def test_padding_changes_nothing(world: Path) -> None:
    objective = made(world)
    network, batch = objective.model.eval(), batch_of(objective, range(4))
    wide = {**batch, **{n: torch.nn.functional.pad(batch[n], (0, 5)) for n in ("ids", "mask")}}
    with torch.no_grad():
        before, after = network(batch), network(wide)
    for name in stage1.PARTS:
        assert torch.allclose(before[name], after[name], atol=1e-5)


# ---- Contrast ----


def test_contrast_is_the_models_own_over_the_temperature(world: Path) -> None:
    from transformers import Blip2ForImageTextRetrieval

    objective = made(world)
    network, batch = objective.model.eval(), batch_of(objective, range(4))
    model = Blip2ForImageTextRetrieval.from_pretrained(world / "base").eval()
    ids, mask = _words(batch)
    front = torch.full((4, 4), int(model.config.image_token_index))
    with torch.no_grad():
        theirs = model(
            pixel_values=batch["pixels"],
            input_ids=torch.cat([front, ids], dim=1),
            attention_mask=torch.cat([torch.ones_like(front), mask], dim=1),
            use_image_text_matching_head=False,
        ).logits_per_image
        images, texts, _ = network.features(network.seen(batch), ids, mask)
    assert torch.allclose(losses.similarity(images, texts), theirs, atol=1e-5)


def numpy_contrast(images: np.ndarray, texts: np.ndarray, temperature: float) -> float:
    """ITC in plain words: the nearest query, both ways, a target smoothed by 0.1."""
    count = len(images)
    near = np.array([[max(q @ t for q in i) for t in texts] for i in images]) / temperature
    total = 0.0
    for table in (near, near.T):
        for row in range(count):
            logs = table[row] - math.log(sum(math.exp(x) for x in table[row]))
            target = np.full(count, 0.1 / count)
            target[row] += 0.9
            total -= float(target @ logs) / count / 2
    return total


def units(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    made = np.random.default_rng(seed).normal(size=shape)
    return torch.tensor(made / np.linalg.norm(made, axis=-1, keepdims=True))


def globe_of(images: torch.Tensor, texts: torch.Tensor, pictures: list[int]) -> losses.Globe:
    return losses.Globe(images, texts, torch.tensor(pictures), 0)


def test_contrast_equals_plain_arithmetic() -> None:
    images, texts = units((5, 3, 8), 0), units((5, 8), 1)
    every = globe_of(images, texts, list(range(5)))
    may = losses.allowed(every.pictures, every.pictures, 0, "negatives")
    (total, count), to_texts, to_images = losses.itc(images, texts, every, torch.tensor(0.07), may)
    wanted = numpy_contrast(images.numpy(), texts.numpy(), 0.07)
    assert float(total / count) == pytest.approx(wanted, rel=1e-6)
    assert torch.allclose(to_texts.T, to_images)


def test_statements_about_one_picture_are_negatives_or_take_no_part() -> None:
    images, texts = units((4, 3, 8), 2), units((4, 8), 3)
    every = globe_of(images, texts, [7, 7, 8, 9])
    numbers = every.pictures
    assert losses.allowed(numbers, numbers, 0, "negatives").int().sum(1).tolist() == [3] * 4
    may = losses.allowed(numbers, numbers, 0, "masked")
    assert may.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    (total, _), *_ = losses.itc(images, texts, every, torch.tensor(1.0), may)
    near = losses.similarity(images, texts)
    wanted = 0.0
    for table in (near, near.T):
        wanted += _row(table[0][[0, 2, 3]], 0) + _row(table[1][[1, 2, 3]], 0)
        wanted += _row(table[2], 2) + _row(table[3], 3)
    assert float(total) == pytest.approx(wanted / 2, rel=1e-6)


def _row(logits: torch.Tensor, own: int) -> float:
    logs = logits.log_softmax(0)
    return float(-(0.9 * logs[own] + 0.1 * logs.mean()))


# ---- Negatives and matching ----


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    pictures=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    spread=st.sampled_from([0.1, 5.0, 400.0]),
    same=st.sampled_from(["negatives", "masked"]),
)
def test_a_negative_is_never_a_positive(
    seed: int, pictures: list[int], spread: float, same: str
) -> None:
    made = np.random.default_rng(seed)
    count = len(pictures)
    logits = torch.tensor(made.normal(size=(count, count)) * spread)
    draws = torch.tensor([*made.random(count - 1), 1.0])  # 1: a lot rounded up
    numbers = torch.tensor(pictures)
    may = losses.allowed(numbers, numbers, 0, same)
    place, real = losses.hard(logits, may, draws)
    for row in range(count):
        assert bool(real[row]) == bool(may[row].any())
        if real[row]:
            assert int(place[row]) != row and may[row, place[row]]
            assert same == "negatives" or pictures[int(place[row])] != pictures[row]


def test_near_negatives_are_drawn_as_often_as_the_softmax_says() -> None:
    logits = torch.tensor([[9.0, 1.0, 0.0, -1.0]]).repeat(4000, 1)
    may = torch.tensor([[False, True, True, True]]).repeat(4000, 1)
    place, _ = losses.hard(logits, may, (torch.arange(4000) + 0.5) / 4000)
    found = torch.bincount(place, minlength=4) / 4000
    wanted = torch.tensor([1.0, 0.0, -1.0]).softmax(0)
    assert found[0] == 0 and torch.allclose(found[1:], wanted, atol=1e-3)


def test_matching_counts_pairs_then_two_kinds_of_mismatch() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.0, 4.0]])
    real = torch.tensor([True, True, True, False, True, True])
    total, count = losses.itm(logits, real)
    wanted = sum(math.log1p(math.exp(-x)) for x in (2.0, -1.0))  # labels 1
    wanted += sum(math.log1p(math.exp(x)) for x in (-3.0, -0.5, 4.0))  # labels 0; one left out
    assert float(total) == pytest.approx(wanted, rel=1e-5) and int(count) == 5


def test_three_passes_go_through_the_matching_head(world: Path) -> None:
    objective = made(world)
    network, batch = objective.model, batch_of(objective, range(4))
    seen: list[Any] = []
    network.blip2.itm_head.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    network(batch)
    assert [len(one) for one in seen] == [12]


def test_one_item_has_no_negative_and_still_a_loss(world: Path) -> None:
    objective = made(world)
    total, parts = objective.loss(objective.model, batch_of(objective, range(1)))
    assert math.isfinite(float(total.detach())) and all(math.isfinite(x) for x in parts.values())
    assert parts["itc"] == pytest.approx(0.0, abs=1e-6)


def test_next_words_are_counted_without_padding() -> None:
    tokens = torch.tensor([[5, 6, 7, 3], [5, 8, 3, 0]])
    text = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    places, targets = losses.next_words(tokens, text)
    assert targets.tolist() == [6, 7, 3, 8, 3] and places.int().sum() == 5
    logits = torch.zeros(5, 10)
    total, count = losses.written(logits, targets)
    assert float(total / count) == pytest.approx(math.log(10), rel=1e-6)


# ---- Several processes ----

TWO = """
import sys, torch, torch.distributed as distributed
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_lskd_students import PLACES, gradients
torch.set_num_threads(1)
world, rank = Path(sys.argv[2]), int(sys.argv[3])
distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{world}/meet")
out = {}
for same in ("negatives", "masked"):
    out[same] = found = gradients(world, PLACES[4 * rank : 4 * rank + 4], same)
    total = torch.tensor(found["total"])
    for value in (total, *found["grads"].values()):
        distributed.all_reduce(value)
        value /= 2
    found["total"] = float(total)
if rank == 0:
    torch.save(out, world / "two.pt")
distributed.barrier()
distributed.destroy_process_group()
"""
PLACES = (0, 1, 8, 3, 4, 9, 6, 7)
"""Triples 0 and 8, and 1 and 9, are about one picture."""


def gradients(world: Path, places: Sequence[int], same: str) -> dict[str, Any]:
    """Return the losses of items and the gradient of what trains."""
    objective = made(world, options={"same_image": same, "image_size": 32, "augment": "none"})
    total, parts = objective.loss(objective.model, batch_of(objective, places))
    total.backward()
    named = objective.model.named_parameters()
    grads = {n: p.grad for n, p in named if n in objective.members}
    return {"parts": parts, "total": float(total.detach()), "grads": grads}


def test_two_processes_are_one(world: Path) -> None:
    """Texts of the halves differ in length, and a picture has statements on both sides."""
    own = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(own), str(world), str(rank)],
            env=environment, cwd=own.parent, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    one = {same: gradients(world, PLACES, same) for same in ("negatives", "masked")}
    for process in running:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-2000:]
    two = torch.load(world / "two.pt", weights_only=True)
    assert one["masked"]["parts"] != one["negatives"]["parts"]
    for same, found in one.items():
        assert two[same]["parts"] == pytest.approx(found["parts"], rel=1e-5)
        assert two[same]["total"] == pytest.approx(found["total"], rel=1e-5)
        assert set(two[same]["grads"]) == set(found["grads"])
        for name, grad in found["grads"].items():
            assert torch.allclose(two[same]["grads"][name], grad, atol=1e-6, rtol=1e-4), name


# ---- Runs ----


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, student.Training]:
    """A short run at another resolution than the base's, and its objective after it."""
    out = tmp_path_factory.mktemp("run") / "out"
    told = recipe(options={"image_size": 48, "augment": "region_safe"}, save_every=1)
    result = train(
        told, world / "base", world / "triples.jsonl", out, images=world / "images", quiet=True
    )
    objective = student.make(told, world / "base", world / "triples.jsonl", world / "images")
    from trainers.engine.objective_trainer import load_state

    load_state(objective.model, out / "checkpoint-2")
    return result, objective


def test_only_what_is_declared_moves(world: Path, run: Any) -> None:
    result, _ = run
    changes = result.run["manifest"]
    assert changes["undeclared_changes"] == [] and changes["declared_unchanged"] == []
    moved = {n for n, facts in changes["tensors"].items() if facts["before"] != facts["after"]}
    towers = {name for name in moved if "vision_model" in name}
    norm = "blip2.vision_model.post_layernorm"
    assert towers == {f"{norm}.weight", f"{norm}.bias"}
    for part in ("temperature", "head.bias", "blip2.query_tokens", "blip2.itm_head.weight",
                 "blip2.vision_projection.weight", "blip2.text_projection.weight"):  # fmt: skip
        assert part in moved
    from transformers import Blip2ForImageTextRetrieval

    before = Blip2ForImageTextRetrieval.from_pretrained(world / "base").vision_model
    after = Blip2ForImageTextRetrieval.from_pretrained(result.model).vision_model
    assert torch.equal(
        before.encoder.layers[1].mlp.fc1.weight, after.encoder.layers[1].mlp.fc1.weight
    )
    assert not torch.equal(before.post_layernorm.weight, after.post_layernorm.weight)
    line = result.log[-1]
    assert set(line["parts"]) == {"itc", "itm", "itg"}
    assert line["loss"] == pytest.approx(sum(line["parts"].values()), rel=1e-4)
    assert line["state"]["temperature"] == pytest.approx(0.07, abs=0.01)


def test_exported_scores_are_those_of_training(world: Path, run: Any) -> None:
    """By from_pretrained without our code, and by the harness with regions drawn as in training."""
    from transformers import Blip2ForImageTextRetrieval, Blip2Processor

    result, objective = run
    model = Blip2ForImageTextRetrieval.from_pretrained(result.model).eval()
    assert model.config.vision_config.image_size == 48
    processor = Blip2Processor.from_pretrained(result.model)
    triple = objective.reader.triples[1]
    found = objective.reader.views.picture(triple, (0,))
    texts = [f"question: what is [0] ? answer: a {colour} square ." for colour in COLOURS]
    network = objective.model.eval()
    with torch.no_grad():
        pixels = blip2.pixels(objective.processor, found)[None].repeat(4, 1, 1, 1)
        words = blip2.tokens(network.blip2, objective.processor, texts)
        image = blip2.normed(network.blip2, blip2.before_norm(network.blip2, pixels))
        joint = blip2.together(network.blip2, image, words["input_ids"], words["attention_mask"])
        training = blip2.matching(network.blip2, joint).softmax(1)[:, 1].tolist()
        inputs = processor(
            images=[found] * 4, text=texts, return_tensors="pt", padding=True, truncation=True
        )
        alone = model(**inputs, use_image_text_matching_head=True).logits_per_image
        cosines = model(**inputs, use_image_text_matching_head=False).logits_per_image
    assert alone.softmax(1)[:, 1].tolist() == pytest.approx(training, abs=1e-5)
    plain = Image("1.png", world / "images" / "1.png")
    choices = tuple(f"a {colour} square ." for colour in COLOURS)
    asked = Sample(
        "1", (plain, "what is [8] ? answer:"), choices=choices, regions=(Region(BOXES[0], "[8]"),)
    )
    for match, wanted in (("itm", training), ("itc", cosines[0].tolist())):
        model_ = make_model(f"transformers:{result.model}", {"regions": "draw", "match": match})
        ((_, reply),) = model_.answer([asked], "rank", Decoding())
        assert isinstance(reply, Answer) and reply.scores == pytest.approx(wanted, abs=1e-5)
        told = model_.describe()
        assert told["score"] == match and told["options"]["regions"] == "draw"
    undrawn = make_model(f"transformers:{result.model}")
    ((_, reply),) = undrawn.answer([asked], "rank", Decoding())
    assert isinstance(reply, Answer) and reply.scores != pytest.approx(training, abs=1e-4)
    assert "regions" not in undrawn.describe()


def test_the_saved_model_cuts_texts_as_training_did(world: Path, tmp_path: Path) -> None:
    from transformers import Blip2Processor

    objective = made(world, options={"pieces": 9, "image_size": 32, "augment": "none"})
    objective.export(tmp_path)
    processor = Blip2Processor.from_pretrained(tmp_path)
    assert processor.tokenizer.model_max_length == 9
    assert batch_of(objective, range(4))["ids"].shape[1] == 9
    card = json.loads((tmp_path / "regions.json").read_text())
    assert card["prefix"] == "question: " and card["palette"] == "lskd" and card["pieces"] == 9


def test_a_student_goes_on_with_the_language_head_beside_its_base(run: Any, world: Path) -> None:
    result, objective = run
    again = student.make(
        recipe(), result.model, world / "triples.jsonl", world / "images"
    )  # at the base's old size: positions are interpolated back
    assert again.describe()["language_head"] == "language_head.safetensors"
    assert torch.equal(again.model.head.dense.weight, objective.model.head.dense.weight)
    assert torch.equal(again.model.temperature, objective.model.temperature)


def test_language_heads_of_lavis_and_bert_are_read() -> None:
    drawn = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=drawn)

    head = stage1.LanguageHead(8, 12, 1e-12, 0.02)
    tensors = {
        "Qformer.cls.predictions.transform.dense.weight": some(8, 8),
        "Qformer.cls.predictions.transform.dense.bias": some(8),
        "Qformer.cls.predictions.transform.LayerNorm.weight": some(8),
        "Qformer.cls.predictions.transform.LayerNorm.bias": some(8),
        "Qformer.cls.predictions.bias": some(10),  # a table without the last two words
    }
    head.read(tensors, "file")
    assert torch.equal(head.bias[:10], tensors["Qformer.cls.predictions.bias"])
    assert head.bias[10:].eq(0).all()
    head.read({k.removeprefix("Qformer."): v for k, v in tensors.items()}, "file")
    with pytest.raises(DataError, match=r"file has no head\.bias"):
        head.read({k: v for k, v in tensors.items() if not k.endswith("predictions.bias")}, "file")
    with pytest.raises(DataError, match=r"dense\.bias is \[3\], expected \[8\]"):
        name = "Qformer.cls.predictions.transform.dense.bias"
        head.read({**tensors, name: some(3)}, "file")


def test_training_learns_which_square_is_meant(world: Path) -> None:
    """Losses fall when the same batch is seen again and again."""
    objective = made(world, options={"regions": "mentioned", "image_size": 32, "augment": "none",
                                     "rationale": 0.0, "same_image": "masked"})  # fmt: skip
    batch = batch_of(objective, range(8))
    trained = [p for n, p in objective.model.named_parameters() if n in objective.members]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    objective.model.train()
    told = []
    for _ in range(30):
        total, parts = objective.loss(objective.model, batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        objective.after_step()
        told.append(parts)
    assert told[-1]["itg"] < told[0]["itg"] / 2
    assert told[-1]["itc"] < told[0]["itc"]


def test_kept_features_give_the_same_losses(world: Path) -> None:
    shown = {"regions": "mentioned", "image_size": 32, "augment": "none"}
    plain = made(world, options=shown)
    kept = made(world, options=shown | {"cache_features": True})
    for objective in (plain, kept):
        objective.model.eval()
    with torch.no_grad():
        first = plain.loss(plain.model, batch_of(plain, range(4)))[1]
        for epoch in (0, 1):
            batch = batch_of(kept, range(4), epoch)
            assert "pixels" not in batch
            if not epoch:
                assert kept.loss(kept.model, batch)[1] == pytest.approx(first, abs=1e-5)
    assert kept.reader.features is not None and kept.reader.features.computed == 4


def test_items_depend_on_seed_epoch_and_id_alone(world: Path) -> None:
    one, other = made(world), made(world, seed=5)
    again = batch_of(made(world), range(6))
    first = batch_of(one, range(6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["draws"], batch_of(other, range(6))["draws"])
    assert not torch.equal(first["draws"], batch_of(one, range(6), 1)["draws"])


def test_images_and_texts_keep_the_same_numbers(world: Path) -> None:
    """Whatever is shuffled, the box that the text calls [n] has the n-th colour."""
    from harness.engine.highlight import SLOTS

    objective = made(world)
    seen = set()
    for epoch in range(40):
        view = objective.reader.view(3, epoch)
        seen.add(view.shown)
        slot = view.shown.index(0)
        assert f"what is [{slot}] ?" in objective.reader.text(view)
        picture = objective.reader.views.picture(view.triple, view.shown)
        left, top, *_ = BOXES[0]
        assert picture.getpixel((left, top + 9)) == SLOTS[slot][1][:3]
    assert seen == {(0,), (0, 1), (1, 0)}


# ---- Faults ----


def test_what_cannot_be_is_said_before_anything_is_trained(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"image_sise.*did you mean image_size"):
        made(world, options={"image_sise": 480})
    with pytest.raises(UsageError, match="set augment=none"):
        made(world, options={"cache_features": True, "augment": "lavis"})
    with pytest.raises(UsageError, match="give --model"):
        student.make(recipe(), None, world, world / "images")
    with pytest.raises(UsageError, match="give --model"):
        generative.make(recipe("generative-t5"), None, world, world / "images")
    with pytest.raises(DataError, match="below the threshold: 14, no critic's score: 1"):
        made_ = small_blip2.line("x", "0.png", BOXES, ["a", "square"])
        rows = (world / "triples.jsonl").read_text().splitlines()[:14]
        small_blip2.write(tmp_path / "some.jsonl", [*map(json.loads, rows), made_])
        items.corpus(tmp_path / "some.jsonl", items.Seen(threshold=0.99))
    with pytest.raises(DataError, match="is no Blip2ForConditionalGeneration"):
        generative.make(recipe("generative-t5"), world / "base", world, world / "images")
    with pytest.raises(DataError, match=r"gone\.png"):
        small_blip2.write(tmp_path / "gone.jsonl", [
            small_blip2.line("x", "gone.png", BOXES, ["a", "square"])
        ])  # fmt: skip
        student.make(recipe(), world / "base", tmp_path / "gone.jsonl", world / "images")
    with pytest.raises(DataError, match="no weights of a language head"):
        (tmp_path / "head.safetensors").write_bytes(b"nothing")
        made(world, options={"language_head": str(tmp_path / "head.safetensors"),
                             "augment": "none"})  # fmt: skip


def test_the_critics_threshold_chooses_triples(world: Path) -> None:
    found, out = items.corpus(world, items.Seen(threshold=0.5))
    assert len(found) == 8 and out == {"below the threshold": 8}


def test_options_of_models_that_have_no_matching_head(world: Path, tmp_path: Path) -> None:
    from tiny_encoders import make_clip

    clip = make_clip(tmp_path / "clip")
    for options in ({"regions": "draw"}, {"match": "itc"}):
        with pytest.raises(UsageError, match="for BLIP-2 retrieval"):
            make_model(f"transformers:{clip}", options)
    with pytest.raises(UsageError, match="match must be one of itm, itc"):
        make_model(f"transformers:{world / 'base'}", {"match": "cosine"})
    with pytest.raises(UsageError, match="for BLIP-2: auto or draw"):
        make_model(f"transformers:{world / 'base'}", {"regions": "pool"})


# ---- LAVIS's schedule ----


def test_the_staircase_falls_once_in_each_inner_epoch() -> None:
    rates = [student.lavis_rate(step, 100, 10, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.01) and rates[1:10] == [1.0] * 9
    assert len(set(rates[10:20])) == 1 and rates[20] < rates[10] < 1
    halfway = 0.1 + 0.9 * (1 + math.cos(math.pi * 5 / 10)) / 2
    assert rates[50] == pytest.approx(halfway)
    slow = [student.lavis_rate(step, 100, 10, 0.1, warmup=5) for step in range(10)]
    assert slow[5:] == [1.0] * 5 and slow[1] == pytest.approx(0.01 + 0.99 / 5)


def test_a_run_follows_the_staircase(world: Path, tmp_path: Path) -> None:
    told = recipe(
        max_steps=4, min_lr=1e-4, log_every=1,
        options={"scheduler": "lavis", "inner_steps": 2, "image_size": 32, "augment": "none"},
    )  # fmt: skip
    result = train(
        told, world / "base", world / "triples.jsonl", tmp_path / "out",
        images=world / "images", quiet=True,
    )  # fmt: skip
    rates = [line["lr"]["base"] for line in result.log if "loss" in line]
    wanted = [1e-3 * student.lavis_rate(step, 4, 2, 0.1) for step in range(4)]
    assert rates == pytest.approx(wanted) and rates[2] == rates[3] < rates[1]


def test_pictures_that_a_task_draws_on_are_held_out_too(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Image("film.png", world / "images" / "3.png")
    shown = Image("film.png#lskd=0:0", partial(_unread, plain))

    class Task:
        @staticmethod
        def samples() -> list[Sample]:
            return [Sample("1", (shown, "why?"))]

    monkeypatch.setattr("harness.find.make_task", lambda name, data: Task)
    with pytest.raises(DataError, match=r"3\.png is vcr film\.png"):
        train(
            recipe(hold_out=("vcr=X",)), world / "base", world / "triples.jsonl",
            tmp_path / "out", images=world / "images", quiet=True,
        )  # fmt: skip


def _unread(image: Image) -> bytes:
    raise AssertionError("what a task draws is no file that anybody trains on")
