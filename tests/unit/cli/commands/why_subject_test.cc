// SPDX-License-Identifier: Apache-2.0
// Goal: what `why` is asked about is read as people write it, and nonsense is refused.
#include "cli/commands/why_subject.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;

WhySubject Object(v1::Kind kind, std::string ns, std::string name) {
  WhySubject out;
  out.target = {{kind}, std::move(ns), std::move(name)};
  return out;
}

WhySubject Asking(v1::Kind kind, std::string ns, std::string name, std::string host, uint16_t port,
                  std::string protocol = "TCP") {
  WhySubject out = Object(kind, std::move(ns), std::move(name));
  out.is_request = true;
  out.host = std::move(host);
  out.port = port;
  out.protocol = std::move(protocol);
  return out;
}

WhySubject WithTo(WhySubject out, std::string ns, std::string name) {
  out.to_ns = std::move(ns);
  out.to_name = std::move(name);
  return out;
}

TEST(ParseWhySubject, ReadsObjectsAndRequests) {
  const struct {
    std::vector<std::string> args;
    WhySubject expected;
  } kCases[] = {
      {{"web-1"}, Object(v1::KIND_POD, "default", "web-1")},
      {{"pod/web-1"}, Object(v1::KIND_POD, "default", "web-1")},
      {{"pod", "web-1"}, Object(v1::KIND_POD, "default", "web-1")},
      {{"shop/web-1"}, Object(v1::KIND_POD, "shop", "web-1")},
      {{"svc/web"}, Object(v1::KIND_SERVICE, "default", "web")},
      {{"service", "web"}, Object(v1::KIND_SERVICE, "default", "web")},
      {{"deploy/web"}, Object(v1::KIND_DEPLOYMENT, "default", "web")},
      {{"shop/web -> pay/api:8080"},
       WithTo(Asking(v1::KIND_POD, "shop", "web", "", 8080), "pay", "api")},
      {{"shop/web", "->", "pay/api:8080"},
       WithTo(Asking(v1::KIND_POD, "shop", "web", "", 8080), "pay", "api")},
      {{"shop/web", "pay/api:8080"},
       WithTo(Asking(v1::KIND_POD, "shop", "web", "", 8080), "pay", "api")},
      {{"shop/web->pay/api"}, WithTo(Asking(v1::KIND_POD, "shop", "web", "", 0), "pay", "api")},
      {{"deploy/web", "api"}, Asking(v1::KIND_DEPLOYMENT, "default", "web", "api", 0)},
      {{"web-1", "udp://10.96.0.10:53"},
       Asking(v1::KIND_POD, "default", "web-1", "10.96.0.10", 53, "UDP")},
      {{"web-1", "[fd00::1]:80"}, Asking(v1::KIND_POD, "default", "web-1", "fd00::1", 80)},
      {{"web-1", "fd00::1"}, Asking(v1::KIND_POD, "default", "web-1", "fd00::1", 0)},
      {{"web-1", "http://api.pay.svc/path"},
       Asking(v1::KIND_POD, "default", "web-1", "api.pay.svc", 80)},
      {{"web-1", "https://api.pay:8443/"},
       Asking(v1::KIND_POD, "default", "web-1", "api.pay", 8443)},
  };
  WhySubject named = WithTo(Asking(v1::KIND_POD, "shop", "web", "", 0), "pay", "api");
  named.port_name = "http";
  EXPECT_EQ(ParseWhySubject({"shop/web -> pay/api:http"}, "default").value_or(WhySubject()), named);
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.args.back());
    const auto subject = ParseWhySubject(c.args, "default");
    ASSERT_TRUE(subject.ok()) << subject.status();
    EXPECT_EQ(*subject, c.expected);
  }
}

TEST(ParseWhySubject, RefusesWhatIsNeither) {
  const struct {
    std::vector<std::string> args;
    std::string message;
  } kCases[] = {
      {{}, "say what it is about"},
      {{"->", "api"}, "the pod that asks is missing"},
      {{"web", "->"}, "what is asked for is missing"},
      {{"pods"}, ""},  // a pod of that name may be there
      {{"web", "api:0"}, "port \"0\" is no number from 1 to 65535"},
      {{"web", "api:65536"}, "port \"65536\" is no number"},
      {{"web", "api:"}, "port \"\" is no number"},
      {{"web", "api:80_x"}, "port \"80_x\" is no number from 1 to 65535, and no name of a port"},
      {{"node/n1", "api:80"},
       "node/n1 is none; what becomes of a packet from there tells: meshctl "
       "trace node/n1 api:80"},
      {{"192.0.2.9 -> api:80"}, "meshctl trace 192.0.2.9 api:80 --via NODE"},
      {{"web", "ftp://api"}, "\"ftp\" is none of tcp, udp, http, https"},
      {{"web", "[fd00::1:80"}, "the \"]\" of the address is missing"},
      {{"web", "[api]:80"}, "\"api\" is no address"},
      {{"web", "fd00::zz"}, "\"fd00::zz\" is no address"},
      {{"web", "a/b/c:80"}, "neither NAMESPACE/NAME[:PORT] nor HOST[:PORT]"},
      {{"web", ":80"}, "what is asked for is missing"},
      {{"a/b/c"}, "neither POD, NAMESPACE/POD nor TYPE/NAME"},
      {{"a", "b", "c"}, "one pod, service or request at a time"},
      {{"a b -> c"}, "is not POD -> NAME:PORT"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.message);
    const auto subject = ParseWhySubject(c.args, "default");
    if (c.message.empty()) {
      EXPECT_TRUE(subject.ok());
      continue;
    }
    ASSERT_FALSE(subject.ok());
    EXPECT_THAT(std::string(subject.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace mesh::cli
