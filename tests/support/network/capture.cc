// SPDX-License-Identifier: Apache-2.0
#include "tests/support/network/capture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "common/status.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"

namespace mesh::testing {
namespace {

// struct virtio_net_hdr; <linux/virtio_net.h> is no C++.
struct Told {
  uint8_t flags, segmentation;
  uint16_t header_bytes, segment_bytes, checksum_start, checksum_offset;
};
static_assert(sizeof(Told) == 10);
constexpr uint8_t kNeedsChecksum = 1;

// An IP packet of full length, its Ethernet header and what the kernel tells about it.
constexpr size_t kLongest = sizeof(Told) + 65535 + 256;
constexpr int kBufferBytes = 64 << 20;

// The file format of libpcap: microseconds, Ethernet.
struct FileHeader {
  uint32_t magic = 0xa1b2c3d4;
  uint16_t major = 2, minor = 4;
  uint32_t zone = 0, accuracy = 0, longest = 262144, link = 1;
};
struct RecordHeader {
  uint32_t seconds, microseconds, kept, length;
};

bool WriteAll(int fd, const void* data, size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = write(fd, at, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    at += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

// As a card does: the sum from `start` on stands at `start + offset`, where the sum of the pseudo
// header is. One packet that is still to be segmented has one sum.
bool FillIn(char* packet, size_t size, size_t start, size_t offset) {
  if (start + offset + 2 > size) return false;
  uint64_t sum = 0;
  for (size_t i = start; i < size; i += 2) {
    const auto high = static_cast<uint8_t>(packet[i]);
    const auto low = i + 1 < size ? static_cast<uint8_t>(packet[i + 1]) : uint8_t{0};
    sum += static_cast<uint64_t>(high) << 8 | low;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  auto check = static_cast<uint16_t>(~sum);
  if (check == 0) check = 0xffff;  // what means the same, and for UDP not "none"
  packet[start + offset] = static_cast<char>(check >> 8);
  packet[start + offset + 1] = static_cast<char>(check & 0xff);
  return true;
}

// Runs tshark with the settings in `settings` (empty: its own) and its output going to the file
// `out`. Its exit status; -1: it cannot be run.
int RunTshark(std::vector<std::string> words, const std::string& settings, const std::string& out) {
  words.insert(words.begin(), "tshark");
  std::vector<char*> argv, environment;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::string config = "XDG_CONFIG_HOME=" + settings;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  if (!settings.empty()) environment.insert(environment.begin(), config.data());
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error =
      posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool Exists() {
  static const bool exists = RunTshark({"--version"}, "", "/dev/null") == 0;
  return exists;
}

// A folder of settings in which tshark knows the protocols that we speak and no others: it would
// guess some from port numbers, which are random here, and find our words malformed.
absl::StatusOr<std::string> Settings() {
  static std::string* folder = nullptr;
  if (folder != nullptr) return *folder;
  char made[] = "/tmp/mesh-tshark-XXXXXX";
  if (mkdtemp(made) == nullptr) return ErrnoStatus(errno, "make a folder");
  static struct Removal {
    std::string path;
    ~Removal() {
      unlink((path + "/wireshark/disabled_protos").c_str());
      rmdir((path + "/wireshark").c_str());
      rmdir(path.c_str());
    }
  } removal{made};
  if (mkdir((removal.path + "/wireshark").c_str(), 0700) != 0) {
    return ErrnoStatus(errno, "make a folder");
  }
  const std::string listed = removal.path + "/protocols";
  const int result = RunTshark({"-G", "protocols"}, "", listed);
  std::ifstream protocols(listed);
  unlink(listed.c_str());
  if (result != 0) return absl::InternalError("tshark does not tell its protocols");
  std::ofstream disabled(removal.path + "/wireshark/disabled_protos");
  for (std::string line; std::getline(protocols, line);) {
    // Long name, short name, name in filters.
    const std::string name = line.substr(line.rfind('\t') + 1);
    static constexpr const char* kOurs[] = {"frame", "eth",  "ethertype", "arp",    "ip",
                                            "tcp",   "udp",  "icmp",      "icmpv6", "vxlan",
                                            "data",  "igmp", "llc"};
    bool ours = name.starts_with("_ws") || name.starts_with("ipv6");
    for (const char* known : kOurs) ours = ours || name == known;
    if (!ours) disabled << name << "\n";
  }
  if (!disabled.flush()) return absl::InternalError("write tshark's settings");
  folder = new std::string(removal.path);
  return *folder;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Capture>> Capture::Make() {
  std::unique_ptr<Capture> out(new Capture);
  // Without a name: nothing stays of a test that is killed.
  out->file_.reset(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!out->file_) return ErrnoStatus(errno, "make a file for a capture");
  out->path_ = fmt::format("/proc/{}/fd/{}", getpid(), out->file_.get());
  out->end_.reset(eventfd(0, EFD_CLOEXEC));
  if (!out->end_) return ErrnoStatus(errno, "make an eventfd");
  const FileHeader header;
  if (!WriteAll(out->file_.get(), &header, sizeof(header))) {
    return ErrnoStatus(errno, fmt::format("write {}", out->path_));
  }
  return out;
}

Capture::~Capture() { End(); }

absl::Status Capture::Tap(const Netns& netns, const std::string& interface) {
  UniqueFd fd;
  int ifindex = 0;
  RETURN_IF_ERROR(dataplane::InNetns(netns.fd(), [&] {
    fd.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
    return fd ? absl::OkStatus() : ErrnoStatus(errno, "open a packet socket");
  }));
  if (ifindex == 0) return absl::NotFoundError(fmt::format("no interface {}", interface));
  const int on = 1;
  if (setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
      setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0) {
    return ErrnoStatus(errno, "set up a packet socket");
  }
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBufferBytes, sizeof(kBufferBytes));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = ifindex;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, fmt::format("listen at {}", interface));
  }
  taps_.push_back(std::move(fd));
  return absl::OkStatus();
}

void Capture::Begin() {
  buffer_.resize(kLongest);
  thread_ = std::thread([this] { Run(); });
}

void Capture::Drain(int tap) {
  for (;;) {
    sockaddr_ll from{};
    socklen_t length = sizeof(from);
    const ssize_t got = recvfrom(tap, buffer_.data(), buffer_.size(), MSG_TRUNC,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (errno != EAGAIN && error_.empty()) error_ = std::strerror(errno);
      return;
    }
    if (from.sll_pkttype == PACKET_OTHERHOST) continue;
    Told told;
    if (static_cast<size_t>(got) < sizeof(told) || static_cast<size_t>(got) > buffer_.size()) {
      error_ = fmt::format("a packet of {} bytes", got);
      continue;
    }
    std::memcpy(&told, buffer_.data(), sizeof(told));
    char* packet = buffer_.data() + sizeof(told);
    const size_t size = static_cast<size_t>(got) - sizeof(told);
    if (told.flags & kNeedsChecksum &&
        !FillIn(packet, size, told.checksum_start, told.checksum_offset)) {
      error_ = "a checksum that is to be filled in outside of the packet";
    }
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const RecordHeader record = {static_cast<uint32_t>(now.tv_sec),
                                 static_cast<uint32_t>(now.tv_nsec / 1000),
                                 static_cast<uint32_t>(size), static_cast<uint32_t>(size)};
    if (!WriteAll(file_.get(), &record, sizeof(record)) || !WriteAll(file_.get(), packet, size)) {
      error_ = fmt::format("write {}: {}", path_, std::strerror(errno));
    }
    ++packets_;
  }
}

void Capture::Run() {
  std::vector<pollfd> waited = {{end_.get(), POLLIN, 0}};
  for (const UniqueFd& tap : taps_) waited.push_back({tap.get(), POLLIN, 0});
  while (waited[0].revents == 0) {
    if (poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return;
    for (const UniqueFd& tap : taps_) Drain(tap.get());
  }
}

void Capture::End() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  if (write(end_.get(), &one, sizeof(one)) != sizeof(one)) abort();
  thread_.join();
}

absl::Status Capture::Judge(Keep keep) {
  End();
  if (!error_.empty()) return absl::InternalError("capture: " + error_);
  if (!Exists()) {
    return absl::UnavailableError("no tshark here: what was on the wire is not judged");
  }
  ASSIGN_OR_RETURN(const std::string settings, Settings());
  // Checksums: 1 is good, 2 not looked at (a part of a datagram), 3 none (UDP). Those of segments
  // that an ICMP error quotes are as the router saw them: on a veth pair perhaps not filled in yet.
  // Where the sum is 0, the kernel (skb_checksum_help) and FillIn() write what means the same.
  std::string filter = "_ws.malformed || _ws.short";
  for (const char* protocol : {"ip", "icmp", "icmpv6"}) {
    filter += fmt::format(" || {0}.checksum.status == 0 || {0}.checksum.status == 4", protocol);
  }
  filter +=
      " || (!(icmp.type in {3, 11, 12}) && !(icmpv6.type in {1..4}) && "
      "(_ws.expert.severity == error || udp.checksum.status == 0 || udp.checksum.status == 4 || "
      "(tcp.checksum.status == 0 && !(tcp.checksum == 0xffff && tcp.checksum_calculated == 0))))";
  const UniqueFd found(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!found) return ErrnoStatus(errno, "make a file for what tshark says");
  const int result =
      RunTshark({"-n", "-r", path_, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
                 "-o", "udp.check_checksum:TRUE", "-Y", filter, "-V"},
                settings, fmt::format("/proc/{}/fd/{}", getpid(), found.get()));
  std::string bad(8000, '\0');
  const ssize_t size = pread(found.get(), bad.data(), bad.size(), 0);
  bad.resize(size < 0 ? 0 : static_cast<size_t>(size));
  if (result != 0) return absl::InternalError(fmt::format("tshark ended with {}", result));
  if (bad.empty()) return absl::OkStatus();
  std::string kept = "not kept";
  if (keep == Keep::kWhenBad) {
    kept = fmt::format("/tmp/mesh-wire-{}-{}.pcap", getpid(), file_.get());
    unlink(kept.c_str());
    if (linkat(AT_FDCWD, path_.c_str(), AT_FDCWD, kept.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      kept = std::strerror(errno);
    }
  }
  return absl::DataLossError(
      fmt::format("on the wire, of {} packets ({}):\n{}", packets(), kept, bad));
}

}  // namespace mesh::testing
