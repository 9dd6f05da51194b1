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
      // An active backend of a headless Service; a draining one, and an address nobody has.
      {"5.1.244.10.in-addr.arpa", dns::kPtr,
       "NOERROR: 5.1.244.10.in-addr.arpa. 5 PTR 10-244-1-5.headless.shop.svc.cluster.local."},
      {"5.1.244.10.in-addr.arpa", dns::kTxt, "NOERROR"},
      {"9.2.244.10.in-addr.arpa", dns::kPtr, "NXDOMAIN"},
      {"77.3.244.10.in-addr.arpa", dns::kPtr, "NXDOMAIN"},
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

v1::ServiceState DualService(const char* name, std::vector<std::string> cluster_ips) {
  v1::ServiceState out;
  out.set_namespace_("shop");
  out.set_name(name);
  out.set_cluster_ip(cluster_ips[0]);
  for (const std::string& ip : cluster_ips) {
    if (ip != "None") out.add_cluster_ips(ip);
  }
  auto* port = out.add_ports();
  port->set_name("http");
  port->set_protocol(6);
  port->set_port(80);
  for (const char* ip : {"10.244.1.5", "fd00:244:1::5", "10.244.2.9", "fd00:244:2::9"}) {
    v1::BackendState* backend = port->add_backends();
    backend->set_ip(ip);
    backend->set_port(8080);
    backend->set_state(v1::BackendState::ACTIVE);
  }
  port->mutable_backends(0)->set_hostname("one");
  port->mutable_backends(1)->set_hostname("one");
  return out;
}

