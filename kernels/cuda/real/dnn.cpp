#include "kernels/cuda/dnn.h"

#include "core/error.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/real/dnn_plans.h"

namespace weft::gpu::dnn {
namespace {

// The plans of this thread, by device and call. Declined calls are remembered too.
template <class Call>
const PlannedCall& planned_call(const Call& c) {
  thread_local auto* plans = new std::unordered_map<std::vector<int64_t>, PlannedCall, HashKey>;
  std::vector<int64_t> k = key(c);
  int device = 0;
  check(cudaGetDevice(&device), "cuDNN");
  k.push_back(device);
  const auto found = plans->find(k);
  if (found != plans->end()) return found->second;
  PlannedCall p;
  try {
    p = plan(c, {cudnn::handle(current_stream()), nullptr});
  } catch (const Error& e) {
    p.plan = nullptr;
    p.why = e.what();
  }
  return plans->emplace(std::move(k), std::move(p)).first->second;
}

template <class Call>
void run_planned(const Call& c, cudaStream_t stream) {
  const PlannedCall& p = planned(c);
  WEFT_ASSERT(p.plan != nullptr, "cuDNN: declined: {}", p.why);
  const int64_t own = (p.plan->workspace() + 255) / 256 * 256;
  Workspace memory(static_cast<size_t>(own + p.scratch));
  char* scratch = memory.as<char>() + own;
  if (p.cleared > 0) check(cudaMemsetAsync(scratch + p.offsets[1], 0, static_cast<size_t>(p.cleared), stream), "cuDNN");
  p.plan->execute(cudnn::handle(stream), p.uids, p.pointers(&c, p, scratch), memory.data());
  ++launches;
  after_launch(stream);
}

}  // namespace

const PlannedCall& planned(const ConvolutionCall& c) { return planned_call(c); }
const PlannedCall& planned(const AttentionCall& c) { return planned_call(c); }

// A plan of attention is compiled for its shape, which takes a second or two: not for small problems, nor for the
// single queries of a text that grows.
static bool worth_a_plan(const AttentionCall& c) {
  return c.tq >= 16 && c.batch * c.heads * c.tq * c.tk * (c.d + c.dv) >= (int64_t{1} << 24);
}

bool supports(const ConvolutionCall& c) {
  return library_takes(c) && cudnn::library() != nullptr && planned(c).plan != nullptr;
}
bool supports(const AttentionCall& c) {
  if (!library_takes(c) || !worth_a_plan(c) || cudnn::library() == nullptr) return false;
  const size_t version = cudnn::library()->version();
  if (c.backward && (c.d > 128 || c.dv > 128) && version < 91100) return false;
  // Before 9.16 keys beyond the last tile of 128 are not masked in backward.
  if (c.backward && c.tk % 128 != 0 && version <= 91500) return false;
  return planned(c).plan != nullptr;
}
void run(const ConvolutionCall& c, cudaStream_t stream) { run_planned(c, stream); }
void run(const AttentionCall& c, cudaStream_t stream) { run_planned(c, stream); }

}  // namespace weft::gpu::dnn
