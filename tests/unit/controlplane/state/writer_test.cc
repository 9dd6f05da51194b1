// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/writer.h"

#include <set>

#include "controlplane/state/object_rules.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

using ::testing::HasSubstr;

std::string Message(const absl::StatusOr<Written>& written) {
  return std::string(written.status().message());
}

TEST(Writer, GivesANewObjectItsIdentity) {
  World world;

  const auto written = world.Create(APod("web"));

  ASSERT_TRUE(written.ok()) << written.status();
  const v1::ObjectMeta& meta = MetaOf(*written->resource);
  EXPECT_THAT(meta.uid(),
              ::testing::MatchesRegex(
                  "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(meta.generation(), 1);
  EXPECT_EQ(meta.creation_timestamp().seconds(), absl::ToUnixSeconds(world.loop.Now()));
  EXPECT_EQ(meta.resource_version(), std::to_string(world.cache.revision()));
}

TEST(Writer, ShowsItsWriteInTheCacheBeforeItIsDone) {
  World world;
  bool seen = false;

  world.writer.Create(APod("web"), [&](const absl::StatusOr<Written>&) {
    seen = world.cache.Find(v1::KIND_POD, {"default", "web"}) != nullptr;
  });
  world.Settle();

  EXPECT_TRUE(seen);
}

TEST(Writer, RefusesASecondObjectOfTheSameName) {
  World world;
  ASSERT_TRUE(world.Create(APod("web")).ok());

  const auto again = world.Create(APod("web"));

  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Message(again), "pods \"web\" already exists");
  EXPECT_TRUE(world.Submit({.type = Write::Type::kCreate, .resource = APod("web")}).ok())
      << "for a controller an object that exists is done";
}

TEST(Writer, CountsGenerationsOfSpecNotOfLabelsOrStatus) {
  World world;
  v1::Resource deployment = *world.Create(ADeployment("web", 1))->resource;

  (*MutableMetaOf(&deployment)->mutable_labels())["tier"] = "front";
  deployment = *world.Submit({Write::Type::kUpdate, deployment, {}})->resource;
  EXPECT_EQ(MetaOf(deployment).generation(), 1);

  deployment.mutable_deployment()->mutable_status()->set_replicas(1);
  deployment = *world.Submit({Write::Type::kUpdateStatus, deployment, {}})->resource;
  EXPECT_EQ(MetaOf(deployment).generation(), 1);

  deployment.mutable_deployment()->mutable_spec()->set_replicas(3);
  deployment = *world.Submit({Write::Type::kUpdate, deployment, {}})->resource;
  EXPECT_EQ(MetaOf(deployment).generation(), 2);
  EXPECT_EQ(deployment.deployment().status().replicas(), 1);
}

TEST(Writer, KeepsSpecFromStatusWritesAndStatusFromSpecWrites) {
  World world;
  const v1::Resource before = *world.Create(ADeployment("web", 1))->resource;
  v1::Resource both = before;
  both.mutable_deployment()->mutable_spec()->set_replicas(9);
  both.mutable_deployment()->mutable_status()->set_replicas(9);

  v1::Resource after = *world.Submit({Write::Type::kUpdateStatus, both, {}})->resource;
  EXPECT_EQ(after.deployment().spec().replicas(), 1);
  EXPECT_EQ(after.deployment().status().replicas(), 9);

  after.mutable_deployment()->mutable_spec()->set_replicas(5);
  after.mutable_deployment()->mutable_status()->set_replicas(5);
  after = *world.Submit({Write::Type::kUpdate, after, {}})->resource;
  EXPECT_EQ(after.deployment().spec().replicas(), 5);
  EXPECT_EQ(after.deployment().status().replicas(), 9);
}

TEST(Writer, AbortsAWriteFromAStaleSnapshot) {
  World world;
  v1::Resource stale = *world.Create(ADeployment("web", 1))->resource;
  v1::Resource fresh = stale;
  fresh.mutable_deployment()->mutable_spec()->set_replicas(2);
  ASSERT_TRUE(world.Submit({Write::Type::kUpdate, fresh, {}}).ok());

  stale.mutable_deployment()->mutable_spec()->set_replicas(7);
  const auto lost = world.Submit({Write::Type::kUpdate, stale, {}});

  EXPECT_EQ(lost.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Message(lost), HasSubstr("the object has been modified"));
}

TEST(Writer, RetriesADecisionThatLostARace) {
  World world;
  ASSERT_TRUE(world.Create(ADeployment("web", 0)).ok());
  int decisions = 0;
  const Writer::Decide increment =
      [&decisions](const ClusterState&,
                   const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
    ++decisions;
    Intent intent{.type = Intent::Type::kPut, .resource = *current, .others = {}};
    auto* spec = intent.resource.mutable_deployment()->mutable_spec();
    spec->set_replicas(spec->replicas() + 1);
    CarryIntoUpdate(*current, &intent.resource);
    return intent;
  };

  int ok = 0;
  for (int i = 0; i < 4; ++i) {
    world.writer.Change(v1::KIND_DEPLOYMENT, {"default", "web"}, increment,
                        [&ok](const absl::StatusOr<Written>& written) { ok += written.ok(); });
  }
  world.Settle();

  EXPECT_EQ(ok, 4);
  EXPECT_EQ(decisions, 4 + 3 + 2 + 1);
  const auto now = world.cache.Find(v1::KIND_DEPLOYMENT, {"default", "web"});
  EXPECT_EQ(now->deployment().spec().replicas(), 4);
}

TEST(Writer, WritesNothingForAnEqualObject) {
  World world;
  const v1::Resource deployment = *world.Create(ADeployment("web", 1))->resource;
  const Revision before = world.store.CurrentRevision();

  const auto same = world.Submit({Write::Type::kUpdate, deployment, {}});

  ASSERT_TRUE(same.ok());
  EXPECT_FALSE(same->changed);
  EXPECT_EQ(world.store.CurrentRevision(), before);
}

TEST(Delete, RemovesAnUnboundPodAtOnce) {
  World world;
  ASSERT_TRUE(world.Create(APod("web")).ok());

  EXPECT_TRUE(world.Delete(v1::KIND_POD, {"default", "web"})->removed);

  EXPECT_EQ(world.cache.Find(v1::KIND_POD, {"default", "web"}), nullptr);
}

TEST(Delete, LeavesABoundPodItsGracePeriod) {
  World world;
  v1::Resource pod = APod("web", "node-1");
  pod.mutable_pod()->mutable_spec()->set_termination_grace_period_seconds(12);
  ASSERT_TRUE(world.Create(pod).ok());

  const auto marked = world.Delete(v1::KIND_POD, {"default", "web"});

  ASSERT_TRUE(marked.ok());
  EXPECT_FALSE(marked->removed);
  EXPECT_EQ(MetaOf(*marked->resource).deletion_timestamp().seconds(),
            absl::ToUnixSeconds(world.loop.Now()) + 12);
  EXPECT_EQ(MetaOf(*marked->resource).deletion_grace_period_seconds(), 12);
}

TEST(Delete, CanOnlyShortenTheTimeThatIsLeft) {
  World world;
  ASSERT_TRUE(world.Create(APod("web", "node-1")).ok());
  ASSERT_TRUE(world.Delete(v1::KIND_POD, {"default", "web"}, {.grace_period_seconds = 10}).ok());

  auto later = world.Delete(v1::KIND_POD, {"default", "web"}, {.grace_period_seconds = 60});
  EXPECT_FALSE(later->changed);
  auto sooner = world.Delete(v1::KIND_POD, {"default", "web"}, {.grace_period_seconds = 2});
  EXPECT_EQ(MetaOf(*sooner->resource).deletion_grace_period_seconds(), 2);
  auto now = world.Delete(v1::KIND_POD, {"default", "web"}, {.grace_period_seconds = 0});
  EXPECT_TRUE(now->removed);
}

TEST(Delete, WaitsForFinalizers) {
  World world;
  v1::Resource service = AService("web");
  MutableMetaOf(&service)->add_finalizers("example.com/hold");
  ASSERT_TRUE(world.Create(service).ok());

  v1::Resource marked = *world.Delete(v1::KIND_SERVICE, {"default", "web"})->resource;
  EXPECT_TRUE(MetaOf(marked).has_deletion_timestamp());
  ASSERT_NE(world.cache.Find(v1::KIND_SERVICE, {"default", "web"}), nullptr);

  MutableMetaOf(&marked)->clear_finalizers();
  EXPECT_TRUE(world.Submit({Write::Type::kUpdate, marked, {}})->removed);
  EXPECT_EQ(world.cache.Find(v1::KIND_SERVICE, {"default", "web"}), nullptr);
}

TEST(Delete, TurnsANamespaceTerminatingAndRefusesNewContent) {
  World world;
  ASSERT_TRUE(world.Create(ANamespace("shop")).ok());

  const auto marked = world.Delete(v1::KIND_NAMESPACE, {"", "shop"});
  EXPECT_EQ(marked->resource->namespace_().status().phase(), "Terminating");

  const auto late = world.Create(APod("web", "", "shop"));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(late), HasSubstr("is being terminated"));
}

