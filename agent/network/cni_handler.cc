// SPDX-License-Identifier: Apache-2.0
#include "agent/network/cni_handler.h"

#include <set>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/quantity.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using cni::Error;

// VXLAN, as NodeConfig::uplink_mtu says.
constexpr int kTunnelOverhead = 50;
// The id becomes part of a file name (255 characters) together with an interface name.
constexpr size_t kMaxContainerId = 200;

std::string FormatMac(const dataplane::MacAddress& mac) {
  return fmt::format("{:02x}", fmt::join(mac, ":"));
}

std::string Text(const absl::Status& status) { return std::string(status.message()); }

Error DataplaneError(const absl::Status& status, std::string message) {
  const uint32_t code = absl::IsUnavailable(status) ? cni::kTryAgainLater : cni::kDataplaneFailure;
  return Error{code, std::move(message), Text(status)};
}

// 0: the pod has none. What cannot be read was refused when the pod was made.
uint64_t Bandwidth(const v1::Pod& pod, const std::string& annotation) {
  const auto it = pod.metadata().annotations().find(annotation);
  if (it == pod.metadata().annotations().end()) return 0;
  const absl::StatusOr<int64_t> bits = ParseQuantity(it->second);
  return bits.ok() && *bits > 0 ? static_cast<uint64_t>(*bits) : 0;
}

Error AttachError(const absl::Status& status, const dataplane::AttachRequest& request,
                  const std::string& netns) {
  if (absl::IsAlreadyExists(status))
    return Error{cni::kInvalidEnvironment,
                 fmt::format("CNI_IFNAME: {} exists already in {}", request.ifname, netns),
                 Text(status)};
  if (absl::IsNotFound(status))
    return Error{cni::kInvalidEnvironment, fmt::format("CNI_NETNS: cannot enter {}", netns),
                 Text(status)};
  return DataplaneError(status, fmt::format("cannot attach {} in {}", request.ifname, netns));
}

}  // namespace

absl::Status CniHandler::SetDataplane(dataplane::Dataplane* dataplane,
                                      const dataplane::NodeConfig& config) {
  auto endpoints = dataplane->Endpoints();
  if (!endpoints.ok()) return Annotate(endpoints.status(), "cannot list the endpoints of the node");
  std::set<std::string> living;
  for (const dataplane::Endpoint& endpoint : *endpoints) living.insert(endpoint.container_id);
  std::vector<Attachments::Key> gone;
  for (const auto& [key, attachment] : attachments_->all()) {
    if (!living.contains(key.first)) gone.push_back(key);
  }
  for (const auto& [container_id, ifname] : gone) {
    spdlog::info("cni: attachment {} of container {} is gone", ifname, container_id);
    RETURN_IF_ERROR(attachments_->Remove(container_id, ifname));
  }
  dataplane_ = dataplane;
  config_ = config;
  return absl::OkStatus();
}

void CniHandler::Handle(const v1::CniRequest& request, int netns_fd,
                        std::function<void(const v1::CniReply&)> reply) {
  if (request.command() != "DEL" || !remove_link_ || dataplane_ == nullptr)
    return Answer(request, netns_fd, reply);
  remove_link_(request.container_id(), request.ifname(),
               [this, request, reply = std::move(reply)] { Answer(request, -1, reply); });
}

void CniHandler::Answer(const v1::CniRequest& request, int netns_fd,
                        const std::function<void(const v1::CniReply&)>& reply) {
  v1::CniReply out;
  std::string result;
  if (const MaybeError error = Dispatch(request, netns_fd, &result)) {
    out.set_code(error->code);
    out.set_message(error->message);
    out.set_details(error->details);
    spdlog::warn("cni: {} {} {}: {}{}{}", request.command(), request.container_id(),
                 request.ifname(), error->message, error->details.empty() ? "" : ": ",
                 error->details);
  } else {
    out.set_result(result);
  }
  reply(out);
}

