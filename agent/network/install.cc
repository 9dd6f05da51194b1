// SPDX-License-Identifier: Apache-2.0
#include "agent/network/install.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "agent/network/cni_handler.h"
#include "agent/network/files.h"
#include "common/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::agent {
namespace {

absl::Status ReplaceWhenDifferent(const std::string& path, const std::string& content,
                                  mode_t mode) {
  auto present = ReadWholeFile(path);
  if (present.ok() && *present == content) return absl::OkStatus();
  return ReplaceFile(path, content, mode);
}

}  // namespace

std::string ConflistFor(const std::string& socket) {
  // 1.0.0: what every containerd speaks to the end; see cni/README.md.
  nlohmann::ordered_json plugin;
  plugin["type"] = "mesh-cni";
  plugin["agentSocket"] = socket;
  nlohmann::ordered_json json;
  json["cniVersion"] = "1.0.0";
  json["name"] = kNetworkName;
  json["plugins"] = nlohmann::ordered_json::array({plugin});
  return json.dump(2) + "\n";
}

absl::Status InstallCni(const CniInstall& install) {
  auto binary = ReadWholeFile(install.binary);
  if (!binary.ok())
    return Annotate(binary.status(), "the CNI plugin to install (it is built beside mesh-agent)");
  RETURN_IF_ERROR(MakeDirectories(install.bin_dir, 0755));
  RETURN_IF_ERROR(ReplaceWhenDifferent(install.bin_dir + "/mesh-cni", *binary, 0755));

  const std::string loopback = install.bin_dir + "/loopback";
  struct stat info;
  // stat, not lstat: a link to a mesh-cni that went away is none.
  if (::stat(loopback.c_str(), &info) != 0) {
    ::unlink(loopback.c_str());
    if (::symlink("mesh-cni", loopback.c_str()) != 0 && errno != EEXIST)
      return ErrnoStatus(errno, fmt::format("cannot make {}", loopback));
  }
  RETURN_IF_ERROR(MakeDirectories(install.conf_dir, 0755));
  return ReplaceWhenDifferent(install.conf_dir + "/10-mesh.conflist", ConflistFor(install.socket),
                              0644);
}

}  // namespace mesh::agent
