// SPDX-License-Identifier: Apache-2.0
// `meshctl trace` against a server in memory: whom it asks what, and what it says.
#include <cstdio>
#include <fstream>

#include "cli/trace/frame.h"
#include "common/ip_address.h"
#include "gmock/gmock.h"
#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class TraceTest : public CommandsTest {
 protected:
  TraceTest() {
    server_.Put(Node("n1", "192.0.2.1"));
    server_.Put(Node("n2", "192.0.2.2"));
    server_.Put(BoundPod("web", "shop", "n1", "10.244.1.3"));
    server_.Put(BoundPod("api-1", "pay", "n2", "10.244.2.4"));
    server_.Put(Parse<v1::Resource>(
        "service { metadata { name: 'api' namespace: 'pay' } spec { type: 'ClusterIP' cluster_ip: "
        "'10.96.0.10' cluster_ips: '10.96.0.10' ports { name: 'http' port: 80 protocol: 'TCP' } "
        "ports { name: 'dns' port: 53 protocol: 'UDP' } } }"));
    server_.Put(
        Parse<v1::Resource>("service { metadata { name: 'peers' namespace: 'pay' } spec { "
                            "cluster_ip: 'None' ports { port: 80 } } }"));
    server_.hops["n1"] = Parse<v1::TraceHopResponse>(
        "node: 'n1' verdict: 'forwarded' target: 'tunnel' next_node: '192.0.2.2' vni: 0x800100 "
        "frame: 'inner' steps { step: 'service' text: 'Service pay/api' }");
    server_.hops["n2"] = Parse<v1::TraceHopResponse>(
        "node: 'n2' verdict: 'forwarded' target: 'pod' namespace: 'pay' pod: 'api-1' "
        "destination: '10.244.2.4'");
  }

  static v1::Resource Node(const std::string& name, const std::string& ip) {
    return Parse<v1::Resource>("node { metadata { name: '" + name +
                               "' } status { addresses { type: 'InternalIP' address: '" + ip +
                               "' } } }");
  }
  static v1::Resource BoundPod(const std::string& name, const std::string& ns,
                               const std::string& node, const std::string& ip) {
    return Parse<v1::Resource>("pod { metadata { name: '" + name + "' namespace: '" + ns +
                               "' } spec { node_name: '" + node + "' } status { pod_ip: '" + ip +
                               "' pod_ips { ip: '" + ip + "' } } }");
  }
};

TEST_F(TraceTest, FollowsThePacketFromNodeToNode) {
  const Outcome outcome = Run({"trace", "shop/web", "pay/api:http"});

  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out,
            "pod shop/web: TCP 10.244.1.3:55555 -> 10.96.0.10:80 syn\n"
            "node n1\n"
            "  service       Service pay/api\n"
            "node n2\n"
            "=> delivered to pod pay/api-1 at node n2\n");
  ASSERT_THAT(server_.hop_requests, SizeIs(2));
  EXPECT_EQ(server_.hop_requests[0].entry(), v1::TraceHopRequest::POD);
  EXPECT_EQ(server_.hop_requests[0].pod_address(), "10.244.1.3");
  EXPECT_EQ(server_.hop_requests[1].node(), "n2");
  EXPECT_EQ(server_.hop_requests[1].entry(), v1::TraceHopRequest::TUNNEL);
  EXPECT_EQ(server_.hop_requests[1].peer(), "192.0.2.1");
  EXPECT_EQ(server_.hop_requests[1].vni(), 0x800100u);
  EXPECT_EQ(server_.hop_requests[1].frame(), "inner");
}

TEST_F(TraceTest, GoesOnAtTheNodeWhoseAddressItLeavesFor) {
  server_.hops["n1"] = Parse<v1::TraceHopResponse>(
      "node: 'n1' verdict: 'forwarded' target: 'outside' destination: '192.0.2.2' frame: 'sent'");

  Outcome outcome = Run({"trace", "shop/web", "192.0.2.2:30080"});

  EXPECT_THAT(outcome.out, HasSubstr("=> delivered to pod pay/api-1 at node n2\n"));
  ASSERT_THAT(server_.hop_requests, SizeIs(2));
  EXPECT_EQ(server_.hop_requests[1].node(), "n2");
  EXPECT_EQ(server_.hop_requests[1].entry(), v1::TraceHopRequest::UPLINK);
  EXPECT_EQ(server_.hop_requests[1].frame(), "sent");

  // On to a third node, as the tunnel's other end sees it.
  server_.Put(Node("n3", "192.0.2.3"));
  server_.hops["n3"] = server_.hops["n2"];
  server_.hops["n3"].set_node("n3");
  server_.hops["n2"] = Parse<v1::TraceHopResponse>(
      "node: 'n2' verdict: 'forwarded' target: 'tunnel' next_node: '192.0.2.3' vni: 2 frame: 'on'");
  server_.hop_requests.clear();
  outcome = Run({"trace", "shop/web", "192.0.2.2:30080"});
  EXPECT_THAT(outcome.out, HasSubstr("=> delivered to pod pay/api-1 at node n3\n"));
  ASSERT_THAT(server_.hop_requests, SizeIs(3));
  EXPECT_EQ(server_.hop_requests[2].entry(), v1::TraceHopRequest::TUNNEL);
  EXPECT_EQ(server_.hop_requests[2].peer(), "192.0.2.2");
}

