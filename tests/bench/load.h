// SPDX-License-Identifier: Apache-2.0
// Load between two network namespaces: a server that answers each byte or datagram, and a client
// that either keeps one connection (request/response), makes one per request
// (connect/request/response) or sends as much as it can (stream). Both are processes of their own
// on one core, so that wake-ups between cores do not hide the path.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace mesh::bench {

enum class LoadKind : uint8_t {
  kRequestResponse,
  kConnectRequestResponse,
  kDatagram,  // request/response over UDP
  kStream,    // to a sink
};

struct LoadResult {
  double operations_per_second = 0;
  double gigabits_per_second = 0;  // kStream, as the receiver has read them
  double p50_us = 0;
  double p99_us = 0;
  int64_t operations = 0;
  double processor_seconds = 0;  // of the client; what the kernel does for both is where it falls
  int64_t errors = 0;
};

// Ends with this object.
class EchoServer {
 public:
  // Answers on TCP and UDP `port` and takes streams on `port` + 1, all addresses, inside the
  // namespace at path `netns`, pinned to `cpu`.
  static absl::StatusOr<EchoServer> Start(const std::string& netns, uint16_t port, int cpu);
  EchoServer(EchoServer&& other) noexcept;
  EchoServer& operator=(EchoServer&&) = delete;
  ~EchoServer();

  // Processor time that it has taken until now.
  double processor_seconds() const;

 private:
  explicit EchoServer(pid_t pid) : pid_(pid) {}
  pid_t pid_;
};

// A sink answers the end of a stream with the number of bytes it has read.
//
// Loads `address`:`port` from inside `netns` for `seconds`. UNAVAILABLE when no request succeeded.
absl::StatusOr<LoadResult> RunLoad(const std::string& netns, const std::string& address,
                                   uint16_t port, LoadKind kind, double seconds, int cpu);

}  // namespace mesh::bench
