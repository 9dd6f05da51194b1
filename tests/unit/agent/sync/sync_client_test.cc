// SPDX-License-Identifier: Apache-2.0
// Goal: the agent's end of the stream greets, survives breaks and loses nothing that must be told.
// Method: a NodeSync server of the test in this process, the client on a real loop of its own; each
// step waits for its condition with a deadline.
#include "agent/sync/sync_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/real_loop.h"
#include "tests/unit/agent/fake_meshd.h"

namespace mesh::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

constexpr absl::Duration kDeadline = absl::Seconds(10);

class SyncClientTest : public ::testing::Test {
 protected:
  void Start(const std::vector<std::string>& servers) {
    thread_ = std::thread([this] { loop_.Run(); });
    OnLoop([&] {
      SyncOptions options;
      options.servers = servers;
      options.heartbeat = absl::Milliseconds(20);
      options.backoff = {.first = absl::Milliseconds(5), .cap = absl::Milliseconds(50)};
      SyncClient::Hooks hooks;
      hooks.hello = [this] {
        ++greetings_;
        v1::Hello hello;
        hello.set_node_name("n1");
        return hello;
      };
      hooks.welcome = [this](const v1::Welcome& welcome) {
        absl::MutexLock lock(&mutex_);
        zone_ = welcome.zone();
      };
      hooks.update = [this](const v1::NodeUpdate& update) {
        absl::MutexLock lock(&mutex_);
        updates_.push_back(update.revision());
      };
      hooks.connection = [this](const std::string&, const absl::Status& status) {
        absl::MutexLock lock(&mutex_);
        if (!status.ok()) ++breaks_;
      };
      client_ =
          std::make_unique<SyncClient>(&loop_, std::move(options), std::move(hooks), Random(1));
      client_->Start();
    });
  }
  void TearDown() override {
    OnLoop([&] { client_.reset(); });
    loop_.Stop();
    thread_.join();
  }
  void OnLoop(const std::function<void()>& task) {
    absl::Notification done;
    loop_.Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }
  bool Updates(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return updates_.size() >= count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kDeadline);
  }
  bool Zone(const std::string& zone) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return zone_ == zone; };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kDeadline);
  }
  bool Breaks(int count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return breaks_ >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kDeadline);
  }
  static v1::PodReport Report(const std::string& uid, const std::string& phase) {
    v1::PodReport report;
    report.set_uid(uid);
    report.mutable_status()->set_phase(phase);
    return report;
  }

  RealLoop loop_;
  std::thread thread_;
  std::unique_ptr<SyncClient> client_;
  absl::Mutex mutex_;
  std::vector<int64_t> updates_ ABSL_GUARDED_BY(mutex_);
  int breaks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string zone_ ABSL_GUARDED_BY(mutex_);
  int greetings_ = 0;  // loop only
};

TEST_F(SyncClientTest, GreetsFirstAndHandsOnWhatComes) {
  FakeMeshd meshd;
  Start({meshd.address()});

  ASSERT_TRUE(Updates(1));
  EXPECT_EQ(meshd.heard()[0], "hello n1");
  OnLoop([&] { client_->Acknowledge(7, ""); });
  EXPECT_TRUE(meshd.Heard("ack 7"));
}

TEST_F(SyncClientTest, KeepsReportsUntilAServerIsThere) {
  int port = 0;
  { port = FakeMeshd().port(); }
  Start({"127.0.0.1:" + std::to_string(port)});
  OnLoop([&] {
    client_->ReportPod(Report("u1", "Pending"));
    client_->ReportPod(Report("u1", "Running"));
    v1::NodeEvent event;
    event.set_reason("Started");
    client_->SendEvent(event);
  });
  ASSERT_TRUE(Breaks(2));

  FakeMeshd meshd(port);

  EXPECT_TRUE(meshd.Heard("pod u1 Running"));
  EXPECT_TRUE(meshd.Heard("event Started"));
  EXPECT_EQ(meshd.Count("pod u1 Pending"), 0) << "only the newest report counts";
}

