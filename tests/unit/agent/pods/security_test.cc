// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/pods/dns_config.h"
#include "agent/pods/pod_config.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

namespace cri = ::runtime::v1;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::SecurityContext* Own(v1::Pod& pod) {
  return pod.mutable_spec()->mutable_containers(0)->mutable_security_context();
}
v1::PodSecurityContext* All(v1::Pod& pod) { return pod.mutable_spec()->mutable_security_context(); }

cri::LinuxContainerSecurityContext Filled(const v1::Pod& pod, const cri::Image& image = {}) {
  cri::LinuxContainerSecurityContext out;
  FillContainerSecurity(pod.spec(), pod.spec().containers(0), image, &out);
  return out;
}

TEST(FillContainerSecurity, LeavesTheImagesUserWhereNothingIsSaid) {
  const auto out = Filled(MakePod());

  EXPECT_FALSE(out.has_run_as_user());
  EXPECT_FALSE(out.privileged());
  EXPECT_FALSE(out.no_new_privs());
  EXPECT_EQ(out.seccomp().profile_type(), cri::SecurityProfile::RuntimeDefault);
  EXPECT_EQ(out.namespace_options().pid(), cri::CONTAINER);
  EXPECT_THAT(out.masked_paths(), ::testing::Contains("/proc/kcore"));
}

TEST(FillContainerSecurity, TakesTheContainersWordOverThePods) {
  v1::Pod pod = MakePod();
  All(pod)->set_run_as_user(1000);
  All(pod)->set_run_as_group(2000);
  All(pod)->set_fs_group(3000);
  All(pod)->add_supplemental_groups(3000);
  All(pod)->add_supplemental_groups(4000);
  All(pod)->mutable_seccomp_profile()->set_type("Unconfined");
  Own(pod)->set_run_as_user(1001);
  Own(pod)->mutable_seccomp_profile()->set_type("RuntimeDefault");

  const auto out = Filled(pod);

  EXPECT_EQ(out.run_as_user().value(), 1001);
  EXPECT_EQ(out.run_as_group().value(), 2000);
  EXPECT_THAT(out.supplemental_groups(), ElementsAre(3000, 4000));
  EXPECT_EQ(out.seccomp().profile_type(), cri::SecurityProfile::RuntimeDefault);
}

TEST(FillContainerSecurity, GivesAGroupTheUserOfTheImage) {
  v1::Pod pod = MakePod();
  All(pod)->set_run_as_group(2000);
  cri::Image image;
  image.mutable_uid()->set_value(7);

  EXPECT_TRUE(NeedsImageUser(pod.spec(), pod.spec().containers(0)));
  EXPECT_EQ(Filled(pod, image).run_as_user().value(), 7);
  image.clear_uid();
  image.set_username("nobody");
  EXPECT_EQ(Filled(pod, image).run_as_username(), "nobody");
}

TEST(FillContainerSecurity, PassesRightsOn) {
  v1::Pod pod = MakePod();
  Own(pod)->set_allow_privilege_escalation(false);
  Own(pod)->set_read_only_root_filesystem(true);
  Own(pod)->mutable_capabilities()->add_add("CAP_NET_ADMIN");
  Own(pod)->mutable_capabilities()->add_drop("all");
  Own(pod)->set_proc_mount("Unmasked");

  const auto out = Filled(pod);

  EXPECT_TRUE(out.no_new_privs());
  EXPECT_TRUE(out.readonly_rootfs());
  EXPECT_THAT(out.capabilities().add_capabilities(), ElementsAre("NET_ADMIN"));
  EXPECT_THAT(out.capabilities().drop_capabilities(), ElementsAre("ALL"));
  EXPECT_THAT(out.masked_paths(), IsEmpty());
}

TEST(FillSandboxSecurity, IsPrivilegedForAPrivilegedContainerAndSharesWhatThePodShares) {
  v1::Pod pod = MakePod({"a", "b"});
  pod.mutable_spec()->mutable_containers(1)->mutable_security_context()->set_privileged(true);
  pod.mutable_spec()->set_host_pid(true);
  pod.mutable_spec()->set_host_ipc(true);
  v1::Sysctl* sysctl = All(pod)->add_sysctls();
  sysctl->set_name("net.ipv4.tcp_syncookies");
  sysctl->set_value("1");
  cri::LinuxPodSandboxConfig out;

  FillSandboxSecurity(pod.spec(), &out);

  EXPECT_TRUE(out.security_context().privileged());
  EXPECT_EQ(out.security_context().namespace_options().pid(), cri::NODE);
  EXPECT_EQ(out.security_context().namespace_options().ipc(), cri::NODE);
  EXPECT_EQ(out.sysctls().at("net.ipv4.tcp_syncookies"), "1");
  EXPECT_FALSE(Filled(pod).privileged());
  pod.mutable_spec()->set_host_pid(false);
  pod.mutable_spec()->set_share_process_namespace(true);
  EXPECT_EQ(Filled(pod).namespace_options().pid(), cri::POD);
}

