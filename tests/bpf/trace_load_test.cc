// SPDX-License-Identifier: Apache-2.0
// Goal: the running kernel's verifier takes the traced programs too (bpf/lib/trace.h), of every
// hook and both families, and runs them.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "dataplane/bpf/programs.h"
#include "dataplane/trace/kernel_tracer.h"
#include "mesh/shared/trace.h"

namespace mesh::dataplane {
namespace {

TEST(TraceLoad, EveryTracedProgramPassesTheVerifierAndRuns) {
  // Without a 0: the verifier does not look at what a configuration switches off.
  mesh_config config;
  std::memset(&config, 1, sizeof(config));
  config.net_ifindex = config.vxlan_ifindex = config.uplink_ifindex = 1;  // lo
  Programs::Options options;
  std::memset(&options.ipv6.emplace(), 1, sizeof(mesh_config6));
  const absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(config, options);
  ASSERT_TRUE(programs.ok()) << programs.status();
  const absl::StatusOr<std::shared_ptr<Tracer>> tracer = NewTracer(**programs);
  ASSERT_TRUE(tracer.ok()) << tracer.status();

  const std::string macs(12, '\0');
  const std::string ipv4 = macs + std::string("\x08\0\x45\0\0\x1c\0\0\0\0\x40\x11\0\0", 14) +
                           std::string("\x0a\0\0\1\x0a\0\0\2\0\1\0\2\0\x08\0\0", 16);
  const std::string ipv6 = macs + std::string("\x86\xdd\x60\0\0\0\0\x08\x11\x40", 10) +
                           std::string(15, '\0') + '\1' + std::string(15, '\0') + '\2' +
                           std::string("\0\1\0\2\0\x08\0\1", 8);
  using Hook = TracePacket::Hook;
  for (const Hook hook : {Hook::kFromPod, Hook::kNode, Hook::kOverlay, Hook::kUplink}) {
    for (const std::string& frame : {ipv4, ipv6}) {
      TracePacket packet{.hook = hook, .ifindex = 1, .frame = frame, .vni = 256};
      packet.peer = IpAddress::V4(0x01020304);
      const absl::StatusOr<TraceOutcome> outcome = (*tracer)->Trace(packet);
      ASSERT_TRUE(outcome.ok()) << static_cast<int>(hook) << " " << outcome.status();
      EXPECT_EQ(outcome->way.target, 0) << "nobody has these addresses";
      if (hook == Hook::kUplink) continue;  // not ours
      ASSERT_FALSE(outcome->notes.empty()) << static_cast<int>(hook);
      EXPECT_EQ(outcome->notes.back().step, static_cast<uint32_t>(MESH_TRACE_REASON));
    }
  }
  const absl::Status prepared = (*tracer)->Prepare();
  EXPECT_TRUE(prepared.ok()) << prepared;
  EXPECT_FALSE((*tracer)->Trace({.hook = Hook::kNode, .frame = "short"}).ok());
  EXPECT_FALSE((*tracer)->Trace({.hook = Hook::kFromPod, .ifindex = 99999, .frame = ipv4}).ok());
}

}  // namespace
}  // namespace mesh::dataplane
