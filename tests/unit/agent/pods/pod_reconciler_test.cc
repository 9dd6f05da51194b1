// SPDX-License-Identifier: Apache-2.0
// Goal: pods come up, stay up, go down and are reported, through failures of everything around.
// Method: the reconciler on a virtual clock against the runtime in memory.
#include "agent/pods/pod_reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "agent/cri/fake_cri.h"
#include "agent/network/files.h"
#include "common/sim_loop.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class PodReconcilerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-pods-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    cri.images = {"registry.local/app:1", "registry.local/side:1"};
    Restart();
  }
  void TearDown() override {
    pods.reset();
    retired_.clear();
    std::filesystem::remove_all(folder_);
  }

  // A new agent process on the same node.
  void Restart() {
    PodReconcilerOptions options;
    options.node_ip = "192.0.2.1";
    options.config.log_root = folder_;
    options.config.files_root = folder_ + "/files";
    PodReconciler::Hooks hooks;
    hooks.report = [this](const v1::PodReport& report) { reports[report.uid()] = report; };
    hooks.forget = [this](const std::string& uid) { forgotten.push_back(uid); };
    hooks.event = [this](const v1::NodeEvent& event) {
      events.push_back(event.reason() + ": " + event.message());
    };
    hooks.network_ready = [this] { return network_ready; };
    hooks.name_server = [] { return "10.244.1.1"; };
    hooks.runtime = [this](const absl::StatusOr<std::string>& version) {
      runtime_ok = version.ok();
    };
    // The one before is kept: its timers still point to it.
    if (pods != nullptr) retired_.push_back(std::move(pods));
    pods = std::make_unique<PodReconciler>(&loop, &cri, std::move(options), std::move(hooks));
  }
  void Want(const std::vector<v1::Pod>& wanted, bool live = true,
            const std::vector<v1::ConfigMap>& maps = {}) {
    auto state = std::make_shared<NodeState>();
    for (const v1::ConfigMap& map : maps) {
      state->config_maps[map.metadata().namespace_() + "/" + map.metadata().name()] = map;
    }
    state->complete = true;
    state->config.set_cluster_domain("cluster.local");
    for (const v1::Pod& pod : wanted) state->pods[pod.metadata().uid()] = pod;
    pods->SetDesired(state, live);
  }
  bool Eventually(const std::function<bool()>& done, absl::Duration limit = absl::Seconds(5)) {
    return loop.RunUntil(done, limit);
  }
  bool Ready(const std::string& uid = "uid-web") {
    for (const v1::Condition& condition : reports[uid].status().conditions()) {
      if (condition.type() == "Ready") return condition.status() == "True";
    }
    return false;
  }
  std::string Waiting(const std::string& uid = "uid-web") {
    const v1::PodStatus& status = reports[uid].status();
    if (status.container_statuses().empty()) return "";
    return status.container_statuses(0).state().waiting().reason();
  }

  SimLoop loop;
  FakeCri cri{&loop};
  bool network_ready = true;
  bool runtime_ok = false;
  std::map<std::string, v1::PodReport> reports;
  std::vector<std::string> forgotten;
  std::vector<std::string> events;
  std::unique_ptr<PodReconciler> pods;
  std::string folder_;
  std::vector<std::unique_ptr<PodReconciler>> retired_;
};

TEST_F(PodReconcilerTest, BringsAPodUpAndTellsWhatItDid) {
  pods->Start();
  Want({MakePod()});

  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  EXPECT_THAT(events,
              ElementsAre("Pulled: Container image \"registry.local/app:1\" already present on "
                          "machine",
                          "Created: Created container app", "Started: Started container app"));
  EXPECT_EQ(reports["uid-web"].status().phase(), "Running");
  const PodDirectory directory = *pods->Directory();
  EXPECT_TRUE(directory.at("default/web").containers[0].running);
}

TEST_F(PodReconcilerTest, GivesEachPodAHostsFileForAsLongAsItLives) {
  const std::string path = folder_ + "/files/uid-web/hosts";
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  const auto content = ReadWholeFile(path);
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_THAT(*content, HasSubstr("10.244.1.7\tweb\n"));
  const auto& mounts = cri.containers.begin()->second.config.mounts();
  ASSERT_EQ(mounts.size(), 1);
  EXPECT_EQ(mounts[0].container_path(), "/etc/hosts");
  EXPECT_EQ(mounts[0].host_path(), path);

  Want({});
  ASSERT_TRUE(Eventually([&] { return !forgotten.empty(); }));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/files/uid-web"));
}

