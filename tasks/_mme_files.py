"""MME's files: a folder per sub-task with pictures and question files, or lmms-lab/MME.

A question file belongs to one picture and has two lines, "question<TAB>Yes". Five sub-tasks keep
pictures in `images/` and question files in `questions_answers_YN/`, the others side by side.
LLaVA's `llava_mme.jsonl` beside the folders gives its prompts to the letter; it has no answers.
Used by tasks/mme.py alone.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image, Source
from tasks._data import (
    data_folder,
    expect_counts,
    file_sha256,
    inside,
    read_jsonl,
    read_text,
    unique,
)
from tasks._hub import Table, find_tables

PERCEPTION = (
    *("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark"),
    *("artwork", "OCR"),
)
SUBTASKS = (
    *PERCEPTION,
    *("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
)
_SIZES = (60, 60, 60, 60, 294, 340, 400, 400, 400, 40, 140, 40, 40, 40)
PUBLISHED = {"questions": sum(_SIZES)} | dict(zip(SUBTASKS, _SIZES, strict=True))
_PICTURES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its two questions."""

    subtask: str
    name: str
    """The picture's file name, without its ending."""
    image: Image | None
    questions: tuple[tuple[str, str], ...]
    """(question as published, "yes" or "no"), twice."""
    asked: tuple[str, ...] = ("", "")
    """LLaVA's prompts, where its file is at hand."""

    @property
    def id(self) -> str:
        """Sub-task and picture."""
        return f"{self.subtask}/{self.name}"


@dataclass
class Pairs:
    """All pairs and where they came from."""

    pairs: list[Pair]
    source: Source
    notes: list[str] = field(default_factory=list)

    @property
    def subtasks(self) -> set[str]:
        """The sub-tasks that have questions."""
        return {pair.subtask for pair in self.pairs}


def load(data: str | None) -> Pairs:
    """Read the questions at `data`.

    Raises DataError when nothing is recognised, a picture has not two questions, an answer is
    neither yes nor no, or the published set has other counts than were published.
    """
    root = data_folder(data, "mme", hub="lmms-lab/MME")
    found = _folders(root) or _tables(root) or _nothing(root)
    unique((pair.id for pair in found.pairs), f"mme in {root}")
    for pair in found.pairs:
        if len(pair.questions) != 2:
            raise DataError(
                f"{root}: {pair.id} has {len(pair.questions)} questions; MME has two per picture"
            )
    counts = Counter(pair.subtask for pair in found.pairs for _ in pair.questions)
    counts["questions"] = counts.total()
    if counts["questions"] < PUBLISHED["questions"] / 2:
        found.notes.append(
            f"a part of MME or a set of its own ({counts['questions']:,} questions, published are "
            f"{PUBLISHED['questions']:,}): not comparable with published numbers"
        )
    else:
        expect_counts(f"mme in {root}", PUBLISHED, counts)
    return found


def _nothing(root: Path) -> Pairs:
    raise DataError(
        f"{root}: no MME questions. Expected MME_Benchmark_release_version with a folder per "
        f"sub-task ({', '.join(SUBTASKS[:4])}, ...), or the tables of lmms-lab/MME. LLaVA's "
        "llava_mme.jsonl alone has no answers"
    )


def _folders(root: Path) -> Pairs | None:
    places = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    places += [path for place in places[1:] for path in sorted(place.glob("*")) if path.is_dir()]
    home = next((p for p in places if any((p / name).is_dir() for name in SUBTASKS)), None)
    if home is None:
        return None
    pairs = [pair for name in SUBTASKS if (home / name).is_dir() for pair in _subtask(home, name)]
    hashes = {}
    beside = next((p for p in (root, home, home.parent) if (p / "llava_mme.jsonl").is_file()), None)
    if beside is not None and pairs:
        file = beside / "llava_mme.jsonl"
        pairs = _as_llava_asked(file, pairs)
        hashes[file.name] = file_sha256(file)
    return Pairs(pairs, Source(str(root), home.name, "test", "research only", hashes))


