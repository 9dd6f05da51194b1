// SPDX-License-Identifier: Apache-2.0
#include "agent/node_images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "agent/cri/sandbox_image.h"
#include "common/status.h"
#include "common/unique_fd.h"

extern char** environ;

namespace mesh::agent {
namespace {

// What an importer says at its end, for a message.
constexpr size_t kPrintedMax = 64 * 1024;
// The CRI hears of an import by an event.
constexpr absl::Duration kImportSeen = absl::Seconds(5);
constexpr absl::Duration kImportPoll = absl::Milliseconds(20);

// The answer of one call of the runtime.
template <typename T, typename Call>
absl::StatusOr<T> Wait(Call call) {
  absl::Notification answered;
  absl::StatusOr<T> out = absl::UnknownError("not asked");
  call([&](absl::StatusOr<T> answer) {
    out = std::move(answer);
    answered.Notify();
  });
  answered.WaitForNotification();
  return out;
}

absl::StatusOr<std::optional<cri::Image>> Find(CriClient& cri, const std::string& name) {
  return Wait<std::optional<cri::Image>>([&](auto done) { cri.ImageStatus(name, done); });
}

// Pods by the id of the image, of containers that there are and of those that are to be made.
absl::StatusOr<std::map<std::string, std::set<std::string>>> Users(
    CriClient& cri, const std::shared_ptr<const PodDirectory>& directory) {
  std::map<std::string, std::set<std::string>> out;
  auto containers =
      Wait<std::vector<cri::Container>>([&](auto done) { cri.ListContainers("", done); });
  RETURN_IF_ERROR(containers.status());
  for (const cri::Container& container : *containers) {
    const auto label = [&](const char* key) {
      const auto it = container.labels().find(key);
      return it == container.labels().end() ? std::string() : it->second;
    };
    const std::string pod = label(kPodNamespaceLabel) + "/" + label(kPodNameLabel);
    out[container.image_ref()].insert(pod);
    out[container.image().image()].insert(pod);
  }
  if (directory == nullptr) return out;
  std::map<std::string, std::string> ids;
  for (const auto& [pod, entry] : *directory) {
    for (const ContainerEntry& container : entry.containers) {
      if (container.image.empty()) continue;
      auto [it, unknown] = ids.try_emplace(container.image);
      if (unknown) {
        if (auto image = Find(cri, container.image); image.ok() && image->has_value())
          it->second = (*image)->id();
      }
      if (!it->second.empty()) out[it->second].insert(pod);
    }
  }
  return out;
}

std::string FirstName(const v1::NodeImage& image) {
  if (!image.tags().empty()) return image.tags(0);
  return image.digests().empty() ? image.id() : image.digests(0);
}

struct Child {
  pid_t pid = 0;
  UniqueFd input, output;
};

absl::StatusOr<Child> Spawn(const std::vector<std::string>& command) {
  int input[2], output[2];
  if (::pipe2(input, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd input_read(input[0]), input_write(input[1]);
  if (::pipe2(output, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd output_read(output[0]), output_write(output[1]);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, input_read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output_write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output_write.get(), STDERR_FILENO);
  // The agent's own habits are not the program's.
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  Child child;
  const int error =
      ::posix_spawnp(&child.pid, argv[0], &actions, &attributes, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return absl::FailedPreconditionError(
        fmt::format("cannot run {}: {}; it comes with containerd", command.front(),
                    std::string(absl::ErrnoToStatus(error, "").message())));
  }
  child.input = std::move(input_write);
  child.output = std::move(output_read);
  return child;
}

// False when the program reads no more.
bool WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

std::string ReadAll(int fd) {
  std::string out;
  char block[4096];
  while (true) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return out;
    if (out.size() < kPrintedMax) out.append(block, static_cast<size_t>(n));
  }
}

std::string LastLine(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

}  // namespace

std::vector<std::string> ImportedImages(std::string_view printed) {
  constexpr std::string_view kHead = "unpacking ";
  std::vector<std::string> out;
  while (!printed.empty()) {
    std::string_view line = printed.substr(0, printed.find('\n'));
    printed.remove_prefix(std::min(printed.size(), line.size() + 1));
    if (!line.starts_with(kHead)) continue;
    line.remove_prefix(kHead.size());
    out.emplace_back(line.substr(0, line.find(' ')));
  }
  return out;
}

absl::StatusOr<v1::ListImagesResponse> NodeImages::List() const {
  auto images = Wait<std::vector<cri::Image>>([&](auto done) { cri_->ListImages(done); });
  RETURN_IF_ERROR(images.status());
  ASSIGN_OR_RETURN(const auto users, Users(*cri_, directory_()));
  const std::string sandbox = SandboxImageId(*cri_);
  v1::ListImagesResponse out;
  for (const cri::Image& image : *images) {
    v1::NodeImage& row = *out.add_images();
    row.set_id(image.id());
    *row.mutable_tags() = image.repo_tags();
    *row.mutable_digests() = image.repo_digests();
    row.set_size_bytes(image.size());
    row.set_pinned(image.pinned() || image.id() == sandbox);
    if (auto it = users.find(image.id()); it != users.end()) {
      for (const std::string& pod : it->second) row.add_used_by(pod);
    }
  }
  std::sort(
      out.mutable_images()->begin(), out.mutable_images()->end(),
      [](const v1::NodeImage& a, const v1::NodeImage& b) { return FirstName(a) < FirstName(b); });
  return out;
}

absl::StatusOr<v1::RemoveImageResponse> NodeImages::Remove(const std::string& name) const {
  ASSIGN_OR_RETURN(const std::optional<cri::Image> found, Find(*cri_, name));
  if (!found) return absl::NotFoundError(fmt::format("image \"{}\" not found", name));
  if (found->pinned() || found->id() == SandboxImageId(*cri_)) {
    return absl::FailedPreconditionError(
        fmt::format("image \"{}\" is the one of the pods' sandboxes: the runtime keeps it", name));
  }
  ASSIGN_OR_RETURN(const auto users, Users(*cri_, directory_()));
  if (auto it = users.find(found->id()); it != users.end()) {
    return absl::FailedPreconditionError(
        fmt::format("image \"{}\" is in use by {}", name, fmt::join(it->second, ", ")));
  }
  absl::Notification answered;
  absl::Status removed;
  cri_->RemoveImage(found->id(), [&](absl::Status status) {
    removed = std::move(status);
    answered.Notify();
  });
  answered.WaitForNotification();
  RETURN_IF_ERROR(removed);
  v1::RemoveImageResponse out;
  *out.mutable_removed() = found->repo_tags();
  if (out.removed().empty()) out.add_removed(found->id());
  return out;
}

absl::StatusOr<v1::LoadImageOutput> NodeImages::Load(
    const std::function<absl::StatusOr<std::optional<std::string>>()>& next) const {
  ASSIGN_OR_RETURN(Child child, Spawn(import_command_));
  std::string printed;
  std::thread reader([&] { printed = ReadAll(child.output.get()); });
  absl::Status broken;
  while (true) {
    auto piece = next();
    if (!piece.ok()) {
      broken = piece.status();
      break;
    }
    if (!piece->has_value() || !WriteAll(child.input.get(), **piece)) break;
  }
  // An archive that breaks off must not pass for one that ended.
  if (!broken.ok()) ::kill(child.pid, SIGKILL);
  child.input.reset();
  reader.join();
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  RETURN_IF_ERROR(broken);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::InvalidArgumentError(
        fmt::format("the archive cannot be imported: {}", LastLine(printed)));
  }
  v1::LoadImageOutput out;
  const absl::Time give_up = absl::Now() + kImportSeen;
  for (const std::string& name : ImportedImages(printed)) {
    out.add_images(name);
    while (absl::Now() < give_up) {
      ASSIGN_OR_RETURN(const auto seen, Find(*cri_, name));
      if (seen) break;
      absl::SleepFor(kImportPoll);
    }
  }
  return out;
}

}  // namespace mesh::agent
