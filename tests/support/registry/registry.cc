// SPDX-License-Identifier: Apache-2.0
#include "tests/support/registry/registry.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "cli/local/process.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::testing {
namespace {

using Json = nlohmann::json;
using cli::local::ReadFile;
using cli::local::RunOrFail;
using cli::local::WriteFile;

constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kLayerType[] = "application/vnd.oci.image.layer.v1.tar";
constexpr std::chrono::seconds kLongestHold{20};

// A socket belongs to the namespace of the thread that makes it; the thread ends with that.
int ListenIn(const std::string& netns) {
  int out = -1;
  std::thread([&] {
    const UniqueFd home(::open(netns.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(home) << netns << ": " << std::strerror(errno);
    ASSERT_EQ(::setns(home.get(), CLONE_NEWNET), 0) << std::strerror(errno);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
        << std::strerror(errno);
    ASSERT_EQ(::listen(fd, 64), 0) << std::strerror(errno);
    out = fd;
  }).join();
  return out;
}

int PortOf(int fd) {
  sockaddr_in address = {};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

// "user:password" of an Authorization header; empty: none.
std::string BasicOf(const HttpRequest& request) {
  const auto header = request.headers.find("authorization");
  std::string plain;
  if (header == request.headers.end() || !header->second.starts_with("Basic ")) return "";
  return absl::Base64Unescape(header->second.substr(6), &plain) ? plain : "";
}

HttpAnswer Problem(int status, const std::string& code) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}},
          .body = fmt::format(R"({{"errors":[{{"code":"{}"}}]}})", code)};
}

}  // namespace

Registry::Registry(const std::string& netns) {
  char folder[] = "/tmp/mesh-registry-XXXXXX";
  EXPECT_NE(::mkdtemp(folder), nullptr);
  folder_ = folder;
  listener_ = ListenIn(netns);
  if (listener_ < 0) return;
  port_ = PortOf(listener_);
  acceptor_ = std::thread([this] { Accept(); });
}

Registry::~Registry() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int fd : connections_) ::shutdown(fd, SHUT_RDWR);
  }
  changed_.notify_all();
  if (listener_ >= 0) ::shutdown(listener_, SHUT_RDWR);  // ends accept()
  if (acceptor_.joinable()) acceptor_.join();
  for (std::thread& server : servers_) server.join();
  if (listener_ >= 0) ::close(listener_);
  if (!folder_.empty()) (void)cli::local::RemoveTree(folder_);
}

std::string Registry::HostsToml() const {
  return fmt::format(
      "server = \"http://127.0.0.1:{0}\"\n\n[host.\"http://127.0.0.1:{0}\"]\n  capabilities = "
      "[\"pull\", \"resolve\"]\n",
      port_);
}

std::string Registry::Keep(const std::string& content) {
  const std::string path = folder_ + "/new";
  EXPECT_TRUE(WriteFile(path, content).ok());
  const auto sum = RunOrFail({"sha256sum", path});
  EXPECT_TRUE(sum.ok()) << sum.status();
  const std::string digest = "sha256:" + sum.value_or("").substr(0, 64);
  EXPECT_EQ(::rename(path.c_str(), (folder_ + "/" + digest).c_str()), 0);
  return digest;
}

