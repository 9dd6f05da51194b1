// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/service_families.h"

#include <algorithm>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr char kDualStackHint[] =
    "; start meshd with an IPv6 range in --cluster-cidr and --service-cidr";

const char* OtherThan(const std::string& family) { return family == kIpv4 ? kIpv6 : kIpv4; }

}  // namespace

absl::Status InvalidField(const std::string& head, const std::string& path,
                          const std::string& problem) {
  absl::Status status = absl::InvalidArgumentError(fmt::format("{}{}: {}", head, path, problem));
  status.SetPayload(kFieldPayload, absl::Cord(path + "\n" + problem));
  return status;
}

absl::Status InvalidService(const ObjectKey& key, const std::string& path,
                            const std::string& problem) {
  return InvalidField(fmt::format("Service \"{}\" is invalid: ", key.name), path, problem);
}

std::string QuotedList(const google::protobuf::RepeatedPtrField<std::string>& items) {
  std::string out;
  for (const std::string& item : items) {
    out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", item);
  }
  return "[" + out + "]";
}

bool HasFamily(const v1::ServiceSpec& spec, bool is_v4) {
  const auto& families = spec.ip_families();
  return std::find(families.begin(), families.end(), FamilyName(is_v4)) != families.end();
}

absl::Status CompleteFamilies(const DualRange& services, const ObjectKey& key,
                              v1::ServiceSpec* spec) {
  if (spec->type() == "ExternalName") {
    spec->clear_ip_families();
    spec->clear_ip_family_policy();
    return absl::OkStatus();
  }
  const bool headless = spec->cluster_ip() == "None";
  const bool foreign = headless && spec->selector().empty();
  if (spec->ip_family_policy().empty()) {
    spec->set_ip_family_policy(foreign ? "RequireDualStack" : "SingleStack");
  }
  const bool dual = spec->ip_family_policy() != "SingleStack";
  for (int i = spec->ip_families_size(); !headless && i < spec->cluster_ips_size(); ++i) {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(spec->cluster_ips(i));
    if (!address.ok()) break;  // admission of the addresses names it
    const char* family = FamilyName(address->is_v4());
    if (services.Of(address->is_v4()) == nullptr) {
      return InvalidService(key, fmt::format("spec.clusterIPs[{}]", i),
                            fmt::format("Invalid value: {}: may not use {} on a cluster which is "
                                        "not configured for it{}",
                                        QuotedList(spec->cluster_ips()), family, kDualStackHint));
    }
    spec->add_ip_families(family);
  }
  if (spec->ip_families().empty()) spec->add_ip_families(kIpv4);
  if (foreign) {
    // Nothing is allocated: its families say which slices count.
    if (dual && spec->ip_families_size() == 1) {
      spec->add_ip_families(OtherThan(spec->ip_families(0)));
    }
    return absl::OkStatus();
  }
  if (spec->ip_family_policy() == "RequireDualStack" && !services.v6) {
    return InvalidService(key, "spec.ipFamilyPolicy",
                          fmt::format("Invalid value: \"RequireDualStack\": this cluster is not "
                                      "configured for dual-stack services{}",
                                      kDualStackHint));
  }
  for (int i = 0; i < spec->ip_families_size(); ++i) {
    if (services.Of(spec->ip_families(i) == kIpv4) != nullptr) continue;
    return InvalidService(key, fmt::format("spec.ipFamilies[{}]", i),
                          fmt::format("Invalid value: \"{}\": not configured on this cluster{}",
                                      spec->ip_families(i), kDualStackHint));
  }
  if (dual && services.v6 && spec->ip_families_size() == 1) {
    spec->add_ip_families(OtherThan(spec->ip_families(0)));
  }
  return absl::OkStatus();
}

absl::Status CheckExternalIps(const ObjectKey& key, const v1::ServiceSpec& spec) {
  for (int i = 0; i < spec.external_ips_size(); ++i) {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(spec.external_ips(i));
    if (!address.ok() || spec.type() == "ExternalName" || HasFamily(spec, address->is_v4())) {
      continue;
    }
    return InvalidService(
        key, fmt::format("spec.externalIPs[{}]", i),
        fmt::format("Invalid value: \"{}\": the Service has no {}: `ipFamilies` is {}",
                    spec.external_ips(i), FamilyName(address->is_v4()),
                    QuotedList(spec.ip_families())));
  }
  return absl::OkStatus();
}

}  // namespace mesh::controlplane
