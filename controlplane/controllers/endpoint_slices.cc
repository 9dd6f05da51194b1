// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/endpoint_slices.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

PortSet PortsOf(const v1::EndpointSlice& slice) {
  PortSet out;
  for (const v1::EndpointPort& port : slice.ports())
    out.push_back({port.name(), port.protocol(), port.port()});
  return out;
}

const std::string& IdentityOf(const v1::Endpoint& endpoint) {
  return endpoint.target_ref().uid().empty() ? endpoint.addresses(0) : endpoint.target_ref().uid();
}

// One slice as it shall be. The endpoints are those of the group, by index.
struct Draft {
  const v1::EndpointSlice* before = nullptr;  // null: new
  std::vector<size_t> endpoints;
  bool changed = false;
};

size_t RoomOf(const Draft& draft) {
  return kMaxEndpointsPerSlice - std::min<size_t>(draft.endpoints.size(), kMaxEndpointsPerSlice);
}

// Distributes one group over the slices that had its ports.
std::vector<Draft> Distribute(const std::vector<v1::Endpoint>& endpoints,
                              const std::vector<const v1::EndpointSlice*>& slices) {
  std::map<std::string, size_t> left;
  for (size_t i = 0; i < endpoints.size(); ++i) left[IdentityOf(endpoints[i])] = i;
  std::vector<Draft> drafts;
  for (const v1::EndpointSlice* slice : slices) {
    Draft& draft = drafts.emplace_back();
    draft.before = slice;
    for (const v1::Endpoint& endpoint : slice->endpoints()) {
      if (endpoint.addresses().empty()) continue;
      auto it = left.find(IdentityOf(endpoint));
      if (it == left.end() || RoomOf(draft) == 0) {
        draft.changed = true;
        continue;
      }
      draft.endpoints.push_back(it->second);
      left.erase(it);
    }
  }
  std::vector<size_t> added;
  for (const auto& [identity, index] : left) added.push_back(index);
  std::sort(added.begin(), added.end());
  // Slices that are written anyway first, then the fullest.
  std::vector<size_t> order(drafts.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (drafts[a].changed != drafts[b].changed) return drafts[a].changed;
    return drafts[a].endpoints.size() > drafts[b].endpoints.size();
  });
  size_t next = 0;
  for (const size_t i : order) {
    while (next < added.size() && RoomOf(drafts[i]) > 0) {
      drafts[i].endpoints.push_back(added[next++]);
    }
  }
  while (next < added.size()) {
    Draft& draft = drafts.emplace_back();
    while (next < added.size() && RoomOf(draft) > 0) draft.endpoints.push_back(added[next++]);
  }
  for (Draft& draft : drafts) std::sort(draft.endpoints.begin(), draft.endpoints.end());
  return drafts;
}

// Whether somebody who was there, or ready there, is so no more.
bool Takes(const v1::EndpointSlice& before, const v1::EndpointSlice& after) {
  std::map<std::string, bool> ready;
  for (const v1::Endpoint& endpoint : after.endpoints())
    ready[IdentityOf(endpoint)] = endpoint.conditions().ready();
  return std::any_of(before.endpoints().begin(), before.endpoints().end(), [&](const auto& was) {
    if (was.addresses().empty()) return false;
    const auto it = ready.find(IdentityOf(was));
    return it == ready.end() || (was.conditions().ready() && !it->second);
  });
}

void Fill(v1::EndpointSlice* slice, const v1::Service& service, const std::string& address_type,
          const PortSet& ports) {
  slice->mutable_metadata()->set_namespace_(service.metadata().namespace_());
  auto& labels = *slice->mutable_metadata()->mutable_labels();
  labels[kServiceNameLabel] = service.metadata().name();
  labels[kManagedByLabel] = kEndpointsManager;
  if (service.spec().cluster_ip() == "None") labels[kHeadlessLabel] = "";
  slice->mutable_metadata()->clear_owner_references();
  *slice->mutable_metadata()->add_owner_references() =
      ControllerRef("v1", "Service", service.metadata());
  slice->set_address_type(address_type);
  slice->clear_ports();
  for (const auto& [name, protocol, number] : ports) {
    v1::EndpointPort* port = slice->add_ports();
    port->set_name(name);
    port->set_protocol(protocol);
    port->set_port(number);
    for (const v1::ServicePort& own : service.spec().ports())
      if (own.name() == name) port->set_app_protocol(own.app_protocol());
  }
  slice->clear_endpoints();
}

}  // namespace

