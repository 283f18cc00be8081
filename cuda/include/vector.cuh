// Groups of neighbouring elements that one instruction loads or stores.
#pragma once

#include <cstdint>

namespace streamcore {

// The widest access of a thread.
constexpr int kAccessBytes = 16;

template <typename T>
constexpr int kMaxVector = kAccessBytes / sizeof(T);

// N elements that are read and written together; the address is a multiple of their size.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
    T values[N];
};

template <int N, typename T>
__device__ inline Vector<T, N> load(const T* source) {
    return *reinterpret_cast<const Vector<T, N>*>(source);
}

template <int N, typename T>
__device__ inline void store(T* target, const Vector<T, N>& vector) {
    *reinterpret_cast<Vector<T, N>*>(target) = vector;
}

// Whether rows at this address and stride (in elements) all start at a multiple of N elements. Null
// does.
template <int N, typename T>
inline bool aligned(const T* rows, int64_t stride) {
    return reinterpret_cast<uintptr_t>(rows) % (sizeof(T) * N) == 0 && stride % N == 0;
}

}  // namespace streamcore
