// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/log_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent/pods/log_files.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace mesh::agent {
namespace {

constexpr size_t kBlockBytes = 64 * 1024;
constexpr size_t kChunkBytes = 60 * 1024;
// A raw line is at most 16 KiB of text and its head; anything longer is not a log.
constexpr size_t kLineBytesMax = 1 << 20;
// How often a follower looks whether its container or its client is gone.
constexpr int kFollowPollMs = 100;

struct Tail {
  off_t offset = 0;
  int64_t lines = 0;  // there are from it on
};

// Where the last `lines` lines begin, or the file when it has fewer.
absl::StatusOr<Tail> FindTail(int fd, int64_t lines) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, "stat log");
  if (lines <= 0) return Tail{.offset = info.st_size};
  off_t end = info.st_size;
  std::vector<char> block(kBlockBytes);
  int64_t seen = 0;
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(kBlockBytes));
    const ssize_t n = ::pread(fd, block.data(), static_cast<size_t>(end - begin), begin);
    if (n < 0) return ErrnoStatus(errno, "read log");
    for (ssize_t i = n - 1; i >= 0; --i) {
      // The end of the last line does not begin another.
      if (block[static_cast<size_t>(i)] != '\n' || begin + i == info.st_size - 1) continue;
      if (++seen == lines) return Tail{.offset = begin + i + 1, .lines = lines};
    }
    end = begin;
  }
  return Tail{.lines = info.st_size > 0 ? seen + 1 : 0};
}

// One of the files of a log, held open: its name may change.
struct OpenLog {
  UniqueFd fd;
  ino_t inode = 0;
};

absl::StatusOr<OpenLog> Open(const std::string& path) {
  OpenLog out;
  out.fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!out.fd && errno == ENOENT) return absl::NotFoundError(fmt::format("no log at {}", path));
  if (!out.fd) return ErrnoStatus(errno, fmt::format("open log {}", path));
  struct stat info {};
  if (::fstat(out.fd.get(), &info) != 0) return ErrnoStatus(errno, "stat log");
  out.inode = info.st_ino;
  return out;
}

// All that there is, oldest first, the one at `path` last. NOT_FOUND without it.
absl::StatusOr<std::vector<OpenLog>> OpenAll(const std::string& path) {
  std::vector<OpenLog> out;
  // The newest first: what is rotated meanwhile is then seen twice, not missed.
  ASSIGN_OR_RETURN(OpenLog newest, Open(path));
  for (const std::string& name : RotatedLogs(path)) {
    auto log = Open(name);
    if (absl::IsNotFound(log.status())) continue;  // pruned meanwhile
    RETURN_IF_ERROR(log.status());
    if (log->inode != newest.inode) out.push_back(*std::move(log));
  }
  out.push_back(std::move(newest));
  return out;
}

class Reader {
 public:
  Reader(const LogOptions& options, const LogHooks& hooks) : options_(options), hooks_(hooks) {}