TEST_F(PodReconcilerTest, ShowsTheLastWordsOfAContainerAlsoAfterARestartOfTheAgent) {
  v1::Pod pod = MakePod({"app"}, "Never");
  pod.mutable_spec()->mutable_containers(0)->set_termination_message_path("/dev/termination-log");
  pods->Start();
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  const FakeCri::Container& app = *cri.Find("web", "app");
  ASSERT_EQ(app.config.mounts_size(), 2);
  EXPECT_EQ(app.config.mounts(1).container_path(), "/dev/termination-log");
  std::ofstream(app.config.mounts(1).host_path()) << "no database\n";

  cri.Kill(app.status.id(), 1);
  const auto said = [&] {
    const v1::PodStatus& status = reports["uid-web"].status();
    return status.container_statuses().empty()
               ? ""
               : status.container_statuses(0).state().terminated().message();
  };
  ASSERT_TRUE(Eventually([&] { return said() == "no database\n"; }));

  reports.clear();
  Restart();
  pods->Start();
  Want({pod});
  EXPECT_TRUE(Eventually([&] { return said() == "no database\n"; }));
}

TEST_F(PodReconcilerTest, SaysWhyAHostsFileCannotBeWritten) {
  std::ofstream(folder_ + "/files") << "a file where the folder should be";
  pods->Start();

  Want({MakePod()});

  ASSERT_TRUE(Eventually([&] { return Waiting() == "CreateContainerConfigError"; }));
  EXPECT_THAT(events, Contains(HasSubstr(folder_ + "/files/uid-web")));
  EXPECT_TRUE(cri.containers.empty());
}

TEST_F(PodReconcilerTest, StartsAContainerAtOnceWhenTheObjectItNeedsComes) {
  v1::Pod pod = MakePod();
  v1::EnvVar* color = pod.mutable_spec()->mutable_containers(0)->add_env();
  color->set_name("COLOR");
  color->mutable_value_from()->mutable_config_map_key_ref()->set_name("settings");
  color->mutable_value_from()->mutable_config_map_key_ref()->set_key("color");
  pods->Start();
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Waiting() == "CreateContainerConfigError"; }));
  EXPECT_EQ(reports["uid-web"].status().container_statuses(0).state().waiting().message(),
            "configmap \"settings\" not found");
  EXPECT_TRUE(cri.containers.empty());
  loop.RunFor(absl::Seconds(40));  // its back-off is long by now

  v1::ConfigMap map;
  map.mutable_metadata()->set_namespace_("default");
  map.mutable_metadata()->set_name("settings");
  (*map.mutable_data())["color"] = "green";
  Want({pod}, true, {map});

  ASSERT_TRUE(Eventually([&] { return Ready(); }, absl::Milliseconds(100)));
  const auto& envs = cri.Find("web", "app")->config.envs();
  ASSERT_EQ(envs.size(), 1);
  EXPECT_EQ(envs[0].value(), "green");
}

TEST_F(PodReconcilerTest, LooksWhomTheImageRunsAsWhereThePodMustNotBeRoot) {
  v1::Pod pod = MakePod();
  pod.mutable_spec()->mutable_security_context()->set_run_as_non_root(true);
  pods->Start();

  Want({pod});

  ASSERT_TRUE(Eventually([&] { return Waiting() == "CreateContainerConfigError"; }));
  EXPECT_THAT(events, Contains(HasSubstr("image will run as root")));
  EXPECT_TRUE(cri.containers.empty());
  cri.image_users[pod.spec().containers(0).image()] = 101;
  EXPECT_TRUE(Eventually([&] { return Ready(); }));
}

TEST_F(PodReconcilerTest, WaitsForTheNodesNetwork) {
  network_ready = false;
  pods->Start();
  Want({MakePod()});
  loop.RunFor(absl::Seconds(3));
  EXPECT_EQ(cri.CountCalls("RunSandbox"), 0);

  network_ready = true;

  EXPECT_TRUE(Eventually([&] { return Ready(); }));
}

