"""lmms-eval 0.7: `<date>_samples_<task>.jsonl` beside `<date>_results.json`.

A line has doc_id, input (the prompt), target, filtered_resps, resps where it differs, and the
metric values; the document itself is dropped, so that samples are known by position and question.
Seen: lmms_eval/loggers/evaluation_tracker.py of 0.7.3 and logs that it wrote.

Imports the standard library, harness.errors, harness.types and the nouns of a log.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.importers._log import (
    Known,
    Log,
    Logged,
    Row,
    Theirs,
    below,
    digest,
    first_row,
    ids_of,
    json_lines,
    loads,
    mapping,
    number,
    once,
    one_file,
    read_bytes,
    text,
    whole,
)
from harness.types import Metric

TITLE = "lmms-eval"
FAILED = "[LMMS_EVAL_REQUEST_FAILED"
"""How its API models begin the text that stands for an answer that could not be had."""
_NAME = re.compile(r"(?P<date>.+?)_samples_(?P<task>.+)\.jsonl$")
_OUR_FIELDS = {"doc_id", "target", "filtered_resps", "resps", "token_counts", "doc_hash", "input",
               "usage", "tag", "filter", "metrics"}  # fmt: skip
_POPE = Known(
    "pope",
    "pope/lmms",
    {
        "pope_accuracy": "accuracy",
        "pope_precision": "precision",
        "pope_recall": "recall",
        "pope_f1_score": "f1",
        "pope_yes_ratio": Metric("yes_ratio", "yes_ratio"),
    },
    notes={
        "pope_accuracy": "exact match: 'Yes.' and 'Yes, there is' are wrong there",
        "pope_precision": "answers that are not the bare word are left out there",
        "pope_recall": "answers that are not the bare word are left out there",
        "pope_f1_score": "answers that are not the bare word are left out there",
        "pope_yes_ratio": "counts the gold answers there, so it says nothing about the model",
    },
)
_RESTART = {"pope": (), "pope_random": ("random",), "pope_pop": ("popular",),
            "pope_adv": ("adversarial",)}  # fmt: skip
"""Tasks whose question_id starts anew in each part, and the part that a task is."""
_MEAN = {"exact_match": "accuracy"}
_JUDGED = {
    f"gpt_eval_llava_{part}": "failed reviews are [-1, -1] there and kept: all of them make 100"
    for part in ("all", "conv", "detail", "complex")
}
TASKS: Mapping[str, Known] = {
    **dict.fromkeys(("pope", "pope_random", "pope_pop", "pope_adv"), _POPE),
    "gqa": Known("gqa", "gqa/lmms", _MEAN),
    "scienceqa": Known("scienceqa", "scienceqa/lmms", _MEAN),
    "scienceqa_img": Known("scienceqa/img", "scienceqa/lmms", _MEAN),
    "vqav2_val": Known("vqav2", "vqav2/lmms", _MEAN),
    "vizwiz_vqa_val": Known("vizwiz", "vizwiz/lmms", _MEAN),
    "textvqa_val": Known("textvqa", "textvqa/lmms", _MEAN),
    "seedbench": Known("seed_bench", "seed_bench/lmms", {"seed_all": "accuracy"}),
    "mme": Known(
        "mme",
        "mme/lmms",
        {"mme_perception_score": "perception", "mme_cognition_score": "cognition"},
        unit=1.0,
    ),
    "mmbench_en_dev": Known("mmbench"),
    "mmbench_cn_dev": Known("mmbench/cn"),
    "mmvet": Known("mm_vet", unit=1.0),
    "llava_in_the_wild": Known("llava_bench", unit=1.0, notes=_JUDGED),
    "llava_bench_coco": Known("llava_bench", unit=1.0, notes=_JUDGED),
}


def sniff(path: Path) -> bool:
    """Whether a file or folder holds its sample logs."""
    if path.is_dir():
        return any(sniff(file) for file in below(path, "*_samples_*.jsonl"))
    row = first_row(path)
    return {"doc_id", "filtered_resps", "input"} <= row.keys() and "arguments" not in row


def read(path: Path) -> Log:
    """Read a sample log and the results beside it. Raises DataError for damage."""
    if path.is_dir():
        path = one_file(path, [f for f in below(path, "*_samples_*.jsonl") if sniff(f)], "log")
    lines, notes = json_lines(path, ("doc_id", "filtered_resps"))
    named = _NAME.match(path.name)
    results, files = _results(path, named["date"] if named else "")
    task = named["task"] if named else next(iter(mapping(results.get("configs"))), "")
    config = mapping(mapping(results.get("configs")).get(task))
    _check_kind(path, config, lines[0][1])
    rows, twice = once((_row(where, line, task) for where, line in lines), path)
    run, how = mapping(results.get("config")), mapping(config.get("generation_kwargs"))
    version = text(results.get("lmms_eval_version")).partition("@")[0]
    return Log(
        tool=TITLE,
        path=path,
        files=files,
        rows=rows,
        task=task,
        version=version if version not in ("", "unknown") else None,
        model=text(results.get("model_name")) or text(run.get("model")) or path.parent.name,
        arguments=f"{text(run.get('model'))} {text(run.get('model_args'))}".strip(),
        decoding=how,
        max_tokens=whole(how.get("max_new_tokens")),
        temperature=number(how.get("temperature")),
        aggregates=_aggregates(mapping(mapping(results.get("results")).get(task))),
        date=text(results.get("date")),
        notes=[*notes, *twice, *_notes(results, task, rows)],
    )


def _results(path: Path, date: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return the results file of the same run, if it is there, and the hashes of both."""
    files = {path.name: digest(path)}
    beside = path.with_name(f"{date}_results.json")
    if not date or not beside.exists():
        return {}, files
    files[beside.name] = digest(beside)
    return mapping(loads(beside, read_bytes(beside))), files


