// SPDX-License-Identifier: Apache-2.0
#include "dataplane/takeover.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "common/log.h"
#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/migrate.h"
#include "dataplane/carry_flows.h"
#include "dataplane/net/tc.h"
#include "dataplane/net/uplink.h"
#include "fmt/format.h"
#include "mesh/shared/flow_event.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/moving.h"
#include "mesh/shared/service_traffic_map.h"
#include "turnout.skel.h"
#include "turnout6.skel.h"

namespace mesh::dataplane {
namespace {

constexpr int kAside = 1'000'000;

struct Deleter {
  void operator()(turnout_bpf* skeleton) const { turnout_bpf__destroy(skeleton); }
  void operator()(turnout6_bpf* skeleton) const { turnout6_bpf__destroy(skeleton); }
};

// What is each family's own while a node is taken over.
struct Ways4 {
  using Rows = V4;
  using Turnout = turnout_bpf;
  static constexpr uint32_t kPriority = kPriority4;
  static constexpr const char* kFlowMap = MESH_FLOW_MAP_NAME;
  static constexpr const char* kTurnoutMap = MESH_TURNOUT_MAP_NAME;
  static Turnout* Open() { return turnout_bpf__open(); }
  static int Load(Turnout* turnout) { return turnout_bpf__load(turnout); }
  static bpf_map* TurnoutMap(Turnout& turnout) { return turnout.maps.mesh_turnout; }
  static bpf_map* FlowWas(Turnout& turnout) { return turnout.maps.mesh_flow_was; }
  static std::map<uint32_t, bpf_program*> Places(Turnout& turnout) {
    return {{MESH_HOOK_FROM_POD, turnout.progs.mesh_turn_pod},
            {MESH_HOOK_NODE, turnout.progs.mesh_turn_node},
            {MESH_HOOK_OVERLAY, turnout.progs.mesh_turn_over},
            {MESH_HOOK_UPLINK, turnout.progs.mesh_turn_uplink}};
  }
  static std::map<uint32_t, int> Finals(const Programs& programs) {
    return {{MESH_HOOK_FROM_POD, programs.from_pod()},
            {MESH_HOOK_NODE, programs.node()},
            {MESH_HOOK_OVERLAY, programs.overlay()},
            {MESH_HOOK_UPLINK, programs.uplink()}};
  }
};
struct Ways6 {
  using Rows = V6;
  using Turnout = turnout6_bpf;
  static constexpr uint32_t kPriority = kPriority6;
  static constexpr const char* kFlowMap = MESH_FLOW6_MAP_NAME;
  static constexpr const char* kTurnoutMap = MESH_TURNOUT_MAP_NAME "6";
  static Turnout* Open() { return turnout6_bpf__open(); }
  static int Load(Turnout* turnout) { return turnout6_bpf__load(turnout); }
  static bpf_map* TurnoutMap(Turnout& turnout) { return turnout.maps.mesh_turnout6; }
  static bpf_map* FlowWas(Turnout& turnout) { return turnout.maps.mesh_flow_was6; }
  static std::map<uint32_t, bpf_program*> Places(Turnout& turnout) {
    return {{MESH_HOOK_FROM_POD, turnout.progs.mesh_turn6_pod},
            {MESH_HOOK_NODE, turnout.progs.mesh_turn6_node},
            {MESH_HOOK_OVERLAY, turnout.progs.mesh_turn6_over},
            {MESH_HOOK_UPLINK, turnout.progs.mesh_turn6_uplink}};
  }
  static std::map<uint32_t, int> Finals(const Programs& programs) {
    return {{MESH_HOOK_FROM_POD, programs.from_pod6()},
            {MESH_HOOK_NODE, programs.node6()},
            {MESH_HOOK_OVERLAY, programs.overlay6()},
            {MESH_HOOK_UPLINK, programs.uplink6()}};
  }
};

bool IsFlowTable(const std::string& name) {
  return name == MESH_FLOW_MAP_NAME || name == MESH_FLOW6_MAP_NAME;
}

// Whoever listens says so anew, and what was told is of the past.
bool IsOfEvents(const std::string& name) {
  return name == MESH_EVENTS_MAP_NAME || name == MESH_LISTEN_MAP_NAME ||
         name == MESH_EVENT_LOSS_MAP_NAME;
}

// The loaded turnout of one family.
template <typename W>
struct Loaded {
  std::unique_ptr<typename W::Turnout, Deleter> turnout;
  UniqueFd flow_was;
  Programs::Before before() const { return {bpf_map__fd(W::TurnoutMap(*turnout)), flow_was.get()}; }
};

UniqueFd OpenPin(const std::string& folder, const std::string& name) {
  return UniqueFd(bpf_obj_get(fmt::format("{}/{}", folder, name).c_str()));
}

uint32_t MapId(int fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.id : 0;
}

std::vector<uint32_t> MapsOfProgram(uint32_t program_id) {
  const UniqueFd program(bpf_prog_get_fd_by_id(program_id));
  std::vector<uint32_t> maps(64);
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  info.nr_map_ids = static_cast<uint32_t>(maps.size());
  info.map_ids = reinterpret_cast<uintptr_t>(maps.data());
  if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &length) != 0) return {};
  maps.resize(std::min<size_t>(info.nr_map_ids, maps.size()));
  return maps;
}

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    out.push_back(entry.path().filename());
  }
  std::ranges::sort(out);
  return out;
}

