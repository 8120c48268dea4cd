#include "kernels/cuda/emulate/memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "core/error.h"
#include "kernels/cuda/emulate/settings.h"
#include "kernels/cuda/virtual_memory.h"

namespace weft::gpu::emulate {
namespace {

constexpr size_t kArena = size_t{256} << 30;  // of addresses
constexpr size_t kPage = 4096;

// All device memory of a guarded program: no access for anyone outside Open.
struct Arena {
  char* base = nullptr;
  std::map<size_t, size_t> holes;  // offset -> bytes
  int open = 0;

  void* take(size_t bytes) {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    for (auto hole = holes.begin(); hole != holes.end(); ++hole) {
      if (hole->second < bytes) continue;
      const size_t at = hole->first, rest = hole->second - bytes;
      holes.erase(hole);
      if (rest) holes[at + bytes] = rest;
      return base + at;
    }
    return nullptr;
  }
  void give(char* p, size_t bytes) {
    bytes = (bytes + kPage - 1) / kPage * kPage;
    madvise(p, bytes, MADV_DONTNEED);
    auto hole = holes.emplace(size_t(p - base), bytes).first;
    if (auto next = std::next(hole); next != holes.end() && hole->first + hole->second == next->first) {
      hole->second += next->second;
      holes.erase(next);
    }
    if (hole != holes.begin())
      if (auto before = std::prev(hole); before->first + before->second == hole->first) {
        before->second += hole->second;
        holes.erase(hole);
      }
  }
};

struct Memory {
  std::mutex mutex;
  std::map<uintptr_t, Allocation> blocks;
  size_t used[8] = {};
  std::mutex arena_mutex;  // taken inside `mutex`
  Arena arena;
};
Memory& memory() {
  static Memory* m = new Memory;
  return *m;
}

struct sigaction before_guard;
void on_fault(int signal, siginfo_t* info, void* context) {
  const Arena& arena = memory().arena;
  const char* at = static_cast<const char*>(info->si_addr);
  if (at >= arena.base && at < arena.base + kArena) {
    constexpr char text[] = "weft: the host touches device memory (WEFT_EMULATE_GUARD)\n";
    [[maybe_unused]] ssize_t written = write(2, text, sizeof text - 1);
  }
  (void)signal;
  (void)context;
  sigaction(SIGSEGV, &before_guard, nullptr);  // the access is tried again, and ends the program as ever
}

void start_arena(Arena& arena) {
  void* base = mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEFT_ASSERT(base != MAP_FAILED, "emulation: no address space for {} bytes of device memory", kArena);
  arena.base = static_cast<char*>(base);
  arena.holes[0] = kArena;
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &before_guard);
}

}  // namespace

Open::Open() {
  if (!settings().guard) return;
  Memory& m = memory();
  std::lock_guard lock(m.arena_mutex);
  if (!m.arena.base) start_arena(m.arena);
  if (m.arena.open++ == 0) mprotect(m.arena.base, kArena, PROT_READ | PROT_WRITE);
}
Open::~Open() {
  if (!settings().guard) return;
  Memory& m = memory();
  std::lock_guard lock(m.arena_mutex);
  if (--m.arena.open == 0) mprotect(m.arena.base, kArena, PROT_NONE);
}

void* take_memory(size_t bytes, Kind kind, int device) {
  Memory& m = memory();
  const Open open;
  std::lock_guard lock(m.mutex);
  if (kind == Kind::device && (bytes > settings().memory || m.used[device] > settings().memory - bytes)) return nullptr;
  void* p = nullptr;
  if (kind == Kind::device && settings().guard) {
    std::lock_guard arena_lock(m.arena_mutex);
    p = m.arena.take(bytes);
  } else {
    // As far apart as the real ones, so that what must be aligned is.
    const size_t align = kind == Kind::device ? 512 : kPage;
    p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  }
  if (!p) return nullptr;
  std::memset(p, settings().poison, bytes);
  m.blocks[reinterpret_cast<uintptr_t>(p)] = {static_cast<char*>(p), bytes, kind, device};
  if (kind == Kind::device) m.used[device] += bytes;
  return p;
}

bool give_memory(void* p, Kind kind) {
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  const auto it = m.blocks.find(reinterpret_cast<uintptr_t>(p));
  if (it == m.blocks.end() || it->second.kind != kind) return false;
  const Allocation a = it->second;
  m.blocks.erase(it);
  if (kind == Kind::device) m.used[a.device] -= a.bytes;
  if (kind == Kind::device && settings().guard) {
    std::lock_guard arena_lock(m.arena_mutex);
    m.arena.give(a.data, a.bytes);
  } else {
    std::free(p);
  }
  return true;
}

void* take_addresses(size_t bytes) {
  if (settings().guard) {
    const Open open;
    Memory& m = memory();
    std::lock_guard lock(m.arena_mutex);
    return m.arena.take(bytes);
  }
  void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

bool map_addresses(void* at, size_t bytes, int device) {
  Memory& m = memory();
  const Open open;
  std::lock_guard lock(m.mutex);
  if (bytes > settings().memory || m.used[device] > settings().memory - bytes) return false;
  if (!settings().guard) mprotect(at, bytes, PROT_READ | PROT_WRITE);
  std::memset(at, settings().poison, bytes);
  for (size_t done = 0; done < bytes; done += kChunk) {
    char* chunk = static_cast<char*>(at) + done;
    m.blocks[reinterpret_cast<uintptr_t>(chunk)] = {chunk, kChunk, Kind::device, device};
  }
  m.used[device] += bytes;
  return true;
}

void unmap_addresses(void* at, size_t bytes) {
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  for (size_t done = 0; done < bytes; done += kChunk) {
    const auto it = m.blocks.find(reinterpret_cast<uintptr_t>(at) + done);
    m.used[it->second.device] -= kChunk;
    m.blocks.erase(it);
  }
  madvise(at, bytes, MADV_DONTNEED);
  if (!settings().guard) mprotect(at, bytes, PROT_NONE);
}

Allocation find_memory(const void* p) {
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  auto it = m.blocks.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (it == m.blocks.begin()) return {};
  Allocation a = std::prev(it)->second;
  if (static_cast<const char*>(p) >= a.data + a.bytes) return {};
  for (; a.bytes % kChunk == 0 && it != m.blocks.end() && it->second.data == a.data + a.bytes; ++it)
    a.bytes += it->second.bytes;
  return a;
}

size_t used_memory(int device) {
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  return m.used[device];
}

void each_device_memory(const std::function<void(const Allocation&)>& f) {
  Memory& m = memory();
  std::lock_guard lock(m.mutex);
  for (const auto& [at, a] : m.blocks)
    if (a.kind == Kind::device) f(a);
}

}  // namespace weft::gpu::emulate
