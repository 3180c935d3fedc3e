"""What doctor says of prices."""

from __future__ import annotations

from livekit_tokens.prices import library
from livekit_tokens.prices.condition import look_at_prices
from tests.prices.makers import DAY


def test_the_lists_are_counted_and_named() -> None:
    """With the versions that they are of; without a file, the published prices hold."""
    lists, file = look_at_prices(None, DAY)
    assert (lists.state, file.state) == ("ok", "ok")
    assert "genai-prices 0.2" in lists.told
    assert "voice-prices 0.11" in lists.told
    assert "published prices hold" in file.told


def test_without_the_voice_library_it_is_noted_what_has_no_price(monkeypatch) -> None:
    """A note: who uses none of those needs nothing."""
    real = library.providers
    monkeypatch.setattr(library, "providers", lambda name: {} if name == "voice_prices" else real(name))
    _, note, _ = look_at_prices(None, DAY)
    assert (note.state, "livekit-tokens[voices]" in note.todo) == ("note", True)


def test_a_wrong_prices_file_is_a_fault_for_each_entry(tmp_path) -> None:
    """With what to do; a good one is counted."""
    path = tmp_path / "prices.toml"
    good = "[[discount]]\nprovider = '*'\nmodel = '*'\npercent = 5\n"
    path.write_text(good)
    assert [finding.state for finding in look_at_prices(path, DAY)] == ["ok", "ok"]
    path.write_text(good.replace("5", "500") + good + "[[fallback]]\nmodel = 'x'\n")
    _, first, second = look_at_prices(path, DAY)
    assert (first.state, second.state) == ("fault", "fault")
    assert "prices.toml, line 4: percent is 500" in first.told
    assert str(path) in first.todo