CniHandler::MaybeError CniHandler::Dispatch(const v1::CniRequest& request, int netns_fd,
                                            std::string* result) {
  const std::string& command = request.command();
  cni::NetworkConfig config;
  std::string version;
  const bool cleans_up = command == "DEL" || command == "GC";
  if (auto error = cni::ParseNetworkConfig(request.config(), &config, &version);
      error && !(cleans_up && error->code == cni::kUnsupportedField))
    return error;
  if (request.container_id().size() > kMaxContainerId)
    return Error{cni::kInvalidEnvironment,
                 fmt::format("CNI_CONTAINERID: {} characters, the limit is {}",
                             request.container_id().size(), kMaxContainerId),
                 ""};
  if (command == "ADD") return Add(request, config, netns_fd, result);
  if (command == "DEL") return Del(request);
  if (command == "CHECK") return Check(request, config, netns_fd);
  if (command == "STATUS") return Status();
  if (command == "GC") return CollectGarbage(config);
  return Error{cni::kInvalidEnvironment,
               fmt::format("CNI_COMMAND: unknown command \"{}\"", command), ""};
}

CniHandler::MaybeError CniHandler::NotReady(uint32_t code) const {
  if (ready()) return std::nullopt;
  return Error{code, "the network of this node is not ready", not_ready_};
}

CniHandler::MaybeError CniHandler::Status() const { return NotReady(cni::kNotAvailable); }

const v1::Pod* CniHandler::FindPod(const std::string& uid, const std::string& ns,
                                   const std::string& name) const {
  if (state_ == nullptr) return nullptr;
  if (!uid.empty()) {
    const auto it = state_->pods.find(uid);
    return it == state_->pods.end() ? nullptr : &*it->second;
  }
  for (const auto& [key, pod] : state_->pods) {
    if (pod->metadata().namespace_() == ns && pod->metadata().name() == name) return &*pod;
  }
  return nullptr;
}

CniHandler::MaybeError CniHandler::Assign(const std::string& args, Attachment* out) {
  out->ns = cni::FindArg(args, "K8S_POD_NAMESPACE");
  out->pod = cni::FindArg(args, "K8S_POD_NAME");
  out->uid = cni::FindArg(args, "K8S_POD_UID");
  if (out->pod.empty() && out->uid.empty()) return AssignManual(out);
  const std::string who = fmt::format("pod {}/{} (uid {})", out->ns, out->pod, out->uid);
  const v1::Pod* pod = FindPod(out->uid, out->ns, out->pod);
  if (pod == nullptr)
    return Error{cni::kTryAgainLater, who + " is not known to this node",
                 "the control plane has not assigned it here, or not yet"};
  return AssignPod(who, *pod, out);
}

CniHandler::MaybeError CniHandler::AssignManual(Attachment* out) {
  out->ns.clear();
  std::set<IpAddress> used;
  for (const auto& [key, attachment] : attachments_->all()) used.insert(attachment.ip);
  const auto ip = PickManualAddress(config_.pod_cidr, used, last_manual_);
  if (!ip)
    return Error{cni::kAddressesExhausted,
                 fmt::format("no free address for an attachment without a pod in {}",
                             config_.pod_cidr.ToString()),
                 "the upper sixteenth of the node's range is reserved for them; DEL some"};
  out->ip = *ip;
  // At the same place in the other range.
  if (config_.has_ipv6()) out->ip6 = *config_.pod_cidr6.At(*config_.pod_cidr.IndexOf(out->ip));
  out->identity = dataplane::kIdentityUnmanaged;
  last_manual_ = ip;
  return std::nullopt;
}

