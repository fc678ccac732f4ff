"""What stands beside the runs of a board: labels, judge gaps, costs, blessed runs."""

import csv
import json
import re

import pytest
from gate_runs import Says, record, task
from judged_runs import answered as judged_answers
from judged_runs import judged, scripted
from page_runs import HOSTILE, edited, text_of
from past_runs import blessed, says
from test_cli import sightline

from harness.api import run
from harness.errors import UsageError
from harness.types import Answer
from leaderboards import labels
from leaderboards.build import Extras, render
from leaderboards.serve import Live
from reports import prices
from reports._page_read import opened


class Counts(Says):
    """Says what it is told to, and counts tokens."""

    tokens = (500, 25)

    def answer(self, samples, ask, decoding):
        for at, sample in enumerate(samples):
            text = self.say(int(sample.id[1:]))
            yield at, Answer(text, tokens_in=self.tokens[0], tokens_out=self.tokens[1])


def made(tmp_path, name: str, address: str, share: float = 0.2, tokens=(500, 25), **described):
    """Return a run that looks as if it had been made by the model at an address."""
    model = Counts(says(share, 1), name)
    model.tokens = tokens
    found = run(model, task(200, 4), out=tmp_path / name)
    description = {**found.run["model"]["description"], **described}
    head = {**found.run["model"], "address": address, "description": description}
    edited(found, model=head, seconds=100.0)
    return found.folder


def rows(page: str) -> dict[str, dict]:
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    return {row["model"]: row for row in json.loads(data)["rows"]}


def six(tmp_path):
    return [
        made(tmp_path, "a", "openai:gpt-x", server="https://api.example.com/v1"),
        made(tmp_path, "b", "openai:own", server="http://127.0.0.1:8000/v1", parameters=2e9),
        made(tmp_path, "c", "openai:lab", server="http://10.1.2.3:8000/v1"),
        made(tmp_path, "d", "transformers:x/llava", parameters=7e9, trainer="llava"),
        made(tmp_path, "e", "recorded:answers.jsonl"),
        run("random", task(200, 4), out=tmp_path / "f").folder,
    ]


def test_weights_trainer_and_size_follow_from_the_model(tmp_path):
    page = render(six(tmp_path))
    found = rows(page)
    weights = {name: row.get("label weights") for name, row in found.items()}
    assert weights == {
        "openai:gpt-x": "closed", "openai:own": "open", "openai:lab": "open",
        "transformers:x/llava": "open", "recorded:answers.jsonl": "not known", "random": None,
    }  # fmt: skip
    assert found["transformers:x/llava"]["label trainer"] == "llava"
    assert found["openai:own"]["label size"] == "1 to 4 B"
    for name in ("weights", "size", "reached by"):
        assert f'<select data-facet="{name}">' in page, name
    assert '<select data-facet="judge">' not in page  # nothing to choose from


def test_labels_stand_before_what_is_guessed_and_make_facets(tmp_path):
    folders = six(tmp_path)
    file = tmp_path / "labels.yaml"
    file.write_text("openai:gpt-x: {weights: open, trainer: them}\nd: {reviewed: yes}\n")
    said = [*labels.read(file), *labels.parse(["openai:gpt-x:trainer=our lab", "e:weights=open"])]
    page = render(folders, extras=Extras(said))
    found = rows(page)
    assert found["openai:gpt-x"]["label weights"] == "open"
    assert found["openai:gpt-x"]["label trainer"] == "our lab"  # the last stands
    assert found["recorded:answers.jsonl"]["label weights"] == "open"
    assert found["transformers:x/llava"]["label reviewed"] == "true"
    assert page == render(folders[::-1], extras=Extras(said))


@pytest.mark.parametrize(
    ("text", "words"),
    [("x", "RUN:KEY=VALUE"), ("a:=b", "RUN:KEY=VALUE"), ("a:b=", "RUN:KEY=VALUE"), ("b=c", "RUN")],
)
def test_labels_that_are_none(text, words):
    with pytest.raises(UsageError, match=words):
        labels.parse([text])


def test_a_label_of_no_run_names_near_ones(tmp_path):
    folder = made(tmp_path, "a", "openai:gpt-x")
    with pytest.raises(UsageError, match="did you mean openai:gpt-x"):
        render([folder], extras=Extras(labels.parse(["openai:gpt-y:weights=open"])))
    for text in ("- a", "a: 1", "a: [", "!!python/object/apply:os.getcwd []"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UsageError, match="--labels"):
            labels.read(tmp_path / "bad.yaml")


