// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/api.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "api/schema/defaults.h"
#include "api/schema/kinds.h"
#include "api/schema/merge.h"
#include "api/schema/ownership.h"
#include "api/schema/schema.h"
#include "api/schema/validate.h"
#include "common/status.h"
#include "controlplane/rpc/apply_merge.h"
#include "controlplane/rpc/status.h"
#include "controlplane/state/object_rules.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

using schema::Problem;

// Kubernetes' line: `Deployment "web" is invalid: [problem; problem]`.
std::string InvalidText(const v1::Resource& resource, const std::vector<Problem>& problems) {
  return fmt::format("{} \"{}\" is invalid: {}", schema::Info(KindOf(resource)).name,
                     MetaOf(resource).name(), schema::JoinProblems(problems));
}

void AddProblems(int index, const std::vector<Problem>& problems, v1::ValidationFailure* failure) {
  for (const Problem& problem : problems) {
    v1::FieldProblem* out = failure->add_problems();
    out->set_object_index(index);
    out->set_path(problem.path);
    out->set_message(problem.message);
  }
}

absl::Status Invalid(int index, const v1::Resource& resource,
                     const std::vector<Problem>& problems) {
  if (problems.empty()) return absl::OkStatus();
  v1::ValidationFailure failure;
  AddProblems(index, problems, &failure);
  return InvalidObjects(failure, InvalidText(resource, problems));
}

// What admission says of one field, so that the client can tell its line in the manifest.
absl::Status Placed(int index, const absl::Status& status) {
  const auto payload = status.GetPayload(kFieldPayload);
  if (!payload) return status;
  const std::string text(*payload);
  const size_t end = text.find('\n');
  v1::ValidationFailure failure;
  AddProblems(index, {{text.substr(0, end), text.substr(end + 1)}}, &failure);
  absl::Status placed(status.code(), status.message());
  placed.SetPayload(kValidationPayload, absl::Cord(failure.SerializeAsString()));
  return placed;
}

// The object that apply makes of the file and what is there.
absl::StatusOr<v1::Resource> Merged(const v1::ApplyRequest& request, int index,
                                    const v1::Resource* current, absl::Time now) {
  ASSIGN_OR_RETURN(v1::Resource next, ApplyMerge(request, request.resources(index), current, now));
  if (current != nullptr) schema::PrepareUpdate(*current, &next);
  schema::ApplyDefaults(&next);
  // A new object of client-side apply is its file, which is checked already.
  if (current != nullptr || request.server_side()) {
    RETURN_IF_ERROR(Invalid(index, next, schema::Validate(next)));
  }
  if (current == nullptr) return next;
  RETURN_IF_ERROR(Invalid(index, next, schema::ValidateUpdate(*current, next)));
  CarryIntoUpdate(*current, &next);
  return next;
}

v1::ApplyResult::Outcome OutcomeOf(const v1::Resource* before, const v1::Resource& after) {
  if (before == nullptr) return v1::ApplyResult::CREATED;
  return schema::SameIntent(*before, after) ? v1::ApplyResult::UNCHANGED
                                            : v1::ApplyResult::CONFIGURED;
}

// With the namespace that defaulting gives.
ObjectKey DefaultedKey(v1::Resource resource) {
  schema::ApplyDefaults(&resource);
  return KeyOf(resource);
}

v1::ObjectReference ReferenceTo(const v1::Resource& resource) {
  const schema::KindInfo& info = schema::Info(KindOf(resource));
  const v1::ObjectMeta& meta = MetaOf(resource);
  v1::ObjectReference out;
  out.set_kind(std::string(info.name));
  out.set_api_version(std::string(info.api_version));
  out.set_namespace_(meta.namespace_());
  out.set_name(meta.name());
  out.set_uid(meta.uid());
  out.set_resource_version(meta.resource_version());
  return out;
}

