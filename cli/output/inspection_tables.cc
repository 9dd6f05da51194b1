// SPDX-License-Identifier: Apache-2.0
#include "cli/output/inspection_tables.h"

#include <algorithm>

#include "absl/time/time.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

using Row = std::vector<std::string>;

// Interfaces and values that fit on a line; wide shows them all.
constexpr int kShown = 3;

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

template <typename List>
std::string Shortened(const List& list, bool all) {
  const int shown = all ? list.size() : std::min(list.size(), kShown);
  const std::string text = fmt::format("{}", fmt::join(list.begin(), list.begin() + shown, ","));
  return list.size() == shown ? OrDash(text)
                              : fmt::format("{} + {} more...", text, list.size() - shown);
}

// How many, or, wide, which.
template <typename List>
std::string CountOrNames(const List& list, bool wide) {
  return wide ? Shortened(list, true) : std::to_string(list.size());
}

Row IdentityOf(const v1::DataplaneNode& node, const v1::IdentityRow& row, bool wide) {
  return {node.node(), std::to_string(row.identity()),
          row.name().empty() ? OrDash(row.namespace_()) : fmt::format("({})", row.name()),
          CountOrNames(row.pods(), wide), CountOrNames(row.addresses(), wide)};
}

std::string RuleText(const v1::PolicyRow& row) {
  if (row.policy().empty()) return "-";
  return fmt::format("{} {}[{}]", row.policy(), row.direction(), row.rule());
}

Row PolicyOf(const v1::DataplaneNode& node, const v1::PolicyRow& row, bool wide) {
  Row out = {node.node(),
             Shortened(row.pods(), wide),
             row.direction(),
             row.family().empty() ? "both" : row.family(),
             Shortened(row.peers(), wide),
             Shortened(row.ports(), wide),
             row.verdict(),
             RuleText(row)};
  if (wide)
    out.insert(out.end(), {Shortened(row.policies(), true), std::to_string(row.set()),
                           std::to_string(row.class_number())});
  return out;
}

Row DnsOf(const v1::DataplaneNode& node, const v1::DnsRow& row, bool wide) {
  Row out = {node.node(), row.name(), row.type(), Shortened(row.values(), wide)};
  if (wide)
    out.insert(out.end(), {std::to_string(row.ttl_seconds()), row.namespace_(), row.service()});
  return out;
}

std::string AttachedText(const v1::ProgramRow& row, bool wide) {
  // At sockets there is one place, the root of the control groups.
  if (row.hook() == "cgroup") return "/";
  return row.attached_to().empty() ? "<none>" : Shortened(row.attached_to(), wide);
}

Row ProgramOf(const v1::DataplaneNode& node, const v1::ProgramRow& row, bool wide) {
  Row out = {node.node(),
             row.name(),
             row.family(),
             row.hook(),
             AttachedText(row, wide),
             std::to_string(row.instructions()),
             BytesText(row.memory_bytes()),
             absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(row.loaded().seconds()),
                              absl::UTCTimeZone())};
  if (wide)
    out.insert(out.end(), {std::to_string(row.id()), row.tag(), BytesText(row.machine_bytes())});
  return out;
}

Row ProgramStatsOf(const v1::DataplaneNode& node, const v1::ProgramRow& row) {
  const double seconds = row.measured_ms() / 1000.0;
  const bool ran = row.runs() > 0;
  return {node.node(),
          row.name(),
          row.family(),
          std::to_string(row.runs()),
          seconds > 0 ? fmt::format("{:.0f}", static_cast<double>(row.runs()) / seconds) : "-",
          ran ? fmt::format("{}ns", row.run_time_ns() / row.runs()) : "-",
          seconds > 0
              ? fmt::format("{:.2f}%", static_cast<double>(row.run_time_ns()) / seconds / 1e7)
              : "-"};
}

Row MapOf(const v1::DataplaneNode& node, const v1::MapRow& row, bool wide) {
  const double full = row.max_entries() == 0 ? 0 : 100.0 * row.entries() / row.max_entries();
  // An array has all its rows from the beginning.
  const bool array = row.type().find("array") != std::string::npos;
  Row out = {node.node(),
             row.name(),
             row.type(),
             std::to_string(row.key_bytes()),
             std::to_string(row.value_bytes()),
             std::to_string(row.entries()),
             std::to_string(row.max_entries()),
             array || row.max_entries() == 0 ? "-" : fmt::format("{:.1f}%", full),
             BytesText(row.memory_bytes())};
  if (wide) out.push_back(std::to_string(row.id()));
  return out;
}

