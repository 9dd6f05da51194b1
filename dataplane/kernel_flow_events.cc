// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel_flow_events.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/kernel_map.h"
#include "dataplane/tables/encode.h"
#include "fmt/format.h"
#include "mesh/shared/metrics_map.h"

namespace mesh::dataplane {
namespace {

struct RingDeleter {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

class KernelFlowEvents : public FlowEvents {
 public:
  KernelFlowEvents(UniqueFd ring, UniqueFd listen, UniqueFd loss)
      : ring_fd_(std::move(ring)), listen_fd_(std::move(listen)), loss_fd_(std::move(loss)) {}
  // Programs go on without anybody who reads.
  ~KernelFlowEvents() override { Listen(false, false).IgnoreError(); }

  absl::Status Open() {
    RETURN_IF_ERROR(Listen(false, false));
    ASSIGN_OR_RETURN(cpus_, PossibleCpus());
    wake_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) return ErrnoStatus(errno, "make an eventfd");
    ring_.reset(ring_buffer__new(ring_fd_.get(), &KernelFlowEvents::Visit, this, nullptr));
    if (ring_ == nullptr) return BpfErrnoStatus(errno, "open the ring of flow events");
    // Of the agent before this one.
    return Consume(nullptr);
  }

  absl::Status Listen(bool drops, bool flows) override {
    const uint32_t zero = 0;
    const mesh_listen_value value{(drops ? uint32_t{MESH_LISTEN_DROPS} : 0) |
                                  (flows ? uint32_t{MESH_LISTEN_FLOWS} : 0)};
    if (bpf_map_update_elem(listen_fd_.get(), &zero, &value, BPF_ANY) == 0) return absl::OkStatus();
    return BpfErrnoStatus(errno, "say what is told of flows");
  }

  absl::Status Read(absl::Duration gather,
                    const std::function<void(const FlowEvent&)>& visit) override {
    std::array<pollfd, 2> waiting{pollfd{wake_.get(), POLLIN, 0},
                                  pollfd{ring_buffer__epoll_fd(ring_.get()), POLLIN, 0}};
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
      return ErrnoStatus(errno, "wait for flow events");
    // The first record has woken this thread; those of a burst do not again until all are read.
    if ((waiting[0].revents & POLLIN) == 0)
      poll(waiting.data(), 1, static_cast<int>(absl::ToInt64Milliseconds(gather)));
    uint64_t woken = 0;
    // Nothing to read: nobody has woken it.
    [[maybe_unused]] const ssize_t got = read(wake_.get(), &woken, sizeof(woken));
    return Consume(&visit);
  }

  void Wake() override {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t sent = write(wake_.get(), &one, sizeof(one));
  }

  absl::StatusOr<FlowLoss> Loss() const override {
    const uint32_t zero = 0;
    std::vector<mesh_event_loss_value> per_cpu(static_cast<size_t>(cpus_));
    RETURN_IF_ERROR(LookupPerCpu(loss_fd_.get(), &zero, per_cpu.data()));
    FlowLoss out;
    for (const mesh_event_loss_value& cpu : per_cpu) {
      out.ring += cpu.lost;
      out.suppressed += cpu.suppressed;
    }
    return out;
  }

 private:
  // What is there now, and no more than the ring holds: while it is read more comes.
  absl::Status Consume(const std::function<void(const FlowEvent&)>* visit) {
    visit_ = visit;
    left_ = MESH_EVENTS_BYTES / sizeof(mesh_flow_event);
    const int result = ring_buffer__consume(ring_.get());
    visit_ = nullptr;
    if (result < 0 && result != -ENOBUFS) return BpfErrnoStatus(-result, "read flow events");
    return absl::OkStatus();
  }
  static int Visit(void* self, void* data, size_t size) {
    auto& reader = *static_cast<KernelFlowEvents*>(self);
    if (reader.visit_ != nullptr && size == sizeof(mesh_flow_event))
      (*reader.visit_)(DecodeFlowEvent(*static_cast<const mesh_flow_event*>(data)));
    // A refusal ends the reading, after this record.
    return --reader.left_ > 0 ? 0 : -ENOBUFS;
  }

  const UniqueFd ring_fd_, listen_fd_, loss_fd_;
  int cpus_ = 0;
  UniqueFd wake_;
  std::unique_ptr<ring_buffer, RingDeleter> ring_;
  const std::function<void(const FlowEvent&)>* visit_ = nullptr;  // while reading
  size_t left_ = 0;
};

// To groups and to everybody, and to senders without an address, nothing is answered.
bool MayBeAnswered(const mesh_flow_event& event) {
  const IpAddress from = DecodeIp6(event.saddr), to = DecodeIp6(event.daddr);
  const bool to_group = to.is_v4() ? to.v4() >= 0xe0000000 : to.bytes()[0] == 0xff;
  return !to_group && from != IpAddress() && from != IpAddress::V4(0);
}

}  // namespace

FlowEvent DecodeFlowEvent(const mesh_flow_event& event) {
  FlowEvent out;
  out.kind = static_cast<FlowEvent::Kind>(event.kind);
  if (out.kind == FlowEvent::Kind::kRefused && !MayBeAnswered(event))
    out.kind = FlowEvent::Kind::kDropped;
  out.time_ns = static_cast<int64_t>(event.time_ns);
  out.source = DecodeIp6(event.saddr);
  out.destination = DecodeIp6(event.daddr);
  out.source_port = DecodePort(event.sport);
  out.destination_port = DecodePort(event.dport);
  out.protocol = event.proto;
  out.translated_source = DecodeIp6(event.to_saddr);
  out.server = DecodeIp6(event.to_daddr);
  out.translated_source_port = DecodePort(event.to_sport);
  out.server_port = DecodePort(event.to_dport);
  out.service_id = event.service_id;
  out.target = event.target;
  out.reason = event.reason;
  out.to_pod = event.direction == MESH_DIRECTION_INGRESS;
  out.tcp_flags = event.tcp_flags;
  out.source_identity = event.identity;
  out.server_identity = event.to_identity;
  out.rule = event.rule;
  out.packets = event.packets;
  out.bytes = event.bytes;
  return out;
}

absl::StatusOr<std::unique_ptr<FlowEvents>> OpenFlowEvents(std::map<std::string, UniqueFd> maps) {
  auto out = std::make_unique<KernelFlowEvents>(std::move(maps[MESH_EVENTS_MAP_NAME]),
                                                std::move(maps[MESH_LISTEN_MAP_NAME]),
                                                std::move(maps[MESH_EVENT_LOSS_MAP_NAME]));
  RETURN_IF_ERROR(out->Open());
  return out;
}

}  // namespace mesh::dataplane
