#include "autograd/checkpoint.h"

#include <mutex>

#include "autograd/autocast.h"
#include "autograd/autograd.h"
#include "autograd/backward_state.h"
#include "core/recompute.h"
#include "core/thread_state.h"

namespace weft::detail {
namespace {

/// Thrown out of the second run when the last value that is needed is there. No std::exception, so that user code does
/// not take it for an error.
struct Enough {};

class Region;

/// Stands for a saved value in a node of the graph.
struct Holder {
  std::shared_ptr<Region> region;
  Tensor value;  ///< of the second run, until the node is done with it
};

/// What the ops of a region saved, and how to have it again. Lives as long as one of its Holders.
class Region : public std::enable_shared_from_this<Region> {
 public:
  Region(std::vector<Tensor> inputs, CheckpointRegion::Rerun rerun)
      : rerun_(std::move(rerun)),
        device_(default_device()),
        random_(default_generator().get_state()),
        autocast_(autocast_state()) {
    const autograd::SavedHooks* outer = autograd::current_saved_hooks();
    for (Tensor& t : inputs) {
      Input in;
      in.requires_grad = t.defined() && t.requires_grad();
      if (t.defined()) in.version = t.version();
      if (outer && t.defined()) {
        const autograd::SavingOp name("checkpoint");
        NoGrad guard;
        in.packed = outer->pack(t.detach());
        in.unpack = outer->unpack;
      } else {
        in.tensor = std::move(t);
      }
      inputs_.push_back(std::move(in));
    }
  }

  SavedTensorHooks::Pack pack(const Tensor& t) {
    auto holder = std::make_shared<Holder>(Holder{shared_from_this(), {}});
    std::lock_guard lock(mutex_);
    saved_.push_back({autograd::op_being_saved(), t.sizes(), t.dtype(), t.impl()->storage, t.version(), holder});
    return holder;
  }

  Tensor value(Holder& holder) {
    std::lock_guard lock(mutex_);
    if (!holder.value.defined()) run_again();
    WEFT_ASSERT(holder.value.defined(), "checkpoint: a value is missing after the second run");
    return holder.value;
  }

 private:
  struct Input {
    Tensor tensor;  ///< undefined where an outer region, or a user's hooks, hold it
    SavedTensorHooks::Pack packed = {};
    SavedTensorHooks::Unpack unpack = {};
    bool requires_grad = false;
    uint32_t version = 0;
  };
  struct Saved {
    const char* op;
    Dims sizes;
    DType dtype;
    const Storage* storage;  ///< only to be compared: a parameter, or freed since
    uint32_t version;
    std::weak_ptr<Holder> holder;  ///< gone: the node is, or has dropped it
  };

  // Leaves of their own, so that the second run adds nothing to the graph of the first.
  std::vector<Tensor> inputs_again() const {
    std::vector<Tensor> out;
    for (const Input& in : inputs_) {
      Tensor t = in.unpack ? in.unpack(in.packed) : in.tensor;
      if (t.defined()) {
        WEFT_CHECK(in.unpack || t.version() == in.version,
                   "checkpoint: the argument {} was changed in place since the forward pass (version {}, was {}); use "
                   "the out-of-place form or clone() it before",
                   t, t.version(), in.version);
        t = t.detach();
        if (in.requires_grad) t.set_requires_grad(true);
      }
      out.push_back(std::move(t));
    }
    return out;
  }

  void check(size_t i, const Tensor& t) const {
    const char* op = autograd::op_being_saved();
    WEFT_CHECK(i < saved_.size(), "checkpoint: the second run of the region saves more than the first: {} saves {}", op,
               t);
    const Saved& was = saved_[i];
    WEFT_CHECK(std::string_view(op) == was.op,
               "checkpoint: the second run of the region differs from the first: op {} instead of {}; what decides "
               "between them must be the same in both (an argument, not state that changes in between)",
               op, was.op);
    WEFT_CHECK(t.sizes() == was.sizes && t.dtype() == was.dtype,
               "checkpoint: the second run of the region differs from the first: {} saves {} instead of shape {}, {}",
               op, t, was.sizes, was.dtype);
    WEFT_CHECK(t.impl()->storage != was.storage || t.version() == was.version,
               "checkpoint: {} reads {}, which was changed in place since the forward pass (version {}, was {}); use "
               "the out-of-place form, or run backward before the change",
               op, t, t.version(), was.version);
  }

  void run_again() {
    WEFT_CHECK(!running_, "checkpoint: the second run of a region asks for its own values");
    struct Running {
      bool& flag;
      explicit Running(bool& f) : flag(f) { flag = true; }
      ~Running() { flag = false; }
    } running(running_);
    size_t needed = 0;  // all before the last value that somebody still waits for
    for (size_t i = 0; i < saved_.size(); ++i)
      if (!saved_[i].holder.expired()) needed = i + 1;
    size_t count = 0;
    const std::vector<Tensor> inputs = inputs_again();
    try {
      const Recompute repeat(random_);
      const DefaultDevice device(device_);
      const EnableGrad grad;
      const Autocast autocast(Device(autocast_.device), autocast_.dtype,
                              {.enabled = autocast_.enabled, .cache = autocast_.cache});
      const SavedTensorHooks hooks(
          [&](const Tensor& t) -> SavedTensorHooks::Pack {
            check(count, t);
            if (auto holder = saved_[count].holder.lock()) holder->value = t;
            if (++count == needed) throw Enough();
            return t;
          },
          [](const SavedTensorHooks::Pack& p) { return std::any_cast<Tensor>(p); });
      rerun_(inputs);
    } catch (const Enough&) {
    } catch (...) {
      drop();
      throw;
    }
    if (count < needed) {
      const char* missing = saved_[count].op;
      drop();
      WEFT_CHECK(false,
                 "checkpoint: the second run of the region saves less than the first: {} values, of {}; {} is missing",
                 count, saved_.size(), missing);
    }
    // Values that a retained graph keeps are made anew by its next backward pass.
    autograd::at_backward_end([weak = weak_from_this()] {
      if (auto region = weak.lock()) {
        std::lock_guard lock(region->mutex_);
        region->drop();
      }
    });
  }

  void drop() {
    for (const Saved& s : saved_)
      if (auto holder = s.holder.lock()) holder->value = Tensor();
  }

  const CheckpointRegion::Rerun rerun_;
  const Device device_;  ///< default_device() of the first run
  std::vector<Input> inputs_;
  const Generator::State random_;
  const AutocastState autocast_;
  std::vector<Saved> saved_;
  std::recursive_mutex mutex_;
  bool running_ = false;
};

}  // namespace

struct CheckpointRegion::Hooks {
  explicit Hooks(const std::shared_ptr<Region>& region)
      : hooks([region](const Tensor& t) { return region->pack(t); },
              [](const SavedTensorHooks::Pack& p) {
                Holder& holder = *std::any_cast<const std::shared_ptr<Holder>&>(p);
                return holder.region->value(holder);
              }) {}
  SavedTensorHooks hooks;
};

CheckpointRegion::CheckpointRegion(std::vector<Tensor> inputs, Rerun rerun)
    : hooks_(std::make_unique<Hooks>(std::make_shared<Region>(std::move(inputs), std::move(rerun)))) {}
CheckpointRegion::~CheckpointRegion() = default;

}  // namespace weft::detail
