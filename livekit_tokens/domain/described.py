"""What a caller says of a request beside its figures: names, times, scores, errors, labels; checked and bounded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from math import isfinite
from unicodedata import category
from uuid import UUID

from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.times import Micros, rfc3339, to_micros
from livekit_tokens.domain.units import quantity_of
from livekit_tokens.domain.usage import OWN_KEYS

Label = str | int | float | bool | None

LONGEST = 200
"""Characters of a name, or a tag's text. What is longer is none, and may be what somebody said."""
_LONGEST_LABEL = 100
_MOST_LABELS = 50
_TELLING = re.compile(
    r"""(?x)(?:
    query | queries | prompt | question | message | input | output | response | answer | reply | replies | completion
    | text | content | transcript | transcription | utterance | instruction | arg | argument | speech | conversation
    | history | body | payload | summary | sentence | phrase
    | key | apikey | token | secret | password | passwd | passphrase | pwd | pin | otp | credential | authorization
    | auth | bearer | cookie | jwt | signature
    )s?"""
)
"""Words of the names under which protocols, frameworks and other trackers hand on what was said, or a secret."""
_ABOUT = re.compile(
    r"""(?x)(?:.*_)?(?:
    id | type | kind | format | version | language | name | model | count | relevance | quality | score | length
    | domain | size | rate | level | status | source | region
    | (?:partition|sort|primary|foreign|cache|shard|routing|idempotency)_key
    )"""
)
"""A name that ends so is about what its other words name (`prompt_version`), or finds a row, and opens nothing."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_ONE_WORD = re.compile(r"[\w.:/@+#,-]*")
_PLAIN = r"[\w/@+#&()-]+(?:[.:,][\w/@+#&()-]+)*"
_FEW_WORDS = re.compile(rf"(?=.{{1,40}}\Z)(?!(?:\D*\d){{9}}){_PLAIN}(?: {_PLAIN}){{0,3}}")
"""No sentence (a stop within a word is none: `v1.2`), and no number of a telephone or a card."""
_LONGEST_WITHOUT_BLANKS = 8
"""Characters of a label in letters that have no cases (Chinese, Thai): of more, one word may be a sentence."""
_CREDENTIAL = re.compile(
    r"""(?x)
    (?<![A-Za-z0-9])(?:
        (?:sk|pk|rk|hf|gsk|xai|whsec|glpat|gh[oprsu]|github_pat|xox[a-z])[-_]
        (?=[\w-]*\d)(?:(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{8,}|[\w-]{20,})
      | A[KS]IA[0-9A-Z]{16}                       # Amazon
      | AIza[\w-]{30,}                            # Google
      | eyJ[\w-]{6,}                              # a JSON object in base64, as JWTs begin
      | (?=[A-Z0-9]*[a-z])(?=[a-z0-9]*[A-Z])(?=[A-Za-z]*\d)[A-Za-z0-9]{32,}  # as LiveKit's secrets are
    )"""
)
"""How keys begin, by the documentation of who gives them (OpenAI, Anthropic, Stripe, Hugging Face, Groq, xAI, GitLab,
GitHub, Slack), and what is too random for a name."""

_FIRST: Micros = to_micros(datetime(2015, 1, 1, tzinfo=UTC))

_NO_TEXT = (UUID, Decimal, date)
_LARGEST_INTEGER = 2**63

_ERROR = re.compile(
    r"""(?x)
    (   (?:[A-Za-z_]\w*\.)*(?=[A-Za-z0-9]*(?:[a-z][A-Z]|[A-Z0-9][A-Z][a-z]))[A-Z][A-Za-z0-9]{,38}[A-Za-z]
      | (?=[a-z_]{1,40}(?![a-z_]))[a-z]+(?:_[a-z]+)*
    )
    (?::?[ ]?(\d{3}))?(?=$|:[ ])"""
)
"""A class's name, of at least two words (`Http2Error`), or a provider's code (`rate_limit_exceeded`, `timeout`), of at
most 40 characters, alone or before its message; and a status."""


def id_of(value: object) -> str | None:
    """An id of the caller's own (a number, an object), as text; None where there is none, or an empty one."""
    return None if value is None else str(value) or None


def name_of(value: object) -> str | None:
    """The same for a name, which is not long."""
    return None if value is None else str(value)[:LONGEST] or None


def key_of(idempotency_key: object) -> str | None:
    """An idempotency key as text; a long one, and one that looks like ours, as its hash, which is as much its own."""
    text = "" if idempotency_key is None else str(idempotency_key)
    if len(text) > LONGEST or text.startswith(OWN_KEYS):
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text or None


def moment(at: object) -> Micros:
    """When a request was, from an aware datetime. Raises BadSetting: a naive one's zone would be a guess."""
    if not isinstance(at, datetime):
        raise BadSetting(f"at is a {type(at).__name__}; expected an aware datetime such as datetime.now(UTC)")
    if at.utcoffset() is None:
        raise BadSetting(f"at {at.isoformat()} has no time zone; give an aware datetime such as datetime.now(UTC)")
    return to_micros(at)


def moment_of_request(at: object, now: Micros) -> Micros:
    """`moment`, of a request that is over. Raises BadSetting also for one that cannot have been billed: from before
    2015, when nobody sold a model by its use (OpenAI, the first of them, was founded in December), or from later than
    a day after `now`, more than clocks differ."""
    told = moment(at)
    if not _FIRST <= told <= now + DAY:
        until = rfc3339(now + DAY)
        raise BadSetting(f"at {at} is no time of a request; expected one from 2015-01-01 to {until}: give a UTC time")
    return told


def score(name: str, value: object) -> float | None:
    """A finite number, or None. Raises ImpossibleUsage."""
    if value is None:
        return None
    if isinstance(value, (int, float, Decimal)) and isfinite(number := float(value)):
        return number
    shown = value if isinstance(value, (int, float, Decimal)) else f"a {type(value).__name__}"
    raise ImpossibleUsage(f"{name} is {shown}; expected a finite number")


def milliseconds(name: str, value: object) -> int | None:
    """Whole milliseconds from 0, the nearest, or None. Raises ImpossibleUsage."""
    if value is None:
        return None
    return quantity_of(name, round(value) if isinstance(value, (float, Decimal)) and isfinite(value) else value)


def error_of(error: object) -> str | None:
    """An error's class, or a provider's code for it, and its status where it has one; never its message, which may
    quote what was said.

    None where there is none, as an empty text says, too.
    """
    if isinstance(error, BaseException):
        status = getattr(error, "status_code", None)
        told = "" if type(status) is not int else f" {status}"
        return f"{type(error).__name__}{told}"
    if error is None or not str(error).strip():
        return None
    if (found := _ERROR.match(str(error)[:LONGEST])) is None or _CREDENTIAL.search(found[0]) is not None:
        return "error"
    return " ".join(part for part in found.groups() if part)


def labels(metadata: object) -> dict[str, Label]:
    """Counts and labels as a record keeps them; other objects as their type's name.

    A label is one word of at most 100 characters, or up to four of at most 40 without a sentence's punctuation, and no
    credential. Of any other text, and of one whose name has a word for what is said or secret (`user_message`,
    `apiKey`), only its length is kept, in characters; of what has such a text for its name nothing is.
    Raises ImpossibleUsage for what is no dict.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ImpossibleUsage(f"metadata is a {type(metadata).__name__}; expected a dict of labels and counts")
    named = ((str(name), value) for name, value in metadata.items())
    return dict(islice(((name, _label(name, value)) for name, value in named if _is_label(name)), _MOST_LABELS))


def tags(given: Mapping[str, str]) -> dict[str, str]:
    """A session's tags, as they are given; of what is too long for one, or a credential, only its length is kept."""
    named = ((str(name), str(value)) for name, value in given.items())
    return {name: text if _is_tag(text) else str(len(text)) for name, text in named if _is_tag(name)}


def _label(name: str, value: object) -> Label:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < _LARGEST_INTEGER:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if not isinstance(value, (str, *_NO_TEXT)):
        return type(value).__name__
    text = str(value)
    return len(text) if _hides(name) or not (isinstance(value, _NO_TEXT) or _is_label(text)) else text


@lru_cache(512)
def _hides(name: str) -> bool:
    """Whether what has this name is something said, or a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if _ABOUT.fullmatch("_".join(words)) is not None:
        return False
    return any(_TELLING.fullmatch(word) for word in words)


def _is_label(text: str) -> bool:
    if len(text) > _LONGEST_LABEL or _CREDENTIAL.search(text) is not None:
        return False
    if _ONE_WORD.fullmatch(text) is None and _FEW_WORDS.fullmatch(text) is None:
        return False
    return (
        text.isascii() or len(text) <= _LONGEST_WITHOUT_BLANKS or not any(category(letter) == "Lo" for letter in text)
    )


def _is_tag(text: str) -> bool:
    return len(text) <= LONGEST and _CREDENTIAL.search(text) is None