ServedImage Registry::Add(const std::string& archive, const std::string& repository,
                          const std::string& tag) {
  ServedImage out;
  const std::string layout = folder_ + "/layout", own = folder_ + "/own";
  EXPECT_TRUE(cli::local::MakeDirectories(layout).ok());
  EXPECT_TRUE(cli::local::MakeDirectories(own).ok());
  const auto unpacked = RunOrFail({"tar", "-C", layout, "-xf", archive});
  EXPECT_TRUE(unpacked.ok()) << unpacked.status();
  const auto blob = [&](const std::string& digest) {
    return ReadFile(layout + "/blobs/sha256/" + digest.substr(7)).value_or("");
  };
  const Json index = Json::parse(ReadFile(layout + "/index.json").value_or(""), nullptr, false);
  if (!index.is_object()) {
    ADD_FAILURE() << archive << " is no image archive";
    return out;
  }
  Json manifest = Json::parse(blob(index["manifests"][0]["digest"].get<std::string>()));
  Json config = Json::parse(blob(manifest["config"]["digest"].get<std::string>()));
  for (const Json& layer : manifest["layers"]) Keep(blob(layer["digest"].get<std::string>()));

  EXPECT_TRUE(WriteFile(own + "/image-name", repository + ":" + tag + "\n").ok());
  const auto packed =
      RunOrFail({"tar", "-C", own, "--format=gnu", "-cf", folder_ + "/own.tar", "image-name"});
  EXPECT_TRUE(packed.ok()) << packed.status();
  const std::string layer = ReadFile(folder_ + "/own.tar").value_or("");
  out.own_layer = Keep(layer);
  manifest["layers"].push_back(
      {{"mediaType", kLayerType}, {"digest", out.own_layer}, {"size", layer.size()}});
  config["rootfs"]["diff_ids"].push_back(out.own_layer);
  const std::string config_text = config.dump();
  out.config = Keep(config_text);
  manifest["config"]["digest"] = out.config;
  manifest["config"]["size"] = config_text.size();
  manifest["mediaType"] = kManifestType;
  out.manifest = Keep(manifest.dump());

  std::lock_guard lock(mutex_);
  manifests_[repository + ":" + tag] = out.manifest;
  manifest_digests_.insert(out.manifest);
  own_layers_.insert(out.own_layer);
  return out;
}

void Registry::Lock(const std::string& repository, RegistryLock lock, const std::string& user,
                    const std::string& password) {
  std::lock_guard guard(mutex_);
  guards_[repository] = {
      .lock = lock, .credentials = user + ":" + password, .token = "token-of-" + repository};
}

void Registry::HoldLayers(size_t count) {
  std::lock_guard lock(mutex_);
  hold_ = count;
  asked_.clear();
  gave_up_ = false;
}

bool Registry::held_together() const {
  std::lock_guard lock(mutex_);
  return hold_ > 0 && asked_.size() >= hold_ && !gave_up_;
}

int Registry::Count(const std::string& request) const {
  std::lock_guard lock(mutex_);
  const auto found = requests_.find(request);
  return found == requests_.end() ? 0 : found->second;
}

int Registry::Refused(const std::string& repository) const {
  std::lock_guard lock(mutex_);
  const auto found = refused_.find(repository);
  return found == refused_.end() ? 0 : found->second;
}

void Registry::Accept() {
  while (true) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    std::lock_guard lock(mutex_);
    if (stopping_ || fd < 0) {
      if (fd >= 0) ::close(fd);
      if (stopping_ || (errno != EINTR && errno != ECONNABORTED)) return;
      continue;
    }
    connections_.insert(fd);
    servers_.emplace_back([this, fd] { Serve(fd); });
  }
}

void Registry::Serve(int fd) {
  if (const auto request = ReadRequest(fd)) {
    {
      std::lock_guard lock(mutex_);
      ++requests_[request->method + " " + request->path];
    }
    WriteAnswer(fd, *request, Answer(*request));
  }
  std::lock_guard lock(mutex_);
  connections_.erase(fd);
  ::close(fd);
}