// The object that an update makes of what is there (null: nothing is).
absl::StatusOr<v1::Resource> Updated(const v1::UpdateRequest& request,
                                     const v1::Resource* current) {
  const v1::ObjectMeta& meta = MetaOf(request.resource());
  const v1::Kind kind = KindOf(request.resource());
  if (current == nullptr) return NotFoundFor(kind, meta.name());
  if (!meta.resource_version().empty() &&
      meta.resource_version() != MetaOf(*current).resource_version()) {
    return ConflictFor(kind, meta.name());
  }
  if (!meta.uid().empty() && meta.uid() != MetaOf(*current).uid()) {
    return ConflictFor(kind, meta.name());
  }
  if (request.status()) return WithStatusOf(*current, request.resource());
  v1::Resource next = request.resource();
  if (meta.last_applied().empty()) {
    MutableMetaOf(&next)->set_last_applied(MetaOf(*current).last_applied());
  }
  schema::PrepareUpdate(*current, &next);
  schema::ApplyDefaults(&next);
  RETURN_IF_ERROR(CheckObject(next));
  RETURN_IF_ERROR(Invalid(0, next, schema::ValidateUpdate(*current, next)));
  CarryIntoUpdate(*current, &next);
  return next;
}

absl::StatusOr<v1::Resource> OnlyResource(const absl::StatusOr<Written>& written) {
  if (!written.ok()) return written.status();
  return *written->resource;
}

// What admission looks for is there before what it admits: namespaces, then what pods name.
constexpr int kAccountsWave = 1, kWaves = 3;
int WaveOf(const v1::Resource& file) {
  if (file.has_namespace_()) return 0;
  return file.has_service_account() || file.has_priority_class() ? kAccountsWave : 2;
}

}  // namespace

absl::Status CheckForApply(const v1::ApplyRequest& request) {
  v1::ValidationFailure failure;
  std::string first;
  std::map<std::pair<v1::Kind, ObjectKey>, int> seen;
  for (int i = 0; i < request.resources_size(); ++i) {
    v1::Resource resource = request.resources(i);
    std::vector<Problem> problems;
    if (resource.kind_case() == v1::Resource::KIND_NOT_SET) {
      problems.push_back({"kind", "Required value"});
      AddProblems(i, problems, &failure);
      if (first.empty()) first = fmt::format("object {}: kind: Required value", i);
      continue;
    }
    schema::ApplyDefaults(&resource);
    // What is applied on this side may be a part of an object: the whole is checked once merged.
    if (!request.server_side()) problems = schema::Validate(resource);
    const auto [it, added] = seen.try_emplace({KindOf(resource), KeyOf(resource)}, i);
    if (!added) {
      problems.push_back({"metadata.name",
                          fmt::format("Duplicate value: {} \"{}\" is in this request twice (object "
                                      "{} and object {})",
                                      schema::SingularWithGroup(KindOf(resource)),
                                      KeyOf(resource).ToString(), it->second + 1, i + 1)});
    }
    if (!problems.empty() && first.empty()) first = InvalidText(resource, problems);
    AddProblems(i, problems, &failure);
  }
  return failure.problems_size() > 0 ? InvalidObjects(failure, first) : absl::OkStatus();
}

absl::Status CheckObject(const v1::Resource& resource) {
  if (resource.kind_case() == v1::Resource::KIND_NOT_SET) {
    return absl::InvalidArgumentError("kind: Required value");
  }
  return Invalid(0, resource, schema::Validate(resource));
}

struct Api::Application {
  v1::ApplyRequest request;
  ApplyDone done;
  v1::ApplyResponse response;
  size_t left = 0;
  absl::Status status;  // the first failure
};