bool IsFolder(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// "v3" -> 3; maps set aside ("was2") come before all versions, the latest first.
int Rank(const std::string& folder) {
  const std::string name = std::filesystem::path(folder).filename();
  const bool aside = name.starts_with("was");
  int number = 0;
  if (std::sscanf(name.c_str(), aside ? "was%d" : "v%d", &number) != 1) return -1;
  return aside ? kAside + number : number;
}

absl::Status SetSlot(int turnout_fd, uint32_t slot, int program_fd) {
  if (bpf_map_update_elem(turnout_fd, &slot, &program_fd, BPF_ANY) == 0) return absl::OkStatus();
  return BpfErrnoStatus(errno, fmt::format("turnout: place {}", slot));
}

bool SlotIsFilled(int turnout_fd, uint32_t slot) {
  uint32_t program_id = 0;
  return bpf_map_lookup_elem(turnout_fd, &slot, &program_id) == 0;
}

// Until every packet that is on its way through a program has left it (an RCU grace period).
void AwaitPackets() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) {
    spdlog::warn("membarrier: {}", std::strerror(errno));
  }
}

}  // namespace

absl::StatusOr<TakeOver> TakeOver::Begin(const mesh_config& config, Options options) {
  LogLibbpf();
  TakeOver out(std::move(options));
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  out.begun_ns_ =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  RETURN_IF_ERROR(out.FindBefore());
  RETURN_IF_ERROR(out.DropUnused());
  RETURN_IF_ERROR(out.SetAside());
  if (!out.active()) return out;
  for (const std::string& folder : out.before_) {
    spdlog::info("taking over maps from {}", folder);
  }
  RETURN_IF_ERROR(Annotate(out.Turn(config), "take over from the programs of before"));
  return out;
}

absl::Status TakeOver::FindBefore() {
  for (const Hook& hook : options_.hooks) {
    for (const uint32_t priority : {kPriority4, kPriority6}) {
      const absl::StatusOr<uint32_t> program = IngressProgramId(hook.ifindex, priority);
      if (!program.ok()) continue;
      for (const uint32_t map : MapsOfProgram(*program)) live_maps_.push_back(map);
    }
  }
  for (const std::string& name : Names(options_.mesh_dir)) {
    const std::string folder = options_.mesh_dir + "/" + name;
    if (folder == options_.pin_dir || Rank(folder) < 0 || !IsFolder(folder)) continue;
    if (Names(folder).empty()) {
      rmdir(folder.c_str());
    } else {
      before_.push_back(folder);
    }
  }
  std::ranges::sort(before_, std::greater<>(), Rank);
  return absl::OkStatus();
}

