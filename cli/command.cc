// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <ostream>
#include <set>

#include "api/schema/schema.h"
#include "api/schema/validate.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr char kProgram[] = "meshctl";

bool Matches(const Command& command, std::string_view word) {
  return command.name == word ||
         std::find(command.aliases.begin(), command.aliases.end(), word) != command.aliases.end();
}

// Flags that may stand before the command, each with a value.
bool IsGlobalFlag(std::string_view flag) {
  return flag == "-n" || flag == "--namespace" || flag == "-s" || flag == "--server" ||
         flag == "--request-timeout";
}

// Index of the first word that is neither a flag nor the value of a global flag; args.size() when
// there is none.
size_t FirstWord(const std::vector<std::string>& args) {
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") return args.size();
    if (args[i].size() < 2 || args[i][0] != '-') return i;
    if (IsGlobalFlag(args[i])) ++i;
  }
  return args.size();
}

bool AsksForHelp(const std::vector<std::string>& args) {
  for (const std::string& arg : args) {
    if (arg == "--") return false;
    if (arg == "-h" || arg == "--help") return true;
  }
  return false;
}

void PrintChildren(const Command& command, const std::string& path, std::ostream& out) {
  if (!command.summary.empty()) out << command.summary << "\n\n";
  size_t width = 0;
  for (const Command& child : command.children) width = std::max(width, child.name.size());
  constexpr std::array kGroups = {kGroupBasic,   kGroupDeploy,  kGroupTroubleshoot,
                                  kGroupNetwork, kGroupCluster, kGroupOther};
  const bool grouped = std::any_of(command.children.begin(), command.children.end(),
                                   [](const Command& c) { return !c.group.empty(); });
  auto line = [&](const Command& c) {
    out << fmt::format("  {:<{}}   {}\n", c.name, width, c.summary);
  };
  if (grouped) {
    for (const char* group : kGroups) {
      bool first = true;
      for (const Command& child : command.children) {
        if (child.group != group) continue;
        if (first) out << group << ":\n";
        first = false;
        line(child);
      }
      if (!first) out << "\n";
    }
  } else {
    out << "Available commands:\n";
    for (const Command& child : command.children) {
      if (!child.hidden) line(child);
    }
    out << "\n";
  }
  out << fmt::format("Usage:\n  {} [flags] COMMAND\n\n", path);
  out << fmt::format("Use \"{} COMMAND --help\" for more about a command.\n", path);
}

// Those that have a description: what the usage line calls by the same name.
void PrintArguments(const CLI::App& app, std::ostream& out) {
  bool first = true;
  for (const CLI::Option* option : app.get_options()) {
    if (option->nonpositional() || option->get_description().empty()) continue;
    if (first) out << "\nArguments:\n";
    first = false;
    std::string name = option->get_name(true);
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    out << fmt::format("  {}\n      {}\n", name, option->get_description());
  }
}

void PrintFlags(const CLI::App& app, const std::set<const CLI::Option*>& global,
                std::ostream& out) {
  for (bool own : {true, false}) {
    bool first = true;
    for (const CLI::Option* option : app.get_options()) {
      if (option->nonpositional() == false || global.contains(option) == own) continue;
      if (option->get_group().empty()) continue;
      if (first) out << (own ? "\nFlags:\n" : "\nGlobal flags:\n");
      first = false;
      std::string names = option->get_name(false, true);
      if (size_t comma = names.find(','); comma != std::string::npos) names.insert(comma + 1, " ");
      out << fmt::format("  {}\n      {}\n", names, option->get_description());
    }
  }
}

// Words an error of CLI11 the way kubectl words it.
std::string ParseErrorText(const CLI::ParseError& error) {
  const std::string what = error.what();
  const std::string name = what.substr(0, what.find_first_of(" :"));
  if (error.get_name() == "RequiredError" && name.rfind("--", 0) == 0) {
    return fmt::format("required flag(s) \"{}\" not set", name.substr(2));
  }
  if (error.get_name() == "ArgumentMismatch") {
    return fmt::format("flag needs an argument: {}", name);
  }
  if (error.get_name() == "ConversionError") {
    // "Could not convert: --replicas = x"
    std::string rest = what.substr(what.find(": ") == std::string::npos ? 0 : what.find(": ") + 2);
    if (size_t equals = rest.find(" = "); equals != std::string::npos) {
      return fmt::format("invalid argument \"{}\" for \"{}\" flag", rest.substr(equals + 3),
                         rest.substr(0, equals));
    }
    return fmt::format("invalid argument: {}", rest);
  }
  return what;
}

std::string UnexpectedText(const std::string& argument) {
  if (argument.rfind("--", 0) == 0) {
    return fmt::format("unknown flag: {}", argument.substr(0, argument.find('=')));
  }
  if (argument.size() > 1 && argument[0] == '-') {
    return fmt::format("unknown shorthand flag: '{}' in {}", argument[1], argument);
  }
  return fmt::format("unexpected argument \"{}\"", argument);
}

