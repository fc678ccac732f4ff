"""VisualCOMET files for the contract test: events on VCR's frames, with people by number."""

import json
from pathlib import Path

import made_vcr

RELATIONS = ("intent", "before", "after")
EVENTS = ("1 gives {n} apples to 2", "2 is standing beside 4, waiting for bus {n}")


def event(image: int, number: int) -> dict:
    """Return one object of val_annots.json; counts of inferences run from 0 to 4."""
    names = made_vcr.row(image, 0)
    found = {k: names[k] for k in ("img_fn", "metadata_fn", "movie")}
    found |= {"place": f"at place {image}a", "event": EVENTS[number].format(n=f"no{image}")}
    for at, relation in enumerate(RELATIONS):
        count = (image + 2 * number + at) % 5
        found[relation] = [
            f"{relation} thing no{image}.{number}.{k} with 2 or {3 + k}'s friend"
            for k in range(count)
        ]
    return found


def events(folder: Path, listed: list[dict]) -> Path:
    """Write val_annots.json and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "val_annots.json"
    path.write_text(json.dumps(listed), encoding="utf-8")
    return path


def write(folder: Path, images: int = 16) -> dict[str, Path]:
    """Write a folder of two events per frame, with frames and metadata."""
    events(folder, [event(image, number) for image in range(images) for number in range(2)])
    made_vcr.frames(folder, images)
    return {"": folder}
