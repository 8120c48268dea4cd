#include "tests/slice/library.h"

#include <dlfcn.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace weft::slice {

Library::Library(const std::string& text, const std::string& optimisation) {
  std::string folder = (std::filesystem::temp_directory_path() / "weft_slice_XXXXXX").string();
  if (!mkdtemp(folder.data())) throw std::runtime_error("no folder for temporary files: " + folder);
  std::string source = folder + "/kernel.cpp", library = folder + "/kernel.so", words = folder + "/words";
  std::ofstream(source) << text;
  std::string command = std::string(WEFT_COMPILER) + " -std=c++20 " + optimisation +
                        " -march=native " WEFT_NUMERIC_FLAGS
                        " -Wno-unknown-pragmas -fvisibility=hidden -shared -fPIC -o " +
                        library + " " + source + " 2> " + words;
  auto start = std::chrono::steady_clock::now();
  int status = std::system(command.c_str());
  compile_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (status == 0) handle_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  std::stringstream said;
  said << std::ifstream(words).rdbuf();
  if (status == 0 && !handle_) said << dlerror();
  std::filesystem::remove_all(folder);
  if (!handle_) throw std::runtime_error(command + "\n" + said.str());
}

Library::~Library() { dlclose(handle_); }

void* Library::symbol(const char* name) const {
  void* address = dlsym(handle_, name);
  if (!address) throw std::runtime_error(dlerror());
  return address;
}

}  // namespace weft::slice
