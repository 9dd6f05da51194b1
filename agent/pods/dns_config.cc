// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/dns_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <vector>

namespace mesh::agent {
namespace {

namespace cri = ::runtime::v1;

struct Resolver {
  std::vector<std::string> servers, searches, options;
};

bool FromCluster(const v1::PodSpec& spec) {
  const std::string& policy = spec.dns_policy();
  if (policy == "ClusterFirstWithHostNet") return true;
  // In the node's network the cluster is not first unless it is asked for.
  return (policy.empty() || policy == "ClusterFirst") && !spec.host_network();
}

Resolver OfCluster(const v1::Pod& pod, const PodConfigOptions& options) {
  Resolver out;
  out.servers = options.name_servers;
  out.searches = {fmt::format("{}.svc.{}", pod.metadata().namespace_(), options.cluster_domain),
                  fmt::format("svc.{}", options.cluster_domain), options.cluster_domain};
  out.options = {"ndots:5"};
  return out;
}

// resolv.conf(5): the last "search" or "domain" counts.
Resolver OfNode(const std::string& text) {
  Resolver out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword, word;
    words >> keyword;
    if (keyword == "search" || keyword == "domain") out.searches.clear();
    while (words >> word) {
      if (keyword == "nameserver") out.servers.push_back(word);
      if (keyword == "search" || keyword == "domain") out.searches.push_back(word);
      if (keyword == "options") out.options.push_back(word);
    }
  }
  return out;
}

void AddOnce(std::vector<std::string>* list, const std::string& item) {
  if (std::find(list->begin(), list->end(), item) == list->end()) list->push_back(item);
}

void SetOption(std::vector<std::string>* list, const std::string& name, const std::string& value) {
  std::erase_if(*list, [&](const std::string& option) {
    return std::string_view(option).substr(0, option.find(':')) == name;
  });
  list->push_back(value.empty() ? name : name + ":" + value);
}

}  // namespace

bool HasDns(const v1::Pod& pod, const PodConfigOptions& options) {
  if (pod.spec().dns_policy() == "None" || pod.spec().has_dns_config()) return true;
  return FromCluster(pod.spec()) && !options.name_servers.empty();
}

void FillDns(const v1::Pod& pod, const PodConfigOptions& options, cri::DNSConfig* out) {
  const v1::PodDNSConfig& given = pod.spec().dns_config();
  // Without resolvers of its own the cluster has the node's.
  const bool of_cluster = FromCluster(pod.spec()) && !options.name_servers.empty();
  Resolver resolver;
  if (pod.spec().dns_policy() != "None") {
    resolver = of_cluster ? OfCluster(pod, options) : OfNode(options.node_resolv_conf);
  }
  std::vector<std::string> rest;
  if (of_cluster && resolver.servers.size() > 1) {
    // Other nodes' resolvers know what this one knows: they are there for when it is away.
    rest.assign(resolver.servers.begin() + 1, resolver.servers.end());
    resolver.servers.resize(1);
  }
  for (const std::string& server : given.nameservers()) AddOnce(&resolver.servers, server);
  for (const std::string& server : rest) AddOnce(&resolver.servers, server);
  if (resolver.servers.size() > kMostNameServers) resolver.servers.resize(kMostNameServers);
  for (const std::string& search : given.searches()) AddOnce(&resolver.searches, search);
  if (of_cluster && resolver.servers.size() > 1) {
    // The C library waits five seconds for a silent server; an agent is back in one.
    resolver.options.emplace_back("timeout:1");
    resolver.options.emplace_back("attempts:3");
  }
  for (const v1::PodDNSConfigOption& option : given.options())
    SetOption(&resolver.options, option.name(), option.value());
  out->mutable_servers()->Assign(resolver.servers.begin(), resolver.servers.end());
  out->mutable_searches()->Assign(resolver.searches.begin(), resolver.searches.end());
  out->mutable_options()->Assign(resolver.options.begin(), resolver.options.end());
}

std::string HostAliasLines(const v1::PodSpec& spec) {
  if (spec.host_aliases().empty()) return "";
  std::string out = "\n# Entries added by HostAliases.\n";
  for (const v1::HostAlias& alias : spec.host_aliases())
    out += fmt::format("{}\t{}\n", alias.ip(), fmt::join(alias.hostnames(), "\t"));
  return out;
}

}  // namespace mesh::agent
