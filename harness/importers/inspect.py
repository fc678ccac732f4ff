"""Inspect: `.eval` logs (a zip of JSON, compressed with deflate or zstd) and `.json` logs.

header.json says what was run and what came of it, samples/<id>_epoch_<n>.json holds one sample
each; a log whose run was killed has _journal/start.json in place of the header. Seen:
inspect_ai/log of 0.3.285 and logs that it wrote.

Imports the standard library, harness.errors and the nouns of a log; pyarrow where it decompresses.
"""

import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

from harness.errors import DataError
from harness.importers._log import (
    Known,
    Log,
    Logged,
    Row,
    Theirs,
    below,
    digest,
    ids_of,
    listed,
    loads,
    mapping,
    number,
    one_file,
    read_bytes,
    text,
    whole,
)

TITLE = "inspect"
TASKS: Mapping[str, Known] = {}
"""Tasks are Python functions of the user's; they are named with --task."""
GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Its letters: correct, partial, incorrect, no answer."""
_ZSTD = 93
_LARGEST = 1 << 29
"""Bytes of one member after decompression; a sample with images stays far below."""


def sniff(path: Path) -> bool:
    """Whether a file or folder holds its logs."""
    if path.is_dir():
        return any(sniff(file) for file in below(path, "*.eval"))
    if path.suffix == ".json":
        return _is_json_log(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(names & {"header.json", "_journal/start.json"})


def _is_json_log(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "samples" in found and "model" in mapping(found.get("eval"))


def read(path: Path) -> Log:
    """Read a log; of several epochs the first. Raises DataError for damage."""
    if path.is_dir():
        path = one_file(path, below(path, "*.eval"), ".eval log")
    header, samples = _json_log(path) if path.suffix == ".json" else _zip_log(path)
    spec = mapping(header.get("eval"))
    results, config = mapping(header.get("results")), mapping(spec.get("config"))
    how = {
        **mapping(spec.get("model_generate_config")),
        **mapping(mapping(header.get("plan")).get("config")),
    }
    known = mapping(spec.get("dataset")).get("sample_ids")
    at = {str(id): i for i, id in enumerate(listed(known))}
    rows = [
        replace(_row(where, sample), position=at.get(str(sample.get("id"))))
        for where, sample in samples
        if sample.get("epoch", 1) == 1
    ]
    if not rows:
        raise DataError(f"{path}: no samples of the first epoch in it")
    notes = _notes(header, spec, results, len(rows))
    if (epochs := whole(config.get("epochs")) or 1) > 1:
        notes.append(f"{epochs} epochs were run; the answers of the first are taken")
    return Log(
        tool=TITLE,
        path=path,
        files={path.name: digest(path)},
        rows=rows,
        task=text(spec.get("task")),
        version=text(mapping(spec.get("packages")).get("inspect_ai")) or None,
        model=text(spec.get("model")),
        arguments=json.dumps(spec.get("model_args") or {}, separators=(",", ":"), default=str),
        decoding=how,
        max_tokens=whole(how.get("max_tokens")),
        temperature=number(how.get("temperature")),
        aggregates=_aggregates(results),
        date=text(spec.get("created")),
        notes=notes,
    )


def _json_log(path: Path) -> tuple[Mapping[str, Any], list[tuple[str, Row]]]:
    found = mapping(loads(path, read_bytes(path)))
    samples = [s for s in listed(found.get("samples")) if isinstance(s, dict)]
    return found, [(f"{path.name}, sample {s.get('id')}", s) for s in samples]


def _zip_log(path: Path) -> tuple[Mapping[str, Any], list[tuple[str, Row]]]:
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return _members(path, archive, file)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: not a whole zip file ({error}); the log is cut off") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _members(path: Path, archive: zipfile.ZipFile, file: Any) -> tuple[Any, list[tuple[str, Row]]]:
    known = {info.filename: info for info in archive.infolist()}

    def document(name: str) -> Mapping[str, Any]:
        raw = _member(path, archive, file, known[name])
        return mapping(loads(f"{path}: {name}", raw))

    head = "header.json" if "header.json" in known else "_journal/start.json"
    if head not in known:
        raise DataError(
            f"{path}: neither header.json nor _journal/start.json in it: no Inspect log"
        )
    names = [name for name in known if name.startswith("samples/") and name.endswith(".json")]
    samples = [(f"{path.name}, {name}", dict(document(name))) for name in names]
    return document(head), samples


def _member(path: Path, archive: zipfile.ZipFile, file: Any, info: zipfile.ZipInfo) -> bytes:
    """Return the contents of one member. Python's zipfile reads zstd from 3.14 on; pyarrow does."""
    if info.file_size > _LARGEST:
        raise DataError(f"{path}: {info.filename} claims {info.file_size:,} bytes; not read")
    if info.compress_type != _ZSTD:
        try:
            return archive.read(info)
        except (NotImplementedError, zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"{path}: {info.filename} cannot be unpacked: {error}") from error
    import pyarrow as pa

    file.seek(info.header_offset)
    fixed = file.read(30)
    name_length, extra_length = struct.unpack("<HH", fixed[26:30])
    file.seek(name_length + extra_length, 1)
    packed = file.read(info.compress_size)
    try:
        unpacked = pa.decompress(packed, decompressed_size=info.file_size, codec="zstd")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {info.filename} is damaged: {error}") from error
    found: bytes = unpacked.to_pybytes()
    if crc32(found) != info.CRC:
        raise DataError(f"{path}: {info.filename} is damaged: its checksum differs")
    return found