CniHandler::MaybeError CniHandler::AssignPod(const std::string& who, const v1::Pod& pod,
                                             Attachment* out) const {
  const v1::PodStatus& status = pod.status();
  auto ip = IpAddress::Parse(status.pod_ip());
  if (!ip.ok() || !config_.pod_cidr.Contains(*ip) || status.identity() == 0)
    return Error{cni::kTryAgainLater, who + " has no address and identity for this node yet",
                 fmt::format("status.podIP is \"{}\", the node's range is {}, the identity is {}",
                             status.pod_ip(), config_.pod_cidr.ToString(), status.identity())};
  out->ip = *ip;
  // One that was bound before the cluster had IPv6 has none of it.
  for (const v1::PodIP& other : status.pod_ips()) {
    const auto ip6 = IpAddress::Parse(other.ip());
    if (!ip6.ok() || ip6->is_v4() || !config_.has_ipv6()) continue;
    if (!config_.pod_cidr6.Contains(*ip6))
      return Error{cni::kTryAgainLater, who + " has no IPv6 address for this node yet",
                   fmt::format("status.podIPs has {}, the node's range is {}", other.ip(),
                               config_.pod_cidr6.ToString())};
    out->ip6 = *ip6;
  }
  out->identity = status.identity();
  out->ns = pod.metadata().namespace_();
  out->pod = pod.metadata().name();
  out->uid = pod.metadata().uid();
  out->egress_bandwidth = Bandwidth(pod, "kubernetes.io/egress-bandwidth");
  out->ingress_bandwidth = Bandwidth(pod, "kubernetes.io/ingress-bandwidth");
  return std::nullopt;
}

std::vector<cni::Attachment::Address> CniHandler::AddressesOf(const Attachment& attachment) const {
  std::vector<cni::Attachment::Address> out = {
      {attachment.ip.ToString() + "/32", config_.gateway.ToString()}};
  if (attachment.ip6 != IpAddress())
    out.push_back({attachment.ip6.ToString() + "/128", config_.gateway6.ToString()});
  return out;
}

dataplane::AttachRequest CniHandler::ToRequest(const Attachment& attachment, int netns_fd) const {
  return {.netns = netns_fd >= 0 ? fmt::format("/proc/self/fd/{}", netns_fd) : attachment.netns,
          .ifname = attachment.ifname,
          .ip = attachment.ip,
          .identity = attachment.identity,
          .ns = attachment.ns,
          .pod = attachment.pod,
          .container_id = attachment.container_id,
          .egress_bandwidth = attachment.egress_bandwidth,
          .ingress_bandwidth = attachment.ingress_bandwidth,
          .ip6 = attachment.ip6};
}

absl::Status CniHandler::Detach(const std::string& container_id, const std::string& ifname) {
  RETURN_IF_ERROR(dataplane_->Detach(container_id, ifname));
  return attachments_->Remove(container_id, ifname);
}

