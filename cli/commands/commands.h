// SPDX-License-Identifier: Apache-2.0
// All commands of meshctl, one function per file.
#pragma once

#include "cli/command.h"

namespace mesh::cli {

// The tree that main runs.
Command RootCommand();

Command AnnotateCommand();
Command ApiResourcesCommand();
Command ApplyCommand();
Command BpfCommand();
Command CompletionCommand();
Command ConnectivityCommand();
Command ConvertCommand();
Command CordonCommand();
Command CreateCommand();
Command DeleteCommand();
Command DescribeCommand();
Command DiffCommand();
Command EditCommand();
Command EventsCommand();
Command ExecCommand();
Command ExplainCommand();
Command FlowsCommand();
Command GetCommand();
Command LabelCommand();
Command LocalCommand();  // cli/local
Command LogsCommand();
Command PatchCommand();
Command ReplaceCommand();
Command RolloutCommand();
Command ScaleCommand();
Command TaintCommand();
Command TraceCommand();
Command UncordonCommand();
Command VersionCommand();
Command WaitCommand();
Command WhyCommand();

}  // namespace mesh::cli
