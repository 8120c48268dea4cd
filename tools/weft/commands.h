#pragma once
#include <CLI/CLI.hpp>
#include <functional>

// The commands of the weft program. Each adds its options to the app and returns what runs when it was chosen (the exit
// code).
namespace weft::tools {

using Run = std::function<int()>;

Run add_check(CLI::App& app);
Run add_bench(CLI::App& app);
Run add_demo(CLI::App& app);
Run add_info(CLI::App& app);
Run add_fuzz(CLI::App& app);

}  // namespace weft::tools
