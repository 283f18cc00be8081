#include "sample.cuh"
#include "score.cuh"

#include "launch.cuh"

using namespace streamcore;

// Tokens are keys of 24 bits, and sums by digit have room for half a million.
static bool takes(int64_t vocab_size) { return vocab_size >= 1 && vocab_size <= kMaxVocabulary; }

extern "C" int streamcore_cuda_sample(int device, const streamcore_sample* args, void* stream) {
    if (args->num_rows == 0) return cudaSuccess;
    if (!takes(args->vocab_size)) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    const bool vectors = aligned<4>(args->logits, args->logits_stride) && args->vocab_size % 4 == 0;
    const auto as_it_is = vectors ? sample_kernel<4, false> : sample_kernel<1, false>;
    const auto changed = vectors ? sample_kernel<4, true> : sample_kernel<1, true>;
    const bool is_changed = args->is_there != nullptr || args->num_biases > 0;
    return run(is_changed ? changed : as_it_is, static_cast<unsigned>(args->num_rows), kSampleThreads, 0, stream, *args);
}

extern "C" int streamcore_cuda_score(int device, const streamcore_score* args, void* stream) {
    if (args->num_rows == 0) return cudaSuccess;
    if (!takes(args->vocab_size) || args->num_top < 0 || args->num_top > args->vocab_size || args->num_top > kMaxTop) {
        return cudaErrorInvalidValue;
    }
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    const bool vectors = aligned<4>(args->logits, args->logits_stride) && args->vocab_size % 4 == 0;
    const auto kernel = vectors ? score_kernel<4> : score_kernel<1>;
    return run(kernel, static_cast<unsigned>(args->num_rows), kScoreThreads, 0, stream, *args);
}
