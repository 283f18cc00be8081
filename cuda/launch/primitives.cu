#include "primitives.cuh"

#include "launch.cuh"

using namespace streamcore;

static int launched(const streamcore_primitives& args, void* stream) {
    // Of a row of 16 bytes for each thread.
    constexpr size_t kSharedBytes = 16 * kPrimitiveThreads;
    return run(primitives_kernel, blocks_for(args.num_rows, kPrimitiveThreads), kPrimitiveThreads, kSharedBytes, stream,
               args);
}

extern "C" int streamcore_cuda_primitives(int device, const streamcore_primitives* args, void* stream) {
    if (args->num_rows == 0) return cudaSuccess;
    const bool is_known = args->primitive >= STREAMCORE_MATRICES && args->primitive <= STREAMCORE_CHAINED;
    if (!is_known || args->num_rows % kPrimitiveThreads != 0) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    if (args->primitive != STREAMCORE_CHAINED) return launched(*args, stream);
    streamcore_primitives link = *args;
    for (int i = 0; i < kChainedLaunches; ++i) {
        if (i > 0) link.input = link.output;
        link.output = i % 2 == 0 ? args->memory : args->output;
        if (const int error = launched(link, stream); error != cudaSuccess) return error;
    }
    return cudaSuccess;
}
