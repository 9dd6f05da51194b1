// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>

#include "cli/manifest/manifest.h"
#include "fmt/format.h"

namespace mesh::manifest {
namespace {

namespace fs = std::filesystem;

bool IsManifestName(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".yaml" || extension == ".yml" || extension == ".json";
}

// One byte more than the limit is enough to know that a file is too long.
std::string ReadLimited(std::istream& stream) {
  std::string text(kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  return text;
}

void ReadFile(const std::string& name, ReadResult* out) {
  errno = 0;
  std::ifstream stream(name, std::ios::binary);
  if (!stream) {
    out->errors.push_back(fmt::format("open {}: {}", name, std::strerror(errno)));
    return;
  }
  std::string text = ReadLimited(stream);
  if (stream.bad()) {
    out->errors.push_back(fmt::format("read {}: {}", name, std::strerror(errno)));
    return;
  }
  out->sources.push_back({name, std::move(text)});
}

void ReadFolder(const std::string& name, bool recursive, ReadResult* out) {
  std::error_code error;
  std::vector<fs::path> files;
  std::vector<fs::path> folders;
  for (fs::directory_iterator it(name, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) {
      folders.push_back(it->path());
    } else if (IsManifestName(it->path())) {
      files.push_back(it->path());
    }
  }
  if (error) {
    out->errors.push_back(fmt::format("read {}: {}", name, error.message()));
    return;
  }
  std::sort(files.begin(), files.end());
  std::sort(folders.begin(), folders.end());
  for (const fs::path& file : files) ReadFile(file.string(), out);
  if (!recursive) return;
  for (const fs::path& folder : folders) ReadFolder(folder.string(), true, out);
}

}  // namespace

ReadResult ReadSources(const std::vector<std::string>& paths, bool recursive, std::istream& input) {
  ReadResult out;
  bool input_read = false;
  for (const std::string& path : paths) {
    if (path == "-") {
      if (!input_read) out.sources.push_back({"-", ReadLimited(input)});
      input_read = true;
      continue;
    }
    if (path.starts_with("http://") || path.starts_with("https://")) {
      out.errors.push_back(fmt::format(
          "the path \"{}\" is a URL: not supported yet; fetch it first (curl -fsSL URL | "
          "meshctl apply -f -)",
          path));
      continue;
    }
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
      out.errors.push_back(fmt::format("the path \"{}\" does not exist", path));
    } else if (error) {
      out.errors.push_back(
          fmt::format("the path \"{}\" cannot be accessed: {}", path, error.message()));
    } else if (fs::is_directory(status)) {
      const size_t before = out.sources.size() + out.errors.size();
      ReadFolder(path, recursive, &out);
      if (out.sources.size() + out.errors.size() == before) {
        out.errors.push_back(fmt::format(
            "error reading [{}]: recognized file extensions are [.json .yaml .yml]", path));
      }
    } else {
      ReadFile(path, &out);
    }
  }
  return out;
}

}  // namespace mesh::manifest
