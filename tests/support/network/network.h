// SPDX-License-Identifier: Apache-2.0
// Network namespaces and sockets in them, for tests of the real kernel. Namespaces have no name and
// end with the test, whatever happens to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/ip_address.h"
#include "common/unique_fd.h"
#include "dataplane/model/state.h"

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

// A socket of IPv6 takes addresses of IPv4, too, and names them as such: they are mapped.
//
// Sockets with timeouts: a call that would wait longer than 5 s fails with DEADLINE_EXCEEDED.
class Socket {
 public:
  using Family = dataplane::Family;
  static absl::StatusOr<Socket> Tcp(const Netns& netns, Family family = Family::kV4);
  static absl::StatusOr<Socket> Udp(const Netns& netns, Family family = Family::kV4);
  // IP packets of `protocol` that are neither.
  static absl::StatusOr<Socket> Raw(const Netns& netns, int protocol, Family family = Family::kV4);

  absl::Status Bind(const IpAddress& ip, uint16_t port);
  absl::Status Listen();
  absl::Status Connect(const IpAddress& ip, uint16_t port, absl::Duration limit = absl::Seconds(5));
  absl::StatusOr<Socket> Accept(absl::Duration limit = absl::Seconds(5));
  absl::Status Send(const std::string& data);
  // `from`: filled with the sender's "address:port", as recvmsg() names it.
  absl::StatusOr<std::string> Receive(absl::Duration limit = absl::Seconds(5),
                                      std::string* from = nullptr);
  // UDP that is not connected.
  absl::Status SendTo(const IpAddress& ip, uint16_t port, const std::string& data);
  // UDP: receives one datagram and sends `answer` back to where it came from.
  absl::StatusOr<std::string> Answer(const std::string& answer,
                                     absl::Duration limit = absl::Seconds(5));

  // Of the packets that it sends from now on.
  absl::Status SetTtl(int hops);
  // Packets are not cut, here nor on the way: what is too long is refused.
  absl::Status ForbidFragments();
  // REQUIRES: connected. As far as is known by now.
  absl::StatusOr<int> PathMtu() const;
  // An ICMP error about something that was sent.
  struct IcmpError {
    std::string from;
    uint8_t type = 0, code = 0;
    uint32_t info = 0;  // the MTU, if that is what it tells
    friend bool operator==(const IcmpError&, const IcmpError&) = default;
  };
  // Receives them, instead of one errno for all. Before the first packet is sent.
  absl::Status WantErrors();
  absl::StatusOr<IcmpError> ReceiveError(absl::Duration limit = absl::Seconds(5));

  // "address:port", "[address]:port".
  std::string local() const;
  std::string peer() const;
  uint16_t local_port() const;
  // The next close() sends RST: no TIME_WAIT, so that the port can be used again at once.
  void ResetOnClose();
  void Close() { fd_.reset(); }

 private:
  absl::Status Wait(short events, absl::Duration limit) const;
  bool is_ipv6() const;
  // One of IP or of IPv6, by the socket's family.
  absl::Status SetOption(int of_ipv4, int of_ipv6, int value, const std::string& what);
  UniqueFd fd_;
};

}  // namespace mesh::testing
