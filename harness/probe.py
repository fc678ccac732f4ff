"""A linear classifier on frozen features, trained and chosen as ELEVATER's toolkit does it.

Li et al. 2022 (arXiv 2204.08790), the toolkit's `evaluation/full_model_finetune.py` and
`feature.py`, and the few-shot sampler of microsoft/vision-datasets 0.2.17. In short: batch
normalisation without parameters, a linear layer that starts as the zero-shot classifier, SGD with
momentum at a constant rate; rate and weight decay are searched on a fifth of the training images,
then the layer is trained anew on all of them.

Features stay as they are, so all candidates of the search see the same batches and are trained side
by side. What is held out, searched and chosen is `tune`, which fine-tuning uses as well
(harness/engine/finetune.py). Nothing here reads a record or a file. Imports the standard library
and numbers of harness/metrics/classification; torch and numpy inside the functions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from typing import Protocol as Interface

from harness.metrics import classification

Labels = Sequence[Sequence[int]]
"""The positions of each image's classes; exactly one, except in multi-label sets."""
Part = tuple[Any, Labels]
"""What is learnt from, a sequence or a tensor of n, and the n labels."""
Pair = tuple[float, float]
"""Learning rate and weight decay."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """The toolkit's settings. Smaller ones make a quicker probe with another name, for tests."""

    rates: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    decays: tuple[float, ...] = field(
        default_factory=lambda: tuple(10 ** (-6 + 12 * i / 96) for i in range(97))
    )
    stride: int = 16
    """Every so many weight decays are tried first."""
    spans: tuple[int, ...] = (8, 4, 2, 1)
    """Then those at this distance on both sides of the best one so far, one span after another."""
    epochs: int = 10
    final_epochs: int = 50
    batch: int = 64
    momentum: float = 0.9
    held_out: float = 0.2
    """Share of each class that the search is scored on."""


ELEVATER = Protocol()


