"""What the tests of `human` share: runs and triples to ask about, and people who answer."""

import json
import random
from pathlib import Path
from typing import Any

from page_runs import HOSTILE, answered
from small_data import picture

from harness.record import Record
from reports.human import answers, criteria, items
from reports.human.form import Plan, make

AS = "On the left there is a thing"
BS = "I cannot see it, but it is likely"


def two_runs(tmp: Path, images: int = 4) -> tuple[Record, Record]:
    """Return two runs on the same questions; every sixth answer is the same words."""
    return (
        answered(tmp, lambda id: "yes" if int(id) % 6 == 0 else f"{AS} {id}", "one", images),
        answered(tmp, lambda id: " yes " if int(id) % 6 == 0 else f"{BS} {id}", "two", images),
    )


def hostile_runs(tmp: Path) -> tuple[Record, Record]:
    """Return two runs whose answers are hostile."""
    return (
        answered(tmp, lambda id: HOSTILE[int(id) % len(HOSTILE)], "bad", 4),
        answered(tmp, lambda id: f"{id} " + HOSTILE[int(id) % 7], "worse", 4),
    )


def pairs(runs: tuple[Record, Record], out: Path, **more: Any) -> dict[str, Any]:
    """Make a batch of pairs."""
    samples, seed = more.pop("samples", 12), more.get("seed", 0)
    sources = [items.load(str(run.folder)) for run in runs]
    drawn = items.pairs(sources[0], sources[1], samples, seed)
    return make(sources, drawn, Plan(criteria.pairwise(), **more), out)


def triple(number: int, **changes: Any) -> dict[str, Any]:
    """Return a line of a corpus about picture `number // 2`."""
    references = [
        {"name": str(id), "boxes": [[4 + 8 * id, 4, 20 + 8 * id, 30]], "obj_guess": "dog"}
        for id in range(3)
    ]
    return {
        "id": f"t{number}", "image": f"{number // 2}.jpg", "width": 64, "height": 48,
        "source": "made", "split": "train", "index": number, "region": [0, 2],
        "region_all": [0, 1, 2], "references": references,
        "question": ["What", "is", [0], "doing", "to", [2], "?"],
        "answer": ["It", "chases", [2], f"number {number}"],
        "rationale": [[0, 2], "run", "<b>fast</b>"], "style": "ids", "provenance": {},
        "prediction": None, **changes,
    }  # fmt: skip


def corpus(folder: Path, rows: list[dict[str, Any]], name: str = "triples") -> Path:
    """Write triples with their pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in {row["image"] for row in rows}:
        (folder / image).write_bytes(picture(int(image.partition(".")[0])))
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ratings(paths: list[Path], out: Path, **more: Any) -> dict[str, Any]:
    """Make a batch of ratings."""
    samples, seed = more.pop("samples", 12), more.get("seed", 0)
    sources = [items.load(str(path)) for path in paths]
    asked = criteria.likert(triples=sources[0].triples)
    return make(sources, items.singles(sources, samples, seed), Plan(asked, **more), out)


def form_data(page: str) -> dict[str, Any]:
    """Return the data block of a form."""
    text = page.partition('<script type="application/json" id="data">')[2]
    found: dict[str, Any] = json.loads(text.partition("</script>")[0])
    return found


def answer(out: Path, key: dict[str, Any], say: Any) -> list[Path]:
    """Answer every form: `say(item of the key, criterion, annotator)` is a, tie, b or a rating."""
    made = []
    for form in key["forms"]:
        rows = []
        for place in form["items"]:
            item = key["items"][place["key"]]
            picks = {}
            for one in key["criteria"]:
                said = say(item, one["name"], form["annotator"])
                sides = {"a": "left", "b": "right", "tie": "tie"}
                if place["swapped"]:
                    sides |= {"a": "right", "b": "left"}
                picks[one["name"]] = sides.get(said, said)
            rows.append({"key": place["key"], "picks": picks, "seconds": 4.5, "note": ""})
        random.Random(form["annotator"]).shuffle(rows)
        path = out / f"answers-{form['annotator']}.json"
        file = {
            "schema": answers.SCHEMA, "batch": key["batch"], "annotator": form["annotator"],
            "form": form["digest"], "answers": rows,
        }  # fmt: skip
        path.write_text(json.dumps(file), encoding="utf-8")
        made.append(path)
    return made
