"""GQA's files: the official JSON, lmms-lab/GQA tables, or flat question-and-answer lines.

All three become the same questions; what a layout does not carry is None. A file that claims to
be a published set is held against its published counts. Used by tasks/gqa.py alone.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import DataError
from harness.types import Image, Source
from tasks._data import (
    data_folder,
    expect_counts,
    file_sha256,
    image_finder,
    read_json,
    read_jsonl,
    unique,
)
from tasks._hub import Table, fetch, find_tables

IMAGES = ("images", "data/images", "gqa/images", "allImages/images")
TIERS = ("testdev_balanced", "testdev_all", "val_balanced", "val_all")
"""In the order of preference where a folder holds several."""
_ID = re.compile(r"\w+")
# Official printout of the test-dev balanced set, and the counts of its real files.
_PUBLISHED: Mapping[str, Mapping[str, int]] = {
    "testdev_balanced": {
        "questions": 12_578,
        "images": 398,
        **{"structural query": 6_805, "structural verify": 2_252, "structural logical": 1_803},
        **{"structural choose": 1_129, "structural compare": 589},
        **{"semantic rel": 5_308, "semantic attr": 5_186, "semantic cat": 1_149},
        **{"semantic obj": 778, "semantic global": 157},
        **{"steps 1": 237, "steps 2": 6_395, "steps 3": 4_266, "steps 4": 793, "steps 5": 822},
        **{"steps 6": 41, "steps 7": 20, "steps 8": 3, "steps 9": 1},
        **{"words 3": 151, "words 4": 630, "words 5": 1_290, "words 6": 2_074},
        **{"words 7": 1_642, "words 8": 1_185, "words 9": 1_281, "words 10": 1_249},
    },
    "val_balanced": {"questions": 132_062},
}
_NOT_A_STEP = ("exist", "query: name", "choose name")
"""`eval.py` passes over operations with these words when it counts reasoning steps."""


class Choices(NamedTuple):
    """Answers that a question admits (`valid`) and that are plausible for it."""

    valid: list[str]
    plausible: list[str]


@dataclass(frozen=True, slots=True)
class Question:
    """One question; None where the files do not tell."""

    id: str
    image: str
    text: str
    answer: str
    balanced: bool = True
    structural: str | None = None
    semantic: str | None = None
    detailed: str | None = None
    steps: int | None = None
    group: str | None = None
    entailed: tuple[str, ...] | None = None
    choices: Choices | None = None

    @property
    def words(self) -> int:
        """Length as the official script counts it."""
        return len(self.text.split())


@dataclass(frozen=True)
class Questions:
    """A question set and where it came from."""

    rows: list[Question]
    source: Source
    image: Callable[[str], Image]
    notes: list[str] = field(default_factory=list)


def load(data: str | None) -> Questions:
    """Read the questions at `data` in whatever layout they are.

    Raises DataError when nothing is recognised, an id comes twice, a field lacks, or a published
    set has other counts than were published.
    """
    if data is not None and data.startswith("hf:"):  # the whole data set would be 40 times as much
        root, address = fetch(data, config="testdev_balanced_*"), data
    else:
        root = data_folder(data, "gqa", hub="lmms-lab/GQA")
        address = str(root)
    for layout in (_official, _tables, _flat):
        found = layout(root, address)
        if found is not None:
            unique((question.id for question in found.rows), f"gqa in {address}")
            _check(found)
            return found
    raise DataError(
        f"{root}: no GQA questions. Expected testdev_balanced_questions.json (questions1.2.zip), "
        "the tables of lmms-lab/GQA (testdev_balanced_instructions, testdev_balanced_images), or "
        "JSON lines with question_id, image, question, answer"
    )


def _official(root: Path, address: str) -> Questions | None:
    notes: list[str] = []
    if root.is_file():
        if root.suffix != ".json":
            return None
        path, folder = root, root.parent
    else:
        files = {p.stem.removesuffix("_questions"): p for p in _below(root, "*_questions.json")}
        files |= {p.name.removesuffix("_questions"): p for p in _below(root, "*_questions")}
        if not files:
            return None
        tier = _preferred(files, notes)
        path, folder = files[tier], root
    tier = path.stem.removesuffix("_questions")
    parts = sorted(path.glob(f"{path.name}_*.json")) if path.is_dir() else [path]
    rows = {k: v for part in parts for k, v in _read_dict(part).items()}
    beside = _choices_file(folder, path, tier)
    choices = _read_dict(beside) if beside else None
    questions = [_question(f"{path}, question '{k}'", k, row, choices) for k, row in rows.items()]
    hashes = {part.name: file_sha256(part) for part in [*parts, *([beside] if beside else [])]}
    source = Source(address, tier, tier, "CC BY 4.0", hashes)
    finder = image_finder(folder, [*IMAGES, *(f"../{name}" for name in IMAGES[:1])])
    return Questions(questions, source, finder, notes)


def _below(root: Path, pattern: str) -> list[Path]:
    found = [p for depth in ("", "*/") for p in sorted(root.glob(depth + pattern))]
    return [p for p in found if p.suffix == ".json" or (p.is_dir() and any(p.glob("*.json")))]


def _preferred(files: Mapping[str, Path], notes: list[str]) -> str:
    order = [*(tier for tier in TIERS if tier in files), *sorted(set(files).difference(TIERS))]
    if len(order) > 1:
        notes.append(f"the folder holds {', '.join(order)}; {order[0]} was taken")
    return order[0]


def _read_dict(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, dict)
    return found


def _choices_file(folder: Path, path: Path, tier: str) -> Path | None:
    names = [f"{tier}_choices.json", f"{tier.rsplit('_', 1)[0]}_choices.json"]
    places = [path.parent, folder, *sorted(p for p in folder.glob("*") if p.is_dir())]
    found = (place / name for name in names for place in places)
    return next((candidate for candidate in found if candidate.is_file()), None)


def _question(
    where: str, id: str, row: Any, choices: Mapping[str, Any] | None = None, image: str = "imageId"
) -> Question:
    """Make a question of a row; the field `image` holds the image."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found a {type(row).__name__}")
    texts: dict[str, str] = {}
    for name in ("question", image, "answer"):
        value = row.get(name)
        if not isinstance(value, str):
            raise DataError(
                f"{where}: no text in the field '{name}'; it has {', '.join(row)}"
                + (
                    ". Test and challenge questions come without answers"
                    if name == "answer"
                    else ""
                )
            )
        texts[name] = value
    types = row.get("types") or {}
    entailed = row.get("entailed")
    program = row.get("semantic")
    return Question(
        id=id,
        image=texts[image],
        text=texts["question"],
        answer=texts["answer"],
        balanced=bool(row.get("isBalanced", True)),
        structural=types.get("structural"),
        semantic=types.get("semantic"),
        detailed=types.get("detailed"),
        steps=_steps(program) if isinstance(program, list) else None,
        group=(row.get("groups") or {}).get("global"),
        entailed=None if entailed is None else _ids(entailed),
        choices=_choices(where, id, choices) if choices is not None else None,
    )


