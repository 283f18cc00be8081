"""Stops a program at a moment of its start, and sends it signals there.

Python imports a module of this name before the program, if its folder is in `PYTHONPATH`.

`STOP_AT` is a module, in whose import the program is stopped, or `module:function`, which is stopped in where it is called.
The interpreter is held meanwhile, as it is by a library that is being loaded: only what needs no Python can end the process.
"""

import ctypes
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import Any

MODULE, _, FUNCTION = os.environ["STOP_AT"].partition(":")


def stop(*_arguments: Any, **_options: Any) -> None:
    """Send the signals, and keep the interpreter for ever."""
    for number in os.environ["STOP_BY"].split(","):
        os.kill(os.getpid(), int(number))
    while True:
        # It returns early where a handler has run.
        ctypes.PyDLL(None).sleep(100)


class Finder:
    """Asked first where each module is."""

    @staticmethod
    def find_spec(name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Stop in the import, or have the function replaced after it."""
        if name != MODULE:
            return None
        if not FUNCTION:
            stop()
        sys.meta_path.remove(Finder)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_replace(module: ModuleType) -> None:
            execute(module)
            owner, _, function = FUNCTION.rpartition(".")
            target = attrgetter(owner)(module) if owner else module
            assert callable(getattr(target, function))
            setattr(target, function, stop)

        spec.loader.exec_module = execute_and_replace  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder)
