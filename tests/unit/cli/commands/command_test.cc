// SPDX-License-Identifier: Apache-2.0
// How a command line is taken apart, with a small tree of commands.
#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <sstream>

#include "cli/commands/commands.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

class CommandLine : public ::testing::Test {
 protected:
  CommandLine() : context_(in_, out_, err_) {
    Command get = {.name = "get",
                   .summary = "Get things",
                   .usage = "TYPE",
                   .define = [this](CLI::App& app, Context&) -> Action {
                     app.add_option("args", args_);
                     app.add_option("-f,--file", files_)->allow_extra_args(false);
                     app.add_option("-o,--output", output_);
                     app.add_option("--count", count_);
                     app.add_flag("-w,--watch", watch_);
                     app.add_flag("-x", other_);
                     return [this]() -> absl::StatusOr<int> {
                       ran_ = "get";
                       return result_;
                     };
                   },
                   .aliases = {"g"}};
    Command exec = {.name = "exec",
                    .define = [this](CLI::App& app, Context&) -> Action {
                      app.add_option("args", args_);
                      return [this]() -> absl::StatusOr<int> {
                        ran_ = "exec";
                        return 0;
                      };
                    },
                    .takes_dash = true};
    Command bpf = {.name = "bpf", .children = {get}};
    Command hidden = {.name = "secret", .summary = "Not shown", .hidden = true};
    root_ = {.name = "meshctl", .children = {get, exec, bpf, hidden}};
  }

  int Run(std::vector<std::string> args) {
    return RunCommandLine(root_, std::move(args), context_);
  }

  std::istringstream in_;
  std::ostringstream out_, err_;
  Context context_;
  Command root_;
  std::string ran_;
  std::vector<std::string> args_, files_;
  std::string output_;
  int count_ = 0;
  bool watch_ = false, other_ = false;
  absl::StatusOr<int> result_ = 0;
};

TEST_F(CommandLine, TakesFlagsBeforeBetweenAndAfterArguments) {
  EXPECT_EQ(Run({"-n", "shop", "get", "-w", "pods", "-o", "yaml", "a", "--server=h:1"}), 0);

  EXPECT_EQ(args_, (std::vector<std::string>{"pods", "a"}));
  EXPECT_EQ(context_.ns(), "shop");
  EXPECT_EQ(context_.flags.server, "h:1");
  EXPECT_EQ(output_, "yaml");
  EXPECT_TRUE(watch_);
}

TEST_F(CommandLine, TakesShortFlagsTogetherAndWithEqualSigns) {
  EXPECT_EQ(Run({"get", "-wx", "-o=json", "-nshop"}), 0);

  EXPECT_TRUE(watch_ && other_);
  EXPECT_EQ(output_, "json");
  EXPECT_EQ(context_.ns(), "shop");
}

