#include "sample.cuh"

#include "launch.cuh"

using namespace streamcore;

// Tokens are keys of 24 bits, and sums by digit have room for half a million.
constexpr int64_t kMaxVocabulary = int64_t{1} << 19;

extern "C" int streamcore_cuda_sample(int device, const streamcore_sample* args, void* stream) {
    if (args->num_rows == 0) return cudaSuccess;
    if (args->vocab_size < 1 || args->vocab_size > kMaxVocabulary) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    const bool vectors = aligned<4>(args->logits, args->logits_stride) && args->vocab_size % 4 == 0;
    const auto kernel = vectors ? sample_kernel<4> : sample_kernel<1>;
    return run(kernel, static_cast<unsigned>(args->num_rows), kSampleThreads, 0, stream, *args);
}