TEST(CheckImageUser, RefusesRootInKubernetesWords) {
  v1::Pod pod = MakePod();
  const auto why = [&](const cri::Image& image) {
    return std::string(CheckImageUser(pod, pod.spec().containers(0), image).message());
  };
  cri::Image image;
  EXPECT_EQ(why(image), "");
  All(pod)->set_run_as_non_root(true);
  EXPECT_EQ(why(image),
            "container has runAsNonRoot and image will run as root (pod: "
            "\"web_default(uid-web)\", container: app)");
  image.set_username("www");
  EXPECT_THAT(why(image), HasSubstr("image has non-numeric user (www), cannot verify user is "
                                    "non-root"));
  image.clear_username();
  image.mutable_uid()->set_value(101);
  EXPECT_EQ(why(image), "");
  Own(pod)->set_run_as_user(0);
  EXPECT_THAT(why(image), HasSubstr("container's runAsUser breaks non-root policy"));
  Own(pod)->set_run_as_non_root(false);
  EXPECT_EQ(why(image), "");
}

// ---- names

class DnsTest : public ::testing::Test {
 protected:
  DnsTest() {
    options.name_servers = {"10.244.1.1", "10.244.2.1", "10.244.3.1"};
    options.node_resolv_conf =
        "# the node's\nsearch lab.test\nnameserver 192.0.2.53\noptions ndots:2 rotate\n";
  }
  cri::DNSConfig Dns() const { return BuildSandboxConfig(pod, 0, options).dns_config(); }

  v1::Pod pod = MakePod();
  PodConfigOptions options;
};

TEST_F(DnsTest, OfTheNodeIsItsOwnFile) {
  pod.mutable_spec()->set_dns_policy("Default");
  EXPECT_FALSE(BuildSandboxConfig(pod, 0, options).has_dns_config());

  pod.mutable_spec()->mutable_dns_config()->add_searches("shop.test");

  EXPECT_THAT(Dns().servers(), ElementsAre("192.0.2.53"));
  EXPECT_THAT(Dns().searches(), ElementsAre("lab.test", "shop.test"));
  EXPECT_THAT(Dns().options(), ElementsAre("ndots:2", "rotate"));
}

TEST_F(DnsTest, OfNobodyIsWhatThePodSays) {
  pod.mutable_spec()->set_dns_policy("None");
  pod.mutable_spec()->mutable_dns_config()->add_nameservers("192.0.2.1");

  EXPECT_THAT(Dns().servers(), ElementsAre("192.0.2.1"));
  EXPECT_THAT(Dns().searches(), IsEmpty());
  EXPECT_THAT(Dns().options(), IsEmpty());
}

TEST_F(DnsTest, OfTheClusterTakesAdditionsBeforeOtherNodesResolvers) {
  v1::PodDNSConfig* dns = pod.mutable_spec()->mutable_dns_config();
  dns->add_nameservers("192.0.2.1");
  dns->add_searches("cluster.local");
  dns->add_searches("shop.test");
  v1::PodDNSConfigOption* ndots = dns->add_options();
  ndots->set_name("ndots");
  ndots->set_value("1");
  dns->add_options()->set_name("edns0");

  EXPECT_THAT(Dns().servers(), ElementsAre("10.244.1.1", "192.0.2.1", "10.244.2.1"));
  EXPECT_THAT(Dns().searches(), ElementsAre("default.svc.cluster.local", "svc.cluster.local",
                                            "cluster.local", "shop.test"));
  EXPECT_THAT(Dns().options(), ElementsAre("timeout:1", "attempts:3", "ndots:1", "edns0"));
}

TEST(HostsFile, EndsWithThePodsAliases) {
  v1::Pod pod = MakePod();
  v1::HostAlias* alias = pod.mutable_spec()->add_host_aliases();
  alias->set_ip("192.0.2.7");
  alias->add_hostnames("db.test");
  alias->add_hostnames("db");

  EXPECT_THAT(HostsFile(pod, {}), EndsWith("10.244.1.7\tweb\n\n# Entries added by HostAliases.\n"
                                           "192.0.2.7\tdb.test\tdb\n"));
}

}  // namespace
}  // namespace mesh::agent
