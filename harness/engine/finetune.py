"""Fine-tuning of a dual encoder's image side as ELEVATER's toolkit does it.

Li et al. 2022 (arXiv 2204.08790), the toolkit's `evaluation/full_model_finetune.py`. Projected
image features, batch normalisation without parameters, a linear layer that starts as the zero-shot
classifier; all weights that image features depend on and the layer are trained, in float32, by
SGD with momentum at a constant rate and decay on everything; the text side stays as it is. What is
held out, searched and chosen is harness/probe.py's. The loaded model is never changed: a copy is
trained, and begins as the original for each candidate. May import torch.
"""

import copy
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from harness.engine.cache import is_out_of_memory
from harness.engine.dual import Towers, moved, projected
from harness.engine.images import Pixels
from harness.engine.inputs import open_image
from harness.engine.load import Settings
from harness.engine.prefetch import ahead
from harness.engine.texts import Ensembles, only_image
from harness.errors import DataError, RunStopped
from harness.fit import Fit, Shown, searching
from harness.metrics.classification import one_hot
from harness.probe import Fitted, Pair, Part, batches, head_start, tune
from harness.types import Answer, Failure, Image, Reply, Sample

KEPT_BYTES = 4 * 2**30
"""Preprocessed pictures that are kept between epochs at most: 7,000 of 224 x 224."""
_LOG = logging.getLogger(__name__)


def answers(samples: Sequence[Sample], towers: Towers, settings: Settings) -> Iterator[Reply]:
    """Train once per `Fit` in the samples' facts and yield what the trained model says.

    `scores` are the class probabilities of the epoch with the best test metric, `features` those of
    the last epoch, and the text says which rate, decay and epoch these were. A training image that
    cannot be read fails all samples of its fit, before anything is trained. Raises RunStopped when
    the device runs out of memory.
    """
    groups: dict[Fit, list[int]] = {}
    for position, sample in enumerate(samples):
        if "fit" in sample.facts:
            groups.setdefault(sample.facts["fit"], []).append(position)
        else:
            yield position, Failure("the sample does not say what to train on, as others do")
    tuner = Tuner(towers, settings)
    for fit, positions in groups.items():
        try:
            fitted, shown = tuner.tune(fit)
        except DataError as error:
            yield from ((at, Failure(f"cannot train on {fit.name}: {error}")) for at in positions)
            continue
        said = _Said(fitted, shown, len(fit.train[1]))
        yield from ((at, said.of(samples[at])) for at in positions)


class _Said:
    """The answers of a trained model by image."""

    def __init__(self, fitted: Fitted, shown: Mapping[Image, int | Failure], count: int) -> None:
        self._best, self._last = fitted.best.tolist(), fitted.last.tolist()
        self._shown = shown
        self._text = (
            f"rate {fitted.rate:.3g}, decay {fitted.decay:.3g}, epoch {fitted.best_epoch}, "
            f"{count} images"
        )

    def of(self, sample: Sample) -> Answer | Failure:
        """Return the answer for a sample with one of the fit's test images."""
        image = only_image(sample)
        if isinstance(image, Failure):
            return image
        at = self._shown.get(image, Failure(f"image {image.name} is no test image of the fit"))
        if isinstance(at, Failure):
            return at
        scores = tuple(self._best[at])
        choice = scores.index(max(scores))
        return Answer(self._text, scores=scores, choice=choice, features=tuple(self._last[at]))


