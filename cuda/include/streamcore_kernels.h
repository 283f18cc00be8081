/* The C interface of the CUDA kernels, for the extension module and other programs.
 *
 * Every function launches on the given stream and returns at once; the result is a cudaError_t (0
 * is success). Pointers are device pointers, sizes and strides count elements, and shapes are
 * row-major with the last dimension contiguous. dtype is a streamcore_dtype and applies to every
 * tensor unless stated otherwise. Nothing is allocated and nothing waits, so every function may be
 * captured into a graph.
 *
 * Each struct has the fields of the operation of that name in rust/kernels; a test compares them.
 */
#ifndef STREAMCORE_KERNELS_H
#define STREAMCORE_KERNELS_H

#include <stdint.h>

/* Raised when a function changes in a way that its callers must know. */
#define STREAMCORE_CUDA_ABI_VERSION 4

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { STREAMCORE_F32 = 0, STREAMCORE_BF16 = 1, STREAMCORE_F16 = 2, STREAMCORE_E4M3 = 3 } streamcore_dtype;

/* STREAMCORE_CUDA_ABI_VERSION of the compiled library. */
int streamcore_cuda_abi_version(void);

/* The number of devices; cudaErrorInsufficientDriver (35) or cudaErrorNoDevice (100) if none. */
int streamcore_cuda_device_count(int* count);

/* The name of a cudaError_t, such as "cudaErrorInsufficientDriver"; never null. */
const char* streamcore_cuda_error_name(int error);

/* Whether the library has code that the device can run: 1 or 0 through `covered`. */
int streamcore_cuda_device_covered(int device, int* covered);

typedef struct {
    void* output;             /* [num_rows, width], contiguous */
    const int32_t* token_ids; /* [num_rows], each below vocab_size */
    const void* table;        /* [vocab_size, width], contiguous */
    int64_t num_rows;
    int64_t width;
    int64_t vocab_size;
    float factor;
    int32_t dtype;
    int32_t table_dtype; /* the same as dtype */
} streamcore_embed;

/* output[r] = table[token_ids[r]] * factor */
int streamcore_cuda_embed(int device, const streamcore_embed* args, void* stream);

typedef struct {
    void* output;        /* [num_rows, width], contiguous */
    const void* x;       /* [limit, width], contiguous */
    const int32_t* rows; /* [num_rows], each below limit */
    int64_t num_rows;
    int64_t width;
    int64_t limit;
    int32_t dtype;
} streamcore_take;

/* output[r] = x[rows[r]] */
int streamcore_cuda_take(int device, const streamcore_take* args, void* stream);

typedef struct {
    void* sum;     /* [num_rows, width], contiguous, updated in place */
    const void* x; /* as sum */
    int64_t num_rows;
    int64_t width;
    int32_t dtype;
} streamcore_add_into;

/* sum += x, rounded to the dtype */
int streamcore_cuda_add_into(int device, const streamcore_add_into* args, void* stream);

typedef struct {
    void* x; /* [num_rows, width], contiguous, updated in place */
    int64_t num_rows;
    int64_t width;
    float factor;
    int32_t dtype;
} streamcore_scale;

/* x *= factor, rounded to the dtype */
int streamcore_cuda_scale(int device, const streamcore_scale* args, void* stream);

typedef struct {
    void* output;       /* [num_tokens, hidden]; may be x itself */
    const void* x;      /* [num_tokens, hidden] */
    void* residual;     /* [num_tokens, hidden], updated in place; may be null */
    const void* weight; /* [hidden] */
    int64_t num_tokens;
    int64_t hidden;
    int64_t output_stride;
    int64_t x_stride;
    int64_t residual_stride;
    float eps;
    int32_t dtype;
} streamcore_rms_norm;

/* output[t] = normed(x[t]) * weight; if any, residual[t] += x[t] first, which is normed. */
int streamcore_cuda_rms_norm(int device, const streamcore_rms_norm* args, void* stream);

typedef struct {
    void* output;        /* [num_tokens, inter], contiguous */
    const void* gate_up; /* [num_tokens, 2 * inter]: gate, then up */
    int64_t num_tokens;
    int64_t inter;
    int64_t gate_up_stride;
    int32_t activation; /* 0 SiLU, 1 GELU by tanh, 2 clamped SiLU */
    int32_t dtype;
} streamcore_gated;

/* output = activation(gate) * up */
int streamcore_cuda_gated(int device, const streamcore_gated* args, void* stream);

