"""What the documents say is tried: the example task, the commands, the claims about counts."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from small_data import picture

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "tasks", "trainers", "judges", "reports", "leaderboards")


def copied(tmp_path: Path) -> Path:
    """Copy the packages, so that a file can be added as a user would."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def write_signs(folder: Path) -> Path:
    (folder / "photos").mkdir(parents=True)
    rows = []
    for i in range(24):
        (folder / "photos" / f"{i // 2}.jpg").write_bytes(picture(i // 2))
        row = {"id": i, "photo": f"{i // 2}.jpg", "question": "What does {this} sign mean?"}
        row |= {"choices": ["stop", "{options}", "turn"], "answer": i % 3, "country": "fr"}
        rows.append(row)
    (folder / "signs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_example_task_works_as_written(tmp_path):
    text = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert code.count("\n") <= 65
    home, data = copied(tmp_path / "copy"), write_signs(tmp_path / "signs")
    (home / "tasks" / "street_signs.py").write_text(code, encoding="utf-8")

    def sightline(*words):
        command = [sys.executable, "-m", "harness", *map(str, words)]
        return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)

    checked = sightline("check", "street_signs", "--data", data)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    out = tmp_path / "run"
    done = sightline("run", "-t", "street_signs/blind", "-m", "oracle", "-d", data, "--out", out)
    assert done.returncode == 0 and "country.fr" in done.stdout, done.stderr
    assert "street_signs/blind" in sightline("list", "tasks").stdout
    for program in ("ruff check", "mypy --strict --ignore-missing-imports"):
        words = [sys.executable, "-m", *program.split(), str(home / "tasks" / "street_signs.py")]
        extra = ["--config", str(ROOT / "pyproject.toml")] if "ruff" in program else []
        clean = subprocess.run([*words, *extra], cwd=home, capture_output=True, text=True)
        assert clean.returncode == 0, clean.stdout + clean.stderr


def test_every_task_and_model_has_its_place_in_the_documents():
    documents = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs").rglob("*.md"))
    documents += (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "tasks").glob("[!_]*.py"):
        assert (ROOT / "docs" / "tasks" / f"{path.stem}.md").exists(), path.stem
    for path in (ROOT / "harness" / "models").glob("[!_]*.py"):
        assert re.search(rf"`{path.stem}[:`]", documents), f"no document names `{path.stem}`"


def test_commands_in_the_documents_exist():
    from typer.main import get_command

    from harness.cli import app

    verbs = set(get_command(app).commands)
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    used = {
        verb for page in pages for verb in re.findall(r"^sightline (\w+)", page.read_text(), re.M)
    }
    assert used and used <= verbs


def test_links_in_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