void Api::Apply(v1::ApplyRequest request, ApplyDone done) {
  if (absl::Status status = CheckApplyOptions(request); !status.ok()) return done(status);
  // Their defaults are checked here and made again with each merge: kept, they would be the
  // request a second time.
  absl::Status checked = CheckForApply(request);
  if (!checked.ok()) return done(checked);

  auto application = std::make_shared<Application>();
  application->done = std::move(done);
  for (auto& resource : *request.mutable_resources()) {
    // Defaulting alone decides the namespace; the rest of the file stays as the manifest had it.
    MutableMetaOf(&resource)->set_namespace_(DefaultedKey(resource).ns);
    application->response.add_results();
  }
  application->request = std::move(request);
  if (absl::Status status = CheckNamespaces(application->request); !status.ok())
    return application->done(status);

  // All merges once before the first write, so that a refusal leaves everything as it was. What the
  // trial hands out is its own: addresses are given for good by the writer.
  Admission trial = writer_.admission();
  const std::unique_ptr<ClusterState> with_asked = StateWithAccounts(application->request);
  const ClusterState& state = with_asked ? *with_asked : cache_.state();
  const auto& namespaces = cache_.state().namespaces;
  const absl::Time now = writer_.loop().Now();
  std::string conflicts;
  for (int i = 0; i < application->request.resources_size(); ++i) {
    const v1::Resource& file = application->request.resources(i);
    const auto current = cache_.Find(KindOf(file), KeyOf(file));
    absl::StatusOr<v1::Resource> merged = Merged(application->request, i, current.get(), now);
    if (absl::IsAborted(merged.status())) {
      AddConflict(application->request, i, merged.status(), &conflicts);
      continue;
    }
    if (!merged.ok()) return application->done(merged.status());
    const std::string& ns = MetaOf(file).namespace_();
    // A namespace that this request creates is not there yet.
    if (current != nullptr || ns.empty() || namespaces.contains({"", ns})) {
      const uint64_t holder = ~static_cast<uint64_t>(i);  // no write's
      if (absl::Status status = trial.Admit(state, holder, current.get(), &*merged); !status.ok())
        return application->done(Placed(i, status));
    }
    if (!application->request.dry_run()) continue;
    RecordManager(current.get(), RecordedManager(application->request), TimestampOf(now), &*merged);
    v1::ApplyResult* result = application->response.mutable_results(i);
    result->set_outcome(OutcomeOf(current.get(), *merged));
    *result->mutable_resource() = *std::move(merged);
  }
  if (!conflicts.empty()) return application->done(absl::AbortedError(conflicts));
  if (application->request.dry_run()) {
    AddWarnings(application.get());
    return application->done(std::move(application->response));
  }
  ApplyWave(application, 0);
}

std::unique_ptr<ClusterState> Api::StateWithAccounts(const v1::ApplyRequest& request) const {
  const auto& files = request.resources();
  const auto asked = [](const v1::Resource& file) { return WaveOf(file) == kAccountsWave; };
  if (std::none_of(files.begin(), files.end(), asked)) return nullptr;
  auto state = std::make_unique<ClusterState>(cache_.state());
  for (const v1::Resource& file : files) {
    if (asked(file) && cache_.Find(KindOf(file), KeyOf(file)) == nullptr) state->Put(file);
  }
  return state;
}

absl::Status Api::CheckNamespaces(const v1::ApplyRequest& request) const {
  std::set<std::string> made;
  for (const v1::Resource& file : request.resources()) {
    if (file.has_namespace_()) made.insert(file.namespace_().metadata().name());
  }
  const auto& namespaces = cache_.state().namespaces;
  for (int i = 0; i < request.resources_size(); ++i) {
    const std::string& ns = MetaOf(request.resources(i)).namespace_();
    if (ns.empty() || made.contains(ns) || namespaces.contains({"", ns})) continue;
    absl::Status missing = NotFoundFor(v1::KIND_NAMESPACE, ns);
    missing.SetPayload(kFieldPayload,
                       absl::Cord("metadata.namespace\n" + std::string(missing.message())));
    return Placed(i, missing);
  }
  return absl::OkStatus();
}

void Api::ApplyWave(const std::shared_ptr<Application>& application, int wave) {
  if (wave == kWaves || !application->status.ok()) return FinishApply(application);
  std::vector<int> indexes;
  for (int i = 0; i < application->request.resources_size(); ++i) {
    if (WaveOf(application->request.resources(i)) == wave) indexes.push_back(i);
  }
  if (indexes.empty()) return ApplyWave(application, wave + 1);
  application->left = indexes.size();
  for (const int i : indexes) ApplyOne(application, i);
}

