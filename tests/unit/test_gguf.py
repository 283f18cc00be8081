"""GGUF files without their weights: what is read, and what is refused.

A file that is broken or of another kind must be refused in words before anything is loaded.
"""

import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tomli
from gguf import GGMLQuantizationType as Kind
from tests.models.gguf_files import Stored, write_gguf

from streamcore.errors import ModelLoadError
from streamcore.models.folder import ModelFolder, check_model_folder
from streamcore.models.gguf.architectures import ARCHITECTURES
from streamcore.models.gguf.container import read_container
from streamcore.models.gguf.metadata import Metadata

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
LAYER = "model.layers.0."


def weights(**changes: tuple[int, ...] | None) -> dict[str, Stored]:
    """The tensors of `CONFIG`; `changes` have another shape, or are left out."""
    shapes: dict[str, tuple[int, ...] | None] = {
        "model.embed_tokens.weight": (256, 32),
        "model.norm.weight": (32,),
        f"{LAYER}input_layernorm.weight": (32,),
        f"{LAYER}post_attention_layernorm.weight": (32,),
        f"{LAYER}self_attn.q_proj.weight": (32, 32),
        f"{LAYER}self_attn.k_proj.weight": (16, 32),
        f"{LAYER}self_attn.v_proj.weight": (16, 32),
        f"{LAYER}self_attn.o_proj.weight": (32, 32),
        f"{LAYER}mlp.gate_proj.weight": (48, 32),
        f"{LAYER}mlp.up_proj.weight": (48, 32),
        f"{LAYER}mlp.down_proj.weight": (32, 48),
    }
    for name, shape in changes.items():
        shapes[next(full for full in shapes if name in full)] = shape
    return {name: Stored(np.ones(shape, np.float32)) for name, shape in shapes.items() if shape is not None}


def write(folder: Path, change: Callable[[gguf.GGUFWriter], None] = lambda w: None, **options: Any) -> Path:
    """A small file; see `write_file`."""
    return write_gguf(folder / "m.gguf", CONFIG, options.pop("weights", weights()), change=change, **options)


def replace(writer: gguf.GGUFWriter, **values: Any) -> None:
    """Puts other values in the place of settings, or takes them out: `__` stands for a dot."""
    for name, value in values.items():
        key = name.replace("__", ".")
        writer.kv_data[0].pop(key, None)
        if value is not None:
            kind = gguf.GGUFValueType.get_type(value)
            writer.kv_data[0][key] = gguf.gguf_writer.GGUFValue(value, kind)


def changed(**values: Any) -> Callable[[Path], Path]:
    """Makes a file with other settings."""
    return lambda folder: write(folder, lambda writer: replace(writer, **values))


def cut(keep: float) -> Callable[[Path], Path]:
    """Makes a file that broke off."""

    def make(folder: Path) -> Path:
        path = write(folder)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        return path

    return make


def patched(begin: int, content: bytes) -> Callable[[Path], Path]:
    """Makes a file with other bytes at a place."""

    def make(folder: Path) -> Path:
        path = write(folder)
        data = bytearray(path.read_bytes())
        data[begin : begin + len(content)] = content
        path.write_bytes(data)
        return path

    return make


def named(name: str, content: bytes) -> Callable[[Path], Path]:
    """Makes a file with a content of its own."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def with_weights(**changes: tuple[int, ...] | None) -> Callable[[Path], Path]:
    """Makes a file whose tensors are others."""
    return lambda folder: write(folder, weights=weights(**changes))


def of_other_name(folder: Path) -> Path:
    """Makes a part of a model that has lost its name."""
    write(folder, split_max_tensors=4)
    part = min(folder.glob("*-of-*.gguf"))
    return part.rename(folder / "model.gguf")


def without_a_part(folder: Path) -> Path:
    """Makes a model that lacks a part."""
    write(folder, split_max_tensors=4)
    parts = sorted(folder.glob("*-of-*.gguf"))
    parts[1].unlink()
    return parts[0]


def with_parts_swapped(folder: Path) -> Path:
    """Makes a model whose parts have each other's names."""
    write(folder, split_max_tensors=4)
    parts = sorted(folder.glob("*-of-*.gguf"))
    parts[1].rename(folder / "x")
    parts[2].rename(parts[1])
    (folder / "x").rename(parts[2])
    return parts[0]


