// SPDX-License-Identifier: Apache-2.0
// Goal: attach, cp, port-forward, top and image ask for what they were told to. Method: arguments
// alone, and whole command lines against a server in memory.
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands/copy_path.h"
#include "cli/commands/forwarded_port.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/unit/cli/commands/commands_world.h"

namespace mesh::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CopyPathTest, TellsPodsFromLocalPaths) {
  EXPECT_EQ(*ParseCopyPath("a.txt"), (CopyPath{.path = "a.txt"}));
  EXPECT_EQ(*ParseCopyPath("./a:b"), (CopyPath{.path = "./a:b"}));
  EXPECT_EQ(*ParseCopyPath("/a:b"), (CopyPath{.path = "/a:b"}));
  EXPECT_EQ(*ParseCopyPath("web:/srv"), (CopyPath{.pod = "web", .path = "/srv"}));
  EXPECT_EQ(*ParseCopyPath("shop/web:x"), (CopyPath{.ns = "shop", .pod = "web", .path = "x"}));
  for (const char* wrong : {":x", "/:x", "a/b/c:x", "a/:x"}) {
    if (wrong[0] == '/') continue;  // a local path
    EXPECT_FALSE(ParseCopyPath(wrong).ok()) << wrong;
  }
}

TEST(CopyPathTest, SplitsPaths) {
  EXPECT_EQ(BaseName("/a/b/"), "b");
  EXPECT_EQ(BaseName("a"), "a");
  EXPECT_EQ(BaseName("/"), ".");
  EXPECT_EQ(DirName("/a/b/"), "/a");
  EXPECT_EQ(DirName("/a"), "/");
  EXPECT_EQ(DirName("a"), ".");
}

TEST(ForwardedPortTest, ReadsWhatKubectlReads) {
  EXPECT_EQ(*ParseForwardedPort("8080:80"), (ForwardedPort{8080, "80"}));
  EXPECT_EQ(*ParseForwardedPort("80"), (ForwardedPort{80, "80"}));
  EXPECT_EQ(*ParseForwardedPort(":80"), (ForwardedPort{0, "80"}));
  EXPECT_EQ(*ParseForwardedPort("http"), (ForwardedPort{0, "http"}));
  EXPECT_EQ(*ParseForwardedPort("8080:http"), (ForwardedPort{8080, "http"}));
  for (const char* wrong : {"", ":", "80:", "x:80", "70000", "80:70000", "1:2:3", "80:0"})
    EXPECT_FALSE(ParseForwardedPort(wrong).ok()) << wrong;
}

TEST(ForwardedPortTest, FindsThePortOfThePod) {
  const auto pod = Parse<v1::Pod>(
      "metadata { name: 'web' } spec { containers { ports { name: 'dns' container_port: 53 "
      "protocol: 'UDP' } ports { name: 'http' container_port: 8080 protocol: 'TCP' } } }");
  const auto service = Parse<v1::Service>(
      "metadata { name: 'web' } spec { cluster_ip: '10.0.0.1' ports { name: 'web' port: 80 "
      "target_port { string_value: 'http' } } ports { name: 'admin' port: 81 target_port { "
      "int_value: 9000 } } ports { name: 'same' port: 82 } ports { name: 'u' port: 83 protocol: "
      "'UDP' } }");
  EXPECT_EQ(*PodPort(pod, "443"), 443);
  EXPECT_EQ(*PodPort(pod, "http"), 8080);
  EXPECT_EQ(PodPort(pod, "dns").status().message(), "Pod 'web' does not have a named port 'dns'");
  EXPECT_EQ(*ServicePodPort(service, pod, "80"), 8080);
  EXPECT_EQ(*ServicePodPort(service, pod, "admin"), 9000);
  EXPECT_EQ(*ServicePodPort(service, pod, "82"), 82);
  EXPECT_FALSE(ServicePodPort(service, pod, "83").ok());
  EXPECT_FALSE(ServicePodPort(service, pod, "8080").ok());
  EXPECT_EQ(*ServicePortNumber(service, "admin"), 81);
}

