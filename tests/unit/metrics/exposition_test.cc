// SPDX-License-Identifier: Apache-2.0
// Goal: what the agent and meshd expose has the form that Prometheus wants, and the dashboard asks
// for nothing else. Method: both write their figures from made-up values, every family at least
// once.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <regex>
#include <set>
#include <string>

#include "agent/metrics.h"
#include "common/sim_loop.h"
#include "common/unique_fd.h"
#include "controlplane/figures.h"
#include "controlplane/store/keys.h"
#include "controlplane/store/memory_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace mesh {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

agent::NetworkFigures SomeFigures() {
  agent::NetworkFigures out;
  out.ready = true;
  out.newest_revision = 44;
  out.applied_revision = 42;
  out.applied_at = absl::FromUnixSeconds(1'700'000'000);
  out.applies = 9;
  out.failed_applies = 1;
  out.apply_time = absl::Milliseconds(1500);
  const auto count = [&](const char* reason, uint64_t packets) {
    v1::MetricRow* row = out.rows.add_metrics();
    row->set_reason(reason);
    row->set_direction("ingress");
    row->set_packets(packets);
    row->set_bytes(packets * 100);
  };
  count("forwarded", 10);
  count("forwarded_xdp", 11);
  count("isolation", 12);
  count("to_stack", 13);
  out.services = {{"shop", "web", 9}, {"shop", "till", 2}};
  DurationHistogram handshakes({absl::Microseconds(125), absl::Microseconds(250)});
  handshakes.Add({4, 0, 1}, absl::Seconds(2));
  out.traffic = {{"shop", "web", 6, handshakes},
                 {"shop", "dns", 3, DurationHistogram({absl::Microseconds(125)})}};
  out.policy_drops = {{"shop", "allow-web,deny", false, 7}, {"bank", "quiet", true, 5}};
  out.rows.set_entries(5);
  out.rows.set_max_entries(100);
  out.rows.set_entries6(6);
  out.rows.set_max_entries6(200);
  v1::MapRow* map = out.rows.add_maps();
  map->set_name("mesh_service");
  map->set_entries(3);
  map->set_max_entries(1000);
  map->set_memory_bytes(4096);
  for (const char* name : {"queries", "queries_tcp", "answered", "nxdomain", "upstream_failed"}) {
    v1::DnsCounter* counter = out.rows.add_dns_counters();
    counter->set_name(name);
    counter->set_count(21);
  }
  return out;
}

std::string AgentText() {
  return MetricsText([](MetricsWriter& out) { agent::WriteFigures(SomeFigures(), out); });
}

class ControlText : public testing::Test {
 protected:
  ControlText() { EXPECT_TRUE(cache_.Start().ok()); }

  std::string Text() {
    return MetricsText([&](MetricsWriter& out) {
      figures_.Write(
          commits_,
          {.watches = 2, .connected_nodes = 3, .nodes_behind = 1, .revisions_behind_max = 17}, out);
    });
  }

  void Put(const v1::Resource& resource) {
    controlplane::Transaction transaction;
    transaction.operations.push_back({.key = controlplane::EncodeKey(controlplane::KindOf(resource),
                                                                     controlplane::KeyOf(resource)),
                                      .value = resource.SerializeAsString()});
    bool done = false;
    commits_.Commit(std::move(transaction), [&](auto result) { done = result.ok(); });
    loop_.RunFor(absl::ZeroDuration());
    EXPECT_TRUE(done);
  }

  SimLoop loop_;
  controlplane::MemoryStore store_{{.loop = &loop_}};
  controlplane::WatchCache cache_{loop_, store_};
  controlplane::CountedCommits commits_{loop_, controlplane::NewLoopCommitQueue(loop_, store_)};
  controlplane::ControlFigures figures_{loop_, cache_};
};

TEST(AgentFigures, TellPacketsByWhatBecameOfThem) {
  const std::string text = AgentText();

  EXPECT_THAT(text, HasSubstr("mesh_datapath_forwarded_packets_total{direction=\"ingress\","
                              "hook=\"tc\"} 10\n"));
  EXPECT_THAT(text, HasSubstr("mesh_datapath_forwarded_packets_total{direction=\"ingress\","
                              "hook=\"xdp\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("mesh_datapath_dropped_bytes_total{direction=\"ingress\","
                              "reason=\"isolation\"} 1200\n"));
  EXPECT_THAT(text, HasSubstr("mesh_datapath_handled_packets_total{direction=\"ingress\","
                              "reason=\"to_stack\"} 13\n"));
  EXPECT_THAT(text, HasSubstr("mesh_policy_dropped_packets_total{direction=\"ingress\","
                              "namespace=\"shop\",policies=\"allow-web,deny\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("mesh_policy_dropped_packets_total{direction=\"egress\","
                              "namespace=\"bank\",policies=\"quiet\"} 5\n"));
  // No drop, whatever else.
  EXPECT_THAT(text, Not(HasSubstr("dropped_packets_total{direction=\"ingress\",reason=\"to_st")));
}

TEST(AgentFigures, TellHowFarBehindTheNodeIsAndHowFullItsMapsAre) {
  const std::string text = AgentText();

  EXPECT_THAT(text, HasSubstr("\nmesh_agent_received_revision 44\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_agent_applied_revision 42\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_agent_apply_seconds_total 1.5\n"));
  EXPECT_THAT(text, HasSubstr("mesh_datapath_map_entries{map=\"mesh_service\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("mesh_datapath_connections{family=\"ipv6\"} 6\n"));
  EXPECT_THAT(text, HasSubstr("mesh_agent_dns_answers_total{outcome=\"nxdomain\"} 21\n"));
}

TEST(AgentFigures, NameTheServicesWithMostConnectionsAndSumTheOthers) {
  agent::NetworkFigures figures;
  for (size_t i = 0; i < agent::kServicesShown + 3; ++i)
    figures.services.push_back({"shop", "s" + std::to_string(i), 7});

  const std::string text =
      MetricsText([&](MetricsWriter& out) { agent::WriteFigures(figures, out); });

  EXPECT_THAT(text, HasSubstr("mesh_service_connections{namespace=\"shop\",service=\"s0\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("mesh_service_connections{namespace=\"shop\",service=\"s199\"} 7\n"));
  EXPECT_THAT(text, Not(HasSubstr("service=\"s200\"")));
  EXPECT_THAT(text, HasSubstr("mesh_service_connections{namespace=\"\",service=\"(other)\"} 21\n"));
}

TEST(AgentFigures, TellHowServicesAreDialledAndAnswered) {
  const std::string text = AgentText();
  const auto name = [](const char* what) {
    return std::string("mesh_service_handshake_seconds") + what +
           "{namespace=\"shop\",service=\"web\"";
  };

  EXPECT_THAT(text,
              HasSubstr("mesh_service_connections_total{namespace=\"shop\",service=\"web\"} 6\n"));
  EXPECT_THAT(text, HasSubstr(name("_bucket") + ",le=\"0.000125\"} 4\n"));
  EXPECT_THAT(text, HasSubstr(name("_bucket") + ",le=\"0.00025\"} 4\n"));
  EXPECT_THAT(text, HasSubstr(name("_bucket") + ",le=\"+Inf\"} 5\n"));
  EXPECT_THAT(text, HasSubstr(name("_sum") + "} 2\n"));
  // One of UDP has no handshakes.
  EXPECT_THAT(text, HasSubstr("connections_total{namespace=\"shop\",service=\"dns\"} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("_count{namespace=\"shop\",service=\"dns\"")));
}

TEST(AgentFigures, SayNothingOfWhatThereIsNot) {
  const std::string text =
      MetricsText([](MetricsWriter& out) { agent::WriteFigures(agent::NetworkFigures(), out); });

  EXPECT_THAT(text, HasSubstr("\nmesh_agent_ready 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("last_apply")));
  EXPECT_THAT(text, Not(HasSubstr("family=")));
}

TEST_F(ControlText, CountsObjectsAndCommits) {
  v1::Resource node;
  node.mutable_node()->mutable_metadata()->set_name("n1");
  Put(node);

  const std::string text = Text();

  EXPECT_THAT(text, HasSubstr("mesh_control_objects{kind=\"Node\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_control_commit_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_control_watches 2\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_control_revisions_behind_max 17\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_control_ready_nodes 0\n"));
}

TEST_F(ControlText, TimesPodsUntilTheyHaveANode) {
  v1::Resource pod;
  pod.mutable_pod()->mutable_metadata()->set_namespace_("shop");
  pod.mutable_pod()->mutable_metadata()->set_name("p");
  pod.mutable_pod()->mutable_metadata()->mutable_creation_timestamp()->set_seconds(
      absl::ToUnixSeconds(loop_.Now()));
  Put(pod);
  EXPECT_THAT(Text(), HasSubstr("\nmesh_control_unscheduled_pods 1\n"));
  loop_.RunFor(absl::Seconds(3));
  pod.mutable_pod()->mutable_spec()->set_node_name("n1");
  Put(pod);
  // A later change is none of the scheduler's.
  pod.mutable_pod()->mutable_status()->set_phase("Running");
  Put(pod);

  const std::string text = Text();

  EXPECT_THAT(text, HasSubstr("\nmesh_control_unscheduled_pods 0\n"));
  EXPECT_THAT(text, HasSubstr("mesh_control_pods{phase=\"Running\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nmesh_control_scheduling_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("mesh_control_scheduling_seconds_bucket{le=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("mesh_control_scheduling_seconds_bucket{le=\"5\"} 1\n"));
}

#ifdef MESH_PROMTOOL
// Exit code of `promtool check metrics` with `text` at its input, and what it says.
int Promtool(const std::string& text, std::string* said) {
  char path[] = "/tmp/mesh-metrics-XXXXXX";
  const UniqueFd file(::mkstemp(path));
  EXPECT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, path, O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), 2);
  const char* words[] = {MESH_PROMTOOL, "check", "metrics", nullptr};
  pid_t pid = 0;
  const int spawned =
      ::posix_spawnp(&pid, words[0], &actions, nullptr, const_cast<char**>(words), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  in.reset();
  int status = -1;
  if (spawned == 0) {
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(out.get(), buffer, sizeof buffer)) > 0;)
      said->append(buffer, static_cast<size_t>(n));
    ::waitpid(pid, &status, 0);
  }
  ::unlink(path);
  return spawned == 0 ? WEXITSTATUS(status) : -1;
}

TEST_F(ControlText, PromtoolFindsNoFault) {
  for (const std::string& text : {AgentText(), Text()}) {
    std::string said;
    const int code = Promtool(text, &said);
    EXPECT_EQ(code, 0);
    EXPECT_THAT(said, IsEmpty());
  }
}
#endif

// What promtool minds most, where there is none.
TEST_F(ControlText, NamesSayTypeAndUnit) {
  const std::string text = AgentText() + Text();
  const std::regex type_line("# TYPE ([a-z0-9_]+) ([a-z]+)\n");
  int seen = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), type_line), end; it != end; ++it, ++seen) {
    const std::string name = (*it)[1], type = (*it)[2];
    EXPECT_TRUE(name.starts_with("mesh_")) << name;
    EXPECT_EQ(name.ends_with("_total"), type == "counter") << name;
    EXPECT_TRUE(type != "histogram" || name.ends_with("_seconds")) << name;
    EXPECT_FALSE(std::regex_search(name, std::regex("_(ms|us|ns|kb|mb|count|sum|bucket)$")))
        << name;
    EXPECT_THAT(text, testing::ContainsRegex("# HELP " + name + " [A-Z1][^\n]+[.a-z]\n"));
  }
  EXPECT_GT(seen, 30);
}

// --- the dashboard ---

void AddExpressions(const nlohmann::json& json, std::string* out) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      const bool asks = key == "expr" || key == "query" || key == "definition";
      if (asks && value.is_string()) *out += value.get<std::string>() + "\n";
      AddExpressions(value, out);
    }
  } else if (json.is_array()) {
    for (const auto& value : json) AddExpressions(value, out);
  }
}

TEST_F(ControlText, TheDashboardAsksOnlyForWhatIsExposed) {
  const std::string text = AgentText() + Text();
  std::set<std::string> exposed;
  const std::regex sample("(^|\n)(mesh_[a-z0-9_]+)[ {]");
  for (std::sregex_iterator it(text.begin(), text.end(), sample), end; it != end; ++it)
    exposed.insert((*it)[2]);
  std::ifstream file(MESH_DASHBOARD);
  std::string expressions;
  AddExpressions(nlohmann::json::parse(file), &expressions);

  std::set<std::string> asked;
  const std::regex name("mesh_[a-z0-9_]+");
  for (std::sregex_iterator it(expressions.begin(), expressions.end(), name), end; it != end; ++it)
    asked.insert(it->str());

  EXPECT_GT(asked.size(), 10u);
  for (const std::string& metric : asked) EXPECT_TRUE(exposed.contains(metric)) << metric;
}

}  // namespace
}  // namespace mesh
