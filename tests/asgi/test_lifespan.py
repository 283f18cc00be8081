"""If one of these fails, the application is a nuisance to start, to stop or to set up."""

import asyncio
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.asgi.driver import Call, chat, get, running

from streamcore import bell
from streamcore.asgi import create_app
from streamcore.config import ServeConfig, config_of
from streamcore.errors import ConfigError, ModelLoadError


async def test_starts_and_stops_again_and_again() -> None:
    """A site that is reloaded in one process must not leave threads or descriptors behind each time."""
    # Other loops of this process may run applications of their own.
    bells = dict(bell._bells)
    app = create_app(shutdown_timeout=0)
    left: list[tuple[int, int]] = []
    for _ in range(3):
        async with app.router.lifespan_context(app):
            assert (await get(app, "/health")).status == 200
            call = Call(app, "POST", "/v1/chat/completions", [chat(3)])
            await call.task
            assert call.body.endswith(b"data: [DONE]\n\n")
        left.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
    assert left[1] == left[2]
    assert bell._bells == bells


async def test_end_of_lifespan_lets_answers_end() -> None:
    """What runs when the site is stopped finishes within `shutdown_timeout`, and later requests are sent elsewhere."""
    app = create_app()
    async with app.router.lifespan_context(app):
        call = Call(app, "POST", "/v1/chat/completions", [chat(200)])
        await call.num_messages_are(2)
    await call.task
    assert call.body.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in call.body


async def test_deadline_ends_answers() -> None:
    """An answer that outlasts the deadline ends with an error event."""
    app = create_app(shutdown_timeout=0)
    async with app.router.lifespan_context(app):
        call = Call(app, "POST", "/v1/chat/completions", [chat(3000)])
        await call.num_messages_are(2)
    with pytest.raises(RuntimeError, match="the answer was cut"):
        await call.task
    assert b'"error":{' in call.body
    assert b"[DONE]" not in call.body


async def test_request_without_lifespan_says_what_to_do() -> None:
    """A site that mounts the application and forgets its lifespan must be told what is missing, not time out."""
    app = create_app()
    call = Call(app, "GET", "/health")
    with pytest.raises(RuntimeError, match="must enter it"):
        await call.task
    assert call.status == 500


async def test_second_lifespan_is_refused() -> None:
    """Two engines behind one application would each have half of the memory."""
    async with running() as app:
        with pytest.raises(RuntimeError, match="runs already"):
            async with app.router.lifespan_context(app):
                pass
        assert (await get(app, "/health")).status == 200


async def test_model_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    """A site must not come up without its model, and must say what is wrong with it."""
    bells = dict(bell._bells)
    with pytest.raises(ModelLoadError, match="nowhere") as caught:
        async with running(model=tmp_path / "nowhere"):
            pass
    assert "engine_thread.py" not in "".join(traceback.format_exception(caught.value))
    assert bell._bells == bells


