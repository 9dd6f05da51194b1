// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/judgement.h"

#include <algorithm>
#include <vector>

#include "common/ip_address.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/topics.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

constexpr char kIsolation[] = "mesh.io/isolation";

}  // namespace

// Somebody may think that they are in force.
void Judgement::PoliciesWithoutPods(bool egress, const std::string& ns, Report* report) {
  if (!told_nobody_.insert({egress, ns}).second) return;
  const auto nobody =
      PoliciesOfNobody(state_, ns, egress ? Direction::kEgress : Direction::kIngress);
  if (nobody.empty()) return;
  report->Note(
      "namespace " + ns,
      fmt::format("{} for {} select{} no pod of it: {}",
                  nobody.size() == 1 ? "a policy" : "policies", egress ? "egress" : "ingress",
                  nobody.size() == 1 ? "s" : "", NameList(nobody)),
      {fmt::format("meshctl why netpol/{} -n {}", nobody.front().substr(ns.size() + 1), ns)});
}

bool Judgement::Policies(bool egress, const v1::Pod& pod, const PolicyPeer& peer, uint32_t port,
                         Report* report) {
  std::vector<PolicyAnswer> answers;
  std::vector<std::string> over;
  for (const bool ipv6 : request_.families) {
    answers.push_back(AskPolicies(state_, {.egress = egress,
                                           .pod = pod,
                                           .peer = peer,
                                           .protocol = ProtocolNumber(request_.protocol),
                                           .port = static_cast<uint16_t>(port),
                                           .ipv6 = ipv6}));
    over.push_back(ipv6 ? "over IPv6 " : "over IPv4 ");
  }
  if (answers.empty()) return false;
  const bool alike = std::ranges::all_of(answers, [&](const PolicyAnswer& answer) {
    return answer.facts.allowed() == answers[0].facts.allowed();
  });
  if (alike) {
    answers.resize(1);
    over = {""};
  }
  if (alike && answers[0].facts.allowed())
    PoliciesWithoutPods(egress, pod.metadata().namespace_(), report);
  const bool refused = Refused(egress, pod, report);
  for (size_t i = 0; i < answers.size(); ++i)
    TellPolicies(pod, answers[i], over[i], refused, report);
  return refused || !answers[0].facts.policies().empty();
}

bool Judgement::Refused(bool egress, const v1::Pod& pod, Report* report) {
  const auto [told, is_new] = refused_.try_emplace({egress, KeyOfMeta(pod.metadata())});
  if (is_new) {
    told->second = WhyRefused(state_, pod, egress ? Direction::kEgress : Direction::kIngress,
                              known_.refusals, report);
  }
  return told->second;
}

void Judgement::TellPolicies(const v1::Pod& pod, const PolicyAnswer& answer,
                             const std::string& over, bool refused, Report* report) {
  const v1::TracePolicy& facts = answer.facts;
  if (facts.policies().empty()) return;
  const std::string text =
      over +
      (facts.allowed()
           ? fmt::format("{} by {}", facts.egress() ? "may send it" : "takes it", RuleTitle(facts))
           : fmt::format("is isolated for {} by {} {}, {} admits it; {}",
                         facts.egress() ? "egress" : "ingress",
                         facts.policies_size() == 1 ? "policy" : "policies",
                         fmt::join(facts.policies(), ", "),
                         facts.policies_size() == 1 ? "no rule of which" : "none of which",
                         answer.nearest));
  // Of several backends one is enough.
  if (!told_policies_.insert(PodTitle(pod) + text).second) return;
  if (refused) {
    report->Note(PodTitle(pod), "once its policies are in force: " + text,
                 facts.allowed() ? Report::Remedies() : answer.remedies);
  } else if (facts.allowed()) {
    report->Ok(PodTitle(pod), text);
  } else {
    Report::Remedies remedies = answer.remedies;
    if (!request_.instead.empty()) remedies.insert(remedies.begin(), request_.instead);
    report->Problem(PodTitle(pod), text, remedies);
  }
}

void Judgement::Names(const std::string& host, Report* report) {
  const PolicyAnswer answer = AskPolicies(state_, {.egress = true,
                                                   .pod = from_,
                                                   .peer = ResolverPeer(),
                                                   .protocol = ProtocolNumber("UDP"),
                                                   .port = 53});
  if (answer.facts.allowed()) return;
  const std::string text = fmt::format(
      "may not ask for names: no egress rule of {} {} admits UDP 53 to the resolver, pods "
      "k8s-app=kube-dns of namespace kube-system; {}",
      answer.facts.policies_size() == 1 ? "policy" : "policies",
      fmt::join(answer.facts.policies(), ", "), answer.nearest);
  const bool by_address = IpAddress::Parse(host).ok();
  if (Refused(true, from_, report)) {
    report->Note(PodTitle(from_), "once its policies are in force: " + text, answer.remedies);
  } else if (host.empty() || by_address) {
    report->Note(PodTitle(from_), text, answer.remedies);
  } else {
    report->Problem(PodTitle(from_), text, answer.remedies);
  }
}

void Judgement::Isolation(const v1::Pod& to, const v1::Service* service, const std::string& seen,
                          Report* report) {
  const std::string& ns = to.metadata().namespace_();
  const bool inside = seen.empty() && ns == from_.metadata().namespace_();
  if (inside || !told_isolation_.insert(ns).second) return;
  const v1::Namespace* object = FindObject(state_.namespaces, {"", ns});
  std::string mode;
  if (object != nullptr) {
    const auto it = object->metadata().annotations().find(kIsolation);
    if (it != object->metadata().annotations().end()) mode = it->second;
  }
  if (mode == "open") {
    report->Ok("namespace " + ns, "is open to other namespaces");
    return;
  }
  const bool by_own_service = service != nullptr && service->metadata().namespace_() == ns;
  if (mode != "closed" && (by_own_service || request_.by_host_port)) {
    report->Ok("namespace " + ns, by_own_service
                                      ? "admits what comes through its own Services"
                                      : "admits what comes through host ports of its pods");
    return;
  }
  Report::Remedies remedies = {fmt::format("annotate namespace {} with {}: open", ns, kIsolation)};
  if (!seen.empty() && !request_.instead.empty() && ns == from_.metadata().namespace_())
    remedies.insert(remedies.begin(), request_.instead);
  if (mode == "closed") {
    remedies.push_back(
        fmt::format("remove {} of namespace {}: its Services are then open", kIsolation, ns));
  } else {
    remedies.insert(remedies.begin(),
                    fmt::format("ask a Service of namespace {} instead of the pod", ns));
  }
  report->Problem(
      "namespace " + ns,
      mode == "closed" && !seen.empty()
          ? fmt::format("is closed ({}): none but its own pods gets in, and the request comes "
                        "from {}",
                        kIsolation, seen)
      : mode == "closed"
          ? fmt::format("is closed ({}): no other namespace gets in, {} is dropped there",
                        kIsolation, from_.metadata().namespace_())
          : fmt::format("admits other namespaces through its Services only: a request of "
                        "namespace {} straight to a pod is dropped there",
                        from_.metadata().namespace_()),
      remedies);
}

}  // namespace mesh::controlplane
