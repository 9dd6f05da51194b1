// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_events.h"

#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr absl::Duration kTellAgain = absl::Minutes(10);
// Of one object in that time: numbers of nodes (rows taken) make many texts of one matter.
constexpr size_t kTextsMax = 16;

// True when there is such an object, which then is the note's.
template <typename Objects>
bool SetObject(const Objects& objects, const ObjectKey& key, const char* api_version,
               const char* kind, EventNote* note) {
  const auto found = objects.find(key);
  if (found == objects.end()) return false;
  note->object.set_api_version(api_version);
  note->object.set_kind(kind);
  note->object.set_namespace_(key.ns);
  note->object.set_name(key.name);
  note->object.set_uid(found->second->metadata().uid());
  return true;
}

}  // namespace

void NodeEvents::NoteShortfall(const std::string& node, const std::string& error) {
  Shortfall& shortfall = shortfalls_[node];
  const bool same = error == shortfall.error;
  shortfall.error = error;
  if (error.empty() || (same && loop_.Now() - shortfall.told < kTellAgain)) return;
  shortfall.told = loop_.Now();
  EventNote note;
  note.type = "Warning";
  note.reason = "DataplaneFailed";
  note.message = error;
  if (SetObject(cache_.state().nodes, {"", node}, "v1", "Node", &note)) writer_.Note(note);
}

void NodeEvents::Note(const std::string& node, const v1::NodeEvent& event) {
  EventNote note;
  note.type = event.type();
  note.reason = event.reason();
  note.message = fmt::format("node {}: {}", node, event.message());
  const ObjectKey service{event.namespace_(), event.service()};
  const ObjectKey policy{event.namespace_(), event.network_policy()};
  if (!policy.name.empty()) {
    // No name of a Service has a space.
    const ObjectKey teller{policy.ns, "networkpolicy " + policy.name};
    if (!SetObject(cache_.state().network_policies, policy, "networking.k8s.io/v1", "NetworkPolicy",
                   &note) ||
        !IsNews(teller, node, event.message())) {
      return;
    }
  } else if (!service.name.empty()) {
    if (!SetObject(cache_.state().services, service, "v1", "Service", &note) ||
        !IsNews(service, node, event.message())) {
      return;
    }
  } else {
    note.message = event.message();
    note.object.set_api_version("v1");
    note.object.set_kind("Pod");
    note.object.set_namespace_(event.namespace_());
    note.object.set_name(event.pod());
    note.object.set_uid(event.uid());
  }
  writer_.Note(note);
}

bool NodeEvents::IsNews(const ObjectKey& object, const std::string& node,
                        const std::string& message) {
  const absl::Time now = loop_.Now(), old = now - kTellAgain;
  if (tellers_cleared_ < old) {
    tellers_cleared_ = now;
    for (auto& [key, tellers] : tellers_)
      std::erase_if(tellers, [&](const auto& entry) { return entry.second.told < old; });
    std::erase_if(tellers_, [](const auto& entry) { return entry.second.empty(); });
  }
  Tellers& tellers = tellers_[object];
  const auto it = tellers.find(message);
  if (it == tellers.end()) {
    if (tellers.size() >= kTextsMax) return false;
    tellers.emplace(message, Teller{node, now});
    return true;
  }
  if (it->second.node != node && it->second.told >= old) return false;
  it->second = {node, now};
  return true;
}

}  // namespace mesh::controlplane
