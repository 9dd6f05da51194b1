// SPDX-License-Identifier: Apache-2.0
#include "cli/output/why.h"

#include <algorithm>
#include <string_view>

#include "fmt/format.h"

namespace mesh::cli {
namespace {

std::string_view Mark(v1::Finding::Verdict verdict) {
  switch (verdict) {
    case v1::Finding::OK:
      return "ok";
    case v1::Finding::PROBLEM:
      return "PROBLEM";
    case v1::Finding::UNKNOWN:
      return "unknown";
    default:
      return "-";
  }
}

}  // namespace

std::string FindingText(const v1::Finding& finding) {
  std::string out =
      fmt::format("{:<8} {}: {}\n", Mark(finding.verdict()), finding.object(), finding.text());
  bool first = true;
  for (const std::string& remedy : finding.remedies()) {
    out += fmt::format("{:8} {} {}\n", "", first ? "->" : "or", remedy);
    first = false;
  }
  return out;
}

bool HasProblem(const v1::WhyResponse& response) {
  return std::any_of(
      response.findings().begin(), response.findings().end(),
      [](const v1::Finding& finding) { return finding.verdict() == v1::Finding::PROBLEM; });
}

}  // namespace mesh::cli
