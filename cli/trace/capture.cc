// SPDX-License-Identifier: Apache-2.0
#include "cli/trace/capture.h"

#include <algorithm>
#include <cstdint>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr uint32_t kLinkEthernet = 1, kLinkRaw = 101, kLinkIpv4 = 228, kLinkIpv6 = 229;
// No interface of ours sends longer ones; a longer one is a length that is wrong.
constexpr uint32_t kLongest = 256 * 1024;

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  void set_swapped(bool swapped) { swapped_ = swapped; }
  bool swapped() const { return swapped_; }
  size_t left() const { return bytes_.size() - at_; }
  // REQUIRES: as many are left.
  uint32_t Read32() {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) {
      const uint32_t byte = static_cast<uint8_t>(bytes_[at_ + i]);
      value |= byte << (swapped_ ? 24 - 8 * i : 8 * i);
    }
    at_ += 4;
    return value;
  }
  uint16_t Read16() {
    const auto first = static_cast<uint8_t>(bytes_[at_]);
    const auto second = static_cast<uint8_t>(bytes_[at_ + 1]);
    at_ += 2;
    return static_cast<uint16_t>(swapped_ ? first << 8 | second : second << 8 | first);
  }
  std::string_view Take(size_t size) {
    const std::string_view out = bytes_.substr(at_, size);
    at_ += size;
    return out;
  }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  bool swapped_ = false;  // big-endian
};

absl::Status Cut(size_t number) {
  return absl::InvalidArgumentError(
      fmt::format("the capture is cut: packet {} is not whole", number));
}

absl::StatusOr<std::string> FrameOf(uint32_t link, std::string_view packet, size_t number) {
  if (link == kLinkEthernet) return std::string(packet);
  if (link != kLinkRaw && link != kLinkIpv4 && link != kLinkIpv6) {
    return absl::InvalidArgumentError(fmt::format(
        "packet {}: link type {} is not read; capture Ethernet (1) or raw IP (101)", number, link));
  }
  std::string out(12, '\0');
  const bool ipv6 = !packet.empty() && (static_cast<uint8_t>(packet[0]) >> 4) == 6;
  out += ipv6 ? std::string("\x86\xdd") : std::string("\x08\0", 2);
  return out.append(packet);
}

// A packet of which `captured` of `length` bytes are there.
absl::Status Take(Reader& file, uint32_t link, uint32_t captured, uint32_t length,
                  std::vector<std::string>* out) {
  const size_t number = out->size() + 1;
  if (captured > kLongest) {
    return absl::InvalidArgumentError(
        fmt::format("packet {}: {} bytes, at most {} are read", number, captured, kLongest));
  }
  if (captured > file.left()) return Cut(number);
  if (captured < length) {
    return absl::InvalidArgumentError(
        fmt::format("packet {}: {} of its {} bytes were captured; capture with a snapshot length "
                    "of 0 (tcpdump -s 0)",
                    number, captured, length));
  }
  ASSIGN_OR_RETURN(out->emplace_back(), FrameOf(link, file.Take(captured), number));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadPcap(Reader file) {
  std::vector<std::string> out;
  if (file.left() < 20) return absl::InvalidArgumentError("the capture is cut: its header is");
  file.Take(16);
  const uint32_t link = file.Read32() & 0xffff;
  while (file.left() > 0) {
    if (file.left() < 16) return Cut(out.size() + 1);
    file.Take(8);
    const uint32_t captured = file.Read32();
    const uint32_t length = file.Read32();
    RETURN_IF_ERROR(Take(file, link, captured, length, &out));
  }
  return out;
}

constexpr uint32_t kSection = 0x0a0d0d0a, kInterface = 1, kSimple = 3, kEnhanced = 6;

// One block without its frame of type and lengths.
absl::Status ReadBlock(uint32_t type, Reader body, std::vector<uint32_t>* links,
                       std::vector<std::string>* out) {
  const size_t number = out->size() + 1;
  if (type == kInterface) {
    if (body.left() < 4) return Cut(number);
    links->push_back(body.Read16());
    return absl::OkStatus();
  }
  if (type != kEnhanced && type != kSimple) return absl::OkStatus();
  uint32_t interface = 0, captured = 0, length = 0;
  if (type == kEnhanced) {
    if (body.left() < 20) return Cut(number);
    interface = body.Read32();
    body.Take(8);
    captured = body.Read32();
    length = body.Read32();
  } else {
    if (body.left() < 4) return Cut(number);
    length = body.Read32();
    captured = static_cast<uint32_t>(std::min<size_t>(length, body.left()));
  }
  if (interface >= links->size()) {
    return absl::InvalidArgumentError(
        fmt::format("packet {}: interface {} is not described before it", number, interface));
  }
  return Take(body, (*links)[interface], captured, length, out);
}

absl::StatusOr<std::vector<std::string>> ReadPcapNg(std::string_view bytes) {
  std::vector<std::string> out;
  std::vector<uint32_t> links;
  Reader file(bytes);
  while (file.left() > 0) {
    const size_t number = out.size() + 1;
    if (file.left() < 12) return Cut(number);
    const uint32_t type = file.Read32();
    if (type == kSection) {
      // Its length is in the order that the word behind it tells.
      Reader ahead = file;
      ahead.Take(4);
      ahead.set_swapped(false);
      const uint32_t order = ahead.Read32();
      if (order != 0x1a2b3c4d && order != 0x4d3c2b1a) {
        return absl::InvalidArgumentError(
            fmt::format("the capture's section before packet {} has no byte order", number));
      }
      file.set_swapped(order == 0x4d3c2b1a);
      links.clear();
    }
    const uint32_t length = file.Read32();
    if (length < 12 || length % 4 != 0) {
      return absl::InvalidArgumentError(
          fmt::format("the block before packet {} has an impossible length of {}", number, length));
    }
    if (length - 8 > file.left()) return Cut(number);
    // In the order of the section.
    Reader body = file;
    file.Take(length - 8);
    Reader bounded(body.Take(length - 12));
    bounded.set_swapped(body.swapped());
    RETURN_IF_ERROR(ReadBlock(type, bounded, &links, &out));
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadCapture(std::string_view bytes) {
  if (bytes.size() < 4) {
    return absl::InvalidArgumentError(
        fmt::format("no capture: {} bytes, neither pcap nor pcapng", bytes.size()));
  }
  Reader file(bytes);
  switch (const uint32_t magic = file.Read32()) {
    case 0xa1b2c3d4:
    case 0xa1b23c4d:
      return ReadPcap(file);
    case 0xd4c3b2a1:
    case 0x4d3cb2a1:
      file.set_swapped(true);
      return ReadPcap(file);
    case kSection:
      return ReadPcapNg(bytes);
    default:
      return absl::InvalidArgumentError(
          fmt::format("no capture: it begins with {:#010x}, neither pcap nor pcapng", magic));
  }
}

}  // namespace mesh::cli
