"""Model folders that are wrong, incomplete or of another kind."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.checkpoints import TINY, random_weights, write_checkpoint, write_weights

from streamcore.errors import ModelLoadError
from streamcore.models.folder import check_model_folder
from streamcore.models.names import text_name

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4957560304\n"
SHARDS = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"]


def _cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _without_tensor(folder: Path, name: str) -> None:
    weights = random_weights(TINY)
    del weights[name]
    write_weights(folder, weights)


def _with_tensors(folder: Path, **tensors: torch.Tensor) -> None:
    write_weights(folder, random_weights(TINY) | {name.replace("__", "."): t for name, t in tensors.items()})


def _header(folder: Path, header: object) -> None:
    encoded = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(encoded)) + encoded)


BROKEN: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no config": (lambda f: (f / "config.json").unlink(), ["config.json is missing"]),
    "config cut short": (lambda f: _cut(f / "config.json", 40), ["config.json is not valid JSON"]),
    "config no object": (
        lambda f: (f / "config.json").write_text("[1]"),
        ["config.json is not a JSON object"],
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ["model.safetensors is missing"]),
    "pickle": (_only_pickle, ["only .safetensors files are ever loaded", "pytorch_model.bin"]),
    "data cut short": (
        lambda f: _cut(f / "model.safetensors", 50_000),
        ["model.safetensors is incomplete: 50000 of "],
    ),
    "header cut short": (
        lambda f: _cut(f / "model.safetensors", 100),
        ["model.safetensors is incomplete: 100 bytes end within its header"],
    ),
    "three bytes": (lambda f: _cut(f / "model.safetensors", 3), ["model.safetensors is incomplete"]),
    "empty": (lambda f: _cut(f / "model.safetensors", 0), ["model.safetensors is empty"]),
    "header no JSON": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"nope"),
        ["model.safetensors has a damaged header"],
    ),
    "header of numbers": (lambda f: _header(f, {"a": 1}), ["model.safetensors has a damaged header"]),
    "shape of words": (
        lambda f: _header(f, {"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}),
        ["model.safetensors has a damaged header"],
    ),
    "span too small": (
        lambda f: _header(f, {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 0]}}),
        ["`a` spans 0 bytes, its shape needs 16"],
    ),
    "endless shape": (
        lambda f: _header(f, {"a": {"dtype": "F32", "shape": [float("inf")], "data_offsets": [0, 4]}}),
        ["has a damaged header: 'a' has the size inf"],
    ),
    "shape too long to print": (
        lambda f: _header(f, {"a": {"dtype": "F32", "shape": [10**4000, 10**4000], "data_offsets": [0, 4]}}),
        ["has a damaged header: 'a' has the size inf"],
    ),
    "shape beyond any file": (
        lambda f: _header(f, {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}),
        ["has a damaged header: 'a' has the shape [1099511627776, 1099511627776]"],
    ),
    "span before the data": (
        lambda f: _header(f, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}),
        ["has a damaged header: 'a' has the size -4"],
    ),
    "lfs weights": (
        lambda f: (f / "model.safetensors").write_text(LFS_POINTER),
        ["model.safetensors is a git-lfs pointer"],
    ),
    "lfs tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(LFS_POINTER),
        ["tokenizer.json is a git-lfs pointer"],
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), ["tokenizer.json is missing"]),
    "tokenizer cut short": (lambda f: _cut(f / "tokenizer.json", 900), ["tokenizer.json is incomplete"]),
    "broken link": (
        lambda f: (f / "tokenizer.json").rename(f / "a").with_name("tokenizer.json").symlink_to("../b"),
        ["tokenizer.json is a broken link"],
    ),
    "tensor missing": (
        lambda f: _without_tensor(f, "model.layers.1.mlp.up_proj.weight"),
        ["the weights lack `model.layers.1.mlp.up_proj.weight`"],
    ),
    "tensor unknown": (
        lambda f: _with_tensors(f, model__layers__0__self_attn__q_norm__weight=torch.ones(16)),
        ["hold `model.layers.0.self_attn.q_norm.weight`, which config.json does not account for"],
    ),
    "bias unknown": (
        lambda f: _with_tensors(f, model__layers__0__mlp__up_proj__bias=torch.zeros(4)),
        ["hold `model.layers.0.mlp.up_proj.bias`, which config.json does not account for"],
    ),
    "wrong shape": (
        lambda f: _with_tensors(f, model__norm__weight=torch.ones(47)),
        ["`model.norm.weight` has shape [47], config.json asks for [48]"],
    ),
    "integers": (
        lambda f: _with_tensors(f, model__norm__weight=torch.ones(48, dtype=torch.int8)),
        ["the weights have dtype I8, supported are F64, F32, F16, BF16"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """Who has half a download must read which file is at fault, not a traceback from inside a library."""
    spoil, expected = BROKEN[name]
    folder = write_checkpoint(tmp_path)
    spoil(folder)
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(folder)
    assert str(folder) in str(caught.value)
    for text in expected:
        assert text in str(caught.value)


NAMES = {
    "model.language_model.layers.0.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight",
    "language_model.model.norm.weight": "model.norm.weight",
    "language_model.lm_head.weight": "lm_head.weight",
    "language_model.embed_tokens.weight": "model.embed_tokens.weight",
    "model.norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
    "vision_tower.vision_model.post_layernorm.weight": None,
    "model.vision_tower.ln_pre.weight": None,
    "multi_modal_projector.linear_1.weight": None,
    "model.multi_modal_projector.norm.weight": None,
    "model.embed_vision.weight": None,
    "audio_projector.weight": "audio_projector.weight",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_text_part(name: str) -> None:
    """Publishers and those who copy put the language model under different names; what is of no known part stays an error."""
    assert text_name(name) == NAMES[name]


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    """Which of the two counts would depend on their order in the file."""
    folder = write_checkpoint(tmp_path)
    weights = random_weights(TINY)
    weights["language_model.model.norm.weight"] = torch.zeros(48)
    write_weights(folder, weights)
    with pytest.raises(ModelLoadError, match=r"the weights hold `model\.norm\.weight` twice"):
        check_model_folder(folder)


SHARD_PROBLEMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (
        lambda f: (f / "model.safetensors.index.json").unlink(),
        "model.safetensors.index.json is missing",
    ),
    "index lfs": (
        lambda f: (f / "model.safetensors.index.json").write_text(LFS_POINTER),
        "model.safetensors.index.json is a git-lfs pointer",
    ),
    "index without map": (
        lambda f: (f / "model.safetensors.index.json").write_text("{}"),
        "model.safetensors.index.json has no `weight_map`",
    ),
    "index leaves the folder": (
        lambda f: (f / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "../b.safetensors"}}'
        ),
        "places `a` in '../b.safetensors', which is not the name of a .safetensors file",
    ),
    "index names pickle": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.bin"}}'),
        "places `a` in 'b.bin', which is not the name of a .safetensors file",
    ),
    "shard missing": (lambda f: (f / SHARDS[1]).unlink(), f"{SHARDS[1]} is missing"),
    "shard cut short": (lambda f: _cut(f / SHARDS[0], 9000), f"{SHARDS[0]} is incomplete: 9000 of "),
    "shard of another model": (
        lambda f: (f / SHARDS[0]).write_bytes((f / SHARDS[1]).read_bytes()),
        f"{SHARDS[0]} lacks ",
    ),
}


@pytest.mark.parametrize("name", SHARD_PROBLEMS)
def test_a_broken_shard_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """Large models come in many files: the one that did not arrive must be named."""
    spoil, expected = SHARD_PROBLEMS[name]
    folder = write_checkpoint(tmp_path, num_shards=3)
    spoil(folder)
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(folder)
    assert expected in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """A user must not start the server once per missing file."""
    folder = write_checkpoint(tmp_path, num_shards=3, hidden_act="gelu", num_hidden_layers=2)
    (folder / SHARDS[0]).unlink()
    _cut(folder / SHARDS[1], 2000)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(folder)
    size = (write_checkpoint(tmp_path / "whole", num_shards=3) / SHARDS[1]).stat().st_size
    assert str(caught.value) == (
        f"model folder {folder} cannot be loaded: "
        "config.json has `hidden_act` 'gelu', supported are silu, swish, gelu_pytorch_tanh, gelu_new; "
        f"{SHARDS[0]} is missing; {SHARDS[1]} is incomplete: 2000 of {size} bytes; tokenizer.json is missing"
    )
    assert caught.value.hint == "the download may not have finished: fetch the folder again"


def test_many_missing_tensors_are_counted(tmp_path: Path) -> None:
    """A message of a thousand tensor names hides what it says."""
    folder = write_checkpoint(tmp_path)
    write_weights(folder, {"model.norm.weight": torch.ones(48)})
    with pytest.raises(ModelLoadError, match=r"the weights lack `lm_head\.weight`, .*, and 17 more"):
        check_model_folder(folder)


def test_no_folder(tmp_path: Path) -> None:
    """A mistyped path must be told from a damaged model."""
    with pytest.raises(ModelLoadError, match="does not exist"):
        check_model_folder(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelLoadError, match="is a file, not a folder"):
        check_model_folder(tmp_path / "file")


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_complete_folder_passes(num_shards: int, tmp_path: Path) -> None:
    """A good folder must not be refused, also with the tables that old checkpoints carry along."""
    folder = write_checkpoint(tmp_path, torch_dtype="bfloat16", num_shards=num_shards)
    checked = check_model_folder(folder)
    assert checked.dtype == "bfloat16"
    assert checked.num_parameters == sum(t.numel() for t in random_weights(TINY).values())


def test_the_precision_is_that_of_the_weights_where_the_config_names_none(tmp_path: Path) -> None:
    """Some folders do not say: bfloat16 weights must not then be taken for float32, twice their size."""
    folder = write_checkpoint(tmp_path, torch_dtype=None)
    write_weights(folder, random_weights({**TINY, "torch_dtype": "bfloat16"}))
    assert check_model_folder(folder).dtype == "bfloat16"


def test_redundant_tensors_are_ignored(tmp_path: Path) -> None:
    """Converted checkpoints hold frequencies, or a copy of a tied embedding, that no model needs."""
    folder = write_checkpoint(tmp_path, tie_word_embeddings=True)
    weights = random_weights({**TINY, "tie_word_embeddings": True})
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    weights["lm_head.weight"] = torch.ones(256, 48)
    write_weights(folder, weights)
    assert "lm_head.weight" not in check_model_folder(folder).tensors


def _gguf(path: Path, architecture: str) -> Path:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entry = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    return path


def _file(path: Path, content: bytes = b"?") -> Path:
    path.write_bytes(content)
    return path


def _folder_with(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


ELSEWHERE: dict[str, tuple[Callable[[Path], Path], str, str | None]] = {
    "gguf": (
        lambda f: _gguf(f / "m.gguf", "mamba"),
        "is a GGUF file with the architecture 'mamba', supported are llama",
        None,
    ),
    "gguf by another name": (
        lambda f: _gguf(f / "sha256-1234", "qwen2moe"),
        "is a GGUF file with the architecture 'qwen2moe'",
        "nearest name is qwen3moe",
    ),
    "weights": (lambda f: _file(f / "model.safetensors"), "is a file of weights", "name the folder"),
    "pickle": (lambda f: _file(f / "model.bin"), "pickled weights, which are never loaded", "safetensors"),
    "script": (lambda f: _file(f / "answers.json"), "is a JSON file", "script:FILE"),
    "archive": (lambda f: _file(f / "model.tar.gz"), "is an archive", "unpack it"),
    "any file": (lambda f: _file(f / "README"), "is a file, not a folder", None),
    "adapter": (
        lambda f: _folder_with(f / "a", "adapter_config.json", "adapter_model.safetensors"),
        "holds a LoRA adapter, not a model",
        "merge it",
    ),
    "gguf folder": (
        lambda f: _folder_with(f / "a", "m.Q4_K_M.gguf"),
        "holds GGUF files, which are models themselves",
        "name the file itself, such as m.Q4_K_M.gguf",
    ),
    "cache": (
        lambda f: _folder_with(f / "a", "snapshots", "refs"),
        "is the cache of a repository",
        "snapshots",
    ),
    "maker": (
        lambda f: _folder_with(f / "a", "params.json", "consolidated.00.pth"),
        "has its maker's own layout",
        "Hugging Face",
    ),
    "pictures": (lambda f: _folder_with(f / "a", "model_index.json"), "holds a diffusion pipeline", None),
    "nothing": (lambda f: _folder_with(f / "a"), "config.json is missing", "fetch the folder again"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_no_model_folder_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    """People name the file that their last server took. They must read what it is, and what to do instead."""
    make, expected, way_on = ELSEWHERE[name]
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(make(tmp_path))
    assert expected in str(caught.value)
    assert (caught.value.hint is None) == (way_on is None)
    assert way_on is None or way_on in str(caught.value.hint)


def test_a_folder_in_an_unknown_format_says_how_and_what_to_do(tmp_path: Path) -> None:
    """The method decides which server can open the folder, and other formats can be served here."""
    folder = write_checkpoint(tmp_path, quantization_config={"quant_method": "bitsandbytes"})
    expected = "has `quantization_config.quant_method` 'bitsandbytes', supported are awq, gptq"
    with pytest.raises(ModelLoadError, match=expected) as caught:
        check_model_folder(folder)
    assert "formats that can be read are awq, gptq" in str(caught.value.hint)
    assert "the one with the unquantised weights that this one was made from" in str(caught.value.hint)


def test_an_unknown_family_names_the_nearest(tmp_path: Path) -> None:
    """A list alone does not say whether a relative of the model would run."""
    folder = write_checkpoint(tmp_path, model_type="llama9")
    with pytest.raises(ModelLoadError, match="has `model_type` 'llama9', supported are llama") as caught:
        check_model_folder(folder)
    assert caught.value.hint == (
        "the family with the nearest name is llama: a model of that family can be served"
    )


def test_the_check_needs_no_torch() -> None:
    """A wrong path should be refused in a blink, not after seconds of importing."""
    code = "import sys, streamcore.models.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