TEST_F(PodReconcilerTest, RunsAKilledContainerAgainWithinATenthOfASecond) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  cri.Kill(cri.Find("web", "app")->status.id(), 137);

  ASSERT_TRUE(Eventually([&] { return cri.RunningContainers() == 1; }, absl::Milliseconds(100)));
  ASSERT_TRUE(Eventually([&] {
    return reports["uid-web"].status().container_statuses(0).restart_count() == 1 && Ready();
  }));
  EXPECT_EQ(reports["uid-web"].status().container_statuses(0).last_state().terminated().exit_code(),
            137);
  EXPECT_EQ(cri.CountCalls("RunSandbox"), 1);
}

TEST_F(PodReconcilerTest, DoesNotWaitUntilTheRuntimeShowsAnEndThatItHasToldOf) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  cri.exit_lag = absl::Milliseconds(400);
  const std::string first = cri.Find("web", "app")->status.id();

  cri.Kill(first, 137, /*oom=*/true);

  ASSERT_TRUE(Eventually([&] { return cri.Find("web", "app")->status.id() != first && Ready(); },
                         absl::Milliseconds(100)));
  EXPECT_EQ(cri.containers.at(first).status.state(), agent::cri::CONTAINER_RUNNING);
  const auto last = [&] {
    return reports["uid-web"].status().container_statuses(0).last_state().terminated();
  };
  EXPECT_EQ(last().exit_code(), 137);
  // What only the runtime knows comes after.
  EXPECT_TRUE(Eventually([&] { return last().reason() == "OOMKilled"; }));
  EXPECT_EQ(cri.CountCalls("StartContainer"), 2);
}

TEST_F(PodReconcilerTest, WaitsForTheSandboxWhereTheShimIsGone) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  cri.exit_lag = absl::Milliseconds(300);

  cri.Kill(cri.Find("web", "app")->status.id(), 255);

  EXPECT_FALSE(
      Eventually([&] { return cri.CountCalls("StartContainer") == 2; }, absl::Milliseconds(200)));
  EXPECT_TRUE(Eventually([&] { return cri.CountCalls("StartContainer") == 2; }));
}

TEST_F(PodReconcilerTest, BacksOffACrashLoop) {
  cri.exits_at_once["app"] = 1;
  pods->Start();
  Want({MakePod()});

  ASSERT_TRUE(Eventually([&] { return Waiting() == "CrashLoopBackOff"; }));
  loop.RunFor(absl::Minutes(3));

  // 0, 0.2, 0.4, ... doubled: 12 starts fit into three minutes, not hundreds.
  EXPECT_GE(cri.CountCalls("CreateContainer"), 9);
  EXPECT_LE(cri.CountCalls("CreateContainer"), 13);
  EXPECT_THAT(events, Contains("BackOff: Back-off restarting failed container app in pod "
                               "web_default(uid-web)"));
  EXPECT_LE(cri.containers.size(), 2u);
}

TEST_F(PodReconcilerTest, PullsAMissingImage) {
  cri.images.clear();
  cri.registry = {"registry.local/app:1"};
  pods->Start();
  Want({MakePod()});

  EXPECT_TRUE(Eventually([&] { return Ready(); }));
  EXPECT_THAT(events, Contains("Pulling: Pulling image \"registry.local/app:1\""));
}

TEST_F(PodReconcilerTest, RepeatsAFailedPullWithGrowingDelays) {
  cri.images.clear();
  pods->Start();
  Want({MakePod()});

  ASSERT_TRUE(Eventually([&] { return Waiting() == "ErrImagePull"; }));
  ASSERT_TRUE(Eventually([&] { return Waiting() == "ImagePullBackOff"; }));
  loop.RunFor(absl::Seconds(75));
  EXPECT_EQ(cri.CountCalls("PullImage"), 4);  // at 0, 10, 30, 70 s
  EXPECT_EQ(reports["uid-web"].status().phase(), "Pending");

  cri.registry = {"registry.local/app:1"};
  EXPECT_TRUE(Eventually([&] { return Ready(); }, absl::Seconds(90)));
}

TEST_F(PodReconcilerTest, NeverPullsWhereThePolicyForbids) {
  cri.images.clear();
  cri.registry = {"registry.local/app:1"};
  v1::Pod pod = MakePod();
  pod.mutable_spec()->mutable_containers(0)->set_image_pull_policy("Never");
  pods->Start();
  Want({pod});

  ASSERT_TRUE(Eventually([&] { return Waiting() == "ErrImageNeverPull"; }));
  EXPECT_EQ(cri.CountCalls("PullImage"), 0);
}

