"""PRICES_FILE: read, refused with line and reason, and read again when it has changed."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from livekit_tokens.core import faults
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.times import rfc3339
from livekit_tokens.prices import prices_file
from livekit_tokens.prices.book import PriceBook
from livekit_tokens.prices.contracts import Contracts
from livekit_tokens.prices.prices_file import LOOK_SECONDS, PricesFile, check, read
from tests.prices.makers import DAY, used

PRICE = {"provider": "'openai'", "model": "'gpt-4o'", "unit": "'input_text'", "price": "'2.00'", "per": "'1M'"}


def entry(table: str = "price", /, **fields: str | None) -> str:
    """One entry whose fields are given as TOML; None leaves a field out."""
    given = {**(PRICE if table == "price" else {}), **fields}
    return f"[[{table}]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items() if value is not None)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "prices.toml"


@pytest.mark.parametrize(
    ("unit", "price", "per", "rate"),
    [
        ("input_text", "'2.00'", "'1M'", 2_000),
        ("input_text", "2.00", "'1m'", 2_000),
        ("input_text", "0.1", "'1k'", 100_000),
        ("input_text", "3", "1", 3 * 10**9),
        ("characters", "'0.03'", "1000", 30_000),
        ("audio_ms", "'0.006'", "'minute'", 100),
        ("session_ms", "'0.36'", "'hour'", 100),
        ("audio_ms", "'0.017'", "'minute'", Fraction(850, 3)),
        ("audio_ms", "0.1", "'second'", 100_000),
        ("web_search_calls", "'10'", "'1k'", 10_000_000),
    ],
)
def test_prices_are_exact_whatever_they_are_for(file: Path, unit: str, price: str, per: str, rate: int) -> None:
    """As text or as a number; 0.1 is a tenth."""
    file.write_text(entry(unit=f"'{unit}'", price=price, per=per))
    (own,) = read(file).prices
    assert own.rate == rate


def test_every_kind_of_entry_is_read(file: Path) -> None:
    """As the module's docstring shows them."""
    shown = (prices_file.__doc__ or "").partition("\n\n")[2]
    file.write_text("\n".join(line.removeprefix("    ") for line in shown.splitlines()))
    found = read(file)
    assert [len(kind) for kind in (found.prices, found.discounts, found.deployments, found.fallbacks)] == [1, 1, 1, 1]
    (deployment,) = found.deployments
    assert (deployment.provider, deployment.surcharge, deployment.where) == ("azure", 10, "prices.toml, line 14")


@pytest.mark.parametrize(("written", "tier"), [("'Priority'", "priority"), ("'default'", ""), (None, "")])
def test_an_entry_is_of_the_standard_tier_unless_it_names_another(file: Path, written: str | None, tier: str) -> None:
    """A deployment is what it is, whatever serves it."""
    file.write_text(
        entry(tier=written)
        + entry("discount", provider="'*'", model="'*'", percent="50", tier=written)
        + entry("fallback", provider="'*'", model="'*'", use="'gpt-4o'", tier=written)
        + entry("deployment", model="'a'", **{"is": "'b'"}, kind="'global'")
    )
    assert [term.tier for term in read(file).terms()] == [tier, tier, "*", tier]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-12-01", "2026-12-01T00:00:00.000000Z"),
        ("'2026-12-01'", "2026-12-01T00:00:00.000000Z"),
        ("2026-12-01T15:00:00", "2026-12-01T15:00:00.000000Z"),
        ("2026-12-01T15:00:00+01:00", "2026-12-01T14:00:00.000000Z"),
        ("'2026-12-01T15:00:00+01:00'", "2026-12-01T14:00:00.000000Z"),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(file: Path, written: str, moment: str) -> None:
    """TOML's own dates, or text."""
    file.write_text(entry(**{"from": written}))
    (own,) = read(file).prices
    assert rfc3339(own.since) == moment


