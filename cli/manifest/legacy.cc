// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/legacy.h"

#include <functional>
#include <memory>
#include <utility>

#include "fmt/format.h"

namespace mesh::manifest::internal {
namespace {

using Type = YamlNode::Type;

YamlNodePtr Scalar(std::string_view text, Mark mark) {
  auto node = std::make_shared<YamlNode>();
  node->type = Type::kScalar;
  node->mark = mark;
  node->text = std::string(text);
  node->plain = true;
  return node;
}

// A mapping at `mark`, to be filled.
std::shared_ptr<YamlNode> Map(Mark mark) {
  auto node = std::make_shared<YamlNode>();
  node->type = Type::kMap;
  node->mark = mark;
  return node;
}

void Put(YamlNode* map, std::string_view key, YamlNodePtr value, Mark mark) {
  map->entries.emplace_back(Scalar(key, mark), std::move(value));
}

const std::pair<YamlNodePtr, YamlNodePtr>* Entry(const YamlNode& map, std::string_view key) {
  for (const auto& entry : map.entries) {
    if (entry.first->type == Type::kScalar && entry.first->text == key) return &entry;
  }
  return nullptr;
}

using Change = std::function<YamlNodePtr(const YamlNode& node, const std::string& path)>;

// The mapping with `change` of the member, when it has it and it is of the type.
YamlNodePtr WithMember(const YamlNode& map, std::string_view key, const std::string& path,
                       Type type, const Change& change) {
  auto out = std::make_shared<YamlNode>(map);
  for (auto& [name, value] : out->entries) {
    if (name->type != Type::kScalar || name->text != key || value->type != type) continue;
    value = change(*value, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key));
  }
  return out;
}

// Each mapping of the list changed.
Change Each(const Change& change) {
  return [change](const YamlNode& list, const std::string& path) {
    auto out = std::make_shared<YamlNode>(list);
    for (size_t i = 0; i < out->items.size(); ++i) {
      if (out->items[i]->type != Type::kMap) continue;
      out->items[i] = change(*out->items[i], fmt::format("{}[{}]", path, i));
    }
    return out;
  };
}

class Ingress {
 public:
  Ingress(std::string_view api_version, Modernized* out) : api_version_(api_version), out_(out) {}

  YamlNodePtr Convert(const YamlNode& node) {
    return WithMember(
        node, "spec", "", Type::kMap,
        [this](const YamlNode& spec, const std::string& path) { return Spec(spec, path); });
  }

 private:
  YamlNodePtr Spec(const YamlNode& spec, const std::string& path) {
    auto renamed = std::make_shared<YamlNode>(spec);
    for (auto& [key, value] : renamed->entries) {
      if (key->text == "defaultBackend") Refuse(*key, path + ".defaultBackend", "backend");
      if (key->text != "backend" || value->type != Type::kMap) continue;
      key = Scalar("defaultBackend", key->mark);
      value = Backend(*value, path + ".defaultBackend");
    }
    return WithMember(
        *renamed, "rules", path, Type::kList,
        Each([this](const YamlNode& rule, const std::string& here) {
          return WithMember(
              rule, "http", here, Type::kMap, [this](const YamlNode& http, const std::string& at) {
                return WithMember(
                    http, "paths", at, Type::kList,
                    Each([this](const auto& n, const auto& p) { return Path(n, p); }));
              });
        }));
  }

  YamlNodePtr Path(const YamlNode& node, const std::string& path) {
    auto out = std::make_shared<YamlNode>(*WithMember(
        node, "backend", path, Type::kMap,
        [this](const YamlNode& backend, const std::string& at) { return Backend(backend, at); }));
    // What was meant by saying nothing.
    if (Entry(node, "pathType") == nullptr) {
      Put(out.get(), "pathType", Scalar("ImplementationSpecific", node.mark), node.mark);
    }
    return out;
  }

  YamlNodePtr Backend(const YamlNode& node, const std::string& path) {
    auto out = Map(node.mark);
    auto service = Map(node.mark);
    for (const auto& [key, value] : node.entries) {
      if (key->text == "serviceName") {
        Put(service.get(), "name", value, key->mark);
      } else if (key->text == "servicePort") {
        const bool number = value->plain && PlainScalarType(value->text) == ScalarType::kInteger;
        auto port = Map(value->mark);
        Put(port.get(), number ? "number" : "name", value, key->mark);
        Put(service.get(), "port", port, key->mark);
      } else if (key->text == "service") {
        Refuse(*key, path + ".service", "serviceName and servicePort");
      } else {
        out->entries.emplace_back(key, value);
      }
    }
    if (!service->entries.empty()) Put(out.get(), "service", service, node.mark);
    return out;
  }

