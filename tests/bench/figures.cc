// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/figures.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "fmt/format.h"

namespace mesh::bench {

std::string ToJson(const Figure& figure) {
  std::string out = fmt::format(R"({{"name":"{}","value":{:.4g},"unit":"{}")", figure.name,
                                figure.value, figure.unit);
  if (figure.value >= 10'000) {
    out = fmt::format(R"({{"name":"{}","value":{:.0f},"unit":"{}")", figure.name, figure.value,
                      figure.unit);
  }
  if (figure.reference) out += fmt::format(R"(,"reference":"{}")", *figure.reference);
  if (figure.ratio) out += fmt::format(R"(,"ratio":{:.3f})", *figure.ratio);
  return out + "}";
}

double Median(std::vector<double> values) {
  MESH_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

double MedianRatio(const std::vector<double>& values, const std::vector<double>& references) {
  MESH_CHECK(values.size() == references.size());
  std::vector<double> ratios;
  for (size_t i = 0; i < values.size(); ++i) ratios.push_back(values[i] / references[i]);
  return Median(std::move(ratios));
}

}  // namespace mesh::bench
