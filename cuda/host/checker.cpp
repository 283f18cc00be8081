// The checker of memory. It knows which bytes of registered (global) memory and of shared memory
// were written, by which thread, and which threads have read them since.
//
// Two accesses of different threads are ordered by a block barrier (vector clocks of the block's
// warps), by a warp barrier, or by a fence and an atomic operation between blocks; shuffles, votes,
// ldmatrix and mma order nothing, as the programming guide says. It reports bytes outside of every
// allocation, misaligned accesses, bytes that were never written, unordered accesses, and shared
// bytes that a cp.async is still filling.
//
// `-fsanitize=thread` makes the compiler call the functions at the end before each access.
#include <algorithm>
#include <unordered_set>

#include "machine.h"

namespace emulator {

bool checking;
std::vector<Region> regions;
Region* last_region;
std::vector<Cell> shared_cells;
uint32_t block_uid = 0, first_block_uid = 1;
bool block_fenced;
Known acquired;
std::map<Address, Known> released;
uint64_t num_accesses;

namespace {

std::unordered_set<Address> guards;  // offsets in the static shared memory

bool is_ordered(const Stamp& earlier, const Fiber& fiber) {
    if (earlier.block < first_block_uid) return true;
    if (earlier.block != block_uid) {
        const auto known = acquired.find(earlier.block);
        return known != acquired.end() && earlier.clock <= known->second[earlier.thread / 32];
    }
    if (earlier.thread == fiber.thread) return true;
    const unsigned warp = earlier.thread / 32;
    if (warp == fiber.warp) return earlier.epoch < warps[warp].epoch;
    return earlier.clock <= clocks[fiber.warp][warp];
}

void report_race(const char* what, const Fiber& fiber, uint32_t pc, const Stamp& other, const std::string& place) {
    const bool same_block = other.block == block_uid;
    std::string scope = !same_block                          ? "of different blocks"
                        : other.thread / 32 == fiber.warp ? "of one warp without __syncwarp"
                                                             : "of one block without a barrier";
    report(std::string("race: ") + what + " " + place + " at " + at(pc) + " and " + at(other.pc) + ", threads " + scope,
           where(fiber) + " against thread " + std::to_string(other.thread));
}

// Shared memory begins anew with each block.
Cell* fresh(Cell* cells, size_t size) {
    for (size_t i = 0; i < (size + kGranule - 1) / kGranule; ++i) {
        if (cells[i].owner != block_uid) cells[i] = Cell{{}, {}, 0, block_uid, false, false};
    }
    return cells;
}

bool needs_no_check(Address address) {
    return address - reinterpret_cast<Address>(stacks) < kMaxThreads * kStackBytes ||
           (address >= module_begin && address < module_end) ||
           (address >= frame_of_launch - (64 << 10) && address < frame_of_launch + (1 << 20));
}

}  // namespace

void check_cell(Cell& cell, bool write, const Fiber& fiber, uint32_t pc, const char* place_name,
                bool atomic) {
    const auto place = [&] { return std::string(place_name); };
    if (cell.in_flight) {
        report(std::string(write ? "write to" : "read of") + " " + place() + " at " + at(pc) +
                   " that a cp.async is still filling",
               where(fiber) + ", copy of thread " + std::to_string(cell.in_flight - 1));
    }
    const Stamp now{block_uid, clocks[fiber.warp][fiber.warp], warps[fiber.warp].epoch, pc, fiber.thread};
    if (cell.write.block && !(atomic && cell.by_atomic) && !is_ordered(cell.write, fiber)) {
        report_race(write ? "two writes of" : "read after write of", fiber, pc, cell.write, place());
    }
    if (!write) {
        if (!cell.written) report("read of " + place() + " that was never written, at " + at(pc), where(fiber));
        Stamp* chosen = &cell.read[0];
        if (cell.read[0].block == block_uid && cell.read[0].thread != fiber.thread && !is_ordered(cell.read[0], fiber)) {
            chosen = &cell.read[1];
        }
        *chosen = now;
        return;
    }
    for (const Stamp& read : cell.read) {
        if (read.block && !is_ordered(read, fiber)) report_race("write after read of", fiber, pc, read, place());
    }
    cell.write = now;
    cell.written = true;
    cell.by_atomic = atomic;
}

Region* region_of(Address address) {
    if (last_region && address - last_region->begin < last_region->end - last_region->begin) return last_region;
    for (Region& region : regions) {
        if (address - region.begin < region.end - region.begin) return last_region = &region;
    }
    return nullptr;
}

// Finds the cells of some bytes; null for bytes that need no check. Stops at bytes outside of
// everything.
Cell* cells_of(Address address, size_t size, const char* what, uint32_t pc, bool* is_shared, const char** place) {
    *is_shared = true;
    if (address - static_shared_begin < static_shared_bytes) {
        *place = "shared memory";
        return fresh(&shared_cells[(address - static_shared_begin) / kGranule], size);
    }
    const Address dynamic = reinterpret_cast<Address>(dynamic_shared);
    if (address - dynamic < kSharedRoom) {
        *place = "dynamic shared memory";
        if (address + size > dynamic + dynamic_shared_bytes) {
            report(std::string(what) + " beyond the dynamic shared memory of the launch, at " + at(pc),
                   where(*current) + ", offset " + std::to_string(address - dynamic) + " of " +
                       std::to_string(dynamic_shared_bytes));
            stop();
        }
        return fresh(&shared_cells[(static_shared_bytes + kGranule + address - dynamic) / kGranule], size);
    }
    *is_shared = false;
    Region* region = region_of(address);
    if (region == nullptr || address + size > region->end) {
        std::string nearest = "no allocation near";
        for (const Region& other : regions) {
            if (address >= other.begin && address < other.end + 65536) {
                nearest = std::to_string(int64_t(address - other.begin)) + " of " +
                          std::to_string(other.end - other.begin) + " bytes of " + other.name;
            } else if (address < other.begin && address + 65536 >= other.begin) {
                nearest = std::to_string(int64_t(other.begin - address)) + " bytes before " + other.name;
            }
        }
        report(std::string(what) + " outside of every allocation, at " + at(pc),
               where(*current) + ", offset " + nearest);
        stop();
    }
    *place = region->name.c_str();
    if (!current->has_waited && !region->is_constant) {
        report(std::string(what) + " of " + region->name + " before the launch in front of this one has ended, at " + at(pc),
               where(*current));
    }
    return &region->cells[(address - region->begin) / kGranule];
}

void check_access(Address address, size_t size, bool write, bool aligned, uint32_t pc) {
    Fiber& fiber = *current;
    if (address - static_shared_begin >= static_shared_bytes) {
        if (needs_no_check(address)) return;
    } else if (guards.count(address - static_shared_begin)) {
        return;
    }
    ++num_accesses;
    const char *what = write ? "write" : "read", *place;
    bool is_shared;
    if (aligned && size <= 16 && (size & (size - 1)) == 0 && address % size != 0) {
        report(std::string("misaligned ") + what + " of " + std::to_string(size) + " bytes, at " + at(pc),
               where(fiber));
        stop();
    }
    Cell* cells = cells_of(address, size, what, pc, &is_shared, &place);
    for (size_t i = 0; i < (size + kGranule - 1) / kGranule; ++i) check_cell(cells[i], write, fiber, pc, place);
    if (!is_shared) {
        Region& region = *last_region;
        for (size_t s = (address - region.begin) / kSector; s <= (address + size - 1 - region.begin) / kSector; ++s) {
            region.touched[s] |= write ? 2 : 1;
        }
    }
    if (profiling) profile(fiber, pc, address, size, is_shared, write);
}

void ignore_guard(size_t offset) { guards.insert(offset); }

}  // namespace emulator

