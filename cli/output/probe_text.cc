// SPDX-License-Identifier: Apache-2.0
#include "cli/output/probe_text.h"

#include "absl/strings/ascii.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

std::string PortText(const v1::IntOrString& port) {
  return port.has_string_value() ? port.string_value() : std::to_string(port.int_value());
}

std::string HandlerText(const v1::Probe& probe) {
  if (probe.has_exec()) return fmt::format("exec [{}]", fmt::join(probe.exec().command(), " "));
  if (probe.has_http_get()) {
    const v1::HTTPGetAction& get = probe.http_get();
    const std::string scheme = get.scheme().empty() ? "http" : absl::AsciiStrToLower(get.scheme());
    return fmt::format("http-get {}://{}:{}{}{}", scheme, get.host(), PortText(get.port()),
                       get.path().starts_with('/') ? "" : "/", get.path());
  }
  if (probe.has_tcp_socket()) {
    return fmt::format("tcp-socket {}:{}", probe.tcp_socket().host(),
                       PortText(probe.tcp_socket().port()));
  }
  return fmt::format("grpc <pod>:{} {}", probe.grpc().port(), probe.grpc().service());
}

}  // namespace

std::string HookText(const v1::LifecycleHandler& hook) {
  if (hook.has_sleep()) return fmt::format("sleep {}s", hook.sleep().seconds());
  v1::Probe same;
  if (hook.has_exec()) *same.mutable_exec() = hook.exec();
  if (hook.has_http_get()) *same.mutable_http_get() = hook.http_get();
  return HandlerText(same);
}

std::string ProbeText(const v1::Probe& probe) {
  return fmt::format("{} delay={}s timeout={}s period={}s #success={} #failure={}",
                     HandlerText(probe), probe.initial_delay_seconds(), probe.timeout_seconds(),
                     probe.period_seconds(), probe.success_threshold(), probe.failure_threshold());
}

}  // namespace mesh::cli
