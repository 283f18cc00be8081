"""LangChain's own standard tests of chat models, with tools, the choice of tools and structured output switched on."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from checks import API_KEY, servers
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

SCRIPT = servers()[1]
# What is not for a script that answers in text: what it cannot see, hear or read, and answers
# recorded earlier.
ELSEWHERE = "not (image or pdf or audio or anthropic or stream_time)"
# LangChain asks by a call for a class of Pydantic 1, whatever the method, and the script calls
# classes of one name only.
ELSEWHERE_BY = {
    "TestBySchema": ("test_structured_output_pydantic_2_v1",),
    "TestByCall": (
        "test_structured_output[typeddict]",
        "test_structured_output_async[typeddict]",
        "test_structured_output_optional_param",
    ),
}


class TestBySchema(ChatModelIntegrationTests):
    """Structured output by a schema."""

    model_name = "script"
    method = "json_schema"
    supports_json_mode = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """The class under test."""
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """Where its server is."""
        url = f"{SCRIPT.url}/v1"
        return {
            "model": self.model_name,
            "base_url": url,
            "api_key": API_KEY,
            "stream_usage": True,
            "max_retries": 0,
        }

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        """How an object is asked for."""
        return {"method": self.method}

    @property
    def model_override_value(self) -> str:
        """Another model that the server has."""
        return "caller"


class TestByCall(TestBySchema):
    """Structured output by a call."""

    model_name = "caller"
    method = "function_calling"


class Lines:
    """Tells of each test in the way of the other programs here."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print a line."""
        name = report.nodeid.split("::", 1)[1]
        if report.failed:
            print(f"FAIL  {name}\n{report.longreprtext}", flush=True)
        elif report.when == "call" and report.passed:
            print(f"ok    {name}", flush=True)


if __name__ == "__main__":
    # The settings of the project's own tests are not meant for these. One loop for all: LangChain
    # keeps its connections.
    options = ["-c", os.devnull, "--rootdir", str(Path(__file__).parent), "--import-mode=importlib"]
    options += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session"]
    options += ["-p", "no:terminal", "-p", "no:cacheprovider", "-k", ELSEWHERE]
    options += [
        f"--deselect=check.py::{kind}::{name}" for kind, names in ELSEWHERE_BY.items() for name in names
    ]
    sys.exit(pytest.main([*options, __file__], plugins=[Lines()]))
