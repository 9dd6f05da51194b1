// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "common/check.h"
#include "google/protobuf/text_format.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

// A message from protobuf's text format; a typing error in a test ends the test program.
template <typename T = v1::Resource>
T FromText(const std::string& text) {
  T out;
  MESH_CHECK(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
  return out;
}

// A Deployment "web" that is valid, with one container.
inline v1::Resource ValidDeployment() {
  return FromText(R"(
    deployment {
      metadata { name: "web" }
      spec {
        selector { match_labels { key: "app" value: "web" } }
        template {
          metadata { labels { key: "app" value: "web" } }
          spec { containers { name: "web" image: "nginx:1.27" ports { container_port: 80 } } }
        }
      }
    })");
}

inline v1::Resource ValidService() {
  return FromText(R"(
    service {
      metadata { name: "web" }
      spec { selector { key: "app" value: "web" } ports { port: 80 } }
    })");
}

inline v1::Resource ValidPod() {
  return FromText(R"(
    pod { metadata { name: "p" } spec { containers { name: "a" image: "busybox:1.36" } } })");
}

}  // namespace mesh::schema
