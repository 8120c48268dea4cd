#pragma once

#include <string>
#include <vector>

namespace weft::slice {

// A chain of records over value numbers: 0 is x, 1 is w, step i makes value i + 2.
struct Step {
  const char* record;
  std::vector<int> inputs;
  bool alpha = false;  // takes the run-time scalar `alpha`
};

inline const std::vector<Step>& chain() {
  static const std::vector<Step> steps = {
      {"Sigmoid", {0}}, {"Mul", {2, 0}},   {"Tanh", {3}}, {"Add", {4, 1}, true}, {"Exp", {5}},
      {"Div", {6, 4}},  {"GeluTanh", {7}}, {"Log", {6}},  {"Sub", {8, 9}, true}, {"Relu", {10}},
  };
  return steps;
}

// `    T v5 = weft::ops::Add::forward(v4, v1, alpha);` for the steps [first, last).
inline std::string lines(const std::vector<Step>& steps, size_t first, size_t last, const std::string& type) {
  std::string text;
  for (size_t i = first; i < last; ++i) {
    text += "    " + type + " v" + std::to_string(i + 2) + " = weft::ops::" + steps[i].record + "::forward(";
    for (size_t k = 0; k < steps[i].inputs.size(); ++k) text += (k ? ", v" : "v") + std::to_string(steps[i].inputs[k]);
    text += steps[i].alpha ? ", alpha);\n" : ");\n";
  }
  return text;
}

}  // namespace weft::slice
