// SPDX-License-Identifier: Apache-2.0
#include "cli/local/containerd_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mesh::cli::local {
namespace {

using ::testing::HasSubstr;

TEST(ContainerdConfig, PutsEverythingIntoTheNodesFolders) {
  const std::string config = ContainerdConfig({.root = "/d/root",
                                               .state = "/d/state",
                                               .socket = "/d/c.sock",
                                               .cni_bin_dir = "/d/bin",
                                               .cni_conf_dir = "/d/conf",
                                               .registries_dir = "/d/registries",
                                               .sandbox_image = "localhost/pause:1",
                                               .runtime = "crun"});

  EXPECT_THAT(config, HasSubstr("root = \"/d/root\""));
  EXPECT_THAT(config, HasSubstr("state = \"/d/state\""));
  EXPECT_THAT(config, HasSubstr("address = \"/d/c.sock\""));
  EXPECT_THAT(config, HasSubstr("bin_dir = \"/d/bin\""));
  EXPECT_THAT(config, HasSubstr("conf_dir = \"/d/conf\""));
  EXPECT_THAT(config, HasSubstr("config_path = \"/d/registries\""));
  EXPECT_THAT(config, HasSubstr("sandbox_image = \"localhost/pause:1\""));
  EXPECT_THAT(config, HasSubstr("default_runtime_name = \"crun\""));
  EXPECT_THAT(config, HasSubstr("netns_mounts_under_state_dir = true"));
}

TEST(ContainerdConfig, NeverLowersTheOomScore) {
  EXPECT_THAT(ContainerdConfig({}), HasSubstr("restrict_oom_score_adj = true"));
}

}  // namespace
}  // namespace mesh::cli::local
