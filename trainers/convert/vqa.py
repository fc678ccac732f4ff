"""VQAv2, OK-VQA, A-OKVQA and GQA as conversations: all questions about an image in one.

VQAv2, GQA and OK-VQA have as many records in the published mixture as training images (issue
haotian-liu/LLaVA#702), so there is one record per image. A-OKVQA has four for each of its 16,540
images, which agrees with one for each place that the right option can stand in. Order of
questions, and which answer of several, are not documented (issue #1632): seeded lots and the
majority here. Imports the standard library.
"""

from collections.abc import Iterator

from harness.errors import DataError
from trainers.convert.common import Raw, Record, majority, per_image, record

_LETTERS = "ABCDEFGHIJ"


def vqav2(raw: Raw) -> Iterator[Record]:
    """Convert v2_OpenEnded_mscoco_train2014_questions.json and its annotations."""
    yield from _open_ended(
        raw,
        "vqav2",
        "v2_OpenEnded_mscoco_train2014_questions.json",
        "v2_mscoco_train2014_annotations.json",
    )


def okvqa(raw: Raw) -> Iterator[Record]:
    """Convert OpenEnded_mscoco_train2014_questions.json and its annotations."""
    yield from _open_ended(
        raw,
        "okvqa",
        "OpenEnded_mscoco_train2014_questions.json",
        "mscoco_train2014_annotations.json",
    )


def gqa(raw: Raw) -> Iterator[Record]:
    """Convert train_balanced_questions.json: the short answers."""
    asked: dict[str, list[tuple[str, str]]] = {}
    for id, row in raw.json("train_balanced_questions.json", dict).items():
        try:
            asked.setdefault(str(row["imageId"]), []).append((row["question"], row["answer"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"train_balanced_questions.json, '{id}': no {error} in it") from error
    yield from per_image(raw, "gqa", asked, lambda image: f"gqa/images/{image}.jpg")


def aokvqa(raw: Raw) -> Iterator[Record]:
    """Convert aokvqa_v1p0_train.json: four records per image, the options turned by one each time.

    A question's four options stand in another order in each copy, so that its right one is asked
    for under each letter once.
    """
    asked: dict[int, list[dict[str, object]]] = {}
    for row in raw.json("aokvqa_v1p0_train.json", list):
        asked.setdefault(row["image_id"], []).append(row)
    for image, rows in asked.items():
        order = list(rows)
        raw.lot("aokvqa", image).shuffle(order)
        for copy in range(4):
            pairs = [_turned(row, copy) for row in order[: raw.turns or None]]
            yield record(f"aokvqa-{image}-{copy}", _coco(image), pairs)


def _turned(row: dict[str, object], by: int) -> tuple[str, str]:
    choices, right = row.get("choices"), row.get("correct_choice_idx")
    if not isinstance(choices, list) or not isinstance(right, int):
        raise DataError(f"A-OKVQA question {row.get('question_id')}: no choices, or no right one")
    places = [(place + by) % len(choices) for place in range(len(choices))]
    options = [f"{_LETTERS[at]}. {choices[place]}" for at, place in enumerate(places)]
    return "\n".join((str(row["question"]).strip(), *options)), _LETTERS[places.index(right)]


def _open_ended(raw: Raw, source: str, questions: str, annotations: str) -> Iterator[Record]:
    """Convert files of the VQA format."""
    answers = {
        row["question_id"]: row for row in raw.json(annotations, dict).get("annotations", ())
    }
    asked: dict[str, list[tuple[str, str]]] = {}
    for row in raw.json(questions, dict).get("questions", ()):
        found = answers.get(row["question_id"])
        if found is None:
            raise DataError(f"{annotations}: no answers to question {row['question_id']}")
        answer = found.get("multiple_choice_answer") or majority(
            one["answer"] for one in found["answers"]
        )
        asked.setdefault(str(row["image_id"]), []).append((row["question"], answer))
    yield from per_image(raw, source, asked, lambda image: _coco(int(image)))


def _coco(image: int) -> str:
    """Return the path in the released mixture, which has COCO's images under their 2017 names."""
    return f"coco/train2017/{image:012d}.jpg"
