"""RefCOCO files for the contract test: the official folders, small, with pictures of our own."""

import json
import pickle
from pathlib import Path
from typing import Any

from small_data import picture

SIZE = (64, 48)
SAID = {
    "val": ["dog on the left", "the brown dog"],
    "testA": ["man in a red shirt", "guy on left"],
    "testB": ["white car", "the car near the tree"],
    "test": ["a small boat on the water"],
    "train": ["never asked"],
}
SPLITS = {
    "refcoco": ("train", "val", "testA", "testB"),
    "refcoco+": ("train", "val", "testA", "testB"),
    "refcocog": ("train", "val", "test"),
}


def refs(dataset: str, per_split: int = 3) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the pickled list and the instances of one data set; every third image has two refs."""
    found, boxes, images = [], [], {}
    for place, split in enumerate(SPLITS[dataset]):
        for i in range(per_split):
            number = 10 * place + i
            image = 100 * place + i // 2
            name = f"COCO_train2014_{image:012d}.jpg"
            images[image] = {"id": image, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            box = [4.5 * i, 3.0, 20.25, 30.5]
            boxes.append({"id": 1000 + number, "image_id": image, "category_id": 1, "bbox": box})
            said = [f"{text} {i}" if i else text for text in SAID[split]]
            found.append(
                {
                    "ref_id": number,
                    "ann_id": 1000 + number,
                    "image_id": image,
                    "category_id": 1,
                    "file_name": f"COCO_train2014_{image:012d}_{i}.jpg",
                    "split": split,
                    "sent_ids": list(range(len(said))),
                    "sentences": [
                        {"raw": t.upper(), "sent": t, "sent_id": k, "tokens": t.split()}
                        for k, t in enumerate(said)
                    ],
                }
            )
    return found[::-1], {"images": list(images.values()), "annotations": boxes, "categories": []}


def write_official(folder: Path, pictures: bool = True) -> Path:
    """Write refcoco/, refcoco+/ and refcocog/ as lichengunc/refer has them; returns the folder."""
    for dataset in SPLITS:
        here = folder / dataset
        here.mkdir(parents=True)
        found, instances = refs(dataset)
        by = "umd" if dataset == "refcocog" else "unc"
        (here / f"refs({by}).p").write_bytes(pickle.dumps(found, protocol=2))
        (here / "instances.json").write_text(json.dumps(instances))
        for image in instances["images"] if pictures else []:
            path = folder / "images" / "mscoco" / "images" / "train2014" / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(image["id"], SIZE))
    return folder


def write_flat(folder: Path) -> Path:
    """Write the same regions as one list per set, a row per expression."""
    folder.mkdir(parents=True)
    for dataset, splits in SPLITS.items():
        found, instances = refs(dataset)
        boxes = {a["id"]: a["bbox"] for a in instances["annotations"]}
        for split in splits[1:]:
            rows = [
                {
                    "img_id": ref["file_name"].removesuffix(".jpg"),
                    "sents": sentence["sent"],
                    "bbox": boxes[ref["ann_id"]],
                    "height": SIZE[1],
                    "width": SIZE[0],
                }
                for ref in sorted(found, key=lambda r: r["ref_id"])
                for sentence in ref["sentences"]
                if ref["split"] == split
            ]
            (folder / f"{dataset}_{split}.json").write_text(json.dumps(rows))
    return folder


def write(folder: Path) -> dict[str, Path]:
    """Write the official folders; returns variant to data; the empty name is every variant."""
    return {"": write_official(folder)}
