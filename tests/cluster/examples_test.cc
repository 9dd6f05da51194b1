// SPDX-License-Identifier: Apache-2.0
// The examples, as their READMEs apply them.
#include <gmock/gmock.h>

#include <future>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kImages[] = MESH_SOURCE_DIR "/build/images/";

class ExamplesTest : public ClusterTest {
 protected:
  void Load(const std::string& image, const std::vector<std::string>& names = {}) {
    cluster().LoadImage(kImages + image + ".tar", names);
  }
  void ApplyFolder(const std::string& path) {
    const auto output = cluster().Meshctl({"apply", "-f", path});
    ASSERT_EQ(output.exit_code, 0) << output.text;
  }
  void WaitForDeployment(const std::string& name, const std::string& ns = "default") {
    const auto output =
        cluster().Meshctl({"rollout", "status", "deployment/" + name, "-n", ns, "--timeout=60s"});
    ASSERT_EQ(output.exit_code, 0) << output.text;
  }
  std::string Fetch(const std::string& pod, const std::string& url,
                    const std::string& ns = "default") {
    return cluster()
        .Meshctl({"exec", pod, "-n", ns, "--", "timeout", "3", "wget", "-qO-", url})
        .text;
  }
};

TEST_F(ExamplesTest, GuestbookKeepsWhatVisitorsWriteAndServesFromSeveralNodes) {
  for (const char* image :
       {"guestbook-frontend", "guestbook-redis", "guestbook-redis-follower", "toolbox"}) {
    Load(image);
  }
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(MESH_SOURCE_DIR "/examples/guestbook"));
  for (const char* name : {"redis-leader", "redis-follower", "frontend"}) {
    ASSERT_NO_FATAL_FAILURE(WaitForDeployment(name));
  }
  ASSERT_TRUE(cluster().WaitForPods("app=client", 1));

  EXPECT_TRUE(Eventually([&] {
    Fetch("client", "http://frontend/?message=hello+there");
    return Fetch("client", "http://frontend/").find("<li>hello there</li>") != std::string::npos;
  })) << Fetch("client", "http://frontend/");
  EXPECT_THAT(Fetch("client", "http://frontend/"), HasSubstr("<p>visits: "));

  std::set<std::string> nodes;
  EXPECT_TRUE(Eventually([&] {
    const std::string page = Fetch("client", "http://frontend/");
    for (const Json& pod : cluster().ReadyPods("app=guestbook")) {
      if (page.find("served by: " + pod["metadata"]["name"].get<std::string>()) !=
          std::string::npos) {
        nodes.insert(pod["spec"]["nodeName"]);
      }
    }
    return nodes.size() >= 2;
  }));
}

TEST_F(ExamplesTest, TheTwoTiersAnswerTogether) {
  Load("toolbox");
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(MESH_SOURCE_DIR "/examples/two-tier"));
  ASSERT_NO_FATAL_FAILURE(WaitForDeployment("api"));
  ASSERT_NO_FATAL_FAILURE(WaitForDeployment("web"));
  const auto page = [&] { return Fetch("deployment/web", "http://web/"); };

  EXPECT_TRUE(Eventually([&] {
    const std::string text = page();
    return text.find("web: web-") != std::string::npos &&
           text.find("api: api-") != std::string::npos;
  })) << page();
}

TEST_F(ExamplesTest, TheTwoNamespacesMeetOnlyThroughAService) {
  Load("toolbox");
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(MESH_SOURCE_DIR "/examples/two-namespaces"));
  ASSERT_NO_FATAL_FAILURE(WaitForDeployment("web", "blue"));
  for (const char* ns : {"blue", "green"}) {
    const auto ready = cluster().Meshctl(
        {"wait", "--for=condition=Ready", "pod/client", "-n", ns, "--timeout=60s"});
    ASSERT_EQ(ready.exit_code, 0) << ready.text;
  }
  const std::string pod_ip =
      cluster().ReadyPods("app=web", "blue").front()["status"]["podIP"].get<std::string>();
  const std::string direct = fmt::format("http://{}:8080/", pod_ip);

  EXPECT_TRUE(Eventually([&] {
    return Fetch("client", direct, "blue").find("web-") == 0 &&
           Fetch("client", "http://web.blue/", "green").find("web-") == 0;
  }));
  EXPECT_THAT(Fetch("client", direct, "green"), Not(HasSubstr("web-")));
}

