"""`livekit-tokens prices`: what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import sys

import pytest

from livekit_tokens.cli import main

NAMED = (
    "text-embedding-ada-002",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "gpt-4",
    "gpt-4-turbo",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-3.5-turbo",
    "whisper-1",
    "gpt-realtime",
    "gpt-realtime-2",
    "gpt-realtime-mini",
    "gpt-4o-realtime-preview",
    "gpt-4o-mini-realtime-preview",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-transcribe",
    "gpt-realtime-whisper",
    "gpt-live-transcribe",
    "gpt-live-1",
    "tts-1",
    "tts-1-hd",
    "gpt-4o-mini-tts",
)


@pytest.fixture
def prices(monkeypatch, tmp_path, capsys):
    """Run `prices ...`; answers exit code, stdout, stderr."""
    for name in os.environ:
        if name.startswith("LIVEKIT_TOKENS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*args: str, file: str | None = None) -> tuple[int, str, str]:
        if file is not None:
            (tmp_path / "prices.toml").write_text(file)
            monkeypatch.setenv("LIVEKIT_TOKENS_PRICES_FILE", "prices.toml")
        monkeypatch.setattr(sys, "argv", ["command", "prices", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


CONTRACT = """
[[price]]
provider = "openai"
model = "gpt-4o"
unit = "input_text"
price = "2.00"
per = "1M"

[[price]]
provider = "livekit"
model = "agent-minutes"
unit = "session_ms"
price = 0.01
per = "minute"

[[discount]]
provider = "deepgram"
model = "*"
percent = 10
"""


def test_the_list_has_every_units_price_and_source_of_at_least_forty_models(prices) -> None:
    """Each of them named; as text within 80 columns."""
    code, out, err = prices("list")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    rows = [line.split() for line in out.splitlines()]
    models = {row[0] for row in rows if len(row) == 5 and row[-1].startswith("[")}
    assert len(models) >= 40
    assert set(NAMED) <= models
    numbers = {row[-1] for row in rows if len(row) == 5 and row[-1].startswith("[")}
    assert numbers <= {row[0] for row in rows if row}


def test_the_list_as_json_has_exact_prices(prices) -> None:
    """Text, not floats; the source whole."""
    _, out, _ = prices("list", "--provider", "openai", "--json")
    models = {model["model"]: model for model in json.loads(out)["models"]}
    assert set(NAMED) <= set(models)
    assert models["gpt-4o-mini"]["prices"]["cached_input_text"] == {"usd": "0.075", "per": "1M tokens"}
    assert models["whisper-1"]["prices"]["audio_ms"] == {"usd": "0.006", "per": "minute"}
    assert all("https://" in model["source"] for model in models.values())


def test_a_provider_that_nobody_knows_is_said(prices) -> None:
    """With those that are known."""
    code, out, err = prices("list", "--provider", "nobody")
    assert (code, out) == (1, "")
    assert "no prices of nobody" in err
    assert "deepgram" in err


def test_a_model_is_shown_as_of_a_time(prices) -> None:
    """o3's price before and after 2025-06-10, and how long each held."""
    _, before, _ = prices("show", "o3", "--provider", "openai", "--at", "2025-06-09", "--json")
    _, after, _ = prices("show", "o3", "--provider", "openai", "--at", "2025-06-10", "--json")
    (old,), (new,) = json.loads(before)["models"], json.loads(after)["models"]
    assert (old["prices"]["output_text"]["usd"], old["until"]) == ("40", "2025-06-10T00:00:00.000000Z")
    assert (new["prices"]["output_text"]["usd"], new["since"]) == ("8", "2025-06-10T00:00:00.000000Z")


def test_what_is_special_about_a_card_is_shown(prices) -> None:
    """Whole seconds, long requests, Azure's kinds."""
    assert "nearest whole second" in prices("show", "whisper-1")[1]
    assert "272,000" in prices("show", "gpt-5.4", "--provider", "openai")[1]
    assert "Global" in " ".join(prices("show", "gpt-4o", "--provider", "my.openai.azure.com")[1].split())


