"""Addresses come from the environment; `run` sets them after starting the servers."""

import os

import pytest
from openai import OpenAI


@pytest.fixture(scope="session")
def base_url() -> str:
    return os.environ["POINTSMAN_BASE_URL"]


@pytest.fixture(scope="session")
def client(base_url: str) -> OpenAI:
    return OpenAI(base_url=base_url, api_key="unused", max_retries=0)
