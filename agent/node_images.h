// SPDX-License-Identifier: Apache-2.0
// The images of the node: what there is, who uses it, removal, and import of archives.
//
// Blocks on the runtime; thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cri/cri_client.h"
#include "agent/pods/pod_reconciler.h"
#include "mesh/v1/access.pb.h"

namespace mesh::agent {

class NodeImages {
 public:
  // `import_command` reads an archive on standard input, and prints what it unpacks as containerd's
  // `ctr images import -` does.
  NodeImages(CriClient* cri, std::function<std::shared_ptr<const PodDirectory>()> directory,
             std::vector<std::string> import_command)
      : cri_(cri), directory_(std::move(directory)), import_command_(std::move(import_command)) {}

  // Sorted by their first name.
  absl::StatusOr<v1::ListImagesResponse> List() const;
  // All names of it. NOT_FOUND; FAILED_PRECONDITION while a pod uses it or the runtime keeps it.
  absl::StatusOr<v1::RemoveImageResponse> Remove(const std::string& image) const;
  // `next` gives the archive piece by piece, nullopt at its end. INVALID_ARGUMENT with what the
  // runtime says when it is no archive of images; nothing is kept of one that breaks off.
  absl::StatusOr<v1::LoadImageOutput> Load(
      const std::function<absl::StatusOr<std::optional<std::string>>()>& next) const;

 private:
  CriClient* const cri_;
  const std::function<std::shared_ptr<const PodDirectory>()> directory_;
  const std::vector<std::string> import_command_;
};

// `ctr`'s words for what it unpacks, "unpacking NAME (sha256:...)...done" per image.
std::vector<std::string> ImportedImages(std::string_view printed);

}  // namespace mesh::agent
