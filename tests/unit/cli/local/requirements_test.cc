// SPDX-License-Identifier: Apache-2.0
#include "cli/local/requirements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mesh::cli::local {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

MachineFacts GoodMachine() {
  return {.root = true,
          .capabilities = ~uint64_t{0},
          .kernel_release = "6.1.0-18-amd64",
          .filesystems = "nodev\tbpf\nnodev\ttmpfs\n\text4\n",
          .containerd = true,
          .ctr = true,
          .shim = true,
          .ip = true,
          .runtime = true,
          .missing_files = {}};
}

TEST(MissingRequirements, FindsNothingOnAGoodMachine) {
  EXPECT_THAT(MissingRequirements(GoodMachine()), IsEmpty());
}

TEST(MissingRequirements, AsksForRootBeforeAllElse) {
  EXPECT_THAT(MissingRequirements({}), ElementsAre(HasSubstr("root")));
}

TEST(MissingRequirements, NamesEachMissingThing) {
  MachineFacts facts = GoodMachine();
  facts.kernel_release = "5.10.0-28-amd64";
  facts.containerd = false;
  facts.missing_files = {"/x/bin/meshd"};

  EXPECT_THAT(MissingRequirements(facts),
              ElementsAre(HasSubstr("5.10.0-28-amd64 is older than 6.1"), HasSubstr("containerd"),
                          HasSubstr("/x/bin/meshd")));
}

TEST(MissingRequirements, NamesAMissingCapability) {
  MachineFacts facts = GoodMachine();
  facts.capabilities &= ~(uint64_t{1} << 39);

  EXPECT_THAT(MissingRequirements(facts), ElementsAre(HasSubstr("CAP_BPF")));
}

TEST(MissingRequirements, TakesNewerKernels) {
  for (const char* release : {"6.1", "6.18.44-x", "7.0.0", "10.2"}) {
    MachineFacts facts = GoodMachine();
    facts.kernel_release = release;
    EXPECT_THAT(MissingRequirements(facts), IsEmpty()) << release;
  }
}

}  // namespace
}  // namespace mesh::cli::local
