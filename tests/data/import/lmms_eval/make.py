"""Write lmms-eval's sample logs of scripted answers; how to run it is in README.md."""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUESTIONS = HERE.parent / "questions"
FAILED = "[LMMS_EVAL_REQUEST_FAILED after 5 retries] Connection error."
YES_NO = ["Yes", "no", "Yes.", "No, there is not.", "yes", FAILED, "", "No.", "The image shows it."]
LETTERS = ["B", "b", "C.", "The answer is A.", "(B)", "A. l", "C", FAILED, "A", " A", "B. a", "D"]


def pictures(count):
    from PIL import Image

    return [Image.new("RGB", (8, 8), (i, i, i)) for i in range(count)]


def pope():
    rows = []
    for split in ("adversarial", "popular", "random"):
        for line in (QUESTIONS / "pope" / f"coco_pope_{split}.json").read_text().splitlines():
            row = json.loads(line)
            number, name = str(row["question_id"]), row["image"].removesuffix(".jpg")
            rows.append(
                {
                    "id": str(len(rows)),
                    "question_id": number,
                    "question": row["text"],
                    "answer": row["label"],
                    "image_source": name,
                    "category": split,
                }
            )
    return rows


def scienceqa():
    found = json.loads((QUESTIONS / "scienceqa" / "problems.json").read_text())
    return [{k: p[k] for k in ("question", "choices", "answer", "hint")} for p in found.values()]


def wild():
    def lines(name):
        text = (QUESTIONS / "wild" / name).read_text()
        return [json.loads(line) for line in text.splitlines()]

    captions = {row["image"]: row["caption"] for row in lines("context.jsonl")}
    return [
        {
            "question_id": asked["question_id"],
            "question": asked["text"],
            "category": asked["category"],
            "gpt_answer": gold["text"],
            "caption": captions[asked["image"]],
        }
        for asked, gold in zip(lines("questions.jsonl"), lines("answers_gpt4.jsonl"), strict=True)
    ]


TASKS = {
    "pope": ("pope/pope.yaml", pope, YES_NO, True, "test"),
    "scienceqa": ("scienceqa/scienceqa.yaml", scienceqa, LETTERS, False, "test"),
    "llava_in_the_wild": (
        "llava-in-the-wild/llava-in-the-wild.yaml",
        wild,
        ["It is a cup.", "Two people on a bench."],
        True,
        "train",
    ),
}


def write_task(name, folder):
    """Copy a stock task beside its data: only where the data are is changed."""
    import lmms_eval
    from datasets import Dataset, DatasetDict, Features, Image

    stock, rows, _, seen, split = TASKS[name]
    source = Path(lmms_eval.__file__).parent / "tasks" / stock
    shutil.copytree(source.parent, folder / name, ignore=shutil.ignore_patterns("*.yaml"))
    rows = rows()
    shown = pictures(len(rows)) if seen else [None] * len(rows)
    rows = [{**row, "image": image} for row, image in zip(rows, shown, strict=True)]
    table = Dataset.from_list([{k: v for k, v in r.items() if k != "image"} for r in rows])
    features = Features({**table.features, "image": Image()})
    table = table.add_column("image", [r["image"] and _png(r["image"]) for r in rows])
    DatasetDict({split: table.cast(features)}).save_to_disk(str(folder / f"{name}-data"))
    text = source.read_text()
    text = re.sub(r"dataset_path: .*", f"dataset_path: {folder / f'{name}-data'}", text)
    text = re.sub(r"token: True", "load_from_disk: True", text)
    text = re.sub(r"dataset_name: .*\n", "", text)
    (folder / name / source.name).write_text(text)


def _png(image):
    from io import BytesIO

    out = BytesIO()
    image.save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def main(name):
    work = Path(tempfile.mkdtemp())
    write_task(name, work)
    (work / "scripted_model.py").write_text(
        "from lmms_eval.api.model import lmms\n"
        f"WORDS = {TASKS[name][2]!r}\n"
        "class Scripted(lmms):\n"
        "    def __init__(self, pretrained='', **kwargs):\n"
        "        super().__init__()\n"
        "    def generate_until(self, requests):\n"
        "        return [WORDS[i % len(WORDS)] for i in range(len(requests))]\n"
        "    def loglikelihood(self, requests):\n"
        "        raise NotImplementedError\n"
        "    def generate_until_multi_round(self, requests):\n"
        "        raise NotImplementedError\n"
    )
    sys.path.insert(0, str(work))
    import lmms_eval.tasks
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.models.registry_v2 import ModelManifest

    class OnlyOurs(lmms_eval.tasks.TaskManager):  # the stock task of the same name would win
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "include_defaults": False})

    lmms_eval.tasks.TaskManager = OnlyOurs
    path = "scripted_model.Scripted"
    MODEL_REGISTRY_V2.register_manifest(ModelManifest("scripted", simple_class_path=path))
    from lmms_eval import __main__ as program

    program.TaskManager = OnlyOurs
    out = work / "out"
    sys.argv = [
        *("lmms-eval", "--model", "scripted", "--model_args", "pretrained=made/scripted-1"),
        *("--tasks", name, "--include_path", str(work / name), "--log_samples"),
        *("--output_path", str(out)),
    ]
    program.cli_evaluate()
    (HERE / name).mkdir(exist_ok=True)
    for found in sorted(out.rglob("*.json*")):
        print(found.relative_to(out))
        text = found.read_text().replace(str(work), "FOLDER")
        # The judge's prompt is LLaVA's text; addresses of functions change with every run.
        text = re.sub(r'"content": "(\\.|[^"\\])*"', '"content": "(removed)"', text)
        text = re.sub(r" at 0x[0-9a-f]+", "", text)
        (HERE / name / found.name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