// Maps of this version that nothing uses, while the same of another one are in use: left by an
// agent of this version that an older one has replaced, or that died before its programs were in
// place.
absl::Status TakeOver::DropUnused() {
  const auto live = [&](const UniqueFd& map) {
    return map && std::ranges::find(live_maps_, MapId(map.get())) != live_maps_.end();
  };
  // Programs of this version stand at the hooks already, behind a turnout.
  for (const char* turnout : {Ways4::kTurnoutMap, Ways6::kTurnoutMap}) {
    if (live(OpenPin(options_.pin_dir, turnout))) return absl::OkStatus();
  }
  std::set<std::string> unused = {Ways4::kTurnoutMap, Ways6::kTurnoutMap, MESH_MOVING_MAP_NAME};
  const std::vector<std::string> ours = Names(options_.pin_dir);
  for (const std::string& folder : before_) {
    const std::vector<std::string> theirs = Names(folder);
    const bool stale = std::ranges::any_of(theirs, [&](const std::string& name) {
      const UniqueFd our = OpenPin(options_.pin_dir, name);
      return our && !live(our) && live(OpenPin(folder, name));
    });
    if (!stale) continue;
    // Maps set aside were part of this version, and the rest of it is in use.
    for (const std::string& name : Rank(folder) >= kAside ? theirs : ours) unused.insert(name);
  }
  for (const std::string& name : ours) {
    if (!unused.contains(name) || live(OpenPin(options_.pin_dir, name))) continue;
    const std::string path = options_.pin_dir + "/" + name;
    spdlog::info("{}: no program uses it, made anew", path);
    if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, fmt::format("remove {}", path));
  }
  return absl::OkStatus();
}

absl::Status TakeOver::SetAside() {
  ASSIGN_OR_RETURN(const std::vector<Programs::MapShape> shapes,
                   Programs::Shapes(options_.programs));
  std::string aside;
  for (const Programs::MapShape& shape : shapes) {
    const UniqueFd map = OpenPin(options_.pin_dir, shape.name);
    bpf_map_info info{};
    uint32_t length = sizeof(info);
    if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &length) != 0) continue;
    if (info.type == shape.type && info.key_size == shape.key_bytes &&
        info.value_size == shape.value_bytes && info.max_entries == shape.max_entries &&
        info.map_flags == shape.flags) {
      continue;
    }
    if (aside.empty()) {
      int number = 1;
      for (const std::string& folder : before_) {
        if (Rank(folder) >= kAside) number = std::max(number, Rank(folder) - kAside + 1);
      }
      aside = fmt::format("{}/was{}", options_.mesh_dir, number);
      if (mkdir(aside.c_str(), 0700) != 0 && errno != EEXIST) {
        return ErrnoStatus(errno, fmt::format("make folder {}", aside));
      }
    }
    spdlog::info("map {}: {}+{} bytes and {} rows are now {}+{} and {}", shape.name, info.key_size,
                 info.value_size, info.max_entries, shape.key_bytes, shape.value_bytes,
                 shape.max_entries);
    const std::string from = options_.pin_dir + "/" + shape.name, to = aside + "/" + shape.name;
    if (std::rename(from.c_str(), to.c_str()) != 0) {
      return ErrnoStatus(errno, fmt::format("move {} to {}", from, to));
    }
  }
  if (!aside.empty()) before_.insert(before_.begin(), aside);
  return absl::OkStatus();
}

