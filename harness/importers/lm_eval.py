"""lm-evaluation-harness 0.4: `samples_<task>_<date>.jsonl` beside `results_<date>.json`.

A line has the document, the arguments of each request, raw and filtered responses and the metric
values, once per filter. Multiple choice is one request per option with its summed log-likelihood.
Seen: lm_eval/loggers/evaluation_tracker.py of 0.4.13 and logs that it wrote.

Imports the standard library, harness.errors and the nouns of a log.
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
    listed,
    loads,
    mapping,
    number,
    once,
    one_file,
    read_bytes,
    text,
    whole,
)

TITLE = "lm-eval"
_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl$")
TASKS: Mapping[str, Known] = {}
"""None of its stock tasks is one of ours; local ones are named with --task."""


def sniff(path: Path) -> bool:
    """Whether a file or folder holds its sample logs."""
    if path.is_dir():
        return any(sniff(file) for file in below(path, "samples_*.jsonl"))
    return {"doc_id", "doc", "arguments", "filtered_resps"} <= first_row(path).keys()


def read(path: Path) -> Log:
    """Read a sample log and the results beside it. Raises DataError for damage."""
    if path.is_dir():
        path = one_file(path, [f for f in below(path, "samples_*.jsonl") if sniff(f)], "log")
    lines, notes = json_lines(path, ("doc_id", "arguments", "resps"))
    named = _NAME.match(path.name)
    results, files = _results(path, named["date"] if named else "")
    task = named["task"] if named else next(iter(mapping(results.get("configs"))), "")
    config = mapping(mapping(results.get("configs")).get(task))
    lines, filters = _first_filter(lines)
    if len(filters) > 1:
        notes.append(f"scored there with the filters {', '.join(filters)}; rows show {filters[0]}")
    rows, twice = once((_row(path, where, line) for where, line in lines), path)
    told = whole(mapping(mapping(results.get("n-samples")).get(task)).get("effective"))
    if told is not None and told > len(rows):
        notes.append(f"log truncated: the results are of {told:,} samples, it holds {len(rows):,}")
    if not results:
        notes.append("no results file beside the log: model, settings and aggregates are unknown")
    run, how = mapping(results.get("config")), mapping(config.get("generation_kwargs"))
    return Log(
        tool=TITLE,
        path=path,
        files=files,
        rows=rows,
        task=task,
        version=text(results.get("lm_eval_version")) or None,
        model=text(results.get("model_name")) or text(run.get("model")) or path.parent.name,
        arguments=f"{text(run.get('model'))} {_arguments(run.get('model_args'))}".strip(),
        decoding=how,
        max_tokens=whole(how.get("max_gen_toks", how.get("max_new_tokens"))),
        temperature=number(how.get("temperature")),
        aggregates=_aggregates(mapping(mapping(results.get("results")).get(task))),
        date=named["date"] if named else "",
        notes=[*notes, *twice],
    )


def _results(path: Path, date: str) -> tuple[Mapping[str, Any], dict[str, str]]:
    files = {path.name: digest(path)}
    beside = path.with_name(f"results_{date}.json")
    if not date or not beside.exists():
        return {}, files
    files[beside.name] = digest(beside)
    return mapping(loads(beside, read_bytes(beside))), files


def _arguments(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={part}" for name, part in value.items())
    return text(value)


def _first_filter(lines: list[tuple[str, Row]]) -> tuple[list[tuple[str, Row]], list[str]]:
    """Return the lines of the first filter: every filter writes all samples once more."""
    filters = list(dict.fromkeys(text(row.get("filter")) for _, row in lines))
    return [(at, row) for at, row in lines if text(row.get("filter")) == filters[0]], filters


def _row(path: Path, where: str, row: Row) -> Logged:
    asked = _requests(row.get("arguments"))
    if not asked:
        raise DataError(f"{path}, {where}: the sample has no request")
    doc = mapping(row.get("doc"))
    metrics = {str(name): row[str(name)] for name in listed(row.get("metrics")) if str(name) in row}
    first = number(next(iter(metrics.values()), None))
    prompt = asked[0][0]
    shared: dict[str, Any] = {
        "where": where,
        "prompt": prompt,
        "question": text(doc.get("question")) or prompt,
        "ids": dict(ids_of(doc)),
        "position": whole(row.get("doc_id")),
    }
    likelihoods = [_likelihood(response) for response in listed(row["resps"])]
    if likelihoods and None not in likelihoods:
        options = tuple(text(request[1]).strip() for request in asked)
        if len(options) != len(likelihoods):
            raise DataError(f"{path}, {where}: {len(asked)} requests, {len(likelihoods)} responses")
        gold = whole(row.get("target"))
        return Logged(
            **shared,
            scores=tuple(value for value in likelihoods if value is not None),
            options=options,
            target=options[gold] if gold is not None and gold < len(options) else None,
            theirs=Theirs(first, None, metrics),
        )
    raw, read = _words(row.get("resps")), _words(row.get("filtered_resps"))
    theirs = Theirs(first, None if read == raw else read, metrics)
    target = text(row.get("target"))
    return Logged(**shared, text=raw, filtered=read, target=target, theirs=theirs)


def _requests(arguments: Any) -> list[tuple[str, Any]]:
    """Return (context, continuation or settings) of each request, in old and new layouts."""
    pairs = []
    for found in arguments.values() if isinstance(arguments, dict) else listed(arguments):
        parts = list(found.values()) if isinstance(found, dict) else found
        if isinstance(parts, list) and parts:
            pairs.append((text(parts[0]), parts[1] if len(parts) > 1 else None))
    return pairs


def _likelihood(response: Any) -> float | None:
    """Return the log-likelihood of one option: [["-3.5", "False"]]."""
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    pair = isinstance(response, list) and len(response) == 2
    return number(response[0]) if pair and str(response[1]) in ("True", "False") else None


def _words(value: Any) -> str | None:
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, str) else None


def _aggregates(found: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for name, value in found.items():
        metric, comma, how = name.partition(",")
        if comma and not metric.endswith("_stderr") and (read := number(value)) is not None:
            numbers[metric if how == "none" else f"{metric} ({how})"] = read
    return numbers
