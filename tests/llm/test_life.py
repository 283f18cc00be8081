"""If one of these fails, a program with a model in it hangs, or cannot be ended, or is slow to start."""

import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.llm.driver import num_requests, script_file, scripted

from streamcore import LLM
from streamcore.config import ServeConfig
from streamcore.engine_thread import EngineThread
from streamcore.errors import ConfigError, EngineFailedError, ModelLoadError
from streamcore.runner import load
from streamcore.runner.load import LoadedRunner
from streamcore.runner.model_runner import ModelRunner


def run(code: str, *arguments: str) -> str:
    """What a program says; one that hangs is a failure of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def num_engines() -> int:
    return sum(thread.name == "streamcore-engine" for thread in threading.enumerate())


def test_close_gives_everything_back(tmp_path: Path) -> None:
    """A program that loads one model after the other must not collect threads and descriptors."""
    engines = num_engines()
    left: list[int] = []
    for _ in range(3):
        llm = LLM(f"script:{script_file(tmp_path)}")
        stream = llm.stream("hang")
        next(stream)
        llm.close()
        llm.close()
        with pytest.raises(EngineFailedError, match="was closed"):
            list(stream)
        with pytest.raises(RuntimeError, match="is closed"):
            llm.generate("x")
        assert num_engines() == engines
        left.append(len(os.listdir("/proc/self/fd")))
    assert left[1] == left[2]


def test_close_ends_what_other_threads_wait_for(tmp_path: Path) -> None:
    """A thread that waits for an answer must not wait for ever."""
    with scripted(tmp_path) as llm:
        caught: list[BaseException] = []

        def ask() -> None:
            try:
                llm.generate(["hang"] * 3)
            except EngineFailedError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while num_requests(llm) < 3:
            time.sleep(0.01)
    thread.join()
    assert len(caught) == 1


def test_forgotten_model_is_closed(tmp_path: Path) -> None:
    """A model that no variable holds any more holds no memory, also when it was part of a cycle."""
    engines = num_engines()
    llm = LLM(f"script:{script_file(tmp_path)}")
    held: list[object] = [llm]
    held.append(held)
    assert num_engines() == engines + 1
    del llm, held
    gc.collect()
    assert num_engines() == engines


@pytest.mark.parametrize("is_broken", [False, True])
def test_close_gives_the_memory_back(monkeypatch: pytest.MonkeyPatch, is_broken: bool) -> None:
    """A program that closes one model to load the next needs the memory of the first, also when that has
    failed and the program still holds the object.
    """
    runners: list[weakref.ref[ModelRunner]] = []

    def load_and_watch(*args: Any, **options: Any) -> LoadedRunner:
        loaded = load_runner(*args, **options)
        runners.append(weakref.ref(loaded.runner))
        if is_broken:
            loaded.runner.launch = fail  # type: ignore[method-assign, assignment]
        return loaded

    def fail(_plan: object) -> None:
        raise KeyError("layer")

    load_runner = load.load_runner
    monkeypatch.setattr(load, "load_runner", load_and_watch)
    llm = LLM()
    with suppress(EngineFailedError):
        llm.generate("Count")
    llm.close()
    gc.collect()
    assert runners[0]() is None


def test_load_that_is_given_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has named the wrong model presses Ctrl-C, and does not wait until all of it is in memory."""
    is_loading = threading.Event()
    ends: list[str] = []

    def never_end(*arguments: Any, **_options: Any) -> None:
        *_, progress = arguments
        try:
            for tensor in range(1_000_000):
                progress(tensor, 1_000_000)
                is_loading.set()
        except Exception as error:
            ends.append(type(error).__name__)
            raise

    monkeypatch.setattr(load, "load_model", never_end)
    engine = EngineThread(ServeConfig(), is_watched=False)
    loaded = engine.start()
    is_loading.wait()
    engine.end()
    assert ends == ["_GivenUp"]
    assert loaded.cancelled()


def test_program_ends_without_closing(tmp_path: Path) -> None:
    """A script that never closes its model, and is in the middle of a stream, ends like any other."""
    code = """
import sys
from streamcore import LLM
llm = LLM(f"script:{sys.argv[1]}")
stream = llm.stream("hang")
print(next(stream).text)
"""
    assert run(code, str(script_file(tmp_path))) == "a\n"


def test_fork_has_no_model(tmp_path: Path) -> None:
    """A fork has a copy of the object and none of its threads: it must be told, and end; the parent goes on."""
    code = """
import os, sys
from streamcore import LLM
llm = LLM(f"script:{sys.argv[1]}")
stream = llm.stream("hang")
next(stream)
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    print(llm.generate("x")[0].outputs[0].text, next(stream).text)
else:
    # What had come before the fork may still be read.
    for ask in (lambda: llm.generate("x"), lambda: list(stream)):
        try:
            ask()
        except RuntimeError as error:
            print(error, flush=True)
"""
    lines = run(code, str(script_file(tmp_path))).splitlines()
    refusal = "this LLM belongs to the process that was forked: make one after the fork"
    assert lines == [refusal, refusal, "one two three  b"]


def test_no_second_copy(llm: LLM) -> None:
    """A process pool would load the model in each of its processes without a word."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(llm)


def test_import_is_fast() -> None:
    """Who imports the package for something small must not wait for torch, nor for the extension."""
    code = """
import sys, streamcore
assert not {"torch", "numpy", "asyncio", "streamcore._core"} & set(sys.modules)
from streamcore import LLM, SamplingParams
assert not {"torch", "numpy"} & set(sys.modules)
"""
    run(code)


def test_prompts_are_not_cut_for_readers(tmp_path: Path) -> None:
    """A program with many prompts and no streams would pay for a pace that it has no use for."""
    trace = tmp_path / "trace.jsonl"
    with LLM(trace_file=trace):
        pass
    assert json.loads(trace.read_text().splitlines()[0])["config"]["target_itl"] is None


def test_wrong_settings_are_refused_at_once(tmp_path: Path) -> None:
    """A typing error must be found before the model is loaded, and a server's address has no meaning here."""
    with pytest.raises(ConfigError, match="unknown setting `max_num_seq`"):
        LLM(max_num_seq=1)
    with pytest.raises(ConfigError, match="unknown setting `port`"):
        LLM(port=8000)
    engines = num_engines()
    with pytest.raises(ModelLoadError, match="nowhere"):
        LLM(tmp_path / "nowhere")
    assert num_engines() == engines
