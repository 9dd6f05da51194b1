// SPDX-License-Identifier: Apache-2.0
// Network namespaces and sockets in them, for tests of the real kernel. Namespaces have no name and
// end with the test, whatever happens to it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/ip_address.h"
#include "common/unique_fd.h"

namespace mesh::testing {

// Moves the process into a mount namespace of its own, once, and mounts a bpffs on a new folder
// that is gone with the process. Call it before threads are started.
absl::StatusOr<std::string> PrivateBpffs();

class Netns {
 public:
  // Loopback is up.
  static absl::StatusOr<Netns> Make();

  int fd() const { return fd_.get(); }
  // To open it again, valid within this process.
  std::string path() const;

 private:
  UniqueFd fd_;
};

// Sockets with timeouts: a call that would wait longer than 5 s fails with DEADLINE_EXCEEDED.
class Socket {
 public:
  static absl::StatusOr<Socket> Tcp(const Netns& netns);
  static absl::StatusOr<Socket> Udp(const Netns& netns);

  absl::Status Bind(const IpAddress& ip, uint16_t port);
  absl::Status Listen();
  absl::Status Connect(const IpAddress& ip, uint16_t port, absl::Duration limit = absl::Seconds(5));
  absl::StatusOr<Socket> Accept(absl::Duration limit = absl::Seconds(5));
  absl::Status Send(const std::string& data);
  absl::StatusOr<std::string> Receive(absl::Duration limit = absl::Seconds(5));
  // UDP: receives one datagram and sends `answer` back to where it came from.
  absl::StatusOr<std::string> Answer(const std::string& answer,
                                     absl::Duration limit = absl::Seconds(5));
  // "address:port".
  std::string local() const;
  std::string peer() const;
  uint16_t local_port() const;
  // The next close() sends RST: no TIME_WAIT, so that the port can be used again at once.
  void ResetOnClose();
  void Close() { fd_.reset(); }

 private:
  absl::Status Wait(short events, absl::Duration limit) const;
  UniqueFd fd_;
};

}  // namespace mesh::testing