typedef struct {
    void* query;       /* [num_tokens, num_heads, head_dim], heads adjacent */
    void* key;         /* [num_tokens, num_kv_heads, head_dim], heads adjacent */
    const void* value; /* as key */
    int64_t query_stride;
    int64_t key_stride;
    int64_t value_stride;
    int64_t num_tokens;
    int64_t num_heads;
    int64_t num_kv_heads;
    int64_t head_dim;
    int64_t rotary_dim;   /* even, at most head_dim, 0 for none */
    const float* cos_sin; /* [max_position, rotary_dim]: cosines, then sines */
    int64_t max_position;
    const float* query_factors;  /* [max_position], multiplies the queries; may be null */
    const void* query_norm;      /* [head_dim], of each head before it is rotated; null for none */
    const void* key_norm;        /* as query_norm */
    const int32_t* positions;    /* [num_tokens] */
    const int64_t* slot_mapping; /* [num_tokens], negative stores nothing */
    int64_t num_slots;
    void* key_cache;   /* [num_slots, num_kv_heads, head_dim], contiguous */
    void* value_cache; /* as key_cache */
    float eps;
    int32_t dtype;
    int32_t cache_dtype; /* the same as dtype, or STREAMCORE_E4M3 under 16 bits: beyond 448 that is 448 */
} streamcore_rope_and_store;

/* Normalises and rotates query and key in place; copies rotated key and value to their slots. */
int streamcore_cuda_rope_and_store(int device, const streamcore_rope_and_store* args, void* stream);

typedef struct {
    void* output;                /* [num_tokens, num_heads, head_dim], contiguous */
    const void* query;           /* [num_tokens, num_heads, head_dim], heads adjacent */
    const void* key_cache;       /* [num_blocks, block_size, num_kv_heads, head_dim], contiguous */
    const void* value_cache;     /* as key_cache */
    const int32_t* block_tables; /* [num_rows, block_table_stride] */
    const int32_t* rows;         /* [num_seqs]: which row of block_tables is whose */
    const int32_t* context_lens; /* [num_seqs], with the tokens of this step */
    const int32_t* query_starts; /* [num_seqs + 1], from 0 to num_tokens */
    int64_t num_seqs;
    int64_t num_heads; /* a multiple of num_kv_heads */
    int64_t num_kv_heads;
    int64_t head_dim; /* 64, 80, 96, 128 or 256 */
    int64_t block_size;
    int64_t query_stride; /* a multiple of 8 */
    int64_t block_table_stride;
    float scale;
    int64_t window;    /* keys that a token sees, its own among them; 0 for all */
    const void* sinks; /* [num_heads], one more score of each head, without a value; may be null */
    float soft_cap;    /* bends scores to within this; 0 for not at all */
    int32_t dtype;     /* STREAMCORE_BF16 or STREAMCORE_F16 */
    int32_t cache_dtype; /* the same as dtype, or STREAMCORE_E4M3 */
    int64_t num_tokens;
    int64_t num_splits;    /* parts of a context, at most */
    float* partial_output; /* [num_seqs, num_heads, num_splits, head_dim]; unused with one split */
    float* partial_stats;  /* [num_seqs, num_heads, num_splits, 2]: maximum, sum */
    int32_t* tickets;      /* [num_seqs, num_heads], zero before and after */
    int32_t parts;         /* 1: sequences with one query token, 2: those with more, 3: both */
} streamcore_paged_attention;

/* Causal attention of each sequence's new tokens over its cached keys and values. All tensors begin
 * at multiples of 16 bytes. */
int streamcore_cuda_paged_attention(int device, const streamcore_paged_attention* args, void* stream);

typedef struct {
    void* output;       /* [num_rows, num_outputs], half of that with an activation */
    const void* x;      /* [num_rows, num_inputs] */
    const void* weight; /* [num_outputs, num_inputs], contiguous; in E4M3 float scales behind it */
    const void* bias;   /* [num_outputs]; may be null */
    int64_t num_rows;
    int64_t num_inputs; /* a multiple of 8, in E4M3 of 16 */
    int64_t num_outputs;
    int64_t x_stride; /* a multiple of 8 */
    int64_t output_stride;
    int64_t num_groups;   /* in E4M3: scales of an output, 1 or one for each 128 inputs; else 0 */
    int32_t activation;   /* 0 none; else 1 + streamcore_gated's; outputs are gate, then up */
    int32_t dtype;        /* STREAMCORE_BF16 or STREAMCORE_F16 */
    int32_t weight_dtype; /* the same as dtype, or STREAMCORE_E4M3 */
    int64_t num_splits;   /* stretches of the inputs, each a block's; 1 for more than 32 rows */
    float* partial;       /* [64-output tiles, num_splits, num_rows, 64]; unused with one stretch */
    int32_t* tickets;     /* [64-output tiles], zero before and after */
} streamcore_linear;

