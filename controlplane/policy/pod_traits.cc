// SPDX-License-Identifier: Apache-2.0
#include "controlplane/policy/pod_traits.h"

#include <netinet/in.h>

#include <algorithm>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

namespace mesh::controlplane {

bool Block::Contains(const IpAddress& address) const {
  return cidr.Contains(address) &&
         std::none_of(except.begin(), except.end(),
                      [&](const IpPrefix& hole) { return hole.Contains(address); });
}

Block BlockOf(const v1::IPBlock& block) {
  Block out;
  const auto cidr = IpPrefix::ParseMasked(block.cidr());
  if (!cidr.ok()) return {.cidr = IpPrefix::Of(IpAddress()), .except = {}};
  out.cidr = *cidr;
  for (const std::string& text : block.except()) {
    if (const auto hole = IpPrefix::ParseMasked(text); hole.ok()) out.except.push_back(*hole);
  }
  std::sort(out.except.begin(), out.except.end());
  return out;
}

uint8_t ProtocolNumber(const std::string& name) {
  if (name.empty() || name == "TCP") return IPPROTO_TCP;
  return name == "UDP" ? IPPROTO_UDP : 0;
}

namespace {

std::map<PortName, uint16_t> NamedPorts(const v1::Pod& pod) {
  std::map<PortName, uint16_t> out;
  const auto add = [&](const v1::Container& container) {
    for (const v1::ContainerPort& port : container.ports()) {
      const uint8_t protocol = ProtocolNumber(port.protocol());
      if (port.name().empty() || protocol == 0) continue;
      // Of two of the same name the first one counts.
      out.try_emplace({port.name(), protocol}, static_cast<uint16_t>(port.container_port()));
    }
  };
  for (const v1::Container& container : pod.spec().containers()) add(container);
  for (const v1::Container& init : pod.spec().init_containers())
    if (init.restart_policy() == "Always") add(init);
  return out;
}

std::set<Block> Around(const v1::Pod& pod, const std::set<Block>& blocks) {
  std::set<Block> out;
  if (blocks.empty()) return out;
  std::vector<IpAddress> addresses;
  for (const v1::PodIP& ip : pod.status().pod_ips()) {
    if (const auto address = IpAddress::Parse(ip.ip()); address.ok()) addresses.push_back(*address);
  }
  for (const Block& block : blocks) {
    if (std::any_of(addresses.begin(), addresses.end(),
                    [&](const IpAddress& address) { return block.Contains(address); })) {
      out.insert(block);
    }
  }
  return out;
}

}  // namespace

std::string Block::ToString() const {
  std::string out = cidr.ToString();
  for (size_t i = 0; i < except.size(); ++i) {
    out += (i == 0 ? " except " : " ") + except[i].ToString();
  }
  return out;
}

Block ParseBlock(const std::string& text) {
  v1::IPBlock block;
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  block.set_cidr(words[0]);
  for (size_t i = 2; i < words.size(); ++i) block.add_except(words[i]);
  return BlockOf(block);
}

std::vector<std::string> BlocksAround(const v1::Pod& pod, const std::set<Block>& blocks) {
  std::vector<std::string> out;
  for (const Block& block : Around(pod, blocks)) out.push_back(block.ToString());
  return out;
}

PodTraits TraitsOf(const v1::Pod& pod, const std::set<Block>& blocks) {
  PodTraits out;
  out.ns = pod.metadata().namespace_();
  out.labels = {pod.metadata().labels().begin(), pod.metadata().labels().end()};
  out.named_ports = NamedPorts(pod);
  out.blocks = Around(pod, blocks);
  return out;
}

PodTraits TraitsOf(const v1::Pod& pod) {
  PodTraits out = TraitsOf(pod, {});
  for (const std::string& text : pod.status().identity_blocks()) {
    out.blocks.insert(ParseBlock(text));
  }
  return out;
}

PodTraits ResolverTraits() {
  PodTraits out;
  out.ns = "kube-system";
  out.labels = {{"k8s-app", "kube-dns"}};
  out.named_ports = {{{"dns", IPPROTO_UDP}, 53}, {{"dns-tcp", IPPROTO_TCP}, 53}};
  return out;
}

std::string IdentityText(const v1::Pod& pod) {
  std::string out = pod.metadata().namespace_();
  const std::map<std::string, std::string> labels(pod.metadata().labels().begin(),
                                                  pod.metadata().labels().end());
  // No label, name of a port or range has these characters.
  for (const auto& [key, value] : labels) out += "\n" + key + "=" + value;
  for (const auto& [name, port] : NamedPorts(pod)) {
    out += fmt::format("\n:{}/{}={}", name.first, name.second, port);
  }
  for (const std::string& block : pod.status().identity_blocks()) out += "\n@" + block;
  return out;
}

std::set<Block> BlocksOf(const v1::NetworkPolicy& policy) {
  std::set<Block> out;
  const auto add = [&](const auto& peers) {
    for (const v1::NetworkPolicyPeer& peer : peers) {
      if (peer.has_ip_block()) out.insert(BlockOf(peer.ip_block()));
    }
  };
  for (const auto& rule : policy.spec().ingress()) add(rule.from());
  for (const auto& rule : policy.spec().egress()) add(rule.to());
  return out;
}

}  // namespace mesh::controlplane
