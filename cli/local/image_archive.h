// SPDX-License-Identifier: Apache-2.0
// Image archives (OCI image layout or `docker save`) and the names they carry.
//
// An archive names its images in one small JSON file; the blobs are addressed by content. To import
// an archive under exactly the names a manifest will ask for, that file is rewritten on the way to
// the runtime and every other byte is passed on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::cli::local {

// The files that matter of an archive; empty when absent.
struct ArchiveIndex {
  std::string oci_index;        // index.json
  std::string docker_manifest;  // manifest.json
};

// Reads the headers of a tar file. INVALID_ARGUMENT when it is none, is compressed, or is no image
// archive.
absl::StatusOr<ArchiveIndex> ReadArchiveIndex(const std::string& path);

struct NamedArchive {
  ArchiveIndex index;              // rewritten
  std::vector<std::string> names;  // full references, sorted, what the runtime will know
};

// Names each image of the archive by its own names and by `extra`, all in full form. Pure.
// INVALID_ARGUMENT when nothing names it, or when `extra` is given for more than one image.
absl::StatusOr<NamedArchive> NameImages(const ArchiveIndex& index,
                                        const std::vector<std::string>& extra);

// Copies the tar file `path` to `output` with the files of `index` in place of its own.
absl::Status WriteRenamedArchive(const std::string& path, const ArchiveIndex& index, int output);

}  // namespace mesh::cli::local
