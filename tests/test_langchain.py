"""LangChain's own models and runs, with callbacks of ours: one request, one record, and the agent never fails of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from livekit_tokens import langchain
from livekit_tokens.capture import witnesses
from livekit_tokens.capture.wire import counting, watch
from livekit_tokens.core import faults
from livekit_tokens.domain.given import figures_of
from livekit_tokens.langchain import attach_token_tracking
from tests.capture.test_by_hand import World
from tests.capture.wire.provider import Provider
from tests.cli.machine import Machine
from tests.waiting import PATIENCE_SECONDS

USAGE = {
    "input_tokens": 100,
    "output_tokens": 40,
    "total_tokens": 140,
    "input_token_details": {"cache_read": 60, "audio": 10},
    "output_token_details": {"reasoning": 25},
}
UNITS = {"input_text": 30, "input_audio": 10, "cached_input_text": 60, "output_text": 15, "output_reasoning": 25}
CONFIG = {"configurable": {"user_id": "ada", "thread_id": "thread-1"}}


class Model(BaseChatModel):
    """Answers at once, or word by word; tells its usage, unless it is `silent`; fails if it is `broken`."""

    silent: bool = False
    broken: bool = False

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-fake", "ls_model_type": "chat"}

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.broken:
            raise TimeoutError("no answer to what was asked")
        told = AIMessage("Fine.", usage_metadata=None if self.silent else USAGE)
        return ChatResult(generations=[ChatGeneration(message=told)])

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        yield ChatGenerationChunk(message=AIMessageChunk("Fi"))
        await asyncio.sleep(0)
        if self.broken:
            raise TimeoutError("cut")
        yield ChatGenerationChunk(message=AIMessageChunk("ne.", usage_metadata=None if self.silent else USAGE))


async def run(model: BaseChatModel, config: Any, *, streamed: bool) -> None:
    if not streamed:
        await model.ainvoke("How is it?", config)
        return
    async for _ in model.astream("How is it?", config):
        pass


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(langchain, "recording", lambda: made.process)
    return made


async def test_a_request_is_recorded_with_its_units_its_user_and_its_thread(world: World) -> None:
    """Cached, audio and reasoning tokens stand in units of their own, as OpenAI bills them."""
    answer = await Model().ainvoke("How is it?", attach_token_tracking(CONFIG, agent_name="planner"))

    assert answer.content == "Fine."
    (record,) = world.records
    assert record.units == UNITS
    assert (record.provenance, record.model, record.provider, record.agent) == (
        "reported",
        "gpt-fake",
        "openai",
        "planner",
    )
    assert set(record.metadata) == {"run_id", "generations"}
    assert record.metadata["generations"] == 1
    part = world.part_of(record)
    assert (part.session_id, part.user) == ("thread-1", "ada")


@pytest.mark.parametrize(
    "written",
    [
        {"cache_creation": 3000},
        {"cache_creation": 0, "ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    ],
)
def test_what_a_prompt_wrote_to_the_cache_is_a_unit_of_its_own(written: dict[str, int]) -> None:
    """It is dearer than the rest; langchain-anthropic tells it by how long it is kept, where that is known."""
    usage: Any = {
        "input_tokens": 5000,
        "output_tokens": 7,
        "total_tokens": 5007,
        "input_token_details": {"cache_read": 1000, **written},
    }
    found = figures_of("claude-sonnet-4-5", usage=langchain.usage_of(AIMessage("Fine.", usage_metadata=usage), {}))
    assert found.units == {"input_text": 1000, "cached_input_text": 1000, "cache_write_text": 3000, "output_text": 7}


def test_a_run_without_a_loop_is_recorded_too(world: World) -> None:
    Model().invoke("How is it?", attach_token_tracking(CONFIG))

    assert [record.units for record in world.records] == [UNITS]


async def test_a_stream_is_one_request(world: World) -> None:
    told = [chunk.content async for chunk in Model().astream("How is it?", attach_token_tracking(CONFIG))]

    assert "".join(told) == "Fine."
    assert [record.units for record in world.records] == [UNITS]


async def test_what_tells_no_usage_is_unknown(world: World) -> None:
    """Never nothing, and never a guess."""
    await Model(silent=True).ainvoke("How is it?", attach_token_tracking(CONFIG))

    assert [(record.units, record.provenance) for record in world.records] == [({}, "unknown")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_that_fails_is_recorded_by_the_class_of_its_error(world: World, streamed: bool) -> None:
    config = attach_token_tracking(CONFIG)
    with pytest.raises(TimeoutError):
        await run(Model(broken=True), config, streamed=streamed)

    assert [(record.success, record.error, record.units) for record in world.records] == [(False, "TimeoutError", {})]


async def test_an_old_llm_is_recorded_as_text_generation(world: World) -> None:
    await FakeListLLM(responses=["Fine."]).ainvoke("How is it?", attach_token_tracking(CONFIG))

    assert [(record.operation, record.provenance) for record in world.records] == [("text_generation", "unknown")]


class Listening(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.heard = 0

    async def on_llm_end(self, response: Any, **told: Any) -> None:
        self.heard += 1


@pytest.mark.parametrize("as_manager", [False, True])
async def test_callbacks_that_are_there_stay(world: World, as_manager: bool) -> None:
    """A list or a manager; what was given is not changed."""
    own = Listening()
    manager = AsyncCallbackManager(handlers=[own], inheritable_handlers=[own])
    given = {**CONFIG, "callbacks": manager if as_manager else [own], "tags": ["a"]}
    config = attach_token_tracking(given)
    await Model().ainvoke("How is it?", config)

    assert (own.heard, len(world.records), config["tags"]) == (1, 1, ["a"])
    assert given["callbacks"] is manager or given["callbacks"] == [own]
    assert manager.handlers == [own]


async def test_attached_twice_on_the_way_down_a_run_counts_once(world: World) -> None:
    """A graph's config and a node's own: both handlers hear of the same run."""
    inner = RunnableLambda(lambda text, config: Model().invoke(text, attach_token_tracking(config)))
    await inner.ainvoke("How is it?", attach_token_tracking(CONFIG))

    assert len(world.records) == 1


async def test_many_at_once_are_each_recorded(world: World) -> None:
    await Model().abatch(["a", "b", "c"], attach_token_tracking(CONFIG))

    assert [record.units for record in world.records] == [UNITS] * 3
    assert len({record.metadata["run_id"] for record in world.records}) == 3


async def test_without_ids_it_is_whoever_is_open_here(world: World) -> None:
    """And an open session goes before the thread's id: what else is spent there is its, too."""
    with world.session("call-1", user="bob"):
        await Model().ainvoke("How is it?", attach_token_tracking())
        await Model().ainvoke("How is it?", attach_token_tracking(CONFIG))

    assert {world.part_of(record).session_id for record in world.records} == {"call-1"}
    assert len(world.records) == 2


