// Threads of a block as fibers: who runs next, barriers, and rendezvous of the lanes of a warp.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
// Keeps the registers that a call preserves on this stack, and goes on with another.
void coc_switch(void** save, void* load);
}

namespace emulator {

Fiber fibers[kMaxThreads];
Warp warps[kMaxWarps];
Fiber* current;
uint32_t clocks[kMaxWarps][kMaxWarps];
unsigned num_warps;
bool running, failed;
uint64_t random_state;
uint64_t num_rendezvous, num_switches, num_blocks;
unsigned char *stacks, *dynamic_shared;
size_t dynamic_shared_bytes;
Address frame_of_launch;
void* main_context;

namespace {

struct Barrier {
    unsigned wanted;
    std::vector<unsigned> threads;
};

const char* const kKindNames[] = {"nothing", "__syncwarp", "shuffle", "vote",     "match",
                                  "reduce",  "ldmatrix",   "mma",     "movmatrix"};
Barrier barriers[16];
unsigned num_threads, num_alive, ready_warps;
bool launch_is_early;
void (*kernel_body)(void*);
void* kernel_arguments;

uint64_t random_number() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

unsigned choose_bit(unsigned bits) {
    if (random_state == 0) return __builtin_ctz(bits);
    const unsigned by = random_number() % 32;
    const unsigned rotated = bits >> by | (by ? bits << (32 - by) : 0);
    return (__builtin_ctz(rotated) + by) % 32;
}

void make_ready(unsigned warp, unsigned lanes) {
    warps[warp].ready |= lanes;
    if (warps[warp].ready) ready_warps |= 1u << warp;
}

void leave_ready(const Fiber& fiber) {
    Warp& warp = warps[fiber.warp];
    warp.ready &= ~(1u << fiber.lane);
    if (!warp.ready) ready_warps &= ~(1u << fiber.warp);
}

void report_deadlock() {
    std::string text = "deadlock: ";
    int shown = 0;
    for (unsigned i = 0; i < num_threads; ++i) {
        const Fiber& fiber = fibers[i];
        if (fiber.done) continue;
        const bool first = i == 0 || fibers[i - 1].done || fibers[i - 1].site != fiber.site;
        if (!first || ++shown > 6) continue;
        text += "thread " + std::to_string(i) + " waits in " +
                (fiber.barrier >= 0 ? "barrier " + std::to_string(fiber.barrier) : kKindNames[int(fiber.kind)]) +
                at(offset_of(fiber.site)) + "; ";
    }
    report(text, where(fibers[0]));
}

// Goes on with another fiber; the current one is in no ready list, or stays in it.
void yield() {
    if (!ready_warps) {
        report_deadlock();
        stop();
    }
    Fiber* from = current;
    unsigned warp = from->warp;
    if (random_state || !warps[warp].ready) warp = choose_bit(ready_warps);
    Fiber* to = &fibers[warp * 32 + choose_bit(warps[warp].ready)];
    if (to == from) return;
    current = to;
    threadIdx = to->index;
    ++num_switches;
    coc_switch(&from->stack_pointer, to->stack_pointer);
}

void join_clocks(const std::vector<unsigned>& threads) {
    unsigned set = 0;
    for (unsigned thread : threads) set |= 1u << thread / 32;
    uint32_t joined[kMaxWarps] = {};
    for (unsigned w = 0; w < num_warps; ++w) {
        if (!(set >> w & 1)) continue;
        for (unsigned v = 0; v < num_warps; ++v) joined[v] = std::max(joined[v], clocks[w][v]);
    }
    for (unsigned w = 0; w < num_warps; ++w) {
        if (!(set >> w & 1)) continue;
        std::copy(joined, joined + num_warps, clocks[w]);
        ++clocks[w][w];
        ++warps[w].epoch;
    }
}

bool complete_barrier(int id) {
    Barrier& barrier = barriers[id];
    const unsigned wanted = barrier.wanted ? barrier.wanted : num_alive;
    if (barrier.threads.empty() || barrier.threads.size() < wanted) return false;
    const void* site = fibers[barrier.threads[0]].site;
    for (unsigned thread : barrier.threads) {
        Fiber& fiber = fibers[thread];
        if (fiber.site != site) {
            report("threads of a block meet at different barriers " + at(offset_of(site)) + " and " +
                       at(offset_of(fiber.site)),
                   where(fiber));
        }
        fiber.barrier = -1;
        make_ready(fiber.warp, 1u << fiber.lane);
    }
    join_clocks(barrier.threads);
    barrier.threads.clear();
    return true;
}

// Completes the rendezvous of a lane if all lanes are there.
bool complete(unsigned warp_number, unsigned lane, Execute execute) {
    Warp& warp = warps[warp_number];
    Fiber* lanes = fibers + warp_number * 32;
    const unsigned mask = lanes[lane].mask & warp.alive;
    if ((warp.waiting & mask) != mask) return false;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        const Fiber& other = lanes[__builtin_ctz(rest)];
        if (other.kind != lanes[lane].kind || other.mask != lanes[lane].mask) {
            report("lanes of a warp meet in different instructions: " + std::string(kKindNames[int(lanes[lane].kind)]) +
                       at(offset_of(lanes[lane].site)) + " and " + kKindNames[int(other.kind)] +
                       at(offset_of(other.site)),
                   where(other));
            stop();
        }
    }
    ++num_rendezvous;
    execute(lanes, mask);
    warp.waiting &= ~mask;
    make_ready(warp_number, mask);
    return true;
}

// So that a lane that ends can complete what others wait for.
Execute executes[int(Kind::Count)];

void finish(Fiber& fiber) {
    if (checking && (!fiber.copies.empty() || !fiber.groups.empty())) {
        report("a thread ends with a cp.async that was not waited for", where(fiber));
    }
    fiber.done = true;
    --num_alive;
    Warp& warp = warps[fiber.warp];
    warp.alive &= ~(1u << fiber.lane);
    leave_ready(fiber);
    for (unsigned rest = warp.waiting; rest; rest &= rest - 1) {
        const unsigned lane = __builtin_ctz(rest);
        if (warp.waiting >> lane & 1) complete(fiber.warp, lane, executes[int(fibers[fiber.warp * 32 + lane].kind)]);
    }
    if (num_alive) complete_barrier(0);
    if (num_alive == 0) {
        void* ignored;
        coc_switch(&ignored, main_context);
    }
    yield();
    std::abort();
}

void start_fiber() {
    kernel_body(kernel_arguments);
    finish(*current);
}

void run_block(size_t shared_bytes) {
    for (unsigned w = 0; w < num_warps; ++w) {
        const unsigned lanes = std::min(32u, num_threads - w * 32);
        warps[w] = {lanes == 32 ? ~0u : (1u << lanes) - 1, lanes == 32 ? ~0u : (1u << lanes) - 1, 0, 1};
        std::fill(clocks[w], clocks[w] + kMaxWarps, 0);
        clocks[w][w] = 1;
    }
    ready_warps = num_warps == 32 ? ~0u : (1u << num_warps) - 1;
    num_alive = num_threads;
    for (Barrier& barrier : barriers) barrier.threads.clear();
    // NaN in every floating type: shared memory that was not written shows.
    std::memset(dynamic_shared, 0xff, shared_bytes);
    std::memset(reinterpret_cast<void*>(static_shared_begin), 0xff, static_shared_bytes);
    if (checking) {
        ++block_uid;
        block_fenced = false;
        acquired.clear();
        forget_pending();
    }
    for (unsigned i = 0; i < num_threads; ++i) {
        Fiber& fiber = fibers[i];
        fiber.thread = i;
        fiber.lane = i % 32;
        fiber.warp = i / 32;
        fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y,
                       i / (blockDim.x * blockDim.y)};
        fiber.done = false;
        fiber.has_waited = !launch_is_early;
        fiber.barrier = -1;
        fiber.kind = Kind::None;
        fiber.copies.clear();
        fiber.groups.clear();
        std::fill(fiber.occurrences.begin(), fiber.occurrences.end(), 0);
        auto* top = reinterpret_cast<void**>(stacks + (i + 1) * kStackBytes);
        *--top = nullptr;  // a call leaves the stack at 8 modulo 16
        *--top = reinterpret_cast<void*>(&start_fiber);
        top -= 6;
        fiber.stack_pointer = top;
    }
    running = true;
    current = &fibers[random_state ? random_number() % num_threads : 0];
    threadIdx = current->index;
    coc_switch(&main_context, current->stack_pointer);
    running = false;
    ++num_blocks;
    fold_pending();
}

