// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/packet_run.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/errors.h"
#include "fmt/format.h"
#include "front.skel.h"
#include "primitives.skel.h"
#include "tests/bench/figures.h"

namespace mesh::bench {

using dataplane::BpfErrnoStatus;

namespace {

constexpr size_t kFrontBytes = 96, kFrontPackets = 4096;

// As in progs/front.bpf.c.
struct FrontPacket {
  uint32_t length;
  uint8_t bytes[kFrontBytes];
};
struct FrontState {
  uint32_t next, count, pkt_type, tunnel_id, tunnel_peer, tunnel_self;
};

template <typename T, void (*Destroy)(T*)>
struct Deleter {
  void operator()(T* skeleton) const { Destroy(skeleton); }
};

absl::StatusOr<RunResult> TestRun(const Arrival& arrival, int fd, const std::string& frame,
                                  int repeat, uint32_t* duration_ns) {
  RunResult result;
  result.frame.resize(frame.size() + 256);
  __sk_buff skb{};
  skb.ifindex = static_cast<uint32_t>(arrival.ifindex);
  xdp_md xdp{};
  xdp.data_end = static_cast<uint32_t>(frame.size());
  xdp.ingress_ifindex = static_cast<uint32_t>(arrival.ifindex);
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<uint32_t>(frame.size());
  options.data_out = result.frame.data();
  options.data_size_out = static_cast<uint32_t>(result.frame.size());
  if (arrival.hook == Hook::kTc) {
    options.ctx_in = &skb;
    options.ctx_size_in = sizeof(skb);
  } else {
    options.ctx_in = &xdp;
    options.ctx_size_in = sizeof(xdp);
  }
  options.repeat = repeat;
  if (bpf_prog_test_run_opts(fd, &options) != 0) return BpfErrnoStatus(errno, "run a program");
  result.verdict = static_cast<int>(options.retval);
  result.frame.resize(options.data_size_out);
  if (duration_ns != nullptr) *duration_ns = options.duration;
  return result;
}

}  // namespace

struct PacketRun::Skeletons {
  std::unique_ptr<front_bpf, Deleter<front_bpf, &front_bpf::destroy>> front;
  std::unique_ptr<primitives_bpf, Deleter<primitives_bpf, &primitives_bpf::destroy>> primitives;
};

PacketRun::PacketRun(std::unique_ptr<Skeletons> skeletons) : skeletons_(std::move(skeletons)) {}
PacketRun::~PacketRun() = default;

absl::StatusOr<std::unique_ptr<PacketRun>> PacketRun::Open() {
  auto skeletons = std::make_unique<Skeletons>();
  skeletons->front.reset(front_bpf__open_and_load());
  if (skeletons->front == nullptr) return BpfErrnoStatus(errno, "load the front");
  skeletons->primitives.reset(primitives_bpf__open_and_load());
  if (skeletons->primitives == nullptr) return BpfErrnoStatus(errno, "load the primitives");
  const int steps = bpf_map__fd(skeletons->primitives->maps.step_hash);
  for (uint32_t i = 0; i < kStepRepeats; ++i) {
    const uint32_t key[4] = {i, 2, 3, 4};
    const uint64_t value[12] = {1};
    if (bpf_map_update_elem(steps, key, value, BPF_ANY) != 0)
      return BpfErrnoStatus(errno, "fill the primitives' table");
  }
  return std::unique_ptr<PacketRun>(new PacketRun(std::move(skeletons)));
}

absl::Status PacketRun::Prepare(const Arrival& arrival, const std::vector<std::string>& frames) {
  if (frames.empty() || frames.size() > kFrontPackets)
    return absl::InvalidArgumentError(
        fmt::format("{} frames: 1 to {} are possible", frames.size(), kFrontPackets));
  const int packets = bpf_map__fd(skeletons_->front->maps.front_packets);
  for (uint32_t i = 0; i < frames.size(); ++i) {
    if (frames[i].size() < kFrontBytes)
      return absl::InvalidArgumentError(
          fmt::format("a frame of {} bytes: {} are needed", frames[i].size(), kFrontBytes));
    FrontPacket packet{.length = static_cast<uint32_t>(frames[i].size()), .bytes = {}};
    std::memcpy(packet.bytes, frames[i].data(), kFrontBytes);
    if (bpf_map_update_elem(packets, &i, &packet, BPF_ANY) != 0)
      return BpfErrnoStatus(errno, "give the front its packets");
  }
  const uint32_t zero = 0;
  const FrontState state{
      .next = 0,
      .count = static_cast<uint32_t>(frames.size()),
      .pkt_type = static_cast<uint32_t>(arrival.for_another_host ? PACKET_OTHERHOST : PACKET_HOST),
      .tunnel_id = arrival.vni,
      .tunnel_peer = arrival.tunnel_peer,
      .tunnel_self = arrival.tunnel_self};
  const int states = bpf_map__fd(skeletons_->front->maps.front_state);
  if (bpf_map_update_elem(states, &zero, &state, BPF_ANY) != 0)
    return BpfErrnoStatus(errno, "give the front its state");
  return SetNext(arrival);
}

absl::Status PacketRun::SetNext(const Arrival& arrival) {
  const uint32_t zero = 0;
  const int next = bpf_map__fd(arrival.hook == Hook::kTc ? skeletons_->front->maps.front_tc_next
                                                         : skeletons_->front->maps.front_xdp_next);
  if (arrival.program_fd < 0) {
    bpf_map_delete_elem(next, &zero);
    return absl::OkStatus();
  }
  if (bpf_map_update_elem(next, &zero, &arrival.program_fd, BPF_ANY) != 0)
    return BpfErrnoStatus(errno, "put the program behind the front");
  return absl::OkStatus();
}

absl::StatusOr<RunResult> PacketRun::Once(const Arrival& arrival, const std::string& frame) {
  RETURN_IF_ERROR(Prepare(arrival, {frame}));
  const int front =
      bpf_program__fd(arrival.hook == Hook::kTc ? skeletons_->front->progs.mesh_front_tc
                                                : skeletons_->front->progs.mesh_front_xdp);
  return TestRun(arrival, front, frame, 1, nullptr);
}

absl::StatusOr<double> PacketRun::Time(const Arrival& arrival,
                                       const std::vector<std::string>& frames, int repeat) {
  RETURN_IF_ERROR(Prepare(arrival, frames));
  const int front =
      bpf_program__fd(arrival.hook == Hook::kTc ? skeletons_->front->progs.mesh_front_tc
                                                : skeletons_->front->progs.mesh_front_xdp);
  uint32_t duration_ns = 0;
  ASSIGN_OR_RETURN(const RunResult result,
                   TestRun(arrival, front, frames.front(), repeat, &duration_ns));
  return static_cast<double>(duration_ns);
}

absl::StatusOr<PacketRun::EachTime> PacketRun::TimeEach(const Arrival& arrival,
                                                        const std::string& frame, int runs,
                                                        const Counts& counts) {
  RETURN_IF_ERROR(Prepare(arrival, {frame}));
  const int front =
      bpf_program__fd(arrival.hook == Hook::kTc ? skeletons_->front->progs.mesh_front_tc
                                                : skeletons_->front->progs.mesh_front_xdp);
  std::vector<double> costs;
  for (int run = 0; run < runs; ++run) {
    uint32_t duration_ns = 0;
    ASSIGN_OR_RETURN(const RunResult result, TestRun(arrival, front, frame, 1, &duration_ns));
    if (counts(result)) costs.push_back(duration_ns);
  }
  EachTime out{.median_ns = 0, .runs = runs, .counted = static_cast<int>(costs.size())};
  if (!costs.empty()) out.median_ns = Median(std::move(costs));
  return out;
}

absl::StatusOr<int> PacketRun::Step(const std::string& name) const {
  const bpf_program* program =
      bpf_object__find_program_by_name(skeletons_->primitives->obj, ("mesh_step_" + name).c_str());
  if (program == nullptr) return absl::NotFoundError(fmt::format("no step \"{}\"", name));
  return bpf_program__fd(program);
}

absl::StatusOr<UniqueFd> OpenProgram(const std::string& name, const std::string& map_path) {
  const UniqueFd map(bpf_obj_get(map_path.c_str()));
  if (!map) return BpfErrnoStatus(errno, fmt::format("open map {}", map_path));
  bpf_map_info map_info{};
  uint32_t size = sizeof(map_info);
  if (bpf_obj_get_info_by_fd(map.get(), &map_info, &size) != 0)
    return BpfErrnoStatus(errno, "read a map's properties");
  UniqueFd found;
  for (uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
    UniqueFd program(bpf_prog_get_fd_by_id(id));
    if (!program) continue;  // gone meanwhile
    std::vector<uint32_t> map_ids(256);
    bpf_prog_info info{};
    info.nr_map_ids = static_cast<uint32_t>(map_ids.size());
    info.map_ids = reinterpret_cast<uint64_t>(map_ids.data());
    size = sizeof(info);
    if (bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) continue;
    // The kernel keeps 15 characters.
    if (name.substr(0, sizeof(info.name) - 1) != info.name) continue;
    map_ids.resize(std::min<size_t>(info.nr_map_ids, map_ids.size()));
    if (std::find(map_ids.begin(), map_ids.end(), map_info.id) == map_ids.end()) continue;
    found = std::move(program);
  }
  if (!found) return absl::NotFoundError(fmt::format("no program {} is loaded", name));
  return found;
}

}  // namespace mesh::bench
