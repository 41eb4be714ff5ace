"""A third-party provider that fails on command: before its first content the caller sees a whole answer from the
standby, after it one clean error, and in no case a false end."""

import json
import os
import urllib.request

import openai
import pytest
from openai import OpenAI

BEFORE = [
    {"type": "fail", "status": 500, "times": 1},
    {"type": "fail", "status": 529, "times": 1},
    {"type": "slow_first_token", "seconds": 5, "times": 1},
    {"type": "stream_fault", "kind": "disconnect", "after_chunks": 0, "times": 1},
    {"type": "stream_fault", "kind": "truncate", "after_chunks": 0, "times": 1},
    {"type": "stream_fault", "kind": "malformed", "after_chunks": 0, "times": 1},
    # Last: it asks to be left alone for a while, and is.
    {"type": "fail", "status": 429, "times": 1, "retry_after": 2},
]
AFTER = [
    {"type": "stream_fault", "kind": kind, "after_chunks": 4, "times": 1}
    for kind in ["disconnect", "truncate", "stall", "malformed"]
]
NAME = lambda b: "-".join(str(b[key]) for key in ("type", "status", "kind") if key in b)  # noqa: E731


def call_mock(method: str, body: dict | None = None) -> None:
    request = urllib.request.Request(
        os.environ["MOCK_B_URL"] + "/_llmock/scenario",
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"content-type": "application/json"},
    )
    urllib.request.urlopen(request).read()


def scenario(behavior: dict) -> None:
    call_mock("POST", {"behaviors": [behavior]})


@pytest.fixture(autouse=True)
def well_again():
    yield
    call_mock("DELETE")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("behavior", BEFORE, ids=NAME)
def test_a_fault_before_the_first_content_is_invisible(client: OpenAI, behavior: dict, stream: bool) -> None:
    if behavior["type"] in ("stream_fault", "slow_first_token") and not stream:
        pytest.skip("a fault of streams only")
    scenario(behavior)
    answer = client.chat.completions.create(
        model="mock-either", messages=[{"role": "user", "content": f"Fault before, {behavior}"}], stream=stream
    )
    if stream:
        chunks = list(answer)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert len({c.id for c in chunks}) == 1, "one answer has one id"
        assert sum(c.choices[0].finish_reason is not None for c in chunks if c.choices) == 1
    else:
        assert answer.choices[0].message.content


@pytest.mark.parametrize("behavior", AFTER, ids=NAME)
def test_a_fault_after_the_first_content_is_one_clean_error(client: OpenAI, behavior: dict) -> None:
    scenario(behavior)
    stream = client.chat.completions.create(
        model="mock-faulty", messages=[{"role": "user", "content": f"Fault after, {behavior}"}], stream=True
    )
    text = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
                assert chunk.choices[0].finish_reason is None, "no false end"
    assert text, "what was produced before the fault reaches the caller"
    assert caught.value.body["type"]