def _row(where: str, sample: Row) -> Logged:
    question, image = _question(sample)
    output = mapping(sample.get("output"))
    usage = mapping(output.get("usage"))
    first = mapping(next(iter(listed(output.get("choices"))), None))
    failure = text(mapping(sample.get("error")).get("message")) or text(output.get("error"))
    return Logged(
        where=where,
        text=None if failure else _completion(output, first),
        failure=failure,
        options=tuple(text(option) for option in listed(sample.get("choices"))),
        question=question,
        prompt=_prompt(sample),
        image=image,
        target=_target(sample.get("target")),
        ids=dict([*ids_of(mapping(sample.get("metadata"))), *ids_of(sample)]),
        theirs=_theirs(mapping(sample.get("scores"))),
        stop="length" if first.get("stop_reason") in ("max_tokens", "model_length") else "end",
        tokens_in=whole(usage.get("input_tokens")),
        tokens_out=whole(usage.get("output_tokens")),
        seconds=number(output.get("time")),
    )


def _completion(output: Mapping[str, Any], first: Mapping[str, Any]) -> str | None:
    """Return the words of the answer; logs of older versions have them in the first choice only."""
    said = output.get("completion")
    if isinstance(said, str):
        return said
    words, _ = _parts(mapping(first.get("message")).get("content"), {})
    return words or None


def _question(sample: Row) -> tuple[str, str]:
    """Return what the data set asked and the picture's name."""
    asked = sample.get("input")
    attached = mapping(sample.get("attachments"))
    if isinstance(asked, list):
        said = [message for message in asked if mapping(message).get("role") == "user"]
        asked = mapping(said[-1]).get("content") if said else ""
    return _parts(asked, attached)


def _prompt(sample: Row) -> str:
    """Return the first words of the user as the model got them."""
    for message in listed(sample.get("messages")):
        if mapping(message).get("role") == "user":
            return _parts(message.get("content"), mapping(sample.get("attachments")))[0]
    return ""


def _parts(content: Any, attached: Mapping[str, Any]) -> tuple[str, str]:
    """Return the words of a message, and the name of its first picture if it has one."""
    if isinstance(content, str):
        return _resolved(content, attached), ""
    words, image = [], ""
    for part in listed(content):
        part = mapping(part)
        if part.get("type") == "text":
            words.append(_resolved(text(part.get("text")), attached))
        elif part.get("type") == "image" and not image:
            place = text(part.get("image"))
            image = "" if place.startswith(("data:", "attachment:")) else place
    return "\n".join(words), image


def _resolved(said: str, attached: Mapping[str, Any]) -> str:
    """Return a text, or what it points to: long texts are stored once."""
    scheme, _, name = said.partition("://")
    return text(attached.get(name)) if scheme == "attachment" else said


def _target(value: Any) -> str | None:
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    return value if isinstance(value, str) else None


def _theirs(scores: Mapping[str, Any]) -> Theirs:
    """Read the first scorer's verdict: a letter, a number, a truth value or an object of them."""
    first = mapping(next(iter(scores.values()), {}))
    value, answer = first.get("value"), first.get("answer")
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    score = GRADES.get(value) if isinstance(value, str) and value in GRADES else number(value)
    told = {
        name: {k: v for k, v in mapping(found).items() if k in ("value", "answer", "reason")}
        for name, found in scores.items()
    }
    return Theirs(score, answer if isinstance(answer, str) else None, told)


def _aggregates(results: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    scorers = listed(results.get("scores"))
    for scorer in scorers:
        for name, metric in mapping(mapping(scorer).get("metrics")).items():
            value = number(mapping(metric).get("value"))
            if value is not None and name not in ("stderr", "std", "var"):
                numbers[name if len(scorers) == 1 else f"{text(scorer.get('name'))}.{name}"] = value
    return numbers


def _notes(
    header: Mapping[str, Any], spec: Mapping[str, Any], results: Mapping[str, Any], rows: int
) -> list[str]:
    notes = []
    planned = whole(mapping(spec.get("dataset")).get("samples"))
    if "status" not in header:
        notes.append("log truncated: the run was killed before it wrote its header")
    elif header["status"] != "success":
        notes.append(f"the run ended as '{header['status']}'")
    if planned is not None and planned > rows:
        notes.append(f"log truncated: the data set has {planned:,} samples, it holds {rows:,}")
    total, done = whole(results.get("total_samples")), whole(results.get("completed_samples"))
    if total and done is not None and done < total:
        notes.append(f"its numbers are of {done:,} of {total:,} samples; the others failed")
    return notes