def test_an_unknown_model_is_said_with_the_names_near_it(prices) -> None:
    """Exit code 1."""
    code, out, err = prices("show", "gpt-4o-mni")
    assert (code, out) == (1, "")
    assert "gpt-4o-mini" in err


def test_the_users_own_prices_are_in_list_show_and_diff(prices) -> None:
    """With the line that says them."""
    _, shown, _ = prices("show", "gpt-4o", "--provider", "openai", file=CONTRACT)
    assert "prices.toml, line 2" in " ".join(shown.split())
    _, listed, _ = prices("list", "--json")
    models = {(model["provider"], model["model"]): model["prices"] for model in json.loads(listed)["models"]}
    assert models["openai", "gpt-4o"]["input_text"]["usd"] == "2"
    assert models["livekit", "agent-minutes"] == {"session_ms": {"usd": "0.01", "per": "minute"}}
    _, told, _ = prices("diff", "--json")
    differing = {(d["model"], d["unit"]): d for d in json.loads(told)["from_published"]}
    assert differing["gpt-4o", "input_text"]["there"]["usd"] == "2.5"
    assert differing["nova-3", "audio_ms"]["here"]["usd"] == "0.00432"
    assert all(len(line) <= 80 for line in prices("diff")[1].splitlines())


def test_a_deployment_is_shown_under_its_own_name(prices) -> None:
    """As its records name it, whatever model it is; who asks need not say that it is Azure's."""
    deployment = "[[deployment]]\nmodel = 'my-gpt4o'\nis = 'gpt-4o'\nkind = 'data-zone'\n"
    code, out, _ = prices("show", "my-gpt4o", "--json", file=deployment)
    (model,) = json.loads(out)["models"]
    assert (code, model["provider"], model["model"]) == (0, "azure", "my-gpt4o")
    assert model["prices"]["input_text"]["usd"] == "2.75"


def test_what_falls_back_is_shown_under_the_name_that_was_asked_for(prices) -> None:
    """And says whose price it is."""
    fallback = "[[fallback]]\nprovider = 'gateway.example'\nmodel = '*'\nuse = 'gpt-4o'\n"
    _, out, _ = prices("show", "theirs", "--provider", "gateway.example", file=fallback)
    assert out.splitlines()[0].startswith("gateway.example")
    assert "gateway.example theirs: fallback: priced as gpt-4o" in out


def test_diff_says_what_we_have_otherwise_than_the_library_and_why(prices) -> None:
    """The three that are known to be wrong or disputed there."""
    _, out, _ = prices("diff", "--json")
    found = {(d["model"], d["unit"]): d for d in json.loads(out)["from_library"]}
    assert found["gpt-4o-audio-preview", "input_audio"]["there"] is None
    assert found["gpt-4o-realtime-preview-2024-10-01", "output_audio"]["here"]["usd"] == "200"
    transcribe = found["gpt-4o-transcribe", "input_audio"]
    assert (transcribe["here"]["usd"], transcribe["there"]["usd"]) == ("2.5", "6")
    assert all(d["why"] and d["source"] for d in found.values())
    assert "PRICES_FILE is not set" in prices("diff")[1]


def test_a_good_file_is_counted(prices, tmp_path) -> None:
    """The one named, or the settings'."""
    code, out, _ = prices("check", file=CONTRACT)
    assert code == 0
    assert "2 price, 1 discount" in out
    assert prices("check", "prices.toml", "--json")[0] == 0


def test_a_wrong_file_is_refused_with_every_line_and_reason(prices) -> None:
    """On stderr, exit code 1; in the JSON too."""
    wrong = CONTRACT.replace('"input_text"', '"tokens"').replace("percent = 10", "percent = 110")
    code, out, err = prices("check", file=wrong)
    assert (code, out) == (1, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["prices.toml, line 5", "prices.toml, line 19"]
    code, out, _ = prices("check", "--json")
    assert (code, json.loads(out)["usable"], len(json.loads(out)["complaints"])) == (1, False, 2)


def test_without_any_file_check_says_so(prices) -> None:
    """Nothing is looked for elsewhere."""
    code, _, err = prices("check")
    assert (code, "PRICES_FILE is not set" in err) == (1, True)
