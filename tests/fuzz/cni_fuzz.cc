// SPDX-License-Identifier: Apache-2.0
// What a container runtime gives to the plugin, on any bytes; results decode again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cni/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  mesh::cni::PeekVersion(text);
  mesh::cni::NetworkConfig config;
  std::string version;
  const auto error = mesh::cni::ParseNetworkConfig(text, &config, &version);
  if (error.has_value() && error->code != 2) return 0;
  const mesh::cni::Attachment attachment{
      "mesh0123456789",
      "02:00:00:00:00:01",
      "eth0",
      "02:00:00:00:00:02",
      "/proc/1/ns/net",
      {{"10.244.1.5/32", "10.244.1.1"}, {"fd00:10:244:1::5/128", "fd00:10:244:1::1"}},
      1450,
      {}};
  std::string result;
  if (!mesh::cni::BuildResult(config, attachment, &result) && result.empty()) std::abort();
  mesh::cni::CheckPrevResult(config, "eth0", "/proc/1/ns/net",
                             {"10.244.1.5/32", "fd00:10:244:1::5/128"});
  mesh::cni::LoopbackResult(config, "lo", "/proc/1/ns/net");
  return 0;
}