TEST(Delete, RefusesAnotherUid) {
  World world;
  ASSERT_TRUE(world.Create(APod("web")).ok());

  const auto other = world.Delete(v1::KIND_POD, {"default", "web"}, {.uid = "someone-else"});

  EXPECT_EQ(other.status().code(), absl::StatusCode::kAborted);
  EXPECT_NE(world.cache.Find(v1::KIND_POD, {"default", "web"}), nullptr);
}

TEST(Delete, SaysWhatIsNotThere) {
  World world;
  EXPECT_EQ(Message(world.Delete(v1::KIND_POD, {"default", "web"})), "pods \"web\" not found");
  EXPECT_EQ(Message(world.Delete(v1::KIND_DEPLOYMENT, {"default", "web"})),
            "deployments.apps \"web\" not found");
}

TEST(Delete, OrphansDependentsInTheSameRevision) {
  World world;
  const v1::Resource owner = *world.Create(ADeployment("web", 1))->resource;
  v1::Resource pod = APod("web-1", "node-1");
  v1::OwnerReference* reference = MutableMetaOf(&pod)->add_owner_references();
  reference->set_uid(MetaOf(owner).uid());
  ASSERT_TRUE(world.Create(pod).ok());

  ASSERT_TRUE(world.Delete(v1::KIND_DEPLOYMENT, {"default", "web"}, {.orphan = true})->removed);

  const auto left = world.cache.Find(v1::KIND_POD, {"default", "web-1"});
  EXPECT_EQ(MetaOf(*left).owner_references_size(), 0);
  EXPECT_EQ(MetaOf(*left).resource_version(), std::to_string(world.cache.revision()));
}

