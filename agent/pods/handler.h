// SPDX-License-Identifier: Apache-2.0
// What probes and hooks do to a container: run a command in it, or ask it over the network.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "agent/cri/cri_client.h"
#include "agent/probes/probe_client.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// The container that is asked.
struct HandlerTarget {
  std::string container_id;
  std::string ip;      // of the pod
  v1::Container spec;  // for names of ports
};

struct HandlerAnswer {
  enum class Kind : uint8_t {
    kSuccess,
    kFailure,
    kUnknown,  // it could not be asked: says nothing of the container
  };
  Kind kind = Kind::kUnknown;
  std::string text;       // what came, for people
  bool warn = false;      // a success worth an event
  bool gone = false;      // unknown because the runtime is away or the container has ended
  bool answered = false;  // over HTTP, whatever the answer was
};

// A number, or the name of a port of the container; nullopt: it has none of that name.
std::optional<uint16_t> PortOf(const v1::IntOrString& port, const v1::Container& container);

// "GET http://10.244.1.7:8080/healthz", "exec [cat /tmp/healthy]", for people.
std::string Describe(const v1::Probe& probe, const HandlerTarget& target);

// Asks once. `done` is called once, on any thread, after `timeout` at the latest (a command: up to
// a second later). REQUIRES: the probe has one handler.
void Ask(CriClient* cri, ProbeClient* network, const v1::Probe& probe, const HandlerTarget& target,
         absl::Duration timeout, std::function<void(HandlerAnswer)> done);

}  // namespace mesh::agent
