"""A toy transformer in NumPy behind the scheduler: continuous batching, a paged KV cache and a prefix cache for any model.

Run it with: python examples/numpy_runner.py
"""

import numpy as np

from streamcore import Scheduler
from streamcore.scheduler import Finished, Step, Token

VOCAB, WIDTH, BLOCK_SIZE, NUM_BLOCKS, MAX_SEQS = 100, 32, 4, 64, 8


class ToyModel:
    """One attention layer with random weights; its keys and values lie in the slots that the scheduler gives them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.embedding, self.queries, self.keys, self.values = (
            rng.standard_normal((rows, WIDTH)) / WIDTH**0.5 for rows in (VOCAB, WIDTH, WIDTH, WIDTH)
        )
        self.key_cache = np.zeros((NUM_BLOCKS, BLOCK_SIZE, WIDTH))
        self.value_cache = np.zeros_like(self.key_cache)

    def forward(self, step: Step, block_tables: np.ndarray) -> np.ndarray:
        """The logits that tokens are drawn from, [num_samples, VOCAB]."""
        positions, slots = np.asarray(step.positions), np.asarray(step.slot_mapping)
        hidden = self.embedding[step.token_ids] + np.sin(positions[:, None] / np.arange(1, WIDTH + 1))
        # Every token's key and value go to its slot first, so a token finds itself in the cache.
        self.key_cache.reshape(-1, WIDTH)[slots] = hidden @ self.keys
        self.value_cache.reshape(-1, WIDTH)[slots] = hidden @ self.values
        for seq, row in enumerate(step.seq_rows):
            mine = slice(step.query_starts[seq], step.query_starts[seq + 1])
            length = step.context_lens[seq]
            blocks = block_tables[row, : -(-length // BLOCK_SIZE)]
            keys = self.key_cache[blocks].reshape(-1, WIDTH)[:length]
            values = self.value_cache[blocks].reshape(-1, WIDTH)[:length]
            scores = hidden[mine] @ self.queries @ keys.T
            scores[positions[mine, None] < np.arange(length)] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            hidden[mine] += weights @ values / weights.sum(axis=1, keepdims=True)
        logits: np.ndarray = hidden[step.logits_indices] @ self.embedding.T
        return logits


def generate(prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
    """The greedy continuation of each prompt; they may come and go at any step, here all come at once."""
    scheduler = Scheduler(num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE, max_num_seqs=MAX_SEQS)
    block_tables = np.zeros((MAX_SEQS, scheduler.max_blocks_per_seq), dtype=np.int32)
    model = ToyModel()
    answers: dict[int, list[int]] = {}
    for prompt in prompts:
        answers[scheduler.add_request(prompt, max_tokens=max_tokens, stop_token_ids=[0])] = []
    while step := scheduler.next_step():
        np.put(block_tables, np.asarray(step.block_places), step.block_ids)
        logits = model.forward(step, block_tables)
        scheduler.complete_step(step, logits.argmax(axis=1))
        for event in scheduler.drain_events():
            match event:
                case Token(request_id, token_id):
                    answers[request_id].append(token_id)
                case Finished(request_id, reason):
                    print(f"request {request_id} ended by {reason}: {answers[request_id]}")
    return list(answers.values())


if __name__ == "__main__":
    generate([[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12], [1, 2, 3, 4]], max_tokens=12)