TEST_F(CommandLine, KeepsAllValuesOfAListFlagAndTheLastOfOthers) {
  EXPECT_EQ(Run({"get", "-f", "a", "pods", "-f", "b", "--count=1", "--count=2"}), 0);

  EXPECT_EQ(files_, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(args_, (std::vector<std::string>{"pods"}));
  EXPECT_EQ(count_, 2);
}

TEST_F(CommandLine, TakesAnObjectNamedLikeACommandAsAnArgument) {
  EXPECT_EQ(Run({"get", "pod", "exec", "get", "bpf"}), 0);

  EXPECT_EQ(args_, (std::vector<std::string>{"pod", "exec", "get", "bpf"}));
}

TEST_F(CommandLine, SwitchesAFlagOffByItsValue) {
  watch_ = true;
  EXPECT_EQ(Run({"get", "--watch=false"}), 0);
  EXPECT_FALSE(watch_);
}

TEST_F(CommandLine, LeavesWhatFollowsTheDashesAlone) {
  EXPECT_EQ(Run({"exec", "pod", "--", "sh", "-c", "[a,b]", "--", "-n"}), 0);

  EXPECT_EQ(args_, (std::vector<std::string>{"pod"}));
  EXPECT_EQ(context_.after_dash, (std::vector<std::string>{"sh", "-c", "[a,b]", "--", "-n"}));
}

TEST_F(CommandLine, FindsChildrenAndAliases) {
  EXPECT_EQ(Run({"bpf", "-n", "x", "g", "row"}), 0);

  EXPECT_EQ(ran_, "get");
  EXPECT_EQ(args_, (std::vector<std::string>{"row"}));
}

TEST_F(CommandLine, ReturnsTheExitCodeOfTheCommand) {
  result_ = 7;
  EXPECT_EQ(Run({"get"}), 7);
  result_ = absl::InternalError("went wrong");
  EXPECT_EQ(Run({"get"}), 1);
  EXPECT_EQ(err_.str(), "error: went wrong\n");
}

TEST_F(CommandLine, SuggestsTheCommandThatWasMeant) {
  EXPECT_EQ(Run({"gte"}), 1);
  EXPECT_EQ(err_.str(),
            "error: unknown command \"gte\" for \"meshctl\"\n\nDid you mean this?\n\tget\n");
}

struct Wrong {
  std::vector<std::string> args;
  const char* text;
};

TEST_F(CommandLine, NamesWhatIsWrongWithAFlag) {
  const std::vector<Wrong> cases = {
      {{"get", "--nope"}, "error: unknown flag: --nope\n"},
      {{"get", "--nope=1"}, "error: unknown flag: --nope\n"},
      {{"get", "-z"}, "error: unknown shorthand flag: 'z' in -z\n"},
      {{"get", "--count=many"}, "error: invalid argument \"many\" for \"--count\" flag\n"},
      {{"get", "-o"}, "error: flag needs an argument: --output\n"},
      {{"get", "--request-timeout=soon"},
       "error: invalid argument \"soon\" for \"--request-timeout\" flag: expected a duration such "
       "as "
       "30s\n"},
  };
  for (const Wrong& wrong : cases) {
    err_.str("");
    EXPECT_EQ(Run(wrong.args), 1);
    EXPECT_EQ(err_.str(), std::string(wrong.text) + "See 'meshctl get --help' for usage.\n");
  }
  EXPECT_EQ(ran_, "");
}

TEST_F(CommandLine, RefusesAnUnknownFlagWithoutACommand) {
  EXPECT_EQ(Run({"--nope"}), 1);
  EXPECT_EQ(err_.str(), "error: unknown flag: --nope\nSee 'meshctl --help' for usage.\n");
}

TEST_F(CommandLine, PrintsHelpWithoutRunning) {
  EXPECT_EQ(Run({"get", "pods", "--help"}), 0);
  EXPECT_EQ(Run({"help", "get"}), 0);
  EXPECT_EQ(ran_, "");
  EXPECT_NE(out_.str().find("Usage:\n  meshctl get TYPE\n"), std::string::npos) << out_.str();
}

TEST_F(CommandLine, ListsCommandsButNotHiddenOnes) {
  EXPECT_EQ(Run({}), 0);
  EXPECT_NE(out_.str().find("Get things"), std::string::npos);
  EXPECT_EQ(out_.str().find("secret"), std::string::npos);
}

// Every command of meshctl can be defined and explains itself.
void HelpOf(const Command& command, std::vector<std::string> path) {
  for (const Command& child : command.children) {
    std::vector<std::string> args = path;
    args.push_back(child.name);
    EXPECT_FALSE(child.summary.empty()) << child.name;
    if (child.define) {
      std::istringstream in;
      std::ostringstream out, err;
      Context context(in, out, err);
      std::vector<std::string> line = args;
      line.push_back("--help");
      EXPECT_EQ(RunCommandLine(RootCommand(), line, context), 0) << child.name << err.str();
      EXPECT_NE(out.str().find(child.summary), std::string::npos) << child.name;
    }
    HelpOf(child, args);
  }
}

TEST(RootCommand, ExplainsEveryCommand) { HelpOf(RootCommand(), {}); }

}  // namespace
}  // namespace mesh::cli
