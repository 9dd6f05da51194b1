// SPDX-License-Identifier: Apache-2.0
// Goal: our programs stand at the ingress of an interface in their order, among those of others,
// and take the place of what a build before has put there, on kernels with and without tcx. Method:
// programs of two instructions, and a veth in a network namespace of this process.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sched.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/tc.h"
#include "dataplane/net/tcx.h"

#define ASSERT_STATUS(expr)                                      \
  do {                                                           \
    const absl::Status status_ = (expr);                         \
    ASSERT_TRUE(status_.ok()) << std::string(status_.message()); \
  } while (false)

namespace mesh::dataplane {
namespace {

using ::testing::ElementsAre;

// Leaves packets to what is behind it.
UniqueFd Program(const std::string& name) {
  const bpf_insn instructions[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K,
       .dst_reg = BPF_REG_0,
       .src_reg = 0,
       .off = 0,
       .imm = -1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  UniqueFd out(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name.c_str(), "GPL", instructions, 2, nullptr));
  EXPECT_TRUE(out) << std::strerror(errno);
  return out;
}

uint32_t IdOf(const UniqueFd& program) {
  const absl::StatusOr<uint32_t> id = ProgramId(program.get());
  return id.ok() ? *id : 0;
}

class Ingress : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "needs root: " << std::strerror(errno);
    auto netlink = Netlink::Open();
    ASSERT_STATUS(netlink.status());
    ASSERT_STATUS(
        netlink->AddVeth({"one", {2, 0, 0, 0, 0, 1}, -1}, {"two", {2, 0, 0, 0, 0, 2}, -1}, 1500));
    const auto link = netlink->Link("one");
    ASSERT_STATUS(link.status());
    ifindex_ = link->ifindex;
    has_tcx_ = !absl::IsUnimplemented(TcxPrograms(ifindex_).status());
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> out;
    const auto programs = TcxPrograms(ifindex_);
    if (!programs.ok()) return {std::string(programs.status().message())};
    for (const TcxProgram& program : *programs) out.push_back(program.name);
    return out;
  }

  bool IsInClsact(uint32_t priority) const {
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = ifindex_;
    hook.attach_point = BPF_TC_INGRESS;
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = 1;
    options.priority = priority;
    return bpf_tc_query(&hook, &options) == 0;
  }

  // As a build before tcx did.
  void PutIntoClsact(const UniqueFd& program, uint32_t priority) const {
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = ifindex_;
    hook.attach_point = BPF_TC_INGRESS;
    const int created = bpf_tc_hook_create(&hook);
    ASSERT_TRUE(created == 0 || created == -EEXIST) << std::strerror(-created);
    bpf_tc_opts options{};
    options.sz = sizeof(options);
    options.handle = 1;
    options.priority = priority;
    options.prog_fd = program.get();
    ASSERT_EQ(bpf_tc_attach(&hook, &options), 0);
  }

  int ifindex_ = 0;
  bool has_tcx_ = false;
};

TEST_F(Ingress, HasAPlaceForEachFamily) {
  const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");

  ASSERT_STATUS(AttachIngress(ifindex_, six.get(), kPriority6));
  ASSERT_STATUS(AttachIngress(ifindex_, four.get(), kPriority4));

  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(four));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(six));
  EXPECT_EQ(*IngressProgramName(ifindex_, kPriority6), "mesh_from_pod6");
  EXPECT_EQ(IsInClsact(kPriority4), !has_tcx_);
  EXPECT_EQ(IsInClsact(kPriority6), !has_tcx_);
}

TEST_F(Ingress, GivesAProgramThePlaceOfTheOneBefore) {
  const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");
  const UniqueFd turn = Program("mesh_turn_pod"), turn6 = Program("mesh_turn6_pod");
  ASSERT_STATUS(AttachIngress(ifindex_, six.get(), kPriority6));
  ASSERT_STATUS(AttachIngress(ifindex_, four.get(), kPriority4));

  ASSERT_STATUS(AttachIngress(ifindex_, turn.get(), kPriority4));
  ASSERT_STATUS(AttachIngress(ifindex_, turn6.get(), kPriority6));
  ASSERT_STATUS(AttachIngress(ifindex_, turn6.get(), kPriority6));  // it is there already

  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(turn));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(turn6));
  if (has_tcx_) {
    EXPECT_THAT(Names(), ElementsAre("mesh_turn_pod", "mesh_turn6_pod"));
  }
}

TEST_F(Ingress, PutsIpv6BehindIpv4ThatWasThereAlone) {
  const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");
  ASSERT_STATUS(AttachIngress(ifindex_, four.get(), kPriority4));

  ASSERT_STATUS(AttachIngress(ifindex_, six.get(), kPriority6));

  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(six));
  if (has_tcx_) {
    EXPECT_THAT(Names(), ElementsAre("mesh_from_pod", "mesh_from_pod6"));
  }
}

TEST_F(Ingress, TakesOffOnlyWhatIsAsked) {
  const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");
  ASSERT_STATUS(AttachIngress(ifindex_, six.get(), kPriority6));
  ASSERT_STATUS(AttachIngress(ifindex_, four.get(), kPriority4));

  ASSERT_STATUS(DetachIngress(ifindex_, kPriority6));
  ASSERT_STATUS(DetachIngress(ifindex_, kPriority6));  // it is gone already

  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(four));
  EXPECT_TRUE(absl::IsNotFound(IngressProgramId(ifindex_, kPriority6).status()));
}

