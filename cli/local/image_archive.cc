// SPDX-License-Identifier: Apache-2.0
#include "cli/local/image_archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <functional>
#include <set>

#include "cli/local/image_reference.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::cli::local {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBlock = 512;
constexpr uint64_t kMaxIndexBytes = 4 << 20;
constexpr char kNameAnnotation[] = "io.containerd.image.name";
constexpr char kTagAnnotation[] = "org.opencontainers.image.ref.name";

// Fields of a ustar header (POSIX.1-2017, pax, "ustar Interchange Format").
struct TarField {
  size_t offset, size;
};
constexpr TarField kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 5},
    kPrefix{345, 155};

using Block = std::array<char, kBlock>;

std::string_view Text(const Block& block, TarField field) {
  const std::string_view all(block.data() + field.offset, field.size);
  return all.substr(0, std::min(all.find('\0'), all.size()));
}

uint64_t Octal(const Block& block, TarField field) {
  // Sizes from 8 GiB on are binary, marked by the top bit (GNU).
  if (static_cast<unsigned char>(block[field.offset]) & 0x80) {
    uint64_t value = 0;
    for (size_t i = 4; i < field.size; ++i) {
      value = value << 8 | static_cast<unsigned char>(block[field.offset + i]);
    }
    return value;
  }
  std::string_view text = Text(block, field);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 8);
  return value;
}

uint64_t Checksum(const Block& block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

void PutSizeAndChecksum(Block* block, uint64_t size) {
  const std::string text = fmt::format("{:011o}", size);
  std::memcpy(block->data() + kSize.offset, text.c_str(), kSize.size);
  const std::string sum = fmt::format("{:06o}", Checksum(*block));
  std::memcpy(block->data() + kChecksum.offset, sum.c_str(), 7);
  (*block)[kChecksum.offset + 7] = ' ';
}

std::string EntryName(const Block& block) {
  std::string name(Text(block, kName));
  if (const std::string_view prefix = Text(block, kPrefix); !prefix.empty()) {
    name = fmt::format("{}/{}", prefix, name);
  }
  return name.substr(0, 2) == "./" ? name.substr(2) : name;
}

uint64_t Padded(uint64_t size) { return (size + kBlock - 1) / kBlock * kBlock; }

absl::Status ReadAt(int fd, uint64_t offset, char* out, size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t got = ::pread(fd, out, size, static_cast<off_t>(offset));
    if (got < 0) return ErrnoStatus(errno, "read " + path);
    if (got == 0) {
      return absl::InvalidArgumentError(
          fmt::format("{}: the archive is cut off at byte {}", path, offset));
    }
    out += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t wrote = ::write(fd, data, size);
    if (wrote < 0) return ErrnoStatus(errno, "write image archive");
    data += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return absl::OkStatus();
}

struct Entry {
  Block header;
  std::string name;
  uint64_t offset = 0;  // of the header
  uint64_t size = 0;
};

// Calls `visit` for each entry up to the end-of-archive blocks.
absl::Status ForEachEntry(int fd, const std::string& path,
                          const std::function<absl::Status(const Entry&)>& visit) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, "stat " + path);
  unsigned char magic[2] = {};
  if (::pread(fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
    return absl::InvalidArgumentError(
        fmt::format("{}: the archive is compressed: unpack it with gunzip first", path));
  }
  uint64_t offset = 0;
  while (offset + kBlock <= static_cast<uint64_t>(info.st_size)) {
    Entry entry;
    entry.offset = offset;
    RETURN_IF_ERROR(ReadAt(fd, offset, entry.header.data(), kBlock, path));
    if (entry.header == Block{}) return absl::OkStatus();
    if (Text(entry.header, kMagic) != "ustar" ||
        Octal(entry.header, kChecksum) != Checksum(entry.header)) {
      return absl::InvalidArgumentError(
          fmt::format("{}: not a tar archive (byte {})", path, offset));
    }
    entry.name = EntryName(entry.header);
    entry.size = Octal(entry.header, kSize);
    RETURN_IF_ERROR(visit(entry));
    offset += kBlock + Padded(entry.size);
  }
  return absl::OkStatus();
}

// The names that an OCI index entry gives its image.
absl::StatusOr<std::set<std::string>> OciNames(const Json& manifest) {
  std::set<std::string> names;
  const Json annotations = manifest.value("annotations", Json::object());
  std::string name = annotations.value(kNameAnnotation, "");
  // A bare tag ("latest") names nothing by itself.
  if (const std::string tag = annotations.value(kTagAnnotation, "");
      name.empty() && tag.find_first_of(":/") != std::string::npos) {
    name = tag;
  }
  if (name.empty()) return names;
  ASSIGN_OR_RETURN(std::string full, NormalizeImageReference(name));
  names.insert(std::move(full));
  return names;
}

