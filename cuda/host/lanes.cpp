// Warp-wide instructions on single values: barriers of a warp aside, shuffles, votes, matches,
// reductions.
#include <algorithm>

#include "machine.h"

using namespace emulator;

extern "C" {

struct ShuffleOperands {
    uint64_t value;
    int how;
    unsigned operand, width;
    uint64_t result;
};

uint64_t coc_shuffle(unsigned mask, uint64_t value, int how, unsigned operand, unsigned width) {
    ShuffleOperands mine{value, how, operand, width, 0};
    rendezvous(
        Kind::Shuffle, mask, &mine,
        [](Fiber* lanes, unsigned mask) {
            for (unsigned rest = mask; rest; rest &= rest - 1) {
                const unsigned lane = __builtin_ctz(rest);
                auto& operands = *static_cast<ShuffleOperands*>(lanes[lane].operands);
                const unsigned width = operands.width, first = lane & ~(width - 1);
                int source = operands.how == 0   ? int(first + operands.operand % width)
                             : operands.how == 1 ? int(lane) - int(operands.operand)
                             : operands.how == 2 ? int(lane + operands.operand)
                                                 : int(lane ^ operands.operand);
                if (source < int(first) || source >= int(first + width)) source = lane;
                if (!(mask >> source & 1)) {
                    report("a shuffle reads lane " + std::to_string(source) + ", which is not in its mask, " +
                               at(offset_of(lanes[lane].site)),
                           where(lanes[lane]));
                    operands.result = ~uint64_t{0};
                } else {
                    operands.result = static_cast<ShuffleOperands*>(lanes[source].operands)->value;
                }
            }
        },
        __builtin_return_address(0));
    return mine.result;
}

struct VoteOperands {
    uint64_t value, result;
    int how, is_signed;
};

unsigned coc_ballot(unsigned mask, bool predicate) {
    VoteOperands mine{predicate, 0, 0, 0};
    rendezvous(
        Kind::Ballot, mask, &mine,
        [](Fiber* lanes, unsigned mask) {
            unsigned all = 0;
            for (unsigned rest = mask; rest; rest &= rest - 1) {
                const unsigned lane = __builtin_ctz(rest);
                all |= unsigned(static_cast<VoteOperands*>(lanes[lane].operands)->value) << lane;
            }
            for (unsigned rest = mask; rest; rest &= rest - 1) {
                static_cast<VoteOperands*>(lanes[__builtin_ctz(rest)].operands)->result = all;
            }
        },
        __builtin_return_address(0));
    return unsigned(mine.result);
}

uint64_t coc_match_any(unsigned mask, uint64_t value) {
    VoteOperands mine{value, 0, 0, 0};
    rendezvous(
        Kind::Match, mask, &mine,
        [](Fiber* lanes, unsigned mask) {
            for (unsigned rest = mask; rest; rest &= rest - 1) {
                auto& operands = *static_cast<VoteOperands*>(lanes[__builtin_ctz(rest)].operands);
                operands.result = 0;
                for (unsigned others = mask; others; others &= others - 1) {
                    const unsigned other = __builtin_ctz(others);
                    if (static_cast<VoteOperands*>(lanes[other].operands)->value == operands.value) {
                        operands.result |= 1u << other;
                    }
                }
            }
        },
        __builtin_return_address(0));
    return mine.result;
}

unsigned coc_reduce(unsigned mask, unsigned value, int how, int is_signed) {
    VoteOperands mine{value, 0, how, is_signed};
    rendezvous(
        Kind::Reduce, mask, &mine,
        [](Fiber* lanes, unsigned mask) {
            const auto& first = *static_cast<VoteOperands*>(lanes[__builtin_ctz(mask)].operands);
            unsigned total = unsigned(first.value);
            for (unsigned rest = mask & (mask - 1); rest; rest &= rest - 1) {
                const unsigned value = unsigned(static_cast<VoteOperands*>(lanes[__builtin_ctz(rest)].operands)->value);
                total = first.how == 0   ? total + value
                        : first.how == 1 ? std::min(total, value)
                        : first.how == 2 ? std::max(total, value)
                        : first.how == 3 ? total & value
                        : first.how == 4 ? total | value
                                         : total ^ value;
            }
            for (unsigned rest = mask; rest; rest &= rest - 1) {
                static_cast<VoteOperands*>(lanes[__builtin_ctz(rest)].operands)->result = total;
            }
        },
        __builtin_return_address(0));
    return unsigned(mine.result);
}
}
