// SPDX-License-Identifier: Apache-2.0
// Goal: what a pod is told for each kind of name. One table; the state is named_state.h's.
#include "agent/network/cluster_zone.h"

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/dns_client.h"
#include "tests/unit/agent/network/named_state.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// "NOERROR: answer; answer", "NXDOMAIN", "upstream" ...
std::string Ask(const ClusterZone& zone, const std::string& name, uint16_t type) {
  const std::string packet = dns::MakeQuery(name, {.type = type});
  const auto parsed = dns::ParseQuery(packet);
  const auto answer = zone.Answer(*parsed.query);
  if (!answer) return "upstream";
  const dns::Decoded decoded = dns::Decode(dns::BuildResponse(packet, *parsed.query, *answer, 512));
  EXPECT_TRUE(decoded.ok) << name;
  const char* rcodes[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
  const bool negative = decoded.answers.empty() && (decoded.rcode == 0 || decoded.rcode == 3);
  if (negative) {
    EXPECT_THAT(
        decoded.authority,
        ElementsAre("cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 5"))
        << name;
  }
  return fmt::format("{}{}{}", rcodes[decoded.rcode], decoded.answers.empty() ? "" : ": ",
                     fmt::join(decoded.answers, "; "));
}

TEST(ClusterZone, AnswersByTheTable) {
  const ClusterZone zone(NamedState());
  struct Case {
    const char* name;
    uint16_t type;
    const char* want;
  };
  const Case cases[] = {
      {"web.shop.svc.cluster.local", dns::kA,
       "NOERROR: web.shop.svc.cluster.local. 5 A 10.96.0.10"},
      {"WEB.Shop.SVC.cluster.LOCAL", dns::kA,
       "NOERROR: WEB.Shop.SVC.cluster.LOCAL. 5 A 10.96.0.10"},
      {"web.shop.svc.cluster.local", dns::kAny,
       "NOERROR: web.shop.svc.cluster.local. 5 A 10.96.0.10"},
      {"web.shop.svc.cluster.local", dns::kAaaa, "NOERROR"},
      {"web.shop.svc.cluster.local", dns::kTxt, "NOERROR"},
      // Draining backends are not handed out.
      {"headless.shop.svc.cluster.local", dns::kA,
       "NOERROR: headless.shop.svc.cluster.local. 5 A 10.244.1.5"},
      {"nothing.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"web.nowhere.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"web.shop.cluster.local", dns::kA, "NXDOMAIN"},
      // As search lists try them first.
      {"web.shop.svc.cluster.local.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"example.com.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      // Names that exist only because something is below them.
      {"cluster.local", dns::kA, "NOERROR"},
      {"svc.cluster.local", dns::kA, "NOERROR"},
      {"shop.svc.cluster.local", dns::kA, "NOERROR"},
      {"empty.svc.cluster.local", dns::kA, "NOERROR"},
      {"nowhere.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"cluster.local", dns::kSoa,
       "NOERROR: cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 5"},
      {"_http._tcp.web.shop.svc.cluster.local", dns::kSrv,
       "NOERROR: _http._tcp.web.shop.svc.cluster.local. 5 SRV 0 100 80 "
       "web.shop.svc.cluster.local."},
      {"_dns._udp.web.shop.svc.cluster.local", dns::kSrv,
       "NOERROR: _dns._udp.web.shop.svc.cluster.local. 5 SRV 0 100 53 web.shop.svc.cluster.local."},
      {"_http._udp.web.shop.svc.cluster.local", dns::kSrv, "NXDOMAIN"},
      {"_http._tcp.web.shop.svc.cluster.local", dns::kA, "NOERROR"},
      {"web.shop.svc.cluster.local", dns::kAxfr, "REFUSED"},
      {"10.0.96.10.in-addr.arpa", dns::kPtr,
       "NOERROR: 10.0.96.10.in-addr.arpa. 5 PTR web.shop.svc.cluster.local."},
      {"11.0.96.10.in-addr.arpa", dns::kPtr, "NXDOMAIN"},
      {"1.1.1.1.in-addr.arpa", dns::kPtr, "upstream"},
      {"300.0.96.10.in-addr.arpa", dns::kPtr, "upstream"},
      {"example.com", dns::kA, "upstream"},
      {"mycluster.local", dns::kA, "upstream"},
      {"local", dns::kA, "upstream"},
      {"web", dns::kA, "upstream"},
      {"", dns::kA, "upstream"},
  };
  for (const Case& c : cases) EXPECT_EQ(Ask(zone, c.name, c.type), c.want) << c.name;
}

TEST(ClusterZone, AServiceAddressComesAlongWithItsPort) {
  const ClusterZone zone(NamedState());
  const std::string packet =
      dns::MakeQuery("_http._tcp.web.shop.svc.cluster.local", {.type = dns::kSrv});
  const auto parsed = dns::ParseQuery(packet);

  const auto decoded =
      dns::Decode(dns::BuildResponse(packet, *parsed.query, *zone.Answer(*parsed.query), 512));

  EXPECT_THAT(decoded.additional, ElementsAre("web.shop.svc.cluster.local. 5 A 10.96.0.10"));
}

TEST(ClusterZone, KnowsOtherDomainsToo) {
  auto state = NamedState();
  state->config.set_cluster_domain("Mesh.Example.");
  const ClusterZone zone(state);

  const std::string packet = dns::MakeQuery("web.shop.svc.mesh.example");
  EXPECT_THAT(zone.Answer(*dns::ParseQuery(packet).query)->answers, testing::SizeIs(1));
  EXPECT_EQ(Ask(zone, "web.shop.svc.cluster.local", dns::kA), "upstream");
}

TEST(ClusterZone, SaysItDoesNotKnowRatherThanNoBeforeTheStateIsWhole) {
  auto state = NamedState();
  state->complete = false;

  EXPECT_EQ(Ask(ClusterZone(state), "web.shop.svc.cluster.local", dns::kA), "SERVFAIL");
  EXPECT_EQ(Ask(ClusterZone(nullptr), "web.shop.svc.cluster.local", dns::kA), "SERVFAIL");
  EXPECT_EQ(Ask(ClusterZone(nullptr), "10.0.96.10.in-addr.arpa", dns::kPtr), "upstream");
}

TEST(ClusterZone, ALabelWithASlashNamesNoOtherService) {
  auto state = NamedState();
  state->services["a/b/c"] = state->services["shop/web"];

  EXPECT_EQ(Ask(ClusterZone(state), "b/c.a.svc.cluster.local", dns::kA), "NXDOMAIN");
}

}  // namespace
}  // namespace mesh::agent
