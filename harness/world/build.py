"""A world from a seed: scenes are drawn, rendered in processes, and written in every format.

A format is a file of harness/world/formats with `write(world, folder)`; its name is the name of the
task that reads the folder, or of a training format. The world is made next to its folder and moved
there when it is whole, so that a folder is never half a world. Imports harness.world and
harness.errors; formats and PIL when they are needed.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from hashlib import sha256
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness.errors import DataError, RunStopped, UsageError, unknown
from harness.world import lore
from harness.world.clips import clips
from harness.world.draw import SIZE, scenes
from harness.world.scene import Scene, World

VERSION = 2
"""Raised when the same seed gives another world."""
FEWEST = 20
MANIFEST = "world.json"
_CHUNK = 25
_UNFINISHED = ".unfinished-world"


def formats() -> list[str]:
    """Return the names of all formats."""
    home = Path(__file__).resolve().parent / "formats"
    return sorted(path.stem for path in home.glob("[!_]*.py"))


def draw_world(
    out: Path,
    count: int,
    seed: int = 0,
    shifts: Sequence[str] = (),
    size: tuple[int, int] = SIZE,
    *,
    simple: bool = False,
) -> World:
    """Draw a world without rendering or writing anything.

    Raises UsageError for fewer than 20 scenes, a picture that is too small, or unknown shifts.
    """
    for shift in shifts:
        if shift not in lore.SHIFTS:
            raise unknown("shift", shift, lore.SHIFTS)
    if count < FEWEST:
        raise UsageError(f"a world needs at least {FEWEST} scenes, asked for {count}")
    if min(size) < 120 or max(size) > 2000:
        raise UsageError(
            f"a picture is 120 to 2,000 pixels wide and high, asked for {size[0]} x {size[1]}"
        )
    kept = tuple(name for name in lore.SHIFTS if name in shifts)
    options = {"scenes": count, "width": size[0], "height": size[1], "simple": simple}
    return World(
        out,
        seed,
        kept,
        scenes(seed, count, kept, size, simple=simple),
        clips(seed, max(20, count // 20), kept, size, simple=simple),
        options,
    )


def make(
    out: Path,
    scenes: int,
    seed: int = 0,
    shifts: Sequence[str] = (),
    only: Sequence[str] = (),
    workers: int = 2,
    size: tuple[int, int] = SIZE,
    *,
    replace: bool = False,
    simple: bool = False,
    say: Callable[[str], None] = print,
) -> World:
    """Make a world at `out`.

    Args:
        out: folder to make; it must be empty or absent unless `replace`.
        scenes: how many, of both splits together; a twentieth of it in clips comes on top.
        seed: same seed and options, same bytes, whatever the number of workers.
        shifts: names of `lore.SHIFTS`.
        only: formats to write; empty: all.
        workers: processes that render; 1: none but this one.
        size: width and height of the pictures in pixels.
        replace: throw away a world that is there.
        simple: few things of few kinds, most of them large.
        say: called with one line per step.

    Raises UsageError for unknown names, a bad number, or a folder that is not free or cannot be
    written, RunStopped when a worker dies.
    """
    known = formats()
    for name in only:
        if name not in known:
            raise unknown("world format", name, known)
    if workers < 1:
        raise UsageError(f"rendering needs at least 1 worker, asked for {workers}")
    home = out.resolve()
    _check_free(home, replace=replace)
    part = home.with_name(f".{home.name}.part")
    world = draw_world(part, scenes, seed, shifts, size, simple=simple)
    try:
        _start(part)
        say(f"drawn: {len(world.scenes):,} scenes, {len(world.clips):,} clips")
        _render(world, workers, say)
        _write(world, [name for name in known if not only or name in only], say)
        (part / _UNFINISHED).unlink()
        if home.exists():
            shutil.rmtree(home)
        part.rename(home)
    except BrokenExecutor as error:
        raise RunStopped(f"a rendering process died ({error}); try fewer --workers") from error
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error}") from error
    return World(out, world.seed, world.shifts, world.scenes, world.clips, world.options)


def load(out: Path) -> World:
    """Return the world at `out`: drawn again from its seed and compared with what was written.

    Raises DataError where there is none, or where this version draws another world.
    """
    stored = manifest(out)
    try:
        count, size = stored["scenes"], (stored["width"], stored["height"])
        seed, shifts, digest = stored["seed"], tuple(stored["shifts"]), stored["digest"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{out / MANIFEST}: not the file of a world ({error!r})") from error
    simple = bool(stored.get("simple"))
    world = draw_world(out, count, seed, shifts, size, simple=simple)
    if digest_of(world) != digest:
        raise DataError(
            f"{out}: made by version {stored.get('version')} of the world, this is "
            f"version {VERSION}; make it again with sightline world --replace"
        )
    return world


def manifest(out: Path) -> dict[str, Any]:
    """Return what world.json says. Raises DataError where there is none or it is damaged."""
    path = out / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: no world here ({error}); make one with sightline world"
        ) from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: not the file of a world")
    return found


def digest_of(world: World) -> str:
    """Return a hash of everything that a world's scenes and clips hold."""
    return sha256(repr((world.scenes, world.clips)).encode()).hexdigest()