std::vector<Write> PlanSlices(const ClusterState& state, const ObjectKey& key,
                              const v1::Service* service, const std::string& address_type,
                              const EndpointGroups& groups,
                              const std::vector<const v1::EndpointSlice*>& existing) {
  std::vector<Write> writes;
  std::map<PortSet, std::vector<const v1::EndpointSlice*>> by_ports;
  std::vector<const v1::EndpointSlice*> spare;
  for (const v1::EndpointSlice* slice : existing) {
    PortSet ports = PortsOf(*slice);
    if (service != nullptr && groups.contains(ports)) {
      by_ports[std::move(ports)].push_back(slice);
    } else {
      spare.push_back(slice);
    }
  }
  std::vector<std::pair<const PortSet*, Draft>> drafts;
  for (const auto& [ports, endpoints] : groups) {
    for (Draft& draft : Distribute(endpoints, by_ports[ports])) {
      drafts.push_back({&ports, std::move(draft)});
    }
  }
  // Empty ones go, but for the last.
  size_t filled = std::count_if(drafts.begin(), drafts.end(),
                                [](const auto& draft) { return !draft.second.endpoints.empty(); });
  static const PortSet none;
  if (service != nullptr && drafts.empty()) drafts.push_back({&none, {}});
  std::set<std::string> names;
  for (auto& [ports, draft] : drafts) {
    if (draft.endpoints.empty() && filled > 0) {
      if (draft.before != nullptr) spare.push_back(draft.before);
      continue;
    }
    filled = std::max<size_t>(filled, 1);
    if (draft.before == nullptr) {
      // Of one that has endpoints, those would be gone until the next write: it goes last instead.
      const auto reused = std::find_if(spare.begin(), spare.end(), [&](const auto* slice) {
        return draft.endpoints.empty() || slice->endpoints().empty();
      });
      if (reused != spare.end()) {
        draft.before = *reused;
        spare.erase(reused);
      }
    }
    v1::EndpointSlice slice;
    if (draft.before != nullptr) {
      slice = *draft.before;
    } else {
      const std::string base = address_type == "IPv4" ? key.name : key.name + "-ipv6";
      std::string name = base;
      for (int n = 1; names.contains(name) || state.endpoint_slices.contains({key.ns, name}); ++n) {
        name = fmt::format("{}-{}", base, n);
      }
      names.insert(name);
      slice.mutable_metadata()->set_name(name);
    }
    Fill(&slice, *service, address_type, *ports);
    auto group = groups.find(*ports);
    for (const size_t i : draft.endpoints) *slice.add_endpoints() = group->second[i];
    if (draft.before == nullptr) {
      writes.push_back({Write::Type::kCreate, Wrap(slice), {}});
    } else if (CanonicalBytes(slice) != CanonicalBytes(*draft.before)) {
      writes.push_back({Write::Type::kUpdate, Wrap(slice), {}});
    }
  }
  // Each write is seen by itself: what comes before what goes.
  const auto takes = [&](const Write& write) {
    const v1::EndpointSlice& slice = write.resource.endpoint_slice();
    const auto before = state.endpoint_slices.find({key.ns, slice.metadata().name()});
    return before != state.endpoint_slices.end() && Takes(*before->second, slice);
  };
  std::stable_partition(writes.begin(), writes.end(),
                        [&](const Write& write) { return !takes(write); });
  for (const v1::EndpointSlice* slice : spare) {
    writes.push_back({Write::Type::kRemove, Wrap(*slice), {}});
  }
  return writes;
}

}  // namespace mesh::controlplane