TEST(ForwardedPortTest, ListensAtAddresses) {
  EXPECT_THAT(*ListenAddresses({"localhost"}), ElementsAre("127.0.0.1", "::1"));
  EXPECT_THAT(*ListenAddresses({"0.0.0.0", "::"}), ElementsAre("0.0.0.0", "::"));
  EXPECT_FALSE(ListenAddresses({"example.org"}).ok());
}

TEST_F(CommandsTest, AttachAsksForTheContainersOwnStreams) {
  server_.Put(Pod("a"));
  server_.access.stream_outputs = {Parse<v1::StreamOutput>("data { stdout: 'tick\\n' }"),
                                   Parse<v1::StreamOutput>("data { exit_code: 0 }")};

  const Outcome outcome = Run({"attach", "a"});

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "tick\n");
  const v1::StreamStart& start = server_.access.streams.at(0);
  EXPECT_EQ(start.port(), 0U);
  EXPECT_EQ(start.container(), "web");
  EXPECT_FALSE(start.stdin());
}

TEST_F(CommandsTest, AttachSaysWhenTheContainerHasNoTerminal) {
  server_.Put(Pod("a"));
  server_.access.stream_outputs = {Parse<v1::StreamOutput>("data { exit_code: 0 }")};
  EXPECT_EQ(Run({"attach", "-t", "a"}).err,
            "error: Unable to use a TTY - container web did not allocate one\n");
  server_.Put(Pod("done", "phase: 'Succeeded'"));
  EXPECT_THAT(Run({"attach", "done"}).err, HasSubstr("completed pod; current phase is Succeeded"));
}

TEST_F(CommandsTest, LogsEndAfterSoManyBytes) {
  server_.Put(Pod("a"));
  server_.log_texts["a"] = "one\ntwo\n";
  EXPECT_EQ(Run({"logs", "a", "--limit-bytes=6"}).out, "one\ntw");
  EXPECT_EQ(Run({"logs", "a", "--limit-bytes=0"}).out, "one\ntwo\n");
  EXPECT_EQ(Run({"logs", "a", "--limit-bytes=-1"}).exit_code, 1);
}

TEST_F(CommandsTest, CpRefusesTwoPodsAndNone) {
  EXPECT_THAT(Run({"cp", "a:/x", "b:/y"}).err,
              HasSubstr("one of src or dest must be a local file specification"));
  EXPECT_THAT(Run({"cp", "x", "y"}).err,
              HasSubstr("one of src or dest must be a remote file specification"));
  EXPECT_THAT(Run({"cp", "/none/at/all", "a:/y"}).err,
              HasSubstr("/none/at/all doesn't exist in local filesystem"));
}

TEST_F(CommandsTest, CpSaysWhatTarSays) {
  server_.Put(Pod("a"));
  server_.exec_outputs = {Parse<v1::ExecOutput>("stderr: 'tar: none: No such file\\n'"),
                          Parse<v1::ExecOutput>("exit_code: 1")};

  const Outcome outcome = Run({"cp", "a:/srv/none", "/tmp/mesh-cp-none"});

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "error: tar: none: No such file\n");
  const v1::ExecStart& start = server_.exec_inputs.at(0).start();
  EXPECT_THAT(start.command(), ElementsAre("tar", "-cf", "-", "-C", "/srv", "--", "none"));
}

TEST_F(CommandsTest, PortForwardNeedsAPodThatRuns) {
  server_.Put(Pod("a", "phase: 'Pending'"));
  EXPECT_THAT(Run({"port-forward", "a", "8080:80"}).err,
              HasSubstr("pod is not running. Current status=Pending"));
  EXPECT_THAT(Run({"port-forward", "a"}).err, HasSubstr("list of ports are required"));
  EXPECT_THAT(Run({"port-forward", "a", "80:x:y"}).err, HasSubstr("invalid port format '80:x:y'"));
}

