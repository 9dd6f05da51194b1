// SPDX-License-Identifier: Apache-2.0
// The CNI specification's protocol between a runtime and a plugin: environment in, JSON on standard
// output. Shared by mesh-cni and by the agent, which does the work.
//
// Plain standard library types only: mesh-cni links nothing else, so that it starts in a
// millisecond.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace mesh::cni {

// Codes of the specification, section "Error"; 100 and up are our own.
enum ErrorCode : uint32_t {
  kIncompatibleVersion = 1,
  kUnsupportedField = 2,
  kUnknownContainer = 3,
  kInvalidEnvironment = 4,
  kIoFailure = 5,
  kDecodingFailure = 6,
  kInvalidConfig = 7,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kDataplaneFailure = 100,    // the kernel refused
  kAttachmentDiffers = 101,   // CHECK: what is there is not what ADD made
  kAddressesExhausted = 102,  // no address left for an attachment made by hand
};

struct Error {
  uint32_t code = 0;
  std::string message;
  std::string details;
  friend bool operator==(const Error&, const Error&) = default;
};

// Oldest first. The conflist the agent writes says 1.0.0, which every containerd speaks.
inline constexpr std::array<std::string_view, 4> kSupportedVersions = {"0.3.1", "0.4.0", "1.0.0",
                                                                       "1.1.0"};
inline constexpr std::string_view kLatestVersion = kSupportedVersions.back();
inline constexpr const char* kDefaultAgentSocket = "/run/mesh/cni.sock";
// Of one frame between mesh-cni and the agent.
inline constexpr uint32_t kMaxFrameBytes = 1 << 20;

bool IsSupportedVersion(std::string_view version);
// True when `version` (a supported one) is not older than `than`.
bool AtLeast(std::string_view version, std::string_view than);

// What the runtime puts into the environment.
struct Invocation {
  std::string command;       // ADD, DEL, CHECK, STATUS, GC or VERSION
  std::string container_id;  // ADD, DEL, CHECK
  std::string netns;         // ADD, CHECK; optional for DEL
  std::string ifname;        // ADD, DEL, CHECK
  std::string args;
  std::string path;
};

using GetEnv = std::function<const char*(const char* name)>;

// Code 4, naming every variable that is missing or malformed.
std::optional<Error> ReadEnvironment(const GetEnv& get, Invocation* out);

// The value of `key` in CNI_ARGS ("K=V;K=V"); empty when absent.
std::string_view FindArg(std::string_view args, std::string_view key);

// JSON objects for standard output, with a line end. `version` as the configuration asks for it;
// one that is not supported becomes the latest.
std::string ErrorJson(std::string_view version, const Error& error);
std::string VersionJson(std::string_view version);

}  // namespace mesh::cni
