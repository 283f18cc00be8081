// Launches products with weights in groups, of one element type.
#pragma once

#include "grouped.cuh"

#include "launch_linear.cuh"

namespace streamcore {

template <typename T, int kCodes>
cudaError_t launch_grouped(const streamcore_grouped_linear& args, const GroupedForm& form, void* stream) {
    const dim3 blocks(blocks_for(args.num_outputs, kOutputs), static_cast<unsigned>(args.num_splits),
                      blocks_for(args.num_rows, kMaxRows));
    return with_row_tiles(args.num_rows, [&](auto tiles) {
        return run(grouped_linear_kernel<T, kCodes, tiles.value>, blocks, kProductThreads, 0, stream, args, form);
    });
}

template <typename T>
cudaError_t grouped_linear(const streamcore_grouped_linear& args, void* stream) {
    GroupedForm form(*args.form, args.num_inputs);
    if (form.bits == 8) return launch_grouped<T, kWhole>(args, form, stream);
    // A chunk of the kernel has 32 inputs.
    if (form.group_size % 32 != 0) return cudaErrorInvalidValue;
    if (form.is_shifted()) return launch_grouped<T, kShifted>(args, form, stream);
    return form.choose_bytes() ? launch_grouped<T, kChosen>(args, form, stream) : cudaErrorInvalidValue;
}

template <typename T>
cudaError_t widen_groups(const streamcore_widen_groups& args, void* stream) {
    const GroupedForm form(*args.form, args.num_inputs);
    const dim3 blocks(blocks_for(args.num_inputs * form.bits, 32 * kWidenWords), blocks_for(args.num_outputs, 32));
    return run(widen_groups_kernel<T>, blocks, kWidenThreads, 0, stream, args, form);
}

// One source for each element type, so that they are compiled side by side.
cudaError_t grouped_linear_bf16(const streamcore_grouped_linear& args, void* stream);
cudaError_t grouped_linear_f16(const streamcore_grouped_linear& args, void* stream);
cudaError_t widen_groups_bf16(const streamcore_widen_groups& args, void* stream);
cudaError_t widen_groups_f16(const streamcore_widen_groups& args, void* stream);

}  // namespace streamcore
