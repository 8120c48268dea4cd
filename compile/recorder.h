#pragma once
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "compile/compile.h"
#include "compile/plan.h"
#include "compile/pointer_map.h"
#include "core/address_arena.h"
#include "core/written_inputs.h"

namespace weft::graph {

// What became of a large block by the time that the kernels ran (Entry::passing): the host has seen it.
inline constexpr char kKept = 0, kPassed = 1, kSeen = 2;

/// Which large results of a call lie in one block (Layout::results).
struct ResultPlaces {
  std::weak_ptr<const Plan> plan;            ///< whose layout it is
  size_t results;                            ///< of that
  std::vector<ptrdiff_t> at;                 ///< by birth among the large blocks; -1: it does not
  std::vector<size_t> bytes;                 ///< by birth
  mutable std::weak_ptr<StorageBlock> last;  ///< of the latest call; guarded by Cache::mutex
};

/// One recording and the plan it last ran with.
struct Entry {
  Graph graph;
  std::shared_ptr<const Plan> plan;  ///< guarded by Cache::mutex
  /// Of the last call's large blocks, in the order of their birth: dropped before the kernels ran, unseen by the host.
  std::shared_ptr<const std::vector<char>> passing;  ///< guarded by Cache::mutex
  std::shared_ptr<const ResultPlaces> places;        ///< guarded by Cache::mutex; may be null
  int64_t runs = 0;                                  ///< guarded by Cache::mutex
  int64_t last = 0;                                  ///< Cache::calls when it ran last; guarded by Cache::mutex
};

/// So many calls in a row that gained nothing by waiting: the next ones do not wait, but for those that look again.
inline constexpr int kMostUseless = 3;
/// Whether call `n` since then looks again: after 64, 128, ..., 1024 calls, then every 1024.
inline bool looks_again(int64_t n) { return n >= 64 && ((n & (n - 1)) == 0 || n % 1024 == 0); }

/// WEFT_CHECK_FUSED=1: fused kernels are compared with their ops one by one, and no call is replayed directly.
bool checks_fused();

/// What a compiled function keeps between calls. Any thread may use it.
struct Cache {
  explicit Cache(const CompileOptions& o) : options(o) {}
  const CompileOptions options;
  const bool check_fused = checks_fused();
  std::mutex mutex;
  std::vector<std::shared_ptr<Entry>> entries;
  std::vector<std::shared_ptr<Entry>> expected;  ///< of the last call: its first stretch, its second, ...
  std::vector<std::string> reasons;              ///< why stretches were recorded, the latest last
  std::vector<std::string> breaks;               ///< after which step the host read memory, each once
  std::vector<std::string> wrong;                ///< fused kernels with other bits than their ops (check_fused.cpp)
  std::vector<std::string> explained;            ///< the same where an op says why it does (core/host_read.h)
  int useless = 0;                               ///< calls in a row that matched and gained nothing by waiting
  int64_t since_useless = 0;                     ///< calls since there were kMostUseless
  int64_t calls = 0, at_once = 0, matched = 0, recorded = 0, broken = 0, dropped = 0;
  int64_t direct = 0, verified = 0;
  std::chrono::steady_clock::time_point first_call;
  std::vector<std::string> matched_because;  ///< why direct replay was not used, each once
};

/// What one call came to, for those who want to replay it: the last stretch, and how many there were.
struct Observed {
  struct Slot {
    Storage* held;  ///< an input, kept alive; null: born in the call
    const char* data;
    bool alive, written;
  };
  Observed() = default;
  ~Observed();
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

  std::shared_ptr<Entry> entry;
  std::shared_ptr<const Plan> plan;
  std::vector<Slot> slots;  ///< by buffer
  std::vector<unsigned char> data;
  std::vector<size_t> data_at;
  int stretches = 0, touched = 0;  ///< touched: times that the host asked for memory
  bool recorded = false;
};

/// Texts kept of one kind.
inline constexpr size_t kMostTexts = 16;
/// Adds `text` unless it is there or there are kMostTexts.
bool add_text(std::vector<std::string>& texts, const std::string& text);

// Data of a step: its parameters or attributes, then the wrapped numbers among its inputs.
inline constexpr size_t kNumber = 8;  ///< bytes of a wrapped number
inline constexpr size_t kAlign = 16;
/// Where number `input` of `s` lies in the step's data.
inline size_t number_at(const Step& s, size_t input) {
  return (static_cast<size_t>(s.params) * sizeof(Scalar) + kAlign - 1) / kAlign * kAlign + input * kNumber;
}

/// Whether a step's data say the same; a Scalar has bytes that mean nothing.
bool same_numbers(const Step& s, const unsigned char* a, const unsigned char* b);

/// Takes the kernels of one call on this thread. Each is compared with the recording that the last call made; as long
/// as they agree nothing but addresses and numbers is noted. Where they differ, another recording that begins alike
/// takes over, or a new one is made from what matched. What was put off runs when the host asks for memory, and at the
/// end of the call.
class Recorder final : public detail::Deferral {
 public:
  explicit Recorder(Cache& cache) : cache_(cache) {}
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void put_off(const OpCall& call, size_t attrs_bytes) override;
  void put_off(const detail::PointwiseCall& call) override;
  void settle(Storage* storage, bool keeps) override;
  void* allocate(size_t bytes) override;
  void release(void* block, size_t bytes) noexcept override;
  Storage* part(size_t bytes) override;
  /// Runs what is left.
  void finish();
  /// Ready for another call, its memory kept.
  void reset() noexcept;
  /// Tells `o` (may be null) what the call comes to.
  void observe(Observed* o) { observed_ = o; }

