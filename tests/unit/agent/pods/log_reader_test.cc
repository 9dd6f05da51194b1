// SPDX-License-Identifier: Apache-2.0
// Goal: logs come out as the container wrote them. Method: files in the runtime's format, written
// by the test; following is driven by the reader's own hooks, so nothing waits for time to pass.
#include "agent/pods/log_reader.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace mesh::agent {
namespace {

class LogReader : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-log-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/0.log";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  void RotateAway(const std::string& time) { std::filesystem::rename(path_, path_ + "." + time); }
  std::string Read(const LogOptions& options) {
    std::string out;
    LogHooks hooks;
    hooks.sink = [&out](const std::string& data) {
      out += data;
      return true;
    };
    hooks.running = [] { return false; };
    hooks.cancelled = [] { return false; };
    EXPECT_TRUE(ReadLog(path_, options, hooks).ok());
    return out;
  }

  std::string folder_, path_;
};

constexpr char kThree[] =
    "2026-01-02T03:04:05.000000001Z stdout F one\n"
    "2026-01-02T03:04:06.000000001Z stderr F two\n"
    "2026-01-02T03:04:07.000000001Z stdout F three\n";

TEST_F(LogReader, TakesOffTheHeadOfEachLine) {
  Append(kThree);
  EXPECT_EQ(Read({}), "one\ntwo\nthree\n");
}

TEST_F(LogReader, JoinsPartsOfALongLine) {
  Append(
      "2026-01-02T03:04:05Z stdout P abc\n"
      "2026-01-02T03:04:05Z stdout P def\n"
      "2026-01-02T03:04:05Z stdout F ghi\n");
  EXPECT_EQ(Read({}), "abcdefghi\n");
  EXPECT_EQ(Read({.timestamps = true}), "2026-01-02T03:04:05Z abcdefghi\n");
}

TEST_F(LogReader, BeginsWithTheLastLines) {
  Append(kThree);
  EXPECT_EQ(Read({.tail_lines = 2}), "two\nthree\n");
  EXPECT_EQ(Read({.tail_lines = 99}), "one\ntwo\nthree\n");
  EXPECT_EQ(Read({.tail_lines = 0}), "");
}

TEST_F(LogReader, LeavesOutWhatIsOlder) {
  Append(kThree);
  LogOptions options;
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-01-02T03:04:06Z", &options.since, nullptr));
  EXPECT_EQ(Read(options), "two\nthree\n");
}

TEST_F(LogReader, KeepsEmptyLines) {
  Append("2026-01-02T03:04:05Z stdout F \n");
  EXPECT_EQ(Read({}), "\n");
}

TEST_F(LogReader, SaysWhenThereIsNoLog) {
  LogHooks hooks;
  EXPECT_TRUE(absl::IsNotFound(ReadLog(folder_ + "/none", {}, hooks)));
}

TEST_F(LogReader, FollowsUntilTheContainerHasEndedAndMissesNothing) {
  Append("2026-01-02T03:04:05Z stdout F begin\n");
  std::string out;
  int asked = 0;
  LogHooks hooks;
  hooks.sink = [&out](const std::string& data) {
    out += data;
    return true;
  };
  hooks.cancelled = [] { return false; };
  hooks.running = [&] {
    // The container writes its last words between the two looks.
    if (++asked == 1) return true;
    Append("2026-01-02T03:04:06Z stdout F end\n");
    return false;
  };

  ASSERT_TRUE(ReadLog(path_, {.follow = true}, hooks).ok());

  EXPECT_EQ(out, "begin\nend\n");
}

TEST_F(LogReader, StopsWhenTheClientIsGone) {
  Append(kThree);
  LogHooks hooks;
  int chunks = 0;
  hooks.sink = [&chunks](const std::string&) { return ++chunks > 1; };
  hooks.running = [] { return true; };
  hooks.cancelled = [] { return false; };

  EXPECT_TRUE(ReadLog(path_, {.follow = true}, hooks).ok());
  EXPECT_EQ(chunks, 1);
}

TEST_F(LogReader, ReadsWhatWasRotatedAwayFirst) {
  Append("2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:05Z stdout F two\n");
  RotateAway("20260102-030405.000000");
  Append("2026-01-02T03:04:06Z stdout F three\n");
  RotateAway("20260102-030406.000000");
  Append("2026-01-02T03:04:07Z stdout F four\n");
  EXPECT_EQ(Read({}), "one\ntwo\nthree\nfour\n");
  EXPECT_EQ(Read({.tail_lines = 1}), "four\n");
  EXPECT_EQ(Read({.tail_lines = 2}), "three\nfour\n");
  EXPECT_EQ(Read({.tail_lines = 3}), "two\nthree\nfour\n");
  EXPECT_EQ(Read({.tail_lines = 9}), "one\ntwo\nthree\nfour\n");
}

TEST_F(LogReader, FollowsThroughRotationsAndMissesNothing) {
  Append("2026-01-02T03:04:05Z stdout F one\n");
  std::string out;
  int asked = 0;
  LogHooks hooks;
  hooks.sink = [&out](const std::string& data) {
    out += data;
    return true;
  };
  hooks.cancelled = [] { return false; };
  hooks.running = [&] {
    switch (++asked) {
      case 1:  // renamed, the runtime still writes to the old file
        RotateAway("20260102-030405.000000");
        return true;
      case 2: {
        std::ofstream(path_ + ".20260102-030405.000000", std::ios::app)
            << "2026-01-02T03:04:06Z stdout F two\n";
        Append("");  // the new one is begun, with nothing in it
        return true;
      }
      case 3:  // and rotated again before the reader looks
        Append("2026-01-02T03:04:07Z stdout F three\n");
        RotateAway("20260102-030407.000000");
        Append("2026-01-02T03:04:08Z stdout F four\n");
        return true;
      default:
        return out.find("four") == std::string::npos;
    }
  };

  ASSERT_TRUE(ReadLog(path_, {.follow = true}, hooks).ok());

  EXPECT_EQ(out, "one\ntwo\nthree\nfour\n");
}

}  // namespace
}  // namespace mesh::agent
