"""POPE: is an object that is (not) there seen? Yes/no polling for object hallucination.

Li et al. 2023 (arXiv 2305.10355), github AoiDragon/POPE: `evaluate.py` for the rule, `output/coco`
for the questions. 500 COCO val2014 images x 6 questions x 3 splits; five numbers per split, never
pooled. The bare name is LLaVA-1.5's protocol: the same rule, one more line in the prompt.

    sightline run --task pope --model transformers:PATH --data FOLDER

A file of today's repository and one of the version LLaVA used share names but not questions, so
every file is recognised by checksum and the version is part of the record.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Answer, Decoding, Metric, Sample, Score, Source, Task
from judges.yes_no import pope_rule, single_word, vlmeval_word
from tasks._data import (
    data_folder,
    file_sha256,
    image_finder,
    read_jsonl,
    unique,
)
from tasks._hub import Table, find_tables

VARIANTS = {
    "official": "the question alone; evaluate.py's rule (anything without 'no' or 'not' is yes)",
    "llava": "LLaVA-1.5's prompt and the same rule; the same as 'pope'",
    "lmms": "lmms-eval: the bare word or wrong; pooled over splits; yes-ratio of the gold answers",
    "vlmeval": "VLMEvalKit: exactly one of the words yes and no, else unknown; pooled F1",
}
SPLITS = ("random", "popular", "adversarial")
SHORT = "{}\nAnswer the question using a single word or phrase."
VERSIONS = {
    "e3e3926": {  # the one that LLaVA's instructions point to; 2,910 random questions
        "random": "c16b65d2df6d70bb0814c8a4375833d39cdb09928fd936d3fc546491efa37f35",
        "popular": "5b16653023bf4f64d57eb0d168259de6627f5cde7538b85ebed3cc33034aa6cc",
        "adversarial": "1d8f0906a9b50c05640f6f23abfac97523be2a1bed28f7eadc63b811699b2d26",
    },
    "HEAD": {  # since commit edebdda, October 2023
        "random": "ac25245170b975a5bdf9080b23fd431dfe6be458bc038259c1f4f09a6bef7994",
        "popular": "72c1a8ad45d0c13514f5f22598261df41d3b533854d29682e924db50ed8aa753",
        "adversarial": "420b3407db1fa9f1187a805dca41cb7b97fd91504e6c2179706188c107fb8ef8",
    },
}
LLAVA_IDS = {"adversarial": 0, "random": 10_000_000, "popular": 20_000_000}
"""LLaVA's question file numbers the splits apart by these offsets; so do we."""
IMAGES = ("images", "val2014", "coco/val2014", "images/val2014", "coco/images/val2014")
POOLED = (
    Metric("accuracy"),
    Metric("precision", "precision"),
    Metric("recall", "recall"),
    Metric("f1", "f1"),
)


def make(variant: str = "", data: str | None = None) -> Task:
    """Make the task on a folder of the official files, LLaVA's eval folder, or lmms-lab/POPE.

    Raises DataError for files of no published version, or of two versions at once.
    """
    root = data_folder(data, "pope", hub="lmms-lab/POPE")
    rule = variant or "llava"
    tables = find_tables(root, split="test") if root.is_dir() else []
    if tables:
        samples, source = _hub_samples(tables, rule), Source(str(root), "lmms-lab/POPE", "test")
    else:
        files, version = _files(root)
        hashes = {path.name: file_sha256(path) for path in files.values()}
        source = Source(str(root), version, "+".join(files), "MIT", hashes)
        samples = [s for split, path in files.items() for s in _read(split, path, root, rule)]
    splits = [split for split in SPLITS if any(s.groups["split"] == split for s in samples)]
    unique((sample.id for sample in samples), f"pope in {root}")
    samples.sort(key=lambda s: s.cluster)  # stable: an image's questions together, files in order
    notes: tuple[str, ...] = ()
    if source.version == "custom":
        notes = ("not a published version of POPE: not comparable with published numbers",)
    return Task(
        name=f"pope/{variant}" if variant else "pope",
        version="1",
        source=source,
        samples=lambda: samples,
        score=_SCORERS[rule],
        scorer=f"pope/{rule}@1",
        metrics=_metrics(rule, splits),
        headline=_headline(rule, splits),
        decoding=Decoding(max_tokens=128),
        chance=50.0 if rule == "lmms" else None,
        notes=notes,
    )


def _metrics(rule: str, splits: list[str]) -> tuple[Metric, ...]:
    if rule == "lmms":  # its yes_ratio counts the gold answers; kept, because users must see it
        return (*POOLED, Metric("yes_ratio", "mean", options={"value": "gold"}))
    if rule == "vlmeval":
        by_split = (Metric(f"{s}.f1", "f1", {"split": s}) for s in splits)
        return (*POOLED, *by_split, Metric("yes_ratio", "yes_ratio"))
    kinds = ("accuracy", "precision", "recall", "f1", "yes_ratio")
    each = [Metric(f"{s}.{kind}", kind, {"split": s}) for s in splits for kind in kinds]
    if len(splits) < len(SPLITS):  # a mean over the splits at hand would pass for the published one
        return tuple(each)
    means = [
        Metric(f"mean.{kind}", "mean_of", options={"of": [f"{s}.{kind}" for s in splits]})
        for kind in ("f1", "accuracy", "yes_ratio")
    ]
    return (*each, *means)


def _headline(rule: str, splits: list[str]) -> str:
    if rule in ("lmms", "vlmeval"):
        return {"lmms": "accuracy", "vlmeval": "f1"}[rule]
    return "mean.f1" if len(splits) == len(SPLITS) else f"{splits[0]}.f1"


