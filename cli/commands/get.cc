// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <utility>

#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/follow.h"
#include "cli/commands/list_option.h"
#include "cli/commands/targets.h"
#include "cli/manifest/print.h"
#include "cli/output/age.h"
#include "cli/output/columns.h"
#include "cli/output/endpoints_json.h"
#include "cli/output/jsonpath.h"
#include "cli/output/printers.h"
#include "cli/output/structured.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  TargetFlags targets;
  std::string output;
  bool watch = false;
  bool watch_only = false;
  bool no_headers = false;
  bool show_labels = false;
  bool ignore_not_found = false;
  bool managed_fields = false;
  std::vector<std::string> label_columns;
  std::string sort_by;
};

enum class OutputFormat { kTable, kWide, kYaml, kJson, kName, kJsonPath, kColumns };

struct Output {
  OutputFormat format = OutputFormat::kTable;
  std::string jsonpath;
  std::vector<Column> columns;
};

absl::StatusOr<Output> ParseOutput(const std::string& text) {
  if (text.empty()) return Output{};
  if (text == "wide") return Output{.format = OutputFormat::kWide};
  if (text == "yaml") return Output{.format = OutputFormat::kYaml};
  if (text == "json") return Output{.format = OutputFormat::kJson};
  if (text == "name") return Output{.format = OutputFormat::kName};
  if (text.rfind("jsonpath=", 0) == 0) {
    Output output{.format = OutputFormat::kJsonPath, .jsonpath = text.substr(9)};
    if (output.jsonpath.empty()) {
      return absl::InvalidArgumentError("template format specified but no template given");
    }
    RETURN_IF_ERROR(CheckJsonPath(output.jsonpath));
    return output;
  }
  if (text.rfind("custom-columns=", 0) == 0) {
    Output output{.format = OutputFormat::kColumns};
    ASSIGN_OR_RETURN(output.columns, ParseColumns(std::string_view(text).substr(15)));
    return output;
  }
  if (text == "custom-columns") return ParseColumns("").status();
  if (text == "jsonpath") {
    return absl::InvalidArgumentError("template format specified but no template given");
  }
  return absl::InvalidArgumentError(fmt::format(
      "unable to match a printer suitable for the output format \"{}\", allowed formats "
      "are: custom-columns,json,jsonpath,name,wide,yaml",
      text));
}

PrintOptions OptionsFor(const Flags& flags, const Output& output, const Context& context) {
  PrintOptions options;
  options.wide = output.format == OutputFormat::kWide;
  options.with_namespace = flags.targets.all_namespaces;
  options.show_labels = flags.show_labels;
  options.label_columns = flags.label_columns;
  options.now = context.now();
  return options;
}

Table TableOf(const Found& found, PrintOptions options) {
  options.with_namespace = options.with_namespace && IsNamespaced(found.type);
  return found.type.endpoints ? EndpointsTable(found.objects, options)
                              : ResourceTable(found.type.kind, found.objects, options);
}

// kubectl shows events as the server keeps them; by time is what people want.
void SortEvents(std::vector<v1::Resource>* objects) {
  std::stable_sort(objects->begin(), objects->end(),
                   [](const auto& a, const auto& b) { return EventBefore(a.event(), b.event()); });
}

void PrintTables(const Fetched& fetched, const Flags& flags, const Output& output,
                 Context& context) {
  PrintOptions options = OptionsFor(flags, output, context);
  options.with_kind = fetched.found.size() > 1;
  bool first = true;
  for (const Found& found : fetched.found) {
    if (found.objects.empty()) continue;
    if (!first) context.out << "\n";
    first = false;
    context.out << mesh::cli::Format(TableOf(found, options), !flags.no_headers);
  }
  if (!first || !fetched.errors.empty() || flags.ignore_not_found) return;
  const bool namespaced = std::any_of(fetched.found.begin(), fetched.found.end(),
                                      [](const Found& found) { return IsNamespaced(found.type); });
  if (namespaced && !flags.targets.all_namespaces) {
    context.err << fmt::format("No resources found in {} namespace.\n", context.ns());
  } else {
    context.err << "No resources found\n";
  }
}

