#include "core/fused_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "core/allocator.h"
#include "core/parallel.h"
#include "core/row_wise.h"
#include "kernels/cpu/fused.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/stream.h"

namespace weft::cpu {
namespace {

int64_t row_bytes(const FusedPlace& p) { return p.width * static_cast<int64_t>(itemsize(p.dtype)); }

// A structured op of the group on one thread: its tensors, moved from block to block, or whole.
class NarrowCall {
 public:
  NarrowCall(const RowCall& call, std::span<const FusedPlace> places, const void* attrs, bool whole = false)
      : call_(call),
        attrs_(attrs),
        kernels_(row_kernels(*call.op)),
        storages_(std::make_unique<Storage[]>(call.in.size() + call.out.size())) {
    tensors_.reserve(call.in.size() + call.out.size());
    for (const std::vector<int>* list : {&call.in, &call.out})
      for (int at : *list) {
        if (at < 0) {
          tensors_.emplace_back();
          continue;
        }
        const FusedPlace& p = places[static_cast<size_t>(at)];
        Storage& memory = storages_[tensors_.size()];
        memory.owned = false;
        memory.retain();  // never the last owner: kernels make tensors of it
        TensorImpl* t = TensorImpl::create();
        memory.retain();
        t->storage = &memory;
        t->dtype = p.dtype;
        if (p.width && !whole) {
          t->sizes = {0, p.width};
          t->strides = {p.width, 1};
        } else {
          t->set_geometry(p.sizes, p.strides, 0);
        }
        tensors_.push_back(Tensor::from_impl(t));
      }
  }

  void run(const FusedPlace* places, int64_t rows, const RowBlock& block) {
    if (rows != rows_) set_rows(places, rows);
    point(places);
    const OpCall c = op_call(narrowed_);
    kernels_.block&& call_.partial ? kernels_.block(c, block) : call_.op->cpu(c);
  }
  /// Of a whole one.
  void finish(const FusedPlace* places, void* partial) {
    point(places);
    kernels_.finish(op_call(attrs_), partial);
  }

 private:
  OpCall op_call(const void* attrs) {
    return {*call_.op,
            tensors_.data(),
            static_cast<int>(call_.in.size()),
            tensors_.data() + call_.in.size(),
            static_cast<int>(call_.out.size()),
            attrs};
  }
  void point(const FusedPlace* places) {
    size_t k = 0;
    for (const std::vector<int>* list : {&call_.in, &call_.out})
      for (int at : *list) {
        if (at >= 0) tensors_[k].impl()->data = storages_[k].data = places[at].data;
        ++k;
      }
  }
  void set_rows(const FusedPlace* places, int64_t rows) {
    rows_ = rows;
    std::memcpy(narrowed_, attrs_, call_.attrs_bytes);
    narrow_rows(*call_.op, narrowed_, rows);
    size_t k = 0;
    for (const std::vector<int>* list : {&call_.in, &call_.out})
      for (int at : *list) {
        if (at >= 0 && places[at].width) {
          tensors_[k].impl()->sizes[0] = rows;
          tensors_[k].impl()->numel = rows * places[at].width;
        }
        ++k;
      }
  }

  const RowCall& call_;
  const void* attrs_;
  const RowKernels kernels_;
  int64_t rows_ = -1;
  std::unique_ptr<Storage[]> storages_;  // of tensors_
  std::vector<Tensor> tensors_;
  alignas(16) unsigned char narrowed_[kRowAttrs];
};

// What blocks of a call leave for its end.
class Partial {
 public:
  explicit Partial(size_t bytes) : data(bytes ? weft::detail::cpu_allocate(bytes) : nullptr), bytes_(bytes) {}
  Partial(Partial&& o) noexcept : data(std::exchange(o.data, nullptr)), bytes_(o.bytes_) {}
  Partial& operator=(Partial&&) = delete;
  ~Partial() {
    if (data) weft::detail::cpu_free(data, bytes_);
  }
  void* data;

 private:
  size_t bytes_;
};

// What all threads share.
struct Prepared {
  const RowGroup& group;
  std::span<const FusedPlace> places;
  std::span<const void* const> attrs;
  std::vector<FusedGroup> pointwise;  // of the parts that are, in order
  std::vector<Partial> partial;       // of the calls
  bool past;                          // kept results go past the caches
  int64_t block;                      // rows at a time