// Null when nothing of the family is taken over: nobody stood at its hooks.
template <typename W>
absl::StatusOr<Loaded<W>> LoadTurnout(const std::vector<std::string>& before,
                                      const std::string& pin_dir) {
  Loaded<W> out;
  for (const std::string& folder : before) {
    out.flow_was = OpenPin(folder, W::kFlowMap);
    if (out.flow_was) break;
  }
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (!out.flow_was || bpf_obj_get_info_by_fd(out.flow_was.get(), &info, &length) != 0 ||
      info.key_size != sizeof(typename W::Rows::FlowKey)) {
    return out;
  }
  out.turnout.reset(W::Open());
  if (out.turnout == nullptr) return BpfErrnoStatus(errno, "open BPF object turnout");
  if (mkdir(pin_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make folder {}", pin_dir));
  }
  // Both families have one mesh_moving: one write turns all hooks.
  for (bpf_map* map : {W::TurnoutMap(*out.turnout), out.turnout->maps.mesh_moving}) {
    bpf_map__set_pin_path(map, fmt::format("{}/{}", pin_dir, bpf_map__name(map)).c_str());
  }
  bpf_map__set_autocreate(W::FlowWas(*out.turnout), false);
  if (const int result = W::Load(out.turnout.get()); result != 0) {
    return BpfErrnoStatus(-result, "load BPF object turnout");
  }
  return out;
}

template <typename W>
absl::Status FillTurnout(const Loaded<W>& loaded, const std::vector<TakeOver::Hook>& hooks,
                         const Programs& programs) {
  const int turnout = loaded.before().turnout;
  const std::map<uint32_t, int> finals = W::Finals(programs);
  for (const auto& [number, program_fd] : finals) {
    RETURN_IF_ERROR(SetSlot(turnout, MESH_HOOK_COUNT + number, program_fd));
  }
  for (const TakeOver::Hook& hook : hooks) {
    if (!finals.contains(hook.number) || SlotIsFilled(turnout, hook.number)) continue;
    const absl::StatusOr<uint32_t> id = IngressProgramId(hook.ifindex, W::kPriority);
    if (!id.ok()) continue;  // a hook that nobody stood at gets its program at the end
    const UniqueFd program(bpf_prog_get_fd_by_id(*id));
    if (!program) return BpfErrnoStatus(errno, fmt::format("open program {}", *id));
    RETURN_IF_ERROR(SetSlot(turnout, hook.number, program.get()));
  }
  return absl::OkStatus();
}

template <typename W>
absl::Status PlaceTurnout(const Loaded<W>& loaded, const std::vector<TakeOver::Hook>& hooks,
                          const std::function<void()>& placed) {
  const std::map<uint32_t, bpf_program*> turnouts = W::Places(*loaded.turnout);
  for (const TakeOver::Hook& hook : hooks) {
    if (!turnouts.contains(hook.number)) continue;
    if (!IngressProgramId(hook.ifindex, W::kPriority).ok()) continue;
    RETURN_IF_ERROR(
        AttachIngress(hook.ifindex, bpf_program__fd(turnouts.at(hook.number)), W::kPriority));
    placed();
  }
  return absl::OkStatus();
}

absl::Status TakeOver::Turn(const mesh_config& config) {
  Step("make maps");
  Programs::Options load = options_.programs;
  ASSIGN_OR_RETURN(const Loaded<Ways4> turnout4, LoadTurnout<Ways4>(before_, options_.pin_dir));
  Loaded<Ways6> turnout6;
  if (load.ipv6.has_value()) {
    ASSIGN_OR_RETURN(turnout6, LoadTurnout<Ways6>(before_, options_.pin_dir));
  }
  const bool turns4 = turnout4.turnout != nullptr, turns6 = turnout6.turnout != nullptr;
  if (turns4) load.before = turnout4.before();
  if (turns6) load.before6 = turnout6.before();
  ASSIGN_OR_RETURN(const std::unique_ptr<Programs> programs, Programs::Load(config, load));
  Step("carry tables");
  RETURN_IF_ERROR(CarryTables(*programs));
  if (!turns4 && !turns6) return CarryFlows(*programs);

  Step("fill the turnout");
  if (turns4) RETURN_IF_ERROR(FillTurnout(turnout4, options_.hooks, *programs));
  if (turns6) RETURN_IF_ERROR(FillTurnout(turnout6, options_.hooks, *programs));
  Step("place the turnout");
  // Before anything is turned: what it would carry on its own may be opened anew by the others.
  if (options_.uplink.has_value()) {
    RETURN_IF_ERROR(ReplaceXdp(*options_.uplink, programs->uplink_xdp()));
  }
  const auto placed = [&] { Step("next hook"); };
  // What stands behind first: those before it may be newer, and leave packets to it.
  if (turns6) RETURN_IF_ERROR(PlaceTurnout(turnout6, options_.hooks, placed));
  if (turns4) RETURN_IF_ERROR(PlaceTurnout(turnout4, options_.hooks, placed));
  const uint32_t zero = 0, after = MESH_MOVING_AFTER;
  const int moving =
      bpf_map__fd(turns4 ? turnout4.turnout->maps.mesh_moving : turnout6.turnout->maps.mesh_moving);
  if (bpf_map_update_elem(moving, &zero, &after, BPF_ANY) != 0) {
    return BpfErrnoStatus(errno, "turn the hooks");
  }
  Step("carry flows");
  turned_ = turns4 && (turns6 || !load.ipv6.has_value());
  AwaitPackets();
  return CarryFlows(*programs);
}

absl::StatusOr<uint64_t> TakeOver::Carry(const Programs& programs, const std::string& folder,
                                         const std::string& map) const {
  const UniqueFd from = OpenPin(folder, map);
  if (!from) return 0;
  const absl::StatusOr<RowLayout> old_rows = RowLayout::Of(from.get());
  const absl::StatusOr<RowLayout> new_rows = RowLayout::Of(programs.map(map));
  std::optional<RowChange> change;
  if (old_rows.ok() && new_rows.ok()) {
    change = ChangeOf(map, *old_rows, *new_rows,
                      [&](const std::string& name) { return programs.map(name); });
  }
  const absl::StatusOr<Carried> carried =
      CarryRows(from.get(), programs.map(map), change.value_or(RowChange()));
  if (absl::IsNotFound(carried.status()) || absl::IsFailedPrecondition(carried.status())) {
    spdlog::info("map {}: begins empty: {}", map, std::string(carried.status().message()));
    return 0;
  }
  RETURN_IF_ERROR(Annotate(carried.status(), fmt::format("carry map {} over", map)));
  if (carried->rows > 0) spdlog::info("map {}: {} rows carried over", map, carried->rows);
  if (carried->refused > 0) {
    spdlog::warn("map {}: {} rows do not fit and are lost", map, carried->refused);
  }
  return carried->rows;
}

absl::Status TakeOver::CarryTables(const Programs& programs) {
  for (const std::string& folder : before_) {
    for (const std::string& name : Names(folder)) {
      if (IsFlowTable(name) || name == MESH_METRICS_MAP_NAME || IsOfEvents(name)) continue;
      // Counts may begin anew, and the numbers of Services may be others.
      if (name == MESH_SERVICE_TRAFFIC_MAP_NAME) continue;
      if (!programs.has_map(name)) continue;
      RETURN_IF_ERROR(Carry(programs, folder, name).status());
    }
  }
  return absl::OkStatus();
}

template <typename W>
absl::Status CarryFlowsFrom(const std::string& folder, const Programs& programs,
                            uint64_t begun_ns) {
  const UniqueFd from = OpenPin(folder, W::kFlowMap);
  if (!from || !programs.has_map(W::kFlowMap)) return absl::OkStatus();
  const absl::StatusOr<Carried> carried =
      CarryFlows<typename W::Rows>(from.get(), programs.map(W::kFlowMap), begun_ns);
  if (absl::IsNotFound(carried.status()) || absl::IsFailedPrecondition(carried.status())) {
    spdlog::warn("connections begin anew: {}", std::string(carried.status().message()));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Annotate(carried.status(), "carry connections over"));
  spdlog::info("map {}: {} rows carried over", W::kFlowMap, carried->rows);
  if (carried->refused > 0) {
    spdlog::warn("map {}: {} rows do not fit and are lost", W::kFlowMap, carried->refused);
  }
  return absl::OkStatus();
}

absl::Status TakeOver::CarryFlows(const Programs& programs) {
  for (const std::string& folder : before_) {
    RETURN_IF_ERROR(CarryFlowsFrom<Ways4>(folder, programs, begun_ns_));
    RETURN_IF_ERROR(CarryFlowsFrom<Ways6>(folder, programs, begun_ns_));
  }
  return absl::OkStatus();
}

absl::Status TakeOver::Finish(const Programs& programs) {
  if (!active()) return absl::OkStatus();
  Step("finish");
  // What came between the carrying and the final programs.
  if (!turned_) RETURN_IF_ERROR(CarryFlows(programs));
  for (const std::string& folder : before_) {
    RETURN_IF_ERROR(Carry(programs, folder, MESH_METRICS_MAP_NAME).status());
    std::vector<std::string> names = Names(folder);
    // Without a connection table there is nothing to turn for, should this be interrupted.
    std::ranges::stable_partition(names, IsFlowTable);
    for (const std::string& name : names) {
      const std::string path = folder + "/" + name;
      if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, fmt::format("remove {}", path));
    }
    if (rmdir(folder.c_str()) != 0) return ErrnoStatus(errno, fmt::format("remove {}", folder));
    Step("next folder");
  }
  before_.clear();
  for (const char* name : {MESH_MOVING_MAP_NAME, Ways4::kTurnoutMap, Ways6::kTurnoutMap}) {
    const std::string path = options_.pin_dir + "/" + name;
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, fmt::format("remove {}", path));
    }
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
