// SPDX-License-Identifier: Apache-2.0
// A registry of images for tests: the pull half of the OCI distribution API (version 2), with no
// authentication, HTTP's basic one, or tokens, on the loopback of a network namespace.
//
// Images come from an archive that scripts/build-image made; each gets a layer of its own with one
// small file, so that no image is there because another one is.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/registry/http_request.h"

namespace mesh::testing {

enum class RegistryLock { kOpen, kBasic, kToken };

// An image as the registry has it: "sha256:...".
struct ServedImage {
  std::string manifest, config, own_layer;
};

class Registry {
 public:
  // Fails the test when it cannot listen. `netns`: path of a namespace.
  explicit Registry(const std::string& netns);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // On 127.0.0.1.
  int port() const { return port_; }
  // What containerd must know of a registry of another name: the content of its hosts.toml.
  std::string HostsToml() const;

  // The only image of the archive, with a layer more, as "<repository>:<tag>". Fails the test when
  // the archive is none.
  ServedImage Add(const std::string& archive, const std::string& repository,
                  const std::string& tag);
  // Who may pull from the repository; by default everybody.
  void Lock(const std::string& repository, RegistryLock lock, const std::string& user,
            const std::string& password);
  // Answers no request for an image's own layer before those of `count` images are asked for.
  void HoldLayers(size_t count);
  // Whether those that were held were asked for together, not given up after a while.
  bool held_together() const;
  // "GET /v2/open/app/manifests/v1"
  int Count(const std::string& request) const;
  // Requests of the repository that were refused.
  int Refused(const std::string& repository) const;

 private:
  struct Guard {
    RegistryLock lock = RegistryLock::kOpen;
    std::string credentials, token;  // "user:password"
  };
  void Accept();
  void Serve(int fd);
  HttpAnswer Answer(const HttpRequest& request);
  HttpAnswer GiveToken(const HttpRequest& request);
  // The answer to who may not pull; status 200: may.
  HttpAnswer CheckRights(const HttpRequest& request, const std::string& repository);
  HttpAnswer Blob(const std::string& digest, const std::string& type);
  void AwaitOthers(const std::string& digest);
  // Keeps it by its digest.
  std::string Keep(const std::string& content);

  std::string folder_;  // blobs, by digest
  int listener_ = -1, port_ = 0;
  std::thread acceptor_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> servers_;
  std::set<int> connections_;
  std::map<std::string, std::string> manifests_;  // "repository:tag" -> digest
  std::set<std::string> manifest_digests_, own_layers_, asked_;
  std::map<std::string, Guard> guards_;
  size_t hold_ = 0;
  bool gave_up_ = false, stopping_ = false;
  std::map<std::string, int> requests_, refused_;
};

}  // namespace mesh::testing
