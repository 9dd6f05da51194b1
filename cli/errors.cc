// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "absl/strings/cord.h"
#include "cli/command.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr char kReasonPayload[] = "mesh.cli/server-reason";
constexpr char kPlainPayload[] = "mesh.cli/plain";
constexpr char kPrintedPayload[] = "mesh.cli/printed";
constexpr char kUsagePayload[] = "mesh.cli/usage";

absl::Status WithPayload(absl::StatusCode code, std::string_view message, const char* url,
                         std::string_view value) {
  absl::Status status(code, std::string(message));
  status.SetPayload(url, absl::Cord(std::string(value)));
  return status;
}

}  // namespace

absl::Status ServerError(absl::StatusCode code, std::string_view reason, std::string_view message) {
  return WithPayload(code, message, kReasonPayload, reason);
}

std::string ServerReason(const absl::Status& status) {
  auto payload = status.GetPayload(kReasonPayload);
  return payload ? std::string(*payload) : "";
}

absl::Status PlainError(absl::StatusCode code, std::string_view message) {
  return WithPayload(code, message, kPlainPayload, "1");
}

absl::Status AlreadyPrinted() {
  return WithPayload(absl::StatusCode::kUnknown, "already printed", kPrintedPayload, "1");
}

absl::Status UsageError(std::string_view message) {
  return WithPayload(absl::StatusCode::kInvalidArgument, message, kUsagePayload, "1");
}

std::string ErrorText(const absl::Status& status) {
  const std::string message(status.message());
  if (status.GetPayload(kPrintedPayload)) return "";
  if (status.GetPayload(kPlainPayload)) return message;
  if (std::string reason = ServerReason(status); !reason.empty()) {
    return fmt::format("Error from server ({}): {}", reason, message);
  }
  return fmt::format("error: {}", message);
}

bool IsUsageError(const absl::Status& status) {
  return status.GetPayload(kUsagePayload).has_value();
}

}  // namespace mesh::cli
