// SPDX-License-Identifier: Apache-2.0
// Goal: configurations of every version are understood or refused with the specification's code,
// and results have the shape of that version.
// Method: JSON text in, JSON text out, compared literally.
#include "cni/config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::cni {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Parsed {
  std::optional<Error> error;
  NetworkConfig config;
  std::string version;
};

Parsed Parse(const std::string& text) {
  Parsed out;
  out.error = ParseNetworkConfig(text, &out.config, &out.version);
  return out;
}

// With the fields every configuration has.
std::string Config(const std::string& more, const std::string& version = "1.0.0") {
  return R"({"cniVersion":")" + version + R"(","name":"mesh","type":"mesh-cni")" +
         (more.empty() ? "" : "," + more) + "}";
}

const Attachment kEth0 = {.host_interface = "mesh12ab",
                          .host_mac = "02:00:00:00:00:01",
                          .ifname = "eth0",
                          .mac = "02:00:00:00:00:02",
                          .netns = "/run/netns/x",
                          .addresses = {{"10.244.1.5/32", "10.244.1.1"}},
                          .mtu = 1450,
                          .dns = {.nameservers = {"10.244.1.1"}, .search = {"svc.cluster.local"}}};

std::string Result(const Parsed& parsed, const Attachment& attachment = kEth0) {
  std::string out;
  EXPECT_EQ(BuildResult(parsed.config, attachment, &out), std::nullopt);
  return out;
}

Attachment DualEth0() {
  Attachment out = kEth0;
  out.addresses.push_back({"fd00:10:244:1::5/128", "fd00:10:244:1::1"});
  return out;
}

TEST(ParseNetworkConfig, TakesEverySupportedVersion) {
  for (const char* version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"})
    EXPECT_EQ(Parse(Config("", version)).error, std::nullopt) << version;
}

TEST(ParseNetworkConfig, RefusesOtherVersionsWithCodeOneAndWhatWouldDo) {
  for (const char* version : {"", "0.2.0", "1.0", "2.0.0"}) {
    const Parsed parsed = Parse(Config("", version));
    ASSERT_TRUE(parsed.error) << version;
    EXPECT_EQ(parsed.error->code, 1u);
    EXPECT_THAT(parsed.error->details, HasSubstr("0.3.1, 0.4.0, 1.0.0, 1.1.0"));
  }
  EXPECT_EQ(Parse(R"({"name":"mesh","type":"mesh-cni"})").error->code, 1u);
}

TEST(ParseNetworkConfig, TellsBrokenJsonFromBadConfiguration) {
  EXPECT_EQ(Parse("{").error->code, 6u);
  EXPECT_EQ(Parse("").error->code, 6u);
  EXPECT_EQ(Parse("[]").error->code, 7u);
  EXPECT_EQ(Parse(R"({"cniVersion":1})").error->code, 7u);
  EXPECT_EQ(Parse(R"({"cniVersion":"1.0.0","type":"mesh-cni"})").error->code, 7u);
  EXPECT_EQ(Parse(Config(R"("prevResult":"x")")).error->code, 7u);
  EXPECT_EQ(Parse(Config(R"("dns":{"nameservers":"x"})")).error->code, 7u);
  EXPECT_EQ(Parse(Config(R"("agentSocket":7)")).error->code, 7u);
}

TEST(ParseNetworkConfig, RefusesFieldsItWouldHaveToIgnore) {
  const Parsed ipam = Parse(Config(R"("ipam":{"type":"host-local"})"));
  ASSERT_TRUE(ipam.error);
  EXPECT_EQ(ipam.error->code, 2u);
  EXPECT_THAT(ipam.error->message, HasSubstr(R"(ipam: {"type":"host-local"})"));

  const Parsed ports = Parse(Config(R"("runtimeConfig":{"portMappings":[{"hostPort":80}]})"));
  ASSERT_TRUE(ports.error);
  EXPECT_EQ(ports.error->code, 2u);
  EXPECT_THAT(ports.error->message, HasSubstr("runtimeConfig.portMappings"));
}

TEST(ParseNetworkConfig, TakesEmptyAndForeignFields) {
  EXPECT_EQ(Parse(Config(R"("ipam":{},"cni.dev/attachments":[],"args":{"cni":{}},"capabilities":{})"
                         R"(,"runtimeConfig":{"portMappings":[],)"
                         R"("io.kubernetes.cri.pod-annotations":{"a":"b"}})"))
                .error,
            std::nullopt);
}

TEST(ParseNetworkConfig, AnUnsupportedFieldStillLeavesAWholeConfiguration) {
  const Parsed parsed =
      Parse(Config(R"("x":1,"cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}])"));

  EXPECT_EQ(parsed.error->code, 2u);
  ASSERT_TRUE(parsed.config.valid_attachments);
  EXPECT_THAT(*parsed.config.valid_attachments, ElementsAre(std::pair("a", "eth0")));
}

