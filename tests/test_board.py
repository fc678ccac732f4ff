"""The board: ranks that the data support, barriers, the served page, and SQL over runs."""

import json
import re
import shutil
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from page_runs import all_but, answered, edited, floor, hostile, pair, text_of
from small_data import write_pope
from test_cli import sightline

from harness.api import run
from harness.errors import DataError, UsageError
from leaderboards.build import render
from leaderboards.query import query, runs
from leaderboards.serve import Live, server


def rows_of(page: str) -> dict[str, dict]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return {f"{row['run']} {row['n']}": row for row in json.loads(found[1])["rows"]}


def named(page: str) -> dict[str, dict]:
    return {row["model"].rpartition("/")[2]: row for row in rows_of(page).values()}


def three(tmp: Path) -> list[Path]:
    """Two runs that differ in one answer, and one that is far behind."""
    one = all_but(5)

    def other(id: str) -> str:
        return "Yes" if id == "6" else one(id)  # right: one more than the first has wrong

    made = [answered(tmp, one, "one"), answered(tmp, other, "other")]
    return [r.folder for r in [*made, answered(tmp, all_but(1, 2, 5), "far")]]


def test_ranks_are_what_the_data_can_tell_apart(tmp_path):
    page = render(three(tmp_path))
    found = named(page)
    ranks = {name: (row["rank_low"], row["rank_high"]) for name, row in found.items()}
    assert ranks == {"one.jsonl": (1, 2), "other.jsonl": (1, 2), "far.jsonl": (3, 3)}
    bold = set(re.findall(r'<th scope="row"><span class="best">([^<]+)</span>', page))
    assert bold == {"recorded:one.jsonl", "recorded:other.jsonl"}
    said = text_of(page)
    assert re.search(r"recorded:one\.jsonl 1 to 2 \d\d\.\d\d", said)


def test_floors_have_no_rank_and_take_none(tmp_path):
    folders = three(tmp_path)
    data = tmp_path / "pope24"
    for model in ("random", "constant:yes", "oracle"):
        folders.append(run(model, "pope", data=data, out=tmp_path / model.split(":")[0]).folder)
    found = named(render(folders))
    roles = {name: row["role"] for name, row in found.items()}
    assert roles["random"] == roles["constant:yes"] == "floor" and roles["oracle"] == "ceiling"
    assert found["oracle"]["rank_low"] is None
    assert found["far.jsonl"]["rank_high"] == 3


def test_what_is_not_comparable_stands_apart_with_the_reason(tmp_path):
    folders = three(tmp_path)
    data = tmp_path / "pope24"
    file = tmp_path / "one.jsonl"
    less = run(f"recorded:{file}", "pope", data=data, out=tmp_path / "less", limit=30,
               options={"extra": "ignore"})  # fmt: skip
    rule = json.loads((folders[2] / "run.json").read_text())["fingerprint"] | {"scorer": "f" * 16}
    other = tmp_path / "rule"
    shutil.copytree(folders[2], other)
    run_json = json.loads((other / "run.json").read_text())
    task = {**run_json["task"], "scorer": "pope/other@7"}
    edited(type(less)(other, {}), id="another", fingerprint=rule, task=task)
    page = render([*folders, less.folder, other])
    found = rows_of(page)
    assert sum(row["comparable"] for row in found.values()) == 3
    apart = next(row for row in found.values() if row["n"] <= 30)
    assert apart["rank_low"] is None
    assert "other data: 30 items" in apart["reason"] and "instead of 432 items" in apart["reason"]
    assert "other scorer: pope/other@7" in found["another 432"]["reason"]
    assert page.count("not comparable</span>") == 2
    assert {row["rank_high"] for row in found.values() if row["comparable"]} == {2, 3}


def test_a_baseline_gives_verdicts(tmp_path):
    folders = three(tmp_path)
    found = named(render(folders[1:], baseline=folders[0]))
    verdicts = {name: row["verdict"] for name, row in found.items()}
    assert verdicts == {
        "one.jsonl": "baseline",
        "other.jsonl": "no difference shown",
        "far.jsonl": "worse",
    }
    assert found["far.jsonl"]["p_holm"] < 0.05 < found["other.jsonl"]["p_holm"]


def test_two_tasks_have_an_overview(tmp_path):
    folders = three(tmp_path)
    data = tmp_path / "pope24"
    folders.append(run("random", "pope/vlmeval", data=data, out=tmp_path / "v").folder)
    said = text_of(render(folders))
    assert "Overview" in said and "pope/vlmeval" in said
    assert "Overview" not in text_of(render(folders[:3]))


def test_the_same_runs_give_the_same_bytes_in_any_order(tmp_path):
    folders = three(tmp_path)
    assert render(folders) == render(folders[::-1]) == render([*folders, folders[0]])