def test_labels_are_text(tmp_path):
    folder = made(tmp_path, "a", "openai:gpt-x")
    said = [labels.Label("a", f"k{i}{words[:20]}", words[:80]) for i, words in enumerate(HOSTILE)]
    page = render([folder, made(tmp_path, "b", "openai:z")], extras=Extras(said))
    body = page.split("<body", 1)[1].split('<script type="application/json"')[0]
    assert "<svg onload" not in body and "<img src=x" not in body and page.count("<script") == 2


def test_price_takes_the_place_of_tokens(tmp_path):
    folders = [
        made(tmp_path, "a", "openai:gpt-x", 0.1, (900, 40)),
        made(tmp_path, "b", "transformers:x/llava", 0.2),
    ]
    plain = text_of(render(folders))
    assert "Time against score" in plain and "Price against score" not in plain
    assert re.search(r"Tokens against score .* transformers:llava: 525 tokens", plain)
    file = tmp_path / "prices.yaml"
    file.write_text("prices: {gpt-x: {in: 2, out: 8}, llava: {gpu_hour: 3}}")
    page = render(folders, extras=Extras(prices=prices.read(file)))
    said = text_of(page)
    assert "Tokens against score" not in said and "Price against score" in said
    assert "openai:gpt-x: 2.12 USD, " in said  # of 1,000 answers
    assert "180,000 tokens in at 2, 8,000 out at 8 USD per million" in said
    assert "prices.yaml (" in said and "judging not counted" in said


def test_boards_sort_by_the_size_of_the_judge_gap(tmp_path):
    folders = []
    for i, off in enumerate((0.05, -0.3)):
        home = tmp_path / str(i)
        rubric, folder = judged_answers(home)
        judged(folder, rubric, scripted(lambda s, d: "8 6\nwords", name="same"))
        with (folder / "people.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "score"))
            writer.writerows((row["id"], row["score"] - off) for row in opened(folder).rows)
        folders.append(folder)
    page = render(folders)
    found = [row["judge_gap"] for row in rows_by_run(page)]
    assert sorted(round(gap, 6) for gap in found) == [-0.3, 0.05]
    assert 'data-v="0.3' in page and "judge gap" in text_of(page)
    assert "people" in text_of(page)
    assert "judge gap" not in text_of(render([made(tmp_path, "x", "openai:z")]))


def rows_by_run(page: str) -> list[dict]:
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    return json.loads(data)["rows"]


def test_a_board_draws_the_blessed_runs_of_its_tasks(tmp_path, monkeypatch):
    runs = blessed(tmp_path, [0.15, 0.15, 0.15, 0.45, 0.45], monkeypatch, n=300)
    blessed(tmp_path / "other", [0.2], monkeypatch, n=100, name="gqa")
    other = record(tmp_path / "gqa", says(0.2, 1), task(100, 4, name="gqa"))
    page = render([runs[-1].folder, other.folder], extras=Extras(history=tmp_path / "blessed"))
    assert page.count('<figure class="trend">') == 1 and page.count('class="shift worse"') == 1
    (tmp_path / "blessed" / "pope@0.json").write_text("{}")
    done = sightline(
        "board", runs[-1].folder, "--out", tmp_path / "b.html", "--history", tmp_path / "blessed"
    )
    assert done.returncode == 3 and "not a blessed baseline" in done.stderr


def test_a_served_board_follows_what_is_blessed_and_survives_a_wrong_label(tmp_path, monkeypatch):
    runs = blessed(tmp_path, [0.2, 0.2], monkeypatch, n=100)
    place = tmp_path / "shown"
    place.mkdir()
    runs[0].folder.rename(place / "a")
    said = labels.parse(["later:weights=open"])
    live = Live([place], extras=Extras(said))
    assert "there is no run or model to label" in text_of(live.page())
    live = Live([place], extras=Extras(history=tmp_path / "blessed"))
    assert "is not what was blessed" in text_of(live.page())  # it was moved away
    (place / "a").rename(runs[0].folder)
    (place / "b").symlink_to(runs[1].folder)
    assert "Blessed runs over time" in text_of(live.page())


def test_the_command_line(tmp_path):
    folder = made(tmp_path, "a", "openai:gpt-x")
    out = tmp_path / "b.html"
    done = sightline("board", folder, "--out", out, "--label", "openai:gpt-x:weights=open")
    assert done.returncode == 0, done.stderr
    assert rows(out.read_text())["openai:gpt-x"]["label weights"] == "open"
    bad = sightline("board", folder, "--out", out, "--label", "nobody:weights=open")
    assert bad.returncode == 2 and "no run or model to label" in bad.stderr
