"""LangChain, LlamaIndex and instructor, unchanged but for the base URL."""

from typing import Iterable

import instructor
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from openai import OpenAI
from pydantic import BaseModel


def test_langchain(base_url: str) -> None:
    model = ChatOpenAI(model="auto", base_url=base_url, api_key="unused", max_retries=0)
    assert model.invoke("Set the points, chain.").content
    assert "".join(chunk.content for chunk in model.stream("Set the points, streamed chain."))


def test_langchain_tools(base_url: str) -> None:
    def get_weather(city: str) -> str:
        """Current weather in a city."""
        return city

    model = ChatOpenAI(model="auto", base_url=base_url, api_key="unused", max_retries=0)
    calls = model.bind_tools([get_weather]).invoke("What is the weather in Prague?").tool_calls
    assert calls[0]["name"] == "get_weather" and "city" in calls[0]["args"]


def test_llama_index(base_url: str) -> None:
    model = OpenAILike(model="auto", api_base=base_url, api_key="unused", is_chat_model=True, max_retries=0)
    question = [ChatMessage(role="user", content="Set the points, llama.")]
    assert model.chat(question).message.content
    assert [part.delta for part in model.stream_chat(question)]


def test_instructor(base_url: str) -> None:
    class get_weather(BaseModel):
        """Current weather in a city."""

        city: str

    client = instructor.from_openai(
        OpenAI(base_url=base_url, api_key="unused", max_retries=0), mode=instructor.Mode.PARALLEL_TOOLS
    )
    calls = client.chat.completions.create(
        model="mock-a",
        response_model=Iterable[get_weather],
        messages=[{"role": "user", "content": "What is the weather in Prague and Brno?"}],
    )
    assert [call.city for call in calls] == ["Prague", "Brno"]
