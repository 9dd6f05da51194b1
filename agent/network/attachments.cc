// SPDX-License-Identifier: Apache-2.0
#include "agent/network/attachments.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "agent/network/files.h"
#include "common/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::agent {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSuffix = ".json";

std::string Encode(const Attachment& a) {
  Json json;
  json["containerId"] = a.container_id;
  json["ifname"] = a.ifname;
  json["network"] = a.network;
  json["netns"] = a.netns;
  json["ip"] = a.ip.ToString();
  if (a.ip6 != IpAddress()) json["ip6"] = a.ip6.ToString();
  json["identity"] = a.identity;
  json["namespace"] = a.ns;
  json["pod"] = a.pod;
  json["uid"] = a.uid;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<Attachment> Decode(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  auto read = [&](const char* key) -> std::string {
    const auto it = json.find(key);
    return it != json.end() && it->is_string() ? it->get<std::string>() : "";
  };
  Attachment out;
  out.container_id = read("containerId");
  out.ifname = read("ifname");
  out.network = read("network");
  out.netns = read("netns");
  out.ns = read("namespace");
  out.pod = read("pod");
  out.uid = read("uid");
  if (auto it = json.find("identity"); it != json.end() && it->is_number_unsigned())
    out.identity = it->get<uint32_t>();
  auto ip = IpAddress::Parse(read("ip"));
  if (!ip.ok() || out.container_id.empty() || out.ifname.empty()) return std::nullopt;
  out.ip = *ip;
  if (const std::string ipv6 = read("ip6"); !ipv6.empty()) {
    const auto ip6 = IpAddress::Parse(ipv6);
    if (!ip6.ok()) return std::nullopt;
    out.ip6 = *ip6;
  }
  return out;
}

}  // namespace

std::optional<IpAddress> PickManualAddress(const IpPrefix& pod_cidr,
                                           const std::set<IpAddress>& used,
                                           const std::optional<IpAddress>& last) {
  const uint64_t size = pod_cidr.size();
  const uint64_t first = size - size / 16, end = size - 1;
  if (first >= end) return std::nullopt;
  uint64_t start = first;
  for (uint64_t i = first; last && i < end; ++i) {
    if (pod_cidr.At(i) == last) start = i + 1;
  }
  for (uint64_t n = 0; n < end - first; ++n) {
    const auto candidate = pod_cidr.At(first + (start - first + n) % (end - first));
    if (candidate && !used.contains(*candidate)) return candidate;
  }
  return std::nullopt;
}

absl::StatusOr<Attachments> Attachments::Open(std::string dir, std::string* dropped) {
  RETURN_IF_ERROR(MakeDirectories(dir, 0700));
  Attachments out(dir);
  std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(dir.c_str()), ::closedir);
  if (!listing) return ErrnoStatus(errno, fmt::format("cannot list {}", dir));
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (name.size() < kSuffix.size() || !name.ends_with(kSuffix)) continue;
    const std::string path = dir + "/" + name;
    auto text = ReadWholeFile(path);
    auto attachment = text.ok() ? Decode(*text) : std::nullopt;
    if (!attachment) {
      ::unlink(path.c_str());
      if (!dropped->empty()) *dropped += ", ";
      *dropped += path;
      continue;
    }
    Key key{attachment->container_id, attachment->ifname};
    out.all_.insert_or_assign(std::move(key), *std::move(attachment));
  }
  return out;
}

const Attachment* Attachments::Find(const std::string& container_id,
                                    const std::string& ifname) const {
  const auto it = all_.find({container_id, ifname});
  return it == all_.end() ? nullptr : &it->second;
}

// '@' does not occur in a container id.
std::string Attachments::PathOf(const Key& key) const {
  return fmt::format("{}/{}@{}{}", dir_, key.first, key.second, kSuffix);
}

absl::Status Attachments::Put(const Attachment& attachment) {
  const Key key{attachment.container_id, attachment.ifname};
  RETURN_IF_ERROR(ReplaceFile(PathOf(key), Encode(attachment), 0600));
  all_.insert_or_assign(key, attachment);
  return absl::OkStatus();
}

absl::Status Attachments::Remove(const std::string& container_id, const std::string& ifname) {
  const Key key{container_id, ifname};
  if (all_.erase(key) == 0) return absl::OkStatus();
  if (::unlink(PathOf(key).c_str()) != 0 && errno != ENOENT)
    return ErrnoStatus(errno, fmt::format("cannot remove {}", PathOf(key)));
  return absl::OkStatus();
}

}  // namespace mesh::agent
