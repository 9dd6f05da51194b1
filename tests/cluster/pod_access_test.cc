// SPDX-License-Identifier: Apache-2.0
// How people get at what runs in pods: logs of several pods, attach, cp, port-forward, top and the
// images of nodes. One cluster of two nodes for all.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/ip_address.h"
#include "common/socket_address.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

extern char** environ;

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// `web` answers over HTTP at 127.0.0.1:8080 alone, and at every address at 8081 (named http, and
// port 80 of its Service); it logs a line per second.
constexpr char kManifest[] = R"(apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: localhost/toolbox:v1
        command: [sh, -c, "mkdir -p /srv; echo page > /srv/index.html; httpd -p 127.0.0.1:8080 -h /srv; httpd -p 8081 -h /srv; while true; do echo tick; sleep 0.1; done"]
        ports: [{name: http, containerPort: 8081}]
      - name: side
        image: localhost/toolbox:v1
        command: [sh, -c, "echo from the side; exec sleep 1000000"]
---
apiVersion: v1
kind: Pod
metadata:
  name: shell
  labels: {app: shell}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: sh
    image: localhost/toolbox:v1
    command: [sh, -c, "sleep 1000000"]
)";

// meshctl in the background, its output as it comes; ended with the object.
class Background {
 public:
  Background(const std::string& socket, std::vector<std::string> args) {
    args.insert(args.begin(), {"env", "MESH_SERVER=unix:" + socket, MESH_BIN_DIR "/meshctl"});
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 2);
    std::vector<char*> argv;
    for (std::string& word : args) argv.push_back(word.data());
    argv.push_back(nullptr);
    EXPECT_EQ(::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    input_.reset(in[1]);
    output_.reset(out[0]);
  }
  ~Background() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  // Whether the output gets to contain `text`.
  bool Says(const std::string& text) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (said_.find(text) == std::string::npos) {
      pollfd wait{.fd = output_.get(), .events = POLLIN, .revents = 0};
      const auto left = absl::ToInt64Milliseconds(deadline - absl::Now());
      if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) <= 0) return false;
      char block[4096];
      const ssize_t n = ::read(output_.get(), block, sizeof block);
      if (n <= 0) return false;
      said_.append(block, static_cast<size_t>(n));
    }
    return true;
  }
  const std::string& said() const { return said_; }
  // The port behind "Forwarding from 127.0.0.1:".
  uint16_t LocalPort() const {
    constexpr std::string_view kHead = "Forwarding from 127.0.0.1:";
    const size_t at = said_.find(kHead);
    return at == std::string::npos
               ? 0
               : static_cast<uint16_t>(std::atoi(said_.c_str() + at + kHead.size()));
  }

 private:
  pid_t pid_ = 0;
  UniqueFd input_, output_;
  std::string said_;
};

// The answer to one HTTP request at 127.0.0.1.
std::string Fetch(uint16_t port) {
  const SocketAddress to(*IpAddress::Parse("127.0.0.1"), port);
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), to.get(), to.length()) != 0) return "no connection";
  const std::string request = "GET / HTTP/1.0\r\n\r\n";
  ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
  // The end of the request must not be the end of the answer.
  ::shutdown(fd.get(), SHUT_WR);
  std::string out;
  char block[4096];
  for (ssize_t n; (n = ::recv(fd.get(), block, sizeof block, 0)) > 0;)
    out.append(block, static_cast<size_t>(n));
  return out;
}

class PodAccessTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = new LocalCluster(2);
    ASSERT_TRUE(cluster_->running());
    cluster_->LoadImage(MESH_SOURCE_DIR "/build/images/toolbox.tar");
    cluster_->Apply(kManifest);
    ASSERT_TRUE(cluster_->WaitForPods("app=web", 2));
    ASSERT_TRUE(cluster_->WaitForPods("app=shell", 1));
  }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }
  static LocalCluster& cluster() { return *cluster_; }
  static std::string WebPod() { return cluster().ReadyPods("app=web")[0]["metadata"]["name"]; }
  static Background Run(std::vector<std::string> args) {
    return Background(cluster().layout().Socket(), std::move(args));
  }

  static LocalCluster* cluster_;
};
LocalCluster* PodAccessTest::cluster_ = nullptr;

TEST_F(PodAccessTest, LogsOfSeveralPodsAreTold) {
  const std::string text =
      cluster().MustMeshctl({"logs", "-l", "app=web", "--all-containers", "--prefix"});
  for (const Json& pod : cluster().ReadyPods("app=web")) {
    const std::string name = pod["metadata"]["name"];
    EXPECT_THAT(text, HasSubstr(fmt::format("[pod/{}/app] tick\n", name)));
    EXPECT_THAT(text, HasSubstr(fmt::format("[pod/{}/side] from the side\n", name)));
  }
  Background follow = Run({"logs", "-f", "-l", "app=web", "-c", "app", "--prefix", "--tail=0"});
  for (const Json& pod : cluster().ReadyPods("app=web")) {
    const std::string name = pod["metadata"]["name"];
    EXPECT_TRUE(follow.Says(fmt::format("[pod/{}/app] tick", name))) << follow.said();
  }
  EXPECT_EQ(cluster().MustMeshctl({"logs", WebPod(), "-c", "app", "--limit-bytes=7"}).size(), 7U);
}

