"""Fine-tuning: what it reaches, what it leaves alone, its steps, its search, what it refuses."""

import json
import logging
import shutil
from array import array
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_elevater as made
import numpy as np
import pytest
import torch
from PIL import Image as Pil
from tiny_encoders import TEXTS, make_clip, make_siglip

from harness import probe as rules
from harness import run as loop
from harness.api import run
from harness.dry import describe
from harness.engine import finetune
from harness.engine.dual import DualEncoder, Towers
from harness.engine.finetune import Network, Pictures, Tuner, trained_by_images
from harness.engine.load import Settings
from harness.errors import UsageError
from harness.find import make_model, make_task
from harness.fit import Fit, searching
from harness.models.blind import Blind
from harness.models.transformers import Decoder
from harness.probe import ELEVATER, Protocol, measure_of
from harness.record import read
from harness.types import Answer, Decoding, Failure, Image, Sample
from tasks._elevater_sets import ALL

CPU = Settings(device="cpu", dtype="float32")
QUICK = Protocol(rates=(1e-3, 1e-2), decays=(1e-6,), stride=1, spans=(), epochs=4, final_epochs=8)
CLASSES = ("the cat", "a green tree")
PROMPTS = {CLASSES[0]: TEXTS[:1], CLASSES[1]: TEXTS[3:4]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


def stripes(seed: int, upright: bool) -> bytes:
    """Return a noisy picture with stripes of random colours, upright or lying."""
    from io import BytesIO

    draw = np.random.default_rng(seed)
    bars = draw.integers(0, 256, (1, 8, 3)).repeat(8, axis=0)
    pixels = (bars if upright else bars.transpose(1, 0, 2)) + draw.integers(-20, 21, (8, 8, 3))
    file = BytesIO()
    small = Pil.fromarray(pixels.clip(0, 255).astype(np.uint8))
    small.resize((48, 48), Pil.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def shown(count: int, first: int = 0) -> tuple[list[Image], list[tuple[int, ...]]]:
    labels = [(i % 2,) for i in range(count)]
    images = [
        Image(f"{first + i}.png", stripes(first + i, upright=bool(place)))
        for i, (place,) in enumerate(labels)
    ]
    return images, labels


def fit_of(train: int = 24, test: int = 20, **changes: Any) -> Fit:
    fit = Fit("stripes", CLASSES, PROMPTS, "accuracy", shown(train), shown(test, 1000))
    return replace(fit, **{"protocol": QUICK, **changes})


def samples_of(fit: Fit) -> list[Sample]:
    facts = {"fit": fit}
    return [
        Sample(image.name, (image,), CLASSES[places[0]], CLASSES, facts=facts)
        for image, places in zip(*fit.test, strict=True)
    ]


def ask(model: Any, samples: list[Sample]) -> list[Answer | Failure]:
    """Return the replies in the order of the samples, each position exactly once."""
    replies = list(model.answer(samples, "rank", Decoding()))
    assert sorted(at for at, _ in replies) == list(range(len(samples)))
    return [reply for _, reply in sorted(replies, key=lambda reply: reply[0])]


def right(samples: list[Sample], replies: list[Answer | Failure]) -> float:
    hits = [s.choices[r.choice] == s.target for s, r in zip(samples, replies, strict=True)]
    return 100 * sum(hits) / len(hits)


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


# What it reaches, what it leaves alone.


def test_stripes_are_learnt_that_the_model_cannot_tell_before(clip):
    protocol = replace(QUICK, rates=(1e-2, 3e-2), epochs=10, final_epochs=30)
    fit = fit_of(train=64, test=40, protocol=protocol)
    samples, model = samples_of(fit), DualEncoder(str(clip), CPU)
    plain = [replace(s, facts={"prompts": PROMPTS, "scale": 100.0}) for s in samples]
    assert 30 <= right(plain, ask(model, plain)) <= 70
    before, draws = state(model.towers().model), torch.random.get_rng_state()
    replies = ask(model, samples)
    assert right(samples, replies) >= 95
    for reply in replies:
        assert len(reply.scores) == len(reply.features) == 2
        assert sum(reply.scores) == pytest.approx(1) == pytest.approx(sum(reply.features))
        assert "64 images" in reply.text and "rate 0.0" in reply.text
    # The loaded model is as it was, and ranks as it did; nobody's random numbers were used.
    after = model.towers().model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(p.requires_grad for p in model.towers().model.parameters())
    assert torch.equal(draws, torch.random.get_rng_state())
    assert 30 <= right(plain, ask(model, plain)) <= 70


@pytest.mark.parametrize("maker", [make_clip, make_siglip])
def test_only_the_image_side_is_trained(tmp_path, maker):
    towers = Towers(str(maker(tmp_path)), CPU)
    tuner = Tuner(towers, CPU)
    tuner.tune(fit_of(protocol=replace(QUICK, rates=(1e-2,))))
    changed = {
        name
        for name, value in tuner._copy.state_dict().items()
        if not torch.equal(value, towers.model.state_dict()[name])
    }
    image_side = {
        name
        for name, _ in towers.model.named_parameters()
        if name.startswith(("vision_model.", "visual_projection."))
    }
    trained = {name for name, p in tuner._copy.named_parameters() if p.requires_grad}
    assert trained == image_side
    # A key's bias moves all of a query's scores alike, so that only decay works on it.
    assert changed <= image_side and len(changed) > 0.8 * len(image_side)
    assert any(name.startswith("vision_model.embeddings") for name in changed)


def test_a_head_that_starts_at_random_needs_no_text(clip):
    model = DualEncoder(str(clip), CPU)
    first = ask(model, samples_of(fit_of(prompts=None)))
    assert first == ask(model, samples_of(fit_of(prompts=None)))
    assert first != ask(model, samples_of(fit_of()))


# Training, step by step.


@pytest.mark.parametrize("multilabel", [False, True])
def test_an_epoch_is_plain_sgd_on_images_and_head(clip, multilabel):
    """The same three epochs, with transformers' own model and the update written out."""
    from transformers import AutoModel, AutoProcessor

    images, labels = shown(70)  # a batch of 64 and one of 6
    if multilabel:
        labels = [(0, 1) if i % 5 == 0 else places for i, places in enumerate(labels)]
    rate, decay = 3e-3, 1e-2
    towers = Towers(str(clip), CPU)
    tuner = Tuner(towers, CPU)
    trained_by_images(tuner._copy, next(tuner._pictures.batches(images[:1], 1)))
    start = rules.head_start(None, 2, 24)
    network = Network(tuner._copy, *start)
    steps = finetune._Steps(network, tuner._pictures, multilabel, (rate, decay), ELEVATER)

    theirs, processor = AutoModel.from_pretrained(clip), AutoProcessor.from_pretrained(clip)
    pictures = [Pil.open(finetune_bytes(image)).convert("RGB") for image in images]
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    normal = torch.nn.BatchNorm1d(24, affine=False)
    head = [part.clone().requires_grad_() for part in start]
    tower = [*theirs.vision_model.parameters(), *theirs.visual_projection.parameters()]
    weights = [*tower, *head]
    speeds = [torch.zeros_like(weight) for weight in weights]
    gold = torch.zeros(70, 2)
    for at, places in enumerate(labels):
        gold[at, list(places)] = 1

    def logits(rows):
        features = theirs.get_image_features(pixel_values=pixels[rows]).pooler_output
        return normal(features) @ head[0].T + head[1]

    order = torch.Generator().manual_seed(0)
    for trained in steps.epochs((images, labels), 3, 16):
        normal.train()
        for rows in torch.randperm(70, generator=order).split(64):
            said = logits(rows)
            if multilabel:
                terms = (
                    gold[rows] * said.sigmoid().log() + (1 - gold[rows]) * (-said).sigmoid().log()
                )
                loss = -terms.mean()
            else:
                loss = -(gold[rows] * said.log_softmax(dim=-1)).sum(dim=-1).mean()
            slopes = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for weight, speed, slope in zip(weights, speeds, slopes, strict=True):
                    speed.mul_(0.9).add_(slope + decay * weight)
                    weight.sub_(rate * speed)
        normal.eval()
        with torch.no_grad():
            wanted = logits(torch.arange(70)).softmax(dim=-1)
        assert torch.allclose(trained.probabilities(images, 0), wanted, atol=1e-4)
    ours = dict(network.tower.named_parameters())
    for name, weight in theirs.named_parameters():
        assert torch.allclose(ours[name], weight, atol=1e-4), name
    assert torch.allclose(network.layer.weight, head[0], atol=1e-4)


def finetune_bytes(image: Image) -> Any:
    from io import BytesIO

    return BytesIO(image.read())


def test_pictures_are_the_same_whether_kept_or_read_again(clip):
    prepare = Towers(str(clip), CPU).parts.pixels
    images, _ = shown(7)
    found = []
    for room, workers in ((None, 2), (0, 2), (40_000, 0)):
        pictures = Pictures(prepare, workers, room)
        assert pictures.check(images) == {}
        for _ in range(2):
            batches = [pixels["pixel_values"] for pixels in pictures.batches(images, 3)]
            assert [len(batch) for batch in batches] == [3, 3, 1]
            found.append(torch.cat(batches))
    assert all(torch.equal(found[0], other) for other in found)


# The search.


def test_the_search_trains_what_the_grid_has_and_nothing_else(clip, caplog, monkeypatch):
    asked: list[tuple[float, float]] = []

    def spy(score_all, protocol):
        def noted(pairs):
            asked.extend(pairs)
            return score_all(pairs)

        return choose(noted, protocol)

    choose = rules.choose
    monkeypatch.setattr(rules, "choose", spy)
    protocol = replace(ELEVATER, epochs=1, final_epochs=1)
    with caplog.at_level(logging.INFO, logger="harness.engine.finetune"):
        fitted, _ = Tuner(Towers(str(clip), CPU), CPU).tune(fit_of(10, 4, protocol=protocol))
    lines = [r.args for r in caplog.records if "images" in r.message]
    trained = [pair[1:] for pair in lines]
    # The final training comes last, on all 10 images; the search had 8, for 2 are held out.
    assert trained == [(*pair, 8) for pair in asked] + [(fitted.rate, fitted.decay, 10)]
    rates, decays = np.logspace(-6, -1, 6), np.logspace(-6, 6, 97)
    coarse = [(rate, decay) for rate in rates for decay in decays[::16]]
    assert np.allclose(asked[:42], coarse, rtol=1e-9)
    # 8, 4, 2 and 1 steps to both sides of each rate's best, or to one where that lies at an end.
    assert 6 * 11 <= len(asked) <= 6 * 15
    for rate, decay in asked:
        assert np.isclose(rates, rate).any() and np.isclose(decays, decay, rtol=1e-9).any()


def test_a_large_set_is_searched_on_a_subset(clip, caplog):
    fit = fit_of(30, 4, search=shown(20, 500))
    with caplog.at_level(logging.INFO, logger="harness.engine.finetune"):
        Tuner(Towers(str(clip), CPU), CPU).tune(fit)
    counts = [r.args[3] for r in caplog.records if "images" in r.message]
    assert counts == [16, 16, 30]  # of 20 images a fifth is held out; the end is on all 30


def test_the_small_grid_is_said_and_searched(clip):
    small = searching(ELEVATER, "small")
    assert (small.epochs, small.final_epochs, small.batch) == (10, 50, 64)
    tried: list[Any] = []
    rules.choose(lambda pairs: tried.extend(pairs) or [0.5] * len(pairs), small)
    assert len(set(tried)) == len(tried) == 12
    assert searching(ELEVATER, "full") is ELEVATER
    plain, poor = (
        make_model(f"transformers:{clip}", {"device": "cpu", **more}).describe()
        for more in ({}, {"fit_grid": "small"})
    )
    assert poor["options"]["fit_grid"] == "small" and "fit_grid" not in plain["options"]
    with pytest.raises(UsageError, match="fit_grid must be one of full, small"):
        make_model(f"transformers:{clip}", {"fit_grid": "tiny"})


# Trouble.


def test_an_unreadable_picture_costs_what_it_must(clip):
    model, bad = DualEncoder(str(clip), CPU), Image("bad.png", b"no picture")
    good = fit_of()
    images, labels = good.test
    replies = ask(model, samples_of(replace(good, test=([bad, *images], [(0,), *labels]))))
    assert isinstance(replies[0], Failure) and "bad.png" in replies[0].error
    assert replies[1:] == ask(model, samples_of(good))
    images, labels = good.train
    harmed = replace(good, train=([*images, bad], [*labels, (1,)]))
    for reply in ask(model, samples_of(harmed)):
        assert "cannot train on stripes: image bad.png" in reply.error


def test_training_that_goes_to_infinity_ends(clip):
    for rates in ((1e30,), (1e30, 1e-3)):
        protocol = replace(QUICK, rates=rates)
        fitted, _ = Tuner(Towers(str(clip), CPU), CPU).tune(fit_of(protocol=protocol))
        assert fitted.rate == (0 if len(rates) == 1 else 1e-3)
        assert fitted.best.isfinite().all() and fitted.last.isfinite().all()


# The task around it.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with training data of one set of each kind that matters here."""
    root = tmp_path_factory.mktemp("data")
    pictures = [made.picture(i) for i in range(4)]
    for name in ("hateful-memes", "kitti-distance", "voc-2007-classification"):
        one = ALL[name]
        splits = {"test": made.labels_of(one, 20), "train": made.labels_of(one, 60)}
        made.write_set(root / name, one, splits, pictures)
    made.write_names(root)
    return root


def quick(task: Any) -> Any:
    """Return a task with quicker trainings than the protocol's."""
    fits: dict[Fit, Fit] = {}
    samples = []
    for sample in task.samples():
        fit = sample.facts["fit"]
        known = fits.setdefault(fit, replace(fit, protocol=replace(QUICK, rates=(1e-3,))))
        samples.append(replace(sample, facts={**sample.facts, "fit": known}))
    return replace(task, samples=lambda: samples)


def test_the_record_holds_the_best_and_the_last_epoch_of_each_seed(clip, data, tmp_path):
    task = quick(make_task("elevater/ft-5", str(data)))
    record = run(DualEncoder(str(clip), CPU), task, out=tmp_path / "run")
    values = {name: found["value"] for name, found in record.metrics.items()}
    assert record.counts["scored"] == 3 * 3 * 20 and task.headline == "mean_of_3"
    rows = [row for row in record.rows()]
    gold = {s.id: list(s.facts["labels"]) for s in task.samples()}
    metrics = {s.facts["set"].name: s.facts["set"].metric for s in task.samples()}
    for name, metric in metrics.items():
        for seed in range(3):
            mine = [r for r in rows if r["groups"] == {"set": name, "seed": seed}]
            assert len(mine) == 20
            labels = [gold[row["id"]] for row in mine]
            best = np.array([row["answer"]["scores"] for row in mine])
            last = np.array([features(row) for row in mine])
            for end, said in (("", best), ("last.", last)):
                wanted = 100 * measure_of(metric)(labels, said)
                assert values[f"{end}{name}.{metric}.seed{seed}"] == pytest.approx(wanted)
            assert 100 * measure_of(metric)(labels, best) >= wanted
        seeds = [values[f"{name}.{metric}.seed{seed}"] for seed in range(3)]
        assert values[f"{name}.{metric}"] == pytest.approx(sum(seeds) / 3)
        assert values[f"{name}.{metric}.std"] == pytest.approx(np.std(seeds))
        assert record.metrics[f"{name}.{metric}"]["clusters"] == 20  # images, not answers
    voc = [r for r in rows if r["groups"]["set"] == "voc-2007-classification"]
    for row in voc:
        assert row["stats"]["probabilities.best"] == row["answer"]["scores"]
        assert row["stats"]["probabilities.last"] == features(row) and len(row["choices"]) == 20
    assert any(row["answer"]["scores"] != features(row) for row in voc)


def features(row: dict[str, Any]) -> list[float]:
    return array("f", b64decode(row["answer"]["features"])).tolist()


def test_what_is_trained_on_is_the_probes_subset_and_its_hash_is_kept(data, tmp_path):
    probe = make_task("elevater/lp-5-random", str(data / "hateful-memes"))
    task = make_task("elevater/ft-5-random", str(data / "hateful-memes"))
    fits = list(dict.fromkeys(s.facts["fit"] for s in task.samples()))
    assert [fit.name for fit in fits] == [f"hateful-memes, seed {seed}" for seed in range(3)]
    assert all(fit.prompts is None and fit.protocol is ELEVATER for fit in fits)
    train = [s for s in probe.samples() if s.groups["part"] == "train"]
    for seed, fit in enumerate(fits):
        drawn = {s.facts["stats"]["ranks"][seed]: s.prompt[0].name for s in train}
        drawn.pop(None, None)
        assert [image.name for image in fit.train[0]] == [drawn[at] for at in sorted(drawn)]
        assert len(fit.train[0]) == 10 and len(fit.test[0]) == 20
    other = shutil.copytree(data / "hateful-memes", tmp_path / "hateful-memes")
    shutil.copy(data / "classes_and_templates.json", tmp_path)
    document = json.loads((other / "train_meta.json").read_text())
    document["images"] = document["images"][:-1]
    (other / "train_meta.json").write_text(json.dumps(document))
    changed = make_task("elevater/ft-5-random", str(other))
    assert (
        changed.scorer != task.scorer
        and changed.scorer.split("+")[1:-1] == (task.scorer.split("+")[1:-1])
    )
    full = make_task("elevater/ft-full", str(data / "hateful-memes"))
    assert {len(s.facts["fit"].train[0]) for s in full.samples()} == {60}
    assert not any(m.name.endswith(".std") for m in full.metrics)


def test_a_killed_run_goes_on_to_the_same_scores(clip, data, tmp_path):
    def start(resume: bool) -> Any:
        task = quick(make_task("elevater/ft-5", str(data / "hateful-memes")))
        model = DualEncoder(str(clip), CPU)
        return run(model, task, out=tmp_path / "run", resume=resume)

    whole = start(resume=False)
    wanted = {row["id"]: (row["answer"], row["stats"]) for row in whole.rows()}
    metrics = whole.metrics
    # What `kill -9` leaves in the second training's answers: rows, the last one half-written.
    lines = (tmp_path / "run" / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "rows.jsonl").write_bytes(b"".join(lines[:27]) + lines[27][:40])
    again = start(resume=True)
    assert {row["id"]: (row["answer"], row["stats"]) for row in again.rows()} == wanted
    assert read(tmp_path / "run").metrics == metrics


def test_models_that_cannot_be_trained_are_refused_before_anything_is_asked(clip, data):
    task = make_task("elevater/ft-5", str(data))
    dual = DualEncoder(str(clip), CPU)
    for model in (Decoder("nowhere", CPU, "images"), Blind(dual)):
        with pytest.raises(UsageError, match="cannot be: take a dual encoder"):
            loop.plan(task, model)
        assert loop.plan(make_task("elevater/lp-5", str(data)), model).samples
    for floor in ("oracle", "constant", "random", "majority"):
        assert len(loop.plan(task, make_model(floor)).samples) == 180
    said = describe(loop.plan(task, DualEncoder("nowhere", CPU)), measure=16)  # loads nothing
    assert "training    9 times, on" in said and "not measured" in said


def test_a_floor_has_no_epochs_and_an_answer_without_scores_is_not_judged(data):
    task = make_task("elevater/ft-5", str(data))
    for sample in task.samples():
        found = task.score(sample, Answer(scores=(0.0,) * len(sample.choices)))
        ends = [found.stats[key] for key in found.stats if key.endswith((".best", ".last"))]
        assert len(ends) == 2 and ends[0] == ends[1]
        for answer in (Answer(text=sample.target), Answer(scores=(1.0,), features=(1.0,))):
            assert task.score(sample, answer).status == "unjudged"