async def test_error_of_a_start_keeps_its_cause(tmp_path: Path) -> None:
    """Why a file cannot be read is known to the system alone: permissions, a share that is gone."""
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        async with running(model=f"script:{tmp_path / 'nowhere.json'}"):
            pass
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_start_that_is_given_up_ends() -> None:
    """A site that is stopped while it loads its model stops, and leaves no engine running."""
    app = create_app()
    before = threading.enumerate()

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it was given up before")

    starting = asyncio.create_task(start())
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name == "streamcore-engine"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_num_seq": 1}, "unknown setting `max_num_seq`"),
        ({"host": "0.0.0.0"}, "unknown setting `host`"),
        ({"max_num_seqs": 0}, "at least 1"),
        ({"max_num_seqs": "8"}, "`max_num_seqs` is '8', it must be a whole number"),
        ({"max_num_seqs": 4.0}, "it must be a whole number"),
        ({"max_num_seqs": True}, "it must be a whole number"),
        ({"max_model_len": 64.5}, "it must be a whole number"),
        ({"kv_cache_memory_bytes": 4e8}, "`kv_cache_memory_bytes` is 400000000.0, it must be a whole number"),
        ({"max_waiting_requests": None}, "`max_waiting_requests` is None"),
        ({"block_size": None}, "`block_size` is None"),
        ({"shutdown_timeout": None}, "`shutdown_timeout` is None, it must be a number"),
        ({"target_itl_ms": float("nan")}, "at least 0"),
        ({"target_itl_ms": float("inf")}, "at most"),
        ({"device": None}, "`device` is None, it must be text"),
        ({"trace_file": 5}, "`trace_file` is 5, it must be a path"),
        ({"model": 5}, "`model` is 5, it must be a path"),
        ({"api_key": ["a", None]}, "`api_key` is None, it must be text"),
        ({"served_model_name": 5}, "`served_model_name` is 5, it must be text or a list of texts"),
        ({"dtype": "int8"}, "must be one of"),
        ({"kv_cache_memory_bytes": "much"}, "`much` is not a number of bytes"),
        ({"api_key": ""}, "is empty"),
    ],
)
def test_wrong_setting_is_refused_at_once(settings: dict[str, Any], named: str) -> None:
    """A typing error must not be ignored, and not be found only after the model was loaded."""
    with pytest.raises(ConfigError, match=named):
        create_app(**settings)


def test_empty_key_of_the_environment_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that was not filled in must not open a site's model to all; keys that the site names itself are enough."""
    monkeypatch.setenv("STREAMCORE_API_KEY", "")
    with pytest.raises(ConfigError, match="`STREAMCORE_API_KEY` has an empty key"):
        create_app()
    create_app(api_key="k")


def test_nothing_means_the_default() -> None:
    """Who passes settings on passes None for what he was not given; a key that is None must not become text."""
    config = config_of(None, {"api_key": None, "max_num_seqs": None, "allowed_origins": ()})
    assert config == ServeConfig()


def test_numbers_are_taken_whatever_library_they_are_of() -> None:
    """A limit that was worked out with NumPy is as good as another."""
    config = config_of(
        None, {"max_num_seqs": np.int64(4), "shutdown_timeout": np.float32(1.5), "target_itl_ms": 20}
    )
    assert (config.max_num_seqs, config.shutdown_timeout, config.target_itl_ms) == (4, 1.5, 20.0)
    assert type(config.max_num_seqs) is int


def test_wrong_setting_is_given_a_hint() -> None:
    """The message helps, and it ends what an ASGI server prints: of this package there is one frame, not a page of them."""
    with pytest.raises(ConfigError) as caught:
        create_app(max_num_seq=1)
    assert caught.value.hint == "did you mean `max_num_seqs`?"
    assert [frame.name for frame in traceback.extract_tb(caught.tb)][1:] == ["create_app"]
    if sys.version_info >= (3, 11):
        assert traceback.format_exception(caught.value)[-1] == "did you mean `max_num_seqs`?\n"


async def test_settings_are_those_of_the_command_line() -> None:
    """One value or several, numbers or text with a unit: as on the command line."""
    settings: dict[str, Any] = {
        "served_model_name": "a",
        "api_key": ["k1", "k2"],
        "kv_cache_memory_bytes": "64MiB",
    }
    async with running(**settings) as app:
        call = await get(app, "/v1/models")
        assert call.status == 401


def test_missing_starlette_is_said() -> None:
    """The error must name what can be installed: the wheel of streamcore is in no index, Starlette is."""
    code = "import sys; sys.modules['starlette'] = None; import streamcore.asgi"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1].endswith(
        "streamcore.asgi needs Starlette: pip install 'starlette>=0.46'"
    )


def test_import_needs_no_torch() -> None:
    """A site's start must not wait for torch before it says what is wrong with its settings."""
    code = "import sys, streamcore.asgi as a; a.create_app(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