TEST_F(PodAccessTest, AttachTellsWhatTheContainerPrintsFromNowOn) {
  Background attached = Run({"attach", WebPod(), "-c", "app"});
  EXPECT_TRUE(attached.Says("tick\n")) << attached.said();
  EXPECT_TRUE(attached.Says("tick\ntick\n")) << attached.said();
  EXPECT_THAT(cluster().Meshctl({"attach", "-i", WebPod(), "-c", "app"}).text,
              HasSubstr("reads no standard input"));
}

TEST_F(PodAccessTest, CpBringsFoldersInAndOut) {
  namespace fs = std::filesystem;
  char folder[] = "/tmp/mesh-cp-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const fs::path root = folder;
  fs::create_directories(root / "site/below");
  std::ofstream(root / "site/index.html") << "copied\n";
  const std::string large(3'000'000, 'x');
  std::ofstream(root / "site/below/large") << large;

  cluster().MustMeshctl({"cp", (root / "site").string(), "shell:/tmp"});  // into the folder
  EXPECT_EQ(cluster().MustMeshctl({"exec", "shell", "--", "cat", "/tmp/site/index.html"}),
            "copied\n");
  cluster().MustMeshctl({"cp", (root / "site/index.html").string(), "default/shell:/root/page"});
  EXPECT_EQ(cluster().MustMeshctl({"exec", "shell", "--", "cat", "/root/page"}), "copied\n");
  cluster().MustMeshctl({"exec", "shell", "--", "ln", "-s", "/etc/passwd", "/tmp/site/link"});

  const auto out = cluster().Meshctl({"cp", "shell:/tmp/site", (root / "back").string()});
  EXPECT_EQ(out.exit_code, 0) << out.text;
  EXPECT_THAT(out.text, HasSubstr("skipping \"site/link\""));
  EXPECT_EQ(fs::file_size(root / "back/below/large"), large.size());
  EXPECT_FALSE(fs::exists(fs::symlink_status(root / "back/link")));
  const auto missing = cluster().Meshctl({"cp", "shell:/none", (root / "x").string()});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.text, HasSubstr("No such file"));
  fs::remove_all(root);
}

TEST_F(PodAccessTest, PortForwardReachesServersOfLoopbackAndOfServices) {
  Background pod = Run({"port-forward", WebPod(), ":8080", ":1"});
  ASSERT_TRUE(pod.Says("-> 1\n")) << pod.said();
  EXPECT_THAT(Fetch(pod.LocalPort()), HasSubstr("page"));
  EXPECT_THAT(Fetch(pod.LocalPort()), HasSubstr("page"));
  EXPECT_TRUE(pod.Says("Handling connection")) << pod.said();

  Background service = Run({"port-forward", "service/web", ":80", "--address", "127.0.0.1"});
  ASSERT_TRUE(service.Says("-> 8081\n")) << service.said();
  EXPECT_THAT(Fetch(service.LocalPort()), HasSubstr("page"));

  Background nobody = Run({"port-forward", WebPod(), ":9"});
  ASSERT_TRUE(nobody.Says("-> 9\n")) << nobody.said();
  EXPECT_EQ(Fetch(nobody.LocalPort()), "");
  EXPECT_TRUE(nobody.Says("nothing answers at port 9 of the pod")) << nobody.said();
}

TEST_F(PodAccessTest, TopShowsWhatPodsAndNodesUse) {
  const std::string pods = cluster().MustMeshctl({"top", "pod", "-l", "app=web", "--containers"});
  EXPECT_THAT(pods, HasSubstr("CPU(cores)"));
  EXPECT_THAT(pods, HasSubstr("side"));
  EXPECT_THAT(pods, HasSubstr("Mi\n"));
  const std::string nodes = cluster().MustMeshctl({"top", "node"});
  EXPECT_THAT(nodes, HasSubstr("n1 "));
  EXPECT_THAT(nodes, HasSubstr("n2 "));
}

TEST_F(PodAccessTest, ImagesAreListedLoadedAndRemoved) {
  EXPECT_THAT(cluster().MustMeshctl({"image", "list", "--node", "n1"}),
              HasSubstr("localhost/toolbox:v1"));
  const auto used = cluster().Meshctl({"image", "rm", "localhost/toolbox:v1"});
  EXPECT_EQ(used.exit_code, 1);
  EXPECT_THAT(used.text, HasSubstr("is in use by default/"));
  EXPECT_THAT(cluster().Meshctl({"image", "rm", "localhost/mesh-pause:1"}).text,
              HasSubstr("the runtime keeps it"));

  EXPECT_THAT(cluster().MustMeshctl({"image", "rm", "localhost/mesh-load:v1", "--node", "n2"}),
              HasSubstr("image \"localhost/mesh-load:v1\" removed from n2"));
  EXPECT_THAT(cluster().MustMeshctl({"image", "list", "--node", "n2"}),
              Not(HasSubstr("mesh-load")));
  EXPECT_THAT(cluster().MustMeshctl(
                  {"image", "load", MESH_BIN_DIR "/../tests/mesh-load.tar", "--node", "n2"}),
              HasSubstr("image \"localhost/mesh-load:v1\" loaded into n2"));
  EXPECT_THAT(cluster().MustMeshctl({"image", "list", "--node", "n2"}), HasSubstr("mesh-load"));
  const auto broken = cluster().Meshctl({"image", "load", "/proc/self/status", "--node", "n1"});
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(broken.text, HasSubstr("the archive cannot be imported"));
}

}  // namespace
}  // namespace mesh::testing
