// SPDX-License-Identifier: Apache-2.0
#include "cli/local/node.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::cli::local {

std::string NodeSpecToJson(const NodeSpec& spec) {
  nlohmann::ordered_json services = nlohmann::ordered_json::array();
  for (const ServiceSpec& service : spec.services) {
    services.push_back(
        {{"name", service.name}, {"argv", service.argv}, {"logFile", service.log_file}});
  }
  const nlohmann::ordered_json json = {
      {"name", spec.name},         {"netns", spec.netns},      {"cgroup", spec.cgroup},
      {"runDir", spec.run_dir},    {"logFile", spec.log_file}, {"shimDir", spec.shim_dir},
      {"address6", spec.address6}, {"services", services},
  };
  return json.dump(2) + "\n";
}

absl::StatusOr<NodeSpec> NodeSpecFromJson(const std::string& text) {
  NodeSpec spec;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    json.at("name").get_to(spec.name);
    json.at("netns").get_to(spec.netns);
    json.at("cgroup").get_to(spec.cgroup);
    json.at("runDir").get_to(spec.run_dir);
    json.at("logFile").get_to(spec.log_file);
    json.at("shimDir").get_to(spec.shim_dir);
    spec.address6 = json.value("address6", "");
    for (const nlohmann::json& service : json.at("services")) {
      spec.services.push_back({service.at("name").get<std::string>(),
                               service.at("argv").get<std::vector<std::string>>(),
                               service.at("logFile").get<std::string>()});
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("node description: {}", error.what()));
  }
  return spec;
}

std::string ServicePidFile(const std::string& run_dir, const std::string& service) {
  return fmt::format("{}/{}.pid", run_dir, service);
}

absl::Duration RestartDelay(int failures) {
  constexpr int kFirstMs = 50, kCapMs = 2000;
  int delay_ms = kFirstMs;
  for (int i = 1; i < failures && delay_ms < kCapMs; ++i) delay_ms *= 2;
  return absl::Milliseconds(std::min(delay_ms, kCapMs));
}

}  // namespace mesh::cli::local
