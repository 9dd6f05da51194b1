// SPDX-License-Identifier: Apache-2.0
// Why a field is refused: not supported yet, a slip, or in the wrong place.
#include "api/schema/fields.h"

#include "gtest/gtest.h"
#include "mesh/v1/options.pb.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {
namespace {

TEST(ExplainUnknownField, TellsUnsupportedFromSlipFromMisplaced) {
  struct Case {
    const google::protobuf::Descriptor* message;
    const char* path;
    const char* field;
    const char* message_text;
  };
  const Case cases[] = {
      {v1::Volume::descriptor(), "spec.template.spec.volumes[0]", "nfs", "not supported yet"},
      {v1::Container::descriptor(), "spec.template.spec.containers[0]", "resizePolicy",
       "not supported yet"},
      {v1::DeploymentSpec::descriptor(), "spec", "replics",
       "unknown field; did you mean \"replicas\"?"},
      {v1::DeploymentSpec::descriptor(), "spec", "Replicas",
       "unknown field; did you mean \"replicas\"?"},
      {v1::PodTemplateSpec::descriptor(), "spec.template", "replicas",
       "unknown field; \"replicas\" belongs in spec"},
      {v1::Deployment::descriptor(), "", "replicas", "unknown field; \"replicas\" belongs in spec"},
      {v1::DeploymentSpec::descriptor(), "spec", "containers",
       "unknown field; \"containers\" belongs in spec.template.spec"},
      {v1::PodSpec::descriptor(), "spec.template.spec", "image",
       "unknown field; \"image\" belongs in spec.template.spec.containers[]"},
      {v1::Container::descriptor(), "spec.template.spec.containers[0]", "mountPath",
       "unknown field; \"mountPath\" belongs in spec.template.spec.containers[].volumeMounts[]"},
      {v1::PodSpec::descriptor(), "spec.template.spec", "volums",
       "unknown field; did you mean \"volumes\"?"},
      {v1::DeploymentSpec::descriptor(), "spec", "zebra", "unknown field"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(ExplainUnknownField(v1::KIND_DEPLOYMENT, *c.message, c.path, c.field), c.message_text)
        << c.path << "." << c.field;
  }
}

TEST(ExplainUnknownField, NeverOffersAnInternalField) {
  EXPECT_EQ(FindField(*v1::ObjectMeta::descriptor(), "lastApplied"), nullptr);
  EXPECT_EQ(
      ExplainUnknownField(v1::KIND_POD, *v1::ObjectMeta::descriptor(), "metadata", "lastApplied"),
      "unknown field");
}

// A field that mesh learns to read must leave the table of values that are accepted without effect.
TEST(ImpliedValuesOf, HoldsNoFieldThatIsSupported) {
  EXPECT_EQ(ImpliedValuesOf(*v1::PodSpec::descriptor(), "hostNetwork"),
            std::vector<std::string_view>{"false"});
  for (const auto* message : {v1::PodSpec::descriptor(), v1::Container::descriptor(),
                              v1::ServiceSpec::descriptor(), v1::DeploymentSpec::descriptor()}) {
    for (int i = 0; i < message->field_count(); ++i) {
      if (message->field(i)->options().GetExtension(v1::pending)) continue;
      EXPECT_TRUE(ImpliedValuesOf(*message, message->field(i)->json_name()).empty())
          << message->field(i)->full_name();
    }
  }
}

}  // namespace
}  // namespace mesh::schema