TEST_F(PodReconcilerTest, RefusesABrokenImageName) {
  v1::Pod pod = MakePod();
  pod.mutable_spec()->mutable_containers(0)->set_image("UPPER");
  pods->Start();
  Want({pod});

  EXPECT_TRUE(Eventually([&] { return Waiting() == "InvalidImageName"; }));
}

TEST_F(PodReconcilerTest, DeletesGracefullyAndReportsTheEnd) {
  pods->Start();
  v1::Pod pod = MakePod({"app", "side"});
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  MarkDeleted(pod, loop.Now() + absl::Seconds(30));
  Want({pod});

  ASSERT_TRUE(Eventually([&] { return reports["uid-web"].terminated(); }));
  EXPECT_EQ(cri.CountCalls("StopContainer"), 2);
  EXPECT_THAT(events, Contains("Killing: Stopping container app"));
  EXPECT_EQ(reports["uid-web"].status().container_statuses(0).state().terminated().exit_code(),
            143);
  EXPECT_TRUE(cri.sandboxes.empty());
  EXPECT_TRUE(cri.containers.empty());
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/default_web_uid-web"));

  Want({});
  EXPECT_THAT(forgotten, ElementsAre("uid-web"));
}

TEST_F(PodReconcilerTest, RemovesAPodOfWhichTheRuntimeHasLostATask) {
  pods->Start();
  v1::Pod pod = MakePod();
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  const std::string id = cri.Find("web", "app")->status.id();
  cri.LoseTask(id);
  Restart();
  pods->Start();
  MarkDeleted(pod, loop.Now() + absl::Seconds(1));
  Want({pod});

  EXPECT_TRUE(Eventually([&] { return reports["uid-web"].terminated(); }));
  EXPECT_TRUE(cri.containers.empty());
  EXPECT_TRUE(cri.lost_tasks.empty());
}

TEST_F(PodReconcilerTest, NeverRunsAContainerBesideATaskThatTheRuntimeHasLost) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  const std::string id = cri.Find("web", "app")->status.id();
  cri.failures.emplace("EndTask", absl::UnknownError("the shim does not answer"));
  cri.LoseTask(id);

  ASSERT_TRUE(Eventually([&] { return cri.CountCalls("EndTask") == 1; }));
  loop.RunFor(absl::Milliseconds(50));
  EXPECT_EQ(cri.CountCalls("CreateContainer"), 1);
  ASSERT_TRUE(Eventually([&] { return cri.CountCalls("CreateContainer") == 2; }));
  EXPECT_TRUE(cri.lost_tasks.empty());
  EXPECT_EQ(cri.CountCalls("EndTask"), 2);
}

TEST_F(PodReconcilerTest, KillsAtTheDeadlineWhatIgnoresTheSignal) {
  cri.ignores_sigterm = {"app"};
  pods->Start();
  v1::Pod pod = MakePod();
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  MarkDeleted(pod, loop.Now() + absl::Seconds(10));
  Want({pod});

  loop.RunFor(absl::Seconds(8));
  EXPECT_FALSE(reports["uid-web"].terminated());
  EXPECT_TRUE(Eventually([&] { return reports["uid-web"].terminated(); }, absl::Seconds(4)));
}

TEST_F(PodReconcilerTest, ReportsTheEndOfAPodThatNeverStarted) {
  v1::Pod pod = MakePod();
  MarkDeleted(pod, loop.Now() + absl::Seconds(30));
  pods->Start();
  Want({pod});

  EXPECT_TRUE(Eventually([&] { return reports["uid-web"].terminated(); }));
}

TEST_F(PodReconcilerTest, AdoptsPodsAfterARestartOfTheAgent) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  cri.Kill(cri.Find("web", "app")->status.id(), 1);
  ASSERT_TRUE(Eventually([&] {
    return reports["uid-web"].status().container_statuses(0).restart_count() == 1 && Ready();
  }));
  const size_t calls = cri.calls.size();
  reports.clear();

  Restart();
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  loop.RunFor(absl::Seconds(30));

  EXPECT_EQ(cri.calls.size(), calls) << "a pod at rest was touched";
  EXPECT_EQ(reports["uid-web"].status().container_statuses(0).restart_count(), 1);
}

TEST_F(PodReconcilerTest, RemovesUnknownPodsOnlyAfterALiveState) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  Restart();
  pods->Start();
  Want({}, /*live=*/false);
  loop.RunFor(absl::Seconds(30));
  EXPECT_EQ(cri.RunningContainers(), 1);

  Want({}, /*live=*/true);
  EXPECT_TRUE(Eventually([&] { return cri.sandboxes.empty(); }));
}

