#pragma once
#include <unistd.h>

#include <utility>

namespace weft::detail {

/// Owns an open file of the system; a number below 0: none.
class File {
 public:
  explicit File(int number) : number_(number) {}
  ~File() { close(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int number() const { return number_; }
  /// False, with errno, when what was written may be lost.
  bool close() {
    const int number = std::exchange(number_, -1);
    return number < 0 || ::close(number) == 0;
  }

 private:
  int number_;
};

}  // namespace weft::detail
