// SPDX-License-Identifier: Apache-2.0
// What every benchmark prints at its end: one JSON line per figure.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace mesh::bench {

struct Figure {
  std::string name;  // snake_case, with what was measured last: "clusterip_tcp_rr_p50"
  double value = 0;
  std::string unit;  // "us", "1/s", "ns"
  // What it is compared with, measured in the same run, and value / reference value.
  std::optional<std::string> reference = std::nullopt;
  std::optional<double> ratio = std::nullopt;
};

// {"name":"...","value":12.4,"unit":"us","reference":"...","ratio":1.05}
std::string ToJson(const Figure& figure);

// Middle value; the mean of the two middle ones for an even count. REQUIRES: not empty.
double Median(std::vector<double> values);

// Median of values[i] / references[i]: samples taken in turn share the noise of their minute.
// REQUIRES: as many references as values, at least one.
double MedianRatio(const std::vector<double>& values, const std::vector<double>& references);

}  // namespace mesh::bench
