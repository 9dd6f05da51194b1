// SPDX-License-Identifier: Apache-2.0
// Whole command lines against a server in memory: what they print, where, and how they exit.
#pragma once

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/commands/commands.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/commands/fake_control.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

class CommandsTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> args, int in_fd = -1,
              std::function<bool(absl::Duration)> pause = nullptr) {
    std::istringstream in;
    std::ostringstream out, err;
    Context context(in, out, err);
    context.now = Now;
    context.pause = std::move(pause);
    if (in_fd >= 0) context.in_fd = in_fd;
    args.insert(args.begin(), {"-s", server_.address()});
    int exit_code = RunCommandLine(RootCommand(), std::move(args), context);
    return {exit_code, out.str(), err.str()};
  }

  static v1::Resource Pod(const std::string& name, const std::string& status = "phase: 'Running'",
                          const std::string& ns = "default") {
    return Parse<v1::Resource>("pod { metadata { name: '" + name + "' namespace: '" + ns +
                               "' uid: 'u-" + name + "' labels { key: 'app' value: 'web' } " +
                               Ago("creation_timestamp", 60) +
                               "} spec { containers { name: 'web' } } status { " + status + " } }");
  }

  static v1::Resource Deployment(const std::string& status) {
    return Parse<v1::Resource>(
        "deployment { metadata { name: 'web' namespace: 'default' generation: 1 " +
        Ago("creation_timestamp", 60) +
        "} spec { replicas: 2 selector { match_labels { key: 'app' value: 'web' } } } status { "
        "observed_generation: 1 " +
        status + " } }");
  }

  FakeControl server_;
};

}  // namespace mesh::cli