TEST(Bind, SetsWhatTheSchedulerDecidedOnce) {
  World world;
  v1::Resource pod = *world.Create(APod("web"))->resource;
  v1::Resource bound = pod;
  bound.mutable_pod()->mutable_spec()->set_node_name("node-1");
  bound.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.5");
  bound.mutable_pod()->mutable_status()->set_identity(256);

  const auto written = world.Submit({Write::Type::kBind, bound, {}});

  ASSERT_TRUE(written.ok()) << written.status();
  const v1::Pod& after = written->resource->pod();
  EXPECT_EQ(after.spec().node_name(), "node-1");
  EXPECT_EQ(after.status().pod_ips(0).ip(), "10.244.0.5");
  EXPECT_GT(after.status().identity(), 257u) << "of its own, not its namespace's number";
  EXPECT_EQ(after.status().conditions(0).type(), "PodScheduled");
  EXPECT_EQ(world.Submit({Write::Type::kBind, bound, {}}).status().code(),
            absl::StatusCode::kAborted);
}

TEST(Admission, GivesEveryServiceItsOwnAddressEvenAtTheSameTime) {
  World world;
  int ok = 0;
  for (int i = 0; i < 50; ++i) {
    world.writer.Create(AService("s" + std::to_string(i)),
                        [&ok](const absl::StatusOr<Written>& written) { ok += written.ok(); });
  }
  world.Settle();

  EXPECT_EQ(ok, 50);
  std::set<std::string> ips;
  for (const auto& [key, service] : world.cache.state().services) {
    ips.insert(service->spec().cluster_ip());
    EXPECT_EQ(service->spec().cluster_ips(0), service->spec().cluster_ip());
  }
  EXPECT_EQ(ips.size(), 50u);
  EXPECT_FALSE(ips.contains("10.96.0.1"));
  EXPECT_FALSE(ips.contains("10.96.0.10"));
}

