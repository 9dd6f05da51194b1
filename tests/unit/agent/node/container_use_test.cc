// SPDX-License-Identifier: Apache-2.0
// Goal: figures of control groups of both versions, wherever a runtime puts its groups. Method:
// folders of the test that look like them.
#include "agent/container_use.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace mesh::agent {
namespace {

class ContainerUseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-use-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path at = folder_ + "/" + path;
    std::filesystem::create_directories(at.parent_path());
    std::ofstream(at) << text;
  }

  std::string folder_;
};

TEST_F(ContainerUseTest, ReadsVersionTwo) {
  Write("cgroup.controllers", "cpu memory\n");
  const std::string group = "kubepods.slice/pod1.slice/cri-containerd-abc.scope/";
  Write(group + "cpu.stat", "usage_usec 2500\nuser_usec 2000\n");
  Write(group + "memory.current", "1000\n");
  Write(group + "memory.stat", "anon 5\ninactive_file 300\n");
  Write(group + "def/cpu.stat", "usage_usec 1\n");  // the container's own business
  Write("k8s.io/other/cpu.stat", "usage_usec 7\n");

  const auto use = ReadContainerUse(folder_, {"abc", "def", "gone"});

  ASSERT_EQ(use.size(), 1U);
  EXPECT_EQ(use.at("abc").cpu_ns, 2'500'000U);
  EXPECT_EQ(use.at("abc").memory_bytes, 700U);
}

TEST_F(ContainerUseTest, ReadsVersionOne) {
  Write("cpu,cpuacct/k8s.io/abc/cpuacct.usage", "1234\n");
  Write("memory/k8s.io/abc/memory.usage_in_bytes", "100\n");
  Write("memory/k8s.io/abc/memory.stat", "total_inactive_file 300\n");

  const auto use = ReadContainerUse(folder_, {"abc"});

  ASSERT_EQ(use.size(), 1U);
  EXPECT_EQ(use.at("abc").cpu_ns, 1234U);
  EXPECT_EQ(use.at("abc").memory_bytes, 0U);
}

TEST_F(ContainerUseTest, ReadsTheNode) {
  Write("stat", "cpu  100 0 50 1000 5 1 2 3 40 0\ncpu0 1 2\ncpu1 1 2\nintr 5\n");
  Write("meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n");

  const auto node = ReadNodeUse(folder_);

  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->cpus, 2U);
  EXPECT_EQ(node->cpu_ns, 156U * 10'000'000U);
  EXPECT_EQ(node->memory_bytes, 600U * 1024);
  EXPECT_EQ(node->memory_capacity_bytes, 1000U * 1024);
  EXPECT_TRUE(absl::IsNotFound(ReadNodeUse(folder_ + "/none").status()));
}

TEST_F(ContainerUseTest, CountsThousandthsUp) {
  EXPECT_EQ(CpuMilli(0, 500'000'000, absl::Seconds(1)), 500U);
  EXPECT_EQ(CpuMilli(10, 11, absl::Seconds(1)), 1U);
  EXPECT_EQ(CpuMilli(10, 10, absl::Seconds(1)), 0U);
  EXPECT_EQ(CpuMilli(10, 5, absl::Seconds(1)), 0U);
}

}  // namespace
}  // namespace mesh::agent
