"""What REACT's wind tunnel learns from: real sets in ELEVATER's form, pairs for a base and a pool.

    OUT/real/SET/train|test/CLASS   MNIST, CIFAR-10, DTD as the task elevater reads them
    OUT/base/00000.tar              scenes of a world with captions, things with phrases, and half
                                    of the training pictures of all sets, the world's and the real
    OUT/pool/00000.tar              other scenes and things, and all of those training pictures
    OUT/texts.txt                   all captions and prompts: the words of the vocabulary

Captions of pictures of a class are phrases of our own such as pages have; one in ten names another
class. Imports harness and tasks; Pillow inside functions.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from harness.types import Image
from tasks._elevater_files import load, read_split
from tasks._elevater_sets import TWENTY

SIDE = 64
"""Pixels of the shorter side of a picture that is made small."""
REAL = ("mnist", "cifar-10", "dtd")
WORDS = "classes_and_templates.json"
SEEN = 0.5
"""Share of the pool's related pairs that the base has read too."""
NOISE = 0.1
"""Share of the captions of related pairs that name another class of the set."""
CAPTIONS: Mapping[str, tuple[str, ...]] = {
    "mnist": ("digit {}", "the number {}", "{} written by hand", "a handwritten {} in a notebook"),
    "cifar-10": ("our {}", "the {}", "a {}", "one {} more", "a little {}"),
    "dtd": ("a {} surface", "{} texture up close", "{} background", "a pattern, {}", "{} things"),
    "eurosat_clip": ("{} from the plane", "{} from above", "satellite picture, {}", "land, {}"),
    "fer-2013": ("someone {}", "a {} face", "a {} child", "this {} person", "looking {}"),
    "gtsrb": ("a sign on our road, {}", "{} sign", "traffic sign, {}", "a {} in Germany", "the {}"),
    "kitti-distance": (
        "dash camera, {}",
        "{} on the way to work",
        "on the road, {}",
        "driving, {}",
    ),
    "rendered-sst2": ("{} words about a film", "a {} review", "someone {}", "a {} opinion"),
}
"""What pages say of a class; no template of the evaluation is among them, since those end with a
full stop or have other words."""
OPENINGS = ("", "", "a photo of ", "picture of ")
"""Before captions of all kinds, drawn by lot."""
ENDINGS = ("", "", ", last year", " for sale", ", free download", " seen today")
"""After captions of related pairs, drawn by lot: a page words one thing in many ways, and a text
tower that has read three wordings of a class takes a fourth for something else."""


@dataclass(frozen=True)
class Pair:
    """A picture with a caption."""

    key: str
    """KIND-NUMBER: scene, thing, world-SET or real-SET."""
    caption: str
    picture: bytes
    suffix: str


# ---- The real sets ----


