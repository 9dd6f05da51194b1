// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/commands/commands.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

std::string Names(const Command& command) {
  std::string names;
  for (const Command& child : command.children) {
    if (child.hidden) continue;
    names += (names.empty() ? "" : " ") + child.name;
  }
  return names;
}

// The words after each path of commands, as cases of a shell script.
void AddCases(const Command& command, const std::string& path, std::string* cases) {
  if (command.children.empty()) return;
  *cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", path, Names(command));
  for (const Command& child : command.children) {
    if (!child.hidden) AddCases(child, path.empty() ? child.name : path + " " + child.name, cases);
  }
}

std::string BashScript() {
  std::string types;
  for (const schema::KindInfo& info : schema::AllKinds()) types += std::string(info.plural) + " ";
  types += "endpoints all";
  std::string cases;
  AddCases(RootCommand(), "", &cases);
  return fmt::format(
      R"sh(# bash completion of meshctl; use it with: source <(meshctl completion bash)
_meshctl() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in
    -n | --namespace | -s | --server | --request-timeout) i=$((i + 1)) ;;
    -*) ;;
    *) path="${{path:+$path }}${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$path" in
{}    get | describe | delete | scale | wait) words="{}" ;;
    "rollout status" | "rollout restart") words="deployment/" ;;
    logs | exec) words="$(meshctl get pods -o name 2>/dev/null)" ;;
    "get "* | "describe "* | "delete "*)
      words="$(meshctl get "${{path#* }}" -o name 2>/dev/null | sed 's|.*/||')" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _meshctl meshctl
)sh",
      cases, types);
}

}  // namespace

Command CompletionCommand() {
  return {.name = "completion",
          .summary = "Print a script that completes meshctl's words in a shell",
          .group = kGroupOther,
          .usage = "bash",
          .examples = "  source <(meshctl completion bash)\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto args = std::make_shared<std::vector<std::string>>();
            app.add_option("shell", *args);
            return [args, &context]() -> absl::StatusOr<int> {
              if (args->size() != 1 || args->front() != "bash") {
                return UsageError("only bash is known: meshctl completion bash");
              }
              context.out << BashScript();
              return 0;
            };
          }};
}

}  // namespace mesh::cli
