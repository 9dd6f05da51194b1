// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_sessions.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/log.h"
#include "controlplane/rpc/node_registration.h"
#include "controlplane/state/admission.h"
#include "controlplane/state/object_rules.h"
#include "fmt/format.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::util::MessageDifferencer;

constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";

ClusterRanges ParsedRanges(const NodeSessions::Options& options) {
  absl::StatusOr<ClusterRanges> ranges =
      ParseClusterRanges(options.cluster_cidr, options.service_cidr);
  MESH_CHECK(ranges.ok()) << ranges.status().ToString();
  return *ranges;
}

PolicyView::Options PolicyOptions(const ClusterRanges& ranges, absl::Time now) {
  PolicyView::Options out;
  out.pod_ranges.push_back(ranges.pods.v4);
  if (ranges.pods.v6) out.pod_ranges.push_back(*ranges.pods.v6);
  // Of this run of meshd.
  out.epoch = static_cast<uint64_t>(absl::ToUnixNanos(now)) | 1;
  return out;
}

std::vector<std::string> AddressesOf(const v1::PodStatus& status) {
  std::vector<std::string> out = {status.pod_ip()};
  for (const v1::PodIP& ip : status.pod_ips()) {
    if (ip.ip() != status.pod_ip()) out.push_back(ip.ip());
  }
  return out;
}

// The condition by which the node-life controller calls the node silent; null: it does not.
const v1::Condition* SilenceOf(const v1::NodeStatus& status) {
  const auto& conditions = status.conditions();
  const auto it = std::find_if(conditions.begin(), conditions.end(), [](const auto& condition) {
    return condition.type() == "Ready" && condition.status() == "Unknown";
  });
  return it == conditions.end() ? nullptr : &*it;
}

bool IsSilentSince(const v1::NodeStatus& status, absl::Time heard) {
  const v1::Condition* silence = SilenceOf(status);
  return silence != nullptr &&
         absl::FromUnixSeconds(silence->last_transition_time().seconds()) > heard;
}

}  // namespace

NodeSessions::NodeSessions(EventLoop& loop, WatchCache& cache, Writer& writer, Options options)
    : loop_(loop),
      cache_(cache),
      writer_(writer),
      options_(std::move(options)),
      ranges_(ParsedRanges(options_)),
      events_(loop, cache, writer),
      view_(options_.routing == v1::Welcome::NATIVE),
      policies_(PolicyOptions(ranges_, loop.Now())) {
  const ClusterState& state = cache_.state();
  policies_.Reset(state, loop_.Now());
  view_.WantIdentities(options_.routing == v1::Welcome::NATIVE || policies_.asks_about_receivers(),
                       state);
  view_.Reset(state);
  v1::NodeUpdate known;
  policies_.Full(&known);
  for (const v1::IdentityState& row : known.identities()) known_identities_.insert(row.identity());
  for (const auto& [key, pod] : state.pods) {
    if (pod->spec().node_name().empty()) continue;
    pods_[pod->spec().node_name()][key] = pod;
    references_.Put(pod->spec().node_name(), key, *pod);
    told_[pod->metadata().uid()] = pod->status().identity();
  }
  references_.PutVolumes(state);
  ScheduleLook();
  flushed_ = state.revision;
  subscription_ = cache_.Subscribe([this](const ChangeBatch& batch) { OnChanges(batch); });
}

NodeSessions::~NodeSessions() {
  *alive_ = false;
  loop_.Cancel(look_timer_);
  for (auto& [uid, held] : held_) loop_.Cancel(held.timer);
  for (auto& [id, session] : sessions_) loop_.Cancel(session.status_timer);
}

NodeSessions::Id NodeSessions::Open(NodeLink* link) {
  const Id id = next_id_++;
  Session& session = sessions_[id];
  session.id = id;
  session.link = link;
  return id;
}