TEST_F(TraceTest, GoesOnAtTheNodeThatAnnouncesTheAddress) {
  const auto balancer = [&](const std::string& status) {
    server_.Put(Parse<v1::Resource>(
        "service { metadata { name: 'edge' namespace: 'pay' } spec { type: 'LoadBalancer' } status "
        "{ load_balancer { ingress { ip: '192.0.2.200' } } conditions { type: 'mesh.io/Announced' "
        "status: '" +
        status + "' message: 'n2' } } }"));
  };
  server_.hops["n1"] = Parse<v1::TraceHopResponse>(
      "node: 'n1' verdict: 'forwarded' target: 'outside' destination: '192.0.2.200' frame: 'sent'");
  server_.hops["n2"] =
      Parse<v1::TraceHopResponse>("node: 'n2' verdict: 'refused' reason: 'no_service'");

  balancer("True");
  EXPECT_THAT(Run({"trace", "shop/web", "192.0.2.200:81"}).out,
              HasSubstr("=> refused at node n2, and the sender is told (no_service)\n"));

  balancer("False");
  EXPECT_THAT(Run({"trace", "shop/web", "192.0.2.200:81"}).out,
              HasSubstr("=> leaves the cluster by the uplink of node n1\n"));
}

TEST_F(TraceTest, SendersAndReceiversHaveManyNames) {
  for (const char* from : {"pod/web", "web", "10.244.1.3"}) {
    for (const char* to :
         {"10.96.0.10:80", "api.pay:80", "api.pay.svc.cluster.local:http", "pay/api", "api.pay"}) {
      const Outcome outcome = Run({"trace", from, to, "-n", "shop"});
      EXPECT_THAT(outcome.out, HasSubstr("pod shop/web: TCP 10.244.1.3:55555 -> 10.96.0.10:80 syn"))
          << from << " " << to << " " << outcome.err;
    }
  }
  EXPECT_THAT(Run({"trace", "shop/web", "pay/api", "--proto", "udp"}).out,
              HasSubstr("UDP 10.244.1.3:55555 -> 10.96.0.10:53"));
  EXPECT_THAT(Run({"trace", "shop/web", "pay/api-1", "--port", "8080", "--tcp-flags", "ack",
                   "--source-port", "7"})
                  .out,
              HasSubstr("TCP 10.244.1.3:7 -> 10.244.2.4:8080 ack"));
  EXPECT_THAT(Run({"trace", "node/n1", "pay/api-1", "--proto", "icmp"}).out,
              HasSubstr("node n1: ICMP 192.0.2.1 -> 10.244.2.4"));
  // A node's own address is written so at the socket.
  EXPECT_THAT(Run({"trace", "node/n1", "192.0.2.1:30080"}).out,
              HasSubstr("TCP 192.0.2.1:55555 -> 169.254.64.4:30080"));
  EXPECT_THAT(Run({"trace", "198.51.100.7", "192.0.2.2:30080", "--via", "n2"}).out,
              HasSubstr("outside 198.51.100.7: TCP 198.51.100.7:55555 -> 192.0.2.2:30080"));
  EXPECT_EQ(server_.hop_requests.back().entry(), v1::TraceHopRequest::UPLINK);
  EXPECT_EQ(server_.hop_requests.back().node(), "n2");
}