TEST(ClusterZone, AnswersInBothFamilies) {
  auto state = NamedState();
  state->config.set_service_cidr6("fd00:96::/112");
  state->config.set_cluster_cidr6("fd00:244::/48");
  state->services["shop/dual"] = DualService("dual", {"10.96.0.20", "fd00:96::20"});
  state->services["shop/six"] = DualService("six", {"fd00:96::21"});
  state->services["shop/pods"] = DualService("pods", {"None"});
  const ClusterZone zone(state);
  const struct {
    const char* name;
    uint16_t type;
    const char* want;
  } cases[] = {
      {"dual.shop.svc.cluster.local", dns::kA,
       "NOERROR: dual.shop.svc.cluster.local. 5 A 10.96.0.20"},
      {"dual.shop.svc.cluster.local", dns::kAaaa,
       "NOERROR: dual.shop.svc.cluster.local. 5 AAAA fd00:96::20"},
      {"dual.shop.svc.cluster.local", dns::kAny,
       "NOERROR: dual.shop.svc.cluster.local. 5 A 10.96.0.20; dual.shop.svc.cluster.local. 5 AAAA "
       "fd00:96::20"},
      {"six.shop.svc.cluster.local", dns::kAaaa,
       "NOERROR: six.shop.svc.cluster.local. 5 AAAA fd00:96::21"},
      // It is there, only not in this family.
      {"six.shop.svc.cluster.local", dns::kA, "NOERROR"},
      {"pods.shop.svc.cluster.local", dns::kA,
       "NOERROR: pods.shop.svc.cluster.local. 5 A 10.244.1.5; pods.shop.svc.cluster.local. 5 A "
       "10.244.2.9"},
      {"pods.shop.svc.cluster.local", dns::kAaaa,
       "NOERROR: pods.shop.svc.cluster.local. 5 AAAA fd00:244:1::5; pods.shop.svc.cluster.local. 5 "
       "AAAA fd00:244:2::9"},
      {"one.pods.shop.svc.cluster.local", dns::kAaaa,
       "NOERROR: one.pods.shop.svc.cluster.local. 5 AAAA fd00:244:1::5"},
      {"fd00-244-2--9.pods.shop.svc.cluster.local", dns::kAaaa,
       "NOERROR: fd00-244-2--9.pods.shop.svc.cluster.local. 5 AAAA fd00:244:2::9"},
      {"fd00-244-2--9.pods.shop.svc.cluster.local", dns::kA, "NOERROR"},
      {"10-244-2-9.pods.shop.svc.cluster.local", dns::kAaaa, "NOERROR"},
      {"fd00-244-2--8.pods.shop.svc.cluster.local", dns::kAaaa, "NXDOMAIN"},
      {"_http._tcp.six.shop.svc.cluster.local", dns::kSrv,
       "NOERROR: _http._tcp.six.shop.svc.cluster.local. 5 SRV 0 100 80 "
       "six.shop.svc.cluster.local."},
      {"0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "NOERROR: 0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. 5 PTR "
       "dual.shop.svc.cluster.local."},
      {"9.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "NXDOMAIN"},
      {"20.0.96.10.in-addr.arpa", dns::kPtr,
       "NOERROR: 20.0.96.10.in-addr.arpa. 5 PTR dual.shop.svc.cluster.local."},
      {"0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.9.0.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "upstream"},
      {"x.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "upstream"},
      {"6.9.0.0.0.0.d.f.ip6.arpa", dns::kPtr, "upstream"},
      // A pod in two headless Services has a name in each.
      {"5.1.244.10.in-addr.arpa", dns::kPtr,
       "NOERROR: 5.1.244.10.in-addr.arpa. 5 PTR 10-244-1-5.headless.shop.svc.cluster.local.; "
       "5.1.244.10.in-addr.arpa. 5 PTR one.pods.shop.svc.cluster.local."},
      {"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.4.4.2.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "NOERROR: 5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.4.4.2.0.0.0.d.f.ip6.arpa. 5 PTR "
       "one.pods.shop.svc.cluster.local."},
      {"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.4.4.2.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "NOERROR: 9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.4.4.2.0.0.0.d.f.ip6.arpa. 5 PTR "
       "fd00-244-2--9.pods.shop.svc.cluster.local."},
      {"8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.0.d.f.ip6.arpa", dns::kPtr,
       "NXDOMAIN"},
  };
  for (const auto& c : cases) EXPECT_EQ(Ask(zone, c.name, c.type), c.want) << c.name;
}

TEST(ClusterZone, APodOfBothFamiliesIsOneAnswerWithTwoAddresses) {
  auto state = NamedState();
  state->services["shop/pods"] = DualService("pods", {"None"});
  const ClusterZone zone(state);
  const std::string packet =
      dns::MakeQuery("_http._tcp.pods.shop.svc.cluster.local", {.type = dns::kSrv});
  const auto parsed = dns::ParseQuery(packet);

  const auto decoded =
      dns::Decode(dns::BuildResponse(packet, *parsed.query, *zone.Answer(*parsed.query), 4096));

  ASSERT_TRUE(decoded.ok);
  const std::string name = "_http._tcp.pods.shop.svc.cluster.local. 5 SRV 0 100 8080 ";
  EXPECT_THAT(decoded.answers, ElementsAre(name + "one.pods.shop.svc.cluster.local.",
                                           name + "10-244-2-9.pods.shop.svc.cluster.local.",
                                           name + "fd00-244-2--9.pods.shop.svc.cluster.local."));
  EXPECT_THAT(decoded.additional,
              ElementsAre("one.pods.shop.svc.cluster.local. 5 A 10.244.1.5",
                          "one.pods.shop.svc.cluster.local. 5 AAAA fd00:244:1::5",
                          "10-244-2-9.pods.shop.svc.cluster.local. 5 A 10.244.2.9",
                          "fd00-244-2--9.pods.shop.svc.cluster.local. 5 AAAA fd00:244:2::9"));
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

// shop/db: headless, with a named backend, one without a name and one that drains. shop/outside and
// its friends: ExternalNames.
std::shared_ptr<NodeState> StateWithNames() {
  auto state = NamedState();
  v1::ServiceState db = *state->services["shop/headless"];
  db.set_name("db");
  auto* port = db.mutable_ports(0);
  port->clear_backends();
  const auto add = [&](const char* ip, const char* hostname, v1::BackendState::State how) {
    auto* backend = port->add_backends();
    backend->set_ip(ip);
    backend->set_port(5432);
    backend->set_hostname(hostname);
    backend->set_state(how);
  };
  add("10.244.1.7", "db-0", v1::BackendState::ACTIVE);
  add("10.244.2.8", "", v1::BackendState::ACTIVE);
  add("10.244.2.9", "db-2", v1::BackendState::DRAINING);
  state->services["shop/db"] = db;
  const auto alias = [&](const std::string& name, const std::string& target) {
    v1::ServiceState& service = state->services["shop/" + name].Mutable();
    service.set_namespace_("shop");
    service.set_name(name);
    service.set_external_name(target);
    auto* named = service.add_ports();
    named->set_name("http");
    named->set_protocol(6);
    named->set_port(80);
  };
  alias("outside", "Example.com.");
  alias("inside", "web.shop.svc.cluster.local");
  alias("twice", "outside.shop.svc.cluster.local");
  alias("nowhere", "no.shop.svc.cluster.local");
  alias("ring", "ring.shop.svc.cluster.local");
  return state;
}

TEST(ClusterZone, AnswersForHeadlessServicesAndAliasesByTheTable) {
  const ClusterZone zone(StateWithNames());
  struct Case {
    const char* name;
    uint16_t type;
    const char* want;
  };
  const Case cases[] = {
      {"db.shop.svc.cluster.local", dns::kA,
       "NOERROR: db.shop.svc.cluster.local. 5 A 10.244.1.7; db.shop.svc.cluster.local. 5 A "
       "10.244.2.8"},
      {"db-0.db.shop.svc.cluster.local", dns::kA,
       "NOERROR: db-0.db.shop.svc.cluster.local. 5 A 10.244.1.7"},
      {"10-244-2-8.db.shop.svc.cluster.local", dns::kA,
       "NOERROR: 10-244-2-8.db.shop.svc.cluster.local. 5 A 10.244.2.8"},
      {"db-0.db.shop.svc.cluster.local", dns::kAaaa, "NOERROR"},
      {"db-2.db.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"10-244-1-7.db.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      // A ClusterIP hides its backends.
      {"10-244-1-5.web.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"_tcp.db.shop.svc.cluster.local", dns::kA, "NOERROR"},
      {"_udp.db.shop.svc.cluster.local", dns::kA, "NXDOMAIN"},
      {"_http._tcp.db.shop.svc.cluster.local", dns::kSrv,
       "NOERROR: _http._tcp.db.shop.svc.cluster.local. 5 SRV 0 100 5432 "
       "db-0.db.shop.svc.cluster.local.; _http._tcp.db.shop.svc.cluster.local. 5 SRV 0 100 5432 "
       "10-244-2-8.db.shop.svc.cluster.local."},
      {"outside.shop.svc.cluster.local", dns::kA,
       "NOERROR: outside.shop.svc.cluster.local. 5 CNAME Example.com."},
      {"outside.shop.svc.cluster.local", dns::kCname,
       "NOERROR: outside.shop.svc.cluster.local. 5 CNAME Example.com."},
      {"inside.shop.svc.cluster.local", dns::kA,
       "NOERROR: inside.shop.svc.cluster.local. 5 CNAME web.shop.svc.cluster.local.; "
       "web.shop.svc.cluster.local. 5 A 10.96.0.10"},
      {"twice.shop.svc.cluster.local", dns::kAaaa,
       "NOERROR: twice.shop.svc.cluster.local. 5 CNAME outside.shop.svc.cluster.local.; "
       "outside.shop.svc.cluster.local. 5 CNAME Example.com."},
      {"nowhere.shop.svc.cluster.local", dns::kA,
       "NXDOMAIN: nowhere.shop.svc.cluster.local. 5 CNAME no.shop.svc.cluster.local."},
      {"_http._tcp.outside.shop.svc.cluster.local", dns::kSrv,
       "NOERROR: _http._tcp.outside.shop.svc.cluster.local. 5 SRV 0 100 80 Example.com."},
  };
  for (const Case& c : cases) EXPECT_EQ(Ask(zone, c.name, c.type), c.want) << c.name;
  EXPECT_THAT(Ask(zone, "ring.shop.svc.cluster.local", dns::kA), testing::StartsWith("SERVFAIL"));
}

TEST(ClusterZone, SaysWhereAnAliasLeadsOutOfTheCluster) {
  const ClusterZone zone(StateWithNames());
  const auto continues = [&](const char* name, uint16_t type) {
    const std::string packet =
        dns::MakeQuery(fmt::format("{}.shop.svc.cluster.local", name), {.type = type});
    return zone.Answer(*dns::ParseQuery(packet).query)->continues_at;
  };

  EXPECT_EQ(continues("outside", dns::kA), "Example.com");
  EXPECT_EQ(continues("twice", dns::kAaaa), "Example.com");
  EXPECT_EQ(continues("outside", dns::kCname), "");
  EXPECT_EQ(continues("inside", dns::kA), "");
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

TEST(ClusterZone, ABackendOutsideTheClusterIsNamedToo) {
  auto state = NamedState();
  v1::ServiceState database = DualService("database", {"None"});
  database.mutable_ports(0)->mutable_backends(0)->set_ip("203.0.113.7");
  state->services["shop/database"] = database;

  const ClusterZone zone(state);

  EXPECT_EQ(Ask(zone, "7.113.0.203.in-addr.arpa", dns::kPtr),
            "NOERROR: 7.113.0.203.in-addr.arpa. 5 PTR one.database.shop.svc.cluster.local.");
  EXPECT_EQ(Ask(zone, "8.113.0.203.in-addr.arpa", dns::kPtr), "upstream");
}

TEST(ClusterZone, ALabelWithASlashNamesNoOtherService) {
  auto state = NamedState();
  state->services["a/b/c"] = state->services["shop/web"];

  EXPECT_EQ(Ask(ClusterZone(state), "b/c.a.svc.cluster.local", dns::kA), "NXDOMAIN");
}

// What is listed is what is answered.
TEST(ClusterZone, RecordsAreWhatItAnswers) {
  const ClusterZone zone(NamedState());
  std::vector<std::string> shown;
  for (const ZoneRecord& record : zone.Records("shop", ""))
    shown.push_back(
        fmt::format("{} {} {}", record.name, record.type, fmt::join(record.values, ",")));
  EXPECT_THAT(shown, testing::IsSupersetOf(
                         {"web.shop.svc.cluster.local A 10.96.0.10",
                          "headless.shop.svc.cluster.local A 10.244.1.5",
                          "10-244-1-5.headless.shop.svc.cluster.local A 10.244.1.5",
                          "_http._tcp.web.shop.svc.cluster.local SRV 80 web.shop.svc.cluster.local",
                          "_http._tcp.headless.shop.svc.cluster.local SRV 8080 "
                          "10-244-1-5.headless.shop.svc.cluster.local"}));
  for (const ZoneRecord& record : zone.Records("", "")) {
    if (record.type != "A") continue;
    const std::string answer = Ask(zone, record.name, dns::kA);
    for (const std::string& value : record.values)
      EXPECT_THAT(answer, testing::HasSubstr(" A " + value)) << record.name;
  }
  EXPECT_THAT(zone.Records("", "web").size(), 3u);
  EXPECT_THAT(zone.Records("nowhere", ""), IsEmpty());
  EXPECT_THAT(ClusterZone(nullptr).Records("", ""), IsEmpty());
}

}  // namespace
}  // namespace mesh::agent
