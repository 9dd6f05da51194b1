// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/tar_copy.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = 128 * 1024;
constexpr mode_t kModeMask = 0777;  // no set-user-ID from elsewhere

struct WriteFree {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct ReadFree {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct EntryFree {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};

absl::Status ArchiveError(archive* a, std::string_view what) {
  const char* text = archive_error_string(a);
  return absl::InvalidArgumentError(fmt::format("{}: {}", what, text == nullptr ? "" : text));
}

class TarWriter {
 public:
  TarWriter(const std::function<absl::Status(std::string_view)>& sink,
            std::vector<std::string>* skipped)
      : sink_(sink), skipped_(skipped), archive_(archive_write_new()) {
    archive_write_set_format_pax_restricted(archive_.get());
    archive_write_set_bytes_per_block(archive_.get(), static_cast<int>(kBlockBytes));
    archive_write_set_bytes_in_last_block(archive_.get(), 1);
    archive_write_open(archive_.get(), this, nullptr, &TarWriter::Take, nullptr);
  }

  absl::Status Add(const fs::path& path, const std::string& name) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0)
      return ErrnoStatus(errno, fmt::format("read {}", path.string()));
    const bool known = S_ISREG(info.st_mode) || S_ISDIR(info.st_mode) || S_ISLNK(info.st_mode);
    if (!known) {
      skipped_->push_back(path.string());
      return absl::OkStatus();
    }
    const std::unique_ptr<archive_entry, EntryFree> entry(archive_entry_new());
    archive_entry_copy_stat(entry.get(), &info);
    archive_entry_set_pathname(entry.get(), name.c_str());
    if (S_ISLNK(info.st_mode)) {
      std::error_code error;
      archive_entry_set_symlink(entry.get(), fs::read_symlink(path, error).c_str());
      archive_entry_set_size(entry.get(), 0);
    }
    UniqueFd fd;
    if (S_ISREG(info.st_mode)) {
      fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (!fd) return ErrnoStatus(errno, fmt::format("open {}", path.string()));
    }
    if (archive_write_header(archive_.get(), entry.get()) < ARCHIVE_WARN) return Error();
    if (S_ISREG(info.st_mode)) return AddData(fd.get(), path);
    if (!S_ISDIR(info.st_mode)) return absl::OkStatus();
    std::vector<fs::path> children;
    std::error_code error;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
      children.push_back(it->path());
    if (error) {
      return absl::UnknownError(fmt::format("read folder {}: {}", path.string(), error.message()));
    }
    std::sort(children.begin(), children.end());
    for (const fs::path& child : children)
      RETURN_IF_ERROR(Add(child, name + "/" + child.filename().string()));
    return absl::OkStatus();
  }

  absl::Status Close() {
    if (archive_write_close(archive_.get()) != ARCHIVE_OK) return Error();
    return status_;
  }

 private:
  static la_ssize_t Take(archive* a, void* self, const void* data, size_t size) {
    auto* writer = static_cast<TarWriter*>(self);
    if (writer->status_.ok())
      writer->status_ = writer->sink_({static_cast<const char*>(data), size});
    if (writer->status_.ok()) return static_cast<la_ssize_t>(size);
    archive_set_error(a, EPIPE, "nobody takes the archive");
    return -1;
  }

  // A file that has grown meanwhile is cut, one that has shrunk is filled up with zeros.
  absl::Status AddData(int fd, const fs::path& path) {
    std::vector<char> block(kBlockBytes);
    while (true) {
      const ssize_t n = ::read(fd, block.data(), block.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, fmt::format("read {}", path.string()));
      if (n == 0) return absl::OkStatus();
      if (archive_write_data(archive_.get(), block.data(), static_cast<size_t>(n)) < 0)
        return Error();
    }
  }

  absl::Status Error() {
    return status_.ok() ? ArchiveError(archive_.get(), "write the archive") : status_;
  }

  const std::function<absl::Status(std::string_view)>& sink_;
  std::vector<std::string>* const skipped_;
  absl::Status status_;  // of the sink
  const std::unique_ptr<archive, WriteFree> archive_;
};

// The parts of an entry's path below `name`; empty for `name` itself. INVALID_ARGUMENT for a path
// that would leave it.
absl::StatusOr<std::vector<std::string>> PartsBelow(const std::string& name, std::string path) {
  const auto outside = [&] {
    return absl::InvalidArgumentError(
        fmt::format("the archive names \"{}\", which is not below \"{}\": refused", path, name));
  };
  if (path.starts_with('/')) return outside();
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(path)) {
    if (part == "..") return outside();
    if (!part.empty() && part != ".") parts.push_back(part.string());
  }
  if (name == ".") return parts;
  if (parts.empty() || parts.front() != name) return outside();
  parts.erase(parts.begin());
  return parts;
}

class TarReader {
 public:
  TarReader(const std::function<absl::StatusOr<std::string>()>& source, bool preserve,
            std::vector<std::string>* skipped)
      : source_(source), preserve_(preserve), skipped_(skipped), archive_(archive_read_new()) {
    archive_read_support_format_tar(archive_.get());
    archive_read_support_format_empty(archive_.get());
  }

