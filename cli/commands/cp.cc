// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <filesystem>
#include <ostream>
#include <thread>

#include "absl/strings/ascii.h"
#include "cli/client.h"
#include "cli/commands/copy_path.h"
#include "cli/commands/pod_commands.h"
#include "cli/commands/session.h"
#include "cli/commands/tar_copy.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;

struct Flags {
  std::vector<std::string> args;
  std::string container;
  bool no_preserve = false;
};

absl::StatusOr<v1::ExecStart> StartOf(const CopyPath& at, const Flags& flags, Context& context,
                                      const std::vector<std::string>& words) {
  const std::string ns = at.ns.empty() ? context.ns() : at.ns;
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::string note;
  ASSIGN_OR_RETURN(const v1::Pod pod,
                   FindPod({.type = {v1::KIND_POD}, .ns = ns, .name = at.pod}, *client, &note));
  Place place{.pod = pod};
  ASSIGN_OR_RETURN(place.container, ChooseContainer(pod, flags.container, &note));
  v1::ExecStart start = StartAt(place);
  for (const std::string& word : words) start.add_command(word);
  return start;
}

// How a command ended, and what it said about it.
struct Ended {
  int exit_code = -1;
  std::string errors;
};

std::string Why(const Ended& ended) {
  if (!ended.errors.empty()) return std::string(absl::StripTrailingAsciiWhitespace(ended.errors));
  return fmt::format("tar ended with exit code {}", ended.exit_code);
}

// Reads what a command without output has to say, to its end. The stream is not finished.
Ended ReadToEnd(ExecStream& stream) {
  Ended out;
  v1::ExecOutput output;
  while (stream.Read(&output)) {
    if (output.has_stderr()) {
      out.errors += output.stderr();
    } else if (output.has_exit_code()) {
      out.exit_code = output.exit_code();
      stream.Cancel();
      break;
    }
  }
  return out;
}

// The error of a stream that ended without an exit code.
absl::Status FinishAfter(ExecStream& stream, const Ended& ended) {
  const absl::Status status = stream.Finish();
  if (ended.exit_code >= 0) return absl::OkStatus();
  RETURN_IF_ERROR(status);
  return absl::UnavailableError("the connection to the container was lost");
}

absl::StatusOr<bool> IsFolderInPod(const CopyPath& at, const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(const v1::ExecStart start, StartOf(at, flags, context, {"test", "-d", at.path}));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::unique_ptr<ExecStream> stream, OpenSession(start, *client));
  const Ended ended = ReadToEnd(*stream);
  RETURN_IF_ERROR(FinishAfter(*stream, ended));
  return ended.exit_code == 0;
}

void WarnOfSkipped(const std::vector<std::string>& skipped, Context& context) {
  for (const std::string& path : skipped) {
    context.err << fmt::format("warning: skipping \"{}\": neither a file nor a folder\n", path);
  }
}

absl::StatusOr<int> Upload(const std::string& from, CopyPath to, const Flags& flags,
                           Context& context) {
  if (!std::filesystem::exists(from)) {
    return absl::NotFoundError(fmt::format("{} doesn't exist in local filesystem", from));
  }
  const std::string base = BaseName(std::filesystem::absolute(from).lexically_normal().string());
  ASSIGN_OR_RETURN(const bool folder, IsFolderInPod(to, flags, context));
  if (folder) to.path = to.path + (to.path.ends_with('/') ? "" : "/") + base;
  std::vector<std::string> words = {"tar", "-xmf", "-", "-C", DirName(to.path)};
  if (flags.no_preserve)
    words = {"tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-",
             "-C",  DirName(to.path)};
  ASSIGN_OR_RETURN(v1::ExecStart start, StartOf(to, flags, context, words));
  start.set_stdin(true);
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::unique_ptr<ExecStream> stream, OpenSession(start, *client));
  Ended ended;
  std::thread reader([&] { ended = ReadToEnd(*stream); });
  std::vector<std::string> skipped;
  v1::ExecInput input;
  const absl::Status written = WriteTar(
      from, BaseName(to.path),
      [&](std::string_view data) {
        while (!data.empty()) {
          const std::string_view piece = data.substr(0, kChunkBytes);
          input.set_stdin(piece.data(), piece.size());
          if (!stream->Write(input))
            return absl::UnavailableError("tar in the container has ended");
          data.remove_prefix(piece.size());
        }
        return absl::OkStatus();
      },
      &skipped);
  if (written.ok()) {
    input.set_stdin_closed(true);
    stream->Write(input);
  } else if (!absl::IsUnavailable(written)) {
    stream->Cancel();  // half an archive must not pass for a whole one
  }
  reader.join();
  const absl::Status finished = FinishAfter(*stream, ended);
  if (!written.ok() && !absl::IsUnavailable(written)) return written;
  RETURN_IF_ERROR(finished);
  WarnOfSkipped(skipped, context);
  if (ended.exit_code != 0) return absl::InternalError(Why(ended));
  return written.ok() ? absl::StatusOr<int>(0) : written;
}

