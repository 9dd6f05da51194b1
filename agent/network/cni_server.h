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
// A connection whose request is not there after 10 s is closed; at most kMaxConnections are served
// at a time, more stay in the listen queue. Thread: `loop`'s, which must outlive this.
class CniServer {
 public:
  static constexpr size_t kMaxConnections = 128;
  // To be called once, on the loop, at any time; after the server is gone it does nothing.
  using Reply = std::function<void(const v1::CniReply& reply)>;
  // `netns_fd` is -1 when none came along; it is closed after the call.
  using Handler = std::function<void(const v1::CniRequest& request, int netns_fd, Reply reply)>;

  // Where the agent with this run folder listens.
  static std::string PathIn(const std::string& run_dir) { return run_dir + "/cni.sock"; }
  // Whether somebody does.
  static bool IsServed(const std::string& path);
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
  void Read(uint64_t id);
  void Serve(uint64_t id, Connection* connection);
  void Send(uint64_t id, const v1::CniReply& reply);
  void Close(uint64_t id);

  EventLoop* loop_;
  std::string path_;
  UniqueFd listener_;
  Handler handler_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  bool accepting_ = true;
  // Replies that come too late find it expired.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mesh::agent
