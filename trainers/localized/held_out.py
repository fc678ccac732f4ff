"""Pictures of evaluated splits, kept away from every teacher.

The paper's seed pictures are those of Visual Genome and VCR; it does not say that VCR's validation
frames were left out, so here it is checked: a picture is held out when its file has the hash or the
name of one that a named task asks about, or when a deny-list has its id. Also pictures on which a
task draws regions are compared as they lie on disk. May import harness and trainers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from harness.errors import DataError, UsageError
from harness.types import Image
from trainers.localized.verbal import Verbal
from trainers.teaching import key_of, read_exclude


@dataclass(frozen=True)
class HeldOut:
    """What no teacher may see."""

    hashes: frozenset[str] = frozenset()
    """sha256 of files."""
    names: frozenset[str] = frozenset()
    """File names without folders."""
    keys: frozenset[str] = frozenset()
    """Ids of a deny-list (`teaching.key_of`)."""
    tasks: tuple[str, ...] = ()
    nameless: int = 0
    """Evaluated pictures of which only the name is known."""

    def has(self, picture: Verbal) -> bool:
        """Whether a picture is held out."""
        return (
            picture.sha256 in self.hashes
            or Path(picture.image).name in self.names
            or bool({key_of(picture.image), key_of(picture.id)} & self.keys)
        )


def read(tasks: Iterable[str], exclude: Path | None, *, unchecked: bool = False) -> HeldOut:
    """Read what is held out: `TASK=DATA` words, and a deny-list of ids or file names.

    Raises:
        UsageError: Nothing was named, and `unchecked` does not say that this is meant.
        DataError: A task's data cannot be read, or it has no picture.
    """
    words = tuple(tasks)
    if not words and exclude is None and not unchecked:
        raise UsageError(
            "no evaluated pictures were named: give --hold-out TASK=DATA (vcr=FOLDER, "
            "sherlock=FOLDER) or --exclude FILE; --unchecked goes on without"
        )
    hashes: set[str] = set()
    names: set[str] = set()
    nameless = 0
    for word in words:
        task, _, data = word.partition("=")
        pictures = list(_pictures(task, data or None))
        if not pictures:
            raise DataError(f"--hold-out {word}: the task has no picture to hold out")
        for picture in pictures:
            names.add(Path(picture.name.partition("#")[0]).name)
            if picture.source is None:
                nameless += 1
                continue
            hashes.add(sha256(picture.read()).hexdigest())
    keys = read_exclude(exclude) if exclude else frozenset()
    told = tuple(word.partition("=")[0] for word in words)
    return HeldOut(frozenset(hashes), frozenset(names), keys, told, nameless)


def _pictures(task: str, data: str | None) -> Iterable[Image]:
    from harness.find import make_task

    seen: set[str] = set()
    for sample in make_task(task, data).samples():
        for part in sample.prompt:
            if isinstance(part, Image):
                plain = _plain(part)
                if plain.name not in seen:
                    seen.add(plain.name)
                    yield plain


def _plain(image: Image) -> Image:
    """Return the picture as published where a task draws on it (a partial over it)."""
    if isinstance(image.source, partial):
        for value in image.source.args:
            if isinstance(value, Image):
                return _plain(value)
    return image


def split(found: Iterable[Verbal], held_out: HeldOut) -> tuple[list[Verbal], int]:
    """Return the pictures that may be used, and how many may not."""
    pictures = list(found)
    kept = [picture for picture in pictures if not held_out.has(picture)]
    return kept, len(pictures) - len(kept)