// One object asked for by name stands alone; everything else is a List.
absl::StatusOr<std::string> Structured(const Fetched& fetched, bool single, bool json,
                                       bool managed) {
  const bool endpoints = std::any_of(fetched.found.begin(), fetched.found.end(),
                                     [](const Found& found) { return found.type.endpoints; });
  if (endpoints) {
    if (fetched.found.size() > 1) {
      return absl::InvalidArgumentError("endpoints are printed alone with -o json and -o yaml");
    }
    const std::string text = EndpointsJson(fetched.found.front().objects, single);
    return json ? PrettyJson(text) : YamlFromJson(text);
  }
  std::vector<v1::Resource> objects;
  for (const Found& found : fetched.found) {
    objects.insert(objects.end(), found.objects.begin(), found.objects.end());
  }
  if (single) {
    return json ? manifest::ToJson(objects.front(), managed)
                : manifest::ToYaml(objects.front(), managed);
  }
  return json ? manifest::ToJsonList(objects, managed) : manifest::ToYamlList(objects, managed);
}

std::vector<std::string> DocumentsOf(const std::vector<v1::Resource>& objects) {
  std::vector<std::string> documents;
  for (const v1::Resource& object : objects) documents.push_back(manifest::ToJson(object));
  return documents;
}

absl::StatusOr<int> Print(const Fetched& fetched, bool single, const Flags& flags,
                          const Output& output, Context& context) {
  size_t count = 0;
  for (const Found& found : fetched.found) count += found.objects.size();
  switch (output.format) {
    case OutputFormat::kTable:
    case OutputFormat::kWide:
      PrintTables(fetched, flags, output, context);
      break;
    case OutputFormat::kColumns: {
      std::vector<std::string> documents;
      for (const Found& found : fetched.found) {
        for (std::string& json : DocumentsOf(found.objects)) documents.push_back(std::move(json));
      }
      ASSIGN_OR_RETURN(Table table, ColumnsTable(output.columns, documents));
      if (count > 0) context.out << mesh::cli::Format(table, !flags.no_headers);
      break;
    }
    case OutputFormat::kName:
      for (const Found& found : fetched.found) {
        for (const v1::Resource& object : found.objects) {
          context.out << SingularText(found.type) << "/"
                      << (found.type.endpoints ? ServiceOfSlice(object.endpoint_slice())
                                               : schema::MetaOf(object).name())
                      << "\n";
        }
      }
      break;
    case OutputFormat::kYaml:
    case OutputFormat::kJson:
    case OutputFormat::kJsonPath: {
      if (single && count == 0) break;
      // A template says itself what it wants to see.
      const bool managed = flags.managed_fields || output.format == OutputFormat::kJsonPath;
      ASSIGN_OR_RETURN(std::string text,
                       Structured(fetched, single, output.format != OutputFormat::kYaml, managed));
      if (output.format == OutputFormat::kJsonPath) {
        ASSIGN_OR_RETURN(text, EvaluateJsonPath(output.jsonpath, text));
      }
      context.out << text;
      break;
    }
  }
  int exit_code = 0;
  for (const absl::Status& error : fetched.errors) {
    if (flags.ignore_not_found && IsServerNotFound(error)) continue;
    context.out.flush();
    context.err << ErrorText(error) << "\n";
    exit_code = 1;
  }
  return exit_code;
}

absl::StatusOr<int> Watch(const std::vector<Target>& targets, const Flags& flags,
                          const Output& output, ControlClient& client, Context& context) {
  if (targets.size() != 1) {
    return absl::InvalidArgumentError(
        "you may only specify a single resource type or name with --watch");
  }
  const Target& target = targets.front();
  TableStream stream;
  auto print = [&](const std::vector<v1::Resource>& objects) -> absl::Status {
    const Found found{.type = target.type, .objects = objects};
    switch (output.format) {
      case OutputFormat::kTable:
      case OutputFormat::kWide:
        context.out << stream.Next(TableOf(found, OptionsFor(flags, output, context)),
                                   !flags.no_headers);
        break;
      case OutputFormat::kColumns: {
        ASSIGN_OR_RETURN(Table table, ColumnsTable(output.columns, DocumentsOf(objects)));
        context.out << stream.Next(table, !flags.no_headers);
        break;
      }
      default:
        for (const v1::Resource& object : objects) {
          Fetched one;
          one.found.push_back({.type = target.type, .objects = {object}});
          if (output.format == OutputFormat::kYaml) context.out << "---\n";
          RETURN_IF_ERROR(Print(one, /*single=*/true, flags, output, context).status());
        }
    }
    context.out.flush();
    return absl::OkStatus();
  };
  Followed what{.kind = target.type.kind, .ns = target.ns, .selector = flags.targets.selector};
  if (!target.type.endpoints) {
    what.name = target.name;
  } else if (!target.name.empty()) {
    what.selector = "kubernetes.io/service-name=" + target.name;
  }
  absl::Status failure;
  bool listed = false;
  RETURN_IF_ERROR(Follow(what, client, [&](const std::vector<v1::Resource>& objects) {
    const bool first = !std::exchange(listed, true);
    if (first && objects.empty() && !target.name.empty() && !flags.ignore_not_found) {
      failure =
          ServerError(absl::StatusCode::kNotFound, "NotFound",
                      fmt::format("{} \"{}\" not found", PluralText(target.type), target.name));
      return false;
    }
    if ((first && flags.watch_only) || objects.empty()) return true;
    failure = print(objects);
    return failure.ok() && context.out.good();
  }));
  RETURN_IF_ERROR(failure);
  return 0;
}

