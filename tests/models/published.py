"""Fields of config.json of published models, as facts, with the number of parameters that their
makers name.
"""

from collections.abc import Mapping
from typing import Any

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def dense(
    model_type: str,
    layers: int,
    hidden: int,
    inter: int,
    heads: int,
    kv_heads: int,
    vocab: int,
    context: int,
    **fields: Any,
) -> dict[str, Any]:
    """The fields that every published file has."""
    return {
        "model_type": model_type,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inter,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        **fields,
    }


def qwen2(layers: int, hidden: int, inter: int, heads: int, kv_heads: int, vocab: int, **fields: Any) -> Any:
    """Qwen2.5."""
    fixed = {
        "rope_theta": 1e6,
        "use_sliding_window": False,
        "sliding_window": 131072,
        "torch_dtype": "bfloat16",
    }
    return dense("qwen2", layers, hidden, inter, heads, kv_heads, vocab, 32768, **fixed, **fields)


def qwen3(layers: int, hidden: int, inter: int, heads: int, **fields: Any) -> Any:
    """Qwen3."""
    fixed = {"rope_theta": 1e6, "head_dim": 128, "sliding_window": None, "use_sliding_window": False}
    return dense("qwen3", layers, hidden, inter, heads, 8, 151936, 40960, **fixed, **fields)


