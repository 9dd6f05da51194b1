// SPDX-License-Identifier: Apache-2.0
#include "api/schema/defaults.h"

#include <charconv>
#include <string>
#include <string_view>

#include "api/schema/image.h"
#include "api/schema/kinds.h"
#include "api/schema/rules.h"
#include "api/schema/rules_kinds.h"
#include "api/schema/schema.h"
#include "common/check.h"
#include "common/quantity.h"
#include "mesh/v1/options.pb.h"

namespace mesh::schema {
namespace {

constexpr int32_t kAffinitySeconds = 10800;

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

int64_t Number(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  MESH_CHECK(error == std::errc() && end == text.data() + text.size())
      << "default_value is not a number: " << text;
  return value;
}

void SetDefault(Message* message, const FieldDescriptor& field, const std::string& text) {
  const Reflection& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      // With presence "" is an answer: the core group.
      if (field.has_presence() ? !reflection.HasField(*message, &field)
                               : reflection.GetString(*message, &field).empty()) {
        reflection.SetString(message, &field, text);
      }
      return;
    case FieldDescriptor::CPPTYPE_INT32:
      if (!reflection.HasField(*message, &field)) {
        reflection.SetInt32(message, &field, static_cast<int32_t>(Number(text)));
      }
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      if (!reflection.HasField(*message, &field)) {
        reflection.SetInt64(message, &field, Number(text));
      }
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!reflection.HasField(*message, &field))
        reflection.SetBool(message, &field, text == "true");
      return;
    default:
      MESH_CHECK(false) << "default_value on " << field.full_name();
  }
}

void FillOptions(Message* message) {
  const auto& descriptor = *message->GetDescriptor();
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.options().GetExtension(v1::system)) continue;
    const std::string& text = field.options().GetExtension(v1::default_value);
    if (!text.empty()) SetDefault(message, field, text);
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field.is_map()) continue;
    if (field.is_repeated()) {
      for (int j = 0; j < reflection.FieldSize(*message, &field); ++j) {
        FillOptions(reflection.MutableRepeatedMessage(message, &field, j));
      }
    } else if (reflection.HasField(*message, &field)) {
      FillOptions(reflection.MutableMessage(message, &field));
    }
  }
}

void FillContainer(v1::Container* container) {
  if (container->image_pull_policy().empty() && !container->image().empty()) {
    container->set_image_pull_policy(HasMovingTag(container->image()) ? "Always" : "IfNotPresent");
  }
  if (!container->has_resources()) return;
  for (const auto& [name, limit] : container->resources().limits()) {
    const auto milli = ParseQuantityMilli(limit.text());
    if (!milli.ok() || *milli < 0) continue;  // one complaint is enough
    container->mutable_resources()->mutable_requests()->insert({name, limit});
  }
}

void FillPodSpec(v1::PodSpec* spec) {
  for (v1::Container& container : *spec->mutable_containers()) FillContainer(&container);
  for (v1::Container& container : *spec->mutable_init_containers()) FillContainer(&container);
}

void FillDeployment(v1::DeploymentSpec* spec) {
  // FillOptions leaves an absent message alone.
  if (spec->strategy().type().empty()) spec->mutable_strategy()->set_type("RollingUpdate");
  if (spec->strategy().type() != "RollingUpdate") return;
  v1::RollingUpdateDeployment& rolling = *spec->mutable_strategy()->mutable_rolling_update();
  if (!rolling.has_max_unavailable()) rolling.mutable_max_unavailable()->set_string_value("25%");
  if (!rolling.has_max_surge()) rolling.mutable_max_surge()->set_string_value("25%");
}

void FillService(v1::ServiceSpec* spec) {
  for (v1::ServicePort& port : *spec->mutable_ports()) {
    if (port.target_port().value_case() == v1::IntOrString::VALUE_NOT_SET && port.port() != 0) {
      port.mutable_target_port()->set_int_value(port.port());
    }
  }
  // Of NodePort, LoadBalancer and who brings his own addresses.
  const bool external = spec->type() == "NodePort" || spec->type() == "LoadBalancer" ||
                        (spec->type() == "ClusterIP" && spec->external_ips_size() > 0);
  if (external && spec->external_traffic_policy().empty()) {
    spec->set_external_traffic_policy("Cluster");
  }
  if (spec->type() == "LoadBalancer" && !spec->has_allocate_load_balancer_node_ports()) {
    spec->set_allocate_load_balancer_node_ports(true);
  }
  // Families are admission's: the default depends on the cluster.
  if (spec->type() != "ExternalName" && spec->internal_traffic_policy().empty()) {
    spec->set_internal_traffic_policy("Cluster");
  }
  if (spec->session_affinity() == "None") {
    spec->clear_session_affinity_config();
  } else if (spec->session_affinity() == "ClientIP") {
    v1::ClientIPConfig* client_ip = spec->mutable_session_affinity_config()->mutable_client_ip();
    if (!client_ip->has_timeout_seconds()) client_ip->set_timeout_seconds(kAffinitySeconds);
  }
  internal::CanonicalizeClusterIps(spec);
  if (spec->cluster_ips().empty() && !spec->cluster_ip().empty()) {
    spec->add_cluster_ips(spec->cluster_ip());
  } else if (spec->cluster_ip().empty() && !spec->cluster_ips().empty()) {
    spec->set_cluster_ip(spec->cluster_ips(0));
  }
}

}  // namespace

void internal::FillNetworkPolicy(v1::NetworkPolicySpec* spec) {
  if (!spec->policy_types().empty()) return;
  spec->add_policy_types("Ingress");
  if (!spec->egress().empty()) spec->add_policy_types("Egress");
}

void ApplyDefaults(v1::Resource* resource) {
  const v1::Kind kind = KindOf(*resource);
  if (kind == v1::KIND_UNSPECIFIED) return;
  v1::ObjectMeta* meta = MutableMetaOf(resource);
  if (!Info(kind).namespaced) {
    meta->clear_namespace_();
  } else if (meta->namespace_().empty()) {
    meta->set_namespace_("default");
  }
  FillOptions(MutableBodyOf(resource));
  switch (resource->kind_case()) {
    case v1::Resource::kPod:
      if (resource->pod().has_spec()) FillPodSpec(resource->mutable_pod()->mutable_spec());
      break;
    case v1::Resource::kDeployment:
      if (resource->deployment().has_spec()) {
        FillDeployment(resource->mutable_deployment()->mutable_spec());
      }
      break;
    case v1::Resource::kService:
      if (resource->service().has_spec()) FillService(resource->mutable_service()->mutable_spec());
      break;
    case v1::Resource::kNetworkPolicy:
      internal::FillNetworkPolicy(resource->mutable_network_policy()->mutable_spec());
      break;
    default:
      internal::FillStoredKind(resource);
      break;
  }
  if (v1::PodTemplateSpec* pod = MutablePodTemplateOf(resource);
      pod != nullptr && pod->has_spec()) {
    FillPodSpec(pod->mutable_spec());
  }
}

}  // namespace mesh::schema
