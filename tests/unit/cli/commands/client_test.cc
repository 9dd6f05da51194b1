// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "cli/command.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/commands/fake_control.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

bool Nothing(std::string_view) { return false; }

TEST(FindServer, PrefersTheFlagThenTheEnvironmentThenTheSockets) {
  auto all = [](std::string_view) { return true; };
  auto node_only = [](std::string_view path) { return path == "/run/mesh/meshd.sock"; };

  EXPECT_EQ(FindServer("h:1", "i:2", all).value(), "h:1");
  EXPECT_EQ(FindServer("", "i:2", all).value(), "i:2");
  EXPECT_EQ(FindServer("", "", all).value(), "unix:/run/mesh/local/meshd.sock");
  EXPECT_EQ(FindServer("", "", node_only).value(), "unix:/run/mesh/meshd.sock");
}

TEST(FindServer, SaysHowToGetAClusterWhenThereIsNone) {
  EXPECT_EQ(
      ErrorText(FindServer("", "", Nothing).status()),
      "error: no cluster: neither /run/mesh/local/meshd.sock nor /run/mesh/meshd.sock exists; "
      "start one with \"meshctl local up\" or name one with --server");
}

TEST(FindServer, ReadsEveryFormOfAnAddress) {
  EXPECT_EQ(FindServer("unix:///a/b", "", Nothing).value(), "unix:/a/b");
  EXPECT_EQ(FindServer("unix:/a/b", "", Nothing).value(), "unix:/a/b");
  EXPECT_EQ(FindServer("/a/b", "", Nothing).value(), "unix:/a/b");
  EXPECT_EQ(FindServer("[::1]:9", "", Nothing).value(), "[::1]:9");
  for (const char* bad : {"host", "host:", ":1", "host:http", "http://host"}) {
    EXPECT_FALSE(FindServer(bad, "", Nothing).ok()) << bad;
  }
}

TEST(Connect, SaysThatAServerRefuses) {
  auto client = Connect("unix:/nonexistent/meshd.sock", absl::Seconds(20));

  EXPECT_EQ(
      ErrorText(client.status()),
      "The connection to the server unix:/nonexistent/meshd.sock was refused - did you specify "
      "the right host or port?");
}

TEST(Refusal, NamesTheSocketThatMayNotBeOpened) {
  EXPECT_EQ(ErrorText(Refusal("unix:/run/mesh/local/meshd.sock", EACCES)),
            "error: open /run/mesh/local/meshd.sock: Permission denied: run as root");
  EXPECT_EQ(ErrorText(Refusal("h:1", 0)),
            "The connection to the server h:1 was refused - did you specify the right host or "
            "port?");
}

v1::Resource Namespace(const std::string& name) {
  return Parse<v1::Resource>("namespace { metadata { name: '" + name + "' } }");
}

TEST(Watch, ContinuesAfterTheServerWasAway) {
  FakeControl server;
  server.Put(Namespace("a"));
  auto client = Connect("unix:" + server.address().substr(7), absl::Seconds(20));
  ASSERT_TRUE(client.ok()) << client.status();
  v1::WatchRequest request;
  request.set_kind(v1::KIND_NAMESPACE);
  request.set_from_revision(1);
  // The first watch sees one change, loses the server, and the next one sees the other change.
  server.OnWatch([&] { server.Put(Namespace("b")); });
  std::vector<std::string> seen;
  std::thread restart;

  absl::Status status =
      (*client)->Watch(request, absl::Now() + absl::Seconds(30), [&](const v1::WatchEvent& event) {
        seen.push_back(event.resource().namespace_().metadata().name());
        if (seen.size() == 1) {
          restart = std::thread([&] {
            server.Stop();
            server.Start();
            server.Put(Namespace("c"));
          });
        }
        return seen.size() < 2;
      });
  if (restart.joinable()) restart.join();

  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(seen, (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(server.watches.back().from_revision(), 2);
}

TEST(Watch, EndsAtItsDeadline) {
  FakeControl server;
  auto client = Connect("unix:" + server.address().substr(7), absl::Seconds(20));
  ASSERT_TRUE(client.ok()) << client.status();
  v1::WatchRequest request;
  request.set_kind(v1::KIND_POD);

  absl::Status status = (*client)->Watch(request, absl::Now() + absl::Milliseconds(50),
                                         [](const v1::WatchEvent&) { return true; });

  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ServerReason(status), "");
}

TEST(ErrorText, WordsErrorsAsKubectlDoes) {
  EXPECT_EQ(ErrorText(ServerError(absl::StatusCode::kNotFound, "NotFound", "pods \"x\" not found")),
            "Error from server (NotFound): pods \"x\" not found");
  EXPECT_EQ(ErrorText(absl::InvalidArgumentError("bad")), "error: bad");
  EXPECT_EQ(ErrorText(PlainError(absl::StatusCode::kUnavailable, "as it is")), "as it is");
  EXPECT_EQ(ErrorText(AlreadyPrinted()), "");
}

}  // namespace
}  // namespace mesh::cli