def test_missing_answers_are_no_advantage(tmp_path):
    """Runs are tested on what both answered; a run that left out what it cannot do wins nothing."""
    whole = answered(tmp_path, all_but(5), "whole")
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    kept = [line for i, line in enumerate(lines) if i % 6 != 5 or i % 36 == 5]
    (tmp_path / "part.jsonl").write_text("".join(kept))
    part = run(f"recorded:{tmp_path}/part.jsonl", "pope", data=tmp_path / "pope24",
               out=tmp_path / "part")  # fmt: skip
    found = named(render([whole.folder, part.folder]))
    assert found["part.jsonl"]["value"] > found["whole.jsonl"]["value"] + 5
    assert {(row["rank_low"], row["rank_high"]) for row in found.values()} == {(1, 2)}
    assert found["part.jsonl"]["missing"] == 60


def test_hostile_names_are_text(tmp_path):
    record = hostile(tmp_path)
    model = {**record.run["model"], "address": "recorded:<script>alert(1)</script>\"'<b>"}
    page = render([edited(record, model=model)])
    assert page.count("<script") == 2 and "<b>" not in page.split("<tbody>")[1]
    assert "&lt;script&gt;alert(1)" in page or "script&gt;&#34;" in page


def test_unfinished_runs_are_refused(tmp_path):
    folders = three(tmp_path)
    edited(type(floor(tmp_path, "random", "r"))(folders[1], {}), status="running")
    with pytest.raises(DataError, match="not finished"):
        render(folders)
    done = sightline("board", tmp_path, "--out", tmp_path / "board.html")
    assert done.returncode == 3 and not (tmp_path / "board.html").exists()
    both = sightline("board", tmp_path)
    assert both.returncode == 2 and "--out FILE or --serve" in both.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no run folder"):
        render([empty])


def test_time_against_score_has_a_frontier(tmp_path):
    folders = three(tmp_path)
    assert "Time against score" not in render(folders)  # replays have no time worth drawing
    made = zip(folders, ("slow", "good", "quick"), (4320.0, 43.2, 4.32), strict=True)
    for folder, name, seconds in made:
        run_json = json.loads((folder / "run.json").read_text())
        model = {**run_json["model"], "address": f"transformers:{name}"}
        edited(type(floor(tmp_path, "oracle", f"o-{name}"))(folder, {}), model=model,
               seconds=seconds)  # fmt: skip
    page = render(folders)
    figure = re.search(r'<svg class="bar cost".*?</figure>', page, re.S)[0]
    assert figure.count('class="dot"') == 2 and figure.count('class="hollow"') == 1
    said = text_of(figure)
    assert re.search(r"quick: 0\.01 s, .*; transformers:good: 0\.1 s, .*slow: 10 s", said)
    assert "all on " in said


# ---- served


@contextmanager
def served(live: Live):
    with server(live, 0) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    reply = connection.getresponse()
    found = reply.status, reply.read().decode()
    connection.close()
    return found


def test_a_served_board_follows_the_folder_and_writes_nothing(tmp_path):
    place = tmp_path / "runs"
    place.mkdir()
    data = write_pope(tmp_path / "pope", pictures=False)
    with served(Live([place])) as port:
        assert "0 runs" in text_of(get(port)[1])
        run("constant:yes", "pope", data=data, out=place / "yes")
        record = run("random", "pope", data=data, out=place / "random")
        before = sorted((p, p.stat().st_mtime_ns) for p in place.rglob("*"))
        assert len(rows_of(get(port)[1])) == 2
        assert before == sorted((p, p.stat().st_mtime_ns) for p in place.rglob("*"))
        edited(record, status="running")
        page = get(port)[1]
        assert len(rows_of(page)) == 1 and "the run is running, not finished" in page
        assert get(port, host="evil.example")[0] == 421
        assert get(port, "/../run.json")[0] == 404
        with pytest.raises(UsageError, match="cannot be listened on"):
            server(Live([place]), port)


# ---- SQL


def test_queries_see_all_runs_and_no_file(tmp_path):
    base, cand = pair(tmp_path)
    frame = query(
        "select run, avg(score) as right from rows group by run order by 2 desc", tmp_path
    )
    assert list(frame["run"]) == [base.run["id"], cand.run["id"]]
    assert list(frame["right"]) == [pytest.approx(5 / 6), pytest.approx(4 / 6)]
    table = runs(tmp_path)
    assert set(table["value"].round(6)) == {
        round(r.metrics["mean.f1"]["value"], 6) for r in (base, cand)
    }
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (
        f"select * from read_csv('{secret}')",
        f"copy (select 1) to '{tmp_path / 'out.csv'}'",
        "select nonsense",
        "set enable_external_access = true",
        "select * from frame",
    ):
        with pytest.raises(UsageError, match="cannot be run"):
            query(sql, tmp_path)
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(DataError, match="no such folder"):
        query("select 1", tmp_path / "nope")


@pytest.mark.parametrize(
    ("form", "text"), [("csv", "n\n864\n"), ("json", '[\n {\n  "n":864\n }\n]\n')]
)
def test_query_on_the_command_line(tmp_path, form, text):
    pair(tmp_path)
    done = sightline(
        "query", "select count(*) as n from rows", "--runs", tmp_path, "--format", form
    )
    assert done.stdout == text and done.returncode == 0, done.stderr
