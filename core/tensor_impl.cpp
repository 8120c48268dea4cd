#include "core/tensor_impl.h"

#include <new>

#include "core/allocator.h"
#include "core/deferral.h"
#include "core/dispatch.h"
#include "core/thread_state.h"

namespace weft {

constinit thread_local detail::ThreadState detail::thread_state{};

void detail::settle(Storage* storage, bool keeps) { thread_state.deferral->settle(storage, keeps); }

bool is_contiguous(const Dims& sizes, const Dims& strides) {
  int64_t step = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    if (sizes[i] == 0) return true;
    if (sizes[i] == 1) continue;
    if (strides[i] != step) {
      for (int j = 0; j < i; ++j)
        if (sizes[j] == 0) return true;
      return false;
    }
    step *= sizes[i];
  }
  return true;
}

TensorImpl* TensorImpl::create() { return new (detail::slab_allocate(sizeof(TensorImpl))) TensorImpl; }

void TensorImpl::destroy(TensorImpl* p) noexcept {
  if (p->meta) detail::destroy_meta(p);
  if (p->grad_fn) detail::release_node(p->grad_fn);
  TensorImpl::release(p->base);
  Storage::release(p->storage);
  p->~TensorImpl();
  detail::slab_free(p, sizeof(TensorImpl));
}

void TensorImpl::set_geometry(const Dims& new_sizes, const Dims& new_strides, int64_t new_offset) {
  sizes = new_sizes;
  strides = new_strides;
  offset = new_offset;
  numel = 1;
  for (int64_t s : sizes) numel *= s;
  contiguous = is_contiguous(sizes, strides);
  data = storage && storage->data ? static_cast<char*>(storage->data) + offset * static_cast<int64_t>(itemsize(dtype))
                                  : nullptr;
}

}  // namespace weft
