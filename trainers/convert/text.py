"""OCR-VQA, TextCaps and ShareGPT.

Which 80,000 records of OCR-VQA the published mixture has is not documented: a seeded draw of that
many training images here. TextCaps shows the detected words as reference text and asks for one
sentence, one record per image; its published share has as many records as training images.
ShareGPT conversations are cut to fit 2,048 tokens. Imports transformers where a tokenizer is named.
"""

from collections.abc import Callable, Iterator
from typing import Any

from harness.errors import DataError, UsageError
from trainers.convert.common import Raw, Record, per_image, record

OCRVQA_RECORDS = 80_000
_TRAIN = 1
"""OCR-VQA's number for its training split."""
_CAPTION = "Provide a one-sentence caption for the provided image."
_BUDGET = 1_900
"""Tokens of a ShareGPT conversation: 2,048 less the system message and the roles."""


def ocrvqa(raw: Raw) -> Iterator[Record]:
    """Convert dataset.json: book covers of the training split, all questions of each.

    Option `records`: how many are drawn; 0 for all.
    """
    rows = {
        id: row
        for id, row in raw.json("dataset.json", dict).items()
        if row.get("split") == _TRAIN and row.get("questions")
    }
    count = _number(raw, "records", OCRVQA_RECORDS)
    ids = sorted(rows)
    if count and count < len(ids):
        ids = sorted(raw.lot("ocrvqa").sample(ids, count))
    asked = {}
    for id in ids:
        questions, answers = rows[id]["questions"], rows[id]["answers"]
        if len(questions) != len(answers):
            raise DataError(
                f"dataset.json, '{id}': {len(questions)} questions, {len(answers)} answers"
            )
        asked[id] = [(str(q), str(a)) for q, a in zip(questions, answers, strict=True)]
    yield from per_image(raw, "ocrvqa", asked, lambda image: f"ocr_vqa/images/{image}.jpg")


def textcaps(raw: Raw) -> Iterator[Record]:
    """Convert TextCaps_0.1_train.json with TextVQA's Rosetta words; one caption by lot each."""
    captions: dict[str, list[str]] = {}
    for row in raw.json("TextCaps_0.1_train.json", dict).get("data", ()):
        captions.setdefault(row["image_id"], []).append(row["caption_str"])
    path = raw.first("TextVQA_Rosetta_OCR_v0.2_train.json", "TextVQA_Rosetta_OCR_v0.1_train.json")
    found = {
        row["image_id"]: row.get("ocr_tokens") or ()
        for row in raw.json(path.name, dict).get("data", ())
    }
    for image, said in captions.items():
        if image not in found:
            raise DataError(f"{path}: no detected words of image {image}")
        seen = ", ".join(str(token) for token in found[image])
        question = f"{_CAPTION}\nReference OCR token: {seen}"
        caption = raw.lot("textcaps", image).choice(said)
        yield record(
            f"textcaps-{image}", f"textvqa/train_images/{image}.jpg", [(question, caption)]
        )


def sharegpt(raw: Raw) -> Iterator[Record]:
    """Convert sharegpt.json or any .json of {id, conversations}; text alone.

    Each conversation is cut after the last reply that fits; what begins with a reply, does not
    alternate or has no reply that fits is left out. Option `tokenizer`: a directory; without one
    a token is taken to be three quarters of a word.
    """
    length = _length(raw.options.get("tokenizer", ""))
    budget = _number(raw, "tokens", _BUDGET)
    path = raw.first("sharegpt.json", "ShareGPT_V3_unfiltered_cleaned_split.json", "sg_90k.json")
    for at, row in enumerate(raw.json(path.name, list)):
        pairs = _alternating(row.get("conversations") or [])
        kept, used = [], 0
        for question, answer in pairs:
            used += length(question) + length(answer)
            if used > budget:
                break
            kept.append((question, answer))
        if kept:
            yield record(f"sharegpt-{at}-{row.get('id', at)}", None, kept[: raw.turns or None])


def _alternating(turns: list[Any]) -> list[tuple[str, str]]:
    """Return question and answer pairs, up to the first turn that is out of order or empty."""
    roles = {"human": 0, "user": 0, "gpt": 1, "chatgpt": 1, "assistant": 1}
    pairs = []
    rest = [turn for turn in turns if turn.get("from") != "system"]
    for question, answer in zip(rest[::2], rest[1::2], strict=False):
        texts = [str(turn.get("value") or "").strip() for turn in (question, answer)]
        if [roles.get(turn.get("from")) for turn in (question, answer)] != [0, 1] or not all(texts):
            break
        pairs.append((texts[0], texts[1]))
    return pairs


def _length(tokenizer: str) -> Callable[[str], int]:
    if not tokenizer:
        return lambda text: round(len(text.split()) / 0.75)
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    return lambda text: len(loaded(text, add_special_tokens=False)["input_ids"])


def _number(raw: Raw, name: str, default: int) -> int:
    value = raw.options.get(name, str(default))
    if not value.isdigit():
        raise UsageError(f"option {name}={value} must be a whole number")
    return int(value)
