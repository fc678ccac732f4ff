"""What tests of judging share: a run with answers that wait, and judges to ask."""

import json
from pathlib import Path
from typing import Any

from fake_openai_server import FakeServer
from made_llava_bench import wild

from harness.api import run
from harness.find import make_model, make_task
from harness.judging import Budget, How, Judge, judge
from harness.record import Record
from harness.types import Answer, Task

QUESTIONS = 12


def answered(
    folder: Path, task: str = "llava_bench", data: Path | None = None
) -> tuple[Task, Path]:
    """Return a task on made data and a run of it: two right answers, ten others."""
    folder.mkdir(parents=True, exist_ok=True)
    data = data or wild(folder / "data")
    made = make_task(task, str(data))
    file = folder / "answers.jsonl"
    lines = []
    for i, sample in enumerate(made.samples()):
        text = sample.target if i in (1, 5) else f"Candidate {i} says {{'pred': 'yes'}} {{0}}"
        lines.append(json.dumps({"id": sample.id, "text": text}) + "\n")
    file.write_text("".join(lines), encoding="utf-8")
    run(f"recorded:{file}", made, out=folder / "run")
    return made, folder / "run"


def served(server: FakeServer, **options: Any) -> Judge:
    """Return a judge behind HTTP."""
    options = {"base_url": server.url, "timeout": 5, **options}
    return Judge(make_model("openai:judge-1", options), "openai:judge-1", options)


def named(address: str) -> Judge:
    return Judge(make_model(address), address)


def answers_in(text: str) -> tuple[str, str]:
    """Return what the assistants said, of a LLaVA-Bench prompt."""
    first = text.partition("[Assistant 1]\n")[2].partition("\n\n[End of Assistant 1]")[0]
    second = text.partition("[Assistant 2]\n")[2].partition("\n\n[End of Assistant 2]")[0]
    return first, second


class Scripted:
    """A judge in this process that counts what it is asked and says what it is told to say."""

    name, looks = "scripted", False

    def __init__(self, say, name="scripted", tokens=(100, 10)):
        self.say, self.kind, self.tokens, self.asked = say, name, tokens, []

    def describe(self):
        return {"kind": self.kind}

    def answer(self, samples, ask, decoding):
        assert ask == "generate"
        for at, sample in enumerate(samples):
            self.asked.append((sample, decoding))
            reply = self.say(sample, decoding)
            if isinstance(reply, str):
                into, out = self.tokens
                reply = Answer(reply, tokens_in=into, tokens_out=out)
            yield at, reply


def scripted(say, **more) -> Judge:
    model = Scripted(say, **more)
    return Judge(model, f"scripted:{model.kind}")


def judged(folder: Path, task: Task, *judges: Judge, **more: Any) -> Record:
    budget = {k: more.pop(k) for k in ("money", "tokens", "price_in", "price_out") if k in more}
    return judge(folder, task, How(list(judges), budget=Budget(**budget), **more))