def _by_pope(sample: Sample, answer: Answer) -> Score:
    yes, found = pope_rule(answer.text)
    return _score(sample, "yes" if yes else "no", found)


def _by_lmms(sample: Sample, answer: Answer) -> Score:
    """Count an answer that is neither word as wrong, and leave it out of precision and recall."""
    word = single_word(answer.text)
    return _score(sample, word or "", word is not None)


def _by_vlmeval(sample: Sample, answer: Answer) -> Score:
    word = vlmeval_word(answer.text)
    return _score(sample, word or "", word is not None)


_SCORERS = {"official": _by_pope, "llava": _by_pope, "lmms": _by_lmms, "vlmeval": _by_vlmeval}


def _score(sample: Sample, said: str, found: bool) -> Score:
    gold = 0 if sample.target == "no" else 1
    yes = {"yes": 1, "no": 0}.get(said)
    return Score(
        float(yes == gold),
        said or None,
        "scored" if found else "unparsed",
        {"gold": gold, "yes": yes},
    )


def _files(root: Path) -> tuple[dict[str, Path], str]:
    """Find the split files and the version they are; a folder may hold several versions."""
    if root.is_file():
        split = next((split for split in SPLITS if split in root.name), None)
        if split is None:
            raise DataError(f"{root}: expected a file named coco_pope_<{'|'.join(SPLITS)}>.json")
        return {split: root}, _version({split: root})
    found: dict[Path, dict[str, Path]] = {}
    for depth in ("", "*/", "*/*/"):
        for split in SPLITS:
            for path in sorted(root.glob(f"{depth}coco_pope_{split}.json")):
                found.setdefault(path.parent, {})[split] = path
    if not found:
        raise DataError(
            f"{root}: no POPE questions. Expected coco_pope_random.json, coco_pope_popular.json "
            "and coco_pope_adversarial.json (github AoiDragon/POPE, output/coco), or parquet files "
            "of lmms-lab/POPE"
        )
    if len(found) == 1:
        files = next(iter(found.values()))
        return files, _version(files)
    versions = {folder: _version(files) for folder, files in found.items()}
    beside = root / "llava_pope_test.jsonl"  # LLaVA's own questions decide which set is meant
    for folder, version in versions.items():
        if beside.exists() and version == "e3e3926":
            return found[folder], version
    listed = "\n".join(f"  {folder} ({version})" for folder, version in versions.items())
    raise DataError(f"{root} holds several versions of POPE; name one with --data:\n{listed}")


def _version(files: dict[str, Path]) -> str:
    """Name the published version of the files. Raises DataError for mixed or altered ones."""
    hashes = {split: file_sha256(path) for split, path in files.items()}
    found = {
        split: next((v for v, known in VERSIONS.items() if known[split] == digest), "unknown")
        for split, digest in hashes.items()
    }
    if set(found.values()) == {"unknown"} and not any(_claims_coco(p) for p in files.values()):
        return "custom"
    if len(set(found.values())) == 1 and "unknown" not in found.values():
        return next(iter(found.values()))
    lines = []
    for split, path in files.items():
        rows = sum(1 for _ in read_jsonl(path))
        known = ", ".join(f"{name} {known[split][:16]}" for name, known in VERSIONS.items())
        lines.append(
            f"  {path.name}: {rows:,} questions, sha256 {hashes[split][:16]}, version "
            f"{found[split]}; published: {known}"
        )
    raise DataError(
        "POPE: these COCO questions are not one published version. Fetch all three files from one "
        "commit of AoiDragon/POPE:\n" + "\n".join(lines)
    )


def _claims_coco(path: Path) -> bool:
    """Whether the questions are about COCO images, so that they must be a published set."""
    return any("COCO_val2014" in str(row.get("image")) for _, row in read_jsonl(path))


def _read(split: str, path: Path, root: Path, rule: str) -> Iterator[Sample]:
    folder = root if root.is_dir() else root.parent
    image = image_finder(folder, IMAGES)
    for line, row in read_jsonl(path, need=("question_id", "image", "text", "label")):
        number, label = row["question_id"], row["label"]
        if not isinstance(number, int) or label not in ("yes", "no"):
            raise DataError(
                f"{path}, line {line}: expected a whole question_id and the label yes or no, "
                f"found {number!r} and {label!r}"
            )
        yield _sample(split, number, image(row["image"]), row["text"], label, rule)


def _hub_samples(tables: list[Path], rule: str) -> list[Sample]:
    """Read lmms-lab/POPE: one table, the split in its column `category`."""
    table = Table(tables)
    samples = []
    for at, row in table.rows():
        try:
            split, number = row["category"], int(row["question_id"])
            question, label, source = row["question"], row["answer"], row["image_source"]
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{tables[0]}, row {at}: not a row of lmms-lab/POPE ({error!r}); it has "
                f"{', '.join(row)}"
            ) from error
        if split not in SPLITS:
            raise DataError(f"{tables[0]}, row {at}: category {split!r} is none of {SPLITS}")
        name = f"{source}.jpg" if source and not re.search(r"\.\w+$", source) else source
        image = table.image(at, "image", name)
        question = question.removesuffix(SHORT.format(""))
        samples.append(_sample(split, number, image, question, label.lower(), rule))
    return samples


def _sample(split: str, number: int, image: Any, text: str, label: str, rule: str) -> Sample:
    name = image.name if image else f"{split}-{number}"
    return Sample(
        id=str(LLAVA_IDS[split] + number),
        prompt=(*((image,) if image else ()), text if rule == "official" else SHORT.format(text)),
        target=label,
        choices=("yes", "no"),
        cluster=name,
        groups={"split": split},
        aliases=(f"{split}/{number}",),
    )