TEST_F(SyncClientTest, DoesNotConnectAgainOnceItIsGone) {
  int port = 0;
  { port = FakeMeshd().port(); }
  Start({"127.0.0.1:" + std::to_string(port)});
  ASSERT_TRUE(Breaks(1));
  int greetings = 0;
  absl::Notification later;
  OnLoop([&] {
    client_.reset();
    greetings = greetings_;
    loop_.RunAfter(absl::Milliseconds(100), [&] { later.Notify(); });  // the back-off's cap twice
  });
  later.WaitForNotification();

  OnLoop([&] { EXPECT_EQ(greetings_, greetings); });
}

TEST_F(SyncClientTest, RepeatsReportsToANewServerUntilThePodIsForgotten) {
  auto meshd = std::make_unique<FakeMeshd>();
  const int port = meshd->port();
  Start({meshd->address()});
  OnLoop([&] {
    client_->ReportPod(Report("u1", "Running"));
    client_->ReportPod(Report("u2", "Running"));
  });
  ASSERT_TRUE(meshd->Heard("pod u1 Running"));
  ASSERT_TRUE(meshd->Heard("pod u2 Running"));
  OnLoop([&] { client_->ForgetPod("u2"); });

  meshd.reset();
  ASSERT_TRUE(Breaks(1));
  FakeMeshd next(port);

  EXPECT_TRUE(next.Heard("pod u1 Running"));
  ASSERT_TRUE(next.Heard("heartbeat", 3));
  EXPECT_EQ(next.Count("pod u2 Running"), 0);
  EXPECT_TRUE(Updates(2));
}

TEST_F(SyncClientTest, HandsOnASecondWelcomeWithoutTellingEverythingAgain) {
  FakeMeshd meshd;
  Start({meshd.address()});
  OnLoop([&] { client_->ReportPod(Report("u1", "Running")); });
  ASSERT_TRUE(meshd.Heard("pod u1 Running"));
  ASSERT_TRUE(Updates(1));

  v1::ControlMessage again;
  again.mutable_welcome()->set_node_name("n1");
  again.mutable_welcome()->set_heartbeat_interval_ms(20);
  again.mutable_welcome()->set_zone("b");
  meshd.Send(again);

  ASSERT_TRUE(Zone("b"));
  OnLoop([&] { client_->ReportPod(Report("u2", "Running")); });
  ASSERT_TRUE(meshd.Heard("pod u2 Running"));
  EXPECT_EQ(meshd.Count("pod u1 Running"), 1);
}

TEST_F(SyncClientTest, TriesTheServersInTurn) {
  int dead = 0;
  { dead = FakeMeshd().port(); }
  FakeMeshd meshd;
  Start({"127.0.0.1:" + std::to_string(dead), meshd.address()});

  EXPECT_TRUE(meshd.Heard("hello n1"));
}

TEST_F(SyncClientTest, BeatsAndTellsNewConditionsAtOnce) {
  FakeMeshd meshd;
  Start({meshd.address()});
  v1::Condition ready;
  ready.set_type("Ready");
  ready.set_status("False");
  OnLoop([&] { client_->SetConditions({ready}); });
  ASSERT_TRUE(meshd.Heard("Ready False", 2)) << "with every heartbeat";

  ready.set_status("True");
  OnLoop([&] { client_->SetConditions({ready}); });

  EXPECT_TRUE(meshd.Heard("Ready True"));
}

TEST_F(SyncClientTest, ReconnectsWhenAsked) {
  FakeMeshd meshd;
  Start({meshd.address()});
  ASSERT_TRUE(Updates(1));

  OnLoop([&] { client_->Reconnect(); });

  EXPECT_TRUE(meshd.Heard("hello n1", 2));
}

}  // namespace
}  // namespace mesh::agent
