"""The linear probe: its training is PyTorch's, its search and subsets the toolkit's, its end real.

Real handwritten digits, encoded by a small network that is trained here, must be read well.
"""

import math
from collections import Counter
from io import BytesIO
from random import Random

import made_elevater as made
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures
from shared_data import shared

from harness import probe as rules
from harness.api import run
from harness.errors import DataError, RunStopped
from harness.find import make_task
from harness.probe import ELEVATER, Protocol, choose, few, hold_out, probe
from harness.types import Answer
from tasks._elevater_sets import ALL

QUICK = Protocol(rates=(1e-2, 1e-1), decays=(1e-6, 1e-3, 1.0), stride=1, spans=(), epochs=3,
                 final_epochs=5)  # fmt: skip


def cloud(n: int, classes: int, size: int = 8, seed: int = 0, gap: float = 2.0):
    """Return features that lie around one place per class, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = [[i % classes] for i in range(n)]
    features = torch.randn(n, size, generator=generator)
    for at, (place,) in enumerate(labels):
        features[at, place % size] += gap
    return features, labels


# Training.


@pytest.mark.parametrize("multilabel", [False, True])
def test_training_side_by_side_is_pytorchs_sgd_one_by_one(multilabel):
    features, labels = cloud(150, 4)
    if multilabel:
        labels = [[place, (place + 1) % 4] if place else [0] for (place,) in labels]
    pairs = [(0.1, 1e-3), (0.01, 1.0), (0.3, 0.0)]
    start = rules.head_start(None, 4, 8)
    metric = "map11" if multilabel else "accuracy"
    *_, heads = rules._epochs((features, labels), start, pairs, metric, ELEVATER, 3)
    gold = torch.zeros(150, 4)
    for at, places in enumerate(labels):
        gold[at, places] = 1
    loss = torch.nn.BCEWithLogitsLoss() if multilabel else torch.nn.CrossEntropyLoss()
    for head, (rate, decay) in enumerate(pairs):
        net = torch.nn.Sequential(
            torch.nn.BatchNorm1d(8, affine=False), torch.nn.Linear(8, 4)
        ).train()
        with torch.no_grad():
            net[1].weight.copy_(start[0])
            net[1].bias.copy_(start[1])
        sgd = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
        order = torch.Generator().manual_seed(0)
        for _ in range(3):
            for rows in torch.randperm(150, generator=order).split(64):
                sgd.zero_grad()
                loss(net(features[rows]), gold[rows]).backward()
                sgd.step()
        theirs = net.eval()(features).softmax(dim=-1).detach()
        assert torch.allclose(heads.probabilities(features, head), theirs, atol=1e-5)


def test_a_random_head_starts_like_pytorchs():
    weights, biases = rules.head_start(None, 50, 64)
    bound = 1 / math.sqrt(64)
    for values in (weights, biases):
        assert values.abs().max() <= bound and values.abs().mean() == pytest.approx(
            bound / 2, rel=0.3
        )
    layer = torch.nn.Linear(64, 50)
    assert layer.weight.abs().max() <= bound  # the same range
    assert torch.equal(rules.head_start(None, 50, 64)[0], weights)


def test_a_batch_of_one_is_passed_over():
    features, labels = cloud(65, 2)
    for heads in rules._epochs(
        (features, labels), rules.head_start(None, 2, 8), [(0.1, 0)], "accuracy", ELEVATER, 1
    ):
        assert heads.weights.isfinite().all()


def test_a_probe_finds_what_is_there_and_best_is_never_below_last():
    train, test = cloud(300, 4), cloud(200, 4, seed=1)
    for metric in ("accuracy", "mean_per_class"):
        fitted = probe(train, test, metric, classes=4)
        measure = rules.measure_of(metric)
        best, last = (measure(test[1], x.double().numpy()) for x in (fitted.best, fitted.last))
        assert best >= last > 0.8 and fitted.rate in ELEVATER.rates
        assert 1 <= fitted.best_epoch <= 50
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(2))
    fitted = probe(
        (noise, train[1][:200]), (noise[:100].flip(0), test[1][:100]), "accuracy", classes=4
    )
    assert rules.measure_of("accuracy")(test[1][:100], fitted.last.double().numpy()) < 0.5


def test_the_text_head_is_where_training_starts():
    """A rate of nearly nothing leaves the zero-shot classifier on normalised features."""
    train, test = cloud(200, 3), cloud(50, 3, seed=1)
    start = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
    still = Protocol(
        rates=(1e-12,), decays=(1e-6,), stride=1, spans=(), epochs=1, final_epochs=200, batch=200
    )
    fitted = probe(train, test, "accuracy", start=start, classes=3, protocol=still)
    mean, spread = train[0].mean(dim=0), train[0].std(dim=0)
    wanted = ((test[0] - mean) / spread @ start.T).softmax(dim=-1)
    assert torch.allclose(fitted.last, wanted, atol=1e-4)


def test_training_that_goes_to_infinity_scores_nothing():
    train, test = cloud(200, 3), cloud(60, 3, seed=1)
    wild = Protocol(
        rates=(1e-2, 1e30), decays=(1e-6,), stride=1, spans=(), epochs=2, final_epochs=3
    )
    fitted = probe(train, test, "accuracy", classes=3, protocol=wild)
    assert fitted.rate == 1e-2
    hopeless = Protocol(rates=(1e30,), decays=(1e6,), stride=1, spans=(), epochs=2, final_epochs=3)
    fitted = probe(train, test, "accuracy", classes=3, protocol=hopeless)
    assert (fitted.rate, fitted.decay) == (0.0, 0.0)  # the toolkit then leaves the head as it is


def test_training_that_ends_in_infinity_has_no_opinion_at_the_end():
    class Epoch:
        def __init__(self, number):
            self.number = number

        def probabilities(self, inputs, candidate):
            said = torch.tensor([[0.1, 0.9]] * len(inputs))
            return said if self.number < 2 else said / 0 - said / 0

    def learn(part, pairs, epochs):
        return map(Epoch, range(3))

    part = [None] * 4, [[1], [1], [0], [1]]
    fitted = rules.tune(learn, part, part, "accuracy", classes=2, protocol=QUICK)
    assert fitted.best_epoch == 1 and torch.equal(fitted.best, torch.tensor([[0.1, 0.9]] * 4))
    assert torch.equal(fitted.last, torch.tensor([[0.5, 0.5]] * 4))
    assert (fitted.rate, fitted.decay) == (QUICK.rates[0], QUICK.decays[0])


def test_threads_are_given_back():
    torch.set_num_threads(2)
    try:
        probe(cloud(40, 2), cloud(10, 2), "accuracy", classes=2, protocol=QUICK)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


# The search.


def test_the_grid_is_the_toolkits():
    import numpy as np

    assert ELEVATER.rates == pytest.approx(np.logspace(-6, -1, 6))
    assert ELEVATER.decays == pytest.approx(np.logspace(-6, 6, 97))
    assert ELEVATER.decays[:: ELEVATER.stride] == pytest.approx(np.logspace(-6, 6, 7))
    assert (ELEVATER.epochs, ELEVATER.final_epochs, ELEVATER.batch) == (10, 50, 64)


def test_the_search_goes_from_coarse_to_fine():
    asked = []

    def score_all(pairs):
        asked.append(list(pairs))
        return [
            1 - abs(math.log10(rate) + 3) - abs(math.log10(decay) + 2.575) / 100
            for rate, decay in pairs
        ]

    rate, decay = choose(score_all, ELEVATER)
    assert rate == pytest.approx(1e-3) and decay == pytest.approx(10**-2.625)
    assert len(asked[0]) == 42
    mine = [
        [round(8 * math.log10(d)) + 48 for r, d in some if r == pytest.approx(1e-3)]
        for some in asked
    ]
    # The peak of this score lies at 27.4 of 0 to 96.
    assert mine == [[0, 16, 32, 48, 64, 80, 96], [24, 40], [20, 28], [26, 30], [27, 29]]


def test_of_equal_scores_the_first_tried_wins_and_nothing_leaves_zero():
    assert choose(lambda pairs: [0.5] * len(pairs), ELEVATER) == (1e-6, 1e-6)
    assert choose(lambda pairs: [0.0] * len(pairs), ELEVATER) == (0.0, 0.0)


# Subsets.


@given(
    st.lists(st.integers(0, 4), min_size=5, max_size=120), st.integers(1, 8), st.integers(0, 3)
)  # fmt: skip
def test_few_shots_are_just_as_many_as_there_are(places, shots, seed):
    labels = [[place] for place in places]
    drawn = few(labels, 5, shots, seed)
    assert len(set(drawn)) == len(drawn) and drawn == few(labels, 5, shots, seed)
    available = Counter(places)
    taken = Counter(places[at] for at in drawn)
    assert taken == {place: min(shots, count) for place, count in available.items()}
    order = list(range(len(places)))
    Random(seed).shuffle(order)
    assert drawn == sorted(drawn, key=order.index)  # in the order of one shuffle


def test_few_shots_of_several_classes_keep_the_tolerance():
    draw = Random(0)
    labels = [sorted(draw.sample(range(6), draw.choice((1, 1, 2, 3)))) for _ in range(400)] + [
        []
    ] * 9
    drawn = few(labels, 6, 8, 0)
    counts = Counter(place for at in drawn for place in labels[at])
    assert min(counts[place] for place in range(6)) >= 8
    assert max(counts.values()) <= 1.5 * 8 + 1 + 4  # only an image with a poor class may pass it
    assert sum(not labels[at] for at in drawn) <= 8
    assert few(labels, 6, 8, 0) != few(labels, 6, 8, 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80))
def test_a_fifth_of_each_class_is_held_out_from_the_front(places):
    labels = [[place] for place in places]
    train, held = hold_out(labels, 4, 0.2)
    assert sorted([*train, *held]) == list(range(len(places)))
    for place in set(places):
        mine = [at for at, found in enumerate(places) if found == place]
        assert [at for at in held if places[at] == place] == mine[: math.ceil(0.2 * len(mine))]


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 3), max_size=3), min_size=1, max_size=60))
def test_with_several_classes_each_gets_its_fifth(sets):
    labels = [sorted(places) for places in sets]
    train, held = hold_out(labels, 4, 0.2)
    assert sorted([*train, *held]) == list(range(len(labels)))
    for place in range(4):
        have = sum(place in labels[at] for at in held)
        assert have >= math.ceil(0.2 * sum(place in places for places in labels))


# The task around it.


def test_probes_of_a_dual_encoder_and_their_record(tmp_path):
    from tiny_encoders import make_clip

    clip = make_clip(tmp_path / "clip")
    data = made.write(tmp_path / "made")["lp-5"]
    record = run(f"transformers:{clip}", "elevater/lp-5", data=data, options={"device": "cpu"},
                 out=tmp_path / "run")  # fmt: skip
    task = make_task("elevater/lp-5", str(data))
    names = set(record.metrics)
    wanted = {"mean_of_2", "mean_of_2.std", "mean_of_2.seed1", "last.mean_of_2"}
    wanted |= {"mnist.accuracy", "mnist.accuracy.std", "last.mnist.accuracy.seed2"}
    assert wanted <= names and record.run["task"]["headline"] == "mean_of_2"

    def value(name):
        return record.metrics[name]["value"]

    seeds = [value(f"mnist.accuracy.seed{seed}") for seed in range(3)]
    assert value("mnist.accuracy") == pytest.approx(sum(seeds) / 3)
    mean = sum(seeds) / 3
    assert value("mnist.accuracy.std") == pytest.approx(
        math.sqrt(sum((s - mean) ** 2 for s in seeds) / 3)
    )
    for name in ("mnist.accuracy", "hateful-memes.roc_auc"):
        for seed in range(3):
            assert value(f"{name}.seed{seed}") >= value(f"last.{name}.seed{seed}")
    assert (
        record.metrics["mnist.accuracy"]["n"] == 20
    )  # three runs on twenty images are twenty images
    assert value("mean_of_2") == pytest.approx(
        (value("mnist.accuracy") + value("hateful-memes.roc_auc")) / 2
    )
    # The record alone gives the same again.
    rows = list(record.rows())
    again = task.derive(rows)
    assert again and all(
        row["stats"] | again[row["id"]]["stats"] == row["stats"]
        and row["score"] == again[row["id"]]["score"]
        for row in rows
        if row["groups"]["part"] == "test"
    )
    text = [row for row in rows if row["groups"]["part"] == "text"]
    assert len(text) == 10 + 2 and all(row["answer"]["features"] for row in text)


def test_only_drawn_images_are_encoded_and_seeds_differ(tmp_path):
    data = made.write(tmp_path / "made")["lp-5"]
    task = make_task("elevater/lp-5-random", str(data / "hateful-memes"))
    train = [s.facts["stats"]["ranks"] for s in task.samples() if s.groups["part"] == "train"]
    for seed in range(3):
        assert sorted(r[seed] for r in train if r[seed] is not None) == list(range(10))
    assert len(train) < 30 and len({tuple(r) for r in train}) > 3
    full = make_task("elevater/lp-full-random", str(data / "hateful-memes"))
    parts = Counter(s.groups["part"] for s in full.samples())
    assert parts == {"train": 60, "test": 20}
    assert "hateful-memes.roc_auc.std" not in {
        m.name for m in full.metrics
    }  # one seed has no spread


def test_the_largest_set_is_searched_on_a_subset(tmp_path, monkeypatch):
    from tasks import _elevater_probe

    monkeypatch.setitem(_elevater_probe.SEARCHED, "patch-camelyon", 7)
    one = ALL["patch-camelyon"]
    splits = {"test": made.labels_of(one, 20), "train": made.labels_of(one, 60)}
    made.write_set(tmp_path / one.name, one, splits, [made.picture(i) for i in range(4)])
    made.write_names(tmp_path)
    task = make_task("elevater/lp-full-random", str(tmp_path))
    ranks = [s.facts["stats"]["ranks"] for s in task.samples() if s.groups["part"] == "train"]
    assert [r[0] for r in ranks] == list(range(60)) and sum(r[1] is not None for r in ranks) == 14
    record = run("random", task, out=tmp_path / "run")
    assert record.metrics["patch-camelyon.accuracy"]["n"] == 20


def test_what_a_probe_cannot_do_is_said(tmp_path):
    folder = tmp_path / "made"
    every = made.write(folder)[""]
    with pytest.raises(DataError, match="no training images of"):
        make_task("elevater/lp-5", str(every))
    data = folder / "few"
    with pytest.raises(RunStopped, match="text"):  # a model without a text side
        run(Blobs(), "elevater/lp-5", data=data, out=tmp_path / "a")
    record = run(Blobs(), "elevater/lp-5-random", data=data, out=tmp_path / "b")
    assert record.metrics["mean_of_2"]["value"] is not None
    limited = run(Blobs(), "elevater/lp-5-random", data=data, out=tmp_path / "c", limit=5)
    assert limited.metrics["mean_of_2"]["value"] is None  # no test image was reached


class Blobs:
    """A model that sees the mean colours of the quarters of a picture, and no text."""

    name = "blobs"

    def describe(self):
        return {"kind": "blobs"}

    def answer(self, samples, ask, decoding):
        from harness.types import Failure

        assert ask == "encode"
        for at, sample in enumerate(samples):
            if isinstance(sample.prompt[0], str):
                yield at, Failure("this model reads no text")
                continue
            with Pictures.open(BytesIO(sample.prompt[0].read())) as opened:
                small = opened.convert("RGB").resize((2, 2), Pictures.Resampling.BOX)
            yield at, Answer(features=tuple(x / 255 for x in small.tobytes()))


class Digits:
    """A small convolutional network as a model: features of 28 x 28 pictures."""

    name = "digits"

    def __init__(self):
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 12, 5, stride=2, padding=2), torch.nn.ReLU(),
            torch.nn.Conv2d(12, 24, 5, stride=2, padding=2), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(24 * 49, 64),
        )  # fmt: skip

    def train(self, samples, epochs=8):
        pixels = torch.stack([self.pixels(sample) for sample in samples])
        labels = torch.tensor([int(sample.target) for sample in samples])
        head = torch.nn.Linear(64, 10)
        adam = torch.optim.Adam([*self.body.parameters(), *head.parameters()], lr=2e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(labels)).split(64):
                adam.zero_grad()
                loss = torch.nn.functional.cross_entropy(
                    head(self.body(pixels[rows]).relu()), labels[rows]
                )
                loss.backward()
                adam.step()
        return self

    def pixels(self, sample):
        with Pictures.open(BytesIO(sample.prompt[0].read())) as opened:
            data = bytearray(opened.tobytes())
        return torch.frombuffer(data, dtype=torch.uint8).view(1, 28, 28) / 255

    def describe(self):
        return {"kind": "digits"}

    def answer(self, samples, ask, decoding):
        assert ask == "encode"
        with torch.inference_mode():
            for start in range(0, len(samples), 500):
                batch = torch.stack([self.pixels(s) for s in samples[start : start + 500]])
                for at, row in enumerate(self.body(batch), start):
                    yield at, Answer(features=tuple(row.tolist()))


def test_real_digits_are_read_from_a_networks_features(tmp_path):
    """5,000 real training digits, 10,000 real test digits; nothing but the protocol in between."""
    data = shared("elevater")
    task = make_task("elevater/lp-full-random", str(data / "mnist"))
    assert any("5,000 of 60,000 train images" in note for note in task.notes)
    train = [s for s in task.samples() if s.groups["part"] == "train"]
    assert len(train) == 5000
    record = run(Digits().train(train), task, out=tmp_path / "run")
    best, last = (record.metrics[f"{end}mnist.accuracy"] for end in ("", "last."))
    assert best["value"] > 95 and best["n"] == 10_000
    assert best["value"] >= last["value"] > 94 and best["high"] - best["low"] < 1