  absl::Status Run(const std::string& name, const std::string& path) {
    if (archive_read_open(archive_.get(), this, nullptr, &TarReader::Give, nullptr) != ARCHIVE_OK)
      return Error();
    fs::path target = path;
    if (target.filename().empty()) target = target.parent_path();
    const fs::path parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
    UniqueFd folder(::open(parent.c_str(), O_DIRECTORY | O_RDONLY | O_CLOEXEC));
    if (!folder) return ErrnoStatus(errno, fmt::format("open folder {}", parent.string()));
    bool any = false;
    while (true) {
      archive_entry* entry = nullptr;
      const int result = archive_read_next_header(archive_.get(), &entry);
      if (result == ARCHIVE_EOF) break;
      if (result < ARCHIVE_WARN) return Error();
      any = true;
      const char* text = archive_entry_pathname(entry);
      ASSIGN_OR_RETURN(std::vector<std::string> parts,
                       PartsBelow(name, text == nullptr ? "" : text));
      parts.insert(parts.begin(), target.filename().string());
      RETURN_IF_ERROR(Place(folder.get(), parts, entry, text));
    }
    RETURN_IF_ERROR(status_);
    if (!any) return absl::NotFoundError("the archive is empty");
    return absl::OkStatus();
  }

 private:
  static la_ssize_t Give(archive* a, void* self, const void** data) {
    auto* reader = static_cast<TarReader*>(self);
    absl::StatusOr<std::string> piece = reader->source_();
    if (!piece.ok()) {
      reader->status_ = piece.status();
      archive_set_error(a, EPIPE, "the archive broke off");
      return -1;
    }
    reader->piece_ = *std::move(piece);
    *data = reader->piece_.data();
    return static_cast<la_ssize_t>(reader->piece_.size());
  }

  // Every step by descriptor and without links: what is there already cannot lead elsewhere.
  absl::Status Place(int folder, const std::vector<std::string>& parts, archive_entry* entry,
                     const char* text) {
    const auto type = archive_entry_filetype(entry);
    if ((type != AE_IFREG && type != AE_IFDIR) || archive_entry_hardlink(entry) != nullptr) {
      skipped_->push_back(text);
      return absl::OkStatus();
    }
    UniqueFd at(::fcntl(folder, F_DUPFD_CLOEXEC, 0));
    const size_t folders = type == AE_IFDIR ? parts.size() : parts.size() - 1;
    for (size_t i = 0; i < folders; ++i) {
      if (::mkdirat(at.get(), parts[i].c_str(), 0755) != 0 && errno != EEXIST)
        return ErrnoStatus(errno, fmt::format("make folder {}", parts[i]));
      // The place itself is the user's own choice; what is below is not.
      const int follow = i == 0 ? 0 : O_NOFOLLOW;
      UniqueFd next(
          ::openat(at.get(), parts[i].c_str(), O_DIRECTORY | O_RDONLY | O_CLOEXEC | follow));
      if (!next) return ErrnoStatus(errno, fmt::format("open folder {} of {}", parts[i], text));
      at = std::move(next);
    }
    if (type == AE_IFDIR) return absl::OkStatus();
    const std::string& leaf = parts.back();
    const UniqueFd file(::openat(at.get(), leaf.c_str(),
                                 O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                                 0644));
    if (!file) return ErrnoStatus(errno, fmt::format("write {}", text));
    if (archive_read_data_into_fd(archive_.get(), file.get()) != ARCHIVE_OK) return Error();
    if (preserve_) {
      ::fchmod(file.get(), archive_entry_perm(entry) & kModeMask);
      const timespec times[2] = {
          {.tv_sec = 0, .tv_nsec = UTIME_OMIT},
          {.tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry)}};
      ::futimens(file.get(), times);
    }
    return absl::OkStatus();
  }

  absl::Status Error() {
    return status_.ok() ? ArchiveError(archive_.get(), "read the archive") : status_;
  }

  const std::function<absl::StatusOr<std::string>()>& source_;
  const bool preserve_;
  std::vector<std::string>* const skipped_;
  absl::Status status_;  // of the source
  std::string piece_;
  const std::unique_ptr<archive, ReadFree> archive_;
};

}  // namespace

absl::Status WriteTar(const std::string& path, const std::string& name,
                      const std::function<absl::Status(std::string_view)>& sink,
                      std::vector<std::string>* skipped) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    return ErrnoStatus(errno, fmt::format("{} doesn't exist in local filesystem", path));
  TarWriter writer(sink, skipped);
  RETURN_IF_ERROR(writer.Add(path, name));
  return writer.Close();
}

absl::Status ReadTar(const std::function<absl::StatusOr<std::string>()>& source,
                     const std::string& name, const std::string& path, bool preserve,
                     std::vector<std::string>* skipped) {
  return TarReader(source, preserve, skipped).Run(name, path);
}

}  // namespace mesh::cli
