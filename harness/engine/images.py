"""Pictures for the image-text scorers: decoded ahead of the model, encoded once, memory bounded.

Threads read, decode and preprocess while the model works on the batch before. What is repeated is
found twice: by the `Image` itself within one call, and by the digest of its bytes across calls,
where a bounded cache keeps features. May import torch.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Generic, TypeVar

import torch

from harness.engine.cache import is_out_of_memory
from harness.engine.inputs import open_image
from harness.engine.prefetch import ahead
from harness.errors import DataError, RunStopped
from harness.types import Failure, Image

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

CACHE_BYTES = 256 * 2**20
"""Features kept of images, and again of texts: 128 000 vectors of 512 float32 numbers."""

Pixels = dict[str, torch.Tensor]
"""What an image processor makes of one image; every tensor has a leading dimension of 1."""


@dataclass(frozen=True, slots=True)
class _Ready:
    digest: str
    pixels: Pixels


class Batch:
    """A batch size that halves when the device runs out of memory, and counts how often it did."""

    def __init__(self, size: int) -> None:
        """Start with `size` items in one forward pass."""
        self.size = size
        self.halved = 0

    def run(
        self, forward: Callable[[Sequence[T]], torch.Tensor], items: Sequence[T]
    ) -> list[torch.Tensor]:
        """Return one row of `forward`'s output per item.

        Raises RunStopped when a single item does not fit.
        """
        rows: list[torch.Tensor] = []
        while len(rows) < len(items):
            part = items[len(rows) : len(rows) + self.size]
            output = None
            try:
                with torch.inference_mode():
                    output = forward(part)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise RunStopped(
                        "the device is out of memory with a batch of one; use dtype=bfloat16, "
                        "another device, or free memory that other programs hold"
                    ) from error
            # Only here, outside the handler, does the failed pass no longer hold its tensors.
            if output is None:
                self.size = len(part) // 2
                self.halved += 1
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            else:
                # A view would keep the whole batch alive for as long as one row is in a cache.
                rows.extend(row.clone() for row in output)
        return rows


class Recent(Generic[K]):
    """Tensors by key; the ones not used for longest go when `limit` bytes are exceeded."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        """Keep at most `limit` bytes."""
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[K, torch.Tensor] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> torch.Tensor | None:
        """Return the tensor of `key` and mark it as just used; None when it is not here."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: K, tensor: torch.Tensor) -> None:
        """Keep `tensor`, dropping the oldest ones to make room."""
        self._bytes -= self._kept.pop(key).nbytes if key in self._kept else 0
        self._kept[key] = tensor
        self._bytes += tensor.nbytes
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


class ImageTower:
    """The image side of a scorer: pictures in, one feature tensor each."""

    def __init__(
        self,
        prepare: Callable[[Any], Pixels],
        forward: Callable[[Pixels], torch.Tensor],
        batch: int,
        workers: int,
    ) -> None:
        """Encode `batch` images per pass.

        Args:
            prepare: makes the model's inputs of one RGB picture (PIL); runs in worker threads.
            forward: makes features (n, ...) of n images whose inputs are concatenated.
            batch: images per forward pass.
            workers: threads that decode and prepare; 0 works in the caller's thread.
        """
        self.batch = Batch(batch)
        self._prepare, self._forward, self._workers = prepare, forward, workers
        self._kept: Recent[str] = Recent()

    def features(self, images: Iterable[Image]) -> Iterator[tuple[Image, torch.Tensor | Failure]]:
        """Yield each image with its features, in order; a Failure for one that cannot be read."""
        ready = ahead(self._read, images, self._workers, self.batch.size)
        while chunk := list(islice(ready, self.batch.size)):
            pictures = {r.digest: r.pixels for _, r in chunk if isinstance(r, _Ready)}
            known = {digest: self._kept.get(digest) for digest in pictures}
            fresh = [digest for digest, row in known.items() if row is None]
            rows = self.batch.run(self._run, [pictures[digest] for digest in fresh])
            for digest, row in zip(fresh, rows, strict=True):
                known[digest] = row
                self._kept.put(digest, row)
            for image, read in chunk:
                yield image, known[read.digest] if isinstance(read, _Ready) else read

    def _read(self, image: Image) -> "tuple[Image, _Ready | Failure]":
        try:
            data = image.read()
            picture = open_image(Image(image.name, data))
            return image, _Ready(sha256(data).hexdigest(), self._prepare(picture))
        except DataError as error:
            return image, Failure(str(error))
        # Where bytes come from a function, and where a processor refuses a picture (a strip of one
        # pixel's height), any error is possible; it is this picture's and costs its samples only.
        except Exception as error:
            return image, Failure(f"image {image.name}: {type(error).__name__}: {error}")

    def _run(self, items: Sequence[Pixels]) -> torch.Tensor:
        return self._forward({key: torch.cat([item[key] for item in items]) for key in items[0]})
