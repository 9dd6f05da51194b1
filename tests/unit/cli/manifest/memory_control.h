// SPDX-License-Identifier: Apache-2.0
// A server in memory for the commands that read and write objects: no gRPC, no admission.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "api/schema/merge.h"
#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/command.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace mesh::cli {

class MemoryControl : public ControlClient {
 public:
  using Key = std::tuple<v1::Kind, std::string, std::string>;
  static Key KeyOf(const v1::Resource& resource) {
    const v1::ObjectMeta& meta = schema::MetaOf(resource);
    return {schema::KindOf(resource), meta.namespace_(), meta.name()};
  }
  void Put(const v1::Resource& resource) { objects[KeyOf(resource)] = resource; }

  absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) override {
    EXPECT_TRUE(request.dry_run());
    v1::ApplyResponse response;
    for (const v1::Resource& file : request.resources()) {
      const auto live = objects.find(KeyOf(file));
      *response.add_results()->mutable_resource() =
          live == objects.end() ? file : schema::ThreeWayMerge(nullptr, file, live->second);
    }
    return response;
  }
  absl::StatusOr<v1::Resource> Get(const v1::GetRequest& request) override {
    const v1::ObjectName& name = request.name();
    const auto it = objects.find({name.kind(), name.namespace_(), name.name()});
    if (it == objects.end()) return NotFound(name.kind(), name.name());
    return it->second;
  }
  absl::StatusOr<v1::Resource> Create(const v1::CreateRequest& request) override {
    const v1::Resource& resource = request.resource();
    if (objects.contains(KeyOf(resource))) {
      return ServerError(
          absl::StatusCode::kAlreadyExists, "AlreadyExists",
          fmt::format("{} \"{}\" already exists", schema::PluralWithGroup(schema::KindOf(resource)),
                      schema::MetaOf(resource).name()));
    }
    if (!request.dry_run()) Put(resource);
    return resource;
  }
  absl::StatusOr<v1::Resource> Update(const v1::UpdateRequest& request) override {
    ++updates;
    const v1::Resource& resource = request.resource();
    if (!objects.contains(KeyOf(resource))) {
      return NotFound(schema::KindOf(resource), schema::MetaOf(resource).name());
    }
    if (conflicts > 0) {
      --conflicts;
      return ServerError(absl::StatusCode::kAborted, "Conflict", "somebody was faster");
    }
    if (!request.dry_run()) Put(resource);
    return resource;
  }
  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request) override {
    v1::ListResponse response;
    for (const auto& [key, object] : objects) {
      if (std::get<0>(key) == request.kind() && std::get<1>(key) == request.namespace_()) {
        *response.add_items() = object;
      }
    }
    return response;
  }
  std::vector<absl::StatusOr<v1::Resource>> DeleteAll(
      const std::vector<v1::DeleteRequest>&) override {
    return {Unused()};
  }
  absl::StatusOr<v1::Resource> Scale(const v1::ScaleRequest&) override { return Unused(); }
  absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest&) override {
    return Unused();
  }
  absl::StatusOr<v1::ListDataplaneResponse> ListDataplane(
      const v1::ListDataplaneRequest&) override {
    return Unused();
  }
  absl::StatusOr<v1::WhyResponse> Why(const v1::WhyRequest&) override { return Unused(); }
  absl::StatusOr<v1::ProbeResponse> Probe(const v1::ProbeRequest&) override { return Unused(); }
  absl::StatusOr<v1::VersionResponse> Version() override { return Unused(); }
  absl::Status Watch(const v1::WatchRequest&, absl::Time,
                     const std::function<bool(const v1::WatchEvent&)>&) override {
    return Unused();
  }
  absl::Status Logs(const v1::LogsRequest&, const std::function<bool(std::string_view)>&) override {
    return Unused();
  }
  absl::Status Flows(const v1::FlowsRequest&,
                     const std::function<bool(const v1::FlowsChunk&)>&) override {
    return Unused();
  }
  absl::StatusOr<std::unique_ptr<ExecStream>> Exec() override { return Unused(); }
  std::string server() const override { return "test"; }

  std::map<Key, v1::Resource> objects;
  int updates = 0;
  // So many updates lose a race.
  int conflicts = 0;

 private:
  static absl::Status Unused() { return absl::UnimplementedError("not used here"); }
  static absl::Status NotFound(v1::Kind kind, const std::string& name) {
    return ServerError(absl::StatusCode::kNotFound, "NotFound",
                       fmt::format("{} \"{}\" not found", schema::PluralWithGroup(kind), name));
  }
};

}  // namespace mesh::cli
