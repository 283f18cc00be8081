#include "rows.cuh"

#include "launch.cuh"

using namespace streamcore;

// Launches on rows of `width`; the kernel takes vectors where all `tensors` allow it.
template <typename T, typename Args, typename... Tensors>
static cudaError_t by_rows(void (*wide)(Args), void (*narrow)(Args), const Args& args, void* stream,
                           const Tensors*... tensors) {
    constexpr int N = kMaxVector<T>;
    const bool vectors = (aligned<N>(static_cast<const T*>(static_cast<const void*>(tensors)), args.width) && ...);
    const dim3 blocks(static_cast<unsigned>(args.num_rows), blocks_for(args.width, kRowThreads * (vectors ? N : 1)));
    return run(vectors ? wide : narrow, blocks, kRowThreads, 0, stream, args);
}

extern "C" int streamcore_cuda_embed(int device, const streamcore_embed* args, void* stream) {
    if (args->num_rows == 0 || args->width == 0) return cudaSuccess;
    if (args->dtype != args->table_dtype) return cudaErrorInvalidValue;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        return by_rows<T>(embed_kernel<T, kMaxVector<T>>, embed_kernel<T, 1>, *args, stream, args->output,
                          args->table);
    });
}

extern "C" int streamcore_cuda_take(int device, const streamcore_take* args, void* stream) {
    if (args->num_rows == 0 || args->width == 0) return cudaSuccess;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        return by_rows<T>(take_kernel<T, kMaxVector<T>>, take_kernel<T, 1>, *args, stream, args->output, args->x);
    });
}

extern "C" int streamcore_cuda_add_into(int device, const streamcore_add_into* args, void* stream) {
    if (args->num_rows == 0 || args->width == 0) return cudaSuccess;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        return by_rows<T>(add_into_kernel<T, kMaxVector<T>>, add_into_kernel<T, 1>, *args, stream, args->sum,
                          args->x);
    });
}

extern "C" int streamcore_cuda_scale(int device, const streamcore_scale* args, void* stream) {
    if (args->num_rows == 0 || args->width == 0) return cudaSuccess;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        return by_rows<T>(scale_kernel<T, kMaxVector<T>>, scale_kernel<T, 1>, *args, stream, args->x);
    });
}
