// Division of token numbers by the block size, which any number may be.
#pragma once

#include <cstdint>

namespace streamcore {

// quotient(n) = n / d for 0 <= n < 2^31, by a product with m = ceil(2^(31 + l) / d), 2^l >= d: the
// error m d - 2^(31 + l) is below d <= 2^l, so that n times it stays below 2^(31 + l). The product
// is one wide multiplication and a shift.
struct Divisor {
    uint32_t divisor, factor;
    int shift;

    explicit Divisor(int64_t d) : divisor(static_cast<uint32_t>(d)), shift(31) {
        while ((int64_t{1} << (shift - 31)) < d) ++shift;
        factor = static_cast<uint32_t>(((uint64_t{1} << shift) + d - 1) / d);
    }
    __device__ __forceinline__ int quotient(int n) const {
        return static_cast<int>(uint64_t{static_cast<uint32_t>(n)} * factor >> shift);
    }
};

}  // namespace streamcore