using namespace emulator;

namespace {

inline void hook(const void* address, size_t size, bool write, bool aligned, const void* pc) {
    if (running && checking) check_access(reinterpret_cast<Address>(address), size, write, aligned, offset_of(pc));
}

}  // namespace

extern "C" {

// What -fsanitize=thread calls.
#define COC_PC __builtin_return_address(0)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define COC_HOOKS(size)                                                                            \
    void __tsan_read##size(const void* a) { hook(a, size, false, true, COC_PC); }                  \
    void __tsan_write##size(const void* a) { hook(a, size, true, true, COC_PC); }                  \
    void __tsan_unaligned_read##size(const void* a) { hook(a, size, false, false, COC_PC); }       \
    void __tsan_unaligned_write##size(const void* a) { hook(a, size, true, false, COC_PC); }       \
    void __tsan_volatile_read##size(const void* a) { hook(a, size, false, true, COC_PC); }         \
    void __tsan_volatile_write##size(const void* a) { hook(a, size, true, true, COC_PC); }
COC_HOOKS(1)
COC_HOOKS(2)
COC_HOOKS(4)
COC_HOOKS(8)
COC_HOOKS(16)
void __tsan_read_range(const void* a, size_t size) { hook(a, size, false, false, COC_PC); }
void __tsan_write_range(const void* a, size_t size) { hook(a, size, true, false, COC_PC); }
void __tsan_vptr_update(void**, void*) {}
}