TEST(ParseNetworkConfig, DnsOfTheRuntimeGoesBeforeTheConfigurations) {
  const Parsed parsed = Parse(Config(R"("dns":{"nameservers":["1.1.1.1"]},)"
                                     R"("runtimeConfig":{"dns":{"servers":["2.2.2.2"],)"
                                     R"("searches":["a.b"]}})"));

  ASSERT_EQ(parsed.error, std::nullopt);
  EXPECT_THAT(parsed.config.dns.nameservers, ElementsAre("2.2.2.2"));
  EXPECT_THAT(parsed.config.dns.search, ElementsAre("a.b"));
}

TEST(BuildResult, HasTheFamilyOfAddressesBeforeOneDotZero) {
  EXPECT_EQ(Result(Parse(Config("", "0.4.0"))),
            R"({"cniVersion":"0.4.0","interfaces":[{"name":"mesh12ab","mac":"02:00:00:00:00:01"},)"
            R"({"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/x"}],)"
            R"("ips":[{"version":"4","address":"10.244.1.5/32","gateway":"10.244.1.1",)"
            R"("interface":1}],"routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1"}],)"
            R"("dns":{"nameservers":["10.244.1.1"],"search":["svc.cluster.local"]}})");
}

TEST(BuildResult, DropsTheFamilyAtOneDotZero) {
  EXPECT_EQ(Result(Parse(Config(""))),
            R"({"cniVersion":"1.0.0","interfaces":[{"name":"mesh12ab","mac":"02:00:00:00:00:01"},)"
            R"({"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/x"}],)"
            R"("ips":[{"address":"10.244.1.5/32","gateway":"10.244.1.1","interface":1}],)"
            R"("routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1"}],)"
            R"("dns":{"nameservers":["10.244.1.1"],"search":["svc.cluster.local"]}})");
}

TEST(BuildResult, TellsTheMtuFromOneDotOne) {
  EXPECT_THAT(Result(Parse(Config("", "1.1.0"))), HasSubstr(R"("mtu":1450,"sandbox")"));
  EXPECT_THAT(Result(Parse(Config("", "1.0.0"))), Not(HasSubstr("mtu")));
}

TEST(BuildResult, ListsBothFamiliesInTheShapeOfEachVersion) {
  for (const char* version : {"0.3.1", "0.4.0"}) {
    EXPECT_THAT(
        Result(Parse(Config("", version)), DualEth0()),
        HasSubstr(R"("ips":[{"version":"4","address":"10.244.1.5/32","gateway":"10.244.1.1",)"
                  R"("interface":1},{"version":"6","address":"fd00:10:244:1::5/128",)"
                  R"("gateway":"fd00:10:244:1::1","interface":1}],)"
                  R"("routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1"},)"
                  R"({"dst":"::/0","gw":"fd00:10:244:1::1"}])"))
        << version;
  }
  for (const char* version : {"1.0.0", "1.1.0"}) {
    EXPECT_THAT(
        Result(Parse(Config("", version)), DualEth0()),
        HasSubstr(R"("ips":[{"address":"10.244.1.5/32","gateway":"10.244.1.1","interface":1},)"
                  R"({"address":"fd00:10:244:1::5/128","gateway":"fd00:10:244:1::1",)"
                  R"("interface":1}])"))
        << version;
  }
}

