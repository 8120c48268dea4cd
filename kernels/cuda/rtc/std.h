#pragma once

// The words of the standard library that the texts of kernels use, for the run-time compiler, which brings no library.
// It finds this text under the names <cstdint>, <cstddef>, <type_traits>, <utility> and <string_view>.
#if defined(__CUDACC_RTC__)

using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned;
#if defined(__INT64_TYPE__)
using int64_t = __INT64_TYPE__;
using uint64_t = __UINT64_TYPE__;
#else
using int64_t = long long;
using uint64_t = unsigned long long;
#endif
using uintptr_t = decltype(sizeof(0));
#define INT64_MAX 9223372036854775807LL
#define INT64_MIN (-INT64_MAX - 1)

namespace std {

using size_t = decltype(sizeof(0));

template <class T, class U>
inline constexpr bool is_same_v = false;
template <class T>
inline constexpr bool is_same_v<T, T> = true;
template <class T>
struct remove_cv {
  using type = T;
};
template <class T>
struct remove_cv<const T> {
  using type = T;
};
template <class T>
inline constexpr bool is_floating_point_v =
    is_same_v<typename remove_cv<T>::type, float> || is_same_v<typename remove_cv<T>::type, double>;
template <class T, class... Any>
inline constexpr bool is_any_of_v = (is_same_v<T, Any> || ...);
template <class T>
inline constexpr bool is_integral_v =
    is_any_of_v<typename remove_cv<T>::type, bool, char, signed char, unsigned char, short, unsigned short, int,
                unsigned, long, unsigned long, long long, unsigned long long>;

template <bool Condition, class T, class>
struct conditional {
  using type = T;
};
template <class T, class U>
struct conditional<false, T, U> {
  using type = U;
};
template <bool Condition, class T, class U>
using conditional_t = typename conditional<Condition, T, U>::type;

template <size_t... I>
struct index_sequence {};
template <size_t N, size_t... I>
struct make_sequence : make_sequence<N - 1, N - 1, I...> {};
template <size_t... I>
struct make_sequence<0, I...> {
  using type = index_sequence<I...>;
};
template <size_t N>
using make_index_sequence = typename make_sequence<N>::type;

class string_view {
 public:
  constexpr string_view() = default;
  constexpr string_view(const char* text) : text_(text) {}

 private:
  const char* text_ = nullptr;
};

}  // namespace std

using std::size_t;

#endif
