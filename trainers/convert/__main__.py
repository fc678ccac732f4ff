"""`python -m trainers.convert SOURCE --raw FOLDER --out FILE`: raw files to LLaVA records."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.errors import DataError, SightlineError, UsageError
from trainers.convert import regions, scienceqa, text, vqa
from trainers.convert.common import Raw, Record, write

SOURCES: dict[str, tuple[Callable[[Raw], Iterator[Record]], int | None, tuple[str, ...]]] = {
    "vqav2": (vqa.vqav2, 82_783, ()),
    "okvqa": (vqa.okvqa, 8_998, ()),
    "aokvqa": (vqa.aokvqa, 66_160, ()),
    "gqa": (vqa.gqa, 72_140, ()),
    "ocrvqa": (text.ocrvqa, 80_000, ("records",)),
    "textcaps": (text.textcaps, 21_953, ()),
    "sharegpt": (text.sharegpt, 40_688, ("tokenizer", "tokens")),
    "refcoco": (regions.refcoco, 48_447, ("sets",)),
    "vg": (regions.vg, 86_417, ()),
    "scienceqa": (scienceqa.scienceqa, None, ("format", "split")),
}
"""Converter, records in the published mixture, its own options."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one source; return the exit code (harness/errors.py)."""
    asked = _parser().parse_args(arguments)
    convert, published, known = SOURCES[asked.source]
    try:
        options = dict(_option(text, known) for text in asked.set)
        if not asked.raw.is_dir():
            raise DataError(f"--raw {asked.raw}: no such folder")
        raw = Raw(asked.raw, asked.seed, asked.turns, options)
        whole = write(asked.out, asked.source, _told(convert, raw), raw, asked.images)
    except SightlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{asked.out}: {whole['records']:,} records, {whole['pairs']:,} questions, "
        f"{whole['images']:,} images"
    )
    if published is not None and published != whole["records"]:
        print(f"the published mixture has {published:,} records of {asked.source}")
    return 0


def _told(convert: Callable[[Raw], Iterator[Record]], raw: Raw) -> Iterator[Record]:
    """Convert, naming the folder where a file is not as it should be."""
    try:
        yield from convert(raw)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{raw.folder}: a file in it does not have the official format "
            f"({type(error).__name__}: {error})"
        ) from error


def _option(text: str, known: Sequence[str]) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if name not in known:
        raise UsageError(f"--set {text}: this source has {', '.join(known) or 'no options'}")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainers.convert", description=__doc__)
    parser.add_argument("source", choices=sorted(SOURCES))
    parser.add_argument("--raw", type=Path, required=True, help="folder with the official files")
    parser.add_argument("--out", type=Path, required=True, help="records, .jsonl")
    parser.add_argument("--images", type=Path, help="folder of images, to hash them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=0, help="most questions of a record")
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="own options")
    return parser


if __name__ == "__main__":
    sys.exit(main())
