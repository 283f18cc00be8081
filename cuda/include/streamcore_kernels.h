/* The C interface of the CUDA kernels: what the extension module links, and what anybody else may.
 *
 * Every function launches on the given stream and returns at once; the result is a cudaError_t (0 is success).
 * Pointers are device pointers, strides count elements, and shapes are row-major with the last dimension
 * contiguous. dtype is a streamcore_dtype and applies to every tensor that is not named otherwise. Nothing is
 * allocated and nothing waits, so every function may be captured into a graph.
 */
#ifndef STREAMCORE_KERNELS_H
#define STREAMCORE_KERNELS_H

#include <stdint.h>

/* Raised when a function changes in a way that its callers must know. */
#define STREAMCORE_CUDA_ABI_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { STREAMCORE_F32 = 0, STREAMCORE_BF16 = 1, STREAMCORE_F16 = 2 } streamcore_dtype;

/* STREAMCORE_CUDA_ABI_VERSION of the compiled library. */
int streamcore_cuda_abi_version(void);

/* The number of devices; cudaErrorInsufficientDriver (35) or cudaErrorNoDevice (100) where there is none. */
int streamcore_cuda_device_count(int* count);

/* The name of a cudaError_t, such as "cudaErrorInsufficientDriver"; never null. */
const char* streamcore_cuda_error_name(int error);

/* Whether the library has code that the device can run: 1 or 0 through `covered`. */
int streamcore_cuda_device_covered(int device, int* covered);

/* output[t] = normed(x[t]) * weight; with a residual, residual[t] += x[t] first, and the sum is normed.
 * output [num_tokens, hidden] contiguous; x, residual [num_tokens, hidden]; residual may be null. */
int streamcore_cuda_rms_norm(int device, void* output, const void* x, void* residual, const void* weight,
                             int64_t num_tokens, int64_t hidden, int64_t x_stride, int64_t residual_stride,
                             float eps, int dtype, void* stream);

/* output[t, i] = silu(gate_up[t, i]) * gate_up[t, inter + i]; output [num_tokens, inter] contiguous. */
int streamcore_cuda_silu_mul(int device, void* output, const void* gate_up, int64_t num_tokens, int64_t inter,
                             int64_t gate_up_stride, int dtype, void* stream);

/* The tensors and sizes of streamcore_cuda_rope_and_store_kv. */
typedef struct {
    void* query;                 /* [num_tokens, num_heads, head_dim], heads adjacent */
    void* key;                   /* [num_tokens, num_kv_heads, head_dim], heads adjacent */
    const void* value;           /* as key */
    const float* cos_sin;        /* [max_position, rotary_dim]: cosines, then sines */
    const int32_t* positions;    /* [num_tokens] */
    const int64_t* slot_mapping; /* [num_tokens], negative stores nothing */
    void* key_cache;             /* [num_slots, num_kv_heads, head_dim], contiguous */
    void* value_cache;           /* as key_cache */
    int64_t num_tokens;
    int64_t num_heads;
    int64_t num_kv_heads;
    int64_t head_dim;
    int64_t rotary_dim; /* even, at most head_dim */
    int64_t query_stride;
    int64_t key_stride;
    int64_t value_stride;
} streamcore_rope_and_store;

/* Rotates query and key in place, and copies the rotated key and the value to their slots. */
int streamcore_cuda_rope_and_store_kv(int device, const streamcore_rope_and_store* args, int dtype, void* stream);

#ifdef __cplusplus
}
#endif

#endif
