#include "rms_norm.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, int N>
static void launch(T* output, const T* x, T* residual, const T* weight, int64_t num_tokens, int64_t hidden,
                   int64_t x_stride, int64_t residual_stride, float eps, cudaStream_t stream) {
    const unsigned blocks = static_cast<unsigned>(num_tokens), threads = threads_for(hidden / N, 1024);
    if (residual == nullptr) {
        rms_norm_kernel<T, N, false>
            <<<blocks, threads, 0, stream>>>(output, x, residual, weight, hidden, x_stride, residual_stride, eps);
    } else {
        rms_norm_kernel<T, N, true>
            <<<blocks, threads, 0, stream>>>(output, x, residual, weight, hidden, x_stride, residual_stride, eps);
    }
}

extern "C" int streamcore_cuda_rms_norm(int device, void* output, const void* x, void* residual, const void* weight,
                                        int64_t num_tokens, int64_t hidden, int64_t x_stride,
                                        int64_t residual_stride, float eps, int dtype, void* stream) {
    if (num_tokens == 0) return cudaSuccess;
    return with_dtype(device, dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = kMaxVector<T>;
        T *out = static_cast<T*>(output), *sum = static_cast<T*>(residual);
        const T *in = static_cast<const T*>(x), *scale = static_cast<const T*>(weight);
        const bool vectors = aligned<N>(out, hidden) && aligned<N>(in, x_stride) &&
                             aligned<N>(sum, residual_stride) && aligned<N>(scale, 0);
        const auto chosen = vectors ? launch<T, N> : launch<T, 1>;
        chosen(out, in, sum, scale, num_tokens, hidden, x_stride, residual_stride, eps,
               static_cast<cudaStream_t>(stream));
    });
}
