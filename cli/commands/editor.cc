// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/editor.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

extern char** environ;

namespace mesh::cli {
namespace {

std::string EnvironmentOr(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

absl::Status RunEditor(const std::string& editor, const std::string& path) {
  std::vector<std::string> words;
  std::istringstream split(editor);
  for (std::string word; split >> word;) words.push_back(word);
  words.push_back(path);
  std::vector<char*> args;
  for (std::string& word : words) args.push_back(word.data());
  args.push_back(nullptr);

  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, args[0], nullptr, nullptr, args.data(), environ);
  if (error != 0) {
    return absl::FailedPreconditionError(
        fmt::format("unable to launch the editor \"{}\": {}", words[0], std::strerror(error)));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return absl::InternalError("waiting for the editor failed");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::FailedPreconditionError(
        fmt::format("there was a problem with the editor \"{}\"", words[0]));
  }
  return absl::OkStatus();
}

}  // namespace

std::string EditorOfEnvironment() {
  return EnvironmentOr("KUBE_EDITOR", EnvironmentOr("EDITOR", "vi").c_str());
}

EditedFile::~EditedFile() {
  if (!path_.empty() && !kept_) ::unlink(path_.c_str());
}

const std::string& EditedFile::Keep() {
  kept_ = true;
  return path_;
}

absl::StatusOr<std::string> EditedFile::Edit(const std::string& editor, std::string_view text) {
  if (path_.empty()) {
    // Mode 0600: it may hold a Secret.
    std::string path = EnvironmentOr("TMPDIR", "/tmp") + "/meshctl-edit-XXXXXX.yaml";
    const UniqueFd made(::mkstemps(path.data(), 5));
    if (!made) {
      return absl::FailedPreconditionError(
          fmt::format("cannot make a file for the editor: {}", std::strerror(errno)));
    }
    path_ = path;
  }
  std::ofstream out(path_, std::ios::trunc);
  out << text;
  out.close();
  if (!out) return absl::InternalError(fmt::format("cannot write {}", path_));
  RETURN_IF_ERROR(RunEditor(editor, path_));
  // The editor may have put another file in its place.
  std::ifstream in(path_);
  std::ostringstream read;
  read << in.rdbuf();
  if (!in.is_open()) return absl::NotFoundError(fmt::format("{} is gone", path_));
  return read.str();
}

}  // namespace mesh::cli
