// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/commands.h"
#include "cli/commands/pod_commands.h"

namespace mesh::cli {

Command RootCommand() {
  return {.name = "meshctl",
          .summary = "meshctl runs containers, and the network between them, on your machines.",
          .children = {
              GetCommand(),      ApplyCommand(),        DiffCommand(),         CreateCommand(),
              ReplaceCommand(),  DeleteCommand(),       ExplainCommand(),      ScaleCommand(),
              RolloutCommand(),  DescribeCommand(),     LogsCommand(),         ExecCommand(),
              AttachCommand(),   CpCommand(),           PortForwardCommand(),  TopCommand(),
              ImageCommand(),    WaitCommand(),         EventsCommand(),       WhyCommand(),
              BpfCommand(),      FlowsCommand(),        ConnectivityCommand(), TraceCommand(),
              LocalCommand(),    ApiResourcesCommand(), ConvertCommand(),      LabelCommand(),
              AnnotateCommand(), PatchCommand(),        EditCommand(),         TaintCommand(),
              CordonCommand(),   UncordonCommand(),     CompletionCommand(),   VersionCommand()}};
}

}  // namespace mesh::cli