@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of a probe on its test images; probabilities are (images, classes)."""

    rate: float
    decay: float
    best: Any
    """Of the epoch with the highest test metric, as published: a leak by design."""
    last: Any
    """Of the last epoch."""
    best_epoch: int


class Learned(Interface):
    """What some candidates have learnt up to an epoch."""

    def probabilities(self, inputs: Any, candidate: int) -> Any:
        """Return what one candidate says of n inputs: a tensor (n, classes) on the CPU."""
        ...


Learn = Callable[[Part, Sequence[Pair], int], Iterator[Learned]]
"""(what to learn from, candidates, epochs) -> what they know after each epoch, all candidates from
the same beginning. It may end early after an epoch in which a candidate went to infinity."""


def few(labels: Labels, classes: int, shots: int, seed: int) -> list[int]:
    """Return positions of a few-shot subset, in the order in which they were drawn.

    Images come in random order and are taken while their classes want more. An image of several
    classes is also taken when it would make a class fuller than wanted, up to half as full again,
    or when another of its classes has less than half. Images without a class count as one more.
    """
    order = list(range(len(labels)))
    Random(seed).shuffle(order)
    counts, without, drawn = [0] * classes, 0, []
    for at in order:
        if not labels[at]:
            if without < shots:
                without += 1
                drawn.append(at)
            continue
        have = [counts[label] for label in labels[at]]
        if min(have) >= shots:
            continue
        if min(have) <= shots / 2 or max(have) <= 1.5 * shots:
            drawn.append(at)
            for label in labels[at]:
                counts[label] += 1
        if min(counts) >= shots:
            break
    return drawn


def hold_out(labels: Labels, classes: int, share: float) -> tuple[list[int], list[int]]:
    """Return the positions to train on and those to choose by: the first `share` of each class.

    At least one of each class is held out. With several classes per image, classes take turns in
    their order, each taking the first image that has it until all have enough.
    """
    wanted = [0.0] * classes
    for places in labels:
        for place in places:
            wanted[place] += 1
    wanted = [math.ceil(count * share) for count in wanted]
    held: set[int] = set()
    if all(len(places) == 1 for places in labels):
        for at, (place,) in enumerate(labels):
            if wanted[place] > 0:
                wanted[place] -= 1
                held.add(at)
    else:
        queues = [
            iter([at for at, places in enumerate(labels) if place in places])
            for place in range(classes)
        ]
        for place in range(classes):
            while wanted[place] > 0:
                at = next(x for x in queues[place] if x not in held)
                held.add(at)
                for other in labels[at]:
                    wanted[other] -= 1
    return [at for at in range(len(labels)) if at not in held], sorted(held)


def probe(
    train: Part,
    test: Part,
    metric: str,
    *,
    start: Any = None,
    classes: int,
    search: Part | None = None,
    protocol: Protocol = ELEVATER,
) -> Fitted:
    """Train a linear classifier on `train` and score `test` with it.

    Args:
        train: features (n, d), float32 tensor, and labels, in the order of the subset.
        test: the same of the test images. The best epoch is chosen on them, as published.
        metric: accuracy, mean_per_class, roc_auc or map11.
        start: (classes, d) the weights to begin with; None: random ones.
        classes: how many there are.
        search: where rate and decay are searched instead of `train` (the toolkit's way with a very
            large set).
        protocol: the settings.
    """
    size = train[0].shape[1]
    head = head_start(start, classes, size)

    def learn(part: Part, pairs: Sequence[Pair], epochs: int) -> Iterator[Learned]:
        return _epochs(part, head, pairs, metric, protocol, epochs)

    many = len(protocol.rates) * len(protocol.decays[:: protocol.stride])
    with _threads(many * classes * size):
        return tune(
            *(learn, train, test, metric),
            classes=classes,
            search=search,
            protocol=protocol,
            together=True,
        )


@contextmanager
def _threads(size: int) -> Iterator[None]:
    """Work in one thread where a step is small: sharing it out would cost more than the work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if size < 1_000_000 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tune(
    learn: Learn,
    train: Part,
    test: Part,
    metric: str,
    *,
    classes: int,
    search: Part | None = None,
    protocol: Protocol = ELEVATER,
    together: bool = False,
) -> Fitted:
    """Search rate and decay on a part of `train`, learn from all of it, and answer for `test`.

    The arguments are those of `probe`, and whether candidates are trained side by side (`together`)
    or one after another. Training that went to infinity has no opinion: equal probabilities.
    """
    import torch

    measure = measure_of(metric)
    searched = search or train
    fit_on, chosen_on = (
        _taken(searched, rows) for rows in hold_out(searched[1], classes, protocol.held_out)
    )

    def score_all(pairs: Sequence[Pair]) -> list[float]:
        best: list[float] = []
        for group in [list(pairs)] if together else [[pair] for pair in pairs]:
            scores = [0.0] * len(group)
            for learned in learn(fit_on, group, protocol.epochs):
                for i, score in enumerate(scores):
                    said = learned.probabilities(chosen_on[0], i)
                    scores[i] = max(score, _value(measure, chosen_on[1], said))
                if min(scores) == 1:  # no epoch can be better
                    break
            best += scores
        return best

    pair = choose(score_all, protocol)
    best = last = flat = torch.full((len(test[1]), classes), 1 / classes)
    value, epoch = -1.0, 0
    for number, learned in enumerate(learn(train, [pair], protocol.final_epochs), 1):
        last = learned.probabilities(test[0], 0)
        found = _value(measure, test[1], last)
        if found > value:
            best, value, epoch = last, found, number
    best, last = (x if bool(x.isfinite().all()) else flat for x in (best, last))
    return Fitted(*pair, best, last, epoch)


def _taken(part: Part, rows: Sequence[int]) -> Part:
    inputs, labels = part
    some = [inputs[at] for at in rows] if isinstance(inputs, Sequence) else inputs[rows]
    return some, [labels[at] for at in rows]


def choose(score_all: Callable[[Sequence[Pair]], list[float]], protocol: Protocol) -> Pair:
    """Search the rate and the decay that score best; of equal ones the first tried wins.

    `score_all` scores several candidates at once (0 for one that failed). When nothing scores above
    0, rate and decay are 0, as in the toolkit: the classifier stays as it began.
    """
    decays, rates = protocol.decays, protocol.rates
    peaks = {rate: (-1, 0.0) for rate in rates}  # place of the best decay so far, its score

    def try_out(tries: list[tuple[float, int]]) -> None:
        scores = score_all([(rate, decays[at]) for rate, at in tries]) if tries else []
        for (rate, at), score in zip(tries, scores, strict=True):
            if score > peaks[rate][1]:
                peaks[rate] = at, score

    try_out([(rate, at) for rate in rates for at in range(0, len(decays), protocol.stride)])
    for span in protocol.spans:
        tries = []
        for rate in rates:
            at = peaks[rate][0]
            sides = max(at - span, 0), min(at + span, len(decays) - 1)
            tries += [(rate, side) for side in sides if side != at]
        try_out(tries)
    best: tuple[float, Pair] = (0.0, (0.0, 0.0))
    for rate in rates:
        at, score = peaks[rate]
        if score > best[0]:
            best = score, (rate, decays[at])
    return best[1]


