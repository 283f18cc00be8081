"""The real engine and the real runner, without the server between them."""

from pathlib import Path

import torch

from streamcore import _core
from streamcore.models.folder import check_model_folder
from streamcore.models.llama import LlamaModel
from streamcore.models.loader import load_model
from streamcore.runner.kv_cache import allocate_kv_cache
from streamcore.runner.model_runner import ModelRunner

CPU = torch.device("cpu")


def load(folder: Path, max_model_len: int) -> LlamaModel:
    """The model of a folder in float32."""
    return load_model(check_model_folder(folder), CPU, torch.float32, max_model_len)


class EngineLoop:
    """An engine, a runner, and the loop between them."""

    def __init__(
        self,
        model: LlamaModel,
        *,
        max_num_seqs: int = 16,
        max_num_batched_tokens: int = 512,
        num_blocks: int = 512,
        max_model_len: int = 256,
    ) -> None:
        self.config = _core.EngineConfig(
            block_size=16,
            num_blocks=num_blocks,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
            max_model_len=max_model_len,
        )
        caches = allocate_kv_cache(model.config, CPU, torch.float32, block_size=16, num_blocks=num_blocks)
        self.runner = ModelRunner(model, caches, self.config.step_columns(), CPU)
        self.scheduler = _core.Scheduler(self.config)
        self.largest_step = 0

    def generate(self, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
        """Greedy tokens of every prompt, all queued at once."""
        for index, prompt in enumerate(prompts):
            self.scheduler.add_request(index, prompt, max_tokens=max_tokens)
        tokens: list[list[int]] = [[] for _ in prompts]
        buffers = _core.StepBuffers(self.config, self.runner.all_buffers[0].addresses())
        while (plan := self.scheduler.next_step(buffers)) is not None:
            self.largest_step = max(self.largest_step, plan.num_seqs)
            sampled = self.runner.execute(plan)
            self.scheduler.complete_step(plan.id, sampled.data_ptr(), sampled.numel())
            for request_id, kind, token in self.scheduler.drain_events():
                if kind == "token" and token is not None:
                    tokens[request_id].append(token)
        assert not self.scheduler.has_work
        assert self.scheduler.num_free_blocks == self.runner.caches[0].keys.shape[0]
        return tokens