@pytest.mark.parametrize(
    ("wrong", "line", "reason"),
    [
        (entry(unit="'tokens'"), 4, "unit is 'tokens'; accepted: input_text"),
        (entry(unit=None), 1, "unit is missing"),
        (entry(price="'-1'"), 5, "price is -1"),
        (entry(price="'cheap'"), 5, "price is 'cheap'"),
        (entry(price="nan"), 5, "price is NaN"),
        (entry(price="true"), 5, "price is True"),
        (entry(price="1e999999999"), 5, "price is 1E+999999999"),
        (entry(per="'minute'"), 6, "per is 'minute'; accepted: of input_text: 1, 1k, 1M"),
        (entry(unit="'audio_ms'"), 6, "per is '1M'; accepted: of audio_ms: second, minute, hour"),
        (entry(per="0"), 6, "per is 0"),
        (entry(provider="''"), 2, "provider is ''"),
        (entry(provider=None), 1, "provider is missing"),
        (entry(model="7"), 3, "model is 7"),
        (entry(tier="7"), 7, "tier is 7"),
        (entry(currency="'EUR'"), 7, "currency is no field of it"),
        (entry(**{"from": "'yesterday'"}), 7, "from is 'yesterday'"),
        (entry(**{"from": "2026-12-02", "until": "2026-12-01"}), 8, "not after from"),
        (entry("discount", provider="'*'", model="'*'", percent="101"), 4, "percent is 101"),
        (entry("fallback", provider="'*'", model="'*'"), 1, "use is missing"),
        (entry("deployment", model="'a'", kind="'global'"), 1, "is is missing"),
        (entry("deployment", model="'a'", **{"is": "'b'"}, kind="'local'"), 4, "kind is 'local'"),
        (entry("deployment", model="'a'", **{"is": "'b'"}, kind="'regional'"), 1, "percent is missing"),
        (entry("deployment", model="'a'", **{"is": "'b'"}, kind="'global'", percent="5"), 5, "only with kind"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line_and_the_reason(file: Path, wrong: str, line: int, reason: str) -> None:
    """Also after others, which stay usable."""
    file.write_text(entry() + "\n" + wrong)
    found, (complaint,) = check(file)
    assert len(found.prices) == 1
    assert str(complaint).startswith(f"prices.toml, line {line + 7}: ")
    assert reason in str(complaint)
    assert "\n" not in str(complaint)
    with pytest.raises(BadSetting):
        read(file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[[price]]\nprovider = openai", "line 2"),
        (b"\xff\xfe", "decode"),
        (b"[price]\nprovider = 'openai'", r"a line \[\[price\]\]"),
        (b"prices = 1", "no table of prices"),
    ],
)
def test_what_is_no_prices_file_is_refused(file: Path, text: bytes, reason: str) -> None:
    """In one line that names it."""
    file.write_bytes(text)
    with pytest.raises(BadSetting, match=reason) as raised:
        read(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path) -> None:
    """With the system's reason."""
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(BadSetting, match=r"No such file|directory"):
            read(path)


@pytest.mark.parametrize(
    "text",
    [
        "price = [{provider='openai', model='m', unit='tokens', price=1, per='1M'}]",
        "[ [price] ]\nmodel = 'm'",
    ],
)
def test_an_entry_whose_line_cannot_be_told_is_counted(file: Path, text: str) -> None:
    """Inline tables have no lines of their own; whatever is odd in between is not TOML."""
    file.write_text(text)
    _, (complaint,) = check(file)
    assert "price entry 1" in str(complaint) or "line" in str(complaint)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def changed(file: Path, text: str) -> None:
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))


def test_a_changed_file_is_read_again_but_not_looked_at_with_every_record(file: Path) -> None:
    """At most every few seconds."""
    clock = Clock()
    changed(file, entry())
    watched = PricesFile(file, monotonic=clock)
    assert watched.read_if_changed() is not None
    changed(file, entry() + entry())
    assert watched.read_if_changed() is None
    clock.now += LOOK_SECONDS
    assert len(watched.read_if_changed().prices) == 2
    clock.now += LOOK_SECONDS
    assert watched.read_if_changed() is None


