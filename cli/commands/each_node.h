// SPDX-License-Identifier: Apache-2.0
// Calls that are made to several nodes at once.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/command.h"
#include "fmt/format.h"

namespace mesh::cli {

// Those of `names`, or all that match `selector`, sorted. NOT_FOUND for a name that is none.
absl::StatusOr<std::vector<std::string>> FindNodes(const std::vector<std::string>& names,
                                                   const std::string& selector,
                                                   ControlClient& client);

// What each answers, in their order. One that fails is a warning, and `failed` is set.
template <typename Response>
std::vector<Response> AskEach(
    const std::vector<std::string>& nodes,
    const std::function<absl::StatusOr<Response>(const std::string& node)>& ask, Context& context,
    bool* failed) {
  std::vector<absl::StatusOr<Response>> answers(nodes.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < nodes.size(); ++i)
    threads.emplace_back([&, i] { answers[i] = ask(nodes[i]); });
  for (std::thread& thread : threads) thread.join();
  std::vector<Response> out;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (answers[i].ok()) {
      out.push_back(*std::move(answers[i]));
      continue;
    }
    *failed = true;
    context.err << fmt::format("warning: {}: {}\n", nodes[i],
                               std::string(answers[i].status().message()));
  }
  return out;
}

}  // namespace mesh::cli
