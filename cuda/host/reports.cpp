// Findings, and the module that the kernels were compiled into.
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "machine.h"

extern "C" {
void coc_switch(void** save, void* load);
}

namespace emulator {

Address module_begin, module_end, static_shared_begin;
size_t static_shared_bytes;
extern void* main_context;

namespace {

std::map<std::string, int> reports;
std::vector<std::string> report_order;

int find_module(dl_phdr_info* info, size_t, void*) {
    const Address here = reinterpret_cast<Address>(&find_module);
    Address low = ~Address{0}, high = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD) continue;
        low = std::min(low, info->dlpi_addr + header.p_vaddr);
        high = std::max(high, info->dlpi_addr + header.p_vaddr + header.p_memsz);
    }
    if (here < low || here >= high) return 0;
    module_begin = low;
    module_end = high;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type != PT_TLS) continue;
        static_shared_begin = reinterpret_cast<Address>(info->dlpi_tls_data);
        static_shared_bytes = info->dlpi_tls_data ? info->dlpi_phdr[i].p_memsz : 0;
    }
    return 1;
}

}  // namespace

void find_module() { dl_iterate_phdr(find_module, nullptr); }

uint32_t offset_of(const void* pc) { return static_cast<uint32_t>(reinterpret_cast<Address>(pc) - module_begin); }

std::string where(const Fiber& fiber) {
    char text[160];
    std::snprintf(text, sizeof text, "block (%u,%u,%u) thread %u", blockIdx.x, blockIdx.y, blockIdx.z,
                  fiber.thread);
    return text;
}

void report(const std::string& key, const std::string& detail) {
    if (reports[key]++ == 0) report_order.push_back(key + "  [first: " + detail + "]");
}

[[noreturn]] void stop() {
    failed = true;
    running = false;
    void* ignored;
    coc_switch(&ignored, main_context);
    std::abort();
}

std::string at(uint32_t pc) {
    char text[32];
    std::snprintf(text, sizeof text, "@+%x", pc);
    return text;
}

void forget_reports() {
    reports.clear();
    report_order.clear();
}

std::string report_lines() {
    std::string text;
    for (const std::string& line : report_order) text += line + "\n";
    return text;
}

}  // namespace emulator
