"""Small sets of questions in the official layouts of several benchmarks, with real pictures."""

import json
from pathlib import Path
from typing import Any

from small_data import picture

OPEN = [
    # question, answer type, question type, ten people's answers
    ("Is it raining?", "yes/no", "is it", ["yes"] * 10),
    ("Is the dog awake?", "yes/no", "is the", ["no"] * 7 + ["yes"] * 3),
    ("How many cups?", "number", "how many", ["2"] * 4 + ["two"] * 3 + ["3"] * 3),
    ("How many legs has it?", "number", "how many", ["4"] * 10),
    ("What is on the table?", "other", "what is", ["a cup"] * 5 + ["cup"] * 3 + ["mug", "vase"]),
    ("What colour is the door?", "other", "what color", ["red"] * 9 + ["Red."]),
    ("Who is this?", "other", "who is", list("bcdefghijk")),
    ("Where does it lead?", "other", "none of the above", ["Rome"] * 10),
]
IMAGES = 3


def pictures(folder: Path, names: list[str]) -> Path:
    """Write one picture per name."""
    for seed, name in enumerate(dict.fromkeys(names)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    return folder


def dump(path: Path, value: Any) -> Path:
    """Write a JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def dump_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def dump_table(path: Path, rows: list[dict[str, Any]], images: list[bytes] | None = None) -> Path:
    """Write a parquet file; `images` becomes the column `image` as the Hub stores it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if images is not None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = [{"bytes": raw, "path": None} for raw in images]
        table = table.append_column("image", pa.array(cells, kind))
    pq.write_table(table, path)
    return path


def write_vqav2(folder: Path, questions: list[Any] = OPEN, images: bool = True) -> Path:
    """Write VQAv2's validation files for `questions`, three images in turn."""
    ids = [100 + i % IMAGES for i in range(len(questions))]
    asked = [
        {"image_id": image, "question": text, "question_id": 1000 * image + i}
        for i, (image, (text, *_)) in enumerate(zip(ids, questions, strict=True))
    ]
    notes = [
        {
            **{"question_id": row["question_id"], "image_id": row["image_id"]},
            **{"answer_type": kind, "question_type": form},
            "multiple_choice_answer": max(dict.fromkeys(people), key=people.count),
            "answers": [
                {"answer": said, "answer_confidence": "yes", "answer_id": n}
                for n, said in enumerate(people, 1)
            ],
        }
        for row, (_, kind, form, people) in zip(asked, questions, strict=True)
    ]
    names = {"task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": "val2014"}
    dump(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {**names, "questions": asked})
    dump(folder / "v2_mscoco_val2014_annotations.json", {**names, "annotations": notes})
    if images:
        pictures(folder / "val2014", [f"COCO_val2014_{image:012d}.jpg" for image in ids])
    return folder


def write_aokvqa(folder: Path, count: int = 24, images: bool = True) -> Path:
    """Write A-OKVQA's validation file: four choices; every third question is difficult."""
    rows = []
    for i in range(count):
        things = [f"{name} {i % 6}" for name in ("cat", "bus", "hat", "cup")]
        gold = things[i // 2 % 4]
        rows.append(
            {
                **{"split": "val", "image_id": 500 + i // 2, "question_id": f"q{i:021d}"},
                **{"question": f"What would they need next, number {i}?", "choices": things},
                **{"correct_choice_idx": i // 2 % 4, "difficult_direct_answer": i % 3 == 0},
                "direct_answers": [gold] * (i % 4 + 1) + [f"other {n}" for n in range(9 - i % 4)],
                "rationales": ["Because.", "It is so.", "They said it."],
            }
        )
    dump(folder / "aokvqa_v1p0_val.json", rows)
    if images:
        pictures(folder / "val2017", [f"{row['image_id']:012d}.jpg" for row in rows])
    return folder


def write_textvqa(folder: Path, ocr: str = "llava", images: bool = True) -> Path:
    """Write TextVQA's validation file, and OCR tokens as `llava`, `rosetta` or not at all."""
    rows = [
        {
            **{"question_id": 34602 + i, "image_id": f"img{i // 2:04x}", "question": text},
            **{"answers": people, "set_name": "val", "image_classes": ["Sign"]},
        }
        for i, (text, _, _, people) in enumerate(OPEN)
    ]
    dump(folder / "TextVQA_0.5.1_val.json", {"dataset_version": "0.5.1", "data": rows})
    tokens = {row["image_id"]: ["STOP", f"No. {i}"] for i, row in enumerate(rows)}
    short = "Answer the question using a single word or phrase."
    if ocr == "llava":
        lines = [
            {
                **{"question_id": row["image_id"], "image": f"{row['image_id']}.jpg"},
                "text": f"{row['question']}\nReference OCR token: "
                + f"{', '.join(tokens[row['image_id']])}\n{short}",
            }
            for row in rows
        ]
        dump_lines(folder / "llava_textvqa_val_v051_ocr.jsonl", lines)
    if ocr == "rosetta":
        read = [{"image_id": name, "ocr_tokens": words} for name, words in tokens.items()]
        dump(folder / "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": read})
    if images:
        pictures(folder / "train_images", [f"{row['image_id']}.jpg" for row in rows])
    return folder


def write_vizwiz(folder: Path, images: bool = True) -> Path:
    """Write VizWiz' validation file: one question per picture, some without an answer."""
    extra = [("what is in this?", "unanswerable", "", ["unanswerable"] * 8 + ["blurry", "box"])]
    rows = [
        {
            **{"image": f"VizWiz_val_{i:08d}.jpg", "question": text, "answer_type": kind},
            "answers": [{"answer": said, "answer_confidence": "yes"} for said in people],
            "answerable": int(kind != "unanswerable"),
        }
        for i, (text, kind, _, people) in enumerate([*OPEN, *extra])
    ]
    dump(folder / "val.json", rows)
    if images:
        pictures(folder / "val", [row["image"] for row in rows])
    return folder


MME_APART = ("artwork", "celebrity", "landmark", "posters", "scene")
MME_SUBTASKS = (
    *("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark"),
    *("artwork", "OCR", "commonsense_reasoning", "numerical_calculation", "text_translation"),
    "code_reasoning",
)


def write_mme(folder: Path, subtasks: tuple[str, ...] = MME_SUBTASKS, images: int = 2) -> Path:
    """Write MME's release folders: `images` pictures per sub-task, a yes and a no on each."""
    home = folder / "MME_Benchmark_release_version"
    for number, name in enumerate(subtasks):
        ending = "png" if name == "code_reasoning" else "jpg"
        apart = name in MME_APART
        texts = home / name / ("questions_answers_YN" if apart else "")
        texts.mkdir(parents=True)
        stems = [f"{number:02d}{i:04d}" for i in range(images)]
        pictures(home / name / ("images" if apart else ""), [f"{s}.{ending}" for s in stems])
        for stem in stems:
            lines = [
                f"Is there a {word} in {name} {stem}? Please answer yes or no.\t{answer}\n"
                for word, answer in (("thing", "Yes"), ("ghost", "No"))
            ]
            (texts / f"{stem}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def mmbench_rows(count: int, language: str = "en", rotations: bool = True) -> list[dict[str, Any]]:
    """Return MMBench rows: two to four options, two questions per picture."""
    from base64 import b64encode

    rows = []
    for i in range(count):
        size = 2 + i % 3
        options = [f"{word} {i}" for word in ("oak", "elm", "ash", "fir")[:size]]
        ask = f"Which tree is number {i}?" if language == "en" else f"第{i}棵是什么树?"
        for turn in range(size if rotations else 1):
            turned = options[turn:] + options[:turn]
            gold = "ABCD"[turned.index(options[i % size])]
            rows.append(
                {
                    **{"index": i + turn * 1_000_000, "question": ask},
                    **{"hint": "Look at the bark." if i % 4 == 0 else ""},
                    **dict(zip("ABCD", [*turned, "", ""], strict=False)),
                    **{"answer": gold, "category": ("name", "place")[i % 2]},
                    **{"image": b64encode(picture(i // 2)).decode(), "l2-category": "perception"},
                }
            )
    return rows


def write_mmbench(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write an MMBench .tsv."""
    import pandas as pd

    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(file, sep="\t", index=False)
    return file


def write_seed_bench(folder: Path, count: int = 24, images: bool = True) -> Path:
    """Write SEED-Bench.json: two questions per picture; every fourth picture is a video."""
    types = {"Scene Understanding": 1, "Instance Identity": 2, "Action Recognition": 10}
    rows, pictured, frames = [], [], []
    for i in range(count):
        video = i // 2 % 4 == 3
        kind, number = ("video", 10) if video else ("image", 1 + i % 2)
        name = f"{i // 2}.webm" if video else f"1454{i // 2:03d}"
        words = [f"{word} {i}" for word in ("sea", "sky", "sun", "sand")]
        rows.append(
            {
                **{"question_id": f"v{i}" if video else str(100000 + i), "data_id": name},
                **{"question": f"What is number {i}?", "answer": "ABCD"[i * 7 // 2 % 4]},
                **{f"choice_{letter}": words[n] for n, letter in enumerate("abcd")},
                **{"data_type": kind, "question_type_id": number},
            }
        )
        (frames if video else pictured).append(f"10_v{i}.png" if video else name)
    dump(folder / "SEED-Bench.json", {"question_type": types, "questions": rows})
    if images:
        pictures(folder / "SEED-Bench-image", pictured)
        pictures(folder / "SEED-Bench-video-image", frames)
    return folder


def write_visual7w(folder: Path, count: int = 48, images: bool = True) -> Path:
    """Write Visual7W's telling file: two questions per picture, half val and a quarter test."""
    found: list[dict[str, Any]] = []
    for i in range(count):
        kind = ("what", "where", "when", "who", "why", "how")[i % 6]
        if i % 2 == 0:
            split = ("val", "val", "test", "train")[i // 2 % 4]
            name = f"v7w_{i // 2}.jpg"
            found.append({"image_id": i // 2, "filename": name, "split": split, "qa_pairs": []})
        answers = [f"{word} {i % 4}." for word in ("A hill", "A lake", "A road", "A wood")]
        found[-1]["qa_pairs"].append(
            {
                **{"qa_id": 9000 + i, "image_id": i // 2, "type": kind},
                **{"question": f"{kind.capitalize()} is number {i}?", "answer": answers[i % 3]},
                "multiple_choices": [a for n, a in enumerate(answers) if n != i % 3],
            }
        )
    dump(folder / "dataset_v7w_telling.json", {"dataset": "visual7w-telling", "images": found})
    if images:
        pictures(folder / "images", [row["filename"] for row in found])
    return folder


def write_snli_ve(folder: Path, count: int = 24, images: bool = True) -> Path:
    """Write SNLI-VE's dev and test files: three sentences per picture, the labels in turn."""
    labels = ("entailment", "neutral", "contradiction")
    for split in ("dev", "test"):
        rows = [
            {
                **{"pairID": f"{split}{i}.jpg#0r1e", "Flickr30K_ID": f"{470000 + i // 3}"},
                **{"sentence1": "Someone is there.", "sentence2": f"Person {i} is in {split}."},
                "gold_label": labels[i % 3],
            }
            for i in range(count)
        ]
        dump_lines(folder / f"snli_ve_{split}.jsonl", rows)
    if images:
        pictures(folder / "flickr30k_images", [f"{row['Flickr30K_ID']}.jpg" for row in rows])
    return folder