void NodeSessions::OnMessage(Id id, const v1::AgentMessage& message) {
  auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  if (message.has_hello() != session.node.empty()) {
    return session.link->Close(absl::InvalidArgumentError(
        session.node.empty() ? "node sync: the first message must be `hello`"
                             : "node sync: `hello` came twice"));
  }
  if (!session.node.empty()) cache_.NoteHeard(session.node);
  switch (message.message_case()) {
    case v1::AgentMessage::kHello:
      return OnHello(session, message.hello());
    case v1::AgentMessage::kAck:
      return OnAck(session, message.ack());
    case v1::AgentMessage::kPod:
      return OnReport(session, message.pod());
    case v1::AgentMessage::kHeartbeat:
      return OnHeartbeat(session, message.heartbeat());
    case v1::AgentMessage::kEvent:
      return events_.Note(session.node, message.event());
    case v1::AgentMessage::kVolume:
      return OnVolumeReport(session, message.volume());
    case v1::AgentMessage::MESSAGE_NOT_SET:
      return;
  }
}

void NodeSessions::OnSent(Id id) {
  auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  it->second.sending = false;
  SendNext(it->second);
}

void NodeSessions::OnClosed(Id id) {
  auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  loop_.Cancel(it->second.status_timer);
  auto node = by_node_.find(it->second.node);
  if (node != by_node_.end() && node->second == id) {
    by_node_.erase(node);
    events_.ForgetShortfall(it->second.node);
  }
  if (!it->second.node.empty()) spdlog::info("node {}: stream closed", it->second.node);
  sessions_.erase(it);
  if (!held_.empty() || IsIntroducing())
    PostFlush();  // nobody waits for its acknowledgement any more
}

void NodeSessions::CloseAll(const absl::Status& status) {
  for (auto& [id, session] : sessions_) session.link->Close(status);
}

Revision NodeSessions::AckedRevision(const std::string& node) const {
  auto it = by_node_.find(node);
  return it == by_node_.end() ? 0 : sessions_.at(it->second).acked;
}

void NodeSessions::OnHello(Session& session, const v1::Hello& hello) {
  if (hello.node_name().empty()) {
    return session.link->Close(absl::InvalidArgumentError("hello.node_name: Required value"));
  }
  session.node = hello.node_name();
  // An agent that restarted is here before its old stream is found to be dead.
  if (auto old = by_node_.find(session.node); old != by_node_.end()) {
    sessions_[old->second].link->Close(
        absl::AbortedError(fmt::format("node \"{}\" has registered anew", session.node)));
  }
  by_node_[session.node] = session.id;
  writer_.Change(
      v1::KIND_NODE, {"", session.node},
      [this, hello](const ClusterState& state,
                    const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        return Intent{
            .type = Intent::Type::kPut,
            .resource = RegisteredNode(state, ranges_.pods, current.get(), hello, loop_.Now()),
            .others = {}};
      },
      [this, alive = alive_, id = session.id](const absl::StatusOr<Written>& written) {
        if (!*alive) return;
        auto it = sessions_.find(id);
        if (it == sessions_.end()) return;
        if (!written.ok()) return it->second.link->Close(written.status());
        GoLive(it->second, written->resource->node());
      });
}

void NodeSessions::GoLive(Session& session, const v1::Node& node) {
  spdlog::info("node {}: registered, pods {}, agent at {}", session.node, node.spec().pod_cidr(),
               node.status().agent_endpoint());
  Flush();
  session.welcomed = WelcomeOf(node);
  session.welcome = session.welcomed;
  session.pods = PodPart(session.node);
  session.pending = view_.Full(session.node);
  policies_.Full(&*session.pending);
  *session.pending->mutable_pods() = session.pods.pods();
  session.referred = references_.Of(session.node, cache_.state());
  DiffReferred({}, session.referred, &*session.pending);
  session.live = true;
  session.status_written = loop_.Now();
  SendNext(session);
}

