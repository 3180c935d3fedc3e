"""LangChain: what its models spend, by user and thread. Runs without an account: the model is a stand-in.

pip install 'livekit-tokens[langchain]'
python examples/langchain_chain.py
livekit-tokens report --by user --by model
"""

import asyncio

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate

from livekit_tokens.langchain import attach_token_tracking


async def main() -> None:
    # In your app: ChatOpenAI(model="gpt-4.1-mini", stream_usage=True).
    usage = {"input_tokens": 900, "output_tokens": 80, "total_tokens": 980, "input_token_details": {"cache_read": 512}}
    model = GenericFakeChatModel(messages=iter([AIMessage("It is a fine day.", usage_metadata=usage)]))
    chain = ChatPromptTemplate.from_template("How is the weather in {town}?") | model

    config = {"configurable": {"user_id": "ada", "thread_id": "thread-123"}}
    print((await chain.ainvoke({"town": "Bern"}, attach_token_tracking(config, agent_name="forecaster"))).content)


if __name__ == "__main__":
    asyncio.run(main())
