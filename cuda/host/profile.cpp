// Accesses grouped into the requests of warps: sectors of global memory, wavefronts of shared
// memory.
#include <algorithm>
#include <cstdio>
#include <set>
#include <unordered_map>

#include "machine.h"

namespace emulator {

bool profiling;

namespace {

// Of one place in the code.
struct PlaceStats {
    bool is_shared = false, is_write = false;
    unsigned size = 0;
    uint64_t requests = 0, lanes = 0, bytes = 0;
    uint64_t units = 0, ideal = 0;  // sectors (global) or wavefronts (shared)
};

std::vector<PlaceStats> stats;
std::unordered_map<uint32_t, uint32_t> stat_of;
std::vector<uint32_t> pc_of;
std::unordered_map<uint64_t, Pending> pending[kMaxWarps];

}  // namespace

void fold(Pending& request) {
    auto found = stat_of.find(request.pc);
    if (found == stat_of.end()) {
        found = stat_of.emplace(request.pc, stats.size()).first;
        stats.emplace_back();
        pc_of.push_back(request.pc);
    }
    PlaceStats& stat = stats[found->second];
    stat.is_shared = request.is_shared;
    stat.is_write = request.is_write;
    stat.size = request.size;
    ++stat.requests;
    stat.lanes += request.count;
    stat.bytes += uint64_t{request.count} * request.size;
    if (!request.is_shared) {
        std::set<Address> sectors, bytes;
        for (unsigned i = 0; i < request.count; ++i) {
            for (Address a = request.addresses[i]; a < request.addresses[i] + request.size; a += kGranule) {
                sectors.insert(a / kSector);
                bytes.insert(a / kGranule);
            }
        }
        stat.units += sectors.size();
        stat.ideal += (bytes.size() * kGranule + kSector - 1) / kSector;
        return;
    }
    // A wide access is served in phases: 16 bytes for eight lanes at a time, 8 bytes for sixteen.
    const unsigned lanes_per_phase = request.size >= 16 ? 8 : request.size == 8 ? 16 : 32;
    for (unsigned first = 0; first < request.count; first += lanes_per_phase) {
        std::set<Address> words;
        for (unsigned i = first; i < std::min(first + lanes_per_phase, request.count); ++i) {
            for (Address a = request.addresses[i]; a < request.addresses[i] + request.size; a += 4) words.insert(a / 4);
        }
        unsigned per_bank[32] = {}, most = 0;
        for (Address word : words) most = std::max(most, ++per_bank[word % 32]);
        stat.units += most;
        stat.ideal += (words.size() + 31) / 32;
    }
}

void profile(Fiber& fiber, uint32_t pc, Address address, unsigned size, bool is_shared, bool is_write) {
    const uint32_t key_pc = pc * 2 + is_shared;
    auto found = stat_of.find(key_pc);
    if (found == stat_of.end()) {
        found = stat_of.emplace(key_pc, stats.size()).first;
        stats.emplace_back();
        pc_of.push_back(key_pc);
    }
    const uint32_t id = found->second;
    if (fiber.occurrences.size() <= id) fiber.occurrences.resize(id + 1);
    const uint64_t key = uint64_t{id} << 32 | fiber.occurrences[id]++;
    Pending& request = pending[fiber.warp][key];
    request.pc = key_pc;
    request.size = size;
    request.is_shared = is_shared;
    request.is_write = is_write;
    request.addresses[request.count++] = address;
    if (request.count == 32) {
        fold(request);
        pending[fiber.warp].erase(key);
    }
}

void fold_pending() {
    for (unsigned w = 0; w < num_warps; ++w) {
        for (auto& [key, request] : pending[w]) fold(request);
        pending[w].clear();
    }
}

void forget_pending() {
    for (auto& requests : pending) requests.clear();
}

void forget_profile() {
    stats.clear();
    stat_of.clear();
    pc_of.clear();
    for (Fiber& fiber : fibers) fiber.occurrences.clear();
}

std::string profile_lines() {
    std::string text;
    char line[256];
    for (size_t i = 0; i < stats.size(); ++i) {
        const PlaceStats& s = stats[i];
        if (!s.requests) continue;
        std::snprintf(line, sizeof line, "pc %x %s %s %u %lu %lu %lu %lu %lu\n", pc_of[i] / 2,
                      s.is_shared ? "shared" : "global", s.is_write ? "write" : "read", s.size, s.requests, s.lanes,
                      s.bytes, s.units, s.ideal);
        text += line;
    }
    return text;
}

}  // namespace emulator