class Tuner:
    """Trains copies of one model."""

    def __init__(self, towers: Towers, settings: Settings) -> None:
        """Copy the model; `settings` say how many threads read images."""
        self._towers = towers
        self._copy = copy.deepcopy(towers.model).float()
        self._grid, self._workers = settings.fit_grid, settings.workers
        self._pictures = self._unseen()
        self._seen: Shown = ((), ())
        self._batch = towers.images.batch.size
        self._ensembles = Ensembles(towers.texts)

    def tune(self, fit: Fit) -> tuple[Fitted, dict[Image, int | Failure]]:
        """Train as `fit` says.

        Returns what came of it, and where each test image is in it or why it could not be read.
        Raises DataError when a training image cannot be read.
        """
        protocol = searching(fit.protocol, self._grid)
        if fit.test is not self._seen:  # the seeds of a data set share most of their pictures
            self._pictures, self._seen = self._unseen(), fit.test
        searched = fit.search[0] if fit.search else ()
        for trouble in self._pictures.check([*fit.train[0], *searched]).values():
            raise DataError(trouble.error)
        unread = self._pictures.check(fit.test[0])
        test = _without(fit.test, unread)
        shown: dict[Image, int | Failure] = {image: at for at, image in enumerate(test[0])}
        start = None
        if fit.prompts is not None:
            start = self._ensembles.vectors(fit.prompts, fit.classes).clone()
        first = next(self._pictures.batches(fit.train[0][:1], 1))
        size = trained_by_images(self._copy, first)
        head = head_start(start, len(fit.classes), size)

        def learn(part: Part, pairs: Sequence[Pair], epochs: int) -> Iterator[Trained]:
            (pair,) = pairs
            _LOG.info("%s: rate %g, decay %g, %d images", fit.name, *pair, len(part[1]))
            self._copy.load_state_dict(self._towers.model.state_dict())
            network = Network(self._copy, *head)
            steps = _Steps(network, self._pictures, fit.metric == "map11", pair, protocol)
            yield from steps.epochs(part, epochs, self._batch)

        fitted = tune(
            *(learn, fit.train, test, fit.metric),
            classes=len(fit.classes),
            search=fit.search,
            protocol=protocol,
        )
        _LOG.info("%s: chose rate %g and decay %g", fit.name, fitted.rate, fitted.decay)
        return fitted, shown | unread

    def _unseen(self) -> "Pictures":
        return Pictures(self._towers.parts.pixels, self._workers)


class Network(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Image side, normalisation, linear layer."""

    def __init__(self, tower: Any, weights: torch.Tensor, biases: torch.Tensor) -> None:
        """Put a layer with `weights` (classes, d) and `biases` behind the image side of `tower`."""
        super().__init__()
        classes, size = weights.shape
        self.tower = tower
        self.normal = torch.nn.BatchNorm1d(size, affine=False)
        self.layer = torch.nn.utils.skip_init(torch.nn.Linear, size, classes)
        self.layer.load_state_dict({"weight": weights, "bias": biases})
        self.to(tower.device)

    def forward(self, pixels: Pixels) -> torch.Tensor:
        """Return logits (n, classes) of n pictures' inputs."""
        features = projected(self.tower.get_image_features(**moved(pixels, self.tower)))
        logits: torch.Tensor = self.layer(self.normal(features))
        return logits


class Trained:
    """A network after an epoch. It goes on learning: ask before the next epoch."""

    def __init__(
        self, network: Network, pictures: "Pictures", batch: int, *, finite: bool = True
    ) -> None:
        """Take a network, and whether its last loss was `finite`."""
        self._network, self._pictures, self._batch = network, pictures, batch
        self._finite = finite

    def probabilities(self, inputs: Sequence[Image], candidate: int) -> torch.Tensor:
        """Return the softmax (n, classes) for n images; NaN after training went to infinity."""
        classes = self._network.layer.out_features
        if not self._finite or not inputs:
            return torch.full((len(inputs), classes), float("nan"))
        self._network.eval()
        rows = []
        with torch.no_grad():
            for pixels in self._pictures.batches(inputs, self._batch):
                rows.append(self._network(pixels).softmax(dim=-1).cpu())
        return torch.cat(rows)


class _Steps:
    """The training of one network with one rate and decay."""

    def __init__(
        self,
        network: Network,
        pictures: "Pictures",
        multilabel: bool,
        pair: Pair,
        protocol: Any,
    ) -> None:
        self._network, self._pictures, self._protocol = network, pictures, protocol
        self._multilabel = multilabel
        self._device = network.tower.device
        trained = [p for p in network.parameters() if p.requires_grad]
        rate, decay = pair
        self._sgd = torch.optim.SGD(
            trained, lr=rate, momentum=protocol.momentum, weight_decay=decay
        )

    def epochs(self, part: Part, epochs: int, batch: int) -> Iterator[Trained]:
        """Train on images and labels; yield the network after each epoch."""
        images, labels = part
        gold = torch.from_numpy(one_hot(labels, self._network.layer.out_features)).float()
        order = torch.Generator().manual_seed(0)
        for epoch in range(epochs):
            rows = list(batches(len(labels), self._protocol.batch, order))
            finite = self._epoch(rows, images, gold, epoch)
            yield Trained(self._network, self._pictures, batch, finite=finite)
            if not finite:  # it stays so
                return

    def _epoch(self, rows: Sequence[Any], images: Sequence[Image], gold: Any, epoch: int) -> bool:
        """Train for one epoch; return whether all losses were finite."""
        self._network.train()
        asked = (images[at] for some in rows for at in some.tolist())
        sizes = [len(some) for some in rows]
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(epoch)  # for models with dropout
            for some, pixels in zip(rows, self._pictures.groups(asked, sizes), strict=True):
                if not self._step(pixels, gold[some].to(self._device)):
                    return False
        return True

    def _step(self, pixels: Pixels, gold: torch.Tensor) -> bool:
        self._sgd.zero_grad()
        try:
            logits = self._network(pixels)
            if self._multilabel:
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, gold)
            else:
                loss = torch.nn.functional.cross_entropy(logits, gold.argmax(dim=-1))
            if not bool(loss.isfinite()):
                return False
            loss.backward()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise RunStopped(
                f"the device is out of memory while fine-tuning with {len(gold)} images in a "
                "batch, which the protocol fixes; take a device with more memory"
            ) from error
        self._sgd.step()
        return True


