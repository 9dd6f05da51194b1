// SPDX-License-Identifier: Apache-2.0
#include "api/schema/selector.h"

#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

LabelMap Labels(std::initializer_list<std::pair<const char*, const char*>> pairs) {
  LabelMap out;
  for (const auto& [key, value] : pairs) out[key] = value;
  return out;
}

TEST(SelectorParse, MatchesAsKubectlDoes) {
  const LabelMap web = Labels({{"app", "web"}, {"tier", "front"}, {"n", "7"}});
  const std::pair<const char*, bool> cases[] = {
      {"", true},
      {"app=web", true},
      {"app==web", true},
      {"app = web , tier=front", true},
      {"app=db", false},
      {"app!=db", true},
      {"missing!=x", true},
      {"app", true},
      {"!app", false},
      {"!missing", true},
      {"app in (db, web)", true},
      {"app in (db)", false},
      {"app notin (db)", true},
      {"missing notin (db)", true},
      {"missing in (db)", false},
      {"n>6", true},
      {"n>7", false},
      {"n<8", true},
      {"app>1", false},
      {"app=", false},
      {"app=web,!tier", false},
  };
  for (const auto& [text, expected] : cases) {
    const auto selector = Selector::Parse(text);
    ASSERT_TRUE(selector.ok()) << text << ": " << selector.status();
    EXPECT_EQ(selector->Matches(web), expected) << text;
  }
}

TEST(SelectorParse, ReadsWhatItPrints) {
  for (const char* text : {"a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "a>1", "a<2",
                           "a=b,c in (d,e),!f", "a="}) {
    const auto selector = Selector::Parse(text);
    ASSERT_TRUE(selector.ok()) << selector.status();
    EXPECT_EQ(selector->ToString(), text);
  }
}

TEST(SelectorParse, NamesThePlaceOfAnError) {
  const std::pair<const char*, const char*> cases[] = {
      {"a=b,", "at character 5: expected a requirement after ','"},
      {"=b", "at character 1: expected a label key"},
      {"a in b", "at character 6: expected '(' before the list of values"},
      {"a in (b", "at character 8: expected ',' or ')' in the list of values"},
      {"a ~ b", "at character 3: expected '=', '==', '!=', 'in', 'notin', '<' or '>' after \"a\""},
      {"a>x", "at character 3: expected an integer after '>', got \"x\""},
  };
  for (const auto& [text, message] : cases) {
    const auto selector = Selector::Parse(text);
    ASSERT_FALSE(selector.ok()) << text;
    EXPECT_EQ(std::string(selector.status().message()),
              std::string("unable to parse the label selector \"") + text + "\": " + message);
  }
}

TEST(LabelSelector, NeedsBothItsParts) {
  const auto selector = FromText<v1::LabelSelector>(R"(
    match_labels { key: "app" value: "web" }
    match_expressions { key: "tier" operator: "In" values: "front" values: "edge" }
    match_expressions { key: "old" operator: "DoesNotExist" })");

  EXPECT_TRUE(Matches(selector, Labels({{"app", "web"}, {"tier", "edge"}})));
  EXPECT_FALSE(Matches(selector, Labels({{"app", "web"}})));
  EXPECT_FALSE(Matches(selector, Labels({{"tier", "edge"}})));
  EXPECT_FALSE(Matches(selector, Labels({{"app", "web"}, {"tier", "edge"}, {"old", ""}})));
}

TEST(LabelSelector, CompiledAndPlainFormsAgree) {
  const auto selector = FromText<v1::LabelSelector>(R"(
    match_labels { key: "app" value: "web" }
    match_expressions { key: "tier" operator: "NotIn" values: "db" })");
  const auto compiled = Selector::From(selector);
  ASSERT_TRUE(compiled.ok());

  for (const LabelMap& labels :
       {Labels({}), Labels({{"app", "web"}}), Labels({{"app", "web"}, {"tier", "db"}}),
        Labels({{"app", "db"}}), Labels({{"app", "web"}, {"tier", "front"}})}) {
    EXPECT_EQ(compiled->Matches(labels), Matches(selector, labels));
  }
}

TEST(LabelSelector, RefusesAnUnknownOperator) {
  const auto selector = FromText<v1::LabelSelector>(
      R"(match_expressions { key: "tier" operator: "Gt" values: "1" })");

  EXPECT_EQ(std::string(Selector::From(selector).status().message()),
            "\"Gt\" is not a label selector operator");
  EXPECT_FALSE(Matches(selector, Labels({{"tier", "2"}})));
}

}  // namespace
}  // namespace mesh::schema
