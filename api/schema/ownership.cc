// SPDX-License-Identifier: Apache-2.0
#include "api/schema/ownership.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "api/schema/defaults.h"
#include "api/schema/merge.h"
#include "api/schema/schema.h"
#include "fmt/format.h"

namespace mesh::schema {
namespace {

using google::protobuf::Timestamp;

constexpr char kApply[] = "Apply";
constexpr char kUpdate[] = "Update";

// One writer. Applies of one name are one manager whatever the apiVersion.
struct ManagerKey {
  std::string operation;
  std::string name;
  std::string api_version;  // of an update
  friend auto operator<=>(const ManagerKey&, const ManagerKey&) = default;
};
struct Owned {
  FieldSet fields;
  Timestamp time;
};
using Managers = std::map<ManagerKey, Owned>;

std::string VersionOf(const v1::Resource& resource) {
  return std::string(Info(KindOf(resource)).api_version);
}

ManagerKey Applier(std::string_view name) {
  return {.operation = kApply, .name = std::string(name), .api_version = ""};
}
ManagerKey Updater(std::string_view name, const v1::Resource& resource) {
  return {.operation = kUpdate, .name = std::string(name), .api_version = VersionOf(resource)};
}

Managers ManagersOf(const v1::Resource& resource) {
  Managers out;
  for (const v1::ManagedFields& entry : MetaOf(resource).managed_fields()) {
    Owned& owned = out[{entry.operation(), entry.manager(),
                        entry.operation() == kApply ? "" : entry.api_version()}];
    owned.fields.insert(entry.paths().begin(), entry.paths().end());
    owned.time = entry.time();
  }
  return out;
}

// The order in which Kubernetes lists them.
auto OrderOf(const Managers::value_type& entry) {
  return std::make_tuple(entry.first.operation, entry.second.time.seconds(), entry.first.name,
                         entry.first.api_version);
}

// At most kMaxUpdateManagers of "Update".
void Cap(const v1::Resource& resource, Managers* managers) {
  std::vector<std::pair<int64_t, ManagerKey>> by_age;
  for (const auto& [key, owned] : *managers) {
    if (key.operation == kUpdate) by_age.emplace_back(owned.time.seconds(), key);
  }
  constexpr auto kMax = static_cast<size_t>(kMaxUpdateManagers);
  if (by_age.size() <= kMax) return;
  std::sort(by_age.begin(), by_age.end());
  const ManagerKey ancient = Updater(kAncientManager, resource);
  // The merged entry is one of those that stay.
  size_t surplus = by_age.size() - kMax + (managers->contains(ancient) ? 0 : 1);
  Owned merged;
  for (const auto& [time, key] : by_age) {
    if (surplus == 0) break;
    if (key == ancient) continue;
    const Owned& owned = managers->at(key);
    merged.fields.insert(owned.fields.begin(), owned.fields.end());
    merged.time = owned.time;
    managers->erase(key);
    --surplus;
  }
  Owned& kept = (*managers)[ancient];
  kept.fields.insert(merged.fields.begin(), merged.fields.end());
  kept.time = merged.time;
}

// Who has applied is remembered also when his file says nothing but a name.
void StoreManagers(Managers managers, v1::Resource* resource) {
  std::erase_if(managers, [](const auto& entry) {
    return entry.first.operation == kUpdate && entry.second.fields.empty();
  });
  Cap(*resource, &managers);
  std::vector<const Managers::value_type*> sorted;
  for (const auto& entry : managers) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return OrderOf(*a) < OrderOf(*b); });
  v1::ObjectMeta* meta = MutableMetaOf(resource);
  meta->clear_managed_fields();
  for (const auto* entry : sorted) {
    v1::ManagedFields* out = meta->add_managed_fields();
    out->set_manager(entry->first.name);
    out->set_operation(entry->first.operation);
    out->set_api_version(entry->first.operation == kApply ? VersionOf(*resource)
                                                          : entry->first.api_version);
    *out->mutable_time() = entry->second.time;
    for (const std::string& path : entry->second.fields) out->add_paths(path);
  }
}

// Whose the fields are of an object that nobody has applied here before.
Managers ManagersBefore(const v1::Resource& live, const FieldValues& values) {
  Managers out;
  const Timestamp& created = MetaOf(live).creation_timestamp();
  FieldSet rest = NamesOf(values);
  const auto last = DecodeLastApplied(MetaOf(live).last_applied());
  if (last.ok() && KindOf(*last) == KindOf(live)) {
    v1::Resource defaulted = *last;
    ApplyDefaults(&defaulted);
    Owned& owned = out[Updater(kClientSideManager, live)];
    owned.time = created;
    for (const auto& [path, value] : ValuesOf(defaulted)) {
      const auto it = values.find(path);
      if (it != values.end() && it->second == value) owned.fields.insert(path);
    }
    rest = Minus(rest, owned.fields);
  }
  out[Updater(kBeforeFirstApply, live)] = {.fields = std::move(rest), .time = created};
  return out;
}

std::string ManagerText(const ManagerKey& key) {
  return key.operation == kApply ? fmt::format("\"{}\"", key.name)
                                 : fmt::format("\"{}\" using {}", key.name, key.api_version);
}

