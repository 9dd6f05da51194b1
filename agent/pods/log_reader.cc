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

// Offset at which the last `lines` lines begin.
absl::StatusOr<off_t> TailOffset(int fd, int64_t lines) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, "stat log");
  if (lines <= 0) return info.st_size;
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
      if (++seen == lines) return begin + i + 1;
    }
    end = begin;
  }
  return 0;
}

class Reader {
 public:
  Reader(const LogOptions& options, const LogHooks& hooks) : options_(options), hooks_(hooks) {}

  absl::Status Run(int fd, const std::string& path) {
    UniqueFd notify;
    if (options_.follow) {
      notify.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
      if (!notify) return ErrnoStatus(errno, "inotify_init1");
      if (::inotify_add_watch(notify.get(), path.c_str(), IN_MODIFY) < 0) {
        return ErrnoStatus(errno, fmt::format("watch {}", path));
      }
    }
    while (!hooks_.cancelled()) {
      // Asked before reading: what was written before the end is read after it.
      const bool running = options_.follow && hooks_.running();
      absl::StatusOr<bool> more = ReadToEnd(fd);
      if (!more.ok()) return more.status();
      if (!*more || !running) return absl::OkStatus();
      pollfd wait{.fd = notify.get(), .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, kFollowPollMs) > 0) {
        char events[4096];
        [[maybe_unused]] ssize_t n = ::read(notify.get(), events, sizeof events);
      }
    }
    return absl::OkStatus();
  }

 private:
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
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return absl::NotFoundError(fmt::format("no log at {}", path));
  if (!fd) return ErrnoStatus(errno, fmt::format("open log {}", path));
  if (options.tail_lines) {
    ASSIGN_OR_RETURN(const off_t offset, TailOffset(fd.get(), *options.tail_lines));
    if (::lseek(fd.get(), offset, SEEK_SET) < 0) return ErrnoStatus(errno, "seek in log");
  }
  return Reader(options, hooks).Run(fd.get(), path);
}

}  // namespace mesh::agent
