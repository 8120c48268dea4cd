#include "tools/weft/demo_write.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/formats/file.h"
#include "tools/weft/demo_progress.h"
#include "tools/weft/demo_text.h"
#include "tools/weft/generate.h"

namespace weft::demo {

std::vector<int64_t> prompt_symbols(const Settings& s, std::u32string_view vocabulary) {
  if (!s.prompt) {
    const size_t line = vocabulary.find(U'\n');
    return {line == std::u32string_view::npos ? 0 : static_cast<int64_t>(line)};
  }
  std::vector<int64_t> symbols;
  for (const char32_t c : from_utf8(*s.prompt, "--prompt")) {
    const size_t found = vocabulary.find(c);
    WEFT_CHECK(found != std::u32string_view::npos,
               "gpt: character {} of --prompt, '{}', is not in the text that the model learns; leave it out",
               symbols.size() + 1, to_utf8({&c, 1}));
    symbols.push_back(static_cast<int64_t>(found));
  }
  WEFT_CHECK(!symbols.empty(), "gpt: --prompt is empty; give at least one character");
  return symbols;
}

Shown write(models::Gpt& model, std::u32string_view vocabulary, const std::vector<int64_t>& prompt, const Settings& s) {
  const auto begin = std::chrono::steady_clock::now();
  const Tensor text = models::generate(model, tensor(prompt).unsqueeze(0).to(Device(s.device)),
                                       {.length = s.length,
                                        .temperature = s.temperature,
                                        .top_k = s.top_k,
                                        .seed = static_cast<uint64_t>(s.seed),
                                        .cache = !s.no_cache})
                          .cpu();
  Shown shown;
  shown.symbols_per_s =
      static_cast<double>(s.length) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (s.prompt) shown.sample = *s.prompt;
  for (int64_t i = 0; i < s.length; ++i)
    append_utf8(shown.sample, vocabulary[static_cast<size_t>(text.data<int64_t>()[i])]);
  return shown;
}

int write_only(const Settings& s, const Value& checkpoint) {
  std::u32string vocabulary;
  std::optional<models::Gpt> model;
  try {
    vocabulary = from_utf8(checkpoint.at("settings").at("vocabulary").as_string("vocabulary"), s.resume);
    model.emplace(models::GptOptions{.vocab = static_cast<int64_t>(vocabulary.size()),
                                     .block = s.block,
                                     .layers = s.layers,
                                     .heads = s.heads,
                                     .embd = s.embd});
    model->load_state_dict(checkpoint.at("model_state_dict").as_state_dict());
  } catch (const InternalError&) {
    throw;
  } catch (const Error& e) {
    WEFT_CHECK_FILE(false, "generate: '{}' has no model to write with: {}", s.resume, e.what());
  }
  model->to(Device(s.device));
  model->eval();
  const std::vector<int64_t> prompt = prompt_symbols(s, vocabulary);
  std::optional<formats::AtomicFile> json;
  if (!s.json.empty()) json.emplace(s.json);
  const Shown shown = write(*model, vocabulary, prompt, s);
  fmt::print("{}\n", shown.sample);
  if (!s.quiet) fmt::print("\n{} characters per second\n", with_commas(shown.symbols_per_s));
  if (json) {
    json->write(nlohmann::ordered_json{{"sample", shown.sample}, {"sample_per_s", shown.symbols_per_s}}.dump() + "\n");
    json->commit();
  }
  return 0;
}

}  // namespace weft::demo
