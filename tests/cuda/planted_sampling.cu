// Sampling and log-probabilities of rows at multiples of 16 bytes: what planted bugs are compiled
// into.
#include "sample.cuh"
#include "score.cuh"

#include "launch.cuh"

using namespace streamcore;

extern "C" int streamcore_cuda_sample(int, const streamcore_sample* args, void* stream) {
    return run(sample_kernel<4, true>, static_cast<unsigned>(args->num_rows), kSampleThreads, 0, stream, *args);
}

extern "C" int streamcore_cuda_score(int, const streamcore_score* args, void* stream) {
    return run(score_kernel<4>, static_cast<unsigned>(args->num_rows), kScoreThreads, 0, stream, *args);
}
