// Addresses of shared memory, asynchronous copies, fences and atomic operations.
#include <algorithm>
#include <cstring>

#include "machine.h"

using namespace emulator;

namespace {

void perform(std::vector<Copy>& group) {
    for (const Copy& copy : group) {
        std::memcpy(copy.shared, copy.global, copy.source_bytes);
        std::memset(copy.shared + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
        if (!checking) continue;
        bool is_shared;
        const char* place;
        Cell* cells = cells_of(reinterpret_cast<Address>(copy.shared), copy.bytes, "cp.async", copy.pc, &is_shared, &place);
        for (unsigned i = 0; i < copy.bytes / kGranule; ++i) {
            cells[i].in_flight = 0;
            cells[i].written = true;
            cells[i].write = {block_uid, clocks[current->warp][current->warp], warps[current->warp].epoch, copy.pc,
                              current->thread};
        }
    }
    group.clear();
}

void join(Known& target, const Known& source) {
    for (const auto& [block, clocks_of_block] : source) {
        auto& mine = target[block];
        for (unsigned w = 0; w < kMaxWarps; ++w) mine[w] = std::max(mine[w], clocks_of_block[w]);
    }
}

}  // namespace

extern "C" {

unsigned char* coc_dynamic_shared() { return dynamic_shared; }

// Addresses of shared memory have 32 bits: dynamic from 0, static from half of them.
constexpr uint32_t kStaticShared = 1u << 31;

uint32_t coc_shared_address(const void* pointer) {
    const auto address = reinterpret_cast<Address>(pointer);
    if (address - static_shared_begin < static_shared_bytes) return kStaticShared + (address - static_shared_begin);
    return static_cast<uint32_t>(address - reinterpret_cast<Address>(dynamic_shared));
}

void* coc_shared_pointer(uint32_t address) {
    if (address >= kStaticShared) return reinterpret_cast<void*>(static_shared_begin + (address - kStaticShared));
    return dynamic_shared + address;
}

// The bytes arrive as late as they may: when the thread waits for them.
void coc_cp_async(void* shared, const void* global, int bytes, int source_bytes) {
    Fiber& fiber = *current;
    const uint32_t pc = offset_of(__builtin_return_address(0));
    if (checking) {
        const auto target = reinterpret_cast<Address>(shared);
        if (source_bytes) {
            check_access(reinterpret_cast<Address>(global), source_bytes, false, true, pc);
        }
        bool is_shared;
        const char* place;
        Cell* cells = cells_of(target, bytes, "cp.async", pc, &is_shared, &place);
        if (!is_shared || target % bytes) {
            report("cp.async to memory that is not shared, or misaligned, at " + at(pc), where(fiber));
            stop();
        }
        for (int i = 0; i < bytes / int(kGranule); ++i) {
            check_cell(cells[i], true, fiber, pc, place);
            cells[i].in_flight = fiber.thread + 1;
        }
        if (profiling) profile(fiber, pc, target, bytes, true, true);
    }
    fiber.copies.push_back({static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global),
                            uint16_t(bytes), uint16_t(source_bytes), pc});
}

void coc_cp_async_commit() {
    current->groups.push_back(std::move(current->copies));
    current->copies = {};
}

void coc_cp_async_wait(int left) {
    auto& groups = current->groups;
    while (int(groups.size()) > left) {
        perform(groups.front());
        groups.erase(groups.begin());
    }
}

void coc_fence() { block_fenced = true; }

void coc_atomic(const void* address, int bytes) {
    if (!checking) return;
    const uint32_t pc = offset_of(__builtin_return_address(0));
    bool is_shared;
    const char* place;
    Cell* cells = cells_of(reinterpret_cast<Address>(address), bytes, "atomic operation", pc, &is_shared, &place);
    for (int i = 0; i < bytes / int(kGranule); ++i) {
        if (!cells[i].written) report(std::string("atomic operation on ") + place + " that was never written, at " + at(pc), "");
        check_cell(cells[i], true, *current, pc, place, true);
    }
    if (is_shared || !block_fenced) return;
    // A later ticket is ordered behind all that this thread has seen: its own accesses and those
    // before a barrier.
    Known& known = released[reinterpret_cast<Address>(address)];
    join(acquired, known);
    std::array<uint32_t, kMaxWarps> mine{};
    std::copy(clocks[current->warp], clocks[current->warp] + num_warps, mine.begin());
    join(known, {{block_uid, mine}});
    join(known, acquired);
}
}