absl::Status CniHandler::EvictHolder(const dataplane::AttachRequest& request, bool* evicted) {
  *evicted = false;
  auto is_holder = [&](const std::string& container_id, const IpAddress& ip) {
    return ip == request.ip && container_id != request.container_id;
  };
  std::vector<Attachments::Key> holders;
  for (const auto& [key, attachment] : attachments_->all()) {
    if (is_holder(key.first, attachment.ip)) holders.push_back(key);
  }
  if (holders.empty()) {
    ASSIGN_OR_RETURN(const std::vector<dataplane::Endpoint> endpoints, dataplane_->Endpoints());
    for (const dataplane::Endpoint& endpoint : endpoints) {
      if (is_holder(endpoint.container_id, endpoint.ip))
        holders.emplace_back(endpoint.container_id, request.ifname);
    }
  }
  for (const auto& [container_id, ifname] : holders) {
    spdlog::info("cni: {} moves from container {} to {}", request.ip.ToString(), container_id,
                 request.container_id);
    RETURN_IF_ERROR(Detach(container_id, ifname));
    *evicted = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<dataplane::Endpoint> CniHandler::Attach(const dataplane::AttachRequest& request) {
  auto endpoint = dataplane_->Attach(request);
  if (!absl::IsAlreadyExists(endpoint.status())) return endpoint;
  bool evicted = false;
  RETURN_IF_ERROR(EvictHolder(request, &evicted));
  return evicted ? dataplane_->Attach(request) : endpoint;
}

CniHandler::MaybeError CniHandler::Add(const v1::CniRequest& request,
                                       const cni::NetworkConfig& config, int netns_fd,
                                       std::string* result) {
  if (auto error = NotReady(cni::kTryAgainLater)) return error;
  if (attachments_->Find(request.container_id(), request.ifname()) != nullptr)
    return Error{cni::kInvalidEnvironment,
                 fmt::format("CNI_IFNAME: container {} has {} already", request.container_id(),
                             request.ifname()),
                 "a DEL must come before another ADD"};
  Attachment attachment{.container_id = request.container_id(),
                        .ifname = request.ifname(),
                        .network = config.name,
                        .netns = request.netns(),
                        .ip = {},
                        .ip6 = {},
                        .identity = 0,
                        .ns = {},
                        .pod = {},
                        .uid = {}};
  if (auto error = Assign(request.args(), &attachment)) return error;
  // What it would admit is not what it should.
  if (unwritten_.contains(attachment.ns))
    return Error{
        cni::kTryAgainLater,
        fmt::format("the isolation of namespace {} is not in force on this node", attachment.ns),
        why_unwritten_};
  const dataplane::AttachRequest wanted = ToRequest(attachment, netns_fd);
  if (!attachment.pod.empty()) {
    // The address belongs to the pod; an older sandbox of it, whose DEL got lost, has to yield.
    bool evicted = false;
    for (const auto& [key, other] : attachments_->all()) evicted |= other.ip == attachment.ip;
    if (absl::Status status = evicted ? EvictHolder(wanted, &evicted) : absl::OkStatus();
        !status.ok())
      return DataplaneError(status, "cannot take the address from the pod's former sandbox");
  }

  // Noted first: an agent that dies in between finds the note and looks.
  if (absl::Status status = attachments_->Put(attachment); !status.ok())
    return Error{cni::kIoFailure, "cannot note the attachment", Text(status)};
  auto forget = [&] {
    if (absl::Status status = attachments_->Remove(attachment.container_id, attachment.ifname);
        !status.ok())
      spdlog::warn("cni: {}", Text(status));
  };
  auto endpoint = Attach(wanted);
  if (!endpoint.ok()) {
    forget();
    return AttachError(endpoint.status(), wanted, request.netns());
  }
  const cni::Attachment made{.host_interface = endpoint->interface,
                             .host_mac = FormatMac(endpoint->host_mac),
                             .ifname = request.ifname(),
                             .mac = FormatMac(endpoint->pod_mac),
                             .netns = request.netns(),
                             .addresses = AddressesOf(attachment),
                             .mtu = config_.routing == dataplane::Routing::kNative
                                        ? config_.uplink_mtu
                                        : config_.uplink_mtu - kTunnelOverhead,
                             .dns = PodDns(attachment.ns)};
  if (auto error = cni::BuildResult(config, made, result)) {
    if (absl::Status status = Detach(attachment.container_id, attachment.ifname); !status.ok())
      spdlog::warn("cni: {}", Text(status));
    return error;
  }
  spdlog::info(
      "cni: ADD {} {}: {} {}", attachment.container_id, attachment.ifname, attachment.ip.ToString(),
      attachment.pod.empty() ? "by hand" : fmt::format("{}/{}", attachment.ns, attachment.pod));
  return std::nullopt;
}

cni::Dns CniHandler::PodDns(const std::string& ns) const {
  cni::Dns out;
  out.nameservers.push_back(config_.gateway.ToString());
  const std::string& domain = state_ == nullptr ? "" : state_->config.cluster_domain();
  if (domain.empty()) return out;
  if (!ns.empty()) out.search.push_back(fmt::format("{}.svc.{}", ns, domain));
  out.search.push_back("svc." + domain);
  out.search.push_back(domain);
  return out;
}

CniHandler::MaybeError CniHandler::Del(const v1::CniRequest& request) {
  if (dataplane_ == nullptr)
    return Error{cni::kTryAgainLater, "the network of this node is not ready", not_ready_};
  // Asked of the dataplane without a note too: the notes may be lost, the interface not.
  if (absl::Status status = Detach(request.container_id(), request.ifname()); !status.ok())
    return DataplaneError(status, fmt::format("cannot detach {} of container {}", request.ifname(),
                                              request.container_id()));
  return std::nullopt;
}

CniHandler::MaybeError CniHandler::Check(const v1::CniRequest& request,
                                         const cni::NetworkConfig& config, int netns_fd) {
  if (auto error = NotReady(cni::kTryAgainLater)) return error;
  if (!config.prev_result)
    return Error{cni::kInvalidConfig, "network configuration: prevResult is required for CHECK",
                 ""};
  const Attachment* attachment = attachments_->Find(request.container_id(), request.ifname());
  if (attachment == nullptr)
    return Error{cni::kUnknownContainer,
                 fmt::format("container {} has no {} on this node", request.container_id(),
                             request.ifname()),
                 ""};
  std::vector<std::string> addresses;
  for (const auto& made : AddressesOf(*attachment)) addresses.push_back(made.address);
  if (auto error = cni::CheckPrevResult(config, request.ifname(), request.netns(), addresses))
    return error;
  Attachment now = *attachment;
  now.netns = request.netns();
  // A pod may have got another one since.
  if (!now.pod.empty()) now.identity = 0;
  if (absl::Status status = dataplane_->Check(ToRequest(now, netns_fd)); !status.ok())
    return Error{cni::kAttachmentDiffers,
                 fmt::format("{} of container {} is not as ADD made it", request.ifname(),
                             request.container_id()),
                 Text(status)};
  return std::nullopt;
}

CniHandler::MaybeError CniHandler::CollectGarbage(const cni::NetworkConfig& config) {
  if (dataplane_ == nullptr)
    return Error{cni::kTryAgainLater, "the network of this node is not ready", not_ready_};
  if (!config.valid_attachments)
    return Error{cni::kInvalidConfig,
                 "network configuration: cni.dev/valid-attachments is required for GC", ""};
  const std::set<Attachments::Key> valid(config.valid_attachments->begin(),
                                         config.valid_attachments->end());
  // The list of one network says nothing about attachments of another.
  std::set<Attachments::Key> garbage;
  std::set<std::string> noted;
  for (const auto& [key, attachment] : attachments_->all()) {
    noted.insert(key.first);
    if (attachment.network == config.name && !valid.contains(key)) garbage.insert(key);
  }
  std::vector<std::string> problems;
  if (config.name == kNetworkName) {
    // Endpoints whose note is lost can only be the runtime's.
    std::set<std::string> valid_ids;
    for (const auto& [container_id, ifname] : valid) valid_ids.insert(container_id);
    auto endpoints = dataplane_->Endpoints();
    if (!endpoints.ok()) problems.push_back(Text(endpoints.status()));
    for (const dataplane::Endpoint& endpoint :
         endpoints.ok() ? *endpoints : std::vector<dataplane::Endpoint>()) {
      if (!endpoint.container_id.empty() && !noted.contains(endpoint.container_id) &&
          !valid_ids.contains(endpoint.container_id))
        garbage.emplace(endpoint.container_id, "eth0");
    }
  }
  for (const auto& [container_id, ifname] : garbage) {
    spdlog::info("cni: GC removes {} of container {}", ifname, container_id);
    if (absl::Status status = Detach(container_id, ifname); !status.ok())
      problems.push_back(fmt::format("{} {}: {}", container_id, ifname, Text(status)));
  }
  if (problems.empty()) return std::nullopt;
  return Error{cni::kDataplaneFailure, "GC could not remove everything",
               fmt::format("{}", fmt::join(problems, "; "))};
}

}  // namespace mesh::agent
