"""Which regions of a picture are shown, in which order, and drawing them.

LSKD, section 2.4 and the released `unified_vqa` data sets. Colours and numbers follow the position
in the list of shown regions: a list in another order is the paper's reassignment of ids, a longer
or shorter one its variation of their number, and the text is renumbered to match (words.py). All
lots are drawn from (seed, epoch, id). The drawing itself is `harness.engine.highlight`, which the
model adapters use too. Imports harness and PIL; PIL inside.
"""

from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import Any, Literal

from harness.engine.highlight import Palette, highlight
from harness.errors import DataError
from trainers.localized.triples import Triple, mentioned

MOST = 5
"""Regions shown at once: the published palette has as many colours."""
Choice = Literal["mentioned", "student", "critic"]
"""`mentioned`: those of the triple, in its order (evaluation). The others vary with a lot."""
_MENTIONED_ONLY = {"student": 0.5, "critic": 0.6}
"""How often only the mentioned regions are shown."""


def lot(seed: int, epoch: int, name: str, purpose: str) -> Random:
    """Return a generator that depends on nothing but these four."""
    words = f"{seed}/{epoch}/{purpose}/{name}".encode("utf-8", "surrogatepass")
    return Random(int.from_bytes(sha256(words).digest(), "big"))


def shown(
    triple: Triple, choice: Choice = "mentioned", draw: Random | None = None, most: int = MOST
) -> tuple[int, ...]:
    """Return the ids of the regions to draw, in drawing order; all that are mentioned are in it.

    `student`: half of the time the mentioned regions alone, else all that the triple has, in a
    random order either way. `critic`: with .6 the mentioned regions in their order, else all in a
    random order. `mentioned`: always those, in their order. Of more than `most` regions the
    mentioned ones stay and others are drawn by lot.

    Args:
        triple: Of which picture.
        choice: How.
        draw: Source of the lots; needed unless `choice` is `mentioned`.
        most: Cap on their number; 0: none.

    Raises:
        DataError: The triple itself is about more than `most` regions.
    """
    about = tuple(dict.fromkeys((*triple.region, *mentioned(*_parts(triple)))))
    if most and len(about) > most:
        raise DataError(
            f"triple {triple.id} is about {len(about)} regions; {most} are shown at most "
            "(palette=extended with most=0 shows any number)"
        )
    if choice == "mentioned":
        return about
    if draw is None:
        raise ValueError("a lot is needed to vary the regions")
    alone = draw.random() < _MENTIONED_ONLY[choice]
    if alone and choice == "critic":
        return about
    found = list(about)
    if not alone:
        others = [id for id in dict.fromkeys(triple.region_all) if id not in set(about)]
        others = [id for id in others if _has_boxes(triple, id)]
        draw.shuffle(others)
        found += others[: most - len(about)] if most else others
    draw.shuffle(found)
    return tuple(found)


def drawn(picture: Any, triple: Triple, ids: Sequence[int], palette: Palette = "lskd") -> Any:
    """Return a copy of a picture (PIL) with the regions `ids` of `triple` highlighted.

    Boxes are in pixels of the original picture; a picture of another size than the triple states
    gets them scaled. All boxes of a region have the colour of its position in `ids`.

    Raises:
        DataError: A region has no boxes.
    """
    across = picture.width / (triple.width or picture.width)
    down = picture.height / (triple.height or picture.height)
    boxes, slots = [], []
    for slot, id in enumerate(ids):
        found = triple.boxes(id)
        if not found:
            raise DataError(f"triple {triple.id}: region {id} has no boxes")
        for left, top, right, bottom in found:
            boxes.append((left * across, top * down, right * across, bottom * down))
            slots.append(slot)
    return highlight(picture, boxes, palette, slots)


def _has_boxes(triple: Triple, id: int) -> bool:
    return any(one.name == str(id) and one.boxes for one in triple.references)


def _parts(triple: Triple) -> tuple[Any, ...]:
    return triple.question, triple.answer, triple.rationale