def test_the_last_good_file_holds_while_it_is_wrong_or_gone(file: Path) -> None:
    """The fault is counted, once a change; mended, it holds again."""
    clock = Clock()
    changed(file, entry())
    watched = PricesFile(file, monotonic=clock)
    watched.read_if_changed()
    before = faults.counts().get(prices_file.UNUSABLE, 0)
    for wrong in (lambda: changed(file, entry(per="'mile'")), file.unlink):
        wrong()
        for _ in range(3):
            clock.now += LOOK_SECONDS
            assert watched.read_if_changed() is None
    assert faults.counts()[prices_file.UNUSABLE] == before + 2
    changed(file, entry() + entry())
    clock.now += LOOK_SECONDS
    assert len(watched.read_if_changed().prices) == 2


def test_a_file_that_was_never_good_is_said_to_be_no_other(file: Path) -> None:
    """Who reads "the last good one holds" must not look for one: the published prices hold."""
    clock = Clock()
    watched = PricesFile(file, monotonic=clock)
    before = faults.counts().get(prices_file.NEVER_USABLE, 0)
    for wrong in ("[[price]]", "[[price]]\nx = 1"):
        changed(file, wrong)
        watched.read_if_changed()
        clock.now += LOOK_SECONDS
    assert faults.counts()[prices_file.NEVER_USABLE] == before + 2


def test_whatever_is_wrong_with_the_file_the_drain_that_looks_at_it_goes_on(file: Path, monkeypatch) -> None:
    """Also a fault that nobody thought of: an integer of more digits than Python prints."""
    monkeypatch.setattr(prices_file, "LOOK_SECONDS", 0)
    changed(file, entry(price="0x" + "f" * 5000))
    prices = PriceBook(file)
    prices.look()
    prices.look()
    assert prices.price(used("openai", "gpt-4o", {"input_text": 1})) == Price(2_500, 0)


def test_a_book_prices_by_the_file_and_follows_it(file: Path, monkeypatch) -> None:
    """A wrong file at first: the published price, and a fault; then the user's, then the next one's."""
    monkeypatch.setattr(prices_file, "LOOK_SECONDS", 0)
    record = used("openai", "gpt-4o", {"input_text": 1})
    changed(file, "[[price]]")
    prices = PriceBook(file)
    assert prices.price_if_ready(record) is None
    assert prices.price(record) == Price(2_500, 0)
    changed(file, entry())
    assert prices.price(record) == Price(2_000, 0)
    assert prices.price_if_ready(record) == Price(2_000, 0)
    changed(file, entry(price="'3'", **{"from": "2026-11-23"}))
    assert prices.price(record) == Price(2_500, 0)
    assert prices.price(used("openai", "gpt-4o", {"input_text": 1}, DAY + 24 * 3600 * 10**6)) == Price(3_000, 0)


def test_threads_that_ask_a_book_first_at_once_all_have_the_files_prices(file: Path, monkeypatch) -> None:
    """A drain and the end of a call; who comes second waits until the first has read."""
    file.write_text(entry())
    book, second_came = PriceBook(file), threading.Event()
    looks = itertools.count()

    def slowly(path: Path) -> Contracts:
        second_came.wait(0.2)
        return read(path)

    def price() -> Price:
        if next(looks):
            second_came.set()
        return book.price(used("openai", "gpt-4o", {"input_text": 1}))

    monkeypatch.setattr(prices_file, "read", slowly)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: price(), range(8)))
    assert found == [Price(2_000, 0)] * 8


def test_an_own_price_for_a_model_that_nobody_publishes_ends_with_its_period(file: Path) -> None:
    """Before and after it, the model is unpriced: no card outlives its reason."""
    file.write_text(entry(model="'mine'", **{"from": "2026-11-22", "until": "2026-11-23"}))
    prices = PriceBook(file)
    day = 24 * 3600 * 10**6
    costs = [prices.price(used("openai", "mine", {"input_text": 1}, DAY + n * day)).input for n in (-1, 0, 1, 0)]
    assert costs == [None, 2_000, None, 2_000]