void prepare() {
    // The thread-local segment of a library exists from the first access to it.
    [[maybe_unused]] static thread_local volatile char first_access;
    first_access = 0;
    find_module();
    stacks = static_cast<unsigned char*>(mmap(nullptr, kMaxThreads * kStackBytes, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (unsigned i = 0; i < kMaxThreads; ++i) mprotect(stacks + i * kStackBytes, 4096, PROT_NONE);
    dynamic_shared = static_cast<unsigned char*>(std::aligned_alloc(1024, kSharedRoom + 1024));
}

}  // namespace

void rendezvous(Kind kind, unsigned mask, void* operands, Execute execute, const void* site) {
    Fiber& fiber = *current;
    Warp& warp = warps[fiber.warp];
    if (!(mask >> fiber.lane & 1)) {
        report(std::string("a lane that is not in its own mask calls ") + kKindNames[int(kind)] + at(offset_of(site)),
               where(fiber));
        stop();
    }
    fiber.kind = kind;
    fiber.mask = mask;
    fiber.operands = operands;
    fiber.site = site;
    executes[int(kind)] = execute;
    warp.waiting |= 1u << fiber.lane;
    if (!complete(fiber.warp, fiber.lane, execute)) {
        leave_ready(fiber);
        yield();
    }
    fiber.kind = Kind::None;
}

}  // namespace emulator