 private:
  // A buffer of this stretch.
  struct Slot {
    const Storage* storage;  ///< while `alive`
    char* data;
    size_t bytes;
    Storage* held;  ///< an input, kept alive until it has been read; null: born in this call
    Device device;
    bool owned;
    bool lazy = false;  ///< it has no memory (yet): addresses of arena_, or memory that others have taken
    bool alive = true;
    bool written = false;
  };
  struct Known {
    int slot = -1;
    int birth = -1;  ///< of large blocks: how many were born in this stretch before
    bool born = false;
    bool reused = false;  ///< its memory was another buffer's, whose kernels have not run
    size_t lazy = 0;      ///< bytes of arena_ that are addresses only; 0: it has memory
  };
  struct Key {
    const OpRecord* op;
    const PointwiseInfo* info;
    const Loops* loops;
    DType compute;
    bool truth;
    const Tensor* in;
    int n_in;
    const Tensor* out;
    int n_out;
    int params;
    size_t attrs_bytes;
    const void* attrs;  ///< of a structured op

    RowWise rows() const { return info ? RowWise() : row_wise(call()); }
    unsigned written() const { return info || n_out == 0 ? 0 : written_inputs(call()); }
    OpCall call() const { return {*op, in, n_in, const_cast<Tensor*>(out), n_out, attrs}; }
  };

  void add(const Key& key, const Scalar* params);
  void look_back(const Key& key);
  bool matches(const Graph& g, const Key& key);
  static bool is_number(const Key& key, const Tensor& t) { return key.info && t.impl()->wrapped_number; }
  Step describe(const Key& key);
  int slot_of(Storage* s);
  void diverge(const Key& key);
  void note(std::string reason);
  void begin_with(const Graph& old);
  void fall_back(const std::string& text, bool explained);
  /// Runs what waits in the middle of a call.
  void cut(const char* reason, bool explained = false);
  void run(bool in_the_middle);
  void tell(const std::shared_ptr<const Plan>& plan, bool recorded);
  void keep(const std::shared_ptr<Entry>& made);  // Cache::mutex held
  void execute(const Graph& recorded, const Plan& plan);
  /// The steps so far, one by one.
  void execute_in_order(const std::vector<Step>& steps);
  /// A new recording begins here: what waits runs, and from now on nothing does.
  void stop_waiting();
  void bind_storages();
  void finish_graph(Graph& g) const;
  std::vector<char> alive_now(const Graph& g);
  void* allocate_lazily(size_t bytes, size_t birth);
  void expect_births();
  void make_room(size_t bytes);
  void place_results(const std::shared_ptr<const Plan>& plan);
  const Layout& layout_now(const Plan& plan) const;
  /// The tensor outlives the stretch, or the host wants its memory.
  void need_memory(Known& k);
  void run_step(size_t at, const Step& s);
  /// `loops`: generated ones, if there are any.
  void run_group(const Graph& g, const Plan& plan, const Plan::Run& run,
                 std::span<const std::vector<cpu::FusedSegment>> loops, const cpu::FusedCut& cut);
  /// The same, then its steps one by one, whose results count where they differ; that is said.
  void check_group(const Graph& g, const Plan& plan, const Plan::Run& run,
                   std::span<const std::vector<cpu::FusedSegment>> loops, const cpu::FusedCut& cut);
  const char* number(const Step& s, size_t at, size_t input) const;
  const Scalar* params(const Step& s, size_t at) const;
  /// A recording whose first steps are those of this stretch, and then `now`; or which ends here (null).
  std::shared_ptr<Entry> find_alike(const std::vector<Step>& before, const Step* now);
  void new_group();
  void give_back() noexcept;
  void forget() noexcept;

  Cache& cache_;
  Observed* observed_ = nullptr;
  std::shared_ptr<Entry> entry_;  ///< matched so far; null: recording
  size_t at_ = 0;                 ///< steps of this stretch so far
  size_t stretch_ = 0;
  bool recording_ = false;  ///< kernels of this stretch have run, and run at once
  bool useless_ = true;     ///< so far this call matched and gained nothing
  int group_ = -1;
  Graph graph_;  ///< when recording
  Grouper grouper_;
  std::vector<Slot> slots_;
  PointerMap<Known> known_;                      ///< storages
  std::vector<Storage*> exposed_;                ///< the host has their address
  std::vector<unsigned char> data_;              ///< attributes, parameters and numbers of the steps
  std::vector<size_t> data_at_;                  ///< by step
  std::vector<std::pair<void*, size_t>> free_;   ///< memory that kernels to come may use, and block sizes
  std::vector<std::pair<void*, size_t>> freed_;  ///< the same from the next group on
  // What was dropped before its kernels ran lies in scratch memory of the plan. What will be can be known from the last
  // call, and then gets addresses only; a wrong guess costs memory.
  detail::AddressArena* arena_ = nullptr;
  std::shared_ptr<const std::vector<char>> expected_passing_;
  std::vector<char> passing_;
  bool no_arena_ = false, births_known_ = false;
  // Large results that the last call's holders have dropped by now share a block, as memory within the call does.
  std::shared_ptr<const ResultPlaces> places_;
  std::shared_ptr<StorageBlock> results_;
  size_t results_bytes_ = 0;
  std::vector<size_t> block_sizes_;      ///< taken so far
  std::unique_ptr<Storage[]> storages_;  ///< of slots, while they run
  size_t storages_size_ = 0;
  std::vector<Tensor> in_, out_;  ///< of the step that runs
};

}  // namespace weft::graph
