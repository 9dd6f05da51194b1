// SPDX-License-Identifier: Apache-2.0
// Many first packets at once: clients and servers in the network namespaces of pods, all of them
// sockets of this process, so that a whole matrix of who reaches whom takes one wait.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mesh::testing {

struct Probe {
  std::string from;  // a place
  std::string address;
  int protocol = 6;
  int port = 0;
  bool reached = false;
  std::string datagram = "?";  // what is sent over UDP
};

class Prober {
 public:
  Prober();
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  // The network namespace of a process, under a name; "" for a process that is gone fails the test.
  void AddPlace(const std::string& name, const std::string& netns);
  // Answers there from now on, while Run() waits, at all addresses of both families.
  void Serve(const std::string& place, int protocol, int port);
  // Sends all of them a first packet (TCP: opens a connection) from a port of its own, and waits
  // until each was answered, or `wait` is over.
  void Run(std::vector<Probe>* probes, absl::Duration wait);

 private:
  int Socket(const std::string& place, int family, int protocol);
  void AnswerAll();

  int own_netns_;
  std::map<std::string, int> places_;
  struct Server {
    int fd, protocol;
  };
  std::vector<Server> servers_;
};

}  // namespace mesh::testing
