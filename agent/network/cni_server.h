// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/event_loop.h"
#include "common/unique_fd.h"
#include "mesh/v1/cni.pb.h"

namespace mesh::agent {

// Serves the frames of cni.proto on a unix socket (mode 0600), one request per connection.
//
// A connection that is silent for 10 s is closed; at most kMaxConnections wait at a time, more stay
// in the listen queue. Thread: `loop`'s, which must outlive this.
class CniServer {
 public:
  static constexpr size_t kMaxConnections = 128;
  // `netns_fd` is -1 when none came along; it is closed after the call.
  using Handler = std::function<v1::CniReply(const v1::CniRequest& request, int netns_fd)>;

  // FAILED_PRECONDITION when another process serves `path`; a socket that nobody serves is
  // replaced.
  static absl::StatusOr<std::unique_ptr<CniServer>> Listen(EventLoop* loop, const std::string& path,
                                                           Handler handler);
  // Removes the socket.
  ~CniServer();
  CniServer(const CniServer&) = delete;
  CniServer& operator=(const CniServer&) = delete;

 private:
  struct Connection;

  CniServer(EventLoop* loop, std::string path, UniqueFd listener, Handler handler);
  void Accept();
  void Read(Connection* connection);
  void Serve(Connection* connection);
  void Close(int fd);

  EventLoop* loop_;
  std::string path_;
  UniqueFd listener_;
  Handler handler_;
  std::map<int, std::unique_ptr<Connection>> connections_;
  bool accepting_ = true;
};

}  // namespace mesh::agent
