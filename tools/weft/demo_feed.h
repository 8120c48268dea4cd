#pragma once
#include <optional>
#include <utility>

#include "core/value.h"
#include "data/loader.h"

namespace weft::demo {

/// What one forward pass learns from, on the device of the run.
struct Batch {
  Tensor x, y;
};

/// The batches of a DataLoader, epoch after epoch.
template <class D>
class Feed {
 public:
  using Loader = data::DataLoader<D, Batch>;
  Feed(D dataset, typename Loader::Options options) : loader_(std::move(dataset), std::move(options)) {}

  Batch next() {
    if (at_) ++*at_;
    if (!at_ || *at_ == loader_.end()) {
      at_.reset();
      at_.emplace(loader_.begin());
    }
    return **at_;
  }
  /// Where the next batch comes from.
  Value state_dict() const { return loader_.state_dict(); }
  void load_state_dict(const Value& state) {
    at_.reset();
    loader_.load_state_dict(state);
  }

 private:
  Loader loader_;
  std::optional<typename Loader::Iterator> at_;
};

}  // namespace weft::demo
