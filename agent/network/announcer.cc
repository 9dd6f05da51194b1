// SPDX-License-Identifier: Apache-2.0
#include "agent/network/announcer.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/log.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

// After the first, second ... round: a neighbour that was busy, one whose link comes up late.
constexpr absl::Duration kPauses[] = {absl::Milliseconds(200), absl::Milliseconds(800),
                                      absl::Seconds(1), absl::Seconds(3)};
static_assert(std::size(kPauses) == Announcer::kRounds - 1);

}  // namespace

std::array<uint8_t, kArpFrameBytes> GratuitousArp(const dataplane::MacAddress& mac,
                                                  const IpAddress& ip, bool reply) {
  std::array<uint8_t, kArpFrameBytes> out{};
  auto at = std::fill_n(out.begin(), 6, uint8_t{0xff});
  at = std::copy(mac.begin(), mac.end(), at);
  const uint8_t operation = reply ? 2 : 1;
  // ARP over Ethernet for IPv4, address lengths 6 and 4.
  for (const uint8_t byte : {0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00}) *at++ = byte;
  *at++ = operation;
  const auto put_ip = [&] {
    for (int shift = 24; shift >= 0; shift -= 8) *at++ = static_cast<uint8_t>(ip.v4() >> shift);
  };
  at = std::copy(mac.begin(), mac.end(), at);
  put_ip();
  // In a question the target's hardware address is what is asked for.
  at = std::fill_n(at, 6, reply ? uint8_t{0xff} : uint8_t{0});
  put_ip();
  return out;
}

std::array<uint8_t, kNeighborFrameBytes> NeighborAdvertisement(const dataplane::MacAddress& mac,
                                                               const IpAddress& ip) {
  // ff02::1, and the Ethernet address it stands for.
  constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0,
                                                 0,    0,    0, 0, 0, 0, 0, 1};
  constexpr uint8_t kGroupMac[] = {0x33, 0x33, 0, 0, 0, 1};
  // Version 6, 32 bytes of ICMPv6, hop limit 255: what came through a router is not heeded.
  constexpr uint8_t kHead[] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255};
  // Type 136, checksum to come, flag override: not solicited, and this is no router of theirs.
  constexpr uint8_t kMessage[] = {136, 0, 0, 0, 0x20, 0, 0, 0};
  constexpr size_t kIpAt = 14, kMessageAt = kIpAt + 40, kChecksumAt = kMessageAt + 2;
  std::array<uint8_t, kNeighborFrameBytes> out{};
  auto at = std::copy(std::begin(kGroupMac), std::end(kGroupMac), out.begin());
  at = std::copy(mac.begin(), mac.end(), at);
  at = std::copy(std::begin(kHead), std::end(kHead), at);
  at = std::copy(ip.bytes().begin(), ip.bytes().end(), at);
  at = std::copy(kAllNodes.begin(), kAllNodes.end(), at);
  at = std::copy(std::begin(kMessage), std::end(kMessage), at);
  at = std::copy(ip.bytes().begin(), ip.bytes().end(), at);
  // Option 2, target link-layer address, of 8 bytes.
  *at++ = 2;
  *at++ = 1;
  std::copy(mac.begin(), mac.end(), at);

  // Over the addresses, the message, its length and its protocol (RFC 8200, 8.1).
  uint32_t sum = static_cast<uint32_t>(out.size() - kMessageAt) + 58;
  for (size_t i = kIpAt + 8; i < out.size(); i += 2)
    sum += static_cast<uint32_t>(out[i] << 8 | out[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  out[kChecksumAt] = static_cast<uint8_t>(~sum >> 8);
  out[kChecksumAt + 1] = static_cast<uint8_t>(~sum);
  return out;
}

absl::Status SendAnnouncements(const std::string& interface, const std::vector<IpAddress>& ips) {
  const UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus(errno, "cannot make a packet socket");
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  if (::ioctl(fd.get(), SIOCGIFINDEX, &request) != 0)
    return ErrnoStatus(errno, fmt::format("cannot find {}", interface));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = request.ifr_ifindex;
  to.sll_halen = ETH_ALEN;
  if (::ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0)
    return ErrnoStatus(errno, fmt::format("cannot read the address of {}", interface));
  dataplane::MacAddress mac;
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  absl::Status first;
  const auto send = [&](const IpAddress& ip, uint16_t protocol, const auto& frame) {
    to.sll_protocol = htons(protocol);
    if (::sendto(fd.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0 &&
        first.ok())
      first = ErrnoStatus(errno, fmt::format("cannot announce {} on {}", ip.ToString(), interface));
  };
  for (const IpAddress& ip : ips) {
    if (!ip.is_v4()) {
      send(ip, ETH_P_IPV6, NeighborAdvertisement(mac, ip));
      continue;
    }
    for (const bool reply : {false, true}) send(ip, ETH_P_ARP, GratuitousArp(mac, ip, reply));
  }
  return first;
}

void Announcer::SetState(const dataplane::DesiredState& desired, Word word) {
  const auto look = [&](const std::string& key) {
    const auto it = desired.services.find(key);
    SetService(key, it == desired.services.end() ? nullptr : &it->second);
  };
  if (desired.changed_services.has_value()) {
    for (const std::string& key : *desired.changed_services) look(key);
  } else {
    std::vector<std::string> old;
    for (const auto& [key, ips] : by_service_) old.push_back(key);
    for (const std::string& key : old) look(key);
    for (const auto& [key, service] : desired.services) SetService(key, &service);
  }
  loop_->Cancel(timer_);
  if (word == Word::kMeshds) Tell();
}

void Announcer::SetService(const std::string& key, const dataplane::Service* service) {
  std::vector<IpAddress> now;
  if (service != nullptr && service->announced) now = service->load_balancer_ips;
  const auto it = by_service_.find(key);
  const std::vector<IpAddress> before =
      it == by_service_.end() ? std::vector<IpAddress>() : it->second;
  if (now == before) return;
  for (const IpAddress& ip : now) {
    auto [at, added] = addresses_.try_emplace(ip);
    if (added) at->second.due = loop_->Now();
    ++at->second.services;
  }
  for (const IpAddress& ip : before) {
    if (--addresses_[ip].services == 0) addresses_.erase(ip);
  }
  if (now.empty()) {
    by_service_.erase(key);
  } else {
    by_service_[key] = std::move(now);
  }
}

void Announcer::Tell() {
  std::vector<IpAddress> batch;
  absl::Time next = absl::InfiniteFuture();
  const absl::Time now = loop_->Now();
  for (auto& [ip, address] : addresses_) {
    if (address.rounds_left == 0) continue;
    if (address.due <= now && batch.size() < kBatch) {
      batch.push_back(ip);
      if (--address.rounds_left == 0) continue;
      address.due = now + kPauses[kRounds - 1 - address.rounds_left];
    }
    next = std::min(next, std::max(address.due, now + kTick));
  }
  if (!batch.empty()) {
    const absl::Status status = send_(batch);
    if (!status.ok() && !failing_) spdlog::warn("network: {}", std::string(status.message()));
    failing_ = !status.ok();
  }
  if (next != absl::InfiniteFuture()) timer_ = loop_->RunAt(next, [this] { Tell(); });
}

}  // namespace mesh::agent