def _check_free(out: Path, *, replace: bool) -> None:
    if out == Path.cwd() or out in Path.cwd().parents:
        raise UsageError(f"{out} is where you are; name a folder in it with --out")
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder with --out")
    if (out / MANIFEST).exists():
        if not replace:
            raise UsageError(
                f"{out} holds a world already; add --replace to throw it away, or "
                "name another folder"
            )
    elif any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no world; name another folder")


def _start(part: Path) -> None:
    """Make the folder to work in; what an interrupted run of ours left there goes."""
    if part.exists():
        if not (part / _UNFINISHED).exists() and any(part.iterdir()):
            raise UsageError(f"{part} is in the way and not of this command; remove it")
        shutil.rmtree(part)
    part.mkdir(parents=True)
    (part / _UNFINISHED).touch()


def _render(world: World, workers: int, say: Callable[[str], None]) -> None:
    jobs: list[tuple[Scene, Path]] = [(scene, world.picture(scene)) for scene in world.scenes]
    for clip in world.clips:
        jobs += zip(clip.frames, world.frames(clip), strict=True)
    chunks = [jobs[at : at + _CHUNK] for at in range(0, len(jobs), _CHUNK)]
    done = 0
    for count in _painted(chunks, workers):
        done += count
        if done == len(jobs) or done // 250 > (done - count) // 250:
            say(f"rendered: {done:,} of {len(jobs):,} pictures")


def _write(world: World, names: Sequence[str], say: Callable[[str], None]) -> None:
    written = {}
    for name in names:
        import_module(f"harness.world.formats.{name}").write(world, world.out / name)
        written[name] = _size_of(world.out / name)
        say(f"written: {name:<16} {written[name]['files']:>7,} files")
    (world.out / MANIFEST).write_text(_manifest(world, written), encoding="utf-8")


def _painted(chunks: Sequence[Any], workers: int) -> Iterable[int]:
    """Paint all chunks and yield how many pictures each had, as they become ready."""
    if workers == 1 or len(chunks) < 3:
        yield from map(paint, chunks)
        return
    # Started afresh, not forked: a parent with threads must not be copied in the middle of things.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(paint, chunk) for chunk in chunks]):
            yield future.result()


def paint(jobs: Sequence[tuple[Scene, Path]]) -> int:
    """Render scenes and write each to its file; returns how many."""
    from harness.world.render import picture, save

    for scene, target in jobs:
        save(picture(scene), target)
    return len(jobs)


def _size_of(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _manifest(world: World, written: dict[str, dict[str, int]]) -> str:
    facts = {
        "version": VERSION,
        "seed": world.seed,
        **world.options,
        "clips": len(world.clips),
        "shifts": list(world.shifts),
        "train": len(world.split("train")),
        "test": len(world.split("test")),
        "formats": written,
        "digest": digest_of(world),
    }
    return json.dumps(facts, indent=1) + "\n"
