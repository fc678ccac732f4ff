"""Logs of other tools for the import tests: fixtures in tests/data/import, and logs made here."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parent / "data" / "import"
QUESTIONS = FIXTURES / "questions"
FAILED = "[LMMS_EVAL_REQUEST_FAILED after 5 retries] Connection error."
SHORT = "\nAnswer the question using a single word or phrase."


def pope_questions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the questions of an official POPE folder by split."""
    found = {}
    for split in ("adversarial", "popular", "random"):
        lines = (folder / f"coco_pope_{split}.json").read_text(encoding="utf-8").splitlines()
        found[split] = [json.loads(line) for line in lines]
    return found


def write_lmms_pope(
    folder: Path,
    questions: Sequence[Mapping[str, Any]],
    said: Sequence[str],
    task: str = "pope_adv",
) -> Path:
    """Write a POPE log in the layout of lmms-eval 0.7.3 with that tool's own scores."""
    lines, results = [], []
    for at, (asked, answer) in enumerate(zip(questions, said, strict=True)):
        prediction = answer.lower().strip()
        told = {
            "question_id": str(asked["question_id"]),
            "score": float(prediction == asked["label"]),
            "prediction": prediction,
            "ground_truth": asked["label"],
        }
        results.append(told)
        names = ("accuracy", "precision", "recall", "f1_score", "yes_ratio")
        lines.append(
            {
                "doc_id": at,
                "target": asked["label"],
                "filtered_resps": answer,
                "token_counts": [None],
                "doc_hash": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
                **{f"pope_{name}": told for name in names},
                "input": asked["text"] + SHORT,
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"20260101_120000_samples_{task}.jsonl"
    write_lines(path, lines)
    numbers = {f"{name},none": value for name, value in lmms_pope_numbers(results).items()}
    summary = {
        "results": {task: {"alias": task, **numbers}},
        "configs": {
            task: {
                "task": task,
                "output_type": "generate_until",
                "generation_kwargs": {"max_new_tokens": 128, "temperature": 0.0},
            }
        },
        "n-samples": {task: {"original": len(lines), "effective": len(lines)}},
        "config": {"model": "llava_hf", "model_args": "pretrained=llava-v1.5-7b,api_key=hush"},
        "lmms_eval_version": "0.7.3@abc",
        "model_name": "llava-v1.5-7b",
        "date": "20260101_120000",
    }
    (folder / "20260101_120000_results.json").write_text(json.dumps(summary), encoding="utf-8")
    return path


def lmms_pope_numbers(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what lmms-eval prints for POPE, from its definitions."""

    def count(gold: str, *said: str) -> int:
        return sum(r["ground_truth"] == gold and r["prediction"] in said for r in results)

    tp, fp, fn = count("yes", "yes"), count("no", "yes"), count("yes", "no")
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    both = precision + recall
    return {
        "pope_accuracy": sum(r["score"] for r in results) / len(results),
        "pope_precision": precision,
        "pope_recall": recall,
        "pope_f1_score": 2 * precision * recall / both if both else 0.0,
        "pope_yes_ratio": sum(r["ground_truth"] == "yes" for r in results) / len(results),
    }


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def changed(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Path:
    """Change the lines of a log in place."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return write_lines(path, change(rows))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a table as VLMEvalKit does: every field quoted, or as a sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    if path.suffix == ".xlsx":
        from openpyxl import Workbook

        book = Workbook()
        sheet = book.active
        sheet.append(names)
        for row in rows:
            sheet.append([row[name] for name in names])
        book.save(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            delimiter = "," if path.suffix == ".csv" else "\t"
            writer = csv.DictWriter(file, names, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    return path


def vlmeval_word(text: str) -> str:
    """Return VLMEvalKit's reading of a yes/no answer."""
    words = "".join(c if c.isalnum() or c.isspace() else " " for c in text.lower()).split()
    both = "yes" in words, "no" in words
    return {(True, False): "Yes", (False, True): "No"}.get(both, "Unknown")


def write_vlmeval_pope(
    folder: Path, questions: Sequence[Mapping[str, Any]], said: Sequence[str], ending: str
) -> Path:
    """Write a POPE table of VLMEvalKit with its score files; `category` names a row's splits."""
    rows = [
        {
            "index": at,
            "category": asked["category"],
            "question": asked["text"],
            "answer": asked["label"].capitalize(),
            "prediction": answer,
        }
        for at, (asked, answer) in enumerate(zip(questions, said, strict=True))
    ]
    path = write_table(folder / f"made-1_POPE{ending}", rows)
    scored = [{**row, "extracted": vlmeval_word(row["prediction"] or "nan")} for row in rows]
    scored = [{**row, "score": row["answer"] == row["extracted"]} for row in scored]
    write_table(folder / f"made-1_POPE_auxmatch{ending}", scored)
    accuracy = 100 * sum(row["score"] for row in scored) / len(scored)
    numbers = [{"split": "Overall", "Overall": 50.0, "acc": accuracy}]
    write_table(folder / "made-1_POPE_score.csv", numbers)
    return path