/* output = x weight^T + bias, or activation(gate) * up of it, of few rows. x and weight begin at
 * multiples of 16 bytes. May begin before the launch in front of it has ended, whose results it
 * waits for; the weight must be there. Scales in E4M3 are [num_groups, num_outputs]. */
int streamcore_cuda_linear(int device, const streamcore_linear* args, void* stream);

typedef struct {
    void* output;           /* [num_tokens, hidden], contiguous */
    const void* x;          /* as output */
    const void* scores;     /* [num_tokens, num_experts], contiguous: what the router makes of x */
    const int64_t* experts; /* [num_experts, 4] addresses: gate and up, bias, down, bias; may be 0 */
    int64_t num_tokens;     /* at most 256 */
    int64_t hidden;         /* a multiple of 8, in E4M3 of 16 */
    int64_t inter;          /* likewise */
    int64_t num_experts;    /* at most 512 */
    int64_t num_used;       /* at most 32, and num_experts */
    int64_t gate_up_groups; /* in E4M3: the num_groups of streamcore_linear; else 0 */
    int64_t down_groups;    /* likewise */
    int32_t over_chosen;    /* 1: softmax over the scores of a token's own experts, 0: over all */
    int32_t activation;     /* as in streamcore_gated */
    int32_t dtype;          /* STREAMCORE_BF16 or STREAMCORE_F16 */
    int32_t weight_dtype;   /* the same as dtype, or STREAMCORE_E4M3 */
    int32_t* parts;         /* [num_tokens * num_used + num_experts, 3], scratch like those below */
    int32_t* tokens;        /* [num_tokens * num_used] */
    int32_t* rows;          /* [num_tokens * num_used] */
    float* shares;          /* [num_tokens * num_used] */
    void* active;           /* [num_tokens * num_used, inter] */
    float* outputs;         /* [num_tokens * num_used, hidden] */
} streamcore_experts;

/* The weighted sum of each token's experts' outputs. Tensors begin at multiples of 16 bytes. */
int streamcore_cuda_experts(int device, const streamcore_experts* args, void* stream);

typedef struct {
    int32_t* tokens;           /* [num_rows], what was drawn */
    int32_t* results;          /* [num_rows], the same, or not_finite if a logit is not */
    const float* logits;       /* [num_rows, vocab_size] */
    const int32_t* sample_rows; /* [num_rows]: which of the parameters are whose */
    const float* temperature;  /* 0 takes the most likely token */
    const int32_t* top_k;      /* 0 keeps all */
    const float* top_p;        /* 1 keeps all */
    const float* min_p;        /* 0 keeps all */
    const float* top_n_sigma;  /* 0 and below keep all */
    const float* uniform;      /* [num_rows], in [0, 1) */
    const float* repetition_penalty; /* 1 is none, as are 0 and 0 of the next two */
    const float* frequency_penalty;
    const float* presence_penalty;
    const uint8_t* is_there; /* [*, vocab_size], by sample_rows: which tokens the sequence has; null: no penalties */
    const int32_t* counts;   /* as is_there, how often the output has them */
    const int32_t* bias_samples; /* [num_biases], ascending: the row of each bias, at most 640 of one row */
    const int32_t* bias_tokens;  /* [num_biases], those beyond the vocabulary are passed over */
    const float* bias_values;    /* [num_biases], added to the logits after the penalties */
    const int32_t* masked_samples; /* [num_masked], ascending: rows that have a mask */
    const uint32_t* mask_words;    /* [num_masked, mask_stride]: bit t % 32 of word t / 32 */
    int64_t num_rows;
    int64_t vocab_size; /* at most 524288 */
    int64_t logits_stride;
    int64_t num_biases;
    int64_t num_masked;
    int64_t mask_stride;
    int32_t not_finite;
} streamcore_sample;

/* Draws one token for each row. The logits stay as they are. */
int streamcore_cuda_sample(int device, const streamcore_sample* args, void* stream);

typedef struct {
    float* logprobs;        /* [num_rows], of the targets */
    int32_t* top_ids;       /* [num_rows, num_top], the likeliest first, equal ones by their ids */
    float* top_logprobs;    /* as top_ids */
    const float* logits;    /* [*, vocab_size] */
    const int32_t* samples; /* [num_rows]: which rows of the logits; null for all in their order */
    const int32_t* targets; /* one for each row of the logits */
    int64_t num_rows;
    int64_t vocab_size; /* at most 524288 */
    int64_t logits_stride;
    int64_t num_top; /* at most 64 and vocab_size */
    float least;     /* what a log-probability is at least */
} streamcore_score;

/* Log-probabilities of the logits as they are. */
int streamcore_cuda_score(int device, const streamcore_score* args, void* stream);