  void Refuse(const YamlNode& key, const std::string& path, std::string_view instead) {
    out_->problems.push_back(
        {key.mark, path,
         fmt::format("unknown field; {} has {} in its place", api_version_, instead)});
  }

  const std::string api_version_;
  Modernized* const out_;
};

// {type, KEY: value}, KEY the member of a MetricTarget.
YamlNodePtr Target(std::string_view type, std::string_view key, const YamlNodePtr& value,
                   Mark mark) {
  auto target = Map(mark);
  Put(target.get(), "type", Scalar(type, mark), mark);
  Put(target.get(), key, value, mark);
  return target;
}

// autoscaling/v1: the one metric that it had.
YamlNodePtr CpuMetric(const YamlNode& node) {
  return WithMember(node, "spec", "", Type::kMap, [](const YamlNode& spec, const std::string&) {
    auto out = Map(spec.mark);
    for (const auto& [key, value] : spec.entries) {
      if (key->text != "targetCPUUtilizationPercentage") {
        out->entries.emplace_back(key, value);
        continue;
      }
      auto resource = Map(value->mark);
      Put(resource.get(), "name", Scalar("cpu", key->mark), key->mark);
      Put(resource.get(), "target", Target("Utilization", "averageUtilization", value, value->mark),
          key->mark);
      auto metric = Map(value->mark);
      Put(metric.get(), "type", Scalar("Resource", key->mark), key->mark);
      Put(metric.get(), "resource", resource, key->mark);
      auto list = std::make_shared<YamlNode>();
      list->type = Type::kList;
      list->mark = value->mark;
      list->items.push_back(metric);
      Put(out.get(), "metrics", list, key->mark);
    }
    return out;
  });
}

// A metric source of autoscaling/v2beta1, which had its target in itself.
YamlNodePtr OldSource(const YamlNode& source, bool about_object) {
  auto out = Map(source.mark);
  auto metric = Map(source.mark);
  for (const auto& [key, value] : source.entries) {
    const std::string& name = key->text;
    if (name == "targetAverageUtilization") {
      Put(out.get(), "target", Target("Utilization", "averageUtilization", value, key->mark),
          key->mark);
    } else if (name == "targetAverageValue" || (about_object && name == "averageValue")) {
      Put(out.get(), "target", Target("AverageValue", "averageValue", value, key->mark), key->mark);
    } else if (name == "targetValue") {
      Put(out.get(), "target", Target("Value", "value", value, key->mark), key->mark);
    } else if (name == "metricName") {
      Put(metric.get(), "name", value, key->mark);
    } else if (name == "selector" || name == "metricSelector") {
      Put(metric.get(), "selector", value, key->mark);
    } else if (about_object && name == "target") {
      Put(out.get(), "describedObject", value, key->mark);
    } else {
      out->entries.emplace_back(key, value);
    }
  }
  if (!metric->entries.empty()) Put(out.get(), "metric", metric, source.mark);
  return out;
}

YamlNodePtr OldMetrics(const YamlNode& node) {
  const Change change = Each([](const YamlNode& metric, const std::string&) {
    auto out = std::make_shared<YamlNode>(metric);
    for (auto& [key, value] : out->entries) {
      if (value->type == Type::kMap) value = OldSource(*value, key->text == "object");
    }
    return out;
  });
  return WithMember(node, "spec", "", Type::kMap,
                    [&](const YamlNode& spec, const std::string& path) {
                      return WithMember(spec, "metrics", path, Type::kList, change);
                    });
}

}  // namespace

Modernized Modernize(const YamlNode& node, std::string_view api_version, v1::Kind kind) {
  Modernized out;
  if (kind == v1::KIND_INGRESS && api_version.ends_with("/v1beta1")) {
    out.node = Ingress(api_version, &out).Convert(node);
  } else if (kind == v1::KIND_HORIZONTAL_POD_AUTOSCALER && api_version == "autoscaling/v1") {
    out.node = CpuMetric(node);
  } else if (kind == v1::KIND_HORIZONTAL_POD_AUTOSCALER && api_version == "autoscaling/v2beta1") {
    out.node = OldMetrics(node);
  }
  return out;
}

}  // namespace mesh::manifest::internal