v1::Welcome NodeSessions::WelcomeOf(const v1::Node& node) const {
  v1::Welcome welcome;
  welcome.set_node_name(node.metadata().name());
  welcome.set_pod_cidr(node.spec().pod_cidr());
  welcome.set_cluster_cidr(ranges_.pods.v4.ToString());
  welcome.set_service_cidr(ranges_.services.v4.ToString());
  if (ranges_.dual_stack()) {
    welcome.set_pod_cidr6(PodCidr6(node));
    welcome.set_cluster_cidr6(ranges_.pods.v6->ToString());
    welcome.set_service_cidr6(ranges_.services.v6->ToString());
  }
  welcome.set_routing(options_.routing);
  welcome.set_cluster_domain(options_.cluster_domain);
  welcome.set_heartbeat_interval_ms(
      static_cast<int32_t>(absl::ToInt64Milliseconds(options_.heartbeat)));
  welcome.set_node_port_first(options_.node_port_first);
  welcome.set_node_port_last(options_.node_port_last);
  welcome.mutable_non_masquerade_cidrs()->Assign(options_.non_masquerade_cidrs.begin(),
                                                 options_.non_masquerade_cidrs.end());
  welcome.set_return_path(options_.return_path);
  if (auto zone = node.metadata().labels().find(kZoneLabel); zone != node.metadata().labels().end())
    welcome.set_zone(zone->second);
  return welcome;
}

void NodeSessions::NoteNode(const Change& change) {
  const v1::Resource& some = change.after != nullptr ? *change.after : *change.before;
  if (!some.has_node()) return;
  auto it = by_node_.find(KeyOf(some).name);
  if (it == by_node_.end()) return;
  Session& session = sessions_[it->second];
  if (change.after == nullptr) {
    spdlog::info("node {}: deleted while its agent runs, which registers anew", session.node);
    return session.link->Close(absl::AbortedError(
        fmt::format("node \"{}\" was deleted: it registers anew", session.node)));
  }
  if (!session.live) return;
  v1::Welcome welcome = WelcomeOf(change.after->node());
  if (MessageDifferencer::Equals(welcome, session.welcomed)) return;
  session.welcomed = std::move(welcome);
  session.welcome = session.welcomed;
  SendNext(session);
}

void NodeSessions::OnAck(Session& session, const v1::Ack& ack) {
  events_.NoteShortfall(session.node, ack.error());
  if (ack.revision() <= session.acked) return;
  session.acked = ack.revision();
  ScheduleStatus(session, options_.ack_rest);
  if (!held_.empty() || IsIntroducing()) PostFlush();
}

void NodeSessions::OnHeartbeat(Session& session, const v1::NodeHeartbeat& heartbeat) {
  std::vector<v1::Condition> conditions(heartbeat.conditions().begin(),
                                        heartbeat.conditions().end());
  if (conditions.empty()) conditions.push_back(ReadyCondition());
  const bool news =
      !std::equal(conditions.begin(), conditions.end(), session.conditions.begin(),
                  session.conditions.end(), [](const v1::Condition& a, const v1::Condition& b) {
                    return a.type() == b.type() && a.status() == b.status() &&
                           a.reason() == b.reason() && a.message() == b.message();
                  });
  session.conditions = std::move(conditions);
  ScheduleStatus(session,
                 news || IsDoubted(session.node) ? absl::ZeroDuration() : options_.status_rest);
}

// The node-life controller has called it silent: being heard is news.
bool NodeSessions::IsDoubted(const std::string& node) const {
  auto it = cache_.state().nodes.find({"", node});
  return it != cache_.state().nodes.end() && SilenceOf(it->second->status()) != nullptr;
}

// Writes `rest` after the last write, or at once when that is over; at most one on its way.
void NodeSessions::ScheduleStatus(Session& session, absl::Duration rest) {
  session.status_rest = session.status_dirty ? std::min(session.status_rest, rest) : rest;
  session.status_dirty = true;
  if (session.status_writing || !session.live) return;
  const absl::Time at = session.status_written + session.status_rest;
  if (at <= loop_.Now()) return WriteStatus(session.id);
  loop_.Cancel(session.status_timer);
  session.status_timer = loop_.RunAt(at, [this, id = session.id] { WriteStatus(id); });
}

