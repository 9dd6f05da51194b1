// SPDX-License-Identifier: Apache-2.0
#include "cli/output/structured.h"

#include "cli/output/endpoints_json.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

TEST(YamlFromJson, KeepsTheOrderAndDoesNotIndentLists) {
  EXPECT_EQ(YamlFromJson(R"({"b": 1, "a": [{"x": "1", "q": true}, "z"], "c": {"d": []}, "e": {}})"),
            "b: 1\n"
            "a:\n"
            "- x: \"1\"\n"
            "  q: true\n"
            "- z\n"
            "c:\n"
            "  d: []\n"
            "e: {}\n");
}

TEST(YamlFromJson, QuotesStringsThatWouldBeReadAsSomethingElse) {
  EXPECT_EQ(
      YamlFromJson(R"(["", "no", "1.5", "10.0.0.1", "a: b", "a:b", "- x", "line\nbreak", "ok"])"),
      "- \"\"\n- \"no\"\n- \"1.5\"\n- 10.0.0.1\n- \"a: b\"\n- a:b\n- \"- x\"\n"
      "- \"line\\nbreak\"\n- ok\n");
}

TEST(EndpointsJson, LooksLikeTheEndpointsOfKubernetes) {
  v1::Resource slice = Parse<v1::Resource>(
      "endpoint_slice { metadata { name: 'web' namespace: 'shop' resource_version: '7' "
      "creation_timestamp { seconds: 0 } } ports { port: 80 protocol: 'TCP' } endpoints { "
      "addresses: "
      "'10.244.1.2' node_name: 'n1' conditions { ready: true } } endpoints { addresses: "
      "'10.244.1.3' conditions { ready: false } } "
      "}");

  EXPECT_EQ(YamlFromJson(EndpointsJson({slice}, /*single=*/true)),
            "apiVersion: v1\n"
            "kind: Endpoints\n"
            "metadata:\n"
            "  name: web\n"
            "  namespace: shop\n"
            "  creationTimestamp: \"1970-01-01T00:00:00Z\"\n"
            "  resourceVersion: \"7\"\n"
            "subsets:\n"
            "- addresses:\n"
            "  - ip: 10.244.1.2\n"
            "    nodeName: n1\n"
            "  notReadyAddresses:\n"
            "  - ip: 10.244.1.3\n"
            "  ports:\n"
            "  - port: 80\n"
            "    protocol: TCP\n");
}

}  // namespace
}  // namespace mesh::cli
