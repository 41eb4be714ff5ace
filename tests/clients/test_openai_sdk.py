"""OpenAI's Python SDK, unchanged but for `base_url`, against two third-party mock providers."""

import base64
import struct

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

PROVIDERS = ["mock-a", "mock-b"]
EVERY = ["auto", "auto:cheap", "auto:best", *PROVIDERS]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def ask(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("model", EVERY)
def test_chat(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=ask("Set the points, please."))
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", EVERY)
def test_stream_with_usage(client: OpenAI, model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=ask("Set the points, streamed."),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text
    assert [c for c in chunks if c.choices and c.choices[0].finish_reason == "stop"]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0


@pytest.mark.parametrize("model", EVERY)
def test_stream_without_usage_shows_none(client: OpenAI, model: str) -> None:
    chunks = list(client.chat.completions.create(model=model, messages=ask("No counts, please."), stream=True))
    assert all(c.choices for c in chunks), "the usage chunk that the router asked for must not reach the caller"


@pytest.mark.parametrize("model", EVERY)
def test_tools(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=ask("What is the weather in Prague?"), tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_parallel_tool_calls_streamed(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="mock-a", messages=ask("What is the weather in Prague and Brno?"), tools=TOOLS
    ) as stream:
        final = stream.get_final_completion()
    arguments = [call.function.arguments for call in final.choices[0].message.tool_calls]
    assert arguments == ['{"city":"Prague"}', '{"city":"Brno"}']


def test_json_mode(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="mock-a", messages=ask("A person as json"), response_format={"type": "json_object"}
    )
    assert answer.choices[0].message.content == '{"name":"Ada","age":36}'


def test_json_schema(client: OpenAI) -> None:
    class Person(BaseModel):
        name: str
        age: int

    answer = client.chat.completions.parse(
        model="mock-a", messages=ask("A person as json, by schema"), response_format=Person
    )
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)


def test_models_are_listed(client: OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"auto", "auto:cheap", "auto:balanced", "auto:best", *PROVIDERS} <= names
    assert client.models.retrieve("auto").id == "auto"


def test_local_embeddings(client: OpenAI) -> None:
    model = "local/all-MiniLM-L6-v2"
    floats = client.embeddings.create(model=model, input=["points", "signals"], encoding_format="float")
    assert [len(item.embedding) for item in floats.data] == [384, 384]
    raw = client.embeddings.with_raw_response.create(model=model, input="points", encoding_format="base64")
    packed = base64.b64decode(raw.http_response.json()["data"][0]["embedding"])
    first = struct.unpack("<384f", packed)
    assert max(abs(a - b) for a, b in zip(first, floats.data[0].embedding)) < 1e-3


def test_upstream_embeddings(client: OpenAI) -> None:
    answer = client.embeddings.create(model="mock-b-embeddings", input="points", encoding_format="float")
    assert len(answer.data[0].embedding) > 0


def test_rate_limit_keeps_its_retry_after(client: OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="mock-limited", messages=ask("too many, pinned"))
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert caught.value.body["type"]


def test_a_rate_limited_model_is_replaced_when_the_router_chooses(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="pool", messages=ask("too many, routed"))
    assert answer.choices[0].message.content


def test_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=ask("hello"))
    assert "no-such-model" in caught.value.message


def test_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=[])
    assert caught.value.param == "messages"


def test_feedback_and_explanation(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ask("Judge this answer."))
    decision = raw.headers["x-pointsman-decision"]
    given = client.post("/feedback", body={"response_id": raw.parse().id, "score": 1.0}, cast_to=object)
    assert given["decision_id"] == decision
    explained = client.get(f"/decisions/{decision}", cast_to=object)
    assert explained
