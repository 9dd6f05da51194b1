// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <vector>

#include "dataplane/tables/service_tables.h"

namespace mesh::dataplane {

// In memory.
class FakeHostRoutes : public HostRoutes {
 public:
  absl::Status Add(const std::vector<IpAddress>& addresses) override {
    routes_.insert(addresses.begin(), addresses.end());
    return absl::OkStatus();
  }
  absl::Status Remove(const std::vector<IpAddress>& addresses) override {
    for (const IpAddress& address : addresses) routes_.erase(address);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<IpAddress>> List() const override {
    return std::vector<IpAddress>(routes_.begin(), routes_.end());
  }
  absl::Status AddPorts(const std::vector<Frontend>& ports) override {
    ports_.insert(ports.begin(), ports.end());
    return absl::OkStatus();
  }
  absl::Status RemovePorts(const std::vector<Frontend>& ports) override {
    for (const Frontend& port : ports) ports_.erase(port);
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<Frontend>> ListPorts() const override {
    return std::vector<Frontend>(ports_.begin(), ports_.end());
  }

 private:
  std::set<IpAddress> routes_;
  std::set<Frontend> ports_;
};

}  // namespace mesh::dataplane
