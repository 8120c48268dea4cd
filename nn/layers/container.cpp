#include "nn/layers/container.h"

#include "core/error.h"

namespace weft::nn {

void AnyModule::fail_get(const char* wanted) {
  detail::fail_with(detail::Fault::type, "get: the module is a {}, not a {}", module().type_name(), wanted);
}

namespace detail {
void fail_element(const char* container, int64_t index, size_t size) {
  fail_with(Fault::index, "{}: index {} is out of range for {} modules", container, index, size);
}
void fail_key(const char* container, std::string_view key, bool taken) {
  fail_with(Fault::index, taken ? "{}: the name \"{}\" is taken" : "{}: there is no \"{}\"", container, key);
}
}  // namespace detail

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (auto& item : items_) y = item.second(y);
  return y;
}
Sequential& Sequential::push_back(std::string name, AnyModule module) {
  WEFT_CHECK(!name.empty() && name.find('.') == name.npos,
             "Sequential: \"{}\" is no name for a module; it must not be empty or hold dots", name);
  for (const auto& item : items_)
    if (item.first == name) detail::fail_key("Sequential", name, true);
  items_.emplace_back(std::move(name), std::move(module));
  return *this;
}
AnyModule& Sequential::operator[](int64_t i) {
  const int64_t n = static_cast<int64_t>(items_.size()), at = i < 0 ? i + n : i;
  if (at < 0 || at >= n) detail::fail_element("Sequential", i, items_.size());
  return items_[static_cast<size_t>(at)].second;
}
void Sequential::visit(MemberVisitor& v) {
  Module::visit(v);
  for (auto& [name, m] : items_) v.child(name, m.module());
}

Parameter& ParameterList::operator[](int64_t i) {
  const int64_t n = static_cast<int64_t>(items_.size()), at = i < 0 ? i + n : i;
  if (at < 0 || at >= n) detail::fail_element("ParameterList", i, items_.size());
  return items_[static_cast<size_t>(at)];
}
void ParameterList::visit(MemberVisitor& v) {
  Module::visit(v);
  for (size_t i = 0; i < items_.size(); ++i) v.tensor(std::to_string(i), items_[i], MemberVisitor::Kind::parameter);
}

}  // namespace weft::nn
