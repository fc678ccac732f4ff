"""Records with videos: which frames are shown, and how they reach the model.

A record's `video` is a folder of frames (in the order of their names) or a list of frame files; one
`<image>` or `<video>` mark stands for it. `v.mp4` and `v.pkl` mean the folder `v`. Frames are taken
from the middles of equal segments and become, as in Video-ChatGPT (mbzuai-oryx), `images.video`
tokens for moments and one per patch. The pooling is that of the harness (harness/engine/video.py),
so a video is scored as it was trained on. Films are not decoded here: extract their frames first
(docs/trainers/locvlm.md). May import torch at the top.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.engine.video import pick, stack
from trainers.engine.images import Pictures, Pixels
from trainers.engine.records import BadRecord
from trainers.recipe import ImageSettings

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def frame_files(root: Path, names: Sequence[str]) -> list[str]:
    """Return the frames, below `root`, of the video that a record names."""
    if len(names) != 1 or (root / names[0]).is_file():
        return list(names)
    for folder in (names[0], names[0].rpartition(".")[0]):
        if folder and (root / folder).is_dir():
            inside = (p for p in (root / folder).iterdir() if p.suffix.lower() in SUFFIXES)
            return [f"{folder}/{name}" for name in sorted(p.name for p in inside)]
    return list(names)


class Clips(Pictures):
    """Pictures and videos under one kind of tensors, so that a batch may hold both."""

    def __init__(self, processor: Any, folder: Path | None, settings: ImageSettings) -> None:
        """Read through `processor`; `settings` say how many moments and frames there are."""
        super().__init__(processor, folder, settings.cache)
        self.moments, self.most = settings.video, min(settings.frames, settings.video)
        self._frames: dict[str, tuple[str, ...]] = {}

    def clip(self, names: Sequence[str]) -> str:
        """Return the name that the video of these frames, or in this one folder, goes by.

        Raises BadRecord when there is no frame.
        """
        name = f"video {' '.join(names)}"
        if name not in self._frames:
            self.path(names[0])
            found = frame_files(self.folder or Path(), names)
            if not found:
                raise BadRecord("video missing", f"{name}: no frame ({', '.join(SUFFIXES)})")
            self._frames[name] = tuple(found[i] for i in pick(len(found), self.most))
        return name

    def frames(self, name: str) -> tuple[str, ...]:
        """Return the frame files that are shown of a video, or the picture itself."""
        return self._frames.get(name, (name,))

    def tokens(self, name: str) -> int:
        """Return how many image tokens the picture or video takes. Raises BadRecord."""
        count = super().tokens(self.frames(name)[0])
        return count + self.moments if name in self._frames else count

    def size(self, name: str) -> tuple[int, int]:
        """Return height and width, of a video those of its first frame. Raises BadRecord."""
        return super().size(self.frames(name)[0])

    def pixels(self, name: str) -> Pixels:
        """Return what the model sees. Raises BadRecord when a frame does not decode."""
        import torch

        if name not in self._frames:
            return super().pixels(name)
        shown = [super(Clips, self).pixels(frame)["pixel_values"][:, 0] for frame in
                 self._frames[name]]  # fmt: skip
        return stack(torch.cat(shown), self.moments)

    def process(self, picture: Any) -> Pixels:
        """Return a still picture as the only frame of a video without moments."""
        return stack(super().process(picture)["pixel_values"], 0)
