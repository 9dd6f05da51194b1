// SPDX-License-Identifier: Apache-2.0
// The network configuration a runtime gives to a plugin on standard input, and the result object
// the plugin answers ADD with.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cni/protocol.h"

namespace mesh::cni {

struct Dns {
  std::vector<std::string> nameservers;
  std::string domain;
  std::vector<std::string> search;
  std::vector<std::string> options;
  bool empty() const {
    return nameservers.empty() && domain.empty() && search.empty() && options.empty();
  }
};

struct NetworkConfig {
  std::string version;  // a supported one
  std::string name;
  std::string type;
  std::string agent_socket;  // empty: kDefaultAgentSocket
  // From "runtimeConfig.dns" (capability "dns"), else from "dns"; empty: the agent's resolver.
  Dns dns;
  // "prevResult" as JSON text, for chaining and for CHECK.
  std::optional<std::string> prev_result;
  // "cni.dev/valid-attachments" of GC: (container id, interface name). Absent: nullopt.
  std::optional<std::vector<std::pair<std::string, std::string>>> valid_attachments;
};

// `version` gets what "cniVersion" says as soon as that is known, for the error object.
//   6  not JSON                     7  not an object; name, type or a known field malformed
//   1  version missing or unknown   2  a field that we would have to ignore silently
// Code 2 comes last: `out` is whole then, and DEL and GC, which must clean up whatever they are
// given, go on with it.
std::optional<Error> ParseNetworkConfig(std::string_view text, NetworkConfig* out,
                                        std::string* version);
// Only "cniVersion"; empty when there is none. For VERSION, which takes anything.
std::string PeekVersion(std::string_view text);

// What ADD made.
struct Attachment {
  std::string host_interface;
  std::string host_mac;
  std::string ifname;
  std::string mac;
  std::string netns;  // "sandbox"
  // One of each family at most, IPv4 first.
  struct Address {
    std::string address;  // "10.244.1.5/32"
    std::string gateway;
  };
  std::vector<Address> addresses;
  int mtu = 0;
  Dns dns;
};

// The result object in the shape of config.version. With a prevResult, that one with ours appended
// (indices shifted, its DNS kept). Code 7 for a prevResult that is no result object.
std::optional<Error> BuildResult(const NetworkConfig& config, const Attachment& attachment,
                                 std::string* out);

// CHECK: prevResult must show `ifname` in `netns` with each of `addresses`. Code 7 without
// prevResult, 101 when it differs.
std::optional<Error> CheckPrevResult(const NetworkConfig& config, std::string_view ifname,
                                     std::string_view netns,
                                     const std::vector<std::string>& addresses);

// The result of our `loopback` plugin: prevResult as it is, or lo with 127.0.0.1/8.
std::string LoopbackResult(const NetworkConfig& config, std::string_view ifname,
                           std::string_view netns);

}  // namespace mesh::cni
