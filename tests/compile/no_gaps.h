#pragma once

// Options of ops have gaps between their members, whose bytes are cleared where the compiler can. Elsewhere calls may
// seem to differ, and go on being matched.
#if __has_builtin(__builtin_clear_padding)
inline constexpr bool kNoGaps = true;
#else
inline constexpr bool kNoGaps = false;
#endif