# fmt: off
PUBLISHED: Mapping[str, tuple[dict[str, Any], int]] = {
    "Llama-3.2-1B": (
        dense(
            "llama", 16, 2048, 8192, 32, 8, 128256, 131072,
            head_dim=64, rope_theta=5e5, rope_scaling=LLAMA3, tie_word_embeddings=True,
        ),
        1_235_814_400,
    ),
    "Llama-3.2-3B": (
        dense(
            "llama", 28, 3072, 8192, 24, 8, 128256, 131072,
            head_dim=128, rope_theta=5e5, rope_scaling=LLAMA3, tie_word_embeddings=True,
        ),
        3_212_749_824,
    ),
    "Llama-3.3-70B": (
        dense("llama", 80, 8192, 28672, 64, 8, 128256, 131072, rope_theta=5e5, rope_scaling=LLAMA3),
        70_553_706_496,
    ),
    "TinyLlama-1.1B": (dense("llama", 22, 2048, 5632, 32, 4, 32000, 2048), 1_100_048_384),
    "SmolLM2-135M": (
        dense("llama", 30, 576, 1536, 9, 3, 49152, 8192, rope_theta=1e5, tie_word_embeddings=True),
        134_515_008,
    ),
    "Qwen2.5-0.5B": (qwen2(24, 896, 4864, 14, 2, 151936, tie_word_embeddings=True), 494_032_768),
    "Qwen2.5-1.5B": (qwen2(28, 1536, 8960, 12, 2, 151936, tie_word_embeddings=True), 1_543_714_304),
    "Qwen2.5-7B": (qwen2(28, 3584, 18944, 28, 4, 152064), 7_615_616_512),
    "Qwen2.5-14B": (qwen2(48, 5120, 13824, 40, 8, 152064), 14_770_033_664),
    "Qwen2.5-32B": (qwen2(64, 5120, 27648, 40, 8, 152064), 32_763_876_352),
    "DeepSeek-R1-Distill-Qwen-1.5B": (qwen2(28, 1536, 8960, 12, 2, 151936), 1_777_088_000),
    "Qwen3-0.6B": (qwen3(28, 1024, 3072, 16, tie_word_embeddings=True), 596_049_920),
    "Qwen3-4B": (qwen3(36, 2560, 9728, 32, tie_word_embeddings=True), 4_022_468_096),
    "Qwen3-8B": (qwen3(36, 4096, 12288, 32), 8_190_735_360),
    "Qwen3-32B": (qwen3(64, 5120, 25600, 64), 32_762_123_264),
    "Qwen3-30B-A3B": (
        dense(
            "qwen3_moe", 48, 2048, 6144, 32, 4, 151936, 40960,
            head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
            norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], rope_theta=1e6,
        ),
        30_532_122_624,
    ),
    "Mistral-7B-v0.1": (
        dense("mistral", 32, 4096, 14336, 32, 8, 32000, 32768, sliding_window=4096, rope_theta=1e4),
        7_241_732_096,
    ),
    "Mistral-Nemo-12B": (
        dense("mistral", 40, 5120, 14336, 32, 8, 131072, 1024000, head_dim=128, sliding_window=None, rope_theta=1e6),
        12_247_782_400,
    ),
    "Mistral-Small-24B": (
        dense("mistral", 40, 5120, 32768, 32, 8, 131072, 32768, head_dim=128, sliding_window=None, rope_theta=1e8),
        23_572_403_200,
    ),
    "Mixtral-8x7B": (
        dense(
            "mixtral", 32, 4096, 14336, 32, 8, 32000, 32768,
            num_local_experts=8, num_experts_per_tok=2, rope_theta=1e6, sliding_window=None,
        ),
        46_702_792_704,
    ),
    "Gemma-2-2B": (
        dense(
            "gemma2", 26, 2304, 9216, 8, 4, 256000, 8192,
            head_dim=256, hidden_activation="gelu_pytorch_tanh", sliding_window=4096, query_pre_attn_scalar=256,
        ),
        2_614_341_888,
    ),
    "Gemma-2-27B": (
        dense(
            "gemma2", 46, 4608, 36864, 32, 16, 256000, 8192,
            head_dim=128, hidden_activation="gelu_pytorch_tanh", sliding_window=4096, query_pre_attn_scalar=144,
        ),
        27_227_128_320,
    ),
    "Gemma-3-270M": (
        dense(
            "gemma3_text", 18, 640, 2048, 4, 1, 262144, 32768,
            head_dim=256, sliding_window=512, rope_theta=1e6, rope_local_base_freq=1e4, query_pre_attn_scalar=256,
        ),
        268_098_176,
    ),
    "Gemma-3-1B": (
        dense(
            "gemma3_text", 26, 1152, 6912, 4, 1, 262144, 32768,
            head_dim=256, sliding_window=512, sliding_window_pattern=6, rope_theta=1e6, rope_local_base_freq=1e4,
        ),
        999_885_952,
    ),
    # Its file leaves out heads, head size, vocabulary and context.
    "Gemma-3-4B": (
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "vision_config": {"hidden_size": 1152},
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "model_type": "gemma3_text",
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
            "torch_dtype": "bfloat16",
        },
        3_880_263_168,
    ),
    "gpt-oss-20b": (
        dense(
            "gpt_oss", 24, 2880, 2880, 64, 8, 201088, 131072,
            head_dim=64, num_local_experts=32, num_experts_per_tok=4, sliding_window=128, attention_bias=True,
            rope_theta=150000, swiglu_limit=7.0, initial_context_length=4096,
        ),
        20_914_757_184,
    ),
    "Phi-3-mini-4k": (
        dense("phi3", 32, 3072, 8192, 32, 32, 32064, 4096, sliding_window=2047, rope_theta=1e4),
        3_821_079_552,
    ),
    "Phi-4": (
        dense("phi3", 40, 5120, 17920, 40, 10, 100352, 16384, sliding_window=None, rope_theta=250000),
        14_659_507_200,
    ),
    "Phi-4-mini": (
        dense(
            "phi3", 32, 3072, 8192, 24, 8, 200064, 131072,
            original_max_position_embeddings=4096, partial_rotary_factor=0.75, tie_word_embeddings=True,
            sliding_window=262144,
            rope_scaling={"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
        ),
        3_836_021_760,
    ),
    "SmolLM3-3B": (
        dense("smollm3", 36, 2048, 11008, 16, 4, 128256, 65536, rope_theta=5e6, no_rope_layers=[1, 1, 1, 0] * 9),
        3_075_098_624,
    ),
    "OLMo-2-7B": (dense("olmo2", 32, 4096, 11008, 32, 32, 100352, 4096, rope_theta=5e5), 7_298_617_344),
    "OLMo-3-7B": (
        dense("olmo3", 32, 4096, 11008, 32, 32, 100278, 65536, rope_theta=5e5, sliding_window=4096),
        7_298_011_136,
    ),
    "OLMoE-1B-7B": (
        dense(
            "olmoe", 16, 2048, 1024, 16, 16, 50304, 4096,
            num_experts=64, num_experts_per_tok=8, norm_topk_prob=False, clip_qkv=None, rope_theta=1e4,
        ),
        6_919_161_856,
    ),
    "Granite-3.3-2B": (
        dense(
            "granite", 40, 2048, 8192, 32, 8, 49159, 131072,
            tie_word_embeddings=True, embedding_multiplier=12.0, attention_multiplier=0.015625,
            residual_multiplier=0.22, logits_scaling=8.0, rope_theta=1e7,
        ),
        2_533_539_840,
    ),
}
# fmt: on
"""By name."""
