// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/termination_message.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "agent/network/files.h"
#include "agent/pods/log_reader.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "common/utf8.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

// A line of the runtime's log is at most 16 KiB; the last bytes of the last lines are below this.
constexpr int64_t kLogTail = 64 << 10;

std::string FolderOf(const PodConfigOptions& options, const std::string& uid,
                     const std::string& container) {
  return fmt::format("{}/containers/{}", PodFilesDirectory(options, uid), container);
}

// The end of a regular file; empty where there is none.
std::string Tail(const std::string& path, int64_t most, bool* cut) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info = {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
  *cut = info.st_size > most;
  const off_t from = *cut ? info.st_size - most : 0;
  std::string out(static_cast<size_t>(info.st_size - from), '\0');
  size_t size = 0;
  while (size < out.size()) {
    const ssize_t n =
        ::pread(fd.get(), out.data() + size, out.size() - size, from + static_cast<off_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    size += static_cast<size_t>(n);
  }
  out.resize(size);
  return out;
}

// Without the rest of a character whose beginning was cut off.
std::string LastBytes(std::string text, size_t most, bool cut) {
  if (text.size() > most) {
    text.erase(0, text.size() - most);
    cut = true;
  }
  size_t skip = 0;
  while (cut && skip < text.size() && skip < 3 &&
         (static_cast<unsigned char>(text[skip]) & 0xc0) == 0x80) {
    ++skip;
  }
  return ToUtf8(std::string_view(text).substr(skip));
}

std::string LastOfLog(const std::string& path) {
  bool cut = false;
  const std::string raw = Tail(path, kLogTail, &cut);
  std::string_view rest = raw;
  if (cut) rest.remove_prefix(std::min(rest.size(), rest.find('\n') + 1));  // a part of a line
  std::vector<std::string_view> lines;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;  // it is being written
    lines.push_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  const size_t first =
      lines.size() > kTerminationLogLines ? lines.size() - kTerminationLogLines : 0;
  std::string out;
  for (size_t i = first; i < lines.size(); ++i) {
    const LogLine line = ParseLogLine(lines[i]);
    out += line.text;
    if (!line.partial) out += '\n';
  }
  return LastBytes(std::move(out), kTerminationLogMost, cut);
}

}  // namespace

absl::Status MakeTerminationFile(const PodConfigOptions& options, const std::string& uid,
                                 const v1::Container& container, uint32_t attempt) {
  if (container.termination_message_path().empty()) return absl::OkStatus();
  const std::string folder = FolderOf(options, uid, container.name());
  RETURN_IF_ERROR(MakeDirectories(folder, 0750));
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name == std::to_string(attempt) || name == std::to_string(int64_t{attempt} - 1)) continue;
    std::error_code ignored;  // the next attempt tries again
    fs::remove(entry.path(), ignored);
  }
  const std::string path = TerminationFile(options, uid, container.name(), attempt);
  const UniqueFd fd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
  // The process's mask does not count: whoever the container runs as writes it.
  if (!fd || ::fchmod(fd.get(), 0666) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot make the termination message file {}", path));
  }
  return absl::OkStatus();
}

std::string TerminationMessage(const PodConfigOptions& options, const std::string& uid,
                               const v1::Container& container, const ObservedContainer& exited,
                               const std::string& log) {
  std::string words;
  if (!container.termination_message_path().empty()) {
    bool cut = false;
    const std::string raw = Tail(TerminationFile(options, uid, container.name(), exited.attempt),
                                 kTerminationFileMost, &cut);
    words = LastBytes(raw, kTerminationFileMost, cut);
  }
  const bool wants_log = container.termination_message_policy() == "FallbackToLogsOnError" &&
                         exited.exit_code != 0 && exited.started_at > absl::UnixEpoch();
  if (words.empty() && wants_log) words = LastOfLog(log);
  if (words.empty() || exited.message.empty()) return words + exited.message;
  return fmt::format("{}: {}", exited.message, words);
}

size_t TerminationMessageMost(const v1::PodSpec& spec) {
  const int containers = spec.containers_size() + spec.init_containers_size();
  return kTerminationPodMost / static_cast<size_t>(std::max(1, containers));
}

}  // namespace mesh::agent