void Api::ApplyOne(const std::shared_ptr<Application>& application, int i) {
  const v1::Resource& file = application->request.resources(i);
  writer_.Change(
      KindOf(file), KeyOf(file),
      [this, application, i](
          const ClusterState&,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        ASSIGN_OR_RETURN(v1::Resource next,
                         Merged(application->request, i, current.get(), writer_.loop().Now()));
        application->response.mutable_results(i)->set_outcome(OutcomeOf(current.get(), next));
        return Intent{.type = Intent::Type::kPut,
                      .resource = std::move(next),
                      .others = {},
                      .manager = RecordedManager(application->request)};
      },
      [this, application, i](const absl::StatusOr<Written>& written) {
        if (written.ok()) {
          *application->response.mutable_results(i)->mutable_resource() = *written->resource;
        } else if (application->status.ok()) {
          application->status =
              Annotate(written.status(), schema::ObjectText(application->request.resources(i)));
        }
        if (--application->left > 0) return;
        ApplyWave(application, WaveOf(application->request.resources(i)) + 1);
      });
}

void Api::FinishApply(const std::shared_ptr<Application>& application) {
  if (!application->status.ok()) return application->done(application->status);
  AddWarnings(application.get());
  application->done(std::move(application->response));
}

// A dry run is told the same, and leaves no event.
void Api::AddWarnings(Application* application) {
  const bool dry_run = application->request.dry_run();
  ClusterState asked;  // what the request would have brought
  if (dry_run) {
    for (const auto& result : application->response.results()) asked.Put(result.resource());
  }
  for (int i = 0; i < application->response.results_size(); ++i) {
    v1::ApplyResult& result = *application->response.mutable_results(i);
    for (const Problem& problem : schema::DroppedByDefaults(application->request.resources(i))) {
      result.add_warnings(problem.ToString());
    }
    if (std::string note = schema::StoredNote(result.resource()); !note.empty()) {
      result.add_warnings(std::move(note));
    }
    for (const Problem& problem : schema::Warnings(result.resource())) {
      result.add_warnings(problem.ToString());
    }
    for (const Warning& warning : WarningsFor({&cache_.state(), &asked}, result.resource())) {
      result.add_warnings(warning.message);
      if (dry_run) continue;
      writer_.Note({.object = ReferenceTo(result.resource()),
                    .type = "Warning",
                    .reason = warning.reason,
                    .message = warning.message});
    }
  }
}

void Api::Create(v1::CreateRequest request, Done done) {
  v1::Resource& resource = *request.mutable_resource();
  if (resource.kind_case() == v1::Resource::KIND_NOT_SET) {
    return done(absl::InvalidArgumentError("kind: Required value"));
  }
  schema::ApplyDefaults(&resource);
  if (absl::Status status = CheckObject(resource); !status.ok()) return done(status);
  if (request.dry_run()) {
    if (cache_.Find(KindOf(resource), KeyOf(resource)) != nullptr) {
      return done(AlreadyExistsFor(KindOf(resource), MetaOf(resource).name()));
    }
    return done(Tried(nullptr, schema::kDefaultManager, std::move(resource)));
  }
  writer_.Create(std::move(resource),
                 [done = std::move(done)](const absl::StatusOr<Written>& written) {
                   done(OnlyResource(written));
                 });
}

absl::StatusOr<v1::Resource> Api::Tried(const v1::Resource* current, const std::string& manager,
                                        v1::Resource next) {
  // What the trial hands out is its own: addresses are given for good by the writer.
  Admission trial = writer_.admission();
  const uint64_t holder = ~uint64_t{0};  // no write's
  RETURN_IF_ERROR(trial.Admit(cache_.state(), holder, current, &next));
  RecordManager(current, manager, TimestampOf(writer_.loop().Now()), &next);
  return next;
}

void Api::Update(v1::UpdateRequest request, Done done) {
  if (request.resource().kind_case() == v1::Resource::KIND_NOT_SET) {
    return done(absl::InvalidArgumentError("kind: Required value"));
  }
  if (absl::Status status = schema::CheckManager(request.field_manager()); !status.ok()) {
    return done(status);
  }
  if (request.dry_run() && request.status()) {
    return done(absl::InvalidArgumentError("a dry run of a status is not supported yet"));
  }
  if (MetaOf(request.resource()).namespace_().empty() || request.status()) {
    schema::ApplyDefaults(request.mutable_resource());  // the namespace is part of the key
  }
  const v1::Kind kind = KindOf(request.resource());
  const ObjectKey key = KeyOf(request.resource());
  if (request.dry_run()) {
    const auto current = cache_.Find(kind, key);
    absl::StatusOr<v1::Resource> next = Updated(request, current.get());
    if (!next.ok()) return done(next.status());
    return done(Tried(current.get(), ManagerOr(request.field_manager(), schema::kDefaultManager),
                      *std::move(next)));
  }
  writer_.Change(
      kind, key,
      [request = std::move(request)](
          const ClusterState&,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        ASSIGN_OR_RETURN(v1::Resource next, Updated(request, current.get()));
        return Intent{.type = Intent::Type::kPut,
                      .resource = std::move(next),
                      .others = {},
                      .manager = ManagerOr(request.field_manager(), schema::kDefaultManager)};
      },
      [done = std::move(done)](const absl::StatusOr<Written>& written) {
        done(OnlyResource(written));
      });
}

