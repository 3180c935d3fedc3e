"""The page: complete in itself, with the ledger's own figures, whatever people call themselves."""

from __future__ import annotations

import json
import stat
from html.parser import HTMLParser

import pytest

from livekit_tokens.cli.axis import round_steps
from livekit_tokens.cli.page.charts import Layer, stacked
from livekit_tokens.cli.page.tables import totals_table
from livekit_tokens.core.reports import Group, Report
from livekit_tokens.domain.periods import Period
from livekit_tokens.domain.totals import Totals

VOID = {"meta", "br", "line", "rect"}


class Page(HTMLParser):
    """What a browser reads: tags in their order, closed as they were opened; attributes; text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.said = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


@pytest.fixture
def page(asked, tmp_path):
    """The page of the last seven days, and how to ask for another."""

    def read(*words: str) -> tuple[str, Page]:
        code, said, noted = asked("report", "--html", str(tmp_path / "page.html"), *words)
        assert (code, said) == (0, "")
        assert bool(noted) == ("--user" in words), "of whom there is nothing"
        text = (tmp_path / "page.html").read_text("utf-8")
        return text, Page(text)

    return read


def test_it_asks_for_nothing_more(page):
    """No script, no address of anything, and a policy that would forbid it."""
    text, read = page()
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(read.tags)
    assert not {name for _, name, _ in read.attributes} & {"src", "href", "srcset", "style", "onclick", "onload"}
    assert "url(" not in text
    assert "@import" not in text
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes


def test_it_has_the_figures_of_the_report(page, asked):
    """Its total is the report's, to the last digit that it shows."""
    totals = json.loads(asked("report", "--json")[1])["totals"]
    _, read = page()
    assert f"${float(totals['cost_usd']):,.6f}" in read.said
    assert f"{totals['total_tokens']:,}" in read.said
    assert f"{totals['unpriced_requests']:,}" in read.said


def test_names_are_text_and_stand_in_their_own_direction(page):
    """Markup in a name is shown, not obeyed; a name from right to left turns nothing beside it around."""
    text, read = page("--user", '<script>alert("1")</script>')
    assert "script" not in read.tags
    assert '<script>alert("1")</script>' in read.said
    assert "<bdi>" in text
    _, read = page()
    assert all(name in read.said for name in ("=1+1", "🎉 party", "<b>Tom</b> & co"))
    assert "\u202e" not in read.said


def test_names_in_tables_are_text_too():
    """A model's name may come from a caller of record_usage."""
    groups = (Group({"service": "<b>s</b>", "model": None}, 1, Totals(1)),)
    report = Report(Period(0, 1), "UTC", ("service", "model"), 1, Totals(1), groups)
    read = Page(totals_table(report))
    assert "b" not in read.tags
    assert "<b>s</b>" in read.said


def test_a_period_without_usage_is_a_page_too(page):
    """It says so, and draws nothing."""
    _, read = page("--since", "2001-01-01", "--until", "2001-01-05")
    assert "No usage in this period." in read.said
    assert "svg" not in read.tags


def test_it_is_private_and_may_be_written_again(page, tmp_path):
    """As a job in the night does; nothing else is left beside it."""
    page()
    page()
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "page" in path.name] == ["page.html"]


def test_it_goes_with_nothing_that_makes_another_form(asked):
    """Wrong usage, in one line."""
    for words in (["--json"], ["--csv"], ["--by", "user"], ["--session", "room_1"]):
        code, out, err = asked("report", "--html", "-", *words)
        assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_stdout_may_have_it(asked):
    """With - for a file."""
    code, out, _ = asked("report", "--html", "-")
    assert code == 0
    assert Page(out).tags[0] == "html"


def test_bars_stand_upon_each_other_and_inside_the_picture():
    """The second begins where the first ends; what is 0 is not drawn."""
    drawn = Page(stacked(["a", "b"], [Layer("x", [1, 0], ["1", "0"]), Layer("y", [3, 2], ["3", "2"])], str, "t"))
    found: list[dict[str, float]] = []
    for tag, name, value in drawn.attributes:
        if tag == "rect" and name == "class":
            found.append({})
        elif tag == "rect":
            found[-1][name] = float(value)
    first, second, third = found
    assert first["y"] + first["height"] == pytest.approx(272, abs=0.2)
    assert second["y"] + second["height"] == pytest.approx(first["y"], abs=0.2)
    assert second["height"] == pytest.approx(3 * first["height"], abs=0.2)
    assert third["x"] > second["x"] + second["width"]
    assert min(bar["y"] for bar in found) >= 12


@pytest.mark.parametrize("highest", [0, 1e-9, 0.07, 1, 9.99, 12, 123_456, 7e9])
def test_an_axis_has_few_and_round_steps(highest):
    """From 0, not beyond the highest bar."""
    steps = round_steps(highest)
    assert steps[0] == 0
    assert 2 <= len(steps) <= 6
    assert steps[-1] <= max(highest, 1)


def test_only_a_page_of_ours_is_written_over(asked, tmp_path):
    """A ledger that is named by mistake stays; an older page gives way."""
    other = tmp_path / "ledger.html"
    other.write_bytes(b"SQLite format 3\0")
    code, _, err = asked("report", "--html", str(other))
    assert (code, other.read_bytes()) == (1, b"SQLite format 3\0")
    assert "no page of ours" in err
    for _ in range(2):
        assert asked("report", "--html", str(tmp_path / "page.html"))[0] == 0


def test_what_is_estimated_is_marked(asked, page):
    """In the figures by a tilde that is explained, in the table by its amount."""
    assert asked("demo", "--records", "3000", "--add")[0] == 0
    text, _ = page("--days", "365")
    assert "~$" in text
    assert "in part estimated" in text
    assert "Of it estimated" in text
