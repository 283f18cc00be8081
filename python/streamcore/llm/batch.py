"""Many requests at once: as many in flight as the queue takes, their answers in order."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import TextIO

from streamcore.bell import Message
from streamcore.errors import QueueFullError, RequestError
from streamcore.llm.answers import Door, OpenAnswers, WholeAnswer
from streamcore.llm.outputs import GenerationOutput, generation_output
from streamcore.llm.requests import Request

# How often the line on the terminal is written again.
_SHOW_INTERVAL_S = 0.1


class Progress:
    """How far a batch has come: a line on a terminal that rewrites itself, and nothing
    elsewhere.
    """

    def __init__(self, num_requests: int, stream: TextIO) -> None:
        self._num_requests = num_requests
        self._stream = stream
        self._num_done = self._num_tokens = 0
        self._started = self._shown = time.monotonic()

    def add(self, output: GenerationOutput) -> None:
        """Count an answer."""
        self._num_done += 1
        self._num_tokens += output.usage.completion_tokens
        if time.monotonic() - self._shown >= _SHOW_INTERVAL_S:
            self._show("")

    def close(self) -> None:
        """Leave the last line as it is."""
        self._show("\n")

    def _show(self, end: str) -> None:
        self._shown = time.monotonic()
        rate = self._num_tokens / max(self._shown - self._started, 1e-3)
        done = f"{self._num_done}/{self._num_requests} requests, {rate:.0f} output tokens/s"
        self._stream.write(f"\r{done}\x1b[K{end}")
        self._stream.flush()


class Batch:
    """The requests of one call.

    Args:
        door: where they are handed in.
        requests: what is asked for.
        max_in_flight: most choices that are open at once.
    """

    def __init__(self, door: Door, requests: Sequence[Request], *, max_in_flight: int) -> None:
        self._door = door
        self._requests = requests
        self._max_in_flight = max_in_flight
        self._waiting = deque(range(len(requests)))
        # By the number of the answer: the index of the request.
        self._open: dict[int, tuple[int, WholeAnswer]] = {}
        self._num_choices = 0
        self._is_refused = False
        self._outputs: dict[int, GenerationOutput] = {}

    def run(self, *, progress: bool) -> list[GenerationOutput]:
        """The answers, in order.

        Raises:
            RequestError: one of the requests has none; the others are aborted.
        """
        is_watched = progress and len(self._requests) > 1 and sys.stderr.isatty()
        shown = Progress(len(self._requests), sys.stderr) if is_watched else None
        try:
            with OpenAnswers(self._door) as answers:
                while self._waiting or self._open:
                    self._fill(answers)
                    for number, part in answers.wait():
                        output = self._take(answers, number, part)
                        if shown is not None and output is not None:
                            shown.add(output)
        finally:
            if shown is not None:
                shown.close()
        return [self._outputs[index] for index in range(len(self._requests))]

    def _fill(self, answers: OpenAnswers) -> None:
        """Ask for more while there is room. One with more choices than there is ever room for goes
        alone.
        """
        while self._waiting and not self._is_refused:
            request = self._requests[self._waiting[0]]
            if self._open and self._num_choices + request.num_choices > self._max_in_flight:
                return
            self._num_choices += request.num_choices
            self._open[answers.open(request)] = self._waiting.popleft(), WholeAnswer()

    def _take(self, answers: OpenAnswers, number: int, part: Message) -> GenerationOutput | None:
        """Take a part of an answer; the answer, once it is complete."""
        index, answer = self._open[number]
        request = self._requests[index]
        try:
            whole = answer.take(part)
        except QueueFullError as error:
            if error.code != "queue_full":
                self._blame(error, index)
                raise
            self._close(number)
            self._wait_for_room(index, error)
            return None
        except RequestError as error:
            self._blame(error, index)
            raise
        if whole is None:
            answers.resume(number)
            return None
        self._close(number)
        self._is_refused = False
        output = self._outputs[index] = generation_output(request.asked, whole)
        return output

    def _close(self, number: int) -> None:
        index, _ = self._open.pop(number)
        self._num_choices -= self._requests[index].num_choices

    def _wait_for_room(self, index: int, error: QueueFullError) -> None:
        """Ask again when one of ours is done. Where none is open, it is others that
        fill the queue.
        """
        self._waiting.appendleft(index)
        self._is_refused = bool(self._open)
        if not self._open:
            time.sleep(error.retry_after_s)

    def _blame(self, error: RequestError, index: int) -> None:
        if len(self._requests) > 1:
            error.blame(index)
