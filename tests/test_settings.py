"""Settings come from the environment and a file; what cannot be used is one clear line and never stops a call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.settings import Settings, load_settings, read_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No setting of the machine's own, and a working directory without a file."""
    for name in os.environ:
        if name.upper().startswith("LIVEKIT_TOKENS_") or name in ("DATABASE_URL", "USAGE_TRACKING_ENABLED"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_need_nothing(monkeypatch, tmp_path):
    """Without any setting the ledger and the spool are in the platform's folder for user data."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings, warnings = load_settings()
    assert warnings == []
    assert settings.database_url.startswith("sqlite:///")
    assert settings.database_url.endswith("livekit-tokens/ledger.db")
    assert settings.spool_dir.parts[-2:] == ("livekit-tokens", "spool")
    assert (settings.enabled, settings.rejoin_grace_seconds, settings.timezone) == (True, 15, "UTC")
    assert (settings.tags, settings.log_level, settings.durability) == ({}, "INFO", "process")


def test_the_environment_is_read(monkeypatch):
    """Every setting by its prefixed name; an empty one counts as not set."""
    monkeypatch.setenv("LIVEKIT_TOKENS_DATABASE_URL", "sqlite:////tmp/x.db")
    monkeypatch.setenv("LIVEKIT_TOKENS_SPOOL_DIR", "~/spool")
    monkeypatch.setenv("LIVEKIT_TOKENS_ENABLED", "no")
    monkeypatch.setenv("LIVEKIT_TOKENS_REJOIN_GRACE_SECONDS", "60")
    monkeypatch.setenv("LIVEKIT_TOKENS_STALE_AFTER_SECONDS", "90")
    monkeypatch.setenv("LIVEKIT_TOKENS_TIMEZONE", "Asia/Kathmandu")
    monkeypatch.setenv("LIVEKIT_TOKENS_TAGS", "env=prod, version = 1.4,")
    monkeypatch.setenv("LIVEKIT_TOKENS_LOG_LEVEL", "")
    settings = read_settings()
    assert settings.database_url == "sqlite:////tmp/x.db"
    assert settings.spool_dir == Path.home() / "spool"
    assert (settings.enabled, settings.rejoin_grace_seconds, settings.stale_after) == (False, 60, 90_000_000)
    assert (settings.timezone, settings.tags) == ("Asia/Kathmandu", {"env": "prod", "version": "1.4"})
    assert settings.log_level == "INFO"


def test_an_unprefixed_database_url_is_not_read(monkeypatch):
    """DATABASE_URL belongs to the agent's own application."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://app/app")
    assert read_settings().database_url.startswith("sqlite:///")


def test_the_name_of_other_trackers_is_accepted(monkeypatch):
    """USAGE_TRACKING_ENABLED turns tracking off; our own name goes first."""
    monkeypatch.setenv("USAGE_TRACKING_ENABLED", "false")
    assert not read_settings().enabled
    monkeypatch.setenv("LIVEKIT_TOKENS_ENABLED", "true")
    assert read_settings().enabled


def test_the_file_is_read_after_the_environment(monkeypatch):
    """livekit-tokens.toml in the working directory; tags may be a table there."""
    Path("livekit-tokens.toml").write_text('TIMEZONE = "Europe/Berlin"\nenabled = false\n[tags]\nenv = "prod"\n')
    monkeypatch.setenv("LIVEKIT_TOKENS_ENABLED", "1")
    settings = read_settings()
    assert (settings.timezone, settings.enabled, settings.tags) == ("Europe/Berlin", True, {"env": "prod"})


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "TIMEZONE",
            "Mars/Olympus",
            (
                "LIVEKIT_TOKENS_TIMEZONE is 'Mars/Olympus': time zone 'Mars/Olympus' is not known; "
                "accepted: an IANA name such as Europe/Berlin, or UTC"
            ),
        ),
        (
            "SPOOL_HOST",
            "a/b",
            (
                "LIVEKIT_TOKENS_SPOOL_HOST is 'a/b': it is no folder's name; "
                "accepted: a name of letters, digits, '.', '-' and '_'"
            ),
        ),
        (
            "TAGS",
            "env",
            (
                "LIVEKIT_TOKENS_TAGS is 'env': 'env' is not key=value; "
                "accepted: key=value pairs such as env=prod,version=1.4"
            ),
        ),
        (
            "REJOIN_GRACE_SECONDS",
            "soon",
            (
                "LIVEKIT_TOKENS_REJOIN_GRACE_SECONDS is 'soon': Input should be a valid number, unable to parse string "
                "as a number; accepted: a number of seconds from 0 to 3600"
            ),
        ),
        (
            "DATABASE_URL",
            "mysql://me:secret@host/db",
            (
                "LIVEKIT_TOKENS_DATABASE_URL begins with 'mysql', which livekit-tokens does not speak; expected "
                "sqlite:///relative/path, sqlite:////absolute/path or postgresql://user:password@host:5432/database"
            ),
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line(monkeypatch, name, value, line):
    """The setting, the value's fault, what is accepted. The call goes on with the default."""
    monkeypatch.setenv(f"LIVEKIT_TOKENS_{name}", value)
    with pytest.raises(BadSetting) as refused:
        read_settings()
    assert str(refused.value) == line
    settings, warnings = load_settings()
    assert warnings == [line]
    assert settings == Settings.model_validate(settings.model_dump())
    assert getattr(settings, name.lower()) == Settings.model_fields[name.lower()].get_default(call_default_factory=True)


def test_a_value_of_the_file_that_is_no_text_is_told_what_is_accepted():
    """The value is not told: what stands there may be secret."""
    Path("livekit-tokens.toml").write_text("database_url = 3\nuser_identity_key = 77\n")
    _, warnings = load_settings()
    assert warnings == [
        (
            "database_url in livekit-tokens.toml is no text; accepted: sqlite:///relative/path, "
            "sqlite:////absolute/path or postgresql://user:password@host:5432/database"
        ),
        "user_identity_key in livekit-tokens.toml is no text; accepted: a secret text",
    ]


def test_several_unusable_values_are_a_line_each(monkeypatch):
    """And the usable ones stay."""
    monkeypatch.setenv("LIVEKIT_TOKENS_ENABLED", "perhaps")
    monkeypatch.setenv("LIVEKIT_TOKENS_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("LIVEKIT_TOKENS_TIMEZONE", "Europe/Berlin")
    settings, warnings = load_settings()
    assert [line.partition(" ")[0] for line in warnings] == ["LIVEKIT_TOKENS_ENABLED", "LIVEKIT_TOKENS_LOG_LEVEL"]
    assert (settings.enabled, settings.timezone) == (True, "Europe/Berlin")


@pytest.mark.parametrize("text", ["not toml at all [", "\x00"])
def test_a_broken_file_is_a_line(text):
    """It is left aside, and said so."""
    Path("livekit-tokens.toml").write_text(text)
    settings, (line,) = load_settings()
    assert settings.enabled
    assert line.startswith("livekit-tokens.toml cannot be read (")
    assert "\n" not in line


def test_a_mistyped_name_in_the_file_is_a_line():
    """Silence would leave the reader believing that it works."""
    Path("livekit-tokens.toml").write_text('time_zone = "UTC"\ntimezone = 3\n')
    _, warnings = load_settings()
    assert warnings[0] == ("time_zone in livekit-tokens.toml is no setting and is left aside; did you mean timezone?")
    assert warnings[1].startswith("timezone in livekit-tokens.toml is 3: ")


def test_a_mistyped_name_in_the_environment_is_a_line(monkeypatch):
    """The setting that was probably meant is named; the value is not, it may be a secret."""
    monkeypatch.setenv("LIVEKIT_TOKENS_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("livekit_tokens_colour", "blue")
    line = "LIVEKIT_TOKENS_TIME_ZONE is no setting and is left aside; did you mean LIVEKIT_TOKENS_TIMEZONE?"
    settings, warnings = load_settings()
    assert warnings[0] == line
    assert warnings[1].startswith(
        "LIVEKIT_TOKENS_COLOUR is no setting and is left aside; accepted: LIVEKIT_TOKENS_DATABASE_URL, "
    )
    assert (len(warnings), settings.timezone) == (2, "UTC")
    with pytest.raises(BadSetting) as refused:
        read_settings()
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIVEKIT_TOKENS_TIME_ZONE", ""),
        ("LIVEKIT_TOKENS_NO_SKIPS", "1"),
        ("LIVEKIT_TOKENS_SERVICE_HOST", "10.0.0.1"),
        ("LIVEKIT_TOKENS_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("livekit_tokens_timezone", "UTC"),
        ("LIVEKIT_URL", "ws://host"),
    ],
)
def test_what_only_looks_like_a_mistyped_name_is_none(monkeypatch, name, value):
    """What is empty, what is ours in small letters, and what others have named: a pod's neighbours, the tests."""
    monkeypatch.setenv(name, value)
    assert load_settings()[1] == []


def test_importing_the_settings_imports_neither_livekit_nor_sqlalchemy():
    """They are read in every job process, before anything heavy is needed."""
    code = "import sys, livekit_tokens.settings; print({'livekit', 'sqlalchemy'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()"


def test_a_mistyped_privacy_setting_keeps_less_not_more(monkeypatch):
    """Who wants identities hashed must not get them plain by a mistyped word or a missing key."""
    monkeypatch.setenv("LIVEKIT_TOKENS_USER_IDENTITY", "hashd")
    settings, warnings = load_settings()
    assert settings.identities.identity("ada") is None
    assert len(warnings) == 1
    monkeypatch.setenv("LIVEKIT_TOKENS_USER_IDENTITY", "hashed")
    settings, (warning,) = load_settings()
    assert settings.identities.identity("ada") is None
    assert "USER_IDENTITY_KEY" in warning
    monkeypatch.setenv("LIVEKIT_TOKENS_USER_IDENTITY_KEY", "a secret")
    settings, warnings = load_settings()
    assert (warnings, len(settings.identities.identity("ada"))) == ([], 32)
    assert "a secret" not in repr(settings)


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_mistyped_name_of_a_privacy_setting_keeps_less_not_more(monkeypatch, where):
    """Nothing of an identity is kept, and that is said, unless the setting stands there by its right name as well."""
    if where == "environment":
        monkeypatch.setenv("LIVEKIT_TOKENS_USERIDENTITY", "none")
    else:
        Path("livekit-tokens.toml").write_text("useridentity = 'none'\n")
    settings, (strange, kept) = load_settings()
    assert settings.identities.identity("ada") is None
    assert "USERIDENTITY" in strange.upper()
    assert kept.startswith("user_identity is not set, but ")
    monkeypatch.setenv("LIVEKIT_TOKENS_USER_IDENTITY", "plain")
    settings, (strange,) = load_settings()
    assert settings.identities.identity("ada") == "ada"


def test_where_user_and_tenant_come_from_is_read(monkeypatch):
    """An attribute of the caller's, a field of the job's metadata."""
    monkeypatch.setenv("LIVEKIT_TOKENS_USER_FROM", "attribute:sip.phoneNumber")
    monkeypatch.setenv("LIVEKIT_TOKENS_TENANT_FROM", "metadata:account.id")
    settings = read_settings()
    assert settings.user_from.read("ada", {"sip.phoneNumber": "+49"}, {}) == "+49"
    assert settings.tenant_from.read("ada", {}, {"account": {"id": 7}}) == "7"
