// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/follow.h"
#include "cli/commands/list_option.h"
#include "cli/commands/targets.h"
#include "cli/manifest/print.h"
#include "cli/output/age.h"
#include "cli/output/table.h"
#include "common/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

struct Flags {
  bool all_namespaces = false;
  std::string about;
  std::vector<std::string> types;
  bool watch = false;
  bool no_headers = false;
  std::string output;
};

std::string LastSeen(const v1::Event& event, absl::Time now) {
  std::string last = AgeSince(event.has_last_timestamp(), event.last_timestamp(), now);
  if (event.count() <= 1) return last;
  return fmt::format("{} (x{} over {})", last, event.count(),
                     AgeSince(event.has_first_timestamp(), event.first_timestamp(), now));
}

Table TableOf(const std::vector<v1::Resource>& events, bool with_namespace, absl::Time now) {
  Table table;
  table.headers = {"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"};
  if (with_namespace) table.headers.insert(table.headers.begin(), "NAMESPACE");
  for (const v1::Resource& item : events) {
    const v1::Event& event = item.event();
    std::vector<std::string> row = {
        LastSeen(event, now), event.type(), event.reason(),
        fmt::format("{}/{}", event.involved_object().kind(), event.involved_object().name()),
        event.message()};
    if (with_namespace) row.insert(row.begin(), event.metadata().namespace_());
    table.rows.push_back(std::move(row));
  }
  return table;
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (!flags.output.empty() && flags.output != "json" && flags.output != "yaml") {
    return absl::InvalidArgumentError(
        fmt::format("unable to match a printer suitable for the output format \"{}\", allowed "
                    "formats are: json,yaml",
                    flags.output));
  }
  if (flags.watch && !flags.output.empty()) {
    return absl::InvalidArgumentError("--watch prints a table only");
  }
  for (const std::string& type : flags.types) {
    if (type != "Normal" && type != "Warning")
      return absl::InvalidArgumentError(
          fmt::format("--types: \"{}\" is neither Normal nor Warning", type));
  }
  std::string kind, name;
  if (!flags.about.empty()) {
    ASSIGN_OR_RETURN(Target target, ParsePodTarget(flags.about, context.ns()));
    if (flags.about.find('/') == std::string::npos) {
      return absl::InvalidArgumentError("--for must be in resource/name form");
    }
    kind = target.type.endpoints ? "Endpoints" : std::string(schema::Info(target.type.kind).name);
    name = target.name;
  }
  auto wanted = [&](const v1::Event& event) {
    if (!kind.empty() &&
        (event.involved_object().kind() != kind || event.involved_object().name() != name)) {
      return false;
    }
    return flags.types.empty() ||
           std::find(flags.types.begin(), flags.types.end(), event.type()) != flags.types.end();
  };
  const std::string ns = flags.all_namespaces ? "" : context.ns();
  auto take = [&](const std::vector<v1::Resource>& objects) {
    std::vector<v1::Resource> events;
    for (const v1::Resource& item : objects) {
      if (wanted(item.event())) events.push_back(item);
    }
    std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) {
      return EventBefore(a.event(), b.event());
    });
    return events;
  };
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  TableStream stream;
  auto print = [&](const std::vector<v1::Resource>& rows) {
    context.out << stream.Next(TableOf(rows, flags.all_namespaces, context.now()),
                               !flags.no_headers);
    context.out.flush();
  };
  if (flags.watch) {
    RETURN_IF_ERROR(Follow({.kind = v1::KIND_EVENT, .ns = ns}, *client,
                           [&](const std::vector<v1::Resource>& objects) {
                             const std::vector<v1::Resource> events = take(objects);
                             if (!events.empty()) print(events);
                             return context.out.good();
                           }));
    return 0;
  }
  ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(v1::KIND_EVENT, ns, "", *client));
  const std::vector<v1::Resource> events = take({list.items().begin(), list.items().end()});
  if (!flags.output.empty()) {
    context.out << (flags.output == "json" ? manifest::ToJsonList(events)
                                           : manifest::ToYamlList(events));
  } else if (!events.empty()) {
    print(events);
  } else {
    context.err << (flags.all_namespaces ? std::string("No events found.\n")
                                         : fmt::format("No events found in {} namespace.\n", ns));
  }
  return 0;
}

}  // namespace

Command EventsCommand() {
  return {.name = "events",
          .summary = "List events, the oldest first",
          .group = kGroupTroubleshoot,
          .usage = "[--for TYPE/NAME] [--types=Warning,Normal] [--watch] [flags]",
          .examples =
              "  meshctl events --for pod/web-1\n"
              "  meshctl events -A --types=Warning\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_flag("-A,--all-namespaces", flags->all_namespaces, "Events of all namespaces");
            app.add_option("--for", flags->about, "Only events about this resource, TYPE/NAME");
            AddList(app, "--types", &flags->types, "Only events of these types");
            app.add_flag("-w,--watch", flags->watch, "Print new events, until interrupted");
            app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
            app.add_option("-o,--output", flags->output, "json or yaml");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