def trained_by_images(model: Any, pixels: Pixels) -> int:
    """Let exactly those weights be trained that image features depend on; return their width.

    What the architecture calls its parts does not matter: a weight takes part when a picture's
    features have a slope by it.
    """
    weights = list(model.requires_grad_(True).parameters())
    with torch.enable_grad():
        features = projected(model.get_image_features(**moved(pixels, model)))
        slopes = torch.autograd.grad(features.sum(), weights, allow_unused=True)
    for weight, slope in zip(weights, slopes, strict=True):
        weight.requires_grad_(slope is not None)
    return int(features.shape[-1])


class Pictures:
    """Preprocessed pictures, read ahead by threads; kept as long as there is room."""

    def __init__(
        self, prepare: Callable[[Any], Pixels], workers: int, room: int | None = None
    ) -> None:
        """Keep `room` bytes of what `prepare` makes of pictures; None: a quarter of the memory.

        The first pictures are kept and the others read again in each epoch: where all are asked in
        turn, the ones not used for longest are the very next.
        """
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._room = min(KEPT_BYTES, memory // 4) if room is None else room
        self._prepare, self._workers, self._full = prepare, workers, False
        self._kept: dict[Image, Pixels] = {}

    def check(self, images: Iterable[Image]) -> dict[Image, Failure]:
        """Read images once; return why some cannot be."""
        found = ahead(self._try, dict.fromkeys(images), self._workers, depth=64)
        return {image: error for image, error in found if error is not None}

    def batches(self, images: Sequence[Image], size: int) -> Iterator[Pixels]:
        """Yield the inputs of `size` images at a time."""
        starts = range(0, len(images), size)
        return self.groups(iter(images), [min(size, len(images) - at) for at in starts])

    def groups(self, images: Iterable[Image], sizes: Iterable[int]) -> Iterator[Pixels]:
        """Yield the inputs of images in groups of these sizes. Raises DataError for a bad one."""
        # Threads would only be in the way where all pictures are kept.
        ready = ahead(self._read, images, self._workers if self._full else 0, depth=128)
        for size in sizes:
            items = list(islice(ready, size))
            yield {key: torch.cat([item[key] for item in items]) for key in items[0]}

    def _try(self, image: Image) -> tuple[Image, Failure | None]:
        try:
            self._read(image)
        except DataError as error:
            return image, Failure(str(error))
        return image, None

    def _read(self, image: Image) -> Pixels:
        if (kept := self._kept.get(image)) is not None:
            return kept
        picture = open_image(image)
        try:
            pixels = self._prepare(picture)
        except Exception as error:  # processors refuse odd pictures (a strip of one pixel's height)
            raise DataError(f"image {image.name}: {type(error).__name__}: {error}") from error
        size = sum(tensor.nbytes for tensor in pixels.values())
        if size > self._room:
            self._full = True
        else:
            self._room -= size
            self._kept[image] = pixels
        return pixels


def _without(shown: Shown, unread: Mapping[Image, Failure]) -> Part:
    kept = [pair for pair in zip(*shown, strict=True) if pair[0] not in unread]
    return [image for image, _ in kept], [labels for _, labels in kept]
