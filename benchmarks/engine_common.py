"""What the engine's two benchmarks share: a random LLaVA in memory, questions, and the clock.

Builders come from tests/tiny_models.py, so that the benchmarks need no download and measure the
same architectures that the parity tests hold to transformers.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path as FilePath
from typing import Any

import torch

sys.path.insert(0, str(FilePath(__file__).resolve().parent.parent / "tests"))

import tiny_models

from harness.engine.choose import Ending
from harness.engine.drive import Engine, Job
from harness.engine.inputs import Reader
from harness.engine.lm import LM, clean_generation
from harness.engine.prefetch import ahead
from harness.types import Decoding, Image, Sample

THINGS = "dog cat car tree door ball cube person table chair lamp cup book clock bird boat bus hat"


def samples(images: int, questions: int) -> list[Sample]:
    """Return `questions` yes-no questions about each of `images` different 640 x 480 pictures."""
    things = THINGS.split()
    pictures = [Image(f"{i}.png", tiny_models.picture(i, (640, 480))) for i in range(images)]
    return [
        Sample(
            f"{image.name}-{i}",
            (image, f"Is there a {things[i % len(things)]} in the image? Answer yes or no."),
        )
        for image in pictures
        for i in range(questions)
    ]


def build(config: Any, processor: Any, device: str, dtype: torch.dtype) -> tuple[LM, Reader]:
    """Return a random model of `config` on `device`, with weights that make answers vary."""
    from transformers import AutoModelForImageTextToText

    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(
            config, dtype=dtype, attn_implementation="sdpa"
        )
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    tiny_models.scale(model, 0)
    clean_generation(model, processor.tokenizer)
    token = config.image_token_index
    return LM(model, processor.tokenizer, token), Reader(processor, token, "auto", None)


def timed(
    engine: Engine, reader: Reader, asked: Sequence[Sample], new: int, workers: int
) -> tuple[float, dict[str, tuple[int, ...]]]:
    """Answer `asked`, images decoded and preprocessed on the way, as a run does.

    Returns samples per second, and tokens by sample id. An engine's first call checks parity.
    """
    lm = engine.lm
    decoding = Decoding(max_tokens=new)
    # No end token: every answer has `new` tokens in every way.
    ending = Ending(frozenset(), (), new, lm.decode)
    groups: dict[str, list[tuple[int, Sample]]] = {}
    for at, sample in enumerate(asked):
        groups.setdefault(sample.id.partition("-")[0], []).append((at, sample))
    synchronize(lm)
    began = time.perf_counter()
    ready = ahead(lambda group: reader.group(group, False), groups.values(), workers, 16)
    found = {
        path.id: outcome.tokens[:new]
        for path, outcome in engine.run(ready, Job(False, decoding, ending))
    }
    synchronize(lm)
    assert len(found) == len(asked), "a request got no answer"
    return len(asked) / (time.perf_counter() - began), found


def synchronize(lm: LM) -> None:
    """Wait for the device."""
    if lm.device.type == "cuda":
        torch.cuda.synchronize()


def width(reader: Reader, asked: Sequence[Sample]) -> int:
    """Return the length of the longest prompt, in tokens."""
    paths = reader.group([(0, asked[0])], False).paths
    return max(len(path.tokens) for path in paths) + 8


def machine() -> str:
    """Return the machine and versions that a figure belongs to."""
    cpu = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = f"torch {torch.__version__}, transformers {version('transformers')}"
    threads = f"{torch.get_num_threads()} torch threads"
    return (
        f"{os.cpu_count()} x {cpu}{gpu}, {threads}, Python {platform.python_version()}, {versions}"
    )


def same(some: dict[str, Any], reference: dict[str, Any]) -> str:
    """Return how many answers that both have are equal."""
    both = [name for name in some if name in reference]
    return f"{sum(some[n] == reference[n] for n in both)}/{len(both)}"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that says what the benchmark does."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