async def test_a_fault_of_ours_never_reaches_the_agent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and doctor's and the log's affair."""
    before = faults.counts().get("a LangChain request could not be recorded", 0)
    with monkeypatch.context() as broken:
        broken.setattr(langchain, "usage_of", lambda *_: 1 / 0)
        assert (await Model().ainvoke("How is it?", attach_token_tracking(CONFIG))).content == "Fine."
    assert faults.counts()["a LangChain request could not be recorded"] == before + 1


async def test_nothing_that_was_said_reaches_the_spool(world: World) -> None:
    await Model().ainvoke("my secret question", attach_token_tracking(CONFIG))

    raw = b"".join(path.read_bytes() for path in world.recorder.folder.glob("*.jsonl"))
    assert b"secret" not in raw
    assert b"Fine." not in raw


# -- with a real client, over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider().running() as running:
        yield running
    watch.uninstall()


def client_of(provider: Provider, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", base_url=provider.base_url, api_key="sk-test", max_retries=0, **options)


def billed(provider: Provider) -> list[tuple[int, int, int]]:
    return [(bill.input - bill.cached, bill.cached, bill.output) for bill in provider.bill]


def counted(world: World) -> list[tuple[int, int, int]]:
    assert counting.settle(None, PATIENCE_SECONDS)
    names = ("input_text", "cached_input_text", "output_text")
    return [tuple(record.units.get(name, 0) for name in names) for record in world.records]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_run_over_http_is_recorded_exactly_by_the_providers_bill(
    world: World, provider: Provider, streamed: bool
) -> None:
    llm, config = client_of(provider, stream_usage=True), attach_token_tracking(CONFIG)
    await run(llm, config, streamed=streamed)

    assert counted(world) == billed(provider)
    assert world.part_of(world.records[0]).session_id == "thread-1"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("tells", [True, False])
async def test_what_the_wire_has_seen_counts_once(
    world: World, provider: Provider, streamed: bool, tells: bool
) -> None:
    """A metered client inside of LangChain, with its callbacks: one request, one record, with or without usage."""
    meter = watch.meter(openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-test"), lambda: spender(world))
    llm = client_of(provider, stream_usage=tells, root_async_client=meter, async_client=meter.chat.completions)
    for _ in range(3):
        await run(llm, attach_token_tracking(CONFIG), streamed=streamed)

    if tells or not streamed:
        assert counted(world) == billed(provider)
    else:  # what the provider adds to a prompt, and how much of it was cached, nobody has told
        assert [output for *_, output in counted(world)] == [output for *_, output in billed(provider)]
        assert {record.provenance for record in world.records} == {"estimated"}
    assert len(world.records) == 3


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("tells", [True, False])
async def test_what_a_client_asks_that_blocks_counts_once(
    world: World, provider: Provider, streamed: bool, tells: bool
) -> None:
    """The same in a thread without a loop, where LangChain has none for the callbacks either."""
    meter = watch.meter(openai.OpenAI(base_url=provider.base_url, api_key="sk-test"), lambda: spender(world))
    llm = client_of(provider, stream_usage=tells, root_client=meter, client=meter.chat.completions)
    config = attach_token_tracking(CONFIG)
    for _ in range(2):
        await asyncio.to_thread(
            lambda: list(llm.stream("How is it?", config)) if streamed else llm.invoke("Hi", config)
        )

    assert [output for *_, output in counted(world)] == [output for *_, output in billed(provider)]
    assert {record.provenance for record in world.records} == {"reported" if tells or not streamed else "estimated"}


@pytest.mark.filterwarnings("ignore:Unexpected type for token usage")  # LangChain's, of details that are null
async def test_the_requests_of_a_batch_each_count_once_and_leave_nothing_behind(
    world: World, provider: Provider
) -> None:
    """LangChain begins all runs of a batch, asks for one after the other, and ends them in tasks of their own."""
    meter = watch.meter(openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-test"), lambda: spender(world))
    llm = client_of(provider, root_async_client=meter, async_client=meter.chat.completions)
    callbacks = attach_token_tracking(CONFIG)["callbacks"]
    for _ in range(2):
        await llm.agenerate([[HumanMessage("Hi")], [HumanMessage("How is it?")]], callbacks=callbacks)
        assert witnesses.here() is None
    await Model().agenerate([[HumanMessage("Hi")]] * 3, callbacks=callbacks)
    Model().generate([[HumanMessage("Hi")]] * 3, callbacks=callbacks)

    assert witnesses.here() is None
    counting.settle(None, PATIENCE_SECONDS)
    by_model = Counter(record.model for record in world.records)
    assert by_model == {"gpt-4o-mini": len(billed(provider)), "gpt-fake": 6}
    assert len(billed(provider)) == 4


async def test_what_else_a_run_asks_for_does_not_stand_for_its_model(world: World, provider: Provider) -> None:
    """A semantic cache looks for an answer by an embedding, within the run of a model that the wire does not see."""
    meter = watch.meter(openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-test"), lambda: spender(world))

    class Embedding(Model):
        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            await meter.embeddings.create(model="text-embedding-3-small", input="How is it?")
            return self._generate(messages)

    await run(Embedding(), attach_token_tracking(CONFIG), streamed=False)
    counting.settle(None, PATIENCE_SECONDS)

    assert {record.model for record in world.records} == {"text-embedding-3-small", "gpt-fake"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_in_a_tracked_call_any_client_counts_once(world: World, provider: Provider, streamed: bool) -> None:
    """A tool's own chain: it is the call's, by the wire, and the callbacks have nothing to add; nor when it fails."""
    watch.install(sockets=False)
    world.track()
    llm = client_of(provider, stream_usage=True)
    await run(llm, attach_token_tracking(CONFIG), streamed=streamed)
    provider.refusals = 1
    with pytest.raises(openai.InternalServerError):
        await run(llm, attach_token_tracking(CONFIG), streamed=streamed)

    assert counted(world)[:1] == billed(provider)
    assert [record.success for record in world.records] == [True, False]


async def test_a_request_that_never_left_is_recorded_though_the_wire_is_on(world: World) -> None:
    watch.install(sockets=False)
    world.track()
    with pytest.raises(TimeoutError):
        await run(Model(broken=True), attach_token_tracking(CONFIG), streamed=False)
    watch.uninstall()

    assert [record.error for record in world.records] == ["TimeoutError"]


def spender(world: World) -> Any:
    return langchain.ByHand(lambda: world.process).spender()


def test_the_example_records_its_users_thread(tmp_path: Path) -> None:
    """As a person runs it, with a ledger of its own."""
    machine = Machine(tmp_path)
    machine.python((Path(__file__).parents[1] / "examples" / "langchain_chain.py").read_text())

    told = json.loads(machine.command("report", "--session", "thread-123", "--json").stdout)

    assert told["user"] == "ada"
    spent = {name: count for name, count in told["totals"]["units"].items() if count}
    assert spent == {"cached_input_text": 512, "input_text": 388, "output_text": 80}