absl::Status ConflictError(const std::map<ManagerKey, FieldSet>& conflicts) {
  size_t count = 0;
  std::map<std::string, FieldSet> by_text;
  for (const auto& [key, fields] : conflicts) {
    count += fields.size();
    by_text[ManagerText(key)].insert(fields.begin(), fields.end());
  }
  if (count == 1) {
    const auto& [manager, fields] = *by_text.begin();
    return absl::AbortedError(fmt::format("Apply failed with 1 conflict: conflict with {}: {}",
                                          manager, ReadablePath(*fields.begin())));
  }
  std::string lines;
  for (const auto& [manager, fields] : by_text) {
    lines += fmt::format("{}conflicts with {}:", lines.empty() ? "" : "\n", manager);
    for (const std::string& path : fields) lines += "\n- " + ReadablePath(path);
  }
  return absl::AbortedError(fmt::format("Apply failed with {} conflicts: {}", count, lines));
}

// `current` has changed the object: others lose what it changed. With `force` unset, changing what
// another owns is an error.
absl::Status TakeFrom(const ManagerKey& current, const FieldChanges& changes, bool force,
                      Managers* managers) {
  const FieldSet changed = Union(changes.added, changes.modified);
  std::map<ManagerKey, FieldSet> conflicts;
  for (const auto& [key, owned] : *managers) {
    if (key == current) continue;
    FieldSet common = Common(owned.fields, changed);
    if (!common.empty()) conflicts[key] = std::move(common);
  }
  if (!force && !conflicts.empty()) return ConflictError(conflicts);
  for (auto it = managers->begin(); it != managers->end();) {
    FieldSet& fields = it->second.fields;
    const bool had_some = !fields.empty();
    if (it->first != current) {
      if (const auto lost = conflicts.find(it->first); lost != conflicts.end()) {
        fields = Minus(fields, lost->second);
      }
      fields = Minus(fields, changes.removed);
    }
    const bool lost_all = it->first != current && had_some && fields.empty();
    it = lost_all ? managers->erase(it) : std::next(it);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckManager(std::string_view manager) {
  if (manager.size() > kMaxManagerLength) {
    return absl::InvalidArgumentError(
        fmt::format("fieldManager: Too long: may not be more than {} bytes", kMaxManagerLength));
  }
  const bool printable = std::all_of(manager.begin(), manager.end(),
                                     [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
  return printable ? absl::OkStatus()
                   : absl::InvalidArgumentError(
                         "fieldManager: Invalid value: should only contain printable characters");
}

absl::StatusOr<v1::Resource> ServerSideApply(const v1::Resource& file, const v1::Resource* live,
                                             const ServerSideOptions& options) {
  if (absl::Status status = CheckListKeys(file); !status.ok()) return status;
  const ManagerKey key = Applier(options.manager);
  FieldSet said = FieldsOf(file);
  if (live == nullptr) {
    v1::Resource created = file;
    MutableMetaOf(&created)->clear_last_applied();
    Managers managers;
    managers[key] = {.fields = std::move(said), .time = options.now};
    StoreManagers(std::move(managers), &created);
    return created;
  }

  const FieldValues before = ValuesOf(*live);
  Managers managers = ManagersOf(*live);
  if (managers.empty()) managers = ManagersBefore(*live, before);
  if (options.manager == kDefaultManager) {
    // What the same user had said by client-side apply he says here now.
    if (auto node = managers.extract(Updater(kClientSideManager, *live)); !node.empty()) {
      managers[key].fields.merge(node.mapped().fields);
    }
  }
  Owned& own = managers[key];
  const FieldSet owned_before = std::exchange(own.fields, std::move(said));

  v1::Resource next = Overlaid(file, *live);
  FieldSet owned_now;
  for (const auto& [manager, owned] : managers) {
    owned_now.insert(owned.fields.begin(), owned.fields.end());
  }
  FieldSet unowned = Minus(WithParents(owned_before), WithParents(owned_now));
  unowned.erase(".metadata");
  RemoveFields(unowned, &next);

  const FieldChanges changes = CompareFields(before, ValuesOf(next));
  if (absl::Status status = TakeFrom(key, changes, options.force, &managers); !status.ok()) {
    return status;
  }
  const Managers stored = ManagersOf(*live);
  const auto was = stored.find(key);
  if (was == stored.end() || was->second.fields != own.fields) own.time = options.now;
  StoreManagers(std::move(managers), &next);
  // So that client-side apply goes on from here, if somebody goes back to it.
  v1::ObjectMeta* meta = MutableMetaOf(&next);
  if (!meta->last_applied().empty() && options.manager == kDefaultManager) {
    meta->set_last_applied(EncodeLastApplied(file));
  }
  return next;
}

void RecordUpdate(const v1::Resource& before, std::string_view manager, const Timestamp& now,
                  v1::Resource* after) {
  v1::ObjectMeta* meta = MutableMetaOf(after);
  *meta->mutable_managed_fields() = MetaOf(before).managed_fields();
  if (meta->managed_fields().empty()) return;
  const FieldChanges changes = CompareFields(ValuesOf(before), ValuesOf(*after));
  if (changes.added.empty() && changes.modified.empty() && changes.removed.empty()) return;
  Managers managers = ManagersOf(before);
  const ManagerKey key = Updater(manager, *after);
  // Forced: an update asks nobody.
  TakeFrom(key, changes, /*force=*/true, &managers).IgnoreError();
  Owned& own = managers[key];
  const FieldSet was = own.fields;
  own.fields = Union(Union(Minus(own.fields, changes.removed), changes.modified), changes.added);
  if (own.fields != was) own.time = now;
  StoreManagers(std::move(managers), after);
}

bool IsAppliedBy(const v1::ObjectMeta& meta, std::string_view manager) {
  return std::any_of(meta.managed_fields().begin(), meta.managed_fields().end(),
                     [&](const v1::ManagedFields& entry) {
                       return entry.operation() == kApply && entry.manager() == manager;
                     });
}

}  // namespace mesh::schema