absl::Status NameOci(Json* index, const std::set<std::string>& extra, std::set<std::string>* all) {
  // The same image stands once for each name: collect by digest, in the order of the file.
  std::vector<std::pair<Json, std::set<std::string>>> images;
  for (const Json& manifest : index->at("manifests")) {
    ASSIGN_OR_RETURN(std::set<std::string> names, OciNames(manifest));
    const auto same = std::find_if(images.begin(), images.end(), [&](const auto& image) {
      return image.first.at("digest") == manifest.at("digest");
    });
    if (same == images.end()) {
      images.emplace_back(manifest, std::move(names));
    } else {
      same->second.merge(names);
    }
  }
  if (!extra.empty() && images.size() != 1) {
    return absl::InvalidArgumentError(fmt::format(
        "the archive holds {} images: --as needs an archive with exactly one", images.size()));
  }
  Json renamed = Json::array();
  for (auto& [manifest, names] : images) {
    names.insert(extra.begin(), extra.end());
    for (const std::string& name : names) {
      Json copy = manifest;
      copy["annotations"][kNameAnnotation] = name;
      copy["annotations"].erase(kTagAnnotation);
      renamed.push_back(std::move(copy));
      all->insert(name);
    }
  }
  (*index)["manifests"] = std::move(renamed);
  return absl::OkStatus();
}

absl::Status NameDocker(Json* manifest, const std::set<std::string>& extra,
                        std::set<std::string>* all) {
  if (!extra.empty() && manifest->size() != 1) {
    return absl::InvalidArgumentError(fmt::format(
        "the archive holds {} images: --as needs an archive with exactly one", manifest->size()));
  }
  for (Json& image : *manifest) {
    std::set<std::string> names = extra;
    if (image.contains("RepoTags") && image["RepoTags"].is_array()) {
      for (const Json& tag : image["RepoTags"]) {
        ASSIGN_OR_RETURN(std::string full, NormalizeImageReference(tag.get<std::string>()));
        names.insert(std::move(full));
      }
    }
    image["RepoTags"] = names;
    all->insert(names.begin(), names.end());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ArchiveIndex> ReadArchiveIndex(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "open " + path);
  ArchiveIndex index;
  const absl::Status read = ForEachEntry(fd.get(), path, [&](const Entry& entry) -> absl::Status {
    std::string* file = entry.name == "index.json"      ? &index.oci_index
                        : entry.name == "manifest.json" ? &index.docker_manifest
                                                        : nullptr;
    if (file == nullptr) return absl::OkStatus();
    if (entry.size > kMaxIndexBytes) {
      return absl::InvalidArgumentError(fmt::format("{}: {} has {} bytes, more than {}", path,
                                                    entry.name, entry.size, kMaxIndexBytes));
    }
    file->resize(entry.size);
    return ReadAt(fd.get(), entry.offset + kBlock, file->data(), file->size(), path);
  });
  RETURN_IF_ERROR(read);
  if (index.oci_index.empty() && index.docker_manifest.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: no image archive: it holds neither index.json (OCI) nor manifest.json (docker save)",
        path));
  }
  return index;
}

absl::StatusOr<NamedArchive> NameImages(const ArchiveIndex& index,
                                        const std::vector<std::string>& extra) {
  std::set<std::string> extra_names, all;
  for (const std::string& name : extra) {
    ASSIGN_OR_RETURN(std::string full, NormalizeImageReference(name));
    extra_names.insert(std::move(full));
  }
  NamedArchive named;
  try {
    if (!index.oci_index.empty()) {
      Json json = Json::parse(index.oci_index);
      RETURN_IF_ERROR(NameOci(&json, extra_names, &all));
      named.index.oci_index = json.dump();
    }
    if (!index.docker_manifest.empty()) {
      Json json = Json::parse(index.docker_manifest);
      RETURN_IF_ERROR(NameDocker(&json, extra_names, &all));
      named.index.docker_manifest = json.dump();
    }
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("the archive's index: {}", error.what()));
  }
  if (all.empty()) {
    return absl::InvalidArgumentError("the archive does not name its image: give --as REFERENCE");
  }
  named.names.assign(all.begin(), all.end());
  return named;
}

absl::Status WriteRenamedArchive(const std::string& path, const ArchiveIndex& index, int output) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "open " + path);
  const absl::Status copied = ForEachEntry(fd.get(), path, [&](const Entry& entry) -> absl::Status {
    const std::string* file = entry.name == "index.json"      ? &index.oci_index
                              : entry.name == "manifest.json" ? &index.docker_manifest
                                                              : nullptr;
    if (file != nullptr) {
      Block header = entry.header;
      PutSizeAndChecksum(&header, file->size());
      RETURN_IF_ERROR(WriteAll(output, header.data(), kBlock));
      std::string content = *file;
      content.resize(Padded(content.size()), '\0');
      return WriteAll(output, content.data(), content.size());
    }
    std::array<char, 1 << 16> buffer;
    uint64_t offset = entry.offset;
    const uint64_t end = offset + kBlock + Padded(entry.size);
    while (offset < end) {
      const size_t part = std::min<uint64_t>(buffer.size(), end - offset);
      RETURN_IF_ERROR(ReadAt(fd.get(), offset, buffer.data(), part, path));
      RETURN_IF_ERROR(WriteAll(output, buffer.data(), part));
      offset += part;
    }
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(copied);
  const std::array<char, 2 * kBlock> end_of_archive{};
  return WriteAll(output, end_of_archive.data(), end_of_archive.size());
}

}  // namespace mesh::cli::local
