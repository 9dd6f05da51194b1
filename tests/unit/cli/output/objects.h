// SPDX-License-Identifier: Apache-2.0
// Objects from protobuf text, and the moment that the tests call now.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace mesh::cli {

// 2026-01-02T03:04:05Z.
inline constexpr int64_t kNowSeconds = 1767323045;
inline absl::Time Now() { return absl::FromUnixSeconds(kNowSeconds); }

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// A timestamp field that lies `seconds` before now.
inline std::string Ago(const std::string& field, int64_t seconds) {
  return field + " { seconds: " + std::to_string(kNowSeconds - seconds) + " } ";
}

}  // namespace mesh::cli
