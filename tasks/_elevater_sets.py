"""The data sets of ELEVATER (ICinW): sizes, classes, metrics; a table and nothing else.

Li et al. 2022 (arXiv 2204.08790). Sizes and names are those of the toolkit's
`resources/datasets/vision_datasets.json`, metrics those of its data set files, numbers of prompt
templates those of its `datasets/prompts.py`. Imports the standard library only.
"""

from dataclasses import dataclass
from typing import Literal

Measure = Literal["accuracy", "mean_per_class", "roc_auc", "map11"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set as the toolkit has it."""

    name: str
    folder: str
    """The toolkit's folder is `classification/<folder>_<date>`."""
    classes: int
    test: int
    train: int
    val: int
    """Images of the published validation split, which the few-shot protocol does not use."""
    metric: Measure
    templates: int
    """Prompts per class in the toolkit."""
    squash: bool = False
    """Resized to a square instead of cropped."""

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several classes, or none."""
        return self.metric == "map11"

    def count(self, split: str) -> int:
        """Return the published number of images of "train", "val" or "test"."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


_TABLE: tuple[DataSet, ...] = (
    DataSet("caltech-101", "caltech_101", 102, 6084, 3060, 0, "mean_per_class", 34),
    DataSet("cifar-10", "cifar_10", 10, 10000, 50000, 0, "accuracy", 18),
    DataSet("cifar-100", "cifar100", 100, 10000, 50000, 0, "accuracy", 18),
    DataSet("country211", "country211", 211, 21100, 31650, 10550, "accuracy", 5),
    DataSet("dtd", "dtd", 47, 1880, 1880, 1880, "accuracy", 8),
    DataSet("eurosat_clip", "eurosat_clip", 10, 5000, 5000, 5000, "accuracy", 3),
    DataSet("fer-2013", "fer_2013", 7, 3589, 28709, 3589, "accuracy", 6),
    DataSet(
        "fgvc-aircraft-2013b-variants102",
        "fgvc_aircraft_2013b_variants102",
        *(100, 3333, 3334, 3333, "mean_per_class", 2),
    ),
    DataSet("food-101", "food_101", 101, 25250, 75750, 0, "accuracy", 1),
    DataSet("gtsrb", "gtsrb", 43, 12630, 26640, 12569, "accuracy", 3),
    DataSet("hateful-memes", "hateful_memes", 2, 500, 8500, 0, "roc_auc", 1),
    DataSet("kitti-distance", "kitti_distance", 4, 711, 6347, 423, "accuracy", 1, squash=True),
    DataSet("mnist", "mnist", 10, 10000, 60000, 0, "accuracy", 1),
    DataSet("oxford-flower-102", "oxford_flower_102", 102, 6149, 1020, 1020, "mean_per_class", 1),
    DataSet("oxford-iiit-pets", "oxford_iiit_pets", 37, 3669, 3680, 0, "mean_per_class", 1),
    DataSet("patch-camelyon", "patch_camelyon", 2, 32768, 262144, 32768, "accuracy", 1),
    # 827 is the toolkit's number; GLUE's development set has 872. It plays no part in any score.
    DataSet("rendered-sst2", "rendered_sst2", 2, 1821, 6920, 827, "accuracy", 1),
    DataSet("resisc45_clip", "resisc45_clip", 45, 25200, 3150, 3150, "accuracy", 18),
    DataSet("stanford-cars", "stanford_cars", 196, 8041, 8144, 0, "accuracy", 8),
    DataSet("voc-2007-classification", "voc2007", 20, 4952, 2501, 2510, "map11", 1),
)
TWENTY: dict[str, DataSet] = {one.name: one for one in _TABLE}
"""The data sets whose mean is ELEVATER's headline, in the order of the paper's tables."""
IMAGENET = DataSet("imagenet-1k", "imagenet_1k", 1000, 50000, 1281167, 0, "accuracy", 80)
"""Shipped with the toolkit as an extra; not one of the twenty."""
ALL: dict[str, DataSet] = {**TWENTY, IMAGENET.name: IMAGENET}