def with_a_matrix_of_integers(folder: Path) -> Path:
    """Makes a file with a type that no weights have."""
    tensors = weights()
    tensors[f"{LAYER}mlp.up_proj.weight"] = Stored(np.ones((48, 32), np.int8), Kind.I8)
    return write(folder, weights=tensors)


def with_an_unknown_tensor(folder: Path) -> Path:
    """Makes a file with a tensor that the architecture has no place for."""
    extra = np.ones(32, np.float32)
    return write(folder, lambda writer: writer.add_tensor("blk.0.attn_gate.weight", extra))


TOKENS = "tokenizer__ggml__"
REFUSALS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (named("m.gguf", b""), "m.gguf is empty"),
    "something else": (named("m.gguf", b"<html>no such file</html>"), "is no GGUF file: it begins with"),
    "git-lfs pointer": (
        named("m.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "is a git-lfs pointer",
    ),
    "magic alone": (named("m.gguf", b"GGUF\x03"), "is incomplete: 5 bytes end within its header"),
    "of noise": (named("sha256-1", b"GGUF\x03\0\0\0" + b"\xff" * 99), "is incomplete"),
    "cut in its header": (cut(0.02), "end within its header"),
    "cut in its data": (cut(0.9), "is incomplete"),
    "of version 1": (patched(4, struct.pack("<I", 1)), "has version 1 of the format, supported are 2 and 3"),
    "of a later version": (patched(4, struct.pack("<I", 9)), "has version 9"),
    "big-endian": (
        lambda folder: write(folder, endianess=gguf.GGUFEndian.BIG),
        "is of a machine with big-endian numbers",
    ),
    "endless header": (patched(16, struct.pack("<Q", 1 << 40)), " header"),
    "alignment": (changed(general__alignment=24), "`general.alignment` is 24"),
    "another architecture": (
        changed(general__architecture="mamba"),
        "with the architecture 'mamba', supported are llama",
    ),
    "no architecture": (changed(general__architecture=None), "with no `general.architecture`"),
    "adapter": (changed(general__type="adapter"), "is a LoRA adapter, not a model"),
    "vision part": (changed(general__type="mmproj"), "name the file of its language model"),
    "no layers": (changed(llama__block_count=None), "its metadata has no `llama.block_count`"),
    "layers of no number": (changed(llama__block_count="two"), "has `llama.block_count` 'two', it must be"),
    "heads that do not divide": (
        changed(llama__attention__head_count_kv=3),
        "its metadata, read as config.json, has `num_key_value_heads` 3",
    ),
    "heads that differ": (
        changed(llama__attention__head_count_kv=[1, 2]),
        "has `llama.attention.head_count_kv` [1, 2]",
    ),
    "values of another size": (changed(llama__attention__value_length=4), "it must be the size of keys, 8"),
    "rows": (changed(llama__vocab_size=300), "has `llama.vocab_size` 300, `token_embd.weight` has 256 rows"),
    "unknown scaling": (
        changed(**{"llama.rope.scaling.type": "su", "llama.rope.scaling.factor": 2.0}),
        "has `llama.rope.scaling.type` 'su', supported are none, linear, yarn",
    ),
    "a scale that llama has not": (changed(llama__logit_scale=0.5), "has `llama.logit_scale` 0.5, this"),
    "looks ahead": (changed(llama__attention__causal=False), "has `llama.attention.causal` False"),
    "a missing tensor": (with_weights(up_proj=None), "it lacks `blk.0.ffn_up.weight`"),
    "no weights": (lambda folder: write(folder, weights={}), "it lacks the matrix `token_embd.weight`"),
    "another shape": (
        with_weights(down_proj=(32, 64)),
        "`blk.0.ffn_down.weight` has shape [32, 64], the metadata ask for [32, 48]",
    ),
    "an unknown tensor": (with_an_unknown_tensor, "it holds `blk.0.attn_gate.weight`, which its metadata"),
    "integers": (with_a_matrix_of_integers, "`blk.0.ffn_up.weight` has the type I8, supported are F32, F16"),
    "a missing part": (without_a_part, "m-00002-of-00003.gguf is missing"),
    "parts swapped": (with_parts_swapped, "part 2 is in truth part 2 of its model"),
    "a part without its name": (of_other_name, "is one of 3 parts"),
    "no tokenizer": (
        changed(**{f"{TOKENS}{name}": None for name in ("model", "tokens", "merges", "pre", "token_type")}),
        "it holds no tokenizer",
    ),
    "another tokenizer": (changed(tokenizer__ggml__model="bert"), "has `tokenizer.ggml.model` 'bert'"),
    "unknown pre-tokenizer": (
        changed(tokenizer__ggml__pre="viking"),
        "has `tokenizer.ggml.pre` 'viking', supported are llama-bpe",
    ),
    "unnamed pre-tokenizer": (changed(tokenizer__ggml__pre=None), "has `tokenizer.ggml.pre` 'default'"),
    "more tokens than rows": (
        with_weights(embed_tokens=(128, 32)),
        "its tokenizer has 256 tokens, `token_embd.weight` has 128 rows",
    ),
    "kinds missing": (
        changed(tokenizer__ggml__token_type=[1, 1]),
        "has `tokenizer.ggml.token_type` of 2, it must have a number for each of 256 tokens",
    ),
    "a merge of nothing": (
        changed(tokenizer__ggml__merges=["a b"]),
        "has `tokenizer.ggml.merges` 'a b', it must be two tokens that make a third",
    ),
    "a token twice": (changed(tokenizer__ggml__tokens=["a"] * 256), "has the token 'a' 256 times"),
    "an end outside": (
        changed(tokenizer__ggml__eos_token_id=999),
        "has `tokenizer.ggml.eos_token_id` 999, it must be the number of one of 256 tokens",
    ),
    "a beginning that is not there": (
        changed(tokenizer__ggml__add_bos_token=True),
        "has no `tokenizer.ggml.bos_token_id`, which each text is to get",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_served_is_refused_in_words(name: str, tmp_path: Path) -> None:
    """One line must say what is wrong, and where: a binary file does not show it."""
    make, expected = REFUSALS[name]
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(make(tmp_path))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_message_names_all_problems(tmp_path: Path) -> None:
    """A file with three faults must not need three tries."""
    path = changed(llama__block_count=None, llama__attention__head_count=0, tokenizer__ggml__pre="x")(
        tmp_path
    )
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(path)
    for part in ("llama.block_count", "llama.attention.head_count", "tokenizer.ggml.pre"):
        assert part in str(caught.value)


def test_every_broken_byte_of_a_header_is_refused_or_harmless(tmp_path: Path) -> None:
    """A damaged length must neither hang the check nor end it with a traceback."""
    path = write(tmp_path)
    data = path.read_bytes()
    end = min(tensor.begin for tensor in read_container(path).tensors.values())
    dice = np.random.default_rng(0)
    for place in dice.integers(4, end, 300):
        broken = bytearray(data)
        broken[place] = dice.integers(0, 256)
        path.write_bytes(broken)
        with suppress(ModelLoadError):
            check_model_folder(path)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: the first GGUF file is where a user hears of it."""
    path = write(tmp_path)
    monkeypatch.setattr("streamcore.models.gguf.blocks.find_spec", lambda name: None)
    with pytest.raises(ModelLoadError, match="the package `gguf`, which is missing") as caught:
        check_model_folder(path)
    (wanted,) = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gguf"]
    assert caught.value.hint == f"install it: `pip install '{wanted}'`, the extra `gguf` of streamcore-llm"


def test_the_check_needs_neither_torch_nor_numpy(tmp_path: Path) -> None:
    """A wrong path should be refused in a blink, not after seconds of importing."""
    path = write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from streamcore.models.folder import check_model_folder;"
        f"check_model_folder(Path({str(path)!r})); sys.exit(bool({{'torch', 'numpy'}} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_numbers_are_read_as_they_were_written(tmp_path: Path) -> None:
    """1e-5 in 32 bits is not 1e-5; the folder that the file was made from has the latter."""
    folder = check_model_folder(write(tmp_path))
    assert folder.config.rms_norm_eps == 1e-5
    assert read_container(tmp_path / "m.gguf").metadata["llama.rope.freq_base"] == 10000.0


def test_sizes_that_the_metadata_leave_out_are_those_of_tensors(tmp_path: Path) -> None:
    """Some writers are sparing."""
    names = ("embedding_length", "feed_forward_length", "attention.key_length", "attention.value_length")
    path = changed(**{f"llama.{name}": None for name in names})(tmp_path)
    config = check_model_folder(path).config
    assert (config.hidden_size, config.intermediate_size, config.head_dim) == (32, 48, 8)


GEMMA = {"context_length": 8192, "attention.layer_norm_rms_epsilon": 1e-6, "attention.sliding_window": 4096}
SCALES = {
    "gemma2 9B": ("gemma2", {"block_count": 42, "embedding_length": 3584, "attention.head_count": 16}, 256),
    "gemma2 27B": ("gemma2", {"block_count": 46, "embedding_length": 4608, "attention.head_count": 32}, 144),
    "gemma3 12B": ("gemma3", {"block_count": 48, "embedding_length": 3840, "attention.head_count": 16}, 256),
    "gemma3 27B": ("gemma3", {"block_count": 62, "embedding_length": 5376, "attention.head_count": 32}, 168),
}


@pytest.mark.parametrize("name", SCALES)
def test_gemmas_scale_is_that_of_its_size(name: str) -> None:
    """It is not in the file, and two of the published sizes have another than the rest."""
    architecture, sizes, scalar = SCALES[name]
    key = 128 if scalar != 256 else 256
    raw = {
        **GEMMA,
        **sizes,
        "feed_forward_length": 64,
        "attention.key_length": key,
        "attention.value_length": key,
    }
    metadata = Metadata(architecture, {f"{architecture}.{key}": value for key, value in raw.items()}, {})
    settings = ARCHITECTURES[architecture].settings(metadata)
    assert metadata.problems == []
    assert settings["query_pre_attn_scalar"] == scalar


def opened(folder: Path, **values: Any) -> ModelFolder:
    """The file with other settings."""
    return check_model_folder(changed(**values)(folder))


def test_older_files_stretch_by_a_factor_alone(tmp_path: Path) -> None:
    """Before there was a type of scaling, it was linear."""
    rope = opened(tmp_path, llama__rope__scale_linear=4.0).config.rope
    assert (rope.rope_type, rope.factor) == ("linear", 4.0)


def test_a_folder_of_files_says_which_to_name(tmp_path: Path) -> None:
    """`streamcore serve FOLDER` was meant well."""
    write(tmp_path)
    with pytest.raises(ModelLoadError, match="holds GGUF files") as caught:
        check_model_folder(tmp_path)
    assert caught.value.hint == "name the file itself, such as m.gguf"


def test_the_second_version_is_read(tmp_path: Path) -> None:
    """It differs from the third in nothing but its number; files of 2023 have it."""
    assert check_model_folder(patched(4, struct.pack("<I", 2))(tmp_path)).config.num_layers == 1


def test_files_are_known_by_content_too(tmp_path: Path) -> None:
    """Caches call files by their hashes."""
    path = write(tmp_path).rename(tmp_path / "sha256-0123")
    assert check_model_folder(path).config.num_layers == 1
