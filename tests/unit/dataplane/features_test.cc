// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>

namespace mesh::dataplane {
namespace {

using ::testing::HasSubstr;

Environment Good() { return {6, 1, 1ULL << CAP_BPF | 1ULL << CAP_NET_ADMIN, true}; }

std::string Complaint(const Environment& environment) {
  const absl::Status status = CheckEnvironment(environment, "/sys/fs/bpf");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  return std::string(status.message());
}

TEST(CheckEnvironment, AcceptsTheOldestKernelWithTheLeastPrivileges) {
  EXPECT_TRUE(CheckEnvironment(Good(), "/sys/fs/bpf").ok());
}

TEST(CheckEnvironment, NamesAKernelThatIsTooOld) {
  Environment environment = Good();
  environment.kernel_major = 5;
  environment.kernel_minor = 15;
  EXPECT_THAT(Complaint(environment), HasSubstr("kernel 5.15"));
}

TEST(CheckEnvironment, NamesTheMissingPrivilege) {
  Environment environment = Good();
  environment.capabilities = 1ULL << CAP_NET_ADMIN;
  EXPECT_THAT(Complaint(environment), HasSubstr("CAP_BPF"));
  environment.capabilities = 1ULL << CAP_BPF;
  EXPECT_THAT(Complaint(environment), HasSubstr("CAP_NET_ADMIN"));
}

TEST(CheckEnvironment, TellsHowToMountTheMissingFilesystem) {
  Environment environment = Good();
  environment.bpffs = false;
  EXPECT_THAT(Complaint(environment), HasSubstr("mount -t bpf bpf /sys/fs/bpf"));
}

}  // namespace
}  // namespace mesh::dataplane
