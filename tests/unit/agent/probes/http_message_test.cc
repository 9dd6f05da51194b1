// SPDX-License-Identifier: Apache-2.0
// Goal: the text of a probe's request, and what is read out of an answer.
#include "agent/probes/http_message.h"

#include <gtest/gtest.h>

#include "common/version.h"

namespace mesh::agent {
namespace {

TEST(HttpRequestText, IsWhatKubernetesSends) {
  HttpQuestion question{.host = "fd00::7", .port = 8080, .path = "healthz?deep=1"};

  EXPECT_EQ(HttpRequestText(question),
            "GET /healthz?deep=1 HTTP/1.1\r\nHost: [fd00::7]:8080\r\nUser-Agent: kube-probe/mesh-" +
                std::string(kVersion) + "\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

TEST(HttpRequestText, GivenHeadersReplaceItsOwn) {
  HttpQuestion question{.host = "10.0.0.7",
                        .port = 80,
                        .path = "/",
                        .headers = {{"host", "shop.example"}, {"User-Agent", ""}, {"X-A", "b"}}};

  EXPECT_EQ(HttpRequestText(question),
            "GET / HTTP/1.1\r\nAccept: */*\r\nConnection: close\r\nhost: shop.example\r\nX-A: "
            "b\r\n\r\n");
}

TEST(ParseHttpAnswer, WaitsUntilTheAnswerIsWhole) {
  const std::string whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(ParseHttpAnswer(whole.substr(0, size), false)) << size;
  EXPECT_EQ(ParseHttpAnswer(whole, false)->status, 200);
  EXPECT_EQ(ParseHttpAnswer(whole, false)->body, "ok");
}

TEST(ParseHttpAnswer, KnowsEveryEndOfAnAnswer) {
  EXPECT_EQ(ParseHttpAnswer("HTTP/1.1 204 No Content\r\n\r\n", false)->status, 204);
  EXPECT_FALSE(ParseHttpAnswer("HTTP/1.0 200 OK\r\n\r\nto the end", false));
  EXPECT_EQ(ParseHttpAnswer("HTTP/1.0 200 OK\r\n\r\nto the end", true)->status, 200);
  const std::string chunked =
      "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
  EXPECT_EQ(ParseHttpAnswer(chunked, false)->status, 500);
  EXPECT_EQ(ParseHttpAnswer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\n", true)->status,
            404);
  const std::string endless = "HTTP/1.1 200 OK\r\n\r\n" + std::string(kHttpAnswerMax, 'x');
  EXPECT_EQ(ParseHttpAnswer(endless, false)->status, 200);
}

TEST(ParseHttpAnswer, RefusesWhatIsNoHttp) {
  EXPECT_EQ(ParseHttpAnswer("SSH-2.0-OpenSSH_9.2\r\n", false)->status, 0);
  EXPECT_EQ(ParseHttpAnswer("", true)->status, 0);
  EXPECT_EQ(ParseHttpAnswer("HTTP/1.1 two\r\n\r\n", false)->status, 0);
}

TEST(FollowRedirect, StaysOnItsHost) {
  const HttpQuestion from{.host = "10.0.0.7", .port = 8080, .path = "/a/b?c"};

  EXPECT_EQ(FollowRedirect(from, "/login")->path, "/login");
  EXPECT_EQ(FollowRedirect(from, "next")->path, "/a/next");
  const auto tls = FollowRedirect(from, "https://10.0.0.7/x");
  ASSERT_TRUE(tls);
  EXPECT_TRUE(tls->tls);
  EXPECT_EQ(tls->port, 443);
  EXPECT_EQ(tls->path, "/x");
  EXPECT_EQ(FollowRedirect(from, "http://10.0.0.7:9000")->port, 9000);
  EXPECT_FALSE(FollowRedirect(from, "http://example.com/"));
  EXPECT_FALSE(FollowRedirect(from, "ftp://10.0.0.7/"));
  EXPECT_FALSE(FollowRedirect(from, ""));
}

}  // namespace
}  // namespace mesh::agent
