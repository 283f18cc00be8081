// Shared by the files of the emulator: the fibers of a block, and the checker's state of memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <vector_types.h>

extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
}

namespace emulator {

constexpr unsigned kMaxThreads = 1024, kMaxWarps = 32;
constexpr size_t kStackBytes = 128 << 10, kSharedLimit = 227 << 10, kGranule = 2, kSector = 32;
// Behind the dynamic shared memory of a launch there is room in which an access beyond it is
// recognised.
constexpr size_t kSharedRoom = kSharedLimit + (64 << 10);

using Address = uintptr_t;

// ---- Fibers (fibers.cpp) -----------------------------------------------------------------------

enum class Kind : uint8_t { None, SyncWarp, Shuffle, Ballot, Match, Reduce, LdMatrix, Mma, MovMatrix, Count };

// A cp.async that has not been waited for.
struct Copy {
    unsigned char* shared;
    const unsigned char* global;
    uint16_t bytes, source_bytes;
    uint32_t pc;
};

// A thread of the block.
struct Fiber {
    void* stack_pointer;
    unsigned thread, lane, warp;
    uint3 index;
    bool done;
    bool has_waited;  // for the launch in front of it, if this one may begin before that has ended
    Kind kind;  // of the instruction that it waits in, with its mask and operands
    unsigned mask;
    void* operands;
    const void* site;
    int barrier;
    std::vector<Copy> copies;
    std::vector<std::vector<Copy>> groups;
    std::vector<uint32_t> occurrences;  // of each profiled place: how often it has been there
};

struct Warp {
    unsigned alive, ready, waiting;  // bits of lanes
    uint32_t epoch;                  // barriers of the warp that were passed
};

extern Fiber fibers[kMaxThreads];
extern Warp warps[kMaxWarps];
extern Fiber* current;
extern uint32_t clocks[kMaxWarps][kMaxWarps];  // vector clocks of the warps
extern unsigned num_warps;
extern bool failed;
extern uint64_t random_state;  // 0: threads run in order
extern uint64_t num_rendezvous, num_switches, num_blocks;

// Carries a warp-wide instruction out for the lanes of a mask.
using Execute = void (*)(Fiber* lanes, unsigned mask);

// Waits until every living lane of the mask is in the same instruction; the last one executes it.
void rendezvous(Kind kind, unsigned mask, void* operands, Execute execute, const void* site);

// ---- Reports (reports.cpp) ---------------------------------------------------------------------

// Notes a finding once for each key. `@+hex` in it is a place, which Python turns into a line.
void report(const std::string& key, const std::string& detail);
// Gives the launch up.
[[noreturn]] void stop();
std::string where(const Fiber& fiber);
std::string at(uint32_t pc);
uint32_t offset_of(const void* pc);
void find_module();

extern Address module_begin, module_end, static_shared_begin;
extern size_t static_shared_bytes;

// ---- The checker (checker.cpp) -----------------------------------------------------------------

// Who did an access, and when.
struct Stamp {
    uint32_t block, clock, epoch, pc;
    uint32_t thread;
};

// What is known of `kGranule` bytes.
struct Cell {
    Stamp write, read[2];
    uint32_t in_flight;  // thread + 1 whose cp.async fills it
    uint32_t owner;      // of shared memory: the block that it is about
    bool written;
    bool by_atomic;  // the last write was one
};

// Memory that a kernel may access.
struct Region {
    Address begin, end;
    std::string name;
    bool is_constant;  // no launch writes it
    std::vector<Cell> cells;
    std::vector<uint8_t> touched;  // bit 0 read, bit 1 written, per sector
};

extern bool running, checking, profiling;
extern std::vector<Region> regions;
extern Region* last_region;
extern std::vector<Cell> shared_cells;  // static shared memory, then dynamic
extern unsigned char* dynamic_shared;
extern size_t dynamic_shared_bytes;
extern unsigned char* stacks;
extern Address frame_of_launch;
extern uint32_t block_uid, first_block_uid;
extern bool block_fenced;
extern uint64_t num_accesses;

// Of other blocks: up to which clock of each warp their accesses are known to be over.
using Known = std::map<uint32_t, std::array<uint32_t, kMaxWarps>>;
extern Known acquired;
extern std::map<Address, Known> released;

void check_cell(Cell& cell, bool write, const Fiber& fiber, uint32_t pc, const char* place, bool atomic = false);
// The cells of some bytes. Stops at bytes outside of everything.
Cell* cells_of(Address address, size_t size, const char* what, uint32_t pc, bool* is_shared, const char** place);
Region* region_of(Address address);
void check_access(Address address, size_t size, bool write, bool aligned, uint32_t pc);
// A variable that the compiler made: whether a local static was initialised.
void ignore_guard(size_t offset);

// ---- The profile (profile.cpp) -----------------------------------------------------------------

// Accesses of the lanes of a warp at one place, which are one request.
struct Pending {
    unsigned count = 0, size = 0;
    bool is_shared = false, is_write = false;
    uint32_t pc = 0;
    Address addresses[32];
};

void fold(Pending& request);
void profile(Fiber& fiber, uint32_t pc, Address address, unsigned size, bool is_shared, bool is_write);
// Requests of which some lanes never came.
void fold_pending();
void forget_pending();
void forget_profile();
std::string profile_lines();

}  // namespace emulator
