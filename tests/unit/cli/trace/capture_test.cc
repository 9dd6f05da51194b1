// SPDX-License-Identifier: Apache-2.0
#include "cli/trace/capture.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Numbers in either byte order.
class Bytes {
 public:
  explicit Bytes(bool big) : big_(big) {}
  Bytes& Add(uint32_t value, int size = 4) {
    for (int i = 0; i < size; ++i) {
      out_.push_back(static_cast<char>(value >> (big_ ? 8 * (size - 1 - i) : 8 * i)));
    }
    return *this;
  }
  Bytes& Add(const std::string& text) {
    out_ += text;
    return *this;
  }
  std::string str() const { return out_; }

 private:
  const bool big_;
  std::string out_;
};

std::string Pcap(const std::vector<std::string>& packets, bool big = false, uint32_t link = 1,
                 uint32_t magic = 0xa1b2c3d4) {
  Bytes out(big);
  out.Add(magic).Add(2, 2).Add(4, 2).Add(0).Add(0).Add(65535).Add(link);
  for (const std::string& packet : packets) {
    const auto size = static_cast<uint32_t>(packet.size());
    out.Add(1).Add(2).Add(size).Add(size).Add(packet);
  }
  return out.str();
}

std::string PcapNg(const std::vector<std::string>& packets, bool big = false) {
  Bytes out(big);
  out.Add(0x0a0d0d0a).Add(28).Add(0x1a2b3c4d).Add(1, 2).Add(0, 2).Add(0xffffffff).Add(0xffffffff);
  out.Add(28);
  out.Add(1).Add(20).Add(1, 2).Add(0, 2).Add(0).Add(20);
  // A block of a kind that is passed over.
  out.Add(5).Add(16).Add(7).Add(16);
  for (const std::string& packet : packets) {
    const auto size = static_cast<uint32_t>(packet.size());
    const uint32_t padded = (size + 3) / 4 * 4;
    out.Add(6).Add(32 + padded).Add(0).Add(0).Add(0).Add(size).Add(size).Add(packet);
    out.Add(std::string(padded - size, '\0')).Add(32 + padded);
  }
  return out.str();
}

std::string Error(const std::string& file) {
  const auto read = ReadCapture(file);
  return read.ok() ? "read" : std::string(read.status().message());
}

TEST(CaptureTest, ReadsPcapOfBothOrdersAndClocks) {
  for (const bool big : {false, true}) {
    for (const uint32_t magic : {0xa1b2c3d4, 0xa1b23c4d}) {
      EXPECT_THAT(*ReadCapture(Pcap({"first", "second one"}, big, 1, magic)),
                  ElementsAre("first", "second one"));
    }
    EXPECT_THAT(*ReadCapture(Pcap({}, big)), IsEmpty());
  }
}

TEST(CaptureTest, ReadsPcapNgOfBothOrders) {
  for (const bool big : {false, true}) {
    EXPECT_THAT(*ReadCapture(PcapNg({"first", "second one"}, big)),
                ElementsAre("first", "second one"));
  }
  // Sections follow each other, with an order of their own.
  EXPECT_THAT(*ReadCapture(PcapNg({"one"}, true) + PcapNg({"two"}, false)),
              ElementsAre("one", "two"));
}

TEST(CaptureTest, PacketsWithoutALinkLayerGetAHeader) {
  const std::string ipv4 = "\x45 and so on", ipv6 = "\x60 and so on";
  EXPECT_THAT(*ReadCapture(Pcap({ipv4, ipv6}, false, 101)),
              ElementsAre(std::string(12, '\0') + std::string("\x08\0", 2) + ipv4,
                          std::string(12, '\0') + "\x86\xdd" + ipv6));
  EXPECT_THAT(Error(Pcap({"x"}, false, 113)), HasSubstr("packet 1: link type 113"));
}

// Wherever a file ends, it is whole up to a packet's end, or the packet that is cut is told.
TEST(CaptureTest, NamesThePacketThatIsCut) {
  const std::string one = Pcap({"first"}), two = Pcap({"first", "second"});
  for (size_t size = 0; size < two.size(); ++size) {
    const std::string error = Error(two.substr(0, size));
    if (size < 4) {
      EXPECT_THAT(error, HasSubstr("no capture")) << size;
    } else if (size < 24) {
      EXPECT_THAT(error, HasSubstr("its header")) << size;
    } else if (size == 24 || size == one.size()) {
      EXPECT_EQ(error, "read") << size;
    } else {
      EXPECT_THAT(error, HasSubstr(size < one.size() ? "packet 1 " : "packet 2 ")) << size;
    }
  }
  const std::string ng = PcapNg({"first", "second"});
  EXPECT_THAT(Error(ng.substr(0, ng.size() - 1)), HasSubstr("packet 2 is not whole"));
}

TEST(CaptureTest, RefusesWhatItCannotTrust) {
  EXPECT_THAT(Error("not a capture"), HasSubstr("neither pcap nor pcapng"));
  // Captured with a snapshot length.
  std::string cut = Bytes(false).Add(1).Add(2).Add(4).Add(99).Add("abcd").str();
  EXPECT_THAT(Error(Pcap({}) + cut), HasSubstr("4 of its 99 bytes"));
  std::string huge = Bytes(false).Add(1).Add(2).Add(0xffffffff).Add(0xffffffff).str();
  EXPECT_THAT(Error(Pcap({}) + huge), HasSubstr("packet 1: 4294967295 bytes"));
  std::string block = Bytes(false).Add(6).Add(3).Add(0).str();
  EXPECT_THAT(Error(PcapNg({}) + block), HasSubstr("impossible length of 3"));
  std::string stranger =
      Bytes(false).Add(6).Add(36).Add(9).Add(0).Add(0).Add(4).Add(4).Add("abcd").Add(36).str();
  EXPECT_THAT(Error(PcapNg({}) + stranger), HasSubstr("interface 9"));
}

}  // namespace
}  // namespace mesh::cli
