"""The watchdog: it barks when turns are not counted, once, and never in silence."""

from __future__ import annotations

from livekit_tokens.core.watchdog import PATIENCE, Watchdog


class Call:
    """A call's turns, with so many records each, and the alarms that came."""

    def __init__(self) -> None:
        self.alarms: list[int] = []
        self.dog = Watchdog(self.alarms.append)
        self.recorded = 0

    def turn(self, records: int) -> None:
        self.dog.said(by_agent=False, recorded=self.recorded)
        self.recorded += records
        self.dog.said(by_agent=True, recorded=self.recorded)


def test_turns_without_a_record_are_an_alarm_once() -> None:
    """However long it goes on after that: who reads the log has been told."""
    call = Call()
    for _ in range(PATIENCE - 1):
        call.turn(records=0)
    assert call.alarms == []
    for _ in range(20):
        call.turn(records=0)
    assert call.alarms == [PATIENCE]


def test_a_record_now_and_then_is_no_alarm() -> None:
    """A request that failed, or an answer that was not asked of a model: the next turn's record says all is well."""
    call = Call()
    for _ in range(20):
        for _ in range(PATIENCE - 1):
            call.turn(records=0)
        call.turn(records=2)
    assert call.alarms == []


def test_records_that_stop_coming_are_an_alarm() -> None:
    """It was counted for an hour, and then no more."""
    call = Call()
    for _ in range(100):
        call.turn(records=2)
    for _ in range(PATIENCE):
        call.turn(records=0)
    assert call.alarms == [PATIENCE]


def test_an_agent_that_speaks_by_itself_is_no_alarm() -> None:
    """Announcements from a file cost nothing; nobody has asked for anything."""
    call = Call()
    for _ in range(50):
        call.dog.said(by_agent=True, recorded=0)
    assert call.alarms == []


def test_a_caller_who_is_not_answered_is_no_alarm() -> None:
    """They speak, and the agent says nothing: there is nothing to be billed for that it did."""
    call = Call()
    for _ in range(50):
        call.dog.said(by_agent=False, recorded=0)
    assert call.alarms == []
