#include "silu_mul.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, int N>
static void launch(T* output, const T* gate_up, int64_t num_tokens, int64_t inter, int64_t gate_up_stride,
                   cudaStream_t stream) {
    const int64_t per_block = int64_t{kSiluThreads} * N;
    const dim3 blocks(static_cast<unsigned>(num_tokens), static_cast<unsigned>((inter + per_block - 1) / per_block));
    silu_mul_kernel<T, N><<<blocks, kSiluThreads, 0, stream>>>(output, gate_up, inter, gate_up_stride);
}

extern "C" int streamcore_cuda_silu_mul(int device, void* output, const void* gate_up, int64_t num_tokens,
                                        int64_t inter, int64_t gate_up_stride, int dtype, void* stream) {
    if (num_tokens == 0 || inter == 0) return cudaSuccess;
    return with_dtype(device, dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = kMaxVector<T>;
        T* out = static_cast<T*>(output);
        const T* in = static_cast<const T*>(gate_up);
        const bool vectors = aligned<N>(out, inter) && aligned<N>(in, gate_up_stride);
        const auto chosen = vectors ? launch<T, N> : launch<T, 1>;
        chosen(out, in, num_tokens, inter, gate_up_stride, static_cast<cudaStream_t>(stream));
    });
}
