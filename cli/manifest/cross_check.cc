// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/cross_check.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "fmt/format.h"
#include "mesh/v1/options.pb.h"

namespace mesh::manifest {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A pod, or what pods are made from.
struct PodView {
  const google::protobuf::Map<std::string, std::string>* labels;
  const v1::PodSpec* spec;
};

std::optional<PodView> PodOf(const v1::Resource& resource) {
  const auto of = [](const auto& meta, const v1::PodSpec& spec) {
    return PodView{&meta.labels(), &spec};
  };
  const auto of_template = [&](const v1::PodTemplateSpec& pod) {
    return of(pod.metadata(), pod.spec());
  };
  switch (resource.kind_case()) {
    case v1::Resource::kPod:
      return of(resource.pod().metadata(), resource.pod().spec());
    case v1::Resource::kReplicaSet:
      return of_template(resource.replica_set().spec().template_());
    case v1::Resource::kDeployment:
      return of_template(resource.deployment().spec().template_());
    case v1::Resource::kStatefulSet:
      return of_template(resource.stateful_set().spec().template_());
    case v1::Resource::kDaemonSet:
      return of_template(resource.daemon_set().spec().template_());
    case v1::Resource::kReplicationController:
      return of_template(resource.replication_controller().spec().template_());
    case v1::Resource::kJob:
      return of_template(resource.job().spec().template_());
    case v1::Resource::kCronJob:
      return of_template(resource.cron_job().spec().job_template().spec().template_());
    default:
      return std::nullopt;
  }
}

std::string ProtocolOf(const std::string& text) { return text.empty() ? "TCP" : text; }

std::string DidYouMean(std::string_view word, const std::vector<std::string>& words) {
  const auto near = schema::NearestWord(word, words);
  return near ? fmt::format("; did you mean \"{}\"?", *near) : "";
}

class Checker {
 public:
  Checker(const std::vector<Object>& objects, const Lookup& lookup)
      : objects_(objects), lookup_(lookup) {
    for (const Object& object : objects) {
      const v1::ObjectMeta& meta = schema::MetaOf(object.resource);
      index_[{schema::KindOf(object.resource), meta.namespace_(), meta.name()}] = &object.resource;
    }
  }

  std::vector<Diagnostic> Run() {
    for (const Object& object : objects_) {
      object_ = &object;
      ns_ = schema::MetaOf(object.resource).namespace_();
      if (object.resource.has_service()) CheckService(object.resource.service());
      if (object.resource.has_horizontal_pod_autoscaler()) {
        CheckAutoscaler(object.resource.horizontal_pod_autoscaler().spec());
      }
      if (object.resource.has_stateful_set()) {
        Find(v1::KIND_SERVICE, ns_, object.resource.stateful_set().spec().service_name(),
             "spec.serviceName");
      }
      Walk(schema::BodyOf(object.resource), "");
    }
    return std::move(out_);
  }

 private:
  void Warn(const std::string& path, std::string_view message) {
    out_.push_back({Diagnostic::Severity::kWarning, object_->Locate(path),
                    fmt::format("{}: {}", path, message)});
  }

  // The object, or null: then it was warned of, or cannot be known.
  const v1::Resource* Find(v1::Kind kind, const std::string& ns, const std::string& name,
                           const std::string& path, bool optional = false) {
    if (name.empty()) return nullptr;
    const Key key{kind, ns, name};
    if (const auto it = index_.find(key); it != index_.end()) return it->second;
    auto [it, is_new] = fetched_.try_emplace(key);
    if (is_new) it->second = lookup_ ? lookup_(kind, ns, name) : absl::UnavailableError("");
    if (it->second.ok()) return &*it->second;
    if (it->second.status().code() != absl::StatusCode::kNotFound || optional) return nullptr;
    std::vector<std::string> names;
    for (const auto& [other, resource] : index_) {
      if (std::get<0>(other) == kind && std::get<1>(other) == ns) {
        names.push_back(std::get<2>(other));
      }
    }
    Warn(path, fmt::format("there is no {} \"{}\"{}, neither here nor on the server{}",
                           schema::Info(kind).name, name,
                           ns.empty() ? "" : fmt::format(" in namespace \"{}\"", ns),
                           DidYouMean(name, names)));
    return nullptr;
  }