TEST_F(PodReconcilerTest, LivesThroughARestartOfTheRuntime) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  cri.GoDown();
  loop.RunFor(absl::Seconds(5));
  // Its exit is not told by an event: nobody was subscribed.
  cri.Kill(cri.Find("web", "app")->status.id(), 137);
  cri.ComeUp();

  EXPECT_TRUE(Eventually([&] { return cri.RunningContainers() == 1; }));
  EXPECT_EQ(cri.CountCalls("RunSandbox"), 1);
  EXPECT_THAT(events, Not(Contains(::testing::HasSubstr("Failed"))));
}

TEST_F(PodReconcilerTest, MakesANewSandboxWhenTheOldOneIsLost) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  cri.KillSandbox(cri.sandboxes.begin()->first);

  ASSERT_TRUE(Eventually([&] { return Ready() && cri.CountCalls("RunSandbox") == 2; }))
      << ::testing::PrintToString(cri.calls);
  ASSERT_TRUE(Eventually([&] { return cri.sandboxes.size() == 1; }));
  EXPECT_EQ(reports["uid-web"].status().container_statuses(0).restart_count(), 1);
  EXPECT_THAT(events, Contains("SandboxChanged: Pod sandbox changed, it will be killed and "
                               "re-created."));
}

TEST_F(PodReconcilerTest, RepeatsASandboxThatFails) {
  cri.failures.emplace("RunSandbox", absl::UnknownError("cni: no address"));
  cri.failures.emplace("RunSandbox", absl::UnknownError("cni: no address"));
  pods->Start();
  Want({MakePod()});

  EXPECT_TRUE(Eventually([&] { return Ready(); }));
  EXPECT_EQ(cri.CountCalls("RunSandbox"), 3);
  EXPECT_THAT(events, Contains("FailedCreatePodSandBox: Failed to create pod sandbox: cni: no "
                               "address"));
}

TEST_F(PodReconcilerTest, TellsWhyAContainerCannotBeCreated) {
  cri.failures.emplace("CreateContainer", absl::UnknownError("no such user"));
  pods->Start();
  Want({MakePod()});

  ASSERT_TRUE(Eventually([&] { return Waiting() == "CreateContainerError"; }));
  EXPECT_TRUE(Eventually([&] { return Ready(); }));
}

TEST_F(PodReconcilerTest, CountsAFailedStartAsARestart) {
  cri.failures.emplace("StartContainer", absl::UnknownError("exec: no such file"));
  pods->Start();
  Want({MakePod()});

  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  const v1::ContainerStatus& container = reports["uid-web"].status().container_statuses(0);
  EXPECT_EQ(container.restart_count(), 1);
  EXPECT_EQ(container.last_state().terminated().reason(), "StartError");
}

TEST_F(PodReconcilerTest, WaitsForAStartThatTheAgentBeforeItBegan) {
  for (int i = 0; i < 5; ++i) {
    cri.failures.emplace("StartContainer",
                         absl::FailedPreconditionError("container is already in starting state"));
  }
  pods->Start();
  Want({MakePod()});
  const absl::Time begun = loop.Now();

  ASSERT_TRUE(Eventually([&] { return Ready(); }));

  EXPECT_GE(loop.Now() - begun, absl::Seconds(1)) << "without a rest between its tries";
  EXPECT_EQ(cri.CountCalls("CreateContainer"), 1);
}

TEST_F(PodReconcilerTest, EndsAPodThatHasFinishedAndKeepsItsContainers) {
  cri.exits_at_once["app"] = 0;
  pods->Start();
  Want({MakePod({"app"}, "Never")});

  ASSERT_TRUE(Eventually([&] { return reports["uid-web"].status().phase() == "Succeeded"; }));
  loop.RunFor(absl::Minutes(1));

  EXPECT_EQ(cri.CountCalls("CreateContainer"), 1);
  EXPECT_EQ(cri.containers.size(), 1u);
}

TEST_F(PodReconcilerTest, BringsManyPodsUpFewAtATime) {
  std::vector<v1::Pod> wanted;
  for (int i = 0; i < 30; ++i)
    wanted.push_back(MakePod({"app"}, "Always", "p" + std::to_string(i)));
  pods->Start();
  Want(wanted);

  EXPECT_TRUE(Eventually([&] { return cri.RunningContainers() == 30; }));
}

