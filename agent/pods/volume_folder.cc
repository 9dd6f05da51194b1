// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/volume_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <set>
#include <system_error>
#include <vector>

#include "agent/network/files.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

constexpr char kData[] = "..data";
constexpr char kNewData[] = "..data_new";

std::string LinkTarget(const std::string& path) {
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  return error ? "" : target.string();
}

// "..7": 7. Others: -1.
int64_t VersionOf(const std::string& name) {
  int64_t out = -1;
  if (!name.starts_with("..")) return -1;
  const auto [end, error] = std::from_chars(name.data() + 2, name.data() + name.size(), out);
  return error == std::errc() && end == name.data() + name.size() ? out : -1;
}

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    out.push_back(entry.path().filename().string());
  }
  return out;
}

// "app" of "app/settings.conf".
std::string FirstPart(const std::string& path) { return path.substr(0, path.find('/')); }

absl::Status MakeLink(const std::string& target, const std::string& path) {
  if (LinkTarget(path) == target) return absl::OkStatus();
  ::unlink(path.c_str());
  if (::symlink(target.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("cannot make link {}", path));
}

absl::Status WriteVersion(const std::string& folder, const VolumeFiles& files) {
  RETURN_IF_ERROR(MakeDirectories(folder, 0755));
  for (const auto& [path, file] : files) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) {
      RETURN_IF_ERROR(MakeDirectories(folder + "/" + path.substr(0, slash), 0755));
    }
    RETURN_IF_ERROR(ReplaceFile(folder + "/" + path, file.content, file.mode));
  }
  return absl::OkStatus();
}

}  // namespace

bool HasVolumeFiles(const std::string& folder, const VolumeFiles& files) {
  const std::string data = folder + "/" + kData;
  if (LinkTarget(data).empty()) return false;
  size_t seen = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(data + "/", error), end; it != end && !error;
       it.increment(error)) {
    std::error_code unknown;
    if (it->is_directory(unknown)) continue;
    const auto wanted = files.find(it->path().lexically_relative(data).string());
    if (wanted == files.end()) return false;
    struct stat info {};
    if (::stat(it->path().c_str(), &info) != 0) return false;
    if ((info.st_mode & 07777) != wanted->second.mode) return false;
    const auto content = ReadWholeFile(it->path().string());
    if (!content.ok() || *content != wanted->second.content) return false;
    ++seen;
  }
  if (error || seen != files.size()) return false;
  return std::all_of(files.begin(), files.end(), [&](const auto& file) {
    const std::string first = FirstPart(file.first);
    return LinkTarget(folder + "/" + first) == fmt::format("{}/{}", kData, first);
  });
}

absl::Status WriteVolumeFolder(const std::string& folder, const VolumeFiles& files) {
  if (HasVolumeFiles(folder, files)) return absl::OkStatus();
  int64_t version = 0;
  for (const std::string& name : NamesIn(folder)) {
    version = std::max(version, VersionOf(name) + 1);
  }
  const std::string next = fmt::format("..{}", version);
  RETURN_IF_ERROR(WriteVersion(folder + "/" + next, files));
  RETURN_IF_ERROR(MakeLink(next, folder + "/" + kNewData));
  if (::rename((folder + "/" + kNewData).c_str(), (folder + "/" + kData).c_str()) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot replace {}/{}", folder, kData));
  }
  std::set<std::string> shown;
  for (const auto& [path, file] : files) shown.insert(FirstPart(path));
  for (const std::string& name : shown) {
    RETURN_IF_ERROR(MakeLink(fmt::format("{}/{}", kData, name), folder + "/" + name));
  }
  for (const std::string& name : NamesIn(folder)) {
    if (name == kData || name == next || shown.contains(name)) continue;
    std::error_code ignored;  // the next version takes it along
    fs::remove_all(folder + "/" + name, ignored);
  }
  return absl::OkStatus();
}

}  // namespace mesh::agent