absl::StatusOr<int> Download(const CopyPath& from, std::string to, const Flags& flags,
                             Context& context) {
  const std::string base = BaseName(from.path);
  std::error_code ignored;
  if (std::filesystem::is_directory(to, ignored) && base != ".") {
    to = (std::filesystem::path(to) / base).string();
  }
  ASSIGN_OR_RETURN(
      const v1::ExecStart start,
      StartOf(from, flags, context, {"tar", "-cf", "-", "-C", DirName(from.path), "--", base}));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::unique_ptr<ExecStream> stream, OpenSession(start, *client));
  Ended ended;
  v1::ExecOutput output;
  std::vector<std::string> skipped;
  const absl::Status read = ReadTar(
      [&]() -> absl::StatusOr<std::string> {
        while (ended.exit_code < 0 && stream->Read(&output)) {
          if (output.has_stdout()) return std::move(*output.mutable_stdout());
          if (output.has_stderr()) ended.errors += output.stderr();
          if (output.has_exit_code()) ended.exit_code = output.exit_code();
        }
        return std::string();
      },
      base, to, !flags.no_preserve, &skipped);
  // To the end, for what tar has to say and how it ended: also of an archive with nothing in it.
  while ((read.ok() || absl::IsNotFound(read)) && ended.exit_code < 0 && stream->Read(&output)) {
    if (output.has_stderr()) ended.errors += output.stderr();
    if (output.has_exit_code()) ended.exit_code = output.exit_code();
  }
  // A stream that is over has its own status, which a cancellation would replace.
  if (ended.exit_code >= 0 || !(read.ok() || absl::IsNotFound(read))) stream->Cancel();
  const absl::Status finished = FinishAfter(*stream, ended);
  if (ended.exit_code > 0) return absl::InternalError(Why(ended));
  // An archive that is empty because the call failed has the call's error.
  if (absl::IsNotFound(read)) RETURN_IF_ERROR(finished);
  RETURN_IF_ERROR(read);
  RETURN_IF_ERROR(finished);
  WarnOfSkipped(skipped, context);
  return 0;
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (flags.args.size() != 2) {
    return UsageError("source and destination are required");
  }
  ASSIGN_OR_RETURN(const CopyPath from, ParseCopyPath(flags.args[0]));
  ASSIGN_OR_RETURN(const CopyPath to, ParseCopyPath(flags.args[1]));
  if (from.path.empty() || to.path.empty()) return UsageError("filepath can not be empty");
  if (!from.pod.empty() && !to.pod.empty()) {
    return absl::InvalidArgumentError("one of src or dest must be a local file specification");
  }
  if (from.pod.empty() && to.pod.empty()) {
    return absl::InvalidArgumentError("one of src or dest must be a remote file specification");
  }
  return from.pod.empty() ? Upload(from.path, to, flags, context)
                          : Download(from, to.path, flags, context);
}

}  // namespace

Command CpCommand() {
  return {.name = "cp",
          .summary = "Copy files and folders to and from containers",
          .group = kGroupTroubleshoot,
          .usage = "SOURCE DESTINATION [-c CONTAINER]",
          .examples =
              "  meshctl cp ./site web-1:/srv/site\n"
              "  meshctl cp shop/web-1:/var/log/app.log .\n\n"
              "The container must have tar.\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("paths", flags->args);
            app.add_option("-c,--container", flags->container, "The container");
            app.add_flag("--no-preserve", flags->no_preserve,
                         "Owners, modes and times are not kept");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
