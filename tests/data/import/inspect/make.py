"""Write Inspect's logs of scripted answers; how to run it is in README.md."""

import json
import sys
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import choice
from inspect_ai.solver import multiple_choice

HERE = Path(__file__).resolve().parent
PROBLEMS = json.loads((HERE.parent / "questions/scienceqa/problems.json").read_text())
WORDS = [
    "ANSWER: B",
    "B",
    "The answer is C.",
    "ANSWER: A",
    None,
    "I think that the first letter is l.\n\nANSWER: A",
    "ANSWER: C",
    "",
    "ANSWER: D",
    "A",
    "ANSWER: B",
    "The word that means the same is",
]


def answer(said):
    def next_output(*_):
        word = next(said)
        if word is None:
            raise RuntimeError("the service is down")
        reason = "max_tokens" if word is WORDS[-1] else "stop"
        output = ModelOutput.from_content("mockllm/model", word, stop_reason=reason)
        output.usage = ModelUsage(input_tokens=40, output_tokens=len(word.split()) or 1)
        return output

    return next_output


def samples():
    for id, problem in PROBLEMS.items():
        yield Sample(
            id=id,
            input=problem["question"],
            choices=problem["choices"],
            target="ABCDE"[problem["answer"]],
            metadata={"subject": problem["subject"]},
        )


def made(name, **more):
    task = Task(
        name="scienceqa", dataset=MemoryDataset(list(samples()), name="scienceqa"),
        solver=multiple_choice(), scorer=choice(), **more,
    )  # fmt: skip
    model = get_model("mockllm/model", custom_outputs=answer(iter(WORDS)))
    (log,) = eval(
        task, model=model, log_dir=str(HERE / "logs"), fail_on_error=False, max_samples=1,
        max_connections=1, display="none", log_format="eval",
    )  # fmt: skip
    found = Path(log.location.removeprefix("file://"))
    log = read_eval_log(found)
    for sample in log.samples:  # tracebacks name folders of the machine
        sample.events, sample.attachments = [], {}
        if sample.error:
            sample.error.traceback = sample.error.traceback_ansi = "(removed)"
    write_eval_log(log, HERE / name)
    found.unlink()
    (HERE / "logs").rmdir()


if __name__ == "__main__":
    made(sys.argv[1])