using namespace emulator;

extern "C" {

int coc_launch(dim3 grid, dim3 block, size_t shared_bytes, int is_early, void (*body)(void*), void* arguments,
               const char* name) {
    if (stacks == nullptr) prepare();
    num_threads = block.x * block.y * block.z;
    num_warps = (num_threads + 31) / 32;
    if (num_threads == 0 || num_threads > kMaxThreads || grid.x * grid.y * grid.z == 0 || grid.y > 65535 ||
        grid.z > 65535 || shared_bytes > kSharedLimit) {
        report("launch with an invalid configuration", name);
        return failed = true;
    }
    if (failed) return 1;
    frame_of_launch = reinterpret_cast<Address>(__builtin_frame_address(0));
    blockDim = block;
    gridDim = grid;
    kernel_body = body;
    kernel_arguments = arguments;
    dynamic_shared_bytes = shared_bytes;
    launch_is_early = is_early;
    first_block_uid = block_uid + 1;
    released.clear();
    if (checking) shared_cells.assign((static_shared_bytes + shared_bytes) / kGranule + 4, Cell{});
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                run_block(shared_bytes);
                if (failed) return 1;
            }
        }
    }
    return 0;
}

// Releases the stacks: their guard pages are many mappings, of which a process has a limited
// number.
void coc_end() {
    if (stacks == nullptr) return;
    munmap(stacks, kMaxThreads * kStackBytes);
    std::free(dynamic_shared);
    stacks = dynamic_shared = nullptr;
}

void coc_sync_threads(int id, unsigned wanted) {
    Fiber& fiber = *current;
    fiber.site = __builtin_return_address(0);
    fiber.barrier = id;
    barriers[id].wanted = wanted;
    barriers[id].threads.push_back(fiber.thread);
    leave_ready(fiber);
    complete_barrier(id);
    yield();
}

void coc_sync_warp(unsigned mask) {
    rendezvous(
        Kind::SyncWarp, mask, nullptr, [](Fiber* lanes, unsigned) { ++warps[lanes->warp].epoch; },
        __builtin_return_address(0));
}

void coc_wait_for_launch_before() { current->has_waited = true; }

void coc_trap(const char* why) {
    report(std::string("trap: ") + why + at(offset_of(__builtin_return_address(0))), where(*current));
    stop();
}
}