// "-n=x" is "-n x" for kubectl.
void NormalizeShortFlags(std::vector<std::string>* args) {
  for (std::string& arg : *args) {
    if (arg == "--") return;
    if (arg.size() > 3 && arg[0] == '-' && arg[1] != '-' && arg[2] == '=') arg.erase(2, 1);
  }
}

int Fail(Context& context, const absl::Status& status, const std::string& path) {
  std::string text = ErrorText(status);
  if (!text.empty()) context.err << text << "\n";
  if (IsUsageError(status)) context.err << fmt::format("See '{} --help' for usage.\n", path);
  return 1;
}

absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text) {
  absl::Duration duration;
  if (absl::ParseDuration(text, &duration)) return duration;
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos &&
      text.size() < 10) {
    return absl::Seconds(std::stoll(text));
  }
  return UsageError(fmt::format(
      "invalid argument \"{}\" for \"--request-timeout\" flag: expected a duration such as 30s",
      text));
}

int RunLeaf(const Command& command, const std::string& path, std::vector<std::string> args,
            Context& context) {
  CLI::App app;
  app.name(path);
  app.set_help_flag("-h,--help", "Help for this command");
  app.allow_extras();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

  std::set<const CLI::Option*> global = {app.get_help_ptr()};
  std::string timeout;
  const bool wants_help = AsksForHelp(args);
  if (command.takes_dash) {
    context.after_dash.reset();
    if (auto dash = std::find(args.begin(), args.end(), "--"); dash != args.end()) {
      context.after_dash.emplace(dash + 1, args.end());
      args.erase(dash, args.end());
    }
  }
  NormalizeShortFlags(&args);
  try {
    global.insert(app.add_option(
        "-n,--namespace", context.flags.ns,
        "The namespace of this request; when absent \"default\", for flows and bpf all"));
    global.insert(app.add_option(
        "-s,--server", context.flags.server,
        "Address of meshd: host:port or unix:///path; also in the environment as MESH_SERVER"));
    global.insert(app.add_option("--request-timeout", timeout,
                                 "How long to wait for one answer of the server, such as 30s"));
    Action action = command.define(app, context);
    if (wants_help) {
      context.out << command.summary << "\n\n";
      if (!command.examples.empty()) context.out << "Examples:\n" << command.examples << "\n";
      context.out << fmt::format("Usage:\n  {} {}\n", path, command.usage);
      PrintArguments(app, context.out);
      PrintFlags(app, global, context.out);
      return 0;
    }
    std::reverse(args.begin(), args.end());  // CLI11 takes them from the back
    app.parse(std::move(args));
    if (auto extra = app.remaining(); !extra.empty()) {
      return Fail(context, UsageError(UnexpectedText(extra.front())), path);
    }
    if (const std::string& ns = context.flags.ns; !ns.empty()) {
      if (const std::string why = schema::CheckDnsLabel(ns); !why.empty())
        return Fail(context,
                    UsageError(fmt::format(
                        "invalid argument \"{}\" for \"-n, --namespace\" flag: {}", ns, why)),
                    path);
    }
    if (!timeout.empty()) {
      auto parsed = ParseTimeout(timeout);
      if (!parsed.ok()) return Fail(context, parsed.status(), path);
      context.flags.request_timeout = *parsed;
    }
    absl::StatusOr<int> result = action();
    context.out.flush();
    if (!result.ok()) return Fail(context, result.status(), path);
    return *result;
  } catch (const CLI::ParseError& error) {
    return Fail(context, UsageError(ParseErrorText(error)), path);
  }
}

}  // namespace

int RunCommandLine(const Command& root, std::vector<std::string> args, Context& context) {
  const Command* command = &root;
  std::string path = kProgram;
  while (!command->children.empty()) {
    const size_t at = FirstWord(args);
    if (at == args.size()) {
      if (command->define) break;
      if (!args.empty() && !AsksForHelp(args)) {
        const std::string flag = args.front().substr(0, args.front().find('='));
        if (!IsGlobalFlag(flag)) {
          return Fail(context, UsageError(UnexpectedText(args.front())), path);
        }
      }
      PrintChildren(*command, path, context.out);
      return 0;
    }
    const std::string word = args[at];
    auto child = std::find_if(command->children.begin(), command->children.end(),
                              [&](const Command& c) { return Matches(c, word); });
    if (child == command->children.end()) {
      if (word == "help") {
        args.erase(args.begin() + static_cast<ptrdiff_t>(at));
        args.push_back("--help");
        continue;
      }
      std::vector<std::string> names;
      for (const Command& c : command->children) names.push_back(c.name);
      context.err << fmt::format("error: unknown command \"{}\" for \"{}\"\n", word, path);
      if (auto near = schema::NearestWord(word, names)) {
        context.err << fmt::format("\nDid you mean this?\n\t{}\n", *near);
      } else {
        context.err << fmt::format("See '{} --help' for usage.\n", path);
      }
      return 1;
    }
    args.erase(args.begin() + static_cast<ptrdiff_t>(at));
    command = &*child;
    path += " " + command->name;
  }
  return RunLeaf(*command, path, std::move(args), context);
}

}  // namespace mesh::cli