TEST_F(Ingress, LeavesThoseOfOthersAlone) {
  const UniqueFd other = Program("watcher"), four = Program("mesh_uplink");
  PutIntoClsact(other, kPriority4);

  ASSERT_EQ(*IngressProgramName(ifindex_, kPriority4), "watcher") << "AttachUplink() refuses it";
  ASSERT_STATUS(DetachIngress(ifindex_, kPriority4));

  EXPECT_TRUE(IsInClsact(kPriority4));
  if (!has_tcx_) return;
  const UniqueFd guard = Program("guard");
  ASSERT_STATUS(TcxAttach(ifindex_, guard.get(), {}));
  ASSERT_STATUS(AttachIngress(ifindex_, four.get(), kPriority4));
  EXPECT_THAT(Names(), ElementsAre("mesh_uplink", "guard"));
  EXPECT_TRUE(IsInClsact(kPriority4));
  ASSERT_STATUS(DetachIngress(ifindex_, kPriority4));
  EXPECT_THAT(Names(), ElementsAre("guard"));
  EXPECT_TRUE(IsInClsact(kPriority4));
}

TEST_F(Ingress, FindsWhatABuildBeforeHasPutThere) {
  const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");
  PutIntoClsact(four, kPriority4);
  PutIntoClsact(six, kPriority6);

  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(four));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(six));

  const UniqueFd next = Program("mesh_from_pod"), next6 = Program("mesh_from_pod6");
  // IPv6's never comes to stand before the other, which leaves packets to it.
  ASSERT_STATUS(AttachIngress(ifindex_, next6.get(), kPriority6));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(next6));
  EXPECT_TRUE(IsInClsact(kPriority6));
  ASSERT_STATUS(AttachIngress(ifindex_, next.get(), kPriority4));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(next));
  EXPECT_EQ(IsInClsact(kPriority4), !has_tcx_);

  ASSERT_STATUS(AttachIngress(ifindex_, six.get(), kPriority6));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(six));
  EXPECT_EQ(IsInClsact(kPriority6), !has_tcx_);
  if (has_tcx_) {
    EXPECT_THAT(Names(), ElementsAre("mesh_from_pod", "mesh_from_pod6"));
  }
}

TEST_F(Ingress, ANewLinkGetsThemAtOnceAndTheyMoveLater) {
  const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");

  ASSERT_STATUS(AttachToNewLink(ifindex_, four.get(), six.get()));

  EXPECT_TRUE(IsInClsact(kPriority4) && IsInClsact(kPriority6));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(four));
  EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(six));
  if (!has_tcx_) {
    EXPECT_TRUE(absl::IsUnimplemented(MoveToTcx(ifindex_, four.get(), six.get())));
    EXPECT_TRUE(IsInClsact(kPriority4) && IsInClsact(kPriority6));
    return;
  }
  EXPECT_THAT(Names(), ElementsAre());
  for (int again = 0; again < 2; ++again) {
    ASSERT_STATUS(MoveToTcx(ifindex_, four.get(), six.get()));
    EXPECT_THAT(Names(), ElementsAre("mesh_from_pod", "mesh_from_pod6"));
    EXPECT_FALSE(IsInClsact(kPriority4) || IsInClsact(kPriority6));
  }
}

TEST_F(Ingress, AMoveEndsWithWhoeverComesAfterIt) {
  if (!has_tcx_) GTEST_SKIP() << "this kernel has no tcx";
  // All that an agent can leave that dies in the middle: what stands in the list and in the clsact.
  const struct {
    bool list4, list6, filter4, filter6;
  } left[] = {{false, false, true, true},
              {true, false, true, true},
              {true, false, false, true},
              {true, true, false, true},
              {true, true, false, false}};
  for (size_t i = 0; i < std::size(left); ++i) {
    for (const bool by_next_agent : {false, true}) {
      SCOPED_TRACE(testing::Message() << "state " << i << ", by an agent " << by_next_agent);
      const UniqueFd four = Program("mesh_from_pod"), six = Program("mesh_from_pod6");
      ASSERT_STATUS(DetachIngress(ifindex_, kPriority6));
      ASSERT_STATUS(DetachIngress(ifindex_, kPriority4));
      if (left[i].filter4) PutIntoClsact(four, kPriority4);
      if (left[i].filter6) PutIntoClsact(six, kPriority6);
      if (left[i].list4) ASSERT_STATUS(TcxAttach(ifindex_, four.get(), {}));
      if (left[i].list6) ASSERT_STATUS(TcxAttach(ifindex_, six.get(), {.behind = IdOf(four)}));
      EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(four));
      EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(six));

      const UniqueFd next = Program("mesh_from_pod"), next6 = Program("mesh_from_pod6");
      ASSERT_STATUS(by_next_agent ? AttachBothFamilies(ifindex_, next.get(), next6.get())
                                  : MoveToTcx(ifindex_, next.get(), next6.get()));

      EXPECT_THAT(Names(), ElementsAre("mesh_from_pod", "mesh_from_pod6"));
      EXPECT_EQ(*IngressProgramId(ifindex_, kPriority4), IdOf(next));
      EXPECT_EQ(*IngressProgramId(ifindex_, kPriority6), IdOf(next6));
      EXPECT_FALSE(IsInClsact(kPriority4) || IsInClsact(kPriority6));
    }
  }
}

}  // namespace
}  // namespace mesh::dataplane