def measure_of(metric: str) -> Callable[[Labels, Any], float]:
    """Return a metric as a function of labels and probabilities (numpy, (n, classes))."""
    import numpy as np

    def measure(labels: Labels, scores: Any) -> float:
        if metric == "map11":
            gold = classification.one_hot(labels, scores.shape[1])
            return classification.map11(gold, scores)
        gold = np.array([places[0] for places in labels], np.float64)
        if metric == "roc_auc":
            return classification.roc_auc(gold, scores[:, 1])
        right = (scores.argmax(axis=1) == gold).astype(np.float64)
        if metric == "mean_per_class":
            return classification.balanced_accuracy(gold, right)
        return float(right.mean()) if len(right) else math.nan

    return measure


@dataclass(frozen=True, slots=True)
class _Heads:
    """Several linear layers (heads, classes, d) behind one normalisation, after an epoch."""

    weights: Any
    biases: Any
    mean: Any
    deviation: Any

    def probabilities(self, inputs: Any, candidate: int) -> Any:
        """Return the softmax (n, classes) of one layer for features (n, d)."""
        import torch

        normal = (inputs - self.mean) / self.deviation
        logits = torch.addmm(self.biases[candidate], normal, self.weights[candidate].T)
        return logits.softmax(dim=-1)


def _value(measure: Callable[[Labels, Any], float], labels: Labels, probabilities: Any) -> float:
    """Return a metric; 0 where there is none or training went to infinity."""
    if not len(labels) or not bool(probabilities.isfinite().all()):
        return 0.0
    value = measure(labels, probabilities.double().numpy())
    return 0.0 if math.isnan(value) else value


def head_start(start: Any, classes: int, size: int) -> Any:
    """Return weights (classes, size) and biases to begin with: `start` and 0, or random ones."""
    import torch

    if start is not None:
        return start.float(), torch.zeros(classes)
    generator = torch.Generator().manual_seed(0)
    bound = 1 / math.sqrt(size)  # PyTorch's own start of a linear layer
    drawn = torch.rand(classes, size + 1, generator=generator) * 2 * bound - bound
    return drawn[:, :size].clone(), drawn[:, size].clone()


def batches(count: int, size: int, order: Any) -> Iterator[Any]:
    """Return the positions of each batch of an epoch, in an order drawn from a torch generator.

    A batch of one has no spread to normalise by; the toolkit passes over it too.
    """
    import torch

    parts = torch.randperm(count, generator=order).split(size)
    return (rows for rows in parts if len(rows) > 1)


def _epochs(
    train: Part,
    start: Any,
    pairs: Sequence[Pair],
    metric: str,
    protocol: Protocol,
    epochs: int,
) -> Iterator[_Heads]:
    """Train one linear layer per pair side by side; yield them after each epoch.

    Losses: cross-entropy, or binary cross-entropy over all classes in a multi-label set. Decay
    works on weights and biases, gradients are summed with momentum as PyTorch's SGD does it. The
    order of the batches is drawn anew for each call from one seed.
    """
    import torch

    features, labels = train
    size, many = features.shape[1], len(pairs)
    classes = start[0].shape[0]
    weights, biases = (x.expand(many, *x.shape).clone() for x in start)
    speeds = torch.zeros_like(weights), torch.zeros_like(biases)
    rates, decays = (torch.tensor(column) for column in zip(*pairs, strict=True))
    gold = torch.from_numpy(classification.one_hot(labels, classes)).float()
    normal = torch.nn.BatchNorm1d(size, affine=False)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        normal.train()
        for rows in batches(len(labels), protocol.batch, order):
            x = normal(features[rows])
            logits = (x @ weights.view(-1, size).T).view(-1, many, classes) + biases
            error = _error(logits, gold[rows][:, None], metric == "map11")
            slopes = (error.flatten(1).T @ x).view(many, classes, size), error.sum(dim=0)
            for values, speed, slope in zip((weights, biases), speeds, slopes, strict=True):
                shape = (-1,) + (1,) * (values.dim() - 1)
                slope = slope + decays.view(shape) * values
                speed.mul_(protocol.momentum).add_(slope)
                values.sub_(rates.view(shape) * speed)
        deviation = (normal.running_var + normal.eps).sqrt()
        yield _Heads(weights, biases, normal.running_mean, deviation)


def _error(logits: Any, gold: Any, multilabel: bool) -> Any:
    """Return the slope of the batch's mean loss by the logits (batch, heads, classes)."""
    if multilabel:
        return (logits.sigmoid() - gold) / (logits.shape[0] * logits.shape[2])
    return (logits.softmax(dim=-1) - gold) / logits.shape[0]
