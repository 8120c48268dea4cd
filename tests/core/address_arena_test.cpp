#include "core/address_arena.h"

#include <cstring>

#include "core/allocator.h"
#include "tests/catch.h"

using namespace weft;
using detail::AddressArena;

TEST_CASE("addresses of an arena cost nothing until they are kept, and go back to the system") {
  AddressArena* arena = AddressArena::take();
  REQUIRE(arena);
  constexpr size_t kBytes = (size_t{1} << 20) + 100;
  const int64_t before = memory_stats().allocated;
  void* dropped = arena->allocate(kBytes);
  void* kept = arena->allocate(kBytes);
  REQUIRE(dropped);
  REQUIRE(kept);
  CHECK(memory_stats().allocated == before);
  arena->drop();
  AddressArena::keep(kBytes);
  CHECK(memory_stats().allocated == before + static_cast<int64_t>(detail::cpu_block_size(kBytes)));
  // All that a block of this size may be used for lies apart from the others.
  const size_t size = detail::cpu_block_size(kBytes);
  void* next = arena->allocate(kBytes);
  CHECK(static_cast<char*>(next) - static_cast<char*>(kept) >= static_cast<ptrdiff_t>(size));
  std::memset(kept, 1, size);
  arena->drop();
  arena->leave();
  // The kept block holds the arena: another user gets another one.
  AddressArena* other = AddressArena::take();
  CHECK(other != arena);
  if (other) other->leave();
  CHECK(static_cast<const char*>(kept)[size - 1] == 1);
  detail::cpu_free(kept, kBytes);
  CHECK(memory_stats().allocated == before);
  void* ordinary = detail::cpu_allocate(kBytes);
  CHECK_FALSE(AddressArena::give_back(ordinary, kBytes));
  detail::cpu_free(ordinary, kBytes);
}