def _subtask(home: Path, name: str) -> list[Pair]:
    folder = home / name
    apart = folder / "questions_answers_YN"
    texts, pictures = (apart, folder / "images") if apart.is_dir() else (folder, folder)
    pairs = []
    for file in sorted(texts.glob("*.txt")):
        image = next(
            (p for end in _PICTURES if (p := pictures / f"{file.stem}{end}").exists()), None
        )
        found = None
        if image is not None:
            inside(home, str(image.relative_to(home)))
            found = Image(f"{name}/{image.name}", image)
        pairs.append(Pair(name, file.stem, found, tuple(_questions(file))))
    return pairs


def _questions(file: Path) -> list[tuple[str, str]]:
    rows = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if line.strip():
            question, tab, answer = line.rstrip("\r").rpartition("\t")
            if not tab:
                raise DataError(f"{file}, line {number}: expected a question, a tab and Yes or No")
            rows.append((question, _answer(f"{file}, line {number}", answer)))
    return rows


def _answer(where: str, text: Any) -> str:
    """Return yes or no. Raises DataError for anything else, as the official script does."""
    word = str(text).strip().lower().replace(".", "")
    if word not in ("yes", "no"):
        raise DataError(f"{where}: expected the answer Yes or No, found {str(text)[:40]!r}")
    return word


def _as_llava_asked(file: Path, pairs: list[Pair]) -> list[Pair]:
    """Put LLaVA's prompts to their questions. Raises DataError where one has none."""
    prompts: dict[tuple[str, str], str] = {}
    for _, row in read_jsonl(file, need=("question_id", "text")):
        subtask, _, picture = str(row["question_id"]).partition("/")
        name = picture.rpartition("/")[2].partition(".")[0]
        text = str(row["text"])
        prompts[f"{subtask}/{name}", _bare(text)] = text
    found = []
    for pair in pairs:
        asked = tuple(prompts.get((pair.id, _bare(text)), "") for text, _ in pair.questions)
        if not all(asked):
            raise DataError(
                f"{file}: no prompt for a question on {pair.id}; it belongs to another version of "
                "the folders. Remove it to use prompts made here"
            )
        found.append(replace(pair, asked=asked))
    return found


def _bare(text: str) -> str:
    """Return a question without what tells how to answer, and with single spaces."""
    for line in ("Answer the question using a single word or phrase.", "Please answer yes or no."):
        text = text.replace(line, "")
    return " ".join(text.split())


def _tables(root: Path) -> Pairs | None:
    files = find_tables(root, split="test") if root.is_dir() else []
    if not files:
        return None
    table = Table(files)
    pairs: dict[str, Pair] = {}
    for at, row in table.rows():
        where = f"{files[0]}, row {at}"
        pair = _row(where, row, table, at, pairs)
        pairs[pair.id] = pair
    return Pairs(list(pairs.values()), Source(str(root), "lmms-lab/MME", "test", "research only"))


def _row(
    where: str, row: Mapping[str, Any], table: Table, at: int, pairs: Mapping[str, Pair]
) -> Pair:
    """Return the pair that a row of the table belongs to, with the row's question added."""
    try:
        subtask, picture, question = row["category"], str(row["question_id"]), row["question"]
        gold = _answer(where, row["answer"])
    except KeyError as error:
        raise DataError(
            f"{where}: not a row of lmms-lab/MME ({error!r}); it has {', '.join(row)}"
        ) from error
    if subtask not in SUBTASKS:
        raise DataError(f"{where}: the category {subtask!r} is none of {', '.join(SUBTASKS)}")
    file = picture.rpartition("/")[2]
    pair = pairs.get(f"{subtask}/{file.partition('.')[0]}")
    if pair is None:
        image = table.image(at, "image", f"{subtask}/{file}")
        pair = Pair(subtask, file.partition(".")[0], image, ())
    return replace(pair, questions=(*pair.questions, (str(question), gold)))
