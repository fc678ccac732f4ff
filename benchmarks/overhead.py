"""What the harness itself costs per sample: a constant model on GQA-sized questions.

    python benchmarks/overhead.py            # 12,578 questions, split by phase, then 1k to 100k

Every row is a process of its own, so that peak memory is that run's. The questions are made in the
official GQA format (398 images' worth, types, programs), without pictures: no model looks at them.
"""

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

SIZES = (1_000, 3_000, 12_578, 30_000, 100_000)
ANSWERS = ("yes", "no", "left", "right", "red", "blue", "man", "woman", "table", "chair")
STRUCTURAL = ("query", "verify", "logical", "choose", "compare")
SEMANTIC = ("rel", "attr", "cat", "obj", "global")


def write_questions(path: Path, count: int) -> None:
    """Write `count` questions in the official format, about 32 to an image."""
    draw = random.Random(0)
    questions = {}
    for i in range(count):
        thing = draw.choice(ANSWERS)
        questions[f"{i:09d}"] = {
            "question": f"What is the thing on the {thing} side of the picture number {i}?",
            "imageId": f"n{i * 398 // 12_578}",
            "isBalanced": True,
            "answer": draw.choice(ANSWERS),
            "fullAnswer": f"The thing is {thing}.",
            "groups": {"global": draw.choice((None, "thing", "place")), "local": "x"},
            "entailed": [f"{i:09d}"],
            "equivalent": [f"{i:09d}"],
            "types": {
                "structural": draw.choice(STRUCTURAL),
                "semantic": draw.choice(SEMANTIC),
                "detailed": "relO",
            },
            "semantic": [
                {"operation": "select", "argument": "thing (1)", "dependencies": []},
                {"operation": "relate", "argument": "_,to the left of,s (2)", "dependencies": [0]},
                {"operation": "query", "argument": "name", "dependencies": [1]},
            ],
            "semanticStr": "select: thing (1)->relate: left [0]->query: name [1]",
            "annotations": {"question": {}, "answer": {}, "fullAnswer": {}},
        }
    path.write_text(json.dumps(questions), encoding="utf-8")


def one(data: Path, out: Path) -> dict[str, float]:
    """Carry out one run with a clock around every phase; seconds by phase and peak memory in MB."""
    clock = time.perf_counter
    begin = clock()
    from dataclasses import replace

    # What a run loads when it ends is start-up too: it costs the same for one sample as for all.
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.special  # noqa: F401

    from harness import record as records
    from harness import run as loop
    from harness.find import make_model, make_task

    spent = {"import": clock() - begin, "load": 0.0, "plan": 0.0, "score": 0.0, "write": 0.0}
    begin = clock()
    task = make_task("gqa", str(data))
    spent["load"] = clock() - begin

    def timed(name, call):
        def wrapper(*words):
            started = clock()
            found = call(*words)
            spent[name] += clock() - started
            return found

        return wrapper

    task = replace(task, score=timed("score", task.score))
    records.Writer.write = timed("write", records.Writer.write)
    model = make_model("constant:yes")
    begin = clock()
    planned = loop.plan(task, model)
    spent["plan"] = clock() - begin
    begin = clock()
    before_finish = clock()
    finish = loop._finish

    def finishing(*words):
        nonlocal before_finish
        before_finish = clock()
        finish(*words)

    loop._finish = finishing
    loop.run(planned, out)
    spent["ask and rows"] = before_finish - begin - spent["score"] - spent["write"]
    spent["metrics and parquet"] = clock() - before_finish
    spent["samples"] = len(planned.samples)
    spent["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return spent


PHASES = ("import", "load", "plan", "ask and rows", "score", "write", "metrics and parquet")


def main() -> None:
    """Run every size in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--one", nargs=2, metavar=("DATA", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(Path(arguments.one[0]), Path(arguments.one[1]))))
        return
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    titles = ("samples", *PHASES, "total s", "samples/s", "samples/s, start-up apart", "peak MB")
    print("| " + " | ".join(titles) + " |\n|" + "---:|" * len(titles))
    for size in arguments.sizes:
        with TemporaryDirectory() as folder:
            data = Path(folder) / "train_balanced_questions.json"
            write_questions(data, size)
            words = [sys.executable, __file__, "--one", str(data), f"{folder}/run"]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        total = sum(found[phase] for phase in PHASES)
        cells = [f"{size:,}", *(f"{found[phase]:.3f}" for phase in PHASES), f"{total:.2f}"]
        cells += [f"{size / total:,.0f}", f"{size / (total - found['import']):,.0f}"]
        print("| " + " | ".join([*cells, f"{found['peak MB']:.0f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