def _steps(program: Iterable[Mapping[str, Any]]) -> int:
    operations = (f"{op.get('operation')}: {op.get('argument')}" for op in program)
    return sum(not any(words in op for words in _NOT_A_STEP) for op in operations)


def _ids(value: Any) -> tuple[str, ...]:
    """Return ids from a list, or from the printed list that lmms-lab/GQA has in its place."""
    return tuple(_ID.findall(value)) if isinstance(value, str) else tuple(str(x) for x in value)


def _choices(where: str, id: str, choices: Mapping[str, Any]) -> Choices:
    try:
        return Choices(choices[id]["valid"], choices[id]["plausible"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{where}: the choices file has no 'valid' and 'plausible' for it; it belongs to "
            "another question set"
        ) from error


def _tables(root: Path, address: str) -> Questions | None:
    notes: list[str] = []
    if root.is_file():
        folders = {"": root} if root.suffix in (".parquet", ".arrow") else {}
    else:
        places = [root, *root.glob("*instructions"), *root.glob("*/*instructions")]
        folders = {
            p.name.removesuffix("instructions").rstrip("_"): p
            for p in places
            if p.name.endswith("instructions") and p.is_dir()
        }
    if not folders:
        return None
    tier = _preferred(folders, notes)
    folder = folders[tier]
    files = [folder] if folder.is_file() else find_tables(folder)
    beside = folder.with_name(folder.name.replace("instructions", "images"))
    images = find_tables(beside) if beside != folder and beside.is_dir() else []
    rows = [
        _question(f"{files[0]}, row {at}", str(row.get("id")), row)
        for at, row in Table(files).rows()
    ]
    hashes = {f"{path.parent.name}/{path.name}": file_sha256(path) for path in files}
    tier = tier or ("testdev_balanced" if "testdev" in files[0].name else "")
    source = Source(address, tier, tier, "CC BY 4.0", hashes)
    return Questions(rows, source, _joined(images), notes)


def _joined(files: list[Path]) -> Callable[[str], Image]:
    """Return the images of the second table by id; without it they have no bytes."""
    if not files:
        return Image
    table = Table(files)
    where = {str(row.get("id")): at for at, row in table.rows()}

    def find(name: str) -> Image:
        at = where.get(name.removesuffix(".jpg"))
        image = table.image(at, "image", name) if at is not None else None
        return image or Image(name)

    return find


def _flat(root: Path, address: str) -> Questions | None:
    need = ("question_id", "image", "question", "answer")
    paths = [root] if root.is_file() else sorted(root.glob("*.jsonl"))
    firsts = {path: next(read_jsonl(path), (0, {}))[1] for path in paths if ".jsonl" in path.name}
    fitting = [path for path, first in firsts.items() if set(need) <= set(first)]
    if not fitting:
        return None
    notes: list[str] = []
    name = _preferred({_tier(path): path for path in fitting}, notes)
    path = next(path for path in fitting if _tier(path) == name)
    rows = []
    for line, row in read_jsonl(path, need):
        where = f"{path}, line {line}"
        rows.append(_question(where, str(row["question_id"]), row, image="image"))
    source = Source(address, name, name, "CC BY 4.0", {path.name: file_sha256(path)})
    finder = image_finder(path.parent, IMAGES)
    asked = path.parent / f"llava_gqa_{name}.jsonl"
    if asked.exists():
        _same_questions(rows, asked)
    return Questions([_stemmed(q) for q in rows], source, finder, notes)


def _stemmed(question: Question) -> Question:
    from dataclasses import replace

    return replace(question, image=question.image.removesuffix(".jpg"))


def _tier(path: Path) -> str:
    return next((tier for tier in TIERS if tier in path.name), path.stem)


def _same_questions(rows: Iterable[Question], path: Path) -> None:
    """Raise DataError unless LLaVA's question file beside asks the same questions."""
    known = {question.id: question.text for question in rows}
    for line, row in read_jsonl(path, ("question_id", "text")):
        text = known.pop(str(row["question_id"]), None)
        if text is None or not str(row["text"]).startswith(text):
            raise DataError(
                f"{path}, line {line}: question '{row['question_id']}' is {row['text']!r} here and "
                f"{text!r} in the gold file; the two are not one set"
            )
    if known:
        raise DataError(f"{path}: {len(known):,} questions of the gold file are not in it")


def _check(found: Questions) -> None:
    """Hold a set that claims a published name against its counts.

    A file with less than half of the questions is a sample that somebody cut or made, not a
    damaged download: it is admitted, and the record says that it is not the published set.
    """
    tier = found.source.split
    balanced = [question for question in found.rows if question.balanced]
    published = _PUBLISHED.get(tier, {})
    if not balanced:
        raise DataError(f"gqa in {found.source.address}: no balanced questions; nothing to score")
    if len(balanced) < published.get("questions", 0) / 2:
        found.notes.append(
            f"a part of {tier} or a set of its own ({len(balanced):,} questions, published are "
            f"{published['questions']:,}): not comparable with published numbers"
        )
        return
    counts = Counter(_counted(balanced))
    known = {
        key: n for key, n in published.items() if key.split()[0] in {k.split()[0] for k in counts}
    }
    expect_counts(f"gqa {tier} in {found.source.address}", known, counts)


def _counted(rows: Iterable[Question]) -> Iterator[str]:
    images = set()
    for row in rows:
        yield "questions"
        yield f"words {row.words}"
        for name in ("structural", "semantic", "steps"):
            if getattr(row, name) is not None:
                yield f"{name} {getattr(row, name)}"
        if row.image not in images:
            images.add(row.image)
            yield "images"
