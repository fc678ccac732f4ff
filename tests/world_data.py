"""A small scene world for tests: drawn once per process, rendered only when somebody looks."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.world import build
from harness.world.scene import World

_HELD: list[TemporaryDirectory[str]] = []
"""Folders that live as long as the process."""


@cache
def small_world(count: int = 60, seed: int = 7, shifts: tuple[str, ...] = ()) -> World:
    """Return a world without pictures: what it says can be tested, `place` cannot."""
    return build.draw_world(Path("no-such-folder"), count, seed, shifts)


@cache
def painted_world(count: int = 60, seed: int = 7) -> World:
    """Return a world whose pictures are there, in a folder of its own; no format is written."""
    _HELD.append(TemporaryDirectory(prefix="sightline-world-"))
    world = build.draw_world(Path(_HELD[-1].name), count, seed)
    build.paint([(scene, world.picture(scene)) for scene in world.scenes])
    for clip in world.clips:
        build.paint(list(zip(clip.frames, world.frames(clip), strict=True)))
    return world


def write_format(name: str, folder: Path, world: World | None = None) -> World:
    """Write one format of a painted world into `folder`; return the world."""
    world = world or painted_world()
    import_module(f"harness.world.formats.{name}").write(world, folder)
    return world


def contents(folder: Path, but: Sequence[str] = (".jpg", ".png")) -> dict[str, bytes]:
    """Return all files of a folder, by relative name, without pictures."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in but
    }
