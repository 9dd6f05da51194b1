// SPDX-License-Identifier: Apache-2.0
#include "agent/network/flow_stream.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "api/flows/flow_filter.h"
#include "common/status.h"
#include "dataplane/reasons.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using Match = FlowFilter::Match;

constexpr absl::Duration kLook = absl::Milliseconds(200);  // whether the caller has gone
constexpr absl::Duration kNamesLast = absl::Seconds(1);
constexpr uint32_t kLimitDefault = 1000, kLimitMax = 100'000;
// A message stays well below gRPC's 4 MB.
constexpr int kFlowsPerChunk = 1000;

// The wall clock and CLOCK_MONOTONIC of one moment.
struct Moment {
  absl::Time now = absl::Now();
  int64_t now_ns = [] {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  }();
};

absl::StatusOr<FlowFilter> ParseFilter(const v1::FlowFilter& filter) {
  for (const std::string& reason : filter.reasons()) {
    if (!dataplane::IsReason(reason))
      return absl::InvalidArgumentError(fmt::format(
          "reason: \"{}\" is none that packets are dropped for (docs/errors.md)", reason));
  }
  return FlowFilter::Parse(filter);
}

bool Before(const v1::Flow& a, const v1::Flow& b) {
  return std::pair(a.time().seconds(), a.time().nanos()) <
         std::pair(b.time().seconds(), b.time().nanos());
}

bool MayPass(const FlowFilter& filter, const FlowNamer& names, const v1::Flow& flow) {
  return filter.Matches(flow, [&](const v1::FlowEnd& end) { return names.MayHaveName(end); }) !=
         Match::kNo;
}

absl::Status Once(const v1::FlowsRequest& request, const FlowFilter& filter, const FlowHub& hub,
                  const FlowStreamHooks& hooks) {
  const uint32_t limit =
      request.limit() == 0 ? kLimitDefault : std::min(request.limit(), kLimitMax);
  const Moment at;
  const std::shared_ptr<const FlowNamer> names = hooks.names();
  ASSIGN_OR_RETURN(const std::vector<dataplane::ConntrackRow> rows, hooks.conntrack());
  std::vector<v1::Flow> flows;
  const auto add = [&](v1::Flow flow) {
    if (MayPass(filter, *names, flow)) flows.push_back(std::move(flow));
  };
  for (const dataplane::ConntrackRow& row : rows) add(names->FromConntrack(row, at.now));
  for (const dataplane::FlowEvent& event : hub.RecentDrops())
    add(names->FromEvent(event, at.now, at.now_ns));
  std::ranges::stable_sort(flows, Before);
  const bool more = flows.size() > limit;
  if (more) flows.erase(flows.begin(), flows.end() - limit);
  v1::FlowsChunk chunk;
  chunk.set_more(more);
  for (v1::Flow& flow : flows) {
    if (chunk.flows_size() == kFlowsPerChunk) {
      if (!hooks.write(chunk)) return absl::OkStatus();
      chunk.clear_flows();
    }
    *chunk.add_flows() = std::move(flow);
  }
  hooks.write(chunk);
  return absl::OkStatus();
}

absl::Status Follow(const FlowFilter& filter, FlowHub& hub, const FlowStreamHooks& hooks) {
  ASSIGN_OR_RETURN(const std::unique_ptr<FlowHub::Reader> reader, hub.Follow());
  // That it listens now.
  if (!hooks.write(v1::FlowsChunk())) return absl::OkStatus();
  std::shared_ptr<const FlowNamer> names;
  absl::Time names_until = absl::InfinitePast();
  while (!hooks.cancelled()) {
    const FlowHub::Batch batch = reader->Next(absl::Now() + kLook);
    RETURN_IF_ERROR(batch.ended);
    if (batch.events.empty() && !batch.lost.any()) continue;
    const Moment at;
    if (at.now >= names_until) {
      names = hooks.names();
      names_until = at.now + kNamesLast;
    }
    v1::FlowsChunk chunk;
    chunk.mutable_lost()->set_ring(batch.lost.ring);
    chunk.mutable_lost()->set_suppressed(batch.lost.suppressed);
    chunk.mutable_lost()->set_queue(batch.lost.queue);
    if (!batch.lost.any()) chunk.clear_lost();
    for (const dataplane::FlowEvent& event : batch.events) {
      v1::Flow flow = names->FromEvent(event, at.now, at.now_ns);
      if (!MayPass(filter, *names, flow)) continue;
      if (chunk.flows_size() == kFlowsPerChunk) {
        if (!hooks.write(chunk)) return absl::OkStatus();
        chunk.Clear();
      }
      *chunk.add_flows() = std::move(flow);
    }
    if (chunk.flows().empty() && !chunk.has_lost()) continue;
    if (!hooks.write(chunk)) return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StreamFlows(const v1::FlowsRequest& request, FlowHub& hub,
                         const FlowStreamHooks& hooks) {
  ASSIGN_OR_RETURN(const FlowFilter filter, ParseFilter(request.filter()));
  return request.follow() ? Follow(filter, hub, hooks) : Once(request, filter, hub, hooks);
}

}  // namespace mesh::agent
