// SPDX-License-Identifier: Apache-2.0
// mesh-cni: one CNI command. Environment and standard input are checked here; the agent does the
// work, over its unix socket. Executed as `loopback` it sets lo up itself.
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cni/agent_client.h"
#include "cni/config.h"
#include "cni/loopback.h"
#include "cni/protocol.h"
#include "common/unique_fd.h"
#include "common/version.h"

namespace mesh::cni {
namespace {

// Larger than any prevResult or list of valid attachments; keeps a broken pipe from eating memory.
constexpr size_t kMaxConfigBytes = kMaxFrameBytes - 4096;

void Print(const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
}

int Fail(const std::string& version, const Error& error) {
  Print(ErrorJson(version, error));
  return 1;
}

std::optional<Error> ReadInput(std::string* out) {
  char buffer[4096];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{kIoFailure, "cannot read standard input", std::strerror(errno)};
    if (n == 0) return std::nullopt;
    out->append(buffer, static_cast<size_t>(n));
    if (out->size() > kMaxConfigBytes)
      return Error{kInvalidConfig,
                   "network configuration on standard input is longer than " +
                       std::to_string(kMaxConfigBytes) + " bytes",
                   ""};
  }
}

std::optional<Error> OpenNetns(const std::string& path, UniqueFd* out) {
  out->reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!*out)
    return Error{kInvalidEnvironment, "CNI_NETNS: cannot open \"" + path + "\"",
                 std::strerror(errno)};
  if (::ioctl(out->get(), NS_GET_NSTYPE) != CLONE_NEWNET)
    return Error{kInvalidEnvironment, "CNI_NETNS: \"" + path + "\" is not a network namespace", ""};
  return std::nullopt;
}

std::optional<Error> RunLoopback(const Invocation& invocation, const NetworkConfig& config,
                                 std::string* result) {
  if (invocation.command == "ADD") {
    *result = LoopbackResult(config, invocation.ifname, invocation.netns) + "\n";
    return SetLoopback(invocation, /*up=*/true);
  }
  if (invocation.command == "CHECK") return CheckLoopback(invocation);
  if (invocation.command == "DEL") {
    // A namespace that is gone took its lo along; one that is there may still be in use by a
    // process that ends, so whatever fails is no reason to keep the container.
    if (!invocation.netns.empty()) (void)SetLoopback(invocation, /*up=*/false);
  }
  return std::nullopt;  // STATUS, GC: nothing is held
}

std::optional<Error> RunByAgent(const Invocation& invocation, const NetworkConfig& config,
                                std::string input, std::string* result) {
  UniqueFd netns;
  if (invocation.command == "ADD" || invocation.command == "CHECK") {
    if (auto error = OpenNetns(invocation.netns, &netns)) return error;
  }
  v1::CniRequest request;
  request.set_command(invocation.command);
  request.set_container_id(invocation.container_id);
  request.set_netns(invocation.netns);
  request.set_ifname(invocation.ifname);
  request.set_args(invocation.args);
  request.set_path(invocation.path);
  request.set_config(std::move(input));
  v1::CniReply reply;
  const std::string socket =
      config.agent_socket.empty() ? kDefaultAgentSocket : config.agent_socket;
  if (auto error = CallAgent(socket, request, netns.get(), &reply)) {
    if (invocation.command == "STATUS" && error->code == kTryAgainLater)
      error->code = kNotAvailable;
    return error;
  }
  if (reply.code() != 0) return Error{reply.code(), reply.message(), reply.details()};
  if (!reply.result().empty()) *result = reply.result() + "\n";
  return std::nullopt;
}

int PrintAbout() {
  std::string versions;
  for (std::string_view v : kSupportedVersions) versions += " " + std::string(v);
  std::fprintf(stderr,
               "mesh-cni %s\n"
               "A CNI plugin: a container runtime executes it with CNI_COMMAND (ADD, DEL, CHECK,\n"
               "STATUS, GC, VERSION) in the environment and a network configuration on standard\n"
               "input. The mesh-agent of this node does the work.\n"
               "CNI protocol versions supported:%s\n",
               kVersion, versions.c_str());
  return 0;
}

int Main(std::string_view program) {
  if (std::getenv("CNI_COMMAND") == nullptr) return PrintAbout();
  Invocation invocation;
  const std::optional<Error> bad_environment = ReadEnvironment(std::getenv, &invocation);
  std::string input;
  if (bad_environment) return Fail("", *bad_environment);
  if (auto error = ReadInput(&input)) return Fail("", *error);
  if (invocation.command == "VERSION") {
    Print(VersionJson(PeekVersion(input)));
    return 0;
  }

  NetworkConfig config;
  std::string version;
  const bool cleans_up = invocation.command == "DEL" || invocation.command == "GC";
  if (auto error = ParseNetworkConfig(input, &config, &version);
      error && !(cleans_up && error->code == kUnsupportedField))
    return Fail(version, *error);
  // CHECK came with 0.4.0, STATUS and GC with 1.1.0.
  const std::string_view since = invocation.command == "CHECK" ? "0.4.0"
                                 : invocation.command == "STATUS" || invocation.command == "GC"
                                     ? "1.1.0"
                                     : kSupportedVersions.front();
  if (!AtLeast(config.version, since))
    return Fail(version,
                Error{kIncompatibleVersion,
                      "CNI version " + config.version + " does not have " + invocation.command,
                      "it came with " + std::string(since)});

  const size_t slash = program.rfind('/');
  const std::string_view name =
      slash == std::string_view::npos ? program : program.substr(slash + 1);
  std::string result;
  const std::optional<Error> error =
      name == "loopback" || config.type == "loopback"
          ? RunLoopback(invocation, config, &result)
          : RunByAgent(invocation, config, std::move(input), &result);
  if (error) return Fail(version, *error);
  Print(result);
  return 0;
}

}  // namespace
}  // namespace mesh::cni

int main(int argc, char** argv) { return mesh::cni::Main(argc > 0 ? argv[0] : "mesh-cni"); }
