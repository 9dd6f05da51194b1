// SPDX-License-Identifier: Apache-2.0
// Goal: what the CNI specification says of environment, versions and error objects.
// Method: tables of inputs; the environment is a map.
#include "cni/protocol.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::cni {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

using Environment = std::map<std::string, std::string>;

std::optional<Error> Read(const Environment& environment, Invocation* out) {
  return ReadEnvironment(
      [&](const char* name) -> const char* {
        const auto it = environment.find(name);
        return it == environment.end() ? nullptr : it->second.c_str();
      },
      out);
}

std::optional<Error> Read(const Environment& environment) {
  Invocation ignored;
  return Read(environment, &ignored);
}

const Environment kAdd = {{"CNI_COMMAND", "ADD"},
                          {"CNI_CONTAINERID", "abc-1.2_3"},
                          {"CNI_NETNS", "/run/netns/x"},
                          {"CNI_IFNAME", "eth0"},
                          {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web"},
                          {"CNI_PATH", "/opt/cni/bin"}};

Environment Without(Environment environment, const char* name) {
  environment.erase(name);
  return environment;
}

Environment With(Environment environment, const char* name, const char* value) {
  environment[name] = value;
  return environment;
}

TEST(ReadEnvironment, TakesEveryVariableOfAnAdd) {
  Invocation out;

  ASSERT_EQ(Read(kAdd, &out), std::nullopt);

  EXPECT_EQ(out.command, "ADD");
  EXPECT_EQ(out.container_id, "abc-1.2_3");
  EXPECT_EQ(out.netns, "/run/netns/x");
  EXPECT_EQ(out.ifname, "eth0");
  EXPECT_EQ(out.path, "/opt/cni/bin");
  EXPECT_EQ(FindArg(out.args, "K8S_POD_NAME"), "web");
}

TEST(ReadEnvironment, NamesEveryMissingVariable) {
  const auto error = Read({{"CNI_COMMAND", "ADD"}});

  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, 4u);
  EXPECT_THAT(error->message, AllOf(HasSubstr("CNI_CONTAINERID"), HasSubstr("CNI_NETNS"),
                                    HasSubstr("CNI_IFNAME"), Not(HasSubstr("CNI_PATH"))));
}

TEST(ReadEnvironment, DelWorksWithoutANamespace) {
  EXPECT_EQ(Read(With(Without(kAdd, "CNI_NETNS"), "CNI_COMMAND", "DEL")), std::nullopt);
  EXPECT_NE(Read(With(Without(kAdd, "CNI_NETNS"), "CNI_COMMAND", "CHECK")), std::nullopt);
}

TEST(ReadEnvironment, StatusGcAndVersionNeedTheCommandOnly) {
  for (const char* command : {"STATUS", "GC", "VERSION"})
    EXPECT_EQ(Read({{"CNI_COMMAND", command}}), std::nullopt) << command;
}

TEST(ReadEnvironment, RefusesMalformedValuesNamingTheVariable) {
  struct Case {
    const char* name;
    const char* value;
  };
  for (const Case& c : std::initializer_list<Case>{{"CNI_COMMAND", "add"},
                                                   {"CNI_CONTAINERID", "-x"},
                                                   {"CNI_CONTAINERID", "a/b"},
                                                   {"CNI_CONTAINERID", "a b"},
                                                   {"CNI_IFNAME", "sixteen_letters_"},
                                                   {"CNI_IFNAME", "a/b"},
                                                   {"CNI_IFNAME", "a b"},
                                                   {"CNI_IFNAME", "a:b"},
                                                   {"CNI_IFNAME", ".."},
                                                   {"CNI_IFNAME", "."}}) {
    const auto error = Read(With(kAdd, c.name, c.value));
    ASSERT_TRUE(error) << c.name << "=" << c.value;
    EXPECT_EQ(error->code, 4u);
    EXPECT_THAT(error->message, HasSubstr(c.name));
  }
}

TEST(FindArg, FindsWholeKeysOnly) {
  EXPECT_EQ(FindArg("A=1;AB=2;B=3=4;C", "A"), "1");
  EXPECT_EQ(FindArg("A=1;AB=2;B=3=4;C", "AB"), "2");
  EXPECT_EQ(FindArg("A=1;AB=2;B=3=4;C", "B"), "3=4");
  EXPECT_EQ(FindArg("A=1;AB=2;B=3=4;C", "C"), "");
  EXPECT_EQ(FindArg("", "A"), "");
}

TEST(AtLeast, OrdersTheSupportedVersions) {
  EXPECT_TRUE(AtLeast("1.0.0", "0.4.0"));
  EXPECT_TRUE(AtLeast("0.4.0", "0.4.0"));
  EXPECT_FALSE(AtLeast("0.3.1", "0.4.0"));
}

TEST(ErrorJson, SpeaksTheVersionOfTheConfiguration) {
  EXPECT_EQ(ErrorJson("0.4.0", {11, "try", "again"}),
            R"({"cniVersion":"0.4.0","code":11,"msg":"try","details":"again"})"
            "\n");
  EXPECT_EQ(ErrorJson("9.9.9", {1, "no", ""}), R"({"cniVersion":"1.1.0","code":1,"msg":"no"})"
                                               "\n");
}

TEST(ErrorJson, SurvivesBytesThatAreNotUtf8) {
  EXPECT_THAT(ErrorJson("1.0.0", {4, "bad \xff name", ""}), HasSubstr("bad \xef\xbf\xbd name"));
}

TEST(VersionJson, ListsWhatIsSupported) {
  EXPECT_EQ(VersionJson("1.0.0"),
            R"({"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]})"
            "\n");
}

}  // namespace
}  // namespace mesh::cni