TEST_F(ExamplesTest, TheNetworkPolicyLetsThoseAskWhomItNames) {
  const std::string folder = MESH_SOURCE_DIR "/examples/network-policy/";
  Load("toolbox");
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(folder + "pods.yaml"));
  ASSERT_NO_FATAL_FAILURE(WaitForDeployment("web", "pay"));
  struct Client {
    const char *ns, *name;
  };
  const std::vector<Client> clients = {{"pay", "client"}, {"shop", "client"}, {"shop", "stranger"}};
  for (const Client& client : clients) {
    const auto ready =
        cluster().Meshctl({"wait", "--for=condition=Ready", std::string("pod/") + client.name, "-n",
                           client.ns, "--timeout=60s"});
    ASSERT_EQ(ready.exit_code, 0) << ready.text;
  }
  // Who is answered, in the order of `clients`. At the same time: what is dropped is waited for.
  const auto answered = [&] {
    std::vector<std::future<std::string>> pages;
    for (const Client& client : clients) {
      pages.push_back(std::async(std::launch::async, [&, client] {
        return Fetch(client.name, "http://web.pay/", client.ns);
      }));
    }
    std::string out;
    for (std::future<std::string>& page : pages) out += page.get().starts_with("web-") ? '+' : '-';
    return out;
  };
  EXPECT_TRUE(Eventually([&] { return answered() == "+++"; })) << answered();
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(folder + "default-deny.yaml"));
  EXPECT_TRUE(Eventually([&] { return answered() == "---"; })) << answered();
  // Names are still answered there.
  EXPECT_THAT(Fetch("client", "http://web.pay/", "pay"), Not(HasSubstr("bad address")));
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(folder + "allow-shop.yaml"));
  EXPECT_TRUE(Eventually([&] { return answered() == "-+-"; })) << answered();
}

TEST_F(ExamplesTest, ADualStackServiceAnswersInTheFamilyThatIsDialled) {
  Load("toolbox");
  ASSERT_NO_FATAL_FAILURE(ApplyFolder(MESH_SOURCE_DIR "/examples/dual-stack"));
  ASSERT_NO_FATAL_FAILURE(WaitForDeployment("web"));

  for (const int family : {4, 6}) {
    const std::string url = "http://" + HostPort(cluster().ClusterIp("web", "default", family), 80);
    EXPECT_TRUE(Eventually([&] {
      const std::string page = Fetch("deployment/web", url + "/");
      const size_t client = page.find(" sees ");
      // Its own pod sees the link's address where it was chosen for itself.
      return page.find("web-") == 0 && client != std::string::npos &&
             (page.find(':', client) != std::string::npos) == (family == 6);
    })) << Fetch("deployment/web", url + "/");
  }
  // Of one family, whose name has one address.
  EXPECT_TRUE(Eventually([&] {
    return Fetch("deployment/web", "http://web6/").find(" sees fd") != std::string::npos;
  })) << Fetch("deployment/web", "http://web6/");
  EXPECT_TRUE(Eventually([&] {
    return Fetch("deployment/web", "http://web-pods:8080/").find("web-") == 0;
  })) << Fetch("deployment/web", "http://web-pods:8080/");

  const std::string described = cluster().Meshctl({"describe", "service", "web"}).text;
  for (const int family : {4, 6})
    EXPECT_THAT(described, HasSubstr(cluster().ClusterIp("web", "default", family)));
  EXPECT_THAT(described, HasSubstr("RequireDualStack"));
  EXPECT_THAT(described, HasSubstr("[fd00:10:244:")) << "an endpoint of IPv6";
}

}  // namespace
}  // namespace mesh::testing
