// SPDX-License-Identifier: Apache-2.0
#include "agent/network/uplink_watch.h"

#include <utility>

#include "common/log.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kRetry = absl::Seconds(1);

}  // namespace

UplinkWatch::UplinkWatch(EventLoop* loop, std::string name, Hooks hooks)
    : loop_(loop), name_(std::move(name)), hooks_(std::move(hooks)) {
  Look();
}

UplinkWatch::~UplinkWatch() { loop_->Cancel(retry_); }

void UplinkWatch::Look() {
  loop_->Cancel(retry_);
  const absl::StatusOr<int> mtu = hooks_.read();
  if (!mtu.ok()) return;
  if (in_force_ == *mtu) return SetTrouble("");
  const absl::Status applied = hooks_.apply(*mtu);
  if (applied.ok()) {
    if (in_force_.has_value())
      spdlog::info("network: uplink {} has MTU {} now, {} before: followed", name_, *mtu,
                   *in_force_);
    in_force_ = *mtu;
    return SetTrouble("");
  }
  const std::string why(applied.message());
  if (absl::IsInvalidArgument(applied)) {
    return SetTrouble(fmt::format(
        "{}; the node goes on as before{}, and packets that are too long for the uplink {} are "
        "lost: give it a larger MTU",
        why, in_force_.has_value() ? fmt::format(" ({})", *in_force_) : "", name_));
  }
  in_force_.reset();
  SetTrouble(
      fmt::format("not everything has followed the uplink {} to its MTU of {}, which is "
                  "tried again: {}",
                  name_, *mtu, why));
  retry_ = loop_->RunAfter(kRetry, [this] { Look(); });
}

void UplinkWatch::SetTrouble(std::string trouble) {
  if (trouble_ == trouble) return;
  trouble_ = std::move(trouble);
  if (!trouble_.empty()) spdlog::warn("network: {}", trouble_);
  hooks_.tell(trouble_);
}

}  // namespace mesh::agent
