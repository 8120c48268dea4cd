#include "core/error.h"
#include "core/ops/random.h"
#include "core/thread_state.h"
#include "tools/weft/check.h"
#include "tools/weft/same_bits.h"

namespace weft::check {

thread_local Session* Session::current = nullptr;

void compute(const std::string& key, const Session::Body& body) {
  if (!Session::current || !Session::current->compiled) return body();
  constexpr auto call = +[](const Session::Body& b) { b(); };
  Session::current->functions.try_emplace(key, compile(call, {.on_fallback = OnFallback::silent})).first->second(body);
}

void note_compared(const Tensor& t) {
  if (!Session::current) return;
  NoGrad guard;
  Session::current->compared.push_back(t.detach().clone(MemoryFormat::contiguous));
}

Outcome run_compiled(CaseFunction run_case, const CaseFile& file, const nlohmann::ordered_json& c) {
  constexpr int kCalls = 4;
  Session session;
  struct Current {
    explicit Current(Session* s) { Session::current = s; }
    ~Current() { Session::current = nullptr; }
  } current(&session);
  const auto run = [&] {
    session.compared.clear();
    manual_seed(1);
    return run_case(file, c);
  };
  Outcome o = run();
  if (o.kind != Outcome::Kind::passed) return o;
  const std::vector<Tensor> eager = std::move(session.compared);
  session.compiled = true;
  for (int k = 0; k < kCalls; ++k) {
    const std::string at = detail::format("compiled, call {}: ", {k});
    o = run();
    if (o.kind != Outcome::Kind::passed) return {o.kind, at + o.detail};
    if (session.compared.size() != eager.size()) return {Outcome::Kind::failed, at + "another number of results"};
    for (size_t i = 0; i < eager.size(); ++i)
      if (std::string s = tools::differ(session.compared[i], eager[i]); !s.empty())
        return {Outcome::Kind::failed, at + detail::format("result {}: ", {i}) + s};
  }
  for (const auto& [key, f] : session.functions) {
    const CompileStats stats = f.stats();
    if (stats.breaks.empty()) continue;
    // What an op has to read (core/host_read.h) is explained; nothing else may cut a call.
    return {Outcome::Kind::failed, key + " ran in parts " + stats.breaks.front(), true};
  }
  return o;
}

}  // namespace weft::check