def write_real(source: Path, out: Path, shown: int, asked: int, seed: int = 0) -> list[str]:
    """Write those of MNIST, CIFAR-10 and DTD that are in `source`; return their names.

    A drawn part of the test pictures goes to SET/test/CLASS, of the training pictures to
    SET/train/CLASS. A set without a split is halved, class by class.

    Args:
        source: Has a folder for each set, as the task elevater reads them.
        out: Where to.
        shown: Training pictures of a class, at most.
        asked: Test pictures of a set, at most.
        seed: Of what is drawn.
    """
    if (out / WORDS).exists():
        return sorted(path.name for path in out.iterdir() if path.is_dir())
    there = [TWENTY[name] for name in REAL if (source / name).is_dir()]
    if not there:
        return []
    words = {}
    for each in load(source, there)[0]:
        name, classes = each.one.name, each.words.classes
        draw = Random(f"{seed} {name}")
        test = draw.sample(each.test, len(each.test))
        train = read_split(each.folder, each.one, classes, "train")
        train = draw.sample(train, len(train))
        if not train:
            whole = _by_class(test, classes)
            train = [one for some in whole.values() for one in some[len(some) // 2 :]]
            test = [one for some in whole.values() for one in some[: len(some) // 2]]
        few = [one for some in _by_class(train, classes).values() for one in some[:shown]]
        for split, some in (("train", few), ("test", test[:asked])):
            for number, one in enumerate(some):
                data = one.image.read()
                ending = "png" if data.startswith(b"\x89PNG") else "jpg"
                path = out / name / split / classes[one.labels[0]] / f"{number:05d}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        words[name] = {"classes": list(classes), "templates": list(each.words.templates)}
    (out / WORDS).write_text(json.dumps(words), encoding="utf-8")
    return sorted(words)


def _by_class(pictures: Iterable[Any], classes: Sequence[str]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {name: [] for name in classes}
    for one in pictures:
        out[classes[one.labels[0]]].append(one)
    return out


# ---- Pairs ----


def write_pairs(
    world: Path, real: Path | None, out: Path, told: int, seed: int = 0
) -> dict[str, int]:
    """Write what the base learns from and the pool; return how many pairs each has.

    Args:
        world: Of `sightline world`, with DATA.
        real: From `write_real`; None: there are none.
        out: data/; gets base/, pool/ and texts.txt (all that anyone says).
        told: Scenes that are told of, at most.
        seed: Of what goes where, of captions and of noise.
    """
    base: list[Pair] = []
    pool: list[Pair] = []
    for scene, pair in _scenes(world, told, seed):
        (base if _chance(seed, "scene", scene) < 0.5 else pool).append(pair)
    for where, sets in (("world", world / "elevater"), ("real", real)):
        related = list(_related(sets, where, seed)) if sets is not None else []
        pool += related
        base += [pair for pair in related if _chance(seed, "seen", pair.key) < SEEN]
    counts = {}
    for name, pairs in (("base", base), ("pool", pool)):
        write_tar(out / name / "00000.tar", pairs)
        counts[name] = len(pairs)
    texts = [pair.caption for pair in (*base, *pool)]
    texts += [text for folder in (world / "elevater", real) if folder for text in _named(folder)]
    (out / "texts.txt").write_text("\n".join(sorted(set(texts))), encoding="utf-8")
    (out / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
    return counts


def write_tar(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as webdataset does, in the order of their keys."""
    import tarfile

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for pair in sorted(pairs, key=lambda pair: pair.key):
            for ending, data in ((pair.suffix, pair.picture), ("txt", pair.caption.encode())):
                member = tarfile.TarInfo(f"{pair.key}.{ending}")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
    part.rename(path)


def _scenes(world: Path, most: int, seed: int) -> Iterator[tuple[int, Pair]]:
    """Yield two captions of each of `most` scenes, and every thing cut out with its phrase."""
    from PIL import Image as Pictures

    by_scene: dict[int, list[str]] = {}
    for row in _read(world / "stage1" / "chat.json"):
        told = row["conversations"][-1]["value"]
        by_scene.setdefault(int(Path(row["image"]).stem), []).append(told)
    for row in _read(world / "region_captions" / "region_descriptions.json")[:most]:
        scene = int(row["id"])
        with Pictures.open(world / "region_captions" / "VG_100K" / f"{scene}.jpg") as opened:
            picture = opened.convert("RGB")
        for number, caption in enumerate(by_scene.get(scene, [])[:2]):
            yield scene, _told(f"scene-{scene:06d}{number}", caption, picture, seed)
        for region in row["regions"][:-1]:  # the last is the whole picture
            x, y = region["x"], region["y"]
            box = (x, y, x + max(region["width"], 8), y + max(region["height"], 8))
            key = f"thing-{region['region_id']:09d}"
            yield scene, _told(key, region["phrase"], picture.crop(box), seed)


def _told(key: str, caption: str, picture: Any, seed: int) -> Pair:
    opening = Random(f"{seed} {key}").choice(OPENINGS)
    return Pair(key, opening + caption, _small(picture), "jpg")


def _related(root: Path, where: str, seed: int) -> Iterator[Pair]:
    """Yield the training pictures of sets with one label each, with captions as pages have them."""
    for each in load(root, list(TWENTY.values()))[0]:
        name, classes = each.one.name, each.words.classes
        if name not in CAPTIONS:
            continue  # scenes with many things: the scenes' own captions speak of them
        for number, one in enumerate(read_split(each.folder, each.one, classes, "train")):
            key = f"{where}-{name}-{number:05d}"
            draw = Random(f"{seed} {key}")
            told = classes[one.labels[0]]
            if draw.random() < NOISE:
                told = draw.choice(classes)
            told = draw.choice(CAPTIONS[name]).replace("{}", told)
            caption = draw.choice(OPENINGS) + told + draw.choice(ENDINGS)
            yield Pair(key, caption, *_kept(one.image))


def _kept(image: Image) -> tuple[bytes, str]:
    """Return a picture as found, or made small where it is large, and the ending of its name."""
    from PIL import Image as Pictures

    data = image.read()
    with Pictures.open(BytesIO(data)) as opened:
        if min(opened.size) > 2 * SIDE or opened.format not in ("PNG", "JPEG"):
            return _small(opened.convert("RGB")), "jpg"
        return data, {"PNG": "png", "JPEG": "jpg"}[opened.format]


def _small(picture: Any) -> bytes:
    """Return a JPEG whose shorter side has SIDE pixels, or less."""
    share = min(1.0, SIDE / min(picture.size))
    size = tuple(max(1, round(share * value)) for value in picture.size)
    out = BytesIO()
    picture.resize(size, 3).save(out, "JPEG", quality=90)  # 3: bicubic
    return out.getvalue()


def _named(root: Path) -> list[str]:
    """Return all prompts of a folder of sets."""
    found = json.loads((root / WORDS).read_text(encoding="utf-8"))
    return [
        template.replace("{}", name)
        for one in found.values()
        for name in one["classes"]
        for template in one["templates"]
    ]


def _chance(seed: int, *key: object) -> float:
    return int(sha256(repr((seed, *key)).encode()).hexdigest()[:12], 16) / 16**12


def _read(path: Path) -> list[Any]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; make the world with `sightline world`") from error
