// SPDX-License-Identifier: Apache-2.0
// Columns of the kinds beside those of printers.cc, by group; private to printers*.cc. kubectl's.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

using Row = std::vector<std::string>;

struct Columns {
  Row narrow;
  Row wide;  // after the narrow ones with -o wide
};

// False for a kind of another group. A row has the wide columns when they are asked for.
// printers_workloads.cc: StatefulSet, DaemonSet, ReplicationController, Job, CronJob.
bool WorkloadColumns(v1::Kind kind, Columns* columns);
bool WorkloadRow(const v1::Resource& object, bool wide, absl::Time now, Row* row);
// printers_storage.cc: ConfigMap, Secret, ServiceAccount, Endpoints, volumes and their classes.
bool StorageColumns(v1::Kind kind, Columns* columns);
bool StorageRow(const v1::Resource& object, bool wide, absl::Time now, Row* row);
// printers_rules.cc: autoscalers, budgets, quotas, limits, RBAC, Ingress, Gateway API.
bool RuleColumns(v1::Kind kind, Columns* columns);
bool RuleRow(const v1::Resource& object, bool wide, absl::Time now, Row* row);

// "RWO,RWX".
std::string AccessModesText(const google::protobuf::RepeatedPtrField<std::string>& modes);

}  // namespace mesh::cli
