#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/thread_guards.h"
#include "core/thread_state.h"
#include "data/loading/pipeline.h"

namespace weft::data::detail {

/// Owned by the crew and by each of its threads: one that was left behind still has it.
struct Crew::State {
  std::mutex mutex;
  std::condition_variable wake, changed;
  std::function<void(int)> init;
  std::shared_ptr<Pipeline> pipeline;
  int64_t round = 0;
  int inside = 0;  ///< threads that have not left the pipeline
  bool closing = false;
  std::vector<bool> ended;
};

void Crew::serve(const std::shared_ptr<State>& state, int worker) {
  const SerialGuard serial;
  const NoGrad no_grad;
  bool begun = false;
  std::exception_ptr error;
  for (int64_t seen = 0;;) {
    std::shared_ptr<Pipeline> pipeline;
    {
      std::unique_lock lock(state->mutex);
      state->wake.wait(lock, [&] { return state->closing || state->round != seen; });
      if (state->round == seen) break;  // every thread leaves a round it was counted in, also when closing
      seen = state->round;
      pipeline = state->pipeline;
    }
    if (!std::exchange(begun, true) && state->init) {
      try {
        state->init(worker);
      } catch (...) {
        error = std::current_exception();
      }
    }
    if (error)
      pipeline->fail(worker, error);
    else
      pipeline->work(worker);
    pipeline.reset();
    {
      std::lock_guard lock(state->mutex);
      if (--state->inside == 0) pipeline = std::move(state->pipeline);
      state->changed.notify_all();
    }
  }
  std::lock_guard lock(state->mutex);
  state->ended[static_cast<size_t>(worker)] = true;
  state->changed.notify_all();
}

Crew::Crew(int workers, std::function<void(int)> init, double patience)
    : state_(std::make_shared<State>()), patience_(patience) {
  state_->init = std::move(init);
  state_->ended.resize(static_cast<size_t>(workers));
  for (int worker = 0; worker < workers; ++worker) {
    try {
      threads_.emplace_back([state = state_, worker] { serve(state, worker); });
    } catch (const std::system_error&) {
      break;  // the system gives no more threads: work with those there are
    }
  }
  WEFT_CHECK(!threads_.empty(), "DataLoader: the system gives no thread for a worker; use num_workers = 0");
}

Crew::~Crew() {
  std::unique_lock lock(state_->mutex);
  state_->closing = true;
  state_->wake.notify_all();
  const auto all_ended = [&] {
    for (size_t i = 0; i < threads_.size(); ++i)
      if (!state_->ended[i]) return false;
    return true;
  };
  state_->changed.wait_for(lock, std::chrono::duration<double>(patience_), all_ended);
  const std::vector<bool> ended = state_->ended;
  lock.unlock();
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (ended[i])
      threads_[i].join();
    else
      threads_[i].detach();
  }
}

void Crew::begin(std::shared_ptr<Pipeline> pipeline) {
  std::lock_guard lock(state_->mutex);
  state_->pipeline = std::move(pipeline);
  state_->inside = workers();
  ++state_->round;
  state_->wake.notify_all();
}

bool Crew::rest(double seconds) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return state_->inside == 0; });
}

}  // namespace weft::data::detail