  bool in_scratch(const FusedPlace& p) const { return p.scratch >= 0 && (!p.kept || past); }
};

void run_blocks(const Prepared& g, int64_t begin, int64_t end) {
  thread_local detail::ScratchBuffer buffer;
  char* scratch = static_cast<char*>(buffer.reserve(g.group.scratch + 64));
  std::vector<FusedPlace> places(g.places.begin(), g.places.end());
  std::vector<NarrowCall> calls;
  calls.reserve(g.group.calls.size());
  for (size_t c = 0; c < g.group.calls.size(); ++c) calls.emplace_back(g.group.calls[c], places, g.attrs[c]);

  for (int64_t row = begin, rows = 0; row < end; row += rows) {
    rows = std::min(g.block, end - row);
    if (g.group.chunk) rows = std::min(rows, g.group.chunk - row % g.group.chunk);
    for (size_t i = 0; i < places.size(); ++i) {
      FusedPlace& p = places[i];
      if (!p.width) continue;
      p.first = row * p.width;
      p.data = g.in_scratch(p) ? scratch + p.scratch : g.places[i].data + row * row_bytes(p);
    }
    size_t pointwise = 0;
    for (const RowPart& part : g.group.parts) {
      const FusedPlace* own = places.data() + part.places_at;
      if (part.call >= 0) {
        const auto c = static_cast<size_t>(part.call);
        calls[c].run(places.data(), rows, {row, g.group.rows, g.partial[c].data});
      } else {
        int64_t width = 1;
        for (int64_t s : part.sizes) width *= s;
        width /= g.group.rows;
        g.pointwise[pointwise++].run(own, row * width, (row + rows) * width);
      }
      if (g.past)
        for (int at : part.made) {
          const FusedPlace& p = places[static_cast<size_t>(at)];
          stream(g.places[static_cast<size_t>(at)].data + row * row_bytes(p), p.data, rows * row_bytes(p));
        }
    }
  }
  if (g.past) streamed();
}

// What comes from memory in a part, and not from the part before.
void fetch_ahead(FusedGroup& g, const RowPart& part, std::span<const FusedPlace> places,
                 std::vector<const char*>& near) {
  std::vector<char> written(static_cast<size_t>(part.places), 0);
  for (const FusedStep& s : g.steps) written[static_cast<size_t>(s.out)] = 1;
  for (int i = 0; i < part.places; ++i) {
    const FusedPlace& p = places[static_cast<size_t>(part.places_at + i)];
    if (p.kind != FusedPlace::Kind::memory || !p.data) continue;
    const bool first = std::find(near.begin(), near.end(), p.data) == near.end();
    near.push_back(p.data);
    if (first && !written[static_cast<size_t>(i)]) g.fetch_ahead(p);
  }
}

}  // namespace

bool rows_leave_caches(size_t bytes) { return streams(static_cast<int64_t>(bytes + bytes / 2)); }

void run_rows(const RowGroup& group, std::span<const FusedStep> steps, std::span<const FusedPlace> places,
              std::span<const void* const> attrs, std::span<const std::vector<FusedSegment>> segments,
              const FusedCut& cut) {
  const int64_t block = cut.block ? std::clamp<int64_t>(cut.block, 1, group.block) : group.block;
  Prepared g{group, places, attrs, {}, {}, streams(static_cast<int64_t>(group.bytes)), block};
  for (const RowCall& c : group.calls) g.partial.emplace_back(c.partial);
  std::vector<const char*> near;  // memory that a part before has touched
  for (const RowPart& p : group.parts) {
    if (p.call >= 0) {
      for (int at = p.places_at; at < p.places_at + p.places; ++at)
        near.push_back(places[static_cast<size_t>(at)].data);
      continue;
    }
    std::span<const FusedSegment> own;
    if (!segments.empty()) own = segments[g.pointwise.size()];
    Dims strides = p.sizes;
    int64_t step = 1;
    for (int d = strides.size() - 1; d >= 0; --d) {
      strides[d] = step;
      step *= p.sizes[d];
    }
    const auto places_of = places.subspan(static_cast<size_t>(p.places_at), static_cast<size_t>(p.places));
    g.pointwise.emplace_back(p.sizes, strides,
                             steps.subspan(static_cast<size_t>(p.steps_at), static_cast<size_t>(p.steps)), places_of,
                             p.tiles, own);
    g.pointwise.back().choose_tile(places_of, cut.tile);
    if (g.past) fetch_ahead(g.pointwise.back(), p, places, near);
  }
  // A few blocks together, where there are many: what a thread prepares costs as much as a thousand elements.
  const int64_t together = std::clamp<int64_t>(group.rows / (16 * block), 1, 8);
  parallel_for(group.rows, group.chunk ? group.chunk : together * block,
               [&](int64_t begin, int64_t end) { run_blocks(g, begin, end); });
  for (size_t c = 0; c < group.calls.size(); ++c)
    if (g.partial[c].data) NarrowCall(group.calls[c], places, attrs[c], true).finish(places.data(), g.partial[c].data);
}

}  // namespace weft::cpu
