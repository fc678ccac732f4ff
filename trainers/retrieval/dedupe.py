"""Which pairs are one and the same, and which are pictures that a task asks about.

Pairs are looked at in the order in which they were chosen, so the better one of two stays. A
held-out picture is recognised by the bytes of its file, by its perceptual hash (as it is and
mirrored), and, where a threshold is given, by the cosine of the two vectors. numpy and PIL are
imported inside functions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.fingerprint import digest
from harness.types import Image, Task
from trainers.retrieval import hashes
from trainers.retrieval.encode import Encoder

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NEAR, NEAR_HELD = 3, 6
"""Bits in which two pictures of the pool, and one and a held-out one, may differ."""
REASONS = (
    "held out: same file", "held out: looks the same", "held out: cosine",
    "same address", "same file", "looks the same",
)  # fmt: skip
_CHUNK = 256


@dataclass
class HeldOut:
    """Pictures that must not be retrieved."""

    near: hashes.Near
    files: dict[str, str] = field(default_factory=dict)
    """Hash of the file to `TASK NAME`."""
    names: list[str] = field(default_factory=list)
    vectors: "list[Array]" = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)
    """How many pictures of each task."""
    tau: float | None = None

    @property
    def digest(self) -> str:
        """Hash of the set of files."""
        return digest(sorted(self.files))


def held_out(
    tasks: Sequence[Task], distance: int = NEAR_HELD, encoder: Encoder | None = None,
    tau: float | None = None,
) -> HeldOut:  # fmt: skip
    """Collect the pictures that tasks ask about.

    Args:
        tasks: With their data.
        distance: Bits in which a perceptual hash may differ.
        encoder: Makes their vectors; needed with `tau`.
        tau: Cosine from which a picture of the pool is taken for one of these.

    Raises DataError where a task's picture cannot be read: it could not be kept out.
    """
    found = HeldOut(hashes.Near(distance), tau=tau)
    waiting: list[tuple[str, bytes]] = []
    for task in tasks:
        names: set[str] = set()
        for sample in task.samples():
            for part in sample.prompt:
                if isinstance(part, Image) and part.source is not None and part.name not in names:
                    names.add(part.name)
                    _hold(found, f"{task.name} {part.name}", part.read(), waiting, tau)
                    if encoder is not None and len(waiting) >= _CHUNK:
                        _vectors(found, encoder, waiting)
        found.tasks[task.name] = len(names)
        if not names:
            raise DataError(f"{task.name}: its data hold no pictures, so none can be kept out")
    if encoder is not None and waiting:
        _vectors(found, encoder, waiting)
    return found


def _hold(
    found: HeldOut, name: str, data: bytes, waiting: list[tuple[str, bytes]], tau: float | None
) -> None:
    from PIL import Image as Pictures
    from PIL import ImageOps

    hashed = sha256(data).hexdigest()
    if hashed in found.files:
        return
    found.files[hashed] = name
    try:
        with Pictures.open(BytesIO(data)) as opened:
            picture = opened.convert("RGB")
    except Exception as error:
        raise DataError(f"{name}: the held-out picture does not open ({error})") from error
    for one in (picture, ImageOps.mirror(picture)):
        look = hashes.of_picture(one)
        if look is not None:
            found.near.add(look, name)
    if tau is not None:
        waiting.append((name, data))


def _vectors(found: HeldOut, encoder: Encoder, waiting: list[tuple[str, bytes]]) -> None:
    found.vectors.append(encoder.images([encoder.ready(data, name) for name, data in waiting]))
    found.names += [name for name, _ in waiting]
    waiting.clear()


@dataclass(frozen=True)
class Sifted:
    """What is left."""

    kept: list[int]
    """Positions among the candidates, rising."""
    dropped: dict[int, tuple[str, str]]
    """Position to why, and the key or the held-out picture that it is the same as."""


def sift(
    candidates: Sequence[Mapping[str, Any]],
    held: HeldOut,
    distance: int = NEAR,
    vectors: "Callable[[Sequence[int]], Array] | None" = None,
) -> Sifted:
    """Drop pairs that are held out or the same as one before.

    Args:
        candidates: Facts of pairs (key, url, sha256, look, flat), the best first.
        held: What must not be there.
        distance: Bits in which two pictures may differ to be taken for one; -1: no such comparison.
        vectors: Returns the image vectors of positions, for the comparison by cosine.
    """
    kept: list[int] = []
    dropped: dict[int, tuple[str, str]] = {}
    urls: dict[str, str] = {}
    files: dict[str, str] = {}
    near = hashes.Near(distance) if distance >= 0 else None
    alike = _by_cosine(len(candidates), held, vectors)
    for at, pair in enumerate(candidates):
        look = None if pair["flat"] else int(pair["look"])
        url = str(pair["url"]).partition("#")[0]
        why = _why(pair, look, held, alike.get(at)) or _same(pair, look, url, urls, files, near)
        if why:
            dropped[at] = why
            continue
        kept.append(at)
        files[pair["sha256"]] = pair["key"]
        if url:
            urls[url] = pair["key"]
        if near is not None and look is not None:
            near.add(look, pair["key"])
    return Sifted(kept, dropped)


def _why(
    pair: Mapping[str, Any], look: int | None, held: HeldOut, alike: str | None
) -> tuple[str, str] | None:
    if name := held.files.get(pair["sha256"]):
        return REASONS[0], name
    if look is not None and (name := held.near.find(look)):
        return REASONS[1], name
    return (REASONS[2], alike) if alike else None


def _same(
    pair: Mapping[str, Any], look: int | None, url: str, urls: Mapping[str, str],
    files: Mapping[str, str], near: hashes.Near | None,
) -> tuple[str, str] | None:  # fmt: skip
    if url and url in urls:
        return REASONS[3], urls[url]
    if pair["sha256"] in files:
        return REASONS[4], files[pair["sha256"]]
    if near is not None and look is not None and (name := near.find(look)):
        return REASONS[5], name
    return None


def _by_cosine(
    count: int, held: HeldOut, vectors: "Callable[[Sequence[int]], Array] | None"
) -> dict[int, str]:
    import numpy as np

    if held.tau is None or not held.vectors or vectors is None:
        return {}
    against = np.concatenate(held.vectors)
    out: dict[int, str] = {}
    for start in range(0, count, _CHUNK):
        some = range(start, min(start + _CHUNK, count))
        cosines = vectors(some) @ against.T
        best = cosines.argmax(axis=1)
        for at, place in zip(some, best, strict=True):
            if cosines[at - start, place] >= held.tau:
                out[at] = held.names[place]
    return out
