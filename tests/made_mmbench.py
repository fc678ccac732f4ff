"""MMBench tables for the contract test: one with rotated rows, one without, one in Chinese."""

from pathlib import Path

from vqa_data import mmbench_rows, write_mmbench


def write(folder: Path) -> dict[str, Path]:
    """Write the tables; returns variant to data ("": every other variant)."""
    write_mmbench(folder / "mmbench_dev_small.tsv", mmbench_rows(12))
    write_mmbench(folder / "mmbench_dev_cn_small.tsv", mmbench_rows(12, "cn"))
    single = write_mmbench(folder / "apart" / "single.tsv", mmbench_rows(12, rotations=False))
    return {"": folder, "circular": single}
