// SPDX-License-Identifier: Apache-2.0
// Containers that answer as a test says, after `latency` of the loop's time.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "agent/probes/probe_client.h"
#include "common/event_loop.h"

namespace mesh::agent {

class FakeProbeClient : public ProbeClient {
 public:
  explicit FakeProbeClient(EventLoop* loop) : loop_(loop) {}

  absl::Duration latency = absl::Milliseconds(1);
  // What every question gets; a test changes it as it goes.
  ProbeAnswer answer{.ok = true};
  std::vector<std::string> asked;  // "GET 10.0.0.7:8080/healthz", "TCP 10.0.0.7:6379", ...

  void Http(const HttpQuestion& question, absl::Duration, Done done) override {
    Answer(fmt::format("GET {}:{}{}", question.host, question.port, question.path),
           std::move(done));
  }
  void Tcp(const std::string& host, uint16_t port, absl::Duration, Done done) override {
    Answer(fmt::format("TCP {}:{}", host, port), std::move(done));
  }
  void Grpc(const std::string& host, uint16_t port, const std::string& service, absl::Duration,
            Done done) override {
    Answer(fmt::format("gRPC {}:{} {}", host, port, service), std::move(done));
  }

 private:
  void Answer(std::string question, Done done) {
    asked.push_back(std::move(question));
    loop_->RunAfter(latency, [this, done = std::move(done)] { done(answer); });
  }

  EventLoop* const loop_;
};

}  // namespace mesh::agent
