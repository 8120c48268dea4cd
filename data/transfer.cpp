#include "data/transfer.h"

#include "core/error.h"
#include "core/thread_state.h"
#include "data/formats/storages.h"

namespace weft {
namespace {

/// Copies a value, its tensors over other storages: each becomes `of(flat storage)` once.
class Copier {
 public:
  Copier(const char* op, Tensor (*of)(const Tensor& flat, const TransferOptions& o), const TransferOptions& o)
      : op_(op), of_(of), options_(o) {}

  Value operator()(const Value& v) {
    if (v.is_tensor()) return copy(v.as_tensor());
    if (v.is_list()) {
      Value::List list;
      list.reserve(v.size());
      for (const Value& item : v.as_list()) list.push_back((*this)(item));
      return Value::list(std::move(list), v.list_kind());
    }
    if (!v.is_dict()) return v;
    Value::Dict dict;
    for (const auto& [key, item] : v.as_dict()) dict.set(key, (*this)(item));
    return dict;
  }

 private:
  Value copy(const Tensor& t) {
    const size_t number = storages_.add(t, op_);
    if (number == copies_.size()) copies_.push_back(of_(storages_.flat()[number], options_));
    Tensor out = detail::alias(copies_[number], t.sizes(), t.strides(), t.storage_offset());
    out.set_requires_grad(t.requires_grad());
    return out;
  }

  const char* op_;
  Tensor (*of_)(const Tensor&, const TransferOptions&);
  const TransferOptions& options_;
  formats::Storages storages_;
  std::vector<Tensor> copies_;
};

}  // namespace

Value transfer(const Value& value, const TransferOptions& o) {
  WEFT_CHECK_TYPE(!o.dtype || is_floating(*o.dtype), "transfer: {} is not a floating dtype; give one, or none",
                  *o.dtype);
  if (!o.device && !o.dtype) return value;
  const NoGrad guard;
  return Copier(
      "transfer",
      [](const Tensor& flat, const TransferOptions& o) {
        Tensor t = o.device ? flat.to(*o.device) : flat;
        return o.dtype && is_floating(t.dtype()) ? t.to(*o.dtype) : t;
      },
      o)(value);
}

Value snapshot(const Value& value) {
  const NoGrad guard;
  return Copier("snapshot",
                [](const Tensor& flat, const TransferOptions&) {
                  Tensor copy = flat.device().is_cpu() ? flat.clone() : flat.to(Device());
                  copy.data_ptr();  // inside a compiled function: now, not later
                  return copy;
                },
                {})(value);
}

}  // namespace weft
