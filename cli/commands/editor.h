// SPDX-License-Identifier: Apache-2.0
// A person's editor on a file of its own.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mesh::cli {

// The program and its arguments: KUBE_EDITOR, else EDITOR, else "vi"; split at spaces.
std::string EditorOfEnvironment();

// A text file in the folder for temporary files, only for this user; removed with the object unless
// Keep() was called.
class EditedFile {
 public:
  EditedFile() = default;
  ~EditedFile();
  EditedFile(const EditedFile&) = delete;
  EditedFile& operator=(const EditedFile&) = delete;

  // Writes `text`, lets `editor` work on the file at the terminal of this process until it ends,
  // and answers what is there then. FAILED_PRECONDITION when the editor cannot be started or ends
  // with an error.
  absl::StatusOr<std::string> Edit(const std::string& editor, std::string_view text);
  // Answers the path.
  const std::string& Keep();

 private:
  std::string path_;
  bool kept_ = false;
};

}  // namespace mesh::cli
