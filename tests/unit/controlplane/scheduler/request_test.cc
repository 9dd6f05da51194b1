// SPDX-License-Identifier: Apache-2.0
// What a pod asks for, of which not everything runs at one time.
#include "controlplane/scheduler/request.h"

#include <gtest/gtest.h>

#include <string>

namespace mesh::controlplane {
namespace {

v1::Container* Ask(v1::Container* container, const std::string& cpu, const std::string& memory) {
  auto& requests = *container->mutable_resources()->mutable_requests();
  requests["cpu"].set_text(cpu);
  requests["memory"].set_text(memory);
  return container;
}

TEST(RequestOf, IsTheSumOfTheContainersOrTheGreatestInitContainerBeforeThem) {
  v1::PodSpec spec;
  Ask(spec.add_containers(), "100m", "64Mi");
  Ask(spec.add_containers(), "200m", "64Mi");
  EXPECT_EQ(RequestOf(spec).cpu_milli, 300);

  Ask(spec.add_init_containers(), "1", "32Mi");
  EXPECT_EQ(RequestOf(spec).cpu_milli, 1000);
  EXPECT_EQ(RequestOf(spec).memory_bytes, 128 << 20);
}

TEST(RequestOf, CountsASidecarBesideAllThatComesAfterIt) {
  v1::PodSpec spec;
  Ask(spec.add_containers(), "300m", "64Mi");
  Ask(spec.add_init_containers(), "1", "1Mi");
  Ask(spec.add_init_containers(), "500m", "1Mi")->set_restart_policy("Always");
  EXPECT_EQ(RequestOf(spec).cpu_milli, 1000);
  EXPECT_EQ(RequestOf(spec).memory_bytes, 65 << 20);

  Ask(spec.add_init_containers(), "1", "1Mi");
  EXPECT_EQ(RequestOf(spec).cpu_milli, 1500);
}

}  // namespace
}  // namespace mesh::controlplane