void NodeSessions::WriteStatus(Id id) {
  auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  if (!session.status_dirty || session.status_writing) return;
  loop_.Cancel(session.status_timer);
  session.status_dirty = false;
  session.status_writing = true;
  session.status_written = loop_.Now();
  writer_.Change(
      v1::KIND_NODE, {"", session.node},
      [this, node = session.node, conditions = session.conditions, acked = session.acked](
          const ClusterState& state,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        // Deleted by the user: its agent is made to register again (NoteNode).
        if (current == nullptr) return Intent{};
        Intent intent{.type = Intent::Type::kPut, .resource = *current, .others = {}};
        v1::NodeStatus* status = intent.resource.mutable_node()->mutable_status();
        // It rested before it is written: what the node said then makes it no younger now.
        const auto last = state.heard.find(node);
        const absl::Time heard = last == state.heard.end() ? loop_.Now() : last->second;
        if (IsSilentSince(*status, heard)) return Intent{};
        NoteHeartbeat(conditions, heard, status);
        status->set_dataplane_revision(std::max<int64_t>(acked, status->dataplane_revision()));
        return intent;
      },
      [this, alive = alive_, id](const absl::StatusOr<Written>&) {
        // What was not written goes with the next heartbeat.
        if (!*alive) return;
        auto it = sessions_.find(id);
        if (it == sessions_.end()) return;
        it->second.status_writing = false;
        if (it->second.status_dirty) ScheduleStatus(it->second, it->second.status_rest);
      });
}

void NodeSessions::OnChanges(const ChangeBatch& batch) {
  for (const Change& change : batch.changes) {
    view_.Note(change);
    policies_.Note(change);
    NotePod(change);
    NoteReferred(change);
    NoteNode(change);
  }
  if (view_.dirty() || policies_.dirty() || !dirty_nodes_.empty()) PostFlush();
}

void NodeSessions::NotePod(const Change& change) {
  const v1::Resource& some = change.after != nullptr ? *change.after : *change.before;
  if (!some.has_pod()) return;
  const ObjectKey key = KeyOf(some);
  if (change.before != nullptr) {
    const v1::Pod& before = change.before->pod();
    const std::string& node = before.spec().node_name();
    if (auto it = pods_.find(node); it != pods_.end()) {
      it->second.erase(key);
      references_.Remove(node, key);
      if (it->second.empty()) pods_.erase(it);
      dirty_nodes_.insert(node);
    }
    const bool same =
        change.after != nullptr && change.after->pod().metadata().uid() == before.metadata().uid();
    if (auto held = held_.find(before.metadata().uid()); held != held_.end() && !same) {
      loop_.Cancel(held->second.timer);
      held_.erase(held);
    }
    if (!same) {
      told_.erase(before.metadata().uid());
      waiting_.erase(before.metadata().uid());
    }
  }
  if (change.after == nullptr || change.after->pod().spec().node_name().empty()) return;
  const v1::Pod& after = change.after->pod();
  pods_[after.spec().node_name()][key] = std::shared_ptr<const v1::Pod>(change.after, &after);
  references_.Put(after.spec().node_name(), key, after);
  dirty_nodes_.insert(after.spec().node_name());

  const bool stops =
      after.metadata().has_deletion_timestamp() &&
      (change.before == nullptr || !change.before->pod().metadata().has_deletion_timestamp());
  // Whether a Service sends to it is seen in the flush, when the view is current.
  if (!stops || after.status().pod_ip().empty()) return;
  Held held{.node = after.spec().node_name(),
            .ips = AddressesOf(after.status()),
            .until = loop_.Now() + options_.stop_hold,
            .quiet_since = 0,
            .timer = loop_.RunAfter(options_.stop_hold, [this] { Flush(); })};
  held_[after.metadata().uid()] = std::move(held);
}

void NodeSessions::PostFlush() {
  if (std::exchange(flush_posted_, true)) return;
  // After everything that is queued now: a burst of changes becomes one update.
  loop_.Post([this, alive = alive_] {
    if (!*alive) return;
    flush_posted_ = false;
    Flush();
  });
}

