// SPDX-License-Identifier: Apache-2.0
// One question to a container over the network: is it well? Probes and hooks ask it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace mesh::agent {

struct ProbeAnswer {
  bool ok = false;
  // What came, for people: "HTTP probe failed with statuscode: 503". Of a success only with `warn`.
  std::string text;
  // A success that people should know about: a redirect to another host was not followed.
  bool warn = false;
  // A failure that is the server's own answer over HTTP.
  bool answered = false;
};

struct HttpQuestion {
  std::string host;  // IP address
  uint16_t port = 0;
  bool tls = false;  // the certificate is not looked at
  std::string path;  // with the query; "/" is put before one that does not begin with it
  // As given; those of the same name replace the client's own, an empty value leaves it out.
  std::vector<std::pair<std::string, std::string>> headers;
};

// Every call returns at once and reports through `done` exactly once, within `timeout` and on a
// thread of the implementation's choice. Addresses are dialled as they are, from the network
// namespace of the caller's process.
class ProbeClient {
 public:
  using Done = std::function<void(ProbeAnswer)>;
  virtual ~ProbeClient() = default;

  // GET; 200 to 399 is a success. Redirects within the host are followed, ten at most.
  virtual void Http(const HttpQuestion& question, absl::Duration timeout, Done done) = 0;
  // A connection that is made is a success.
  virtual void Tcp(const std::string& host, uint16_t port, absl::Duration timeout, Done done) = 0;
  // grpc.health.v1, without encryption; SERVING is a success.
  virtual void Grpc(const std::string& host, uint16_t port, const std::string& service,
                    absl::Duration timeout, Done done) = 0;
};

}  // namespace mesh::agent