  void CheckService(const v1::Service& service) {
    if (service.spec().selector().empty()) return;
    std::vector<PodView> pods;
    for (const Object& other : objects_) {
      const auto pod = PodOf(other.resource);
      if (pod && schema::MetaOf(other.resource).namespace_() == ns_ &&
          schema::MatchesAll(service.spec().selector(), *pod->labels)) {
        pods.push_back(*pod);
      }
    }
    if (pods.empty()) return;  // the server knows whether there are others
    for (int i = 0; i < service.spec().ports_size(); ++i) {
      const v1::ServicePort& port = service.spec().ports(i);
      if (!port.target_port().has_string_value()) continue;
      const std::string& name = port.target_port().string_value();
      std::vector<std::string> names;
      bool found = false;
      for (const PodView& pod : pods) {
        for (const auto* containers : {&pod.spec->containers(), &pod.spec->init_containers()}) {
          for (const v1::Container& container : *containers) {
            for (const v1::ContainerPort& other : container.ports()) {
              if (other.name().empty()) continue;
              const bool same = ProtocolOf(other.protocol()) == ProtocolOf(port.protocol());
              if (same) names.push_back(other.name());
              found = found || (same && other.name() == name);
            }
          }
        }
      }
      if (found) continue;
      Warn(fmt::format("spec.ports[{}].targetPort", i),
           fmt::format("no container of the selected pods has a {} port named \"{}\"{}",
                       ProtocolOf(port.protocol()), name, DidYouMean(name, names)));
    }
  }

  void CheckAutoscaler(const v1::HorizontalPodAutoscalerSpec& spec) {
    const v1::CrossVersionObjectReference& target = spec.scale_target_ref();
    const auto type = schema::FindManifestType(target.api_version(), target.kind());
    if (!type.ok()) return;
    const v1::Resource* scaled =
        Find(type->info->kind, ns_, target.name(), "spec.scaleTargetRef.name");
    if (scaled == nullptr) return;
    const auto pod = PodOf(*scaled);
    if (!pod) return;
    for (int i = 0; i < spec.metrics_size(); ++i) {
      const v1::MetricSpec& metric = spec.metrics(i);
      const bool one = metric.type() == "ContainerResource";
      if (metric.type() != "Resource" && !one) continue;
      const v1::MetricTarget& wanted =
          one ? metric.container_resource().target() : metric.resource().target();
      if (wanted.type() != "Utilization") continue;
      const std::string path =
          fmt::format("spec.metrics[{}].{}", i, one ? "containerResource" : "resource");
      const std::string& resource =
          one ? metric.container_resource().name() : metric.resource().name();
      for (const v1::Container& container : pod->spec->containers()) {
        if (one && container.name() != metric.container_resource().container()) continue;
        // A limit stands for the request that is left out.
        if (container.resources().requests().contains(resource) ||
            container.resources().limits().contains(resource)) {
          continue;
        }
        Warn(path, fmt::format("utilization is a share of the request, and container \"{}\" of "
                               "{} has no resources.requests.{}",
                               container.name(), schema::ObjectText(*scaled), resource));
      }
    }
  }

