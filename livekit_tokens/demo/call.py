"""A caller: a participant of a real room who speaks synthetic audio, listens, interrupts and leaves.

To be killed, in a process of its own, with LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET set:
`python -m livekit_tokens.demo.call --room a-room --script "hear_out, say 1, stay"`.

Nothing here sleeps and hopes: every step ends with an event or with audio, and is bounded.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Self

from livekit import api, rtc

RATE = 24_000
FRAME_MS = 20
LOUD = 500
"""Peak from which the agent's audio counts as heard; the provider's tone has 3,000."""


class CallFailed(RuntimeError):
    """The agent did not do in time what the script waits for."""


class Caller:
    """`async with Caller(url, room="a-room") as caller:` then say, hear, interrupt, leave.

    `heard_ms` counts the milliseconds of the agent's voice, `quiet_ms` those of quiet since then.
    """

    def __init__(
        self,
        url: str,
        *,
        room: str,
        api_key: str,
        api_secret: str,
        identity: str = "caller",
        name: str = "Ada",
        kind: api.AccessToken.ParticipantKind = "standard",
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.room_name, self.identity, self.name = room, identity, name
        self._kind, self._attributes = kind, dict(attributes or {})
        self._url, self._key, self._secret = url, api_key, api_secret
        self.room = rtc.Room()
        self.heard_ms = self.quiet_ms = 0
        self.agent_left = asyncio.Event()
        self._to_say: list[bytes] = []
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def join(self, within: float = 60.0) -> None:
        """Enter the room with a microphone; the agent may come later."""
        self.room.on("track_subscribed", self._on_track)
        self.room.on("participant_disconnected", self._on_gone)
        async with asyncio.timeout(within):
            await self.room.connect(self._url, self._token())
            source = rtc.AudioSource(RATE, 1, queue_size_ms=100)
            track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
            await self.room.local_participant.publish_track(track, options)
        self._start(self._speak(source))

    def _token(self) -> str:
        grants = api.VideoGrants(room_join=True, room=self.room_name)
        token = api.AccessToken(self._key, self._secret).with_identity(self.identity).with_name(self.name)
        return token.with_grants(grants).with_kind(self._kind).with_attributes(self._attributes).to_jwt()

    async def say(self, seconds: float, within: float = 60.0) -> None:
        """Speak for so long; returns when the last of it is on its way."""
        await self.say_this(_voice(seconds), within)

    async def say_this(self, frames: Sequence[bytes], within: float = 60.0) -> None:
        """Say these frames, of 20 ms at 24 kHz, 16 bit."""
        seconds = len(frames) * FRAME_MS / 1000
        self._to_say.extend(frames)
        await self._until(lambda: not self._to_say, within + seconds, f"the microphone to take {seconds:g} s")

    async def hear(self, seconds: float = 0.2, within: float = 60.0) -> None:
        """Wait until the agent has spoken for at least so long from now on."""
        goal = self.heard_ms + seconds * 1000
        await self._until(lambda: self.heard_ms >= goal, within, f"{seconds} s of the agent's voice")

    async def hear_out(self, quiet: float = 0.6, within: float = 60.0) -> None:
        """Wait until the agent has begun and then been quiet for so long."""
        await self.hear(within=within)
        await self.quiet(quiet, within)

    async def quiet(self, seconds: float = 0.6, within: float = 60.0) -> None:
        await self._until(lambda: self.quiet_ms >= seconds * 1000, within, f"{seconds} s of quiet from the agent")

    async def interrupt(self, seconds: float = 1.0, after: float = 0.6, within: float = 60.0) -> None:
        """Let the agent speak for `after` seconds, then talk over it until it falls silent."""
        await self.hear(after, within)
        await self.say(seconds, within)
        await self.quiet(0.3, within)

    async def leave(self) -> None:
        """Hang up cleanly. To be killed instead, run the caller in a process of its own and kill that."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.room.isconnected():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self.room.disconnect()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _speak(self, source: rtc.AudioSource) -> None:
        # The source's queue paces this: capture_frame waits while 100 ms are ahead.
        quiet = bytes(RATE * FRAME_MS // 1000 * 2)
        while True:
            pcm = self._to_say.pop(0) if self._to_say else quiet
            await source.capture_frame(rtc.AudioFrame(pcm, RATE, 1, len(pcm) // 2))
            await self._tell()

    def _on_track(self, track: rtc.Track, _: rtc.RemoteTrackPublication, __: rtc.RemoteParticipant) -> None:
        if isinstance(track, rtc.RemoteAudioTrack):
            self._start(self._listen(track))

    def _on_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT:
            self.agent_left.set()

    async def _listen(self, track: rtc.RemoteAudioTrack) -> None:
        async for pcm in _audio_of(track):
            length = len(pcm) * 1000 // RATE
            if max(map(abs, (max(pcm), min(pcm)))) >= LOUD:
                self.heard_ms, self.quiet_ms = self.heard_ms + length, 0
            else:
                self.quiet_ms += length
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _until(self, is_so: Callable[[], bool], within: float, what: str) -> None:
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(is_so)
        except TimeoutError:
            raise CallFailed(f"waited {within:g} s for {what} (heard {self.heard_ms} ms so far)") from None


async def play(caller: Caller, script: str) -> None:
    """Run a script such as `hear_out, say 1.5, interrupt, stay`; each step is printed when it is over."""
    for step in filter(None, (part.strip() for part in script.split(","))):
        name, *numbers = step.split()
        if name == "stay":
            await caller.agent_left.wait()
        elif name in ("say", "hear", "hear_out", "quiet", "interrupt", "leave"):
            await getattr(caller, name)(*map(float, numbers))
        else:
            raise ValueError(f"unknown step {step!r}; known: say, hear, hear_out, quiet, interrupt, stay, leave")
        print(f"over: {step}", flush=True)  # noqa: T201


async def _audio_of(track: rtc.RemoteAudioTrack) -> AsyncIterator[array.array[int]]:
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
    try:
        async for event in stream:
            yield array.array("h", bytes(event.frame.data))
    finally:
        await stream.aclose()


def _voice(seconds: float) -> list[bytes]:
    """Frames of noise: what Opus carries as speech, unlike a pure tone that it may take for a line fault."""
    rng, samples = random.Random(1), RATE * FRAME_MS // 1000  # noqa: S311
    frame = array.array("h", (rng.randint(-9000, 9000) for _ in range(samples))).tobytes()
    return [frame] * round(seconds * 1000 / FRAME_MS)


async def _call(options: argparse.Namespace) -> None:
    env = os.environ
    key, secret = env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"]
    caller = Caller(env["LIVEKIT_URL"], room=options.room, api_key=key, api_secret=secret, identity=options.identity)
    async with caller:
        await play(caller, options.script)


def main() -> None:
    parser = argparse.ArgumentParser(description="Call an agent and play a script to it.")
    parser.add_argument("--room", required=True)
    parser.add_argument("--identity", default="caller")
    parser.add_argument("--script", default="hear_out, say 1, hear_out, leave")
    asyncio.run(_call(parser.parse_args()))


if __name__ == "__main__":
    main()
