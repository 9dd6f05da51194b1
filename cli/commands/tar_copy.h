// SPDX-License-Identifier: Apache-2.0
// Files and folders to and from a tar stream, for `meshctl cp`.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::cli {

// Writes the file or folder `path`, with all below, as entries `name` and `name/...`. Links stay
// links; devices, sockets and pipes are left out and named in `skipped`. NOT_FOUND when there is
// nothing; an error of `sink` ends it.
absl::Status WriteTar(const std::string& path, const std::string& name,
                      const std::function<absl::Status(std::string_view)>& sink,
                      std::vector<std::string>* skipped);

// Makes `path` of the entries `name` and `name/...` ("." : of all). What comes is not trusted: an
// entry elsewhere, with a ".." or an absolute path is INVALID_ARGUMENT, nothing is written through
// a link that is there already, and links, devices and pipes of the archive are left out and named
// in `skipped`. Files that are there are replaced. NOT_FOUND when the archive is empty. `source`
// gives pieces, an empty one at the end. `preserve`: modes and times too.
absl::Status ReadTar(const std::function<absl::StatusOr<std::string>()>& source,
                     const std::string& name, const std::string& path, bool preserve,
                     std::vector<std::string>* skipped);

}  // namespace mesh::cli