TEST(Admission, SaysWhenTheServiceRangeIsUsedUp) {
  World world({.admission = {.service_cidr = "10.96.0.0/28"}});
  absl::Status last;
  int created = 0;
  for (int i = 0; i < 16 && last.ok(); ++i) {
    last = world.Create(AService("s" + std::to_string(i))).status();
    created += last.ok();
  }

  EXPECT_EQ(created, 12) << "16 addresses without network, broadcast, .1 and .10";
  EXPECT_EQ(last.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(last.message()), HasSubstr("--service-cidr"));
  ASSERT_TRUE(world.Delete(v1::KIND_SERVICE, {"default", "s3"}).ok());
  EXPECT_TRUE(world.Create(AService("again")).ok());
}

TEST(Admission, ChecksAnAddressThatTheUserGives) {
  World world;
  EXPECT_TRUE(world.Create(AService("mine", "10.96.7.7")).ok());

  EXPECT_THAT(Message(world.Create(AService("same", "10.96.7.7"))),
              HasSubstr("already allocated, to Service default/mine"));
  EXPECT_THAT(Message(world.Create(AService("outside", "10.97.0.1"))), HasSubstr("10.96.0.0/16"));
  EXPECT_THAT(Message(world.Create(AService("dns", "10.96.0.10"))), HasSubstr("reserved"));
  EXPECT_EQ(world.Create(AService("dns", "10.96.0.10")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Admission, NeverGivesTheIdentityOfALivingNamespace) {
  World world;
  const uint32_t first = world.Create(ANamespace("a"))->resource->namespace_().status().identity();
  const uint32_t second = world.Create(ANamespace("b"))->resource->namespace_().status().identity();
  EXPECT_NE(first, second);
  EXPECT_GE(first, kIdentityMin);

  // Its namespace is gone, a pod with the identity still runs.
  v1::Resource pod = APod("web", "node-1", "a");
  pod.mutable_pod()->mutable_status()->set_identity(first);
  ASSERT_TRUE(world.Create(pod).ok());
  ASSERT_TRUE(
      world.Submit({Write::Type::kRemove, *world.cache.Find(v1::KIND_NAMESPACE, {"", "a"}), {}})
          .ok());
  const uint32_t third = world.Create(ANamespace("c"))->resource->namespace_().status().identity();

  EXPECT_NE(third, first);
  EXPECT_NE(third, second);
}

TEST(Admission, GivesEveryNodeARangeOfItsOwn) {
  World world({.admission = {.cluster_cidr = "10.244.0.0/23"}});

  EXPECT_EQ(world.Create(ANode("n1"))->resource->node().spec().pod_cidr(), "10.244.0.0/24");
  EXPECT_EQ(world.Create(ANode("n2"))->resource->node().spec().pod_cidr(), "10.244.1.0/24");
  EXPECT_EQ(world.Create(ANode("n3")).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Admission, NamesTheMissingNamespace) {
  World world;
  const auto written = world.Create(APod("web", "", "nowhere"));

  EXPECT_EQ(written.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(written), "namespaces \"nowhere\" not found");
}

EventNote ANote(const std::string& message) {
  EventNote note;
  note.object.set_kind("Pod");
  note.object.set_namespace_("default");
  note.object.set_name("web");
  note.object.set_uid("u1");
  note.type = "Warning";
  note.reason = "BackOff";
  note.message = message;
  return note;
}

TEST(Events, CountUpInsteadOfRepeating) {
  World world;
  for (int i = 0; i < 10; ++i) world.writer.Note(ANote("again"));
  world.writer.Note(ANote("another"));
  world.loop.RunFor(absl::Seconds(10));

  ASSERT_EQ(world.cache.state().events.size(), 2u);
  int count = 0;
  for (const auto& [key, event] : world.cache.state().events) {
    if (event->message() == "again") count = event->count();
  }
  EXPECT_EQ(count, 10);
}

TEST(Events, GoAfterTheirTime) {
  World world({.event_ttl = absl::Hours(1)});
  world.writer.Note(ANote("once"));
  world.loop.RunFor(absl::Minutes(59));
  EXPECT_EQ(world.cache.state().events.size(), 1u);

  world.loop.RunFor(absl::Minutes(3));

  EXPECT_EQ(world.cache.state().events.size(), 0u);
}

TEST(Events, AreBoundedInNumber) {
  World world({.max_events = 20});
  for (int i = 0; i < 50; ++i) world.writer.Note(ANote("message " + std::to_string(i)));

  world.loop.RunFor(absl::Minutes(2));

  EXPECT_EQ(world.cache.state().events.size(), 20u);
}

}  // namespace
}  // namespace mesh::controlplane
