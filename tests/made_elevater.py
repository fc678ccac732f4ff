"""Small data sets in every form that ELEVATER's come in, for the contract test and others."""

import gzip
import json
import struct
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from small_data import picture

from tasks._elevater_sets import ALL, DataSet

Labels = Sequence[Sequence[int]]
FEW = ("mnist", "hateful-memes")
"""Data sets that also get a training split, in a folder of their own."""


def write(folder: Path) -> dict[str, Path]:
    """Write all data sets for the zero-shot variants, two with training data for the probes."""
    every, few = folder / "every", folder / "few"
    pictures = [picture(seed) for seed in range(4)]
    for one in ALL.values():
        write_set(every / one.name, one, {"test": labels_of(one, 24)}, pictures)
    for name in FEW:
        splits = {"test": labels_of(ALL[name], 20), "train": labels_of(ALL[name], 60)}
        write_set(few / name, ALL[name], splits, pictures)
    for place in (every, few):
        write_names(place)
    trained = {
        f"{kind}-{shots}{head}": few
        for kind in ("lp", "ft")
        for shots in (5, 20, 50, "full")
        for head in ("", "-random")
    }
    return {"": every, **trained}


def write_names(folder: Path) -> None:
    """Write class names and templates of our own, as many as the toolkit has of each."""
    table = {
        one.name: {
            "classes": class_names(one),
            "templates": [
                "a picture of {}.",
                *(f"view {i}: {{}}" for i in range(1, one.templates)),
            ],
        }
        for one in ALL.values()
    }
    table["fer-2013"]["classes"] = [[name, "another"] for name in table["fer-2013"]["classes"]]
    (folder / "classes_and_templates.json").write_text(json.dumps(table), encoding="utf-8")


def class_names(one: DataSet) -> list[str]:
    """Return names for the classes of a data set."""
    if one.name == "mnist":
        return [str(digit) for digit in range(10)]
    return [f"thing {i} of {one.classes}" for i in range(one.classes)]


def labels_of(one: DataSet, count: int) -> list[list[int]]:
    """Return labels for `count` images, spread over the classes; some have two where they may."""
    stride = max(one.classes // count, 1)
    places = [(i * stride + stride // 2) % one.classes for i in range(count)]
    return [
        sorted({place, (place + 3) % one.classes}) if one.multilabel and place % 5 == 4 else [place]
        for place in places
    ]


def write_set(folder: Path, one: DataSet, splits: dict[str, Labels], pictures: list[bytes]) -> None:
    """Write the splits of one data set in a form that depends on its name."""
    folder.mkdir(parents=True)
    layout = {
        "mnist": write_idx, "cifar-10": write_tree_zip, "dtd": write_tree, "gtsrb": write_tree,
        "hateful-memes": write_coco, "kitti-distance": write_coco, "food-101": write_table,
    }.get(one.name, write_index)  # fmt: skip
    for split, labels in splits.items():
        layout(folder, one, split, labels, pictures)


def write_index(
    folder: Path, one: DataSet, split: str, labels: Labels, pictures: list[bytes]
) -> None:
    """Write the toolkit's index file and a zip."""
    lines = []
    with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
        for i, places in enumerate(labels):
            archive.writestr(f"a b/{i}.jpg", pictures[i % len(pictures)])
            lines.append(f"{split}.zip@a b/{i}.jpg {','.join(map(str, places))}\n")
    ending = "_ic" if one.multilabel else ""
    (folder / f"{split}{ending}.txt").write_text("".join(lines), encoding="utf-8")


def write_coco(
    folder: Path, one: DataSet, split: str, labels: Labels, pictures: list[bytes]
) -> None:
    """Write the toolkit's COCO-like file and a zip; ids start at 1."""
    with zipfile.ZipFile(folder / "img.zip", "w") as archive:
        for i in range(len(labels)):
            archive.writestr(f"img/{i}.jpg", pictures[i % len(pictures)])
    document = {
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(class_names(one))],
        "images": [
            {"id": i, "zip_file": "img.zip", "file_name": f"img/{i}.jpg"}
            for i in range(len(labels))
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": place + 1}
            for i, places in enumerate(labels)
            for place in places
        ],
    }
    (folder / f"{split}_meta.json").write_text(json.dumps(document), encoding="utf-8")


def write_idx(
    folder: Path, one: DataSet, split: str, labels: Labels, pictures: list[bytes]
) -> None:
    """Write MNIST's own files: the pictures as small grey ones."""
    word = {"test": "t10k"}.get(split, split)
    grey = [Image.open(BytesIO(p)).convert("L").resize((28, 28)).tobytes() for p in pictures]
    data = b"".join(grey[i % len(grey)] for i in range(len(labels)))
    head = struct.pack(">4B3I", 0, 0, 8, 3, len(labels), 28, 28)
    (folder / f"{word}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + data, 1))
    head = struct.pack(">4B1I", 0, 0, 8, 1, len(labels))
    (folder / f"{word}-labels-idx1-ubyte").write_bytes(head + bytes(p for (p,) in labels))


def write_tree(
    folder: Path, one: DataSet, split: str, labels: Labels, pictures: list[bytes]
) -> None:
    """Write a folder per class, spelled in another way than the class."""
    for i, (place,) in enumerate(labels):
        path = folder / split / class_names(one)[place].replace(" ", "_").title() / f"{i:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures[i % len(pictures)])


def write_tree_zip(
    folder: Path, one: DataSet, split: str, labels: Labels, pictures: list[bytes]
) -> None:
    """Write a folder per class in a zip."""
    with zipfile.ZipFile(folder / f"{one.name}.zip", "a") as archive:
        for i, (place,) in enumerate(labels):
            name = f"{split}/{class_names(one)[place]}/{i:04d}.jpg"
            archive.writestr(name, pictures[i % len(pictures)])


def write_table(
    folder: Path, one: DataSet, split: str, labels: Labels, pictures: list[bytes]
) -> None:
    """Write a Hugging Face table whose classes come in another order than the task's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = class_names(one)[::-1]
    rows = [
        {
            "image": {"bytes": pictures[i % len(pictures)], "path": None},
            "label": len(names) - 1 - place,
        }
        for i, (place,) in enumerate(labels)
    ]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.Table.from_pylist(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    (folder / "data").mkdir(exist_ok=True)
    pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
