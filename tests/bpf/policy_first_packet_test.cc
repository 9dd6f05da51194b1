// SPDX-License-Identifier: Apache-2.0
// Goal: the first packet of a new pod, and the first one to it, is judged by what the policies say,
// whatever the node hears first; until it has heard all it opens nothing. Method: pods come and go
// in the world of policy_world.h: meshd's view, the agent's state and translation and the tables
// are the real ones, and so are the programs (BPF_PROG_TEST_RUN). The pod's interface and the other
// node are simulated: packets of the latter come with the identity that it would have sent. Each
// packet is also traced, before it is sent.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/check.h"
#include "common/random.h"
#include "dataplane/bpf/prog_run.h"
#include "fmt/format.h"
#include "tests/bpf/policy_world.h"
#include "tests/support/packet/family.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Encode;
using mesh::testing::FrameToIpv6;
using mesh::testing::kSyn;
using mesh::testing::ModelPod;
using mesh::testing::Tcp;

constexpr uint8_t kTcp = 6, kUdp = 17;
constexpr int kFirstPackets = 10'000;

class FirstPackets : public PolicyWorld {
 protected:
  void SetUp() override {
    PolicyWorld::SetUp();
    PutPolicy("shop", "servers", R"(
      pod_selector { match_labels { key: "role" value: "server" } }
      ingress { from { pod_selector { match_labels { key: "app" value: "client" } } }
                ports { port { int_value: 8080 } } }
      ingress { from { namespace_selector { match_labels { key: "team" value: "bank" } }
                       pod_selector { match_labels { key: "role" value: "auditor" } } } })");
    PutPolicy("shop", "front", R"(
      pod_selector { match_labels { key: "app" value: "near" } }
      ingress { from { pod_selector { match_expressions { key: "role" operator: "In"
                                        values: "server" values: "friend" } } } })");
    PutPolicy("shop", "quiet", R"(
      pod_selector { match_labels { key: "role" value: "quiet" } } policy_types: "Egress"
      egress { to { pod_selector { match_labels { key: "app" value: "near" } } }
               ports { port { int_value: 8080 } } })");
    PutPolicy("bank", "closed", R"(
      pod_selector { match_labels { key: "role" value: "server" } } policy_types: "Ingress")");
    Settle();
  }

  // Half of them have labels that no pod had before.
  ModelPod SomePod(const char* ns, const char* role) {
    ++number_;
    std::map<std::string, std::string> labels = {{"role", role}};
    if (number_ % 2 == 0) labels["number"] = std::to_string(number_);
    return {ns, std::move(labels), {}};
  }
  std::string Address(bool here) const {
    return fmt::format("10.244.{}.{}", here ? 1 : 2, 100 + number_ % 100);
  }

  // One first packet in each direction between the newcomer and everybody with whom this node
  // judges. `closed`: nobody may reach it, nor it anybody.
  void JudgeAll(const std::string& name, bool closed) {
    for (const Somebody& other : everybody_) {
      if (other.name == name || (!IsHere(other) && !IsHere(The(name)))) continue;
      for (const bool to_newcomer : {true, false}) {
        const Somebody &from = to_newcomer ? other : The(name),
                       &to = to_newcomer ? The(name) : other;
        const uint8_t protocol = random_.Below(3) == 0 ? kUdp : kTcp;
        const uint16_t port = random_.Below(2) == 0 ? 8080 : 81;
        Ask(true);
        const std::string traced = Try(from.name, to.name, protocol, port);
        Ask(false);
        const std::string found = Try(from.name, to.name, protocol, port);
        const std::string what = fmt::format("pod {} ({}): {} to {} {}/{}", number_, name,
                                             from.name, to.name, port, int{protocol});
        ASSERT_EQ(traced, found) << what << " is traced otherwise";
        if (closed) {
          ASSERT_NE(found, "forwarded") << what << " before the node knows the pod";
          continue;
        }
        const std::string expected = Expected(from, to, protocol, port);
        ASSERT_EQ(found, expected) << what;
        ++(expected == "forwarded" ? allowed_ : denied_);
      }
    }
  }

  Random random_{7};
  int number_ = 0;
  int allowed_ = 0, denied_ = 0;
};

