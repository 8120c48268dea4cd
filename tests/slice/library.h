#pragma once

#include <string>

namespace weft::slice {

// A shared library made from C++ text by the compiler and with the numeric flags that built this program.
class Library {
 public:
  // Throws with the compiler's words when the text does not compile.
  explicit Library(const std::string& text, const std::string& optimisation = "-O3");
  ~Library();
  Library(const Library&) = delete;

  template <class F>
  F* function(const char* name) const {
    return reinterpret_cast<F*>(symbol(name));
  }
  double compile_ms() const { return compile_ms_; }

 private:
  void* symbol(const char* name) const;

  void* handle_ = nullptr;
  double compile_ms_ = 0;
};

}  // namespace weft::slice