void NodeSessions::Flush() {
  const ClusterState& state = cache_.state();
  flushed_ = state.revision;
  v1::NodeUpdate policies;
  policies_.Refresh(state, loop_.Now(), &policies);
  view_.WantIdentities(options_.routing == v1::Welcome::NATIVE || policies_.asks_about_receivers(),
                       state);
  v1::NodeUpdate shared = view_.Refresh(state);
  shared.MergeFrom(policies);  // of other lists
  Introduce(shared);
  for (auto& [id, session] : sessions_) {
    if (!session.live || IsEmpty(shared)) continue;
    v1::NodeUpdate own = shared;
    view_.DropOwn(session.node, &own);
    if (IsEmpty(own)) continue;
    session.pending = session.pending ? Merge(*session.pending, own) : std::move(own);
  }
  ReleaseHeld();
  ReleaseIntroduced();
  for (const std::string& node : std::exchange(dirty_nodes_, {})) {
    auto it = by_node_.find(node);
    if (it == by_node_.end() || !sessions_[it->second].live) continue;
    Session& session = sessions_[it->second];
    v1::NodeUpdate next = PodPart(node);
    v1::NodeUpdate increment = Diff(session.pods, next);
    session.pods = std::move(next);
    ReferredObjects referred = references_.Of(node, state);
    DiffReferred(session.referred, referred, &increment);
    session.referred = std::move(referred);
    if (IsEmpty(increment)) continue;
    session.pending = session.pending ? Merge(*session.pending, increment) : std::move(increment);
  }
  for (auto& [id, session] : sessions_) SendNext(session);
  // What has been sent and acknowledged in one turn, as nobody had anything to change.
  if (IsIntroducing() && AllAcked(flushed_)) PostFlush();
  ScheduleLook();
}

// Lets the nodes know of the stops that nothing speaks against any more.
void NodeSessions::ReleaseHeld() {
  for (auto it = held_.begin(); it != held_.end();) {
    Held& held = it->second;
    const bool active = std::any_of(held.ips.begin(), held.ips.end(),
                                    [&](const std::string& ip) { return view_.IsActive(ip); });
    if (held.quiet_since == 0 && !active) held.quiet_since = flushed_;
    const bool quiet = held.quiet_since != 0 && AllAcked(held.quiet_since);
    if (!quiet && loop_.Now() < held.until) {
      ++it;
      continue;
    }
    loop_.Cancel(held.timer);
    dirty_nodes_.insert(held.node);
    it = held_.erase(it);
  }
}

// Every connected node's maps hold `revision`, or had nothing to change for it.
NodeSessions::Lag NodeSessions::lag() const {
  Lag out;
  for (const auto& [id, session] : sessions_) {
    if (!session.live || session.sent <= session.acked) continue;
    ++out.nodes;
    out.revisions_max = std::max(out.revisions_max, session.sent - session.acked);
  }
  return out;
}

bool NodeSessions::AllAcked(Revision revision) const {
  for (const auto& [id, session] : sessions_) {
    if (session.live && session.sent > session.acked && session.acked < revision) return false;
    if (session.live && session.pending) return false;
  }
  return true;
}

v1::NodeUpdate NodeSessions::PodPart(const std::string& node) {
  v1::NodeUpdate out;
  out.set_full(true);
  auto pods = pods_.find(node);
  if (pods == pods_.end()) return out;
  for (const auto& [key, pod] : pods->second) {
    // `spec.nodeName` of a manifest: not the node's before the scheduler has found that it fits.
    if (pod->status().pod_ip().empty()) continue;
    const std::string& uid = pod->metadata().uid();
    const uint32_t identity = IdentityToTell(*pod);
    if (identity == pod->status().identity()) {
      waiting_.erase(uid);
    } else {
      waiting_[uid] = node;
      if (!told_.contains(uid)) continue;
    }
    told_[uid] = identity;
    v1::Pod* added = out.add_pods();
    *added = PodForNode(*pod);
    added->mutable_status()->set_identity(identity);
    if (!held_.contains(pod->metadata().uid())) continue;
    added->mutable_metadata()->clear_deletion_timestamp();
    added->mutable_metadata()->clear_deletion_grace_period_seconds();
  }
  return out;
}

void NodeSessions::SendNext(Session& session) {
  if (session.sending || !session.live) return;
  v1::ControlMessage message;
  if (session.welcome) {
    *message.mutable_welcome() = *std::exchange(session.welcome, std::nullopt);
  } else if (session.pending) {
    *message.mutable_update() = *std::exchange(session.pending, std::nullopt);
    // Nothing of this node's has changed between its last increment and the last flush.
    message.mutable_update()->set_revision(flushed_);
    session.sent = flushed_;
  } else {
    return;
  }
  session.sending = true;
  session.link->Send(std::move(message));
}

}  // namespace mesh::controlplane
