"""Captions of the training scenes, in the files of LLaVA's first stage.

`blip_laion_cc_sbu_558k.json` with `blip_laion_cc_sbu_558k_meta.json` (LLaVA-1.5) and `chat.json`
with `metadata.json` (CC3M-595K, LLaVA v1), all of {id, image, conversations}: a brief request with
`<image>` before or after it, and the caption. Five captions of each scene, an own wording in either
file; paths are relative to this folder, with LLaVA's folders of pictures by the first five digits.
Train split alone. Imports harness.world alone.
"""

from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._paper import document
from harness.world.scene import Scene, World

_EACH = 5
"""Captions of a scene in each file."""
REQUESTS = (
    "Describe the image in a few words.",
    "Give a short description of the picture.",
    "What does the image show, in brief?",
    "Write a short caption for this photo.",
    "Sum up the picture in one sentence.",
    "Say briefly what can be seen here.",
    "Provide a brief caption of the image.",
    "Tell me in short what this picture shows.",
    "Render the image in one plain sentence.",
    "Share a concise summary of the photo.",
)


def write(world: World, folder: Path) -> None:
    """Write both files of captions with their metadata, and the pictures."""
    for records, metadata, name in (
        ("blip_laion_cc_sbu_558k.json", "blip_laion_cc_sbu_558k_meta.json", "blip"),
        ("chat.json", "metadata.json", "cc3m"),
    ):
        found, told = [], []
        for scene, draw in world.each("train", "stage1", name):
            captions = wording.captions(scene, draw, _EACH)
            for number, caption in enumerate(captions):
                record = _record(scene, number, caption, draw)
                found.append(record)
                told.append(_metadata(record, caption, name))
        document(folder / records, found)
        document(folder / metadata, told)
    for scene in world.split("train"):
        world.place(scene, folder / image(scene))


def image(scene: Scene) -> str:
    """Return the path of a picture: a folder by the first five of nine digits."""
    name = f"{scene.id:09d}"
    return f"{name[:5]}/{name}.jpg"


def _record(scene: Scene, number: int, caption: str, draw: Random) -> dict[str, Any]:
    request = draw.choice(REQUESTS)
    asked = draw.choice((f"<image>\n{request}", f"{request}\n<image>"))
    return {
        "id": f"{scene.id:09d}{number}",
        "image": image(scene),
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": caption}],
    }


def _metadata(record: dict[str, Any], caption: str, name: str) -> dict[str, str]:
    """Return the entry of the metadata; CC3M's has its own caption beside that of BLIP."""
    common = {"id": record["id"], "image": record["image"]}
    own = {"caption": caption} if name == "cc3m" else {}
    return {**common, **own, "blip_caption": caption, "url": ""}