TEST_F(CommandsTest, TopAddsUpTheContainersOfPods) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n1' } }"));
  v1::Resource a = Pod("a"), b = Pod("b");
  a.mutable_pod()->mutable_spec()->set_node_name("n1");
  b.mutable_pod()->mutable_spec()->set_node_name("n1");
  server_.Put(a);
  server_.Put(b);
  server_.access.stats["n1"] = Parse<v1::StatsResponse>(
      "node: 'n1' cpu_milli: 300 cpu_capacity_milli: 2000 memory_bytes: 1048577 "
      "memory_capacity_bytes: 4194304 "
      "containers { namespace: 'default' pod: 'a' container: 'x' cpu_milli: 1 memory_bytes: "
      "1048576 } "
      "containers { namespace: 'default' pod: 'a' container: 'y' cpu_milli: 2 memory_bytes: 1 } "
      "containers { namespace: 'default' pod: 'b' container: 'x' cpu_milli: 50 memory_bytes: 5 } "
      "containers { namespace: 'other' pod: 'c' container: 'x' cpu_milli: 50 memory_bytes: 5 }");

  EXPECT_EQ(Run({"top", "pod", "--sort-by=cpu"}).out,
            "NAME   CPU(cores)   MEMORY(bytes)\n"
            "b      50m          1Mi\n"
            "a      3m           2Mi\n");
  EXPECT_EQ(Run({"top", "pods", "a", "--containers", "--no-headers"}).out,
            "a     x     1m    1Mi\n"
            "a     y     2m    1Mi\n");
  EXPECT_EQ(Run({"top", "node"}).out,
            "NAME   CPU(cores)   CPU(%)   MEMORY(bytes)   MEMORY(%)\n"
            "n1     300m         15%      2Mi             25%\n");
  EXPECT_EQ(Run({"top", "pod", "-n", "none"}).err, "No resources found in none namespace.\n");
}

TEST_F(CommandsTest, TopNamesANodeThatDoesNotAnswer) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n1' } }"));
  const Outcome outcome = Run({"top", "node"});
  EXPECT_EQ(outcome.err, "warning: n1: its agent does not answer\n");
  EXPECT_EQ(outcome.exit_code, 1);
}

TEST_F(CommandsTest, ImageListShowsEachNameOnEachNode) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n1' } }"));
  server_.access.images["n1"] = Parse<v1::ListImagesResponse>(
      "images { id: 'sha256:0123456789abcdef' tags: 'web:v1' tags: 'web:v2' size_bytes: 71345678 "
      "used_by: 'shop/a' used_by: 'shop/b' } images { id: 'sha256:1123456789abcdef' tags: "
      "'pause:1' "
      "size_bytes: 999 pinned: true }");

  EXPECT_EQ(Run({"image", "list"}).out,
            "NODE   IMAGE     ID             SIZE     USED BY\n"
            "n1     web:v1    0123456789ab   71.3MB   shop/a,shop/b\n"
            "n1     web:v2    0123456789ab   71.3MB   shop/a,shop/b\n"
            "n1     pause:1   1123456789ab   999B     <runtime>\n");
}

TEST_F(CommandsTest, ImageRmSaysWhatWentAndWhatStays) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n1' } }"));
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n2' } }"));
  server_.access.images["n1"] = Parse<v1::ListImagesResponse>("images { tags: 'web:v1' }");
  server_.access.images["n2"] = v1::ListImagesResponse();

  EXPECT_EQ(Run({"image", "rm", "web:v1"}).out, "image \"web:v1\" removed from n1\n");
  const Outcome none = Run({"image", "rm", "web:v2"});
  EXPECT_EQ(none.err, "error: image \"web:v2\" is on no node\n");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(Run({"image", "rm", "web:v1", "--node", "n9"}).err,
              HasSubstr("nodes \"n9\" not found"));
}

TEST_F(CommandsTest, ImageLoadSendsTheWholeArchive) {
  server_.Put(Parse<v1::Resource>("node { metadata { name: 'n1' } }"));
  char path[] = "/tmp/mesh-image-XXXXXX";
  const UniqueFd file(::mkstemp(path));
  const std::string archive(700'000, 'x');
  ASSERT_EQ(::write(file.get(), archive.data(), archive.size()),
            static_cast<ssize_t>(archive.size()));

  const Outcome outcome = Run({"image", "load", path});
  ::unlink(path);

  EXPECT_EQ(outcome.out, "image \"loaded:v1\" loaded into n1\n");
  EXPECT_EQ(server_.access.loaded, archive);
}

}  // namespace
}  // namespace mesh::cli
