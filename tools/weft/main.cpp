#include <cstdio>
#include <exception>

#include "nn/schema.h"
#include "tools/weft/commands.h"

int main(int argc, char** argv) {
  CLI::App app{"weft: tensors, autograd and training in C++"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("weft ") + WEFT_VERSION);
  struct Command {
    CLI::App* app;
    weft::tools::Run run;
  };
  auto add = [&](const char* name, const char* what, weft::tools::Run (*make)(CLI::App&)) {
    CLI::App* sub = app.add_subcommand(name, what);
    return Command{sub, make(*sub)};
  };
  weft::nn::register_schemas();
  using namespace weft::tools;
  const Command commands[] = {
      add("check", "run conformance cases", add_check),
      add("bench", "measure training steps, kernels and ops", add_bench),
      add("demo", "train a model on real work", add_demo),
      add("fuzz", "random programs against their compiled form", add_fuzz),
      add("info", "version, processor and libraries", add_info),
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "weft: %s\n", e.what());
    return 2;
  }
  try {
    for (const Command& c : commands)
      if (c.app->parsed()) return c.run();
  } catch (const CLI::Error& e) {  // arguments that contradict each other, or a checkpoint
    std::fprintf(stderr, "weft: %s\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "weft: %s\n", e.what());
    return 1;
  }
  return 2;
}
