// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/handler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "common/utf8.h"

namespace mesh::agent {
namespace {

using Kind = HandlerAnswer::Kind;

// Kubernetes keeps that much of a command's output.
constexpr size_t kOutputMax = 10 << 10;

std::string HostOf(const std::string& host, const HandlerTarget& target) {
  if (host.empty()) return target.ip;
  return host == "localhost" ? "127.0.0.1" : host;
}

std::string Bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

std::string PortText(const v1::IntOrString& port, const HandlerTarget& target) {
  const auto number = PortOf(port, target.spec);
  return number ? std::to_string(*number) : port.string_value();
}

HandlerAnswer FromExec(const absl::StatusOr<cri::ExecSyncResponse>& response,
                       const std::string& command, absl::Duration timeout) {
  if (absl::IsDeadlineExceeded(response.status())) {
    return {.kind = Kind::kFailure,
            .text = fmt::format("command timed out: \"{}\" timed out after {}", command,
                                absl::FormatDuration(timeout))};
  }
  if (!response.ok()) {
    return {.kind = Kind::kUnknown,
            .text = std::string(response.status().message()),
            .gone = absl::IsUnavailable(response.status()) || absl::IsNotFound(response.status())};
  }
  std::string output = response->stdout() + response->stderr();
  output.resize(std::min(output.size(), kOutputMax));
  output = ToUtf8(output);
  absl::StripTrailingAsciiWhitespace(&output);
  if (response->exit_code() == 0) return {.kind = Kind::kSuccess, .text = std::move(output)};
  if (output.empty()) output = fmt::format("exit code {}", response->exit_code());
  return {.kind = Kind::kFailure, .text = std::move(output)};
}

HandlerAnswer FromNetwork(ProbeAnswer answer) {
  return {.kind = answer.ok ? Kind::kSuccess : Kind::kFailure,
          .text = std::move(answer.text),
          .warn = answer.warn,
          .answered = answer.answered};
}

}  // namespace

std::optional<uint16_t> PortOf(const v1::IntOrString& port, const v1::Container& container) {
  if (!port.has_string_value()) return static_cast<uint16_t>(port.int_value());
  for (const v1::ContainerPort& candidate : container.ports()) {
    if (candidate.name() == port.string_value())
      return static_cast<uint16_t>(candidate.container_port());
  }
  return std::nullopt;
}

std::string Describe(const v1::Probe& probe, const HandlerTarget& target) {
  if (probe.has_exec()) return fmt::format("exec [{}]", fmt::join(probe.exec().command(), " "));
  if (probe.has_http_get()) {
    const v1::HTTPGetAction& get = probe.http_get();
    return fmt::format("GET {}://{}:{}{}{}", get.scheme() == "HTTPS" ? "https" : "http",
                       Bracketed(HostOf(get.host(), target)), PortText(get.port(), target),
                       get.path().starts_with('/') ? "" : "/", get.path());
  }
  if (probe.has_tcp_socket()) {
    return fmt::format("connect to {}:{}", Bracketed(HostOf(probe.tcp_socket().host(), target)),
                       PortText(probe.tcp_socket().port(), target));
  }
  const std::string& service = probe.grpc().service();
  return fmt::format("gRPC health of {}:{}{}{}", Bracketed(target.ip), probe.grpc().port(),
                     service.empty() ? "" : ", service ", service);
}

void Ask(CriClient* cri, ProbeClient* network, const v1::Probe& probe, const HandlerTarget& target,
         absl::Duration timeout, std::function<void(HandlerAnswer)> done) {
  if (probe.has_exec()) {
    const std::vector<std::string> command(probe.exec().command().begin(),
                                           probe.exec().command().end());
    const std::string text = fmt::format("{}", fmt::join(command, " "));
    return cri->ExecSync(target.container_id, command, timeout,
                         [text, timeout, done = std::move(done)](
                             const absl::StatusOr<cri::ExecSyncResponse>& response) {
                           done(FromExec(response, text, timeout));
                         });
  }
  const auto answered = [done](ProbeAnswer answer) { done(FromNetwork(std::move(answer))); };
  const auto no_port = [&done](const v1::IntOrString& port) {
    done({.kind = Kind::kUnknown,
          .text = fmt::format("the container has no port named \"{}\"", port.string_value())});
  };
  if (probe.has_http_get()) {
    const v1::HTTPGetAction& get = probe.http_get();
    const auto port = PortOf(get.port(), target.spec);
    if (!port) return no_port(get.port());
    HttpQuestion question{.host = HostOf(get.host(), target),
                          .port = *port,
                          .tls = get.scheme() == "HTTPS",
                          .path = get.path()};
    for (const v1::HTTPHeader& header : get.http_headers())
      question.headers.emplace_back(header.name(), header.value());
    return network->Http(question, timeout, answered);
  }
  if (probe.has_tcp_socket()) {
    const auto port = PortOf(probe.tcp_socket().port(), target.spec);
    if (!port) return no_port(probe.tcp_socket().port());
    return network->Tcp(HostOf(probe.tcp_socket().host(), target), *port, timeout, answered);
  }
  network->Grpc(target.ip, static_cast<uint16_t>(probe.grpc().port()), probe.grpc().service(),
                timeout, answered);
}

}  // namespace mesh::agent
