// SPDX-License-Identifier: Apache-2.0
// Goal: the text that Prometheus reads, and that it is served.
#include "common/metrics.h"

#include <sys/socket.h>

#include <string>

#include "common/socket_address.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh {
namespace {

using testing::HasSubstr;

// The answer to GET `path`; empty when nobody answers.
std::string Get(int port, const std::string& path) {
  const SocketAddress address(*IpAddress::Parse("127.0.0.1"), static_cast<uint16_t>(port));
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval deadline{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  if (::connect(fd.get(), address.get(), address.length()) != 0) return "";
  const std::string request =
      fmt::format("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
  std::string out;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
    out.append(buffer, static_cast<size_t>(n));
  return out;
}

TEST(Metrics, AreWrittenByNameWithTheirLabels) {
  DurationHistogram histogram({absl::Milliseconds(10), absl::Seconds(1)});
  histogram.Add(absl::Milliseconds(10));
  histogram.Add(absl::Milliseconds(500));
  histogram.Add(absl::Seconds(3));

  const std::string text = MetricsText([&](MetricsWriter& out) {
    out.Gauge("mesh_x_rows", "Rows.", {{"map", "a"}}, 3);
    out.Counter("mesh_a_total", "All.", {}, 7);
    out.Gauge("mesh_x_rows", "Rows.", {{"map", "b\"c"}}, 4);
    out.Histogram("mesh_t_seconds", "Time.", {}, histogram);
  });

  EXPECT_EQ(text,
            "# HELP mesh_a_total All.\n"
            "# TYPE mesh_a_total counter\n"
            "mesh_a_total 7\n"
            "# HELP mesh_t_seconds Time.\n"
            "# TYPE mesh_t_seconds histogram\n"
            "mesh_t_seconds_count 3\n"
            "mesh_t_seconds_sum 3.51\n"
            "mesh_t_seconds_bucket{le=\"0.01\"} 1\n"
            "mesh_t_seconds_bucket{le=\"1\"} 2\n"
            "mesh_t_seconds_bucket{le=\"+Inf\"} 3\n"
            "# HELP mesh_x_rows Rows.\n"
            "# TYPE mesh_x_rows gauge\n"
            "mesh_x_rows{map=\"a\"} 3\n"
            "mesh_x_rows{map=\"b\\\"c\"} 4\n");
}

TEST(MetricsServer, AnswersWithWhatIsTrueThen) {
  int count = 0;
  auto server = MetricsServer::Start("127.0.0.1:0", [&](MetricsWriter& out) {
    out.Counter("mesh_asked_total", "Times.", {}, ++count);
  });
  ASSERT_TRUE(server.ok()) << server.status();

  EXPECT_THAT(Get((*server)->port(), "/metrics"), HasSubstr("mesh_asked_total 1\n"));
  const std::string second = Get((*server)->port(), "/metrics");
  EXPECT_THAT(second, HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(second, HasSubstr("mesh_asked_total 2\n"));
  EXPECT_THAT(Get((*server)->port(), "/other"), HasSubstr("HTTP/1.1 404"));
}

TEST(MetricsServer, EndsAtOnce) {
  for (const char* listen : {"127.0.0.1:0", "0.0.0.0:0"}) {
    auto server = MetricsServer::Start(listen, [](MetricsWriter&) {});
    ASSERT_TRUE(server.ok()) << server.status();
    const absl::Time begin = absl::Now();

    server->reset();

    EXPECT_LT(absl::Now() - begin, absl::Milliseconds(300)) << listen;
  }
}

TEST(MetricsServer, NamesTheAddressItCannotHave) {
  auto first = MetricsServer::Start("127.0.0.1:0", [](MetricsWriter&) {});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string taken = fmt::format("127.0.0.1:{}", (*first)->port());

  const absl::Status status = MetricsServer::Start(taken, [](MetricsWriter&) {}).status();

  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(taken));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--metrics-listen"));
}

}  // namespace
}  // namespace mesh
