"""What a caller says of a request beside its figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest

from livekit_tokens.domain import described
from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.usage import EXPORTED_KEY


class Refused(Exception):
    status_code = 429


class Colour(Enum):
    RED = "red"


def test_a_moment_is_of_any_zone_but_not_of_none() -> None:
    """A naive datetime would be a guess; one line says what to give."""
    at = datetime(2026, 11, 22, 15, 0, tzinfo=timezone(timedelta(hours=1)))
    assert described.moment(at) == described.moment(datetime(2026, 11, 22, 14, 0, tzinfo=UTC))
    for wrong in (datetime(2026, 11, 22, 15, 0), "2026-11-22", 1_700_000_000):  # noqa: DTZ001
        with pytest.raises(BadSetting, match=r"expected an aware|has no time zone") as refused:
            described.moment(wrong)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("year", [1, 1970, 2014, 2027, 9999])
def test_a_moment_before_there_was_anything_to_count_or_after_today_is_a_slip(year: int) -> None:
    """Such as a time from 0, or in the wrong unit: reports would be long and empty for it."""
    today = datetime(2026, 11, 22, tzinfo=UTC)
    with pytest.raises(BadSetting, match=rf"at 0*{year}-.* expected one from 2015-01-01 to 2026-11-23"):
        described.moment_of_request(datetime(year, 1, 1, tzinfo=UTC), described.moment(today))
    for near in (datetime(2015, 1, 1, tzinfo=UTC), today + timedelta(hours=24)):
        assert described.moment_of_request(near, described.moment(today)) == described.moment(near)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (None, None),
        (Refused("what the caller said"), "Refused 429"),
        (ValueError("what the caller said"), "ValueError"),
        ("RateLimitError", "RateLimitError"),
        ("openai.RateLimitError: what the caller said", "openai.RateLimitError"),
        ("APIStatusError 503", "APIStatusError 503"),
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("APIStatusError503: what the caller said", "APIStatusError 503"),
        ("OSError", "OSError"),
        ("the caller said that", "error"),
        ("JohnDoe is refused", "error"),
        ("Bob", "error"),
        ("AB12CD", "error"),
        ("x" * 41, "error"),
        ("sk-proj-AbCd1234: refused", "error"),
        ("AVeryLong0Secret1Of2Letters3And4Fig", "error"),
        ("", None),
    ],
)
def test_of_an_error_its_class_and_status_are_kept(error: object, kept: str | None) -> None:
    """Never its message: it may quote what was said."""
    assert described.error_of(error) == kept


@pytest.mark.parametrize(
    "name",
    [
        "ConnectionClosed",
        "IncompleteRead",
        "Http2Error",
        "http.H11Error",
        "NoSuchKey",
        "timeout",
        "overloaded",
        "not_found",
    ],
)
def test_an_error_given_as_text_needs_no_telling_ending(name: str) -> None:
    """One word, alone or before its message, so that an export comes back as it was."""
    assert described.error_of(name) == described.error_of(f"{name}: what the caller said") == name


def test_labels_are_bounded_and_plain() -> None:
    """Counts and short texts; an object of the host's is its type's name."""
    given = {
        "run": UUID(int=7),
        "generations": 2,
        "share": 0.5,
        "price": Decimal("0.10"),
        "colour": Colour.RED,
        "cached": True,
        "nothing": None,
        "nan": float("nan"),
        "huge": 2**70,
        "messages": [{"content": "what the caller said"}],
        "long": "x" * 500,
        3: "three",
    }
    assert described.labels(given) == {
        "run": str(UUID(int=7)),
        "generations": 2,
        "share": 0.5,
        "price": "0.10",
        "colour": "red",
        "cached": True,
        "nothing": None,
        "nan": None,
        "huge": "int",
        "messages": "list",
        "long": 500,
        "3": "three",
    }
    assert len(described.labels({str(number): number for number in range(1000)})) == 50
    with pytest.raises(ImpossibleUsage, match="metadata is a list"):
        described.labels(["run"])


@pytest.mark.parametrize("name", ["question", "Prompt", "messages", "transcript", "a_long_one"])
def test_of_what_was_said_no_word_is_kept_only_how_long_it_was(name: str) -> None:
    """Neither of a text under a name that such a text goes by, nor of one that is no label for its length, nor where
    it stands as the name of something else."""
    said = "My name is John Doe, and " * (40 if name == "a_long_one" else 1)
    assert described.labels({name: said, said * 40: 7}) == {name: len(said)}


@pytest.mark.parametrize(
    "name",
    [
        "user_message",
        "systemPrompt",
        "user-query",
        "APIKey",
        "apikey",
        "authorization",
        "tool_args",
        "llm.completion",
        "access_tokens",
    ],
)
def test_a_name_tells_by_any_of_its_words(name: str) -> None:
    """Of one word, too: a password is one."""
    assert described.labels({name: "hunter2"}) == {name: 7}


@pytest.mark.parametrize(
    "name",
    [
        "prompt_version",
        "messageId",
        "response_format",
        "token_type",
        "context",
        "monkey",
        "Query relevance",
        "answer_quality",
        "input_source",
        "partition_key",
    ],
)
def test_what_is_only_about_such_a_text_is_a_label(name: str) -> None:
    """As its id, its version or its relevance is, or a key that finds a row; and a word within a word is none."""
    assert described.labels({name: "json_object"}) == {name: "json_object"}


@pytest.mark.parametrize(
    "text",
    [
        "my card is 4111 1111 1111 1111",
        '{"iban":"DE00"}',
        "東京都に住んでいます",
        "I am John Doe now",
        "Yes, I do",
        "Call me.",
        "Who is it?",
        "I don't know",
        "4111 1111 1111 1111",
        "extraordinarily long words of somebodyelse",
        "a=b&token=c",
        "x" * 101,
    ],
)
def test_a_label_is_no_sentence(text: str) -> None:
    """Whatever it stands under; in a script that is written without blanks one of nine letters may be one."""
    assert described.labels({"note": text}) == {"note": len(text)}
    assert described.labels({text: 7}) == {}


@pytest.mark.parametrize(
    "text", ["openai/gpt-4o:free", "v1.4.2", "Köln", "a@b.example", "finance,health", "日本語", ""]
)
def test_one_word_is_a_label(text: str) -> None:
    assert described.labels({"domain": text}) == {"domain": text}


@pytest.mark.parametrize("text", ["New York", "data protection", "v1.2 (beta)", "R&D team 7", "서울 특별시"])
def test_a_few_words_are_a_label(text: str) -> None:
    """Also as its name; but not under a name that what was said goes by."""
    assert described.labels({"regulatory_domain": text, text: 7}) == {"regulatory_domain": text, text: 7}
    assert described.labels({"message": text}) == {"message": len(text)}


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-AbCd1234",
        "sk-lf-01234567-89ab-cdef-0123-456789abcdef",
        "sk_live_0123456789abcdefghijklmn",
        "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "a:aVeryLong0Secret1Of2Letters3And4Figures5",
    ],
)
def test_what_looks_like_a_credential_is_no_label(secret: str) -> None:
    """Under any name, and as one; nor is it a tag."""
    assert described.labels({"note": secret, secret: 7}) == {"note": len(secret)}
    assert described.tags({"note": secret, secret: "x"}) == {"note": str(len(secret))}


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-pipeline",
        "sk-learn-pipeline-2",
        "hf-transformers",
        "hf-Transformers",
        "sk-slovakia-east-customer-support",
        "sk-slovakia-east",
        "AgentRun_2026_11_26_customer_support",
        "0a1b2c3d" * 8,
    ],
)
def test_what_only_begins_like_a_credential_is_kept(text: str) -> None:
    """One has a digit, and is of mixed case or long; and what is random has no words joined by underscores."""
    assert described.labels({"run": text}) == described.tags({"run": text}) == {"run": text}


def test_a_tag_is_kept_as_it_is_given() -> None:
    """An operator chooses it, to find sessions by: it may be of several words, and not as long as what was said."""
    assert described.tags({"customer": "Acme Inc", 3: 4, "long": "x" * 201}) == {
        "customer": "Acme Inc",
        "3": "4",
        "long": "201",
    }


def test_a_count_under_such_a_name_stays_a_count() -> None:
    assert described.labels({"input": 120, "output": 0.5, "text": True, "query": None}) == {
        "input": 120,
        "output": 0.5,
        "text": True,
        "query": None,
    }


def test_scores_are_finite_numbers() -> None:
    """An evaluator may answer anything."""
    assert [described.score("quality_score", value) for value in (None, 1, 0.7, Decimal("0.5"))] == [None, 1, 0.7, 0.5]
    for wrong in (float("nan"), float("inf"), "good"):
        with pytest.raises(ImpossibleUsage, match=r"quality_score is (nan|inf|a str); expected a finite number"):
            described.score("quality_score", wrong)


def test_milliseconds_are_whole_and_not_negative() -> None:
    """The nearest."""
    assert [described.milliseconds("ms", value) for value in (None, 12, 12.6)] == [None, 12, 13]
    for wrong in (-1, float("nan"), "12"):
        with pytest.raises(ImpossibleUsage, match="ms is"):
            described.milliseconds("ms", wrong)


def test_a_long_key_stays_its_own() -> None:
    """Two long keys that begin alike are two."""
    one, two = described.key_of("x" * 300 + "1"), described.key_of("x" * 300 + "2")
    assert one != two
    assert one == described.key_of("x" * 300 + "1")
    assert (described.key_of("k"), described.key_of(7), described.key_of(None)) == ("k", "7", None)


@pytest.mark.parametrize("ours", ["session_minutes/PA_1/sip", f"{EXPORTED_KEY}{'0a' * 16}-1", "import:id:0a"])
def test_a_callers_key_is_never_one_that_we_give(ours: str) -> None:
    """It counts once a session, as any of theirs, and means nothing else; and it is the same each time."""
    assert described.key_of(ours) == described.key_of(ours) != ours
    assert described.key_of(ours) != described.key_of(f"{ours}2")