TEST_F(TraceTest, NamesWhatIsMissing) {
  const auto error = [&](std::vector<std::string> args) {
    args.insert(args.begin(), "trace");
    const Outcome outcome = Run(std::move(args));
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.out, "");
    return outcome.err;
  };
  EXPECT_THAT(error({"shop/gone", "pay/api"}), HasSubstr("pods \"gone\" not found"));
  EXPECT_THAT(error({"node/n9", "pay/api"}), HasSubstr("nodes \"n9\" not found"));
  EXPECT_THAT(error({"shop/web", "pay/gone:80"}),
              HasSubstr("there is no Service and no pod \"gone\" in namespace \"pay\""));
  EXPECT_THAT(error({"shop/web", "pay/api:smtp"}), HasSubstr("no port named \"smtp\""));
  EXPECT_THAT(error({"shop/web", "pay/api:dns"}),
              HasSubstr("Service pay/api serves port \"dns\" for UDP, not for TCP: trace it with "
                        "--proto udp"));
  EXPECT_THAT(error({"shop/web", "pay/peers"}), HasSubstr("headless"));
  EXPECT_THAT(error({"shop/web", "pay/api-1"}), HasSubstr("which port?"));
  EXPECT_THAT(error({"shop/web", "10.96.0.10:99999"}), HasSubstr("TO: \"99999\" is no port"));
  EXPECT_THAT(error({"shop/web", "pay/api", "--proto", "sctp"}), HasSubstr("--proto: \"sctp\""));
  EXPECT_THAT(error({"shop/web", "pay/api", "--tcp-flags", "x"}), HasSubstr("--tcp-flags"));
  EXPECT_THAT(error({"shop/web", "pay/api", "-6"}), HasSubstr("no IPv6 address"));
  EXPECT_THAT(error({"198.51.100.7", "10.96.0.10:80"}), HasSubstr("--via NODE"));
  EXPECT_THAT(error({"outside", "10.96.0.10:80"}),
              HasSubstr("outside: give the node that receives the packets with --via NODE"));
  EXPECT_THAT(error({"198.51.100.7", "10.96.0.10:80", "--via", "n9"}), HasSubstr("\"n9\""));
  for (const char* port : {"0", "-1", "65536"}) {
    EXPECT_THAT(error({"shop/web", "pay/api", "--source-port", port}),
                HasSubstr(std::string("--source-port: ") + port + " is no port: give a number "));
    EXPECT_THAT(error({"shop/web", "pay/api", "--port", port}),
                HasSubstr(std::string("--port: ") + port + " is no port: give a number "));
  }
  EXPECT_THAT(error({"shop/web", "pay/api", "--proto", "udp", "--tcp-flags", "syn"}),
              HasSubstr("--tcp-flags are of TCP, and --proto is udp"));
  EXPECT_THAT(error({"shop/web", "pay/api", "--proto", "icmp", "--tcp-flags", "ack"}),
              HasSubstr("--tcp-flags are of TCP, and --proto is icmp"));
  EXPECT_THAT(error({"shop/web", "pay/api-1:80", "--proto", "icmp"}),
              HasSubstr("ICMP has no ports: leave --port and the one behind TO out"));
  EXPECT_THAT(error({"shop/web", "pay/api-1", "--port", "80", "--proto", "icmp"}),
              HasSubstr("ICMP has no ports"));
  EXPECT_THAT(error({"shop/web"}), HasSubstr("give TO"));
  EXPECT_THAT(error({"shop/web", "pay/api", "-o", "xml"}), HasSubstr("\"xml\""));
}

TEST_F(TraceTest, ItsHelpSaysWhatTheArgumentsAre) {
  EXPECT_THAT(Run({"trace", "--help"}).out, HasSubstr("\nArguments:\n  FROM\n      A pod (NAME, "));
}

TEST_F(TraceTest, SaysWhereAndWhyAPacketIsDropped) {
  server_.hops["n2"] = Parse<v1::TraceHopResponse>(
      "node: 'n2' verdict: 'dropped' reason: 'isolation' steps { step: 'isolation' text: 'no' }");

  const Outcome outcome = Run({"trace", "shop/web", "pay/api:80", "-o", "json"});

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("\"text\": \"dropped at node n2 (isolation)\""));
  EXPECT_THAT(outcome.out, HasSubstr("\"verdict\": \"dropped\""));
  EXPECT_THAT(outcome.out, HasSubstr("\"step\": \"service\""));
}

TEST_F(TraceTest, TracesEachPacketOfACapture) {
  const std::string path = ::testing::TempDir() + "trace_test.pcap";
  std::string file("\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\xff\xff\0\0\1\0\0\0", 24);
  const auto record = [](const std::string& frame) {
    const std::string size{static_cast<char>(frame.size()), '\0', '\0', '\0'};
    return std::string("\1\0\0\0\2\0\0\0", 8) + size + size + frame;
  };
  const std::string frame = MakeFrame({.source = *IpAddress::Parse("10.244.1.3"),
                                       .destination = *IpAddress::Parse("10.244.2.4"),
                                       .source_port = 1,
                                       .destination_port = 2});
  const std::string packet = record(frame);
  std::ofstream(path, std::ios::binary) << file << packet << packet;

  Outcome outcome = Run({"trace", "shop/web", "--pcap", path});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("packet 1: "));
  EXPECT_THAT(outcome.out, HasSubstr("packet 2: "));
  ASSERT_THAT(server_.hop_requests, SizeIs(4));
  EXPECT_EQ(server_.hop_requests[2].frame(), frame);

  server_.hop_requests.clear();
  std::ofstream(path, std::ios::binary) << file << packet << record(frame.substr(0, 22));
  outcome = Run({"trace", "shop/web", "--pcap", path});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("packet 2 is not whole: of its IPv4 header of 20 bytes 8 are "
                                     "there"));
  EXPECT_THAT(server_.hop_requests, SizeIs(0));

  std::ofstream(path, std::ios::binary) << file << packet << packet.substr(0, 18);
  outcome = Run({"trace", "shop/web", "--pcap", path});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("packet 2 is not whole"));
  std::remove(path.c_str());
  EXPECT_THAT(Run({"trace", "shop/web", "--pcap", path}).err, HasSubstr("cannot read"));
  EXPECT_THAT(Run({"trace", "shop/web", "pay/api", "--pcap", path}).err, HasSubstr("--pcap"));
  EXPECT_THAT(Run({"trace", "shop/web", "--tcp-flags", "ack", "--pcap", path}).err,
              HasSubstr("--pcap: the packets of a capture have their own addresses, ports and "));
}

}  // namespace
}  // namespace mesh::cli
