"""The commands of the questions: the same figures as text, JSON, CSV and in the export, for names of every kind."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from decimal import Decimal

import pytest
from rich.cells import cell_len

from livekit_tokens.domain.times import rfc3339
from tests.cli.callers import NAMES


def sheet(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


class TestTheFiguresAreTheSame:
    def test_in_text_json_csv_html_and_a_plain_sum_over_the_export(self, asked):
        """Cost to the nano-dollar, tokens, requests: whoever is asked."""
        code, exported, _ = asked("export", "--csv", "-")
        rows = sheet(exported)
        cost = sum((Decimal(row["total_cost"]) for row in rows if row["total_cost"]), Decimal())
        tokens = sum(int(row["total_tokens"]) for row in rows)
        assert (code, len(rows)) == (0, 4 * len(NAMES))
        lines = [json.loads(line, parse_float=Decimal) for line in asked("export", "--jsonl", "-")[1].splitlines()]
        assert sum(line["cost_estimate"] or 0 for line in lines) == cost
        report = json.loads(asked("report", "--json")[1])["totals"]
        assert (report["cost_usd"], report["total_tokens"], report["requests"]) == (f"{cost:.9f}", tokens, len(rows))
        for words in (["report", "--by", "user"], ["top", "users", "--limit", "99"], ["trend"], ["sessions"]):
            totals = sheet(asked(*words, "--csv")[1])
            assert sum(Decimal(row["cost_usd"]) for row in totals) == cost
            assert sum(int(row["total_tokens"]) for row in totals) == tokens
        compared = json.loads(asked("compare", "--json")[1])["totals"]
        assert (compared["now"]["cost_usd"], compared["before"]["requests"]) == (f"{cost:.9f}", 0)
        page = asked("report", "--html", "-")[1]
        shown = dict(re.findall(r'<span class="soft">([\w ]+)</span><b>([^<]+)</b>', page))
        assert (shown["Tokens"], shown["Requests"]) == (f"{tokens:,}", f"{len(rows):,}")
        assert shown["Cost"].strip("~+") == f"${cost:,.4f}"
        text = asked("report")[1]
        assert f"Total Tokens: {tokens:,}" in text
        assert f"Total Cost: ${cost:,.6f} ({report['unpriced_requests']} unpriced)" in text


class TestNames:
    WORDS = (
        ["report", "--by", "user"],
        ["sessions"],
        ["top", "users"],
        ["top", "sessions"],
        ["top", "requests"],
        ["compare", "--by", "user", "--by", "model"],
        ["trend", "--per", "user"],
        ["performance"],
        ["cost-analysis"],
        ["timeline", "room_5"],
        ["statement", "--tenant", "t1"],
    )

    @pytest.mark.parametrize("words", WORDS, ids=" ".join)
    def test_tables_fit_80_columns_and_hold_no_escape_codes(self, asked, words):
        """Whatever a caller calls themselves: no line of theirs begins a line of ours."""
        code, out, err = asked(*words)
        assert (code, err) == (0, "")
        assert max(map(cell_len, out.splitlines())) <= 80
        assert not set(out) & {"\x1b", "\t", "\u202e"}
        assert not any(line.startswith("lines") for line in out.splitlines())

    @pytest.mark.parametrize("columns", [40, 60, 120])
    @pytest.mark.parametrize("words", WORDS, ids=" ".join)
    def test_tables_fit_the_terminal(self, asked, words, columns, monkeypatch):
        """Also a telephone's, where rows are told one by one."""
        monkeypatch.setattr("livekit_tokens.cli.columns.PIPED_WIDTH", columns)
        code, out, err = asked(*words)
        assert (code, err) == (0, "")
        # A statement holds the summary in the layout that is known, whose rules are 60 wide.
        assert max(map(cell_len, out.splitlines())) <= max(columns, 60 if words[0] == "statement" else 0)

    def test_csv_holds_no_formula_and_loses_no_name(self, asked):
        """An apostrophe stands before what a spreadsheet would execute; commas, quotes and newlines come back."""
        for words in (
            ["export", "--csv", "-"],
            ["report", "--by", "user", "--csv"],
            ["top", "users", "--csv", "--limit", "99"],
        ):
            rows = sheet(asked(*words)[1])
            column = "user_id" if words[0] == "export" else "user"
            found = {row[column] for row in rows}
            assert found == {f"'{name}" if name in NAMES[2:8:4] + NAMES[7:9] else name or "" for name in NAMES}

    def test_json_holds_them_as_they_are(self, asked):
        """JSON needs no apostrophe."""
        top = json.loads(asked("top", "users", "--json", "--limit", "99")[1])["top"]
        assert {line["key"]["user"] for line in top} == set(NAMES)


