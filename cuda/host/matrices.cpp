// Warp-wide instructions on matrices: ldmatrix, movmatrix, mma. Sums are exact to the last
// rounding.
#include <cmath>
#include <cstring>

#include "machine.h"

namespace emulator {
uint64_t num_mma;
}

using namespace emulator;

namespace {

float widen(uint16_t bits, int type) {
    if (type == 0) {
        const uint32_t wide = uint32_t{bits} << 16;
        float value;
        std::memcpy(&value, &wide, 4);
        return value;
    }
    _Float16 value;
    std::memcpy(&value, &bits, 2);
    return static_cast<float>(value);
}

float widen_e4m3(uint8_t bits) {
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const float sign = bits & 128 ? -1.0f : 1.0f;
    if (exponent == 15 && mantissa == 7) return NAN;
    return sign * (exponent ? std::ldexp(8.0f + mantissa, exponent - 10) : std::ldexp(float(mantissa), -9));
}

}  // namespace

extern "C" {

struct LdMatrixOperands {
    uint32_t* registers;
    const unsigned char* row;
    int num_matrices, transposed;
};

// Lane 8 m + r names row r of matrix m; lane l receives elements 2 (l % 4) and the next of row
// l / 4, or of column l / 4.
void coc_ldmatrix(uint32_t* registers, const void* row, int num_matrices, int transposed) {
    LdMatrixOperands mine{registers, static_cast<const unsigned char*>(row), num_matrices, transposed};
    rendezvous(
        Kind::LdMatrix, ~0u, &mine,
        [](Fiber* lanes, unsigned mask) {
            const auto operands = [&](unsigned lane) { return static_cast<LdMatrixOperands*>(lanes[lane].operands); };
            if (mask != ~0u) {
                report("ldmatrix without all lanes " + at(offset_of(current->site)), where(*current));
                stop();
            }
            const uint32_t pc = offset_of(lanes[0].site);
            for (int m = 0; m < operands(0)->num_matrices; ++m) {
                const unsigned char* rows[8];
                for (int r = 0; r < 8; ++r) rows[r] = operands(8 * m + r)->row;
                if (checking) {
                    Pending request;
                    request.pc = pc * 2 + 1;
                    request.size = 16;
                    request.is_shared = true;
                    for (int r = 0; r < 8; ++r) {
                        const auto address = reinterpret_cast<Address>(rows[r]);
                        if (address % 16 != 0) {
                            report("misaligned row of ldmatrix, at " + at(pc), where(lanes[8 * m + r]));
                            stop();
                        }
                        bool is_shared;
                        const char* place;
                        Cell* cells = cells_of(address, 16, "ldmatrix", pc, &is_shared, &place);
                        if (!is_shared) {
                            report("ldmatrix of memory that is not shared, at " + at(pc), where(lanes[8 * m + r]));
                            stop();
                        }
                        for (int e = 0; e < 8; ++e) {
                            const unsigned reader = operands(0)->transposed ? 4 * e + r / 2 : 4 * r + e / 2;
                            check_cell(cells[e], false, lanes[reader], pc, place);
                        }
                        request.addresses[request.count++] = address;
                    }
                    if (profiling) fold(request);
                }
                for (unsigned lane = 0; lane < 32; ++lane) {
                    uint16_t pair[2];
                    for (unsigned i = 0; i < 2; ++i) {
                        const unsigned major = lane / 4, minor = lane % 4 * 2 + i;
                        const unsigned r = operands(0)->transposed ? minor : major;
                        const unsigned e = operands(0)->transposed ? major : minor;
                        std::memcpy(&pair[i], rows[r] + 2 * e, 2);
                    }
                    std::memcpy(&operands(lane)->registers[m], pair, 4);
                }
            }
        },
        __builtin_return_address(0));
}

struct MovMatrixOperands {
    uint64_t value, result;
};

// Lane l has elements 2 (l % 4) and the next of row l / 4, and receives those of column l / 4.
uint32_t coc_movmatrix(uint32_t pair) {
    MovMatrixOperands mine{pair, 0};
    rendezvous(
        Kind::MovMatrix, ~0u, &mine,
        [](Fiber* lanes, unsigned) {
            const auto operands = [&](unsigned lane) { return static_cast<MovMatrixOperands*>(lanes[lane].operands); };
            for (unsigned lane = 0; lane < 32; ++lane) {
                operands(lane)->result = 0;
                for (unsigned i = 0; i < 2; ++i) {
                    const unsigned row = lane % 4 * 2 + i, column = lane / 4;
                    const uint64_t from = operands(row * 4 + column / 2)->value >> 16 * (column % 2) & 0xffff;
                    operands(lane)->result |= from << 16 * i;
                }
            }
        },
        __builtin_return_address(0));
    return static_cast<uint32_t>(mine.result);
}

struct MmaOperands {
    float* d;
    const uint32_t *a, *b;
    const float* c;
    int type;
};

// m16n8k16 of 16-bit and m16n8k32 of 8-bit elements; g = lane / 4, t = lane % 4, p elements in a
// register:
//   a[i][e]: row g + 8 (i % 2), column p t + e + 4 p (i / 2)
//   b[i][e]: row p t + e + 4 p i, column g
//   c[i]: row g + 8 (i / 2), column 2 t + i % 2
void coc_mma(float* d, const uint32_t* a, const uint32_t* b, const float* c, int type) {
    MmaOperands mine{d, a, b, c, type};
    rendezvous(
        Kind::Mma, ~0u, &mine,
        [](Fiber* lanes, unsigned mask) {
            const auto operands = [&](unsigned lane) { return static_cast<MmaOperands*>(lanes[lane].operands); };
            if (mask != ~0u) {
                report("mma without all lanes " + at(offset_of(current->site)), where(*current));
                stop();
            }
            ++num_mma;
            const int type = operands(0)->type;
            const unsigned per_register = type == 2 ? 4 : 2, depth = 8 * per_register;
            static double left[16][32], right[32][8], sums[16][8];
            const auto element = [&](uint32_t bits, unsigned e) {
                return type == 2 ? widen_e4m3(uint8_t(bits >> 8 * e)) : widen(uint16_t(bits >> 16 * e), type);
            };
            for (unsigned lane = 0; lane < 32; ++lane) {
                const unsigned g = lane / 4, t = lane % 4;
                const MmaOperands& mine = *operands(lane);
                for (unsigned e = 0; e < per_register; ++e) {
                    for (unsigned i = 0; i < 4; ++i) {
                        left[g + 8 * (i % 2)][per_register * t + e + 4 * per_register * (i / 2)] = element(mine.a[i], e);
                    }
                    for (unsigned i = 0; i < 2; ++i) {
                        right[per_register * t + e + 4 * per_register * i][g] = element(mine.b[i], e);
                    }
                }
                for (unsigned i = 0; i < 4; ++i) sums[g + 8 * (i / 2)][2 * t + i % 2] = mine.c[i];
            }
            for (unsigned row = 0; row < 16; ++row) {
                for (unsigned k = 0; k < depth; ++k) {
                    for (unsigned n = 0; n < 8; ++n) sums[row][n] += left[row][k] * right[k][n];
                }
            }
            for (unsigned lane = 0; lane < 32; ++lane) {
                const unsigned g = lane / 4, t = lane % 4;
                for (unsigned i = 0; i < 4; ++i) {
                    operands(lane)->d[i] = static_cast<float>(sums[g + 8 * (i / 2)][2 * t + i % 2]);
                }
            }
        },
        __builtin_return_address(0));
}
}