TEST_F(FirstPackets, AreJudgedRightWhateverTheNodeHearsFirst) {
  while (allowed_ + denied_ < kFirstPackets) {
    const char* roles[] = {"server", "friend", "quiet", "auditor", "none"};
    const ModelPod model =
        SomePod(random_.Below(3) == 0 ? "bank" : "shop", roles[random_.Below(5)]);
    const bool here = random_.Below(3) != 0;
    const std::string name = fmt::format("new-{}", number_);
    Come(name, Address(here), model);
    if (!here) {
      // Its node was faster than the news of it, which meshd allows after two seconds only: it is
      // one that no rule speaks about.
      if (random_.Below(4) == 0) {
        The(name).identity = 100'000 + static_cast<uint32_t>(number_);
        for (const char* to : {"client", "near", "clerk"}) {
          const std::string found = Try(name, to, kTcp, 8080);
          ASSERT_NE(found, "forwarded") << name << " to " << to;
        }
      }
      Settle();
    } else if (random_.Below(2) == 0) {
      // The pod first, under an identity that the node has not heard of.
      The(name).identity = 100'000 + static_cast<uint32_t>(number_);
      Attach(The(name));
      ASSERT_NO_FATAL_FAILURE(JudgeAll(name, /*closed=*/true));
      Settle();
    } else {
      Settle();
      Attach(The(name));
    }
    ASSERT_NO_FATAL_FAILURE(JudgeAll(name, /*closed=*/false));
    Leave(name);
    if (number_ % 3 == 0) Settle();
  }
  RecordProperty("pods", number_);
  RecordProperty("allowed", allowed_);
  RecordProperty("denied", denied_);
  EXPECT_GE(number_, 1000);
  EXPECT_GE(allowed_, kFirstPackets / 5);
  EXPECT_GE(denied_, kFirstPackets / 5);
}

// Sends first packets to one address without a pause; what comes of each is noted.
class Hammer {
 public:
  Hammer(int program, int ifindex, const std::string& from, const std::string& to)
      : thread_([=, this] {
          for (uint16_t port = 1024; !stop_; port = port == 65535 ? 1024 : port + 1) {
            const std::string frame = Encode(
                Tcp(At(fmt::format("{}:{}", from, port)), At(fmt::format("{}:8080", to)), kSyn));
            const auto result = ProgRun(
                program, {.packet = kIpv6 ? FrameToIpv6(frame) : frame, .ifindex = ifindex});
            MESH_CHECK(result.ok()) << result.status();
            if (result->verdict == kDrop) {
              if (forwarded_ > 0) ++dropped_later_;
              ++dropped_;
            } else {
              ++forwarded_;
            }
          }
        }) {}
  ~Hammer() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // Waits for more packets than there are; false: none came.
  bool Await(int more) const {
    const int before = forwarded_ + dropped_;
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (forwarded_ + dropped_ < before + more) {
      if (absl::Now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  int forwarded() const { return forwarded_; }
  int dropped() const { return dropped_; }
  int dropped_later() const { return dropped_later_; }  // after one was forwarded

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<int> forwarded_ = 0, dropped_ = 0, dropped_later_ = 0;
  std::thread thread_;
};

TEST_F(FirstPackets, ReachAStartingPodOnlyFromWhomItMayTakeThem) {
  constexpr int kPods = 100, kBefore = 10, kAfter = 20;
  const int program = kIpv6 ? programs_->from_pod6() : programs_->from_pod();
  int judged = 0;
  while (number_ < kPods) {
    const ModelPod model = SomePod("shop", "server");
    const std::string name = fmt::format("new-{}", number_), ip = Address(true);
    Come(name, ip, model);
    Hammer allowed(program, client_.ifindex, client_.ip, ip);
    Hammer denied(program, clerk_.ifindex, clerk_.ip, ip);
    ASSERT_TRUE(allowed.Await(kBefore) && denied.Await(kBefore));
    ASSERT_EQ(allowed.forwarded(), 0) << "nobody is there";
    // Either may be first.
    if (number_ % 4 < 2) {
      The(name).identity = 100'000 + static_cast<uint32_t>(number_);
      Attach(The(name));
      Settle();
    } else {
      Settle();
      Attach(The(name));
    }
    ASSERT_TRUE(allowed.Await(kAfter) && denied.Await(kAfter));
    allowed.Stop();
    denied.Stop();
    EXPECT_GE(allowed.forwarded(), kAfter - 2) << "pod " << number_;
    EXPECT_EQ(allowed.dropped_later(), 0) << "pod " << number_;
    EXPECT_EQ(denied.forwarded(), 0) << "pod " << number_;
    judged += allowed.forwarded() + allowed.dropped() + denied.dropped();
    Leave(name);
    Settle();
  }
  RecordProperty("packets", judged);
}

}  // namespace
}  // namespace mesh::dataplane::testing
