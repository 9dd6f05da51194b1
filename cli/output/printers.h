// SPDX-License-Identifier: Apache-2.0
// Objects as rows: the columns of `meshctl get`. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/output/table.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

struct PrintOptions {
  bool wide = false;
  bool with_namespace = false;             // -A: NAMESPACE first
  bool with_kind = false;                  // several types: NAME is "pod/web"
  bool show_labels = false;                // LABELS last
  std::vector<std::string> label_columns;  // -L: one column per label
  absl::Time now;
};

// One row per object. REQUIRES: every object is of `kind`.
Table ResourceTable(v1::Kind kind, const std::vector<v1::Resource>& objects,
                    const PrintOptions& options);

// The Endpoints that kubectl knows, seen from EndpointSlices: one row per Service.
Table EndpointsTable(const std::vector<v1::Resource>& slices, const PrintOptions& options);
// Name of the Service that a slice belongs to.
std::string ServiceOfSlice(const v1::EndpointSlice& slice);

// "80/TCP,53/UDP".
// A slice that says nothing (written by hand) means ready.
bool IsReady(const v1::Endpoint& endpoint);
std::string PortsText(const v1::Service& service);
// "10.244.1.2:80,10.244.2.3:80 + 2 more..."; "<none>". Ready ones, or those that are not;
// `limit` of each family.
std::string EndpointsText(const std::vector<const v1::EndpointSlice*>& slices, bool ready = true,
                          size_t limit = 3);
// "Ready", "NotReady", "Unknown", with ",SchedulingDisabled".
std::string NodeStatusText(const v1::Node& node);
// From the labels node-role.kubernetes.io/<role>; "<none>".
std::string NodeRoles(const v1::Node& node);
// "a=b,c=d"; "<none>".
std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels);
// "app=web,tier in (a,b)"; "<none>".
std::string SelectorText(const v1::LabelSelector& selector);
// Addresses of that type, as the node lists them: "10.89.0.11,fd00:10:89::11"; empty: none.
std::string AddressesOf(const v1::Node& node, const std::string& type);

}  // namespace mesh::cli