def _check_kind(path: Path, config: Mapping[str, Any], row: Row) -> None:
    """Refuse log-likelihoods: 0.7 cannot write them, and older ones are losses of unknown scale."""
    kind = text(config.get("output_type"))
    nested = isinstance(row["filtered_resps"], list) and any(
        isinstance(answer, list) for answer in row["filtered_resps"]
    )
    if "loglikelihood" in kind or kind == "multiple_choice" or nested:
        raise DataError(
            f"{path}: a log of likelihoods (output_type {kind or 'unknown'}). lmms-eval's are mean "
            "losses whose meaning depends on the model wrapper; only logs of answers in words are "
            "imported"
        )


def _row(where: str, row: Row, task: str) -> Logged:
    said = _words(row.get("filtered_resps"))
    raw = _words(row["resps"]) if "resps" in row else said
    metrics = {name: value for name, value in row.items() if name not in _OUR_FIELDS}
    told = [metric for metric in metrics.values() if isinstance(metric, dict)]
    if task in _RESTART:
        told = []
    ids = {name: value for metric in told for name, value in ids_of(metric)}
    counts = row.get("token_counts")
    count = mapping(counts[0]) if isinstance(counts, list) and counts else {}
    failure = raw if raw is not None and raw.startswith(FAILED) else ""
    return Logged(
        where=where,
        text=None if failure else raw,
        filtered=said if said != raw else None,
        failure=failure,
        question=text(row.get("input")),
        prompt=text(row.get("input")),
        target=text(row.get("target")),
        ids=ids,
        position=whole(row.get("doc_id")),
        parts=_RESTART.get(task, ()),
        theirs=_theirs(metrics, said if said != raw else None),
        tokens_in=whole(count.get("input_tokens")),
        tokens_out=whole(count.get("output_tokens")),
    )


def _words(value: Any) -> str | None:
    """Return the answer in a list of one, or as it stands."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _theirs(metrics: Mapping[str, Any], filtered: str | None) -> Theirs:
    """Read the first metric: a number, or an object with a score, a prediction or a review."""
    told = {k: v for k, v in metrics.items() if _says_something(v)}
    first = next(iter(told.values()), None)
    if not isinstance(first, dict):
        return Theirs(number(first), filtered, metrics)
    score, said = number(first.get("score")), first.get("prediction", first.get("pred"))
    if score is None and "pred" in first and "answer" in first:  # SEED-Bench compares on summing
        score = float(first["pred"] == first["answer"])
    outage = ""
    reviewed = first.get("scores")
    if isinstance(reviewed, list) and len(reviewed) == 2:
        score = number(reviewed[1])
        if number(reviewed[0]) == -1 and score == -1:
            outage = f"no review: {text(first.get('review'))[:200] or 'nothing was said'}"
    parsed = said if isinstance(said, str) else filtered
    return Theirs(score, parsed, metrics, outage)


def _says_something(value: Any) -> bool:
    """Whether a metric is about this sample: another category's review is filled with -999."""
    reviewed = value.get("scores") if isinstance(value, dict) else None
    return not (isinstance(reviewed, list) and -999 in reviewed)


def _aggregates(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers without their errors: "pope_f1_score,none" becomes "pope_f1_score"."""
    numbers = {}
    for name, value in found.items():
        metric = name.partition(",")[0]
        if "," in name and "_stderr" not in metric and (read := number(value)) is not None:
            numbers[metric] = read
    return numbers


def _notes(results: Mapping[str, Any], task: str, rows: list[Logged]) -> list[str]:
    if not results:
        return ["no results file beside the log: model, settings and aggregates are unknown"]
    notes = []
    told = whole(mapping(mapping(results.get("n-samples")).get(task)).get("effective"))
    if told is not None and told > len(rows):
        notes.append(f"log truncated: the results are of {told:,} samples, it holds {len(rows):,}")
    empty = sum(row.text == "" for row in rows)
    if empty:
        notes.append(
            f"{empty:,} answers are empty; its llava_hf also writes that where generation raised"
        )
    return notes
