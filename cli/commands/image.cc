// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <ostream>
#include <string_view>
#include <utility>

#include "cli/access_client.h"
#include "cli/client.h"
#include "cli/commands/each_node.h"
#include "cli/commands/list_option.h"
#include "cli/commands/pod_commands.h"
#include "cli/output/table.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

constexpr size_t kPieceBytes = 256 * 1024;
constexpr size_t kShortId = 12;

struct Flags {
  std::vector<std::string> args;
  std::vector<std::string> nodes;
  bool no_headers = false;
};

template <typename Response>
using OfNode = std::pair<std::string, Response>;

// With the node's name beside the answer.
template <typename Response, typename Ask>
std::vector<OfNode<Response>> AskNodes(const std::vector<std::string>& nodes, Ask ask,
                                       Context& context, bool* failed) {
  return AskEach<OfNode<Response>>(
      nodes,
      [&](const std::string& node) -> absl::StatusOr<OfNode<Response>> {
        ASSIGN_OR_RETURN(Response response, ask(node));
        return OfNode<Response>(node, std::move(response));
      },
      context, failed);
}

// Decimal, as image sizes are told: "71.3MB".
std::string SizeText(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{}B", bytes);
  double value = static_cast<double>(bytes);
  for (const char* unit : {"kB", "MB", "GB"}) {
    value /= 1000;
    if (value < 999.5 || std::string_view(unit) == "GB")
      return fmt::format("{:.3g}{}", value, unit);
  }
  return "";
}

std::string ShortId(std::string_view id) {
  if (const size_t colon = id.find(':'); colon != id.npos) id.remove_prefix(colon + 1);
  return std::string(id.substr(0, kShortId));
}

absl::StatusOr<int> List(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<std::string> nodes, FindNodes(flags.nodes, "", *client));
  const auto access = AccessClient::New(client->server());
  bool failed = false;
  Table table{.headers = {"NODE", "IMAGE", "ID", "SIZE", "USED BY"}};
  const auto answers = AskNodes<v1::ListImagesResponse>(
      nodes,
      [&](const std::string& node) {
        v1::ListImagesRequest request;
        request.set_node(node);
        return access->ListImages(request);
      },
      context, &failed);
  for (const auto& [node, answer] : answers) {
    for (const v1::NodeImage& image : answer.images()) {
      std::vector<std::string> names(image.tags().begin(), image.tags().end());
      if (names.empty()) names.assign(image.digests().begin(), image.digests().end());
      if (names.empty()) names.emplace_back("<none>");
      const std::string used = !image.used_by().empty()
                                   ? fmt::format("{}", fmt::join(image.used_by(), ","))
                               : image.pinned() ? "<runtime>"
                                                : "<none>";
      for (const std::string& name : names) {
        table.rows.push_back({node, name, ShortId(image.id()), SizeText(image.size_bytes()), used});
      }
    }
  }
  if (!table.rows.empty()) context.out << Format(table, !flags.no_headers);
  return failed ? 1 : 0;
}

absl::StatusOr<int> Remove(const Flags& flags, Context& context) {
  if (flags.args.empty()) return UsageError("an image is required: meshctl image rm IMAGE...");
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<std::string> nodes, FindNodes(flags.nodes, "", *client));
  const auto access = AccessClient::New(client->server());
  bool failed = false;
  for (const std::string& image : flags.args) {
    // A node that does not have it is as it should be, unless none has.
    struct Answer {
      bool found = true;
      v1::RemoveImageResponse response;
    };
    bool anywhere = false, some_failed = false;
    const auto answers = AskNodes<Answer>(
        nodes,
        [&](const std::string& node) -> absl::StatusOr<Answer> {
          v1::RemoveImageRequest request;
          request.set_node(node);
          request.set_image(image);
          auto response = access->RemoveImage(request);
          if (absl::IsNotFound(response.status())) return Answer{.found = false};
          RETURN_IF_ERROR(response.status());
          return Answer{.response = *std::move(response)};
        },
        context, &some_failed);
    for (const auto& [node, answer] : answers) {
      anywhere |= answer.found;
      for (const std::string& name : answer.response.removed())
        context.out << fmt::format("image \"{}\" removed from {}\n", name, node);
    }
    failed |= some_failed;
    if (!anywhere && !some_failed) {
      context.err << fmt::format("error: image \"{}\" is on no node\n", image);
      failed = true;
    }
  }
  return failed ? 1 : 0;
}

absl::StatusOr<std::string> ReadPiece(int fd) {
  std::string piece(kPieceBytes, '\0');
  while (true) {
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "read the archive");
    piece.resize(static_cast<size_t>(n));
    return piece;
  }
}

absl::StatusOr<int> Load(const Flags& flags, Context& context) {
  if (flags.args.empty()) return UsageError("an archive is required: meshctl image load FILE...");
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<std::string> nodes, FindNodes(flags.nodes, "", *client));
  const auto access = AccessClient::New(client->server());
  bool failed = false;
  for (const std::string& file : flags.args) {
    if (file == "-" && nodes.size() > 1) {
      return UsageError("standard input can be read once: name one node with --node");
    }
    const auto answers = AskNodes<v1::LoadImageOutput>(
        nodes,
        [&](const std::string& node) -> absl::StatusOr<v1::LoadImageOutput> {
          const UniqueFd fd(file == "-" ? ::fcntl(context.in_fd, F_DUPFD_CLOEXEC, 0)
                                        : ::open(file.c_str(), O_RDONLY | O_CLOEXEC));
          if (!fd) return ErrnoStatus(errno, fmt::format("open {}", file));
          return access->LoadImage(node, [&] { return ReadPiece(fd.get()); });
        },
        context, &failed);
    for (const auto& [node, answer] : answers) {
      for (const std::string& name : answer.images())
        context.out << fmt::format("image \"{}\" loaded into {}\n", name, node);
    }
  }
  return failed ? 1 : 0;
}

using Runner = absl::StatusOr<int> (*)(const Flags&, Context&);

Command Sub(std::string name, std::string summary, std::string usage, std::string examples,
            Runner run, bool arguments) {
  return {.name = std::move(name),
          .summary = std::move(summary),
          .usage = std::move(usage),
          .examples = std::move(examples),
          .define = [run, arguments](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            if (arguments) app.add_option("names", flags->args);
            AddList(app, "--node", &flags->nodes, "Only these nodes; all by default");
            if (!arguments)
              app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
            return [run, flags, &context] { return run(*flags, context); };
          }};
}

}  // namespace

Command ImageCommand() {
  Command list = Sub("list", "List the images of the nodes", "[--node NODE]",
                     "  meshctl image list --node n1\n", List, false);
  list.aliases = {"ls"};
  Command remove = Sub("rm", "Remove images that no pod uses", "IMAGE... [--node NODE]",
                       "  meshctl image rm nginx:1.25\n", Remove, true);
  remove.aliases = {"remove"};
  return {.name = "image",
          .summary = "Look at, load and remove the images of the nodes",
          .group = kGroupCluster,
          .usage = "(list | load | rm)",
          .children = {std::move(list),
                       Sub("load", "Load archives of images (docker save, OCI) into the nodes",
                           "FILE... [--node NODE]",
                           "  meshctl image load web.tar\n"
                           "  docker save web:v2 | meshctl image load - --node n1\n",
                           Load, true),
                       std::move(remove)}};
}

}  // namespace mesh::cli
