// SPDX-License-Identifier: Apache-2.0
// A command in a container, over the streaming URL that CRI Exec returns.
//
// The runtime's streaming server speaks SPDY/3.1 and WebSocket. SPDY is used here because it alone
// can close standard input while output goes on (`exec -i pod -- tar x < file`), and it needs no
// library: a handful of frame types and no flow control on the server's side.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"

namespace mesh::agent {

// What comes out. Exactly one of the fields is meaningful.
struct ExecEvent {
  enum class Kind : uint8_t { kStdout, kStderr, kExit };
  Kind kind = Kind::kStdout;
  std::string data;
  int exit_code = 0;
};

class ExecStream {
 public:
  struct Options {
    bool tty = false;  // standard error is part of standard output then
    bool stdin = false;
    absl::Duration timeout = absl::Seconds(10);  // of the handshake
  };

  // `url`: http://host:port/path with a numeric host. Blocks for the handshake.
  static absl::StatusOr<std::unique_ptr<ExecStream>> Open(const std::string& url, Options options);
  ~ExecStream() = default;

  // One thread reads. Blocks for the next output; the last event is kExit. The status of a command
  // that could not be started carries the runtime's message.
  absl::StatusOr<ExecEvent> Read();

  // Thread-safe, may block while the command does not read.
  absl::Status WriteStdin(std::string_view data);
  absl::Status CloseStdin();
  absl::Status Resize(uint32_t rows, uint32_t columns);
  // Thread-safe: makes all blocked calls return.
  void Abort();

 private:
  struct Frame {
    bool control = false;
    uint16_t type = 0;       // of a control frame
    uint32_t stream_id = 0;  // of a data frame
    uint8_t flags = 0;
    std::string payload;
  };

  ExecStream(UniqueFd fd, Options options) : fd_(std::move(fd)), options_(options) {}
  absl::Status Handshake(const std::string& host, const std::string& path);
  absl::Status OpenStream(uint32_t id, const std::string& type);
  absl::Status SendData(uint32_t stream_id, std::string_view data, bool last);
  absl::Status SendAll(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(send_mutex_);
  absl::Status ReceiveAll(char* out, size_t count);
  absl::StatusOr<Frame> ReceiveFrame();

  const UniqueFd fd_;
  const Options options_;
  absl::Mutex send_mutex_;  // keeps frames whole
  bool header_stream_begun_ = false;
  std::string verdict_;  // what came on the error stream
};

// Exit code from the JSON document that ends a command. INTERNAL with the runtime's message when
// the command did not run; nullopt when the document is not complete.
std::optional<absl::StatusOr<int>> ParseExecVerdict(const std::string& json);

}  // namespace mesh::agent