/* The form of a weight of four or eight bits in groups: docs/decisions/0048-packed-weights.md. */
struct streamcore_form {
    int32_t bits;       /* 4 or 8 */
    int32_t group_size; /* a multiple of 16; one that 256 is a multiple of where scales are nested */
    int32_t dtype;      /* of the scales, or of the outer ones: STREAMCORE_BF16 or STREAMCORE_F16 */
    int32_t offsets;    /* 0 for none, 1 for zero points, 2 for minima */
    int32_t is_nested;  /* 1: scales and minima are numbers of 8 bits, and 256 inputs share an outer one */
    const float* table; /* [16] on the host: what codes of 4 bits stand for */
};

typedef struct {
    void* output;       /* [num_rows, num_outputs] */
    const void* x;      /* [num_rows, num_inputs] */
    const void* weight; /* in groups */
    const void* bias;   /* [num_outputs], or null */
    int64_t num_rows;
    int64_t num_inputs; /* a multiple of 8 */
    int64_t num_outputs;
    int64_t x_stride; /* a multiple of 8 */
    int64_t output_stride;
    const struct streamcore_form* form; /* on the host, read by the call; groups of 32 inputs and more in 4 bits */
    int32_t dtype;      /* STREAMCORE_BF16 or STREAMCORE_F16 */
    int64_t num_splits; /* stretches that the inputs are split into; 1 for more than 32 rows */
    float* partial;     /* [tiles of 64 outputs, num_splits, num_rows, 64]; unused with one stretch */
    int32_t* tickets;   /* [tiles of 64 outputs], zero before and after */
} streamcore_grouped_linear;

/* output = x weight^T + bias; sums in float32 are multiplied with the scale of their group. */
int streamcore_cuda_grouped_linear(int device, const streamcore_grouped_linear* args, void* stream);

typedef struct {
    void* output;         /* [num_outputs, num_inputs], contiguous */
    const void* weight;   /* in groups */
    int64_t first_output; /* the first row that is wanted, a multiple of 32 */
    int64_t num_outputs;
    int64_t num_inputs;                 /* a multiple of 8 */
    const struct streamcore_form* form; /* on the host, read by the call */
    int32_t dtype;                      /* STREAMCORE_BF16 or STREAMCORE_F16 */
} streamcore_widen_groups;

/* Some rows of a weight in groups, each number rounded once to float32, then to the dtype. */
int streamcore_cuda_widen_groups(int device, const streamcore_widen_groups* args, void* stream);

typedef struct {
    void* output;           /* [num_outputs, num_inputs], contiguous */
    const void* weight;     /* [weight_outputs, num_inputs] in E4M3, as in streamcore_linear */
    int64_t first_output;   /* the first row that is wanted */
    int64_t num_outputs;
    int64_t num_inputs;     /* a multiple of 16 */
    int64_t weight_outputs; /* rows of the weight */
    int64_t num_groups;     /* as in streamcore_linear */
    int32_t dtype;          /* STREAMCORE_BF16 or STREAMCORE_F16 */
} streamcore_widen_fp8;

/* Some rows of a weight in fp8, each number rounded once to float32, then to the dtype. */
int streamcore_cuda_widen_fp8(int device, const streamcore_widen_fp8* args, void* stream);

/* What kernels are made of, for tests of a device; cuda/kernels/primitives.cuh has each of them. */
typedef enum {
    STREAMCORE_MATRICES,
    STREAMCORE_PRODUCTS_BF16,
    STREAMCORE_PRODUCTS_F16,
    STREAMCORE_PRODUCTS_E4M3, /* from compute capability 8.9 on */
    STREAMCORE_COPIES,
    STREAMCORE_LOADS,
    STREAMCORE_FUNCTIONS,
    STREAMCORE_ARITHMETIC,
    STREAMCORE_NARROWINGS,
    STREAMCORE_PAIRS,
    STREAMCORE_CODES,
    STREAMCORE_BYTES,
    STREAMCORE_LANES,
    STREAMCORE_VOTES,
    STREAMCORE_ATOMICS,
    STREAMCORE_LAST_BLOCK,
    STREAMCORE_CHAINED
} streamcore_primitive;

typedef struct {
    uint32_t* output;      /* [num_rows, words of the primitive] */
    const uint32_t* input; /* likewise */
    uint32_t* memory;      /* [num_rows + 1], zero before */
    int64_t num_rows;      /* a multiple of 128 */
    int32_t primitive;     /* a streamcore_primitive */
} streamcore_primitives;

/* Carries a primitive out in a thread for each row. */
int streamcore_cuda_primitives(int device, const streamcore_primitives* args, void* stream);

#ifdef __cplusplus
}
#endif

#endif