class TestTop:
    def test_the_dearest_first(self, asked):
        """The last name's cost is not known: it stands last, though it has most tokens."""
        top = json.loads(asked("top", "users", "--json", "--limit", "3")[1])
        assert [line["key"]["user"] for line in top["top"]] == ["<b>Tom</b> & co", "\t=cmd", "@SUM(A1)"]
        assert top["more"] is True

    def test_what_cannot_be_ranked_is_wrong_usage(self, asked):
        """Exit 2, and what can."""
        code, _, err = asked("top", "planets")
        assert code == 2
        assert "no top of 'planets'; accepted: users, tenants" in err


class TestTimeline:
    def test_it_tells_the_session_as_it_went(self, asked):
        """Joins, leaves, turns, requests; a failed one says so."""
        out = asked("timeline", "room_1")[1]
        order = ["begins", "ann joins", "Turn 1", "whisper-1", "Turn 2", "failed (APIError)", "ann leaves", "ends"]
        places = [out.index(words) for words in order]
        assert places == sorted(places)
        events = json.loads(asked("timeline", "room_1", "--json")[1])["events"]
        assert [e["turn"] for e in events] == [None, None, 1, 1, 2, 2, None, None]
        assert events[2]["record"]["informational_units"] == {"input_audio": 10}

    def test_an_unknown_session_is_exit_1(self, asked):
        """One line."""
        code, out, err = asked("timeline", "nowhere")
        assert (code, out, len(err.splitlines())) == (1, "", 1)


class TestStatement:
    def test_of_a_user_with_a_formula_for_a_name(self, asked):
        """Theirs alone."""
        answer = json.loads(asked("statement", "--user", "=1+1", "--json")[1])
        assert (answer["totals"]["sessions"], answer["user"]) == (1, "=1+1")
        assert [line["session_id"] for line in answer["sessions"]] == ["room_3"]
        assert len(answer["days"]) == 8

    def test_of_nobody_is_wrong_usage(self, asked):
        """Whose, every other command is told by an option, too."""
        code, out, err = asked("statement")
        assert (code, out) == (2, "")
        assert "whose statement? give --user NAME or --tenant NAME" in err

    def test_of_a_user_within_a_tenant_is_of_the_user(self, asked):
        """Two options are two filters, as everywhere."""
        answer = json.loads(asked("statement", "--user", "=1+1", "--tenant", "nobodys", "--json")[1])
        assert (answer["user"], answer["totals"]["requests"]) == ("=1+1", 0)

    def test_of_an_unknown_user_is_exit_1(self, asked):
        """One line that names them."""
        code, out, err = asked("statement", "--user", "nobody")
        assert (code, out) == (1, "")
        assert "no session of user 'nobody'" in err


class TestCompare:
    def test_today_is_set_beside_yesterday_up_to_the_same_time(self, asked):
        """By the clock of the reader's zone; both ends are told."""
        answer = json.loads(asked("compare", "--today", "--json", "--tz", "Asia/Kathmandu")[1])
        period, before = answer["period"], answer["period_before"]
        assert period["since"].endswith("T18:15:00.000000Z")
        assert before["since"].endswith("T18:15:00.000000Z")
        assert before["until"][10:19] == period["until"][10:19]


class TestTrend:
    def test_every_day_is_there(self, asked):
        """Also those without usage; the picture has the total below it."""
        points = json.loads(asked("trend", "--json")[1])["points"]
        assert len(points) == 8
        assert sum(p["requests"] for p in points) == 4 * len(NAMES)
        assert f"{4 * len(NAMES)} requests" in asked("trend", "--of", "requests")[1]

    def test_what_cannot_be_drawn_is_wrong_usage(self, asked):
        """Exit 2."""
        assert asked("trend", "--of", "beauty")[0] == 2
        assert asked("trend", "--by", "fortnight")[0] == 2


class TestCostAnalysis:
    def test_costs_by_operation_and_what_could_be_cheaper(self, asked):
        """As text and as JSON; ratios and money are text."""
        answer = json.loads(asked("cost-analysis", "--json")[1])
        report = json.loads(asked("report", "--json")[1])["totals"]
        assert answer["total_cost_usd"] == report["cost_usd"]
        assert answer["operation_costs"]["transcription"]["operation_count"] == 2 * len(NAMES)
        assert list(answer["operation_costs"]) == ["chat_completion", "transcription"]
        assert answer["cost_per_token_usd"] is None
        text = asked("cost-analysis")[1]
        assert "chat_completion" in text
        assert max(map(cell_len, text.splitlines())) <= 80