  // References, wherever in an object they stand.
  void Walk(const Message& message, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    Reference(message, path);
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (field->message_type() == nullptr || field->is_map() ||
          field->message_type()->file()->package() != "mesh.v1" ||
          field->options().GetExtension(v1::system) ||
          field->options().GetExtension(v1::internal)) {
        continue;
      }
      const std::string here =
          path.empty() ? field->json_name() : fmt::format("{}.{}", path, field->json_name());
      if (!field->is_repeated()) {
        Walk(reflection.GetMessage(message, field), here);
        continue;
      }
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        Walk(reflection.GetRepeatedMessage(message, field, i), fmt::format("{}[{}]", here, i));
      }
    }
  }

  template <typename T>
  static const T* As(const Message& message) {
    return message.GetDescriptor() == T::descriptor() ? static_cast<const T*>(&message) : nullptr;
  }

  void Reference(const Message& message, const std::string& path) {
    constexpr v1::Kind kMap = v1::KIND_CONFIG_MAP;
    constexpr v1::Kind kSecret = v1::KIND_SECRET;
    if (const auto* key = As<v1::ConfigMapKeySelector>(message)) {
      CheckKey(kMap, key->name(), key->key(), key->optional(), path + ".name", path + ".key");
    } else if (const auto* secret_key = As<v1::SecretKeySelector>(message)) {
      CheckKey(kSecret, secret_key->name(), secret_key->key(), secret_key->optional(),
               path + ".name", path + ".key");
    } else if (const auto* map_env = As<v1::ConfigMapEnvSource>(message)) {
      Find(kMap, ns_, map_env->name(), path + ".name", map_env->optional());
    } else if (const auto* secret_env = As<v1::SecretEnvSource>(message)) {
      Find(kSecret, ns_, secret_env->name(), path + ".name", secret_env->optional());
    } else if (const auto* map_volume = As<v1::ConfigMapVolumeSource>(message)) {
      CheckItems(kMap, map_volume->name(), *map_volume, path, "name");
    } else if (const auto* map_part = As<v1::ConfigMapProjection>(message)) {
      CheckItems(kMap, map_part->name(), *map_part, path, "name");
    } else if (const auto* secret_volume = As<v1::SecretVolumeSource>(message)) {
      CheckItems(kSecret, secret_volume->secret_name(), *secret_volume, path, "secretName");
    } else if (const auto* secret_part = As<v1::SecretProjection>(message)) {
      CheckItems(kSecret, secret_part->name(), *secret_part, path, "name");
    } else if (const auto* claim = As<v1::PersistentVolumeClaimVolumeSource>(message)) {
      Find(v1::KIND_PERSISTENT_VOLUME_CLAIM, ns_, claim->claim_name(), path + ".claimName");
    } else if (const auto* backend = As<v1::IngressServiceBackend>(message)) {
      CheckBackend(*backend, path);
    } else if (const auto* http = As<v1::HTTPBackendRef>(message)) {
      CheckRouteBackend(*http, path);
    } else if (const auto* grpc = As<v1::GRPCBackendRef>(message)) {
      CheckRouteBackend(*grpc, path);
    } else if (const auto* parent = As<v1::ParentReference>(message)) {
      if (parent->kind().empty() || parent->kind() == "Gateway") {
        Find(v1::KIND_GATEWAY, parent->namespace_().empty() ? ns_ : parent->namespace_(),
             parent->name(), path + ".name");
      }
    }
  }

  void CheckKey(v1::Kind kind, const std::string& name, const std::string& key, bool optional,
                const std::string& name_path, const std::string& key_path) {
    const v1::Resource* holder = Find(kind, ns_, name, name_path, optional);
    if (holder == nullptr || optional || key.empty()) return;
    std::vector<std::string> keys;
    const auto add = [&](const auto& map) {
      for (const auto& [known, value] : map) keys.push_back(known);
    };
    if (holder->has_config_map()) {
      add(holder->config_map().data());
      add(holder->config_map().binary_data());
    } else {
      add(holder->secret().data());
      add(holder->secret().string_data());
    }
    std::sort(keys.begin(), keys.end());
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) return;
    Warn(key_path, fmt::format("{} \"{}\" has no key \"{}\"{}", schema::Info(kind).name, name, key,
                               DidYouMean(key, keys)));
  }

  template <typename T>
  void CheckItems(v1::Kind kind, const std::string& name, const T& source, const std::string& path,
                  std::string_view name_field) {
    const std::string name_path = fmt::format("{}.{}", path, name_field);
    if (Find(kind, ns_, name, name_path, source.optional()) == nullptr) return;
    for (int i = 0; i < source.items_size(); ++i) {
      CheckKey(kind, name, source.items(i).key(), source.optional(), name_path,
               fmt::format("{}.items[{}].key", path, i));
    }
  }

  void CheckBackend(const v1::IngressServiceBackend& backend, const std::string& path) {
    const v1::Resource* service = Find(v1::KIND_SERVICE, ns_, backend.name(), path + ".name");
    if (service == nullptr) return;
    std::vector<std::string> names;
    bool found = false;
    for (const v1::ServicePort& port : service->service().spec().ports()) {
      names.push_back(port.name());
      found = found || (backend.port().name().empty() ? port.port() == backend.port().number()
                                                      : port.name() == backend.port().name());
    }
    if (found) return;
    if (backend.port().name().empty()) {
      Warn(path + ".port.number",
           fmt::format("Service \"{}\" has no port {}", backend.name(), backend.port().number()));
    } else {
      Warn(path + ".port.name",
           fmt::format("Service \"{}\" has no port named \"{}\"{}", backend.name(),
                       backend.port().name(), DidYouMean(backend.port().name(), names)));
    }
  }

  template <typename T>
  void CheckRouteBackend(const T& backend, const std::string& path) {
    if (!backend.kind().empty() && backend.kind() != "Service") return;
    const std::string& ns = backend.namespace_().empty() ? ns_ : backend.namespace_();
    const v1::Resource* service = Find(v1::KIND_SERVICE, ns, backend.name(), path + ".name");
    if (service == nullptr || !backend.has_port()) return;
    const auto& ports = service->service().spec().ports();
    const bool found = std::any_of(ports.begin(), ports.end(), [&](const v1::ServicePort& port) {
      return port.port() == backend.port();
    });
    if (!found) {
      Warn(path + ".port",
           fmt::format("Service \"{}\" has no port {}", backend.name(), backend.port()));
    }
  }

  using Key = std::tuple<v1::Kind, std::string, std::string>;
  const std::vector<Object>& objects_;
  const Lookup& lookup_;
  std::map<Key, const v1::Resource*> index_;
  std::map<Key, absl::StatusOr<v1::Resource>> fetched_;
  std::vector<Diagnostic> out_;
  const Object* object_ = nullptr;
  std::string ns_;
};

}  // namespace

std::vector<Diagnostic> CrossCheck(const std::vector<Object>& objects, const Lookup& lookup) {
  return Checker(objects, lookup).Run();
}

}  // namespace mesh::manifest
