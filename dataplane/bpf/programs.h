// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "mesh/shared/config.h"

struct bpf_object;

namespace mesh::dataplane {

// What libbpf says goes to our log (level debug) instead of standard error. Idempotent.
void LogLibbpf();

// The loaded programs of one node and the maps they share.
class Programs {
 public:
  // Of a map as the programs want it.
  struct MapShape {
    std::string name;
    uint32_t type = 0, key_bytes = 0, value_bytes = 0, max_entries = 0, flags = 0;
  };
  // Maps of programs that take over from others; see takeover.h. Borrowed.
  struct Before {
    int turnout = -1;   // mesh_turnout
    int flow_was = -1;  // their connection table
  };
  struct Options {
    // Folder on a bpffs where the maps are pinned, and found again. Empty: maps live only as long
    // as this object, for tests.
    std::string pin_dir;
    // For tests of a full table; 0: MESH_FLOW_MAX_ENTRIES.
    uint32_t flow_max_entries = 0;
    // For tests of what runs on kernels that do not have them (config.kernel_context).
    bool use_kernel_functions = true;
    // Set while taking over; `before6`: IPv6 too.
    std::optional<Before> before, before6;
    // With it the programs of IPv6 are loaded, and those of IPv4 leave its packets to them. That of
    // XDP is of both families; without it, it has no way that leads to IPv6.
    std::optional<mesh_config6> ipv6;
  };

  // The maps that are pinned. Nothing is loaded.
  static absl::StatusOr<std::vector<MapShape>> Shapes(const Options& options);
  // FAILED_PRECONDITION with the end of the verifier's log when the kernel refuses a program.
  static absl::StatusOr<std::unique_ptr<Programs>> Load(const mesh_config& node, Options options);
  ~Programs();

  // Of the program's file descriptor; owned by this.
  int from_pod() const;
  int node() const;
  int overlay() const;
  int uplink() const;
  int uplink_xdp() const;
  // Of IPv6. REQUIRES: Options::ipv6.
  int from_pod6() const;
  int node6() const;
  int overlay6() const;
  int uplink6() const;
  bool has_ipv6() const;
  struct Size {
    std::string program;
    uint32_t instructions = 0;  // as compiled, with the functions it calls
    uint32_t verified = 0;      // that the kernel's verifier went through; it gives up at a million
  };
  const std::vector<Size>& Sizes() const { return sizes_; }
  // By map name ("mesh_service"). REQUIRES: a map of these programs.
  int map(const std::string& name) const;
  // False for what is each program's own.
  bool has_map(const std::string& name) const { return maps_.contains(name); }
  // All of them, by name.
  const std::map<std::string, UniqueFd>& maps() const { return maps_; }
  const std::map<std::string, UniqueFd, std::less<>>& loaded() const { return programs_; }
  // Of all of them, by name, as long as the caller keeps it.
  absl::StatusOr<std::map<std::string, UniqueFd>> CopyMaps() const;
  // What the programs were loaded with.
  const mesh_config& config() const { return config_; }
  const std::optional<mesh_config6>& config6() const { return config6_; }

 private:
  struct Skeletons;
  Programs();
  absl::Status ShareMaps(bpf_object* object, const Options& options) const;
  absl::Status KeepMaps(bpf_object* object);
  absl::Status KeepPrograms(bpf_object* object);
  int program(const char* name) const;

  std::map<std::string, UniqueFd> maps_;
  std::map<std::string, UniqueFd, std::less<>> programs_;
  std::vector<Size> sizes_;
  mesh_config config_{};
  std::optional<mesh_config6> config6_;
};

}  // namespace mesh::dataplane