TEST(BuildResult, AppendsToThePreviousResult) {
  const Parsed parsed = Parse(Config(
      R"("prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"lo","sandbox":"/n"}],)"
      R"("ips":[{"address":"127.0.0.1/8","interface":0}],"dns":{"nameservers":["9.9.9.9"]}})"));

  EXPECT_EQ(Result(parsed),
            R"({"cniVersion":"1.0.0","interfaces":[{"name":"lo","sandbox":"/n"},)"
            R"({"name":"mesh12ab","mac":"02:00:00:00:00:01"},)"
            R"({"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/x"}],)"
            R"("ips":[{"address":"127.0.0.1/8","interface":0},)"
            R"({"address":"10.244.1.5/32","gateway":"10.244.1.1","interface":2}],)"
            R"("dns":{"nameservers":["9.9.9.9"]},)"
            R"("routes":[{"dst":"0.0.0.0/0","gw":"10.244.1.1"}]})");
}

TEST(BuildResult, RefusesAPreviousResultWithOtherThanLists) {
  std::string out;
  const Parsed parsed = Parse(Config(R"("prevResult":{"interfaces":{}})"));

  EXPECT_EQ(BuildResult(parsed.config, kEth0, &out)->code, 7u);
}

TEST(CheckPrevResult, FindsWhatAddMade) {
  const Parsed parsed = Parse(Config(R"("prevResult":)" + Result(Parse(Config("")))));

  EXPECT_EQ(CheckPrevResult(parsed.config, "eth0", "/run/netns/x", {"10.244.1.5/32"}),
            std::nullopt);
}

TEST(CheckPrevResult, NamesWhatDiffers) {
  const Parsed parsed = Parse(Config(R"("prevResult":)" + Result(Parse(Config("")))));

  const auto address = CheckPrevResult(parsed.config, "eth0", "/run/netns/x", {"10.244.1.6/32"});
  ASSERT_TRUE(address);
  EXPECT_EQ(address->code, 101u);
  EXPECT_THAT(address->message, HasSubstr("10.244.1.5/32"));
  EXPECT_EQ(CheckPrevResult(parsed.config, "eth1", "/run/netns/x", {"10.244.1.5/32"})->code, 101u);
  EXPECT_EQ(CheckPrevResult(parsed.config, "eth0", "/run/netns/y", {"10.244.1.5/32"})->code, 101u);
  EXPECT_EQ(CheckPrevResult(Parse(Config("")).config, "eth0", "/n", {"10.244.1.5/32"})->code, 7u);
}

TEST(CheckPrevResult, WantsEachAddress) {
  const Parsed dual = Parse(Config(R"("prevResult":)" + Result(Parse(Config("")), DualEth0())));
  const Parsed single = Parse(Config(R"("prevResult":)" + Result(Parse(Config("")))));
  const std::vector<std::string> both = {"10.244.1.5/32", "fd00:10:244:1::5/128"};

  EXPECT_EQ(CheckPrevResult(dual.config, "eth0", "/run/netns/x", both), std::nullopt);
  const auto error = CheckPrevResult(single.config, "eth0", "/run/netns/x", both);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, 101u);
  EXPECT_THAT(error->message, HasSubstr("has fd00:10:244:1::5/128, prevResult says 10.244.1.5/32"));
}

TEST(LoopbackResult, PassesThePreviousResultOn) {
  const Parsed parsed = Parse(Config(R"("prevResult":{"ips":[]})"));

  EXPECT_EQ(LoopbackResult(parsed.config, "lo", "/n"), R"({"ips":[],"cniVersion":"1.0.0"})");
}

}  // namespace
}  // namespace mesh::cni