void AddEntry(const v1::DataplaneNode& node, const v1::MapEntry& entry, std::vector<Row>* rows) {
  if (entry.values_size() <= 1) {
    rows->push_back(
        {node.node(), entry.key(), entry.values().empty() ? "-" : OrDash(entry.values(0))});
    return;
  }
  for (int cpu = 0; cpu < entry.values_size(); ++cpu)
    rows->push_back({node.node(), entry.key(), fmt::format("cpu{}: {}", cpu, entry.values(cpu))});
}

}  // namespace

std::string BytesText(uint64_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return value < 10 && unit > 0 ? fmt::format("{:.1f}{}", value, units[unit])
                                : fmt::format("{:.0f}{}", value, units[unit]);
}

void AddInspectionRows(v1::DataplaneTable table, const v1::DataplaneNode& node, bool wide,
                       std::vector<Row>* rows) {
  switch (table) {
    case v1::DATAPLANE_TABLE_IDENTITY:
      for (const auto& row : node.identities()) rows->push_back(IdentityOf(node, row, wide));
      break;
    case v1::DATAPLANE_TABLE_POLICY:
      for (const auto& row : node.policies()) rows->push_back(PolicyOf(node, row, wide));
      break;
    case v1::DATAPLANE_TABLE_DNS:
      for (const auto& row : node.dns()) rows->push_back(DnsOf(node, row, wide));
      break;
    case v1::DATAPLANE_TABLE_DNS_STATS:
      for (const auto& row : node.dns_counters())
        rows->push_back({node.node(), row.name(), std::to_string(row.count())});
      break;
    case v1::DATAPLANE_TABLE_PROGRAM:
      for (const auto& row : node.programs()) rows->push_back(ProgramOf(node, row, wide));
      break;
    case v1::DATAPLANE_TABLE_MAP:
    case v1::DATAPLANE_TABLE_POLICY_STATS:
      for (const auto& row : node.maps()) rows->push_back(MapOf(node, row, wide));
      break;
    case v1::DATAPLANE_TABLE_MAP_ROWS:
      for (const auto& entry : node.map_entries()) AddEntry(node, entry, rows);
      break;
    default:
      break;
  }
}

std::vector<std::string> InspectionHeaders(v1::DataplaneTable table, bool wide) {
  Row out;
  switch (table) {
    case v1::DATAPLANE_TABLE_IDENTITY:
      return {"NODE", "IDENTITY", "NAMESPACE", "PODS", "ADDRESSES"};
    case v1::DATAPLANE_TABLE_POLICY:
      out = {"NODE", "PODS", "DIRECTION", "FAMILY", "PEERS", "PORTS", "VERDICT", "RULE"};
      if (wide) out.insert(out.end(), {"POLICIES", "SET", "CLASS"});
      return out;
    case v1::DATAPLANE_TABLE_DNS:
      out = {"NODE", "NAME", "TYPE", "VALUES"};
      if (wide) out.insert(out.end(), {"TTL", "NAMESPACE", "SERVICE"});
      return out;
    case v1::DATAPLANE_TABLE_DNS_STATS:
      return {"NODE", "QUESTIONS", "COUNT"};
    case v1::DATAPLANE_TABLE_PROGRAM:
      out = {"NODE", "PROGRAM", "FAMILY", "HOOK", "ATTACHED", "INSTRUCTIONS", "MEMORY", "LOADED"};
      if (wide) out.insert(out.end(), {"ID", "TAG", "MACHINE"});
      return out;
    case v1::DATAPLANE_TABLE_MAP:
    case v1::DATAPLANE_TABLE_POLICY_STATS:
      out = {"NODE", "MAP", "TYPE", "KEY", "VALUE", "ENTRIES", "MAX", "FULL", "MEMORY"};
      if (wide) out.push_back("ID");
      return out;
    case v1::DATAPLANE_TABLE_MAP_ROWS:
      return {"NODE", "KEY", "VALUE"};
    default:
      return out;
  }
}

Table ProgramStatsTable(const v1::ListDataplaneResponse& response) {
  Table out;
  out.headers = {"NODE", "PROGRAM", "FAMILY", "RUNS", "RUNS/S", "TIME/RUN", "CPU"};
  for (const v1::DataplaneNode& node : response.nodes()) {
    for (const v1::ProgramRow& row : node.programs()) out.rows.push_back(ProgramStatsOf(node, row));
  }
  return out;
}

}  // namespace mesh::cli
