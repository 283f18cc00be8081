// What a test calls: memory that kernels may access, a new beginning, findings, the profile.
#include <cstdio>

#include "machine.h"

namespace emulator {
void forget_reports();
std::string report_lines();
extern uint64_t num_mma;
}  // namespace emulator

using namespace emulator;

extern "C" {

void coc_begin(int check, int with_profile, uint64_t seed) {
    checking = check;
    profiling = with_profile;
    random_state = seed ? seed * 0x9e3779b97f4a7c15u | 1 : 0;
    failed = false;
    regions.clear();
    last_region = nullptr;
    forget_reports();
    forget_profile();
    num_mma = num_rendezvous = num_switches = num_accesses = num_blocks = 0;
}

void coc_register(const void* address, size_t bytes, int initialised, int is_constant, const char* name) {
    const auto begin = reinterpret_cast<Address>(address);
    Region region{begin, begin + bytes, name, is_constant != 0, {}, {}};
    if (checking) {
        Cell cell{};
        cell.written = initialised;
        region.cells.assign(bytes / kGranule + 1, cell);
        region.touched.assign(bytes / kSector + 2, 0);
    }
    regions.push_back(std::move(region));
    last_region = nullptr;
}

// Bytes of a registered tensor that no kernel may read.
void coc_forget(const void* address, size_t bytes) {
    const auto first = reinterpret_cast<Address>(address);
    Region* region = region_of(first);
    if (!checking || region == nullptr) return;
    for (size_t i = 0; i < bytes / kGranule; ++i) region->cells[(first - region->begin) / kGranule + i].written = false;
}

// A variable that the compiler made: whether a local static was initialised.
void coc_guard(size_t offset) { ignore_guard(offset); }

int coc_failed() { return failed; }

const char* coc_reports() {
    static std::string text;
    return (text = report_lines()).c_str();
}

const char* coc_profile() {
    static std::string text;
    char line[256];
    text = profile_lines();
    for (const Region& region : regions) {
        uint64_t read = 0, written = 0;
        for (uint8_t touched : region.touched) read += touched & 1, written += touched >> 1 & 1;
        std::snprintf(line, sizeof line, "region %s %lu %lu %lu\n", region.name.c_str(), region.end - region.begin,
                      read * kSector, written * kSector);
        text += line;
    }
    std::snprintf(line, sizeof line, "counts %lu %lu %lu %lu %lu\n", num_blocks, num_mma, num_rendezvous, num_switches,
                  num_accesses);
    return (text += line).c_str();
}
}
