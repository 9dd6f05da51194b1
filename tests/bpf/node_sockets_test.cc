// SPDX-License-Identifier: Apache-2.0
// Goal: the running kernel takes the programs at sockets, a second agent finds those of the first,
// and nothing of them stays. Method: a network namespace of the test, whose sockets alone they act
// for. What they do is in live_own_test.cc.
#include "dataplane/net/node_sockets.h"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "common/unique_fd.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/net/netns.h"
#include "mesh/shared/service_map.h"
#include "tests/support/network/network.h"

namespace mesh::dataplane {
namespace {

std::set<std::string> Names(const std::string& folder) {
  std::set<std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    out.insert(entry.path().filename());
  }
  return out;
}

// Sockets of IPv6 may dial addresses of IPv4.
const std::set<std::string> kOfIpv4 = {"mesh_connect4",  "mesh_connect46", "mesh_dialled",
                                       "mesh_getpeer4",  "mesh_getpeer46", "mesh_recvmsg4",
                                       "mesh_recvmsg46", "mesh_sendmsg4"};

UniqueFd Services(const char* name, uint32_t key_bytes) {
  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.map_flags = BPF_F_NO_PREALLOC;
  return UniqueFd(bpf_map_create(BPF_MAP_TYPE_HASH, name, key_bytes, sizeof(mesh_service_value),
                                 MESH_SERVICE_MAX_ENTRIES, &options));
}

uint32_t ProgramOf(const std::string& link_path) {
  const UniqueFd link(bpf_obj_get(link_path.c_str()));
  bpf_link_info info{};
  uint32_t length = sizeof(info);
  EXPECT_EQ(bpf_obj_get_info_by_fd(link.get(), &info, &length), 0);
  return info.prog_id;
}

TEST(NodeSockets, AreExchangedInPlaceAndLeaveNothing) {
  const absl::StatusOr<std::string> root = mesh::testing::PrivateBpffs();
  ASSERT_TRUE(root.ok()) << root.status();
  const absl::StatusOr<mesh::testing::Netns> netns = mesh::testing::Netns::Make();
  ASSERT_TRUE(netns.ok()) << netns.status();
  const UniqueFd services = Services(MESH_SERVICE_MAP_NAME, sizeof(mesh_service_key));
  const UniqueFd services6 = Services(MESH_SERVICE6_MAP_NAME, sizeof(mesh_service6_key));
  ASSERT_TRUE(services && services6);
  const std::string folder = *root + "/sockets";
  NodeSockets sockets = {.service_map = services.get(), .pin_dir = folder};
  const auto attach = [&] {
    return InNetns(netns->fd(), [&] { return AttachNodeSockets(sockets); });
  };

  absl::Status status = attach();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Names(folder), kOfIpv4);
  const uint32_t first = ProgramOf(folder + "/mesh_connect4");

  status = attach();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_NE(ProgramOf(folder + "/mesh_connect4"), first);

  // The node gets IPv6, and loses it.
  sockets.config6 = mesh_config6{};
  sockets.service_map6 = services6.get();
  status = attach();
  ASSERT_TRUE(status.ok()) << status;
  std::set<std::string> both = kOfIpv4;
  both.insert(
      {"mesh_connect6", "mesh_dialled6", "mesh_getpeer6", "mesh_recvmsg6", "mesh_sendmsg6"});
  EXPECT_EQ(Names(folder), both);
  sockets.config6.reset();
  status = attach();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Names(folder), kOfIpv4);

  for (int i = 0; i < 2; ++i) EXPECT_TRUE(DetachNodeSockets(folder).ok());
  EXPECT_EQ(Names(folder), std::set<std::string>());
}

}  // namespace
}  // namespace mesh::dataplane
