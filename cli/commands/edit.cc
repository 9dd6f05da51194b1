// SPDX-License-Identifier: Apache-2.0
// edit: what a person changes in his editor, merged into the object as it is by then.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/schema/merge.h"
#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/change_object.h"
#include "cli/commands/commands.h"
#include "cli/commands/editor.h"
#include "cli/commands/targets.h"
#include "cli/manifest/manifest.h"
#include "cli/manifest/print.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr std::string_view kHeader =
    "# Please edit the object below. Lines beginning with a '#' will be ignored,\n"
    "# and an empty file will abort the edit. If an error occurs while saving this file will be\n"
    "# reopened with the relevant failures.\n"
    "#\n";

struct Flags {
  TargetFlags targets;
  std::string manager = "meshctl-edit";
};

// Without the comments that stand before the object.
std::string BodyOf(const std::string& text) {
  std::string out;
  std::istringstream in(text);
  bool started = false;
  for (std::string line; std::getline(in, line);) {
    const bool comment = line.empty() || line.starts_with('#');
    if (!started && comment) continue;
    started = true;
    out += line + "\n";
  }
  return out;
}

std::string Commented(const std::string& text) {
  std::string out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out += "# * " + line + "\n";
  return out;
}

bool IsSameObject(const v1::Resource& a, const v1::Resource& b) {
  return schema::KindOf(a) == schema::KindOf(b) &&
         schema::MetaOf(a).name() == schema::MetaOf(b).name() &&
         schema::MetaOf(a).namespace_() == schema::MetaOf(b).namespace_();
}

// The object of the file; `problem` says why there is none.
std::optional<v1::Resource> Read(const std::string& text, const v1::Resource& original,
                                 std::string* problem) {
  manifest::DecodeOptions options;
  options.default_namespace = schema::MetaOf(original).namespace_();
  manifest::Manifest read = manifest::Decode({{"edited", text}}, options);
  for (const manifest::Diagnostic& diagnostic : read.diagnostics) {
    if (diagnostic.severity != manifest::Diagnostic::Severity::kError) continue;
    *problem += diagnostic.ToString() + "\n";
  }
  if (!problem->empty()) return std::nullopt;
  if (read.objects.size() != 1) {
    *problem = fmt::format("the file has {} objects, not one\n", read.objects.size());
    return std::nullopt;
  }
  v1::Resource object = std::move(read.objects[0].resource);
  v1::ObjectMeta* meta = schema::MutableMetaOf(&object);
  if (meta->namespace_().empty()) meta->set_namespace_(options.default_namespace);
  if (!IsSameObject(object, original)) {
    *problem = "At least one of apiVersion, kind and name was changed\n";
    return std::nullopt;
  }
  return object;
}

absl::StatusOr<int> EditOne(const Target& target, const Flags& flags, ControlClient& client,
                            Context& context) {
  v1::GetRequest get;
  get.mutable_name()->set_kind(target.type.kind);
  get.mutable_name()->set_namespace_(target.ns);
  get.mutable_name()->set_name(target.name);
  ASSIGN_OR_RETURN(const v1::Resource original, client.Get(get));
  const std::string name = schema::ObjectText(original);
  const std::string editor = EditorOfEnvironment();

  EditedFile file;
  std::string before = manifest::ToYaml(original);
  std::string comments(kHeader);
  bool tried = false;
  while (true) {
    ASSIGN_OR_RETURN(const std::string text, file.Edit(editor, comments + before));
    const std::string body = BodyOf(text);
    if (body.empty()) {
      context.err << "Edit cancelled, saved file was empty.\n";
      return 0;
    }
    if (body == before) {
      if (!tried) {
        context.err << "Edit cancelled, no changes made.\n";
        return 0;
      }
      context.err << fmt::format("A copy of your changes has been stored to \"{}\"\n", file.Keep());
      return absl::InvalidArgumentError("Edit cancelled, no valid changes were saved.");
    }
    tried = true;
    before = body;
    std::string problem;
    if (const auto edited = Read(body, original, &problem)) {
      bool changed = false;
      // Three ways, as with apply: what others have written meanwhile stays.
      const auto change = [&](v1::Resource* live) {
        v1::Resource next = schema::ThreeWayMerge(&original, *edited, *live);
        changed = !schema::SameIntent(*live, next);
        if (changed) *live = std::move(next);
        return absl::OkStatus();
      };
      const auto written = ChangeObject(target, change, DryRun::kNone, flags.manager, client);
      if (written.ok()) {
        if (changed) {
          context.out << name << " edited\n";
        } else {
          context.err << "Edit cancelled, no changes made.\n";
        }
        return 0;
      }
      // What the server says of the object can be mended; what else went wrong cannot.
      if (!absl::IsInvalidArgument(written.status()) &&
          !absl::IsFailedPrecondition(written.status())) {
        context.err << fmt::format("A copy of your changes has been stored to \"{}\"\n",
                                   file.Keep());
        return written.status();
      }
      problem = std::string(written.status().message()) + "\n";
    }
    comments = std::string(kHeader) + fmt::format("# {} was not valid:\n", name) +
               Commented(problem) + "#\n";
  }
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(const std::vector<Target> targets, FindTargets(flags.targets, context));
  for (const Target& target : targets) {
    if (target.name.empty()) return UsageError("resource name is required");
    if (target.type.endpoints) {
      return absl::InvalidArgumentError("endpoints follow from services and pods: change these");
    }
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  for (const Target& target : targets) {
    RETURN_IF_ERROR(EditOne(target, flags, *client, context).status());
  }
  return 0;
}

}  // namespace

Command EditCommand() {
  return {.name = "edit",
          .summary = "Edit a resource in your editor",
          .group = kGroupBasic,
          .usage = "(TYPE NAME | TYPE/NAME | -f FILE) [flags]",
          .examples =
              "  meshctl edit deployment/web\n"
              "  EDITOR=nano meshctl edit service web\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("resources", flags->targets.args);
            app.add_option("-f,--filename", flags->targets.files,
                           "Files or folders that name the resources")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->targets.recursive,
                         "Folders of -f with all below");
            app.add_option("--field-manager", flags->manager,
                           "Who is recorded as the owner of what changes");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
