"""If one of these fails, a model that computes NaN answers with garbage and a status of success."""

from collections.abc import Iterator

import httpx
import pytest
import torch
from openai import APIError, InternalServerError, OpenAI
from safetensors.torch import load_file, save_file
from tests.checkpoints import write_checkpoint
from tests.server_process import ServerProcess, run_server

NAN_TOKEN, INFINITE_TOKEN, SOUND_TOKEN = 65, 66, 67


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serves a model of which two tokens have broken embeddings."""
    folder = write_checkpoint(tmp_path_factory.mktemp("broken") / "model")
    path = next(iter(folder.glob("*.safetensors")))
    tensors = load_file(path)
    embeddings = tensors["model.embed_tokens.weight"]
    embeddings[NAN_TOKEN] = torch.nan
    embeddings[INFINITE_TOKEN, 0] = torch.inf
    save_file(tensors, path, metadata={"format": "pt"})
    with run_server(str(folder)) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none") as openai_client:
        yield openai_client


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("token", [NAN_TOKEN, INFINITE_TOKEN])
def test_whole_answer_is_an_error_that_is_not_tried_again(
    server: ServerProcess, client: OpenAI, token: int, temperature: float
) -> None:
    """The client pays for an answer that means nothing, or asks twice more for the same one."""
    before = server.metric("streamcore_logits_not_finite_total")
    with pytest.raises(InternalServerError, match="NaN or infinite") as raised:
        client.completions.create(model="model", prompt=[5, token, 6], temperature=temperature, top_p=0.9)
    assert raised.value.code == "logits_not_finite"
    assert server.metric("streamcore_logits_not_finite_total") == before + 1


def test_stream_ends_with_the_error(client: OpenAI) -> None:
    """A stream that has begun has no status left to say it with."""
    with pytest.raises(APIError, match="NaN or infinite"):
        list(client.completions.create(model="model", prompt=[5, NAN_TOKEN, 6], stream=True))


def test_the_other_requests_of_the_step_are_answered(server: ServerProcess, client: OpenAI) -> None:
    """One broken prompt would take its neighbours with it; and the log says it once, not a thousand times."""
    body = {
        "model": "model",
        "prompt": [[5, SOUND_TOKEN], [5, SOUND_TOKEN, 7]],
        "max_tokens": 4,
        "ignore_eos": True,
        "temperature": 0,
    }
    expected = httpx.post(f"{server.url}/v1/completions", json=body).json()["choices"]
    for _ in range(2):
        with pytest.raises(InternalServerError):
            client.completions.create(model="model", prompt=[[5, SOUND_TOKEN], [NAN_TOKEN]])
    assert httpx.post(f"{server.url}/v1/completions", json=body).json()["choices"] == expected
    server.wait_until_all_is_back()
    assert server.read_output_until("NaN or infinite").count("the model computed logits") <= 1


def test_nothing_of_it_stays_in_the_prefix_cache(server: ServerProcess) -> None:
    """What is NaN in the cache would spoil the prompts that begin alike."""
    prompt = [NAN_TOKEN, *range(100, 164)]
    body = {"model": "model", "prompt": prompt, "max_tokens": 1}
    for _ in range(2):
        assert httpx.post(f"{server.url}/v1/completions", json=body).status_code == 500
    assert server.metric("streamcore_prefix_cache_hits_total") == 0
