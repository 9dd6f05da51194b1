// SPDX-License-Identifier: Apache-2.0
// Traffic that goes on while something else happens, and tells afterwards whether it noticed.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/ip_address.h"
#include "common/unique_fd.h"
#include "tests/support/network/network.h"

namespace mesh::testing {

// Answers every datagram and every TCP byte at a port, until it is destroyed.
class Echo {
 public:
  // `any`: of the family in which it listens.
  Echo(const Netns& netns, uint16_t port, const IpAddress& any = IpAddress::V4(0));
  ~Echo();

 private:
  void Datagrams();
  void Connections();

  UniqueFd udp_, tcp_;
  std::atomic<bool> stop_ = false;
  std::thread datagrams_, connections_;
};

// Numbered datagrams to an Echo at a fixed rate, or slower when the answers lag behind: what a
// starved reader's socket cannot hold is not the network's loss.
class DatagramStream {
 public:
  struct Result {
    uint64_t sent = 0;
    uint64_t lost = 0;  // of which no answer came
    // Numbers of the first ones lost, for the message of a failed test.
    std::vector<uint64_t> first_lost;
  };

  DatagramStream(const Netns& netns, const IpAddress& ip, uint16_t port, int per_second);
  ~DatagramStream();
  uint64_t sent() const { return sent_; }
  uint64_t answered() const { return received_; }
  // Ends the stream and waits for the last answers.
  Result Stop();

 private:
  void Send(int per_second);
  void Receive();

  UniqueFd fd_;
  std::atomic<bool> stop_ = false, last_ = false;
  std::atomic<uint64_t> sent_ = 0, received_ = 0;
  std::vector<bool> answered_;
  std::thread sender_, receiver_;
};

// TCP to an Echo: one connection that stays, with some hundred exchanges a second of which each
// tenth is of many segments, and new ones one after the other.
class Connections {
 public:
  struct Result {
    uint64_t exchanges = 0;    // on the one that stays
    uint64_t connections = 0;  // made, used and closed
    // What went wrong; empty when nothing did.
    std::vector<std::string> problems;
    // Segments sent again: a lost packet that TCP has mended. A late answer on a loaded machine
    // looks the same.
    uint64_t sent_again = 0;
  };

  Connections(const Netns& netns, const IpAddress& ip, uint16_t port);
  ~Connections();
  uint64_t exchanges() const { return exchanges_; }
  Result Stop();

 private:
  void Stay(int fd);
  void Come();

  const Netns& netns_;
  const IpAddress ip_;
  const uint16_t port_;
  UniqueFd staying_;
  std::atomic<bool> stop_ = false;
  std::vector<std::string> stay_problems_, come_problems_;
  std::atomic<uint64_t> exchanges_ = 0, connections_ = 0, sent_again_ = 0;
  std::thread stay_, come_;
};

// Many UDP flows to one Echo; each draws a source port where it is masqueraded. One after the other
// says something, and must hear exactly that.
class Crowd {
 public:
  struct Result {
    uint64_t flows = 0;
    uint64_t exchanges = 0;
    std::vector<std::string> problems;  // the first ones; empty: none
  };

  Crowd(const Netns& netns, const IpAddress& ip, uint16_t port)
      : netns_(netns), ip_(ip), port_(port) {}
  // Returns when so many more flows have been heard, or one has not.
  void Grow(size_t flows);
  // Once more with every flow.
  void Ask();
  const Result& result() const { return result_; }

 private:
  void Exchange(size_t flow);

  const Netns& netns_;
  const IpAddress ip_;
  const uint16_t port_;
  std::vector<UniqueFd> flows_;
  Result result_;
};

}  // namespace mesh::testing