class TestPerformance:
    def test_success_and_times_by_model(self, asked):
        """Errors are told by their class."""
        answer = json.loads(asked("performance", "--json")[1])
        (model,) = (line for line in answer["models"] if line["model"] == "m")
        assert (model["success_rate"], model["errors"]) == ("0.5000", {"APIError": len(NAMES)})
        assert model["response_ms"] == {"count": 11, "average": 906, "p50": 906, "p95": 911, "max": 911}


class TestExport:
    def test_daily_files_are_whole_private_and_compressed_by_wish(self, asked, tmp_path):
        """One for each UTC day; a day that is there already is not written over without --replace."""
        assert asked("export", "--jsonl", str(tmp_path / "logs"), "--gz")[0] == 0
        files = sorted((tmp_path / "logs").iterdir())
        days = [gzip.decompress(file.read_bytes()).decode().splitlines() for file in files]
        lines = [json.loads(line) for day in days for line in day]
        assert len(lines) == 4 * len(NAMES)
        assert len(files) in (2, 3)
        for file, day in zip(files, days, strict=True):
            (date,) = {json.loads(line)["timestamp"][:10] for line in day}
            assert file.name == f"token_usage_{date}.jsonl.gz"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert all(line["query"] is None for line in lines)
        code, _, err = asked("export", "--jsonl", str(tmp_path / "logs"), "--gz")
        assert code == 1
        assert "is there already" in err
        assert asked("export", "--jsonl", str(tmp_path / "logs"), "--gz", "--replace")[0] == 0

    def test_a_sheet_may_be_compressed(self, asked, tmp_path):
        """By its name; the same rows as on stdout."""
        assert asked("export", "--csv", str(tmp_path / "all.csv.gz"))[0] == 0
        with gzip.open(tmp_path / "all.csv.gz", "rt", encoding="utf-8", newline="") as file:
            assert file.read() == asked("export", "--csv", "-")[1]

    def test_it_needs_one_of_two_forms(self, asked, tmp_path):
        """Neither and both are wrong usage; a folder that cannot be is one line."""
        assert asked("export")[0] == 2
        assert asked("export", "--csv", "-", "--jsonl", "-")[0] == 2
        code, _, err = asked("export", "--csv", str(tmp_path / "nowhere" / "all.csv"))
        assert (code, len(err.splitlines())) == (1, 1)

    def test_a_reader_that_has_seen_enough_ends_it_quietly(self, asked, tmp_path):
        """`| head -1`: no traceback, however many records were left."""
        assert asked("demo", "--records", "5000", "--add")[0] == 0
        line = f"{sys.executable} -m livekit_tokens export --csv - --days 365 | head -1"
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.startswith("id,user_id,")
        assert (len(done.stdout.splitlines()), done.stderr) == (1, "")

    def test_ctrl_c_leaves_no_half_file(self, asked, tmp_path):
        """Exit 130, no file under any name."""
        slow = (
            "import os, signal, sys\n"
            "from livekit_tokens.cli import exporting, main\n"
            "def row(entry):\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "    return []\n"
            "exporting.sheet_row = row\n"
            "main()\n"
        )
        folder = tmp_path / "out"
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", slow, "export", "--csv", str(folder / "all.csv")],
            env=dict(os.environ),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert (done.returncode, done.stdout, list(folder.iterdir())) == (130, "", [])
        assert done.stderr == f"livekit-tokens: interrupted: {folder / 'all.csv'} was not written\n"


@pytest.mark.parametrize("words", [["top", "requests"], ["compare"], ["performance"], ["top", "users"], ["report"]])
def test_a_sheet_has_the_same_head_whether_there_is_anything_to_tell(asked, words):
    """A program that reads it must not care."""
    heads = [asked(*words, "--csv", *when)[1].splitlines()[0] for when in ([], ["--user", "nobody"])]
    assert heads[0] == heads[1]


def test_a_period_without_usage_is_said_in_words(asked):
    """Every question, exit 0."""
    year = ("--since", "2001-01-01", "--until", "2001-02-01")
    for words in (
        ["top", "users"],
        ["top", "requests"],
        ["trend"],
        ["compare"],
        ["performance"],
        ["statement", "--user", "ann"],
    ):
        code, out, err = asked(*words, *year)
        assert (code, err) == (0, "")
        assert out
    assert asked("export", "--csv", "-", *year)[1].count("\n") == 1


def test_the_edges_of_a_period_are_half_open(asked):
    """A record at its first moment belongs to it, one at its last does not."""
    at = sorted(row["timestamp"] for row in sheet(asked("export", "--csv", "-")[1]))
    rows = sheet(asked("export", "--csv", "-", "--since", at[1], "--until", at[5])[1])
    assert {row["timestamp"] for row in rows} == {t for t in at if at[1] <= t < at[5]}
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
