"""Write lm-eval's sample logs of scripted answers; how to run it is in README.md."""

import json
import sys
import tempfile
from pathlib import Path

import lm_eval
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

HERE = Path(__file__).resolve().parent
PROBLEMS = json.loads((HERE.parent / "questions/scienceqa/problems.json").read_text())
YAML = {
    "scienceqa_cloze": """
task: scienceqa_cloze
dataset_path: json
dataset_kwargs: {data_files: {test: "FOLDER/rows.jsonl"}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 1.0}
""",
    "scienceqa_letters": """
task: scienceqa_letters
dataset_path: json
dataset_kwargs: {data_files: {test: "FOLDER/rows.jsonl"}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}\\n{% for c in choices %}{{'ABCDE'[loop.index0]}}. {{c}}\\n{% endfor %}\
Answer with the option's letter from the given choices directly."
doc_to_target: "{{'ABCDE'[answer]}}"
generation_kwargs: {max_gen_toks: 16, until: ["\\n\\n"], temperature: 0.0, do_sample: false}
filter_list:
  - name: first-letter
    filter:
      - {function: regex, regex_pattern: "([A-E])"}
      - {function: take_first}
metric_list: [{metric: exact_match}]
metadata: {version: 2.0}
""",
}
WORDS = ["B", "B.", "The answer is C.", "A", "I cannot tell.", "A", "(C)", "B", "b", "A", "E", "B"]


class Scripted(LM):
    def generate_until(self, requests):
        return [WORDS[i % len(WORDS)] for i in range(len(requests))]

    def loglikelihood(self, requests):
        """Prefer short continuations, so that the summed and the normalised choice differ."""
        return [(-1.0 - 0.5 * len(r.args[1]) - i % 3, False) for i, r in enumerate(requests)]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


def main(name):
    work = Path(tempfile.mkdtemp())
    rows = [
        {"id": id, **{k: p[k] for k in ("question", "choices", "answer")}}
        for id, p in PROBLEMS.items()
    ]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (work / f"{name}.yaml").write_text(YAML[name].replace("FOLDER", str(work)))
    tracker = EvaluationTracker(output_path=str(work / "out"))
    found = lm_eval.simple_evaluate(
        model=Scripted(),
        tasks=[name],
        task_manager=TaskManager(include_path=str(work), include_defaults=False),
        log_samples=True,
        evaluation_tracker=tracker,
        bootstrap_iters=0,
    )
    samples = found.pop("samples")
    tracker.general_config_tracker.model_name = "made/scripted-1"
    tracker.general_config_tracker.model_name_sanitized = "made__scripted-1"
    tracker.save_results_aggregated(results=found, samples=samples)
    for task, logged in samples.items():
        tracker.save_results_samples(task_name=task, samples=logged)
    for path in sorted((work / "out").rglob("*.json*")):
        print(path.relative_to(work / "out"))
        (HERE / name).mkdir(exist_ok=True)
        (HERE / name / path.name).write_text(path.read_text().replace(str(work), "FOLDER"))


if __name__ == "__main__":
    main(sys.argv[1])