TEST_F(PodReconcilerTest, StopsAtOnceWhenAForcedDeleteOvertakesAGracefulOne) {
  cri.ignores_sigterm = {"app"};
  pods->Start();
  v1::Pod pod = MakePod();
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  MarkDeleted(pod, loop.Now() + absl::Seconds(600));
  Want({pod});
  loop.RunFor(absl::Seconds(1));

  Want({});

  EXPECT_TRUE(Eventually([&] { return cri.sandboxes.empty(); }));
}

TEST_F(PodReconcilerTest, TellsWhenTheRuntimeIsStuckAndWhenItAnswersAgain) {
  pods->Start();
  ASSERT_TRUE(Eventually([this] { return runtime_ok; }));
  loop.RunFor(absl::Seconds(2));
  cri.failures.emplace("ListSandboxes", absl::DeadlineExceededError("no answer in 10 s"));

  EXPECT_TRUE(Eventually([this] { return !runtime_ok; }, absl::Seconds(15)));
  EXPECT_TRUE(Eventually([this] { return runtime_ok; }, absl::Seconds(15)));
}

TEST_F(PodReconcilerTest, SaysNothingWhileNothingChanges) {
  pods->Start();
  Want({MakePod()});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  reports.clear();

  loop.RunFor(absl::Minutes(2));

  EXPECT_TRUE(reports.empty());
}

TEST_F(PodReconcilerTest, APodIsReadyWhenItsProbeSaysSoAndRestartedWhenTheOtherGivesItUp) {
  v1::Pod pod = MakePod();
  v1::Probe* probe = pod.mutable_spec()->mutable_containers(0)->mutable_readiness_probe();
  probe->mutable_exec()->add_command("ready");
  probe->set_period_seconds(1);
  probe->set_failure_threshold(1);
  *pod.mutable_spec()->mutable_containers(0)->mutable_liveness_probe() = *probe;
  pod.mutable_spec()->mutable_containers(0)->mutable_liveness_probe()->mutable_exec()->set_command(
      0, "live");
  int ready = 1, live = 0;
  cri.on_exec = [&](const std::string&, const std::string& command, std::string*) {
    return command == "ready" ? ready : live;
  };
  pods->Start();
  Want({pod});

  ASSERT_TRUE(Eventually([&] { return cri.RunningContainers() == 1; }));
  loop.RunFor(absl::Seconds(1));
  EXPECT_FALSE(Ready());
  ready = 0;
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  ready = 1;
  EXPECT_TRUE(Eventually([&] { return !Ready(); }, absl::Seconds(2)));
  live = 1;
  ASSERT_TRUE(Eventually([&] { return cri.CountCalls("StopContainer app 30") == 1; }));
  live = 0;
  ready = 0;

  EXPECT_TRUE(Eventually([&] { return Ready(); }));
  EXPECT_EQ(reports["uid-web"].status().container_statuses(0).restart_count(), 1);
  EXPECT_THAT(events, Contains("Killing: Container app failed liveness probe, will be restarted"));
}

TEST_F(PodReconcilerTest, RunsInitContainersThenTheOthersAndStopsSidecarsLast) {
  v1::Pod pod = MakePod();
  for (const char* name : {"init", "side"}) {
    v1::Container* init = pod.mutable_spec()->add_init_containers();
    *init = pod.spec().containers(0);
    init->set_name(name);
  }
  pod.mutable_spec()->mutable_init_containers(1)->set_restart_policy("Always");
  cri.exits_at_once["init"] = 0;
  pods->Start();
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return Ready(); }));
  std::vector<std::string> created;
  for (const std::string& call : cri.calls)
    if (call.starts_with("CreateContainer")) created.push_back(call);
  EXPECT_THAT(created, ElementsAre("CreateContainer web/init 0", "CreateContainer web/side 0",
                                   "CreateContainer web/app 0"));

  MarkDeleted(pod, loop.Now() + absl::Seconds(30));
  Want({pod});
  ASSERT_TRUE(Eventually([&] { return reports["uid-web"].terminated(); }));

  std::vector<std::string> stopped;
  for (const std::string& call : cri.calls)
    if (call.starts_with("StopContainer")) stopped.push_back(call.substr(0, 18));
  EXPECT_THAT(stopped, ElementsAre("StopContainer app ", "StopContainer side"));
}

}  // namespace
}  // namespace mesh::agent