void Api::Delete(const v1::DeleteRequest& request, Done done) {
  const std::string& propagation = request.propagation();
  if (!propagation.empty() && propagation != "background" && propagation != "orphan") {
    return done(absl::InvalidArgumentError(fmt::format(
        "propagation \"{}\" is not supported; use \"background\" or \"orphan\"", propagation)));
  }
  const v1::ObjectName& name = request.name();
  if (name.kind() == v1::KIND_UNSPECIFIED) {
    return done(absl::InvalidArgumentError("name.kind: Required value"));
  }
  if (name.kind() == v1::KIND_NAMESPACE &&
      (name.name() == "default" || name.name() == "kube-system")) {
    return done(absl::PermissionDeniedError(fmt::format(
        "namespaces \"{}\" is forbidden: this namespace may not be deleted", name.name())));
  }
  Writer::DeleteOptions options{
      .grace_period_seconds = {}, .uid = request.uid(), .orphan = propagation == "orphan"};
  if (request.has_grace_period_seconds()) {
    if (request.grace_period_seconds() < 0) {
      return done(absl::InvalidArgumentError(
          fmt::format("grace_period_seconds: {} is negative", request.grace_period_seconds())));
    }
    options.grace_period_seconds = request.grace_period_seconds();
  }
  writer_.Delete(name.kind(), {name.namespace_(), name.name()}, std::move(options),
                 [done = std::move(done)](const absl::StatusOr<Written>& written) {
                   done(OnlyResource(written));
                 });
}

void Api::Scale(const v1::ScaleRequest& request, Done done) {
  const v1::Kind kind = request.name().kind();
  if (kind != v1::KIND_DEPLOYMENT && kind != v1::KIND_REPLICA_SET) {
    return done(absl::InvalidArgumentError("only deployments and replica sets can be scaled"));
  }
  if (request.replicas() < 0) {
    return done(absl::InvalidArgumentError(
        fmt::format("spec.replicas: Invalid value: {}: must be greater than or equal to 0",
                    request.replicas())));
  }
  if (absl::Status status = schema::CheckManager(request.field_manager()); !status.ok()) {
    return done(status);
  }
  const ObjectKey key{request.name().namespace_(), request.name().name()};
  writer_.Change(
      kind, key,
      [request, kind, key](const ClusterState&, const std::shared_ptr<const v1::Resource>& current)
          -> absl::StatusOr<Intent> {
        if (current == nullptr) return NotFoundFor(kind, key.name);
        v1::Resource next = *current;
        int32_t present;
        if (next.has_deployment()) {
          present = next.deployment().spec().replicas();
          next.mutable_deployment()->mutable_spec()->set_replicas(request.replicas());
        } else {
          present = next.replica_set().spec().replicas();
          next.mutable_replica_set()->mutable_spec()->set_replicas(request.replicas());
        }
        if (request.has_current_replicas() && request.current_replicas() != present) {
          return absl::AbortedError(fmt::format("Expected replicas to be {}, was {}",
                                                request.current_replicas(), present));
        }
        RETURN_IF_ERROR(Invalid(0, next, schema::Validate(next)));
        CarryIntoUpdate(*current, &next);
        return Intent{.type = Intent::Type::kPut,
                      .resource = std::move(next),
                      .others = {},
                      .manager = ManagerOr(request.field_manager(), schema::kDefaultManager)};
      },
      [done = std::move(done)](const absl::StatusOr<Written>& written) {
        done(OnlyResource(written));
      });
}

}  // namespace mesh::controlplane