  absl::Status Run(OpenLog log, const std::string& path) {
    UniqueFd notify;
    if (options_.follow) {
      notify.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
      if (!notify) return ErrnoStatus(errno, "inotify_init1");
      // Without it (the file was just rotated) the poll's timeout tells.
      ::inotify_add_watch(notify.get(), path.c_str(), IN_MODIFY);
    }
    while (!hooks_.cancelled()) {
      // Asked before reading: what was written before the end is read after it.
      const bool running = options_.follow && hooks_.running();
      ASSIGN_OR_RETURN(bool more, ReadToEnd(log.fd.get()));
      if (!more) return absl::OkStatus();
      ASSIGN_OR_RETURN(std::optional<OpenLog> next, Next(log, path, running));
      if (next) {
        // What came to the old file until the new one was begun.
        ASSIGN_OR_RETURN(more, ReadToEnd(log.fd.get()));
        if (!more) return absl::OkStatus();
        log = *std::move(next);
        if (options_.follow) ::inotify_add_watch(notify.get(), path.c_str(), IN_MODIFY);
        continue;
      }
      if (!running) return absl::OkStatus();
      pollfd wait{.fd = notify.get(), .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, kFollowPollMs) > 0) {
        char events[4096];
        [[maybe_unused]] ssize_t n = ::read(notify.get(), events, sizeof events);
      }
    }
    return absl::OkStatus();
  }

 private:
  // The file after `log`. The runtime writes to the old one until it has begun the new one: while
  // it runs, an empty new file is none.
  static absl::StatusOr<std::optional<OpenLog>> Next(const OpenLog& log, const std::string& path,
                                                     bool running) {
    struct stat now {};
    if (::stat(path.c_str(), &now) != 0 || now.st_ino == log.inode) return std::nullopt;
    if (running && now.st_size == 0) return std::nullopt;
    auto all = OpenAll(path);
    if (absl::IsNotFound(all.status())) return std::nullopt;
    RETURN_IF_ERROR(all.status());
    const auto at = std::find_if(all->begin(), all->end(),
                                 [&](const OpenLog& each) { return each.inode == log.inode; });
    // One that was pruned was the oldest.
    const auto after = at == all->end() ? all->begin() : at + 1;
    if (after == all->end()) return std::nullopt;
    return std::optional<OpenLog>(std::move(*after));
  }

  // False when the sink has had enough.
  absl::StatusOr<bool> ReadToEnd(int fd) {
    std::vector<char> block(kBlockBytes);
    while (true) {
      const ssize_t n = ::read(fd, block.data(), block.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, "read log");
      if (n == 0) return Flush();
      raw_.append(block.data(), static_cast<size_t>(n));
      size_t begin = 0;
      for (size_t end; (end = raw_.find('\n', begin)) != std::string::npos; begin = end + 1) {
        Line(std::string_view(raw_).substr(begin, end - begin));
        if (out_.size() >= kChunkBytes && !Flush()) return false;
      }
      raw_.erase(0, begin);
      if (raw_.size() > kLineBytesMax) raw_.clear();
    }
  }

  void Line(std::string_view raw) {
    const LogLine line = ParseLogLine(raw);
    if (options_.since != absl::InfinitePast() && !line.time.empty()) {
      absl::Time when;
      std::string error;
      if (absl::ParseTime(absl::RFC3339_full, std::string(line.time), &when, &error) &&
          when < options_.since) {
        return;
      }
    }
    if (options_.timestamps && !in_line_) {
      out_ += line.time;
      out_ += ' ';
    }
    out_ += line.text;
    if (!line.partial) out_ += '\n';
    in_line_ = line.partial;
  }

  bool Flush() {
    bool more = true;
    while (more && !out_.empty()) {
      const size_t count = std::min(out_.size(), kBlockBytes);
      more = hooks_.sink(out_.substr(0, count));
      out_.erase(0, count);
    }
    return more;
  }

  const LogOptions& options_;
  const LogHooks& hooks_;
  std::string raw_;  // the beginning of a line
  std::string out_;
  bool in_line_ = false;  // after a partial line
};

}  // namespace

LogLine ParseLogLine(std::string_view raw) {
  const size_t first = raw.find(' ');
  const size_t second = first == raw.npos ? raw.npos : raw.find(' ', first + 1);
  if (second == raw.npos) return LogLine{.time = {}, .text = raw};
  const std::string_view stream = raw.substr(first + 1, second - first - 1);
  if (stream != "stdout" && stream != "stderr") return LogLine{.time = {}, .text = raw};
  // Tags, separated by colons; the first one tells partial from full.
  const size_t third = raw.find(' ', second + 1);
  if (third == raw.npos) return LogLine{.time = raw.substr(0, first), .text = {}};
  return LogLine{.time = raw.substr(0, first),
                 .text = raw.substr(third + 1),
                 .partial = raw[second + 1] == 'P'};
}

absl::Status ReadLog(const std::string& path, const LogOptions& options, const LogHooks& hooks) {
  ASSIGN_OR_RETURN(std::vector<OpenLog> logs, OpenAll(path));
  size_t first = 0;
  if (options.tail_lines) {
    int64_t missing = *options.tail_lines;
    for (first = logs.size() - 1;; --first) {
      ASSIGN_OR_RETURN(const Tail tail, FindTail(logs[first].fd.get(), missing));
      missing -= tail.lines;
      if (::lseek(logs[first].fd.get(), tail.offset, SEEK_SET) < 0)
        return ErrnoStatus(errno, "seek in log");
      if (missing <= 0 || first == 0) break;
    }
  }
  return Reader(options, hooks).Run(std::move(logs[first]), path);
}

}  // namespace mesh::agent