absl::Status Sort(const std::string& path, std::vector<v1::Resource>* objects) {
  ASSIGN_OR_RETURN(std::vector<size_t> order, SortedBy(path, DocumentsOf(*objects)));
  std::vector<v1::Resource> sorted;
  for (size_t at : order) sorted.push_back(std::move((*objects)[at]));
  *objects = std::move(sorted);
  return absl::OkStatus();
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(Output output, ParseOutput(flags.output));
  if (!flags.targets.selector.empty()) {
    RETURN_IF_ERROR(schema::Selector::Parse(flags.targets.selector).status());
  }
  ASSIGN_OR_RETURN(std::vector<Target> targets, FindTargets(flags.targets, context));
  const bool named = std::any_of(targets.begin(), targets.end(),
                                 [](const Target& target) { return !target.name.empty(); });
  if (named && !flags.targets.selector.empty()) {
    return absl::InvalidArgumentError("name cannot be provided when a selector is specified");
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  if (flags.watch || flags.watch_only) return Watch(targets, flags, output, *client, context);
  ASSIGN_OR_RETURN(Fetched fetched, Fetch(targets, flags.targets.selector, *client));
  for (Found& found : fetched.found) {
    if (found.type.kind == v1::KIND_EVENT) SortEvents(&found.objects);
    if (!flags.sort_by.empty()) RETURN_IF_ERROR(Sort(flags.sort_by, &found.objects));
  }
  return Print(fetched, targets.size() == 1 && named, flags, output, context);
}

}  // namespace

Command GetCommand() {
  return {
      .name = "get",
      .summary = "Display one or many resources",
      .group = kGroupBasic,
      .usage = "TYPE[,TYPE...] [NAME... | -l SELECTOR] | TYPE/NAME... [flags]",
      .examples =
          "  meshctl get pods -o wide\n"
          "  meshctl get deployment,service -A\n"
          "  meshctl get pods -l app=web --watch\n"
          "  meshctl get pod web-1 -o jsonpath='{.status.podIP}'\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto flags = std::make_shared<Flags>();
        app.add_option("resources", flags->targets.args);
        app.add_option("-o,--output", flags->output,
                       "Output format: json, yaml, wide, name, jsonpath='{...}' or "
                       "custom-columns=HEADER:.path,...");
        app.add_option("-l,--selector", flags->targets.selector,
                       "Label selector, such as app=web,tier!=db");
        app.add_flag("-A,--all-namespaces", flags->targets.all_namespaces,
                     "Resources of all namespaces");
        app.add_option("-f,--filename", flags->targets.files,
                       "Files or folders that name the resources")
            ->allow_extra_args(false)
            ->take_all();
        app.add_flag("-R,--recursive", flags->targets.recursive, "Folders of -f with all below");
        app.add_flag("-w,--watch", flags->watch, "Print changes after the list, until interrupted");
        app.add_flag("--watch-only", flags->watch_only, "Print changes without the list");
        app.add_flag("--show-managed-fields", flags->managed_fields,
                     "With -o yaml and json: who owns which field");
        app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
        app.add_flag("--show-labels", flags->show_labels, "Labels as the last column");
        AddList(app, "-L,--label-columns", &flags->label_columns, "Labels that get a column");
        app.add_option("--sort-by", flags->sort_by,
                       "Order by this field, such as .metadata.creationTimestamp");
        app.add_flag("--ignore-not-found", flags->ignore_not_found,
                     "A resource that does not exist is no error");
        return [flags, &context] { return Run(*flags, context); };
      }};
}

}  // namespace mesh::cli