// /v2/<repository>/manifests/<tag or digest>, /v2/<repository>/blobs/<digest>, /token
HttpAnswer Registry::Answer(const HttpRequest& request) {
  if (request.path == "/token") return GiveToken(request);
  if (request.path == "/v2/") return {};
  if (request.method != "GET" && request.method != "HEAD") return Problem(405, "UNSUPPORTED");
  const size_t last = request.path.rfind('/');
  const size_t before = last == 0 ? 0 : request.path.rfind('/', last - 1);
  if (!request.path.starts_with("/v2/") || before < 4) return Problem(404, "NAME_UNKNOWN");
  const std::string repository = request.path.substr(4, before - 4);
  const std::string what = request.path.substr(before + 1, last - before - 1);
  std::string reference = request.path.substr(last + 1);
  if (HttpAnswer refusal = CheckRights(request, repository); refusal.status != 200) return refusal;
  if (what == "blobs") {
    if (request.method == "GET") AwaitOthers(reference);
    return Blob(reference, "application/octet-stream");
  }
  if (what != "manifests") return Problem(404, "NAME_UNKNOWN");
  {
    std::lock_guard lock(mutex_);
    const auto tagged = manifests_.find(repository + ":" + reference);
    if (tagged != manifests_.end()) reference = tagged->second;
    if (!manifest_digests_.contains(reference)) return Problem(404, "MANIFEST_UNKNOWN");
  }
  return Blob(reference, kManifestType);
}

HttpAnswer Registry::CheckRights(const HttpRequest& request, const std::string& repository) {
  std::lock_guard lock(mutex_);
  const auto guard = guards_.find(repository);
  if (guard == guards_.end() || guard->second.lock == RegistryLock::kOpen) return {};
  const bool tokens = guard->second.lock == RegistryLock::kToken;
  const auto header = request.headers.find("authorization");
  const bool may =
      tokens ? header != request.headers.end() && header->second == "Bearer " + guard->second.token
             : BasicOf(request) == guard->second.credentials;
  if (may) return {};
  ++refused_[repository];
  HttpAnswer out = Problem(401, "UNAUTHORIZED");
  out.headers.emplace_back(
      "WWW-Authenticate",
      tokens ? fmt::format("Bearer realm=\"http://127.0.0.1:{}/token\",service=\"test\",scope="
                           "\"repository:{}:pull\"",
                           port_, repository)
             : "Basic realm=\"test\"");
  return out;
}

// GET /token?scope=repository:NAME:pull. Clients that would post are told that there is nothing.
HttpAnswer Registry::GiveToken(const HttpRequest& request) {
  if (request.method != "GET") return Problem(404, "UNSUPPORTED");
  std::lock_guard lock(mutex_);
  for (const auto& [repository, guard] : guards_) {
    std::string scope = "repository%3A";
    for (const char c : repository) scope += c == '/' ? std::string("%2F") : std::string(1, c);
    if (request.query.find(scope + "%3Apull") == std::string::npos &&
        request.query.find("repository:" + repository + ":pull") == std::string::npos)
      continue;
    if (BasicOf(request) != guard.credentials) break;
    return {.status = 200,
            .headers = {{"Content-Type", "application/json"}},
            .body = Json{{"token", guard.token}}.dump()};
  }
  return Problem(401, "UNAUTHORIZED");
}

HttpAnswer Registry::Blob(const std::string& digest, const std::string& type) {
  const bool is_digest = digest.size() == 71 && digest.starts_with("sha256:") &&
                         digest.find_first_not_of("0123456789abcdef", 7) == std::string::npos;
  const auto content = is_digest ? ReadFile(folder_ + "/" + digest)
                                 : absl::StatusOr<std::string>(absl::NotFoundError("no digest"));
  if (!content.ok()) return Problem(404, "BLOB_UNKNOWN");
  return {.status = 200,
          .headers = {{"Content-Type", type}, {"Docker-Content-Digest", digest}},
          .body = *content};
}

void Registry::AwaitOthers(const std::string& digest) {
  std::unique_lock lock(mutex_);
  if (hold_ == 0 || !own_layers_.contains(digest)) return;
  asked_.insert(digest);
  changed_.notify_all();
  const bool together =
      changed_.wait_for(lock, kLongestHold, [this] { return stopping_ || asked_.size() >= hold_; });
  gave_up_ = gave_up_ || !together;
}

}  // namespace mesh::testing
