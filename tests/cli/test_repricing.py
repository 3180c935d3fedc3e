"""`livekit-tokens prices missing` and `reprice`, as people and scripts run them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from livekit_tokens import housekeeping
from livekit_tokens.cli import main
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.core.repricing import Asked
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.pricing import unpriced
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import SECOND, to_datetime
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.prices import prices_file
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.settings import Settings
from livekit_tokens.store import repricing as store_repricing
from livekit_tokens.store.connection import StoreLedger

OWN = """
[[price]]
provider = "openai"
model = "our-model"
unit = "input_text"
price = "2.00"
per = "1M"
"""
NOW = time.time_ns() // 1000
SINCE = f"{to_datetime(NOW - 3600 * SECOND):%Y-%m-%dT%H:%MZ}"


def fill(tmp_path, *records: UsageRecord, pricing) -> None:
    async def write() -> None:
        ledger = StoreLedger(f"sqlite:///{tmp_path / 'ledger.db'}", pricing=pricing)
        connection = await ledger.connect()
        parts = (Part("01" * 16, "room_a", NOW - 600 * SECOND),)
        numbered = tuple(enumerate(records, 1))
        assert await connection.apply(
            Batch(Source("s", "h", 1, NOW), None, Checkpoint(1, 1, len(records)), parts, (), numbered)
        )
        await connection.aclose()
        await ledger.aclose()

    asyncio.run(write())


def record(model: str, seconds_ago: int = 60, units: dict[str, int] | None = None, **changes: object) -> UsageRecord:
    units = {"input_text": 1_000_000} if units is None else units
    at = NOW - seconds_ago * SECOND
    return UsageRecord("01" * 16, at, "agent", "openai", model, "chat_completion", units, **changes)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run `prices ...`; answers exit code, stdout, stderr. `file` is what PRICES_FILE says."""
    for name in os.environ:
        if name.startswith("LIVEKIT_TOKENS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIVEKIT_TOKENS_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("LIVEKIT_TOKENS_SPOOL_DIR", str(tmp_path / "spool"))

    def run_it(*args: str, file: str | None = None) -> tuple[int, str, str]:
        if file is not None:
            (tmp_path / "prices.toml").write_text(file)
            monkeypatch.setenv("LIVEKIT_TOKENS_PRICES_FILE", str(tmp_path / "prices.toml"))
        monkeypatch.setattr(sys, "argv", ["livekit-tokens", "prices", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run_it


def cost(tmp_path) -> list[tuple[int | None]]:
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        return db.execute("select input_cost from records order by seq").fetchall()


class TestMissing:
    def test_says_what_has_no_price_why_since_when_and_what_to_do(self, run, tmp_path):
        """By model and reason, most requests first; what is priced or billed nothing is not listed."""
        fill(
            tmp_path,
            record("our-model", 120),
            record("our-model", 90),
            record("gpt-4o-mini", units={"output_audio": 3}),
            record("gpt-4o-mini"),
            record("our-model", units={}, success=False),
            record("gpt-4o", units={}, provenance="unknown"),
            pricing=PriceBook().price,
        )
        code, out, _ = run("missing", "--json")
        answer = json.loads(out)
        assert code == 0
        assert answer["unpriced_requests"] == 4
        told = [(m["model"], m["requests"]) for m in answer["missing"]]
        assert told == [("our-model", 2), ("gpt-4o", 1), ("gpt-4o-mini", 1)]
        ours, unknown, audio = answer["missing"]
        assert "our-model" in ours["why"]
        assert ours["first_seen"] < ours["last_seen"]
        assert ours["todo"].startswith("give it a price in PRICES_FILE; then livekit-tokens prices reprice --since")
        assert "its bill does" in unknown["todo"]
        assert audio["why"] == "no price for output_audio"
        code, out, _ = run("missing")
        assert out.startswith("4 requests without a price")
        assert "openai our-model: 2 requests" in out

    def test_says_that_a_price_is_known_by_now(self, run, tmp_path):
        """What was written before PRICES_FILE had it: the repricing that brings it is given, ready to be run."""
        fill(tmp_path, record("our-model"), pricing=unpriced)
        _, out, _ = run("missing", file=OWN)
        assert "why: written before there were prices" in out
        (todo,) = [line.partition("livekit-tokens prices ")[2] for line in out.splitlines() if "do:" in line]
        assert run(*todo.split())[0] == 0
        assert cost(tmp_path) == [(2_000_000_000,)]
        assert run("missing")[1].startswith("Everything has a price")

    def test_a_filter_asks_for_one_model(self, run, tmp_path):
        """`--model`, `--provider`."""
        fill(tmp_path, record("a"), record("b"), pricing=unpriced)
        answer = json.loads(run("missing", "--model", "b", "--provider", "openai", "--json")[1])
        assert [m["model"] for m in answer["missing"]] == ["b"]

    def test_names_the_tier_and_the_hosted_calls_that_have_no_price(self, run, tmp_path):
        """Each is a reason of its own; with a price for both, they are priced as any other record."""
        fill(
            tmp_path,
            record("gpt-4o", metadata={"service_tier": "flex"}),
            record("gpt-4o", metadata={"web_search_calls": 2}),
            record("gpt-4o"),
            pricing=PriceBook().price,
        )
        _, out, _ = run("missing", "--json")
        assert [m["why"] for m in json.loads(out)["missing"]] == [
            "no price for web_search_calls",
            "no price of 'gpt-4o' served as 'flex' by openai is known; give it in PRICES_FILE, with tier = 'flex'",
        ]
        half = '[[discount]]\nprovider = "openai"\nmodel = "*"\ntier = "flex"\npercent = 50\n'
        search = OWN.replace("our-model", "*").replace("input_text", "web_search_calls").replace("1M", "1k")
        assert run("reprice", "--since", SINCE, file=half + search)[0] == 0
        assert cost(tmp_path) == [(1_250_000_000,), (2_504_000_000,), (2_500_000_000,)]


class TestReprice:
    def test_a_dry_run_says_what_would_change_and_the_next_run_does_it(self, run, tmp_path):
        """By model: records, cost before and after, newly priced."""
        fill(tmp_path, record("our-model"), record("gpt-4o-mini"), pricing=PriceBook().price)
        code, out, _ = run("reprice", "--since", SINCE, "--dry-run", file=OWN)
        assert code == 0
        assert "1 of 2 records would change" in out
        assert "openai our-model: 1 of 1 records, $0.000000 -> $2.000000, 1 newly priced, unpriced 1 -> 0" in out
        assert "total: 1 of 2 records, $0.150000 -> $2.150000" in out
        assert cost(tmp_path) == [(None,), (150_000_000,)]

        code, out, _ = run("reprice", "--since", SINCE, "--json", "--reason", "contract of May")
        answer = json.loads(out)
        assert (code, answer["dry_run"], answer["totals"]["changed"]) == (0, False, 1)
        assert answer["totals"]["cost_after_usd"] == "2.150000000"
        assert cost(tmp_path) == [(2_000_000_000,), (150_000_000,)]
        with sqlite3.connect(tmp_path / "ledger.db") as db:
            ((reason, made_by),) = db.execute("select reason, made_by from repricings").fetchall()
        assert reason == "contract of May"
        assert "@" in made_by

    def test_a_prices_file_that_cannot_be_used_is_refused(self, run, tmp_path):
        """A call goes on with other prices; a repricing by them would write them into the ledger."""
        fill(tmp_path, record("gpt-4o-mini"), pricing=unpriced)
        code, out, err = run("reprice", "--since", SINCE, file=OWN.replace("2.00", "two"))
        assert (code, out) == (2, "")
        assert "prices.toml, line 6" in err
        assert cost(tmp_path) == [(None,)]

    @pytest.mark.parametrize("args", [(), ("--since", "yesterday"), ("--since", "2026-02-02", "--until", "2026-01-01")])
    def test_a_period_must_be_given_and_be_one(self, run, args):
        """Exit 2 and one line: a forgotten option must not change a year."""
        code, out, err = run("reprice", *args)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1

    @pytest.mark.parametrize("dry", [(), ("--dry-run",)])
    def test_no_ledger_is_said_and_none_is_made(self, run, tmp_path, dry):
        """Exit 1: a mistyped address is not a ledger in which nothing changed."""
        code, out, err = run("reprice", "--since", SINCE, *dry)
        assert (code, out) == (1, "")
        assert "no ledger at" in err
        assert not (tmp_path / "ledger.db").exists()

    def test_a_prices_file_that_changes_meanwhile_does_not_mix_two_lists(self, run, tmp_path, monkeypatch):
        """All records of one repricing have the prices that the file had when it began."""
        monkeypatch.setattr(prices_file, "LOOK_SECONDS", 0)
        monkeypatch.setattr(store_repricing, "_PAGE", 1)
        fill(tmp_path, record("our-model"), record("our-model"), record("our-model"), pricing=unpriced)
        own = tmp_path / "prices.toml"
        own.write_text(OWN)
        settings = Settings(database_url=f"sqlite:///{tmp_path / 'ledger.db'}", prices_file=own)

        def change(done: int, _of: int) -> None:
            own.write_text(OWN.replace("2.00", f"{done + 2}.000"))

        asked = Asked(Period(NOW - 3600 * SECOND, NOW + SECOND))
        asyncio.run(housekeeping.reprice(settings, asked, dry_run=False, on_progress=change))
        assert cost(tmp_path) == [(2 * 10**9,)] * 3

    def test_ctrl_c_leaves_everything_as_it_was(self, run, tmp_path):
        """In the middle of a long repricing: exit 130, no price changed, no audit row."""
        fill(tmp_path, *(record("gpt-4o-mini", n % 600) for n in range(6000)), pricing=unpriced)
        code = (
            "import sys\n"
            "from livekit_tokens.core import repricing\n"
            "of, seen = repricing.totals_of, []\n"
            "def slow(*args):\n"
            "    seen.append(1)\n"
            "    if len(seen) == 6000:\n"
            "        print('half way', flush=True)\n"
            "        sys.stdin.readline()\n"
            "    return of(*args)\n"
            "repricing.totals_of = slow\n"
            f"sys.argv = ['x', 'prices', 'reprice', '--since', '{SINCE}']\n"
            "from livekit_tokens.cli import main\n"
            "main()\n"
        )
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        process = subprocess.Popen([sys.executable, "-c", code], **pipes, text=True, cwd=tmp_path)
        assert process.stdout.readline() == "half way\n"
        process.send_signal(signal.SIGINT)
        process.communicate("go on\n", timeout=60)
        assert process.returncode == 130
        assert set(cost(tmp_path)) == {(None,)}
        with sqlite3.connect(tmp_path / "ledger.db") as db:
            assert db.execute("select count(*) from repricings").fetchall() == [(0,)]
            assert db.execute("select sum(unpriced_requests) from sums").fetchall() == [(6000,)]
